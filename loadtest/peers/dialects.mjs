// What a client says to each kind of peer, and how it finds the updates in what it hears: for check.mjs.
//
// Owns the words of the four dialects, nothing of the test. A dialect has the path and subprotocol of the WebSocket, what
// is sent once it is open, and `hear(message, isBinary, state)`, which returns what a message means: `{ ready: true }`
// once the subscription stands, or `{ symbol, payload }`. The symbol is undefined where the server doesn't tell it.
export const DIALECTS = {
  ws: {
    path: () => '/v2',
    // Two requests for more than one symbol, so that both ways are tried.
    requests: (symbols) => [symbols.slice(0, 1), symbols.slice(1)].filter((some) => some.length > 0).map(subscribe),
    hear(message, isBinary, state) {
      if (isBinary) throw new Error('a binary message');
      if (message.equals(Buffer.from('{"method":"subscribe","success":true}'))) {
        state.answers = (state.answers ?? 0) + 1;
        return state.answers === state.requests ? [{ ready: true }] : [];
      }
      return [{ payload: message }];
    },
  },

  // The handshake's answer means that the subscription stands.
  nchan: {
    path: (symbols) => `/v2?id=${symbols.join(',')}`,
    requests: () => [],
    hear(message, isBinary) {
      if (isBinary) throw new Error('a binary message');
      return [{ payload: message }];
    },
  },

  // A byte stream: messages of the WebSocket begin and end anywhere in it.
  nats: {
    path: () => '/',
    requests: (symbols) => {
      const subjects = symbols.map((symbol, id) => `SUB ${symbol.replace('/', '.')} ${id + 1}\r\n`);
      return [Buffer.from(`CONNECT {"verbose":false,"pedantic":false,"protocol":1}\r\n${subjects.join('')}PING\r\n`)];
    },
    hear: (message, isBinary, state) => heardInStream(message, state, natsMessage),
  },

  mosquitto: {
    path: () => '/mqtt',
    protocol: 'mqtt',
    requests: (symbols) => [mqttConnect(), mqttSubscribe(symbols)],
    hear: (message, isBinary, state) => heardInStream(message, state, mqttPacket),
  },
};

function subscribe(symbol) {
  return JSON.stringify({ method: 'subscribe', params: { channel: 'book', symbol } });
}

function heardInStream(message, state, take) {
  state.bytes = Buffer.concat([state.bytes ?? Buffer.alloc(0), message]);
  const heard = [];
  for (let found; (found = take(state.bytes)) !== undefined; state.bytes = state.bytes.subarray(found.used)) {
    if (found.means) heard.push(found.means);
  }
  return heard;
}

// One line, with a payload after it if it is `MSG subject sid size`.
function natsMessage(bytes) {
  const end = bytes.indexOf('\r\n');
  if (end < 0) return undefined;
  const [verb, subject, , size] = bytes.latin1Slice(0, end).split(' ');
  const start = end + 2;
  if (verb === 'MSG') {
    const used = start + Number(size) + 2;
    if (bytes.length < used) return undefined;
    return { used, means: { symbol: subject.replace('.', '/'), payload: bytes.subarray(start, used - 2) } };
  }
  if (verb === '-ERR') throw new Error(bytes.latin1Slice(0, end));
  return { used: start, means: verb === 'PONG' ? { ready: true } : undefined };
}

// Protocol 3.1.1, clean session, no keep-alive, no client id.
function mqttConnect() {
  return Buffer.from('\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00', 'latin1');
}

// Packet 1, quality of service 0 for each symbol.
function mqttSubscribe(symbols) {
  const filters = symbols.map((symbol) => `\x00${String.fromCharCode(symbol.length)}${symbol}\x00`).join('');
  const length = 2 + filters.length;
  const lengthBytes = length < 128 ? [length] : [(length & 127) | 128, length >> 7];
  return Buffer.concat([Buffer.from([0x82, ...lengthBytes, 0, 1]), Buffer.from(filters, 'latin1')]);
}

// SUBACK makes ready, PUBLISH carries an update.
function mqttPacket(bytes) {
  let length = 0;
  let at = 1;
  for (let shift = 0; ; shift += 7) {
    if (at >= bytes.length) return undefined;
    length += (bytes[at] & 127) << shift;
    at += 1;
    if (bytes[at - 1] < 128) break;
  }
  const used = at + length;
  if (bytes.length < used) return undefined;
  const kind = bytes[0] >> 4;
  if (kind === 9) return { used, means: { ready: true } };
  if (kind !== 3) return { used };
  const topicEnd = at + 2 + bytes.readUInt16BE(at);
  return { used, means: { symbol: bytes.latin1Slice(at + 2, topicEnd), payload: bytes.subarray(topicEnd, used) } };
}
