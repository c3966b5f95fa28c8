// What the glue of nats, nchan and mosquitto has in common: it stands between the feed and a server of its own process.
//
// Owns the connection to the server's private door and its life: run.sh has become the server and is our parent; when
// one of the two ends, so does the other. Never touches records. Bytes of records come from the glue and go to the
// server; when the server does not take them, the feed waits.
import fs from 'node:fs';
import net from 'node:net';
import { followFeed } from './feed.mjs';

// A server that has not opened its doors by then is broken.
const START_MS = 10_000;

// Not our parent's id, which is somebody else's once it has ended.
const server = Number(process.env.SERVER_PID);

/// Publishes the feed's records to a server. `door()` says where its private door is, undefined while it is not known;
/// `greet(socket)` speaks until the server is ready for us; `encode(record)` gives the bytes that publish, as an array.
export async function publishTo({ door, greet, encode }) {
  try {
    const socket = await connect(door);
    socket.on('close', () => end(0));
    socket.on('error', () => end(0));
    await greet(socket);
    // Clients come by this one.
    (await connect(() => ({ host: '127.0.0.1', port: Number(process.env.PORT) }))).destroy();
    const feed = await followFeed((records) => {
      if (socket.write(Buffer.concat(records.flatMap(encode)))) return;
      feed.pause();
      socket.once('drain', () => feed.resume());
    });
    console.log('ready');
  } catch (error) {
    giveUp(error.message);
  }
}

// Ends the server too, which would look healthy without us.
function giveUp(reason) {
  console.error(`peers: the glue gives up: ${reason}`);
  if (process.ppid === server) process.kill(server, 'SIGTERM');
  end(1);
}

// The folder of this run is of no use to anybody else.
function end(code) {
  fs.rmSync(process.env.RUN, { recursive: true, force: true });
  process.exit(code);
}

/// Waits for what a server says until `pattern` is in it.
export function expect(socket, pattern) {
  return new Promise((resolve) => {
    let heard = '';
    const listen = (bytes) => {
      heard += bytes.toString('latin1');
      if (!heard.includes(pattern)) return;
      socket.off('data', listen);
      resolve();
    };
    socket.on('data', listen);
  });
}

async function connect(door) {
  const deadline = Date.now() + START_MS;
  for (;;) {
    if (process.ppid !== server) end(1);
    const where = door();
    const socket = where && (await tryToConnect(where));
    if (socket) return socket;
    if (Date.now() > deadline) throw new Error(`the server does not listen within ${START_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function tryToConnect(where) {
  return new Promise((resolve) => {
    const socket = net.connect({ noDelay: true, ...where });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', () => resolve(undefined));
  });
}
