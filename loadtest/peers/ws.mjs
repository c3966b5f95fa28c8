// The ws package with a plain loop over subscribers, as most node servers are written: the peer ws.
//
// Reads records from FEED and sends each to every client of its symbol. Owns the sets of subscribers. ws has no limit
// for what waits for a client, so there is none to raise; node sets TCP_NODELAY on connections itself.
import { createRequire } from 'node:module';
import { followFeed, requestedSymbols, SUBSCRIBED } from './feed.mjs';

const { WebSocketServer, WebSocket } = createRequire(`${process.env.BENCH_ENV}/ws/`)('ws');

const subscribers = new Map();

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.env.PORT),
  path: '/v2',
  // Thousands of clients connect at once; node would keep 511 waiting.
  backlog: 4096,
  perMessageDeflate: false,
  clientTracking: false,
});

server.on('connection', (client) => {
  const symbols = new Set();
  client.on('message', (text) => {
    for (const symbol of requestedSymbols(text)) {
      symbols.add(symbol);
      if (!subscribers.has(symbol)) subscribers.set(symbol, new Set());
      subscribers.get(symbol).add(client);
    }
    client.send(SUBSCRIBED);
  });
  client.on('error', (error) => console.error(`peers: a client: ${error.message}`));
  client.on('close', () => {
    for (const symbol of symbols) subscribers.get(symbol).delete(client);
  });
});

await new Promise((resolve) => server.once('listening', resolve));
await followFeed((records) => {
  for (const { symbol, payload } of records) {
    for (const client of subscribers.get(symbol) ?? []) {
      if (client.readyState === WebSocket.OPEN) client.send(payload, { binary: false });
    }
  }
});
console.log('ready');
