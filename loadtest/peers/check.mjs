// Proof that a peer delivers: node check.mjs NAME..., as check.sh runs it.
//
// Owns the publisher, the clients and the verdict; run.sh runs the peer. Publishes 1,000 records over 10 symbols, cut
// into pieces that have nothing to do with records, then a burst of 7 MB during which one client does not read. Each
// client must get exactly the records of its symbols, in the order of the feed and byte for byte; then the peer must end
// at SIGTERM and leave no process behind. Prints a line per peer and ends with 1 if one failed. Never waits without a
// limit.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { createRequire } from 'node:module';
import { DIALECTS } from './dialects.mjs';

const { WebSocket } = createRequire(`${process.env.BENCH_ENV}/ws/`)('ws');

const LIMIT_MS = 60_000;
const RECORDS = 1_000;
// More than the kernel keeps for a client that does not read, so that the server's own limit shows.
const BURST_RECORDS = 35_000;
const PIECE_BYTES = 1_000;
const SYMBOLS = [...Array(9).keys()].map((n) => `S${String(n + 1).padStart(4, '0')}/USD`).concat('BTC/USD');
// Everything, one symbol, two that are far apart, and one that is never published beside one that is.
const CLIENTS = [SYMBOLS, [SYMBOLS[9]], [SYMBOLS[0], SYMBOLS[5]], [SYMBOLS[3], 'S9999/USD']];

// About 170 bytes; some with letters of more than one byte, a few much longer. The burst is of the first symbol.
function records() {
  return [...Array(RECORDS + BURST_RECORDS).keys()].map((n) => {
    const symbol = SYMBOLS[n < RECORDS ? (n * 7 + (n >> 4)) % SYMBOLS.length : 0];
    const note = n >= RECORDS ? 'burst' : n % 100 === 50 ? 'long '.repeat(1_000) : n % 10 === 3 ? 'é €' : 'plain';
    const bids = [{ price: 41_000 + n, qty: '0.00100000' }, { price: 40_999 + n, qty: '1.25000000' }];
    return { symbol, payload: Buffer.from(JSON.stringify({ channel: 'book', type: 'update', data: [{ symbol, bids, seq: n, note }] })) };
  });
}

function encode({ symbol, payload }) {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(1 + symbol.length + payload.length);
  header[4] = symbol.length;
  return Buffer.concat([header, Buffer.from(symbol), payload]);
}

function within(promise, what) {
  let timer;
  const limit = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what}: not within ${LIMIT_MS} ms`)), LIMIT_MS)));
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

async function listen() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function freePort() {
  const server = await listen();
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// In a group of its own, so that what it leaves behind can be found.
async function start(name, feedPort) {
  const port = await freePort();
  const env = { ...process.env, PORT: port, FEED: `127.0.0.1:${feedPort}` };
  const script = new URL('run.sh', import.meta.url).pathname;
  const peer = spawn(script, [name], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  peer.logs = '';
  peer.stderr.on('data', (text) => (peer.logs += text));
  peer.exited = once(peer, 'exit');
  const died = peer.exited.then(([code]) => Promise.reject(new Error(`it ended with ${code}`)));
  died.catch(() => {});
  const ready = once(peer.stdout, 'data').then(([text]) => {
    if (text.toString() !== 'ready\n') throw new Error(`it said ${text} instead of ready`);
  });
  return { peer, port, ready: Promise.race([ready, died]) };
}

// A client with what it heard so far; `ready` and `reached(n)` are promises.
function connect(name, port, symbols) {
  const dialect = DIALECTS[name] ?? DIALECTS.ws;
  const client = { symbols, heard: [], waits: [] };
  const requests = dialect.requests(symbols);
  const state = { requests: requests.length };
  const socket = new WebSocket(`ws://127.0.0.1:${port}${dialect.path(symbols)}`, dialect.protocol, { perMessageDeflate: false });
  client.pause = () => socket.pause();
  client.resume = () => socket.resume();
  client.closed = new Promise((resolve) => socket.once('close', resolve));
  client.close = () => socket.terminate();
  client.ready = new Promise((resolve, reject) => {
    socket.once('open', () => {
      for (const request of requests) socket.send(request);
      if (requests.length === 0) resolve();
    });
    socket.on('message', (message, isBinary) => {
      try {
        for (const { ready, ...update } of dialect.hear(message, isBinary, state)) {
          if (ready) resolve();
          else client.heard.push(update);
        }
        client.waits.forEach((wait) => wait());
      } catch (error) {
        client.failed = error;
        reject(error);
      }
    });
    socket.on('error', reject);
  });
  client.reached = (count) => new Promise((resolve, reject) => {
    const wait = () => (client.failed ? reject(client.failed) : client.heard.length >= count && resolve());
    client.waits.push(wait);
    wait();
  });
  return client;
}

const wanted = (client, all) => all.filter(({ symbol }) => client.symbols.includes(symbol));

function judge(client, all) {
  const expected = wanted(client, all);
  for (let n = 0; n < Math.max(expected.length, client.heard.length); n += 1) {
    const want = expected[n];
    const got = client.heard[n];
    const same = want && got && want.payload.equals(got.payload) && (got.symbol ?? want.symbol) === want.symbol;
    if (same) continue;
    const show = (one) => (one ? `${one.payload.subarray(0, 170)}` : 'nothing');
    throw new Error(`client of ${client.symbols}: message ${n} of ${expected.length} is ${show(got)} and should be ${show(want)}`);
  }
}

async function publishAndWait(feed, clients, all, upTo) {
  const bytes = Buffer.concat(all.slice(feed.sent, upTo).map(encode));
  feed.sent = upTo;
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) feed.write(bytes.subarray(at, at + PIECE_BYTES));
  const reached = clients.map((client) => client.reached(wanted(client, all.slice(0, upTo)).length));
  const told = () => clients.map((client) => `${client.heard.length} of ${wanted(client, all.slice(0, upTo)).length}`);
  await within(Promise.all(reached), 'all records at all clients').catch((error) => {
    throw new Error(`${error.message} (${told().join(', ')})`);
  });
}

async function stop(peer, clients) {
  const { pid } = peer;
  process.kill(pid, 'SIGTERM');
  await within(peer.exited, 'end at SIGTERM');
  await within(Promise.all(clients.map((client) => client.closed)), 'connections closed at the end');
  // The glue sees the end of its server a moment later.
  const deadline = Date.now() + LIMIT_MS;
  for (let left; (left = processesOf(pid)).length > 0; ) {
    if (Date.now() > deadline) throw new Error(`it left processes behind: ${left}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Processes of a group that run. One that has ended and waits for init to notice does not.
function processesOf(group) {
  return fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      const [state, , owner] = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
      return Number(owner) === group && state !== 'Z';
    } catch {
      return false;
    }
  });
}

async function check(name) {
  const all = records();
  const publisher = await listen();
  const connected = once(publisher, 'connection');
  const { peer, port, ready } = await start(name, publisher.address().port);
  let clients = [];
  try {
    await within(ready, 'ready');
    const [feed] = await within(connected, 'connection to the feed');
    feed.sent = 0;
    feed.setNoDelay(true);
    clients = CLIENTS.map((symbols) => connect(name, port, symbols));
    await within(Promise.all(clients.map((client) => client.ready)), 'subscriptions');
    await publishAndWait(feed, clients, all, RECORDS);
    const [late, ...others] = clients;
    late.pause();
    await publishAndWait(feed, others, all, all.length);
    late.resume();
    await publishAndWait(feed, clients, all, all.length);
    // What comes twice has come by then.
    await stop(peer, clients);
    clients.forEach((client) => judge(client, all));
    return clients.reduce((sum, client) => sum + client.heard.length, 0);
  } catch (error) {
    throw new Error(`${error.message}\n${peer.logs}`);
  } finally {
    clients.forEach((client) => client.close());
    if (processesOf(peer.pid).length > 0) process.kill(-peer.pid, 'SIGKILL');
    publisher.close();
  }
}

let failed = 0;
for (const name of process.argv.slice(2)) {
  const start = Date.now();
  try {
    const messages = await check(name);
    console.log(`${name}: passed, ${RECORDS + BURST_RECORDS} records, ${CLIENTS.length} clients, ${messages} messages in order and unchanged, ${Date.now() - start} ms`);
  } catch (error) {
    failed += 1;
    console.log(`${name}: FAILED: ${error.message.trim()}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
