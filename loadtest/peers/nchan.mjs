// Glue of the peer nchan: publishes the feed's records by HTTP.
//
// Reads records from FEED and writes one POST per record to nginx, over a Unix socket in RUN, pipelined on one
// connection, so that the order of the feed stays. The channel is the symbol. Answers are read and thrown away.
import { expect, publishTo } from './broker.mjs';

const door = () => ({ path: `${process.env.RUN}/glue.sock` });

async function greet(socket) {
  // A door that is open may be that of an nginx which cannot open the other; one that answers has started.
  const answer = expect(socket, 'HTTP/1.1 20');
  socket.write(Buffer.concat(encode({ symbol: 'greeting', payload: Buffer.from('{}') })));
  await answer;
  let tail = '';
  socket.on('data', (bytes) => {
    const text = tail + bytes.toString('latin1');
    // 201: it had subscribers, 202: it had none.
    const refused = text.match(/HTTP\/1\.1 (?!20[12])\d+[^\r]*/);
    if (refused) console.error(`peers: nchan says ${refused[0]}`);
    tail = text.slice(-20);
  });
}

function encode({ symbol, payload }) {
  return [Buffer.from(`POST /publish?id=${symbol} HTTP/1.1\r\nHost: p\r\nContent-Length: ${payload.length}\r\n\r\n`), payload];
}

await publishTo({ door, greet, encode });
