// Glue of the peer mosquitto: publishes the feed's records as MQTT 3.1.1 messages of quality of service 0.
//
// Reads records from FEED and writes PUBLISH packets to mosquitto, over a Unix socket in RUN. The topic is the symbol.
import { expect, publishTo } from './broker.mjs';

const door = () => ({ path: `${process.env.RUN}/glue.sock` });

async function greet(socket) {
  const accepted = expect(socket, '\x20\x02\x00\x00');
  // CONNECT: protocol MQTT 4, clean session, keep-alive 0 (never), client id `glue`.
  socket.write('\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04glue', 'latin1');
  await accepted;
  socket.resume();
}

function encode({ symbol, payload }) {
  const length = 2 + symbol.length + payload.length;
  const header = [0x30];
  for (let left = length; ; left >>= 7) {
    if (left < 128) {
      header.push(left);
      break;
    }
    header.push((left & 127) | 128);
  }
  header.push(symbol.length >> 8, symbol.length & 255);
  return [Buffer.from(header), Buffer.from(symbol, 'latin1'), payload];
}

await publishTo({ door, greet, encode });
