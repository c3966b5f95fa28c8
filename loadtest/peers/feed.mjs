// The publisher's stream, cut into records, for the glue of every peer.
//
// Owns the connection to FEED and the bytes of a record that is not complete yet. Never copies a payload, never waits
// for a peer: whoever is slower than the feed pauses the socket. Records come from the benchmark's publisher:
//   u32 big endian: length of what follows | u8: length of the symbol | symbol | payload, the text of one update
// and go to the function that the glue gives, all of one read at once.
import net from 'node:net';

/// Connects to FEED; the socket is returned when the connection stands.
export function followFeed(handleRecords) {
  const [host, port] = process.env.FEED.split(':');
  const feed = net.connect({ host, port: Number(port) });
  let rest = Buffer.alloc(0);
  feed.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const { records, used } = cut(bytes);
    rest = bytes.subarray(used);
    if (records.length > 0) handleRecords(records);
  });
  // Clients may still be reading what was published, so the end of the feed is not ours.
  feed.on('close', () => console.error('peers: the feed has ended'));
  return new Promise((resolve, reject) => {
    feed.once('connect', () => resolve(feed));
    feed.on('error', reject);
  });
}

function cut(bytes) {
  const records = [];
  let used = 0;
  while (bytes.length - used >= 4) {
    const start = used + 4;
    const end = start + bytes.readUInt32BE(used);
    if (bytes.length < end) break;
    const payloadStart = start + 1 + bytes[start];
    records.push({
      symbol: bytes.latin1Slice(start + 1, payloadStart),
      payload: bytes.subarray(payloadStart, end),
    });
    used = end;
  }
  return { records, used };
}

/// The symbols of a client's request to subscribe, `{"method":"subscribe","params":{"symbol":[..]}}`.
export function requestedSymbols(text) {
  const { method, params } = JSON.parse(text);
  if (method !== 'subscribe') throw new Error(`a client asked for ${method}`);
  return params.symbol;
}

/// What answers such a request.
export const SUBSCRIBED = '{"method":"subscribe","success":true}';
