// uWebSockets.js with its own topics: the peers uws and uws-direct.
//
// Reads records from FEED and publishes each to the topic of its symbol; uWebSockets frames it once, gathers up to 32 for
// a subscriber, and writes them corked, in one piece. Owns no client and no queue. The records of a turn of the loop are
// gathered and published from a callback after it, when no socket is corked for another reason: while one is (inside the
// handler of a WebSocket message), others are written uncorked, once per message, as soon as a turn brings more than 32.
// `--direct` publishes inside the handler that reads the feed, which is node's and corks nothing.
//
// `--load` only tells whether the binary can be loaded. The npm package would fall back to JavaScript without one, so
// the binary is loaded by its own name.
import { createRequire } from 'node:module';
import { followFeed, requestedSymbols, SUBSCRIBED } from './feed.mjs';

const folder = process.env.BENCH_ENV ?? new URL('../../target/bench-env', import.meta.url).pathname;
const { arch, platform, versions } = process;
const binary = `@trufflesuite/uws-js-unofficial/binaries/uws_${platform}_${arch}_${versions.modules}.node`;
const uws = createRequire(`${folder}/uws/`)(binary);
if (process.argv.includes('--load')) process.exit(0);

const app = uws.App();
app.ws('/v2', {
  // Compressing a message for each client would be a benchmark of zlib.
  compression: uws.DISABLED,
  // Above it a message is left out silently.
  maxBackpressure: Number(process.env.BUFFER_BYTES),
  closeOnBackpressureLimit: false,
  maxPayloadLength: 1 << 20,
  // Clients that only listen are neither pinged nor closed.
  idleTimeout: 0,
  sendPingsAutomatically: false,
  message(ws, message) {
    for (const symbol of requestedSymbols(Buffer.from(message).toString())) ws.subscribe(symbol);
    ws.send(SUBSCRIBED);
  },
});

function publish(records) {
  for (const { symbol, payload } of records) app.publish(symbol, payload);
}

let turn = [];
function gather(records) {
  if (turn.length === 0) setImmediate(publishTurn);
  turn = turn.length === 0 ? records : turn.concat(records);
}

function publishTurn() {
  const records = turn;
  turn = [];
  publish(records);
}

await new Promise((resolve, reject) => {
  // uSockets sets TCP_NODELAY on every connection itself.
  app.listen('127.0.0.1', Number(process.env.PORT), (socket) => (socket ? resolve() : reject(new Error('cannot listen'))));
});
await followFeed(process.argv.includes('--direct') ? publish : gather);
console.log('ready');
