// Bun's own WebSocket server with its topics: the peer bun. Runs under bun, not node.
//
// Reads records from FEED and publishes each to the topic of its symbol; Bun frames it once and writes to every
// subscriber. Owns no client and no queue.
import { followFeed, requestedSymbols, SUBSCRIBED } from './feed.mjs';

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response('only WebSocket is spoken here', { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    // Above it a message is left out silently.
    backpressureLimit: Number(process.env.BUFFER_BYTES),
    closeOnBackpressureLimit: false,
    // Clients that only listen are neither pinged nor closed.
    idleTimeout: 0,
    sendPings: false,
    message(ws, text) {
      for (const symbol of requestedSymbols(text)) ws.subscribe(symbol);
      ws.send(SUBSCRIBED);
    },
  },
});

await followFeed((records) => {
  // Bun sends a buffer as a binary message, so the payload has to become a string.
  for (const { symbol, payload } of records) server.publish(symbol, payload.toString());
});
console.log('ready');
