// Glue of the peer nats: publishes the feed's records on core NATS subjects.
//
// Reads records from FEED and writes `PUB subject size` with the payload to nats-server, over its TCP port, which it
// chose itself and wrote to a file in RUN. The subject is the symbol with `/` as `.`: S0001/USD is S0001.USD.
import fs from 'node:fs';
import { expect, publishTo } from './broker.mjs';

const portsFile = `${process.env.RUN}/nats-server_${process.env.SERVER_PID}.ports`;
const CRLF = Buffer.from('\r\n');
const subjects = new Map();

function door() {
  if (!fs.existsSync(portsFile)) return undefined;
  const text = fs.readFileSync(portsFile, 'utf8');
  // It may be read while it is written.
  const found = text.endsWith('}') && new URL(JSON.parse(text).nats[0]);
  return found ? { host: found.hostname, port: Number(found.port) } : undefined;
}

async function greet(socket) {
  const pong = expect(socket, 'PONG\r\n');
  socket.write('CONNECT {"verbose":false,"pedantic":false,"lang":"none","version":"1","protocol":1}\r\nPING\r\n');
  await pong;
  // Answered, or the server would leave; it says nothing else that matters.
  socket.on('data', (bytes) => {
    if (bytes.includes('-ERR')) console.error(`peers: nats-server says ${bytes}`);
    if (bytes.includes('PING\r\n')) socket.write('PONG\r\n');
  });
}

function encode({ symbol, payload }) {
  let subject = subjects.get(symbol);
  if (subject === undefined) subjects.set(symbol, (subject = symbol.replace('/', '.')));
  return [Buffer.from(`PUB ${subject} ${payload.length}\r\n`, 'latin1'), payload, CRLF];
}

await publishTo({ door, greet, encode });
