// What one Node client saw of the gateway, and whether it was right.
//
// Owns the exchange's checksum recipe, the rules of sane books, tickers, trades and candles, the counts of what was
// checked, and the verdict. Never talks to the gateway and never repairs what a client holds: the observers of a client
// hand in what it holds, one line of JSON goes out. `evidence.py` is the same for Python.

// Levels a side that the checksum covers, whatever the subscribed depth: a deeper level is judged once it has risen.
const CHECKSUM_LEVELS = 10;

// Books per second of a run that each subscription to books must have shown; far below what a feed sends.
const BOOKS_PER_SECOND_MIN = 1;

// Share of the seconds of a run in which each subscription must have shown a book: one that falls silent is no success.
const LIVELY_SHARE_MIN = 0.5;

// Problems told in full; the rest is only counted.
const PROBLEMS_TOLD_MAX = 5;

// Node has zlib.crc32 only from 20.15 on.
const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

function crc32(text) {
  let crc = 0xffffffff;
  for (const byte of Buffer.from(text)) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// The exchange's checksum of levels given as texts at full precision, best first.
function checksum(asks, bids) {
  const levels = [...asks.slice(0, CHECKSUM_LEVELS), ...bids.slice(0, CHECKSUM_LEVELS)];
  return crc32(levels.flat().map((text) => text.replace('.', '').replace(/^0+/, '')).join(''));
}

const rising = (numbers) => numbers.every((number, i) => i === 0 || numbers[i - 1] < number);

// Counts and faults of one client's run.
export class Evidence {
  constructor(client, version, seconds, symbols) {
    Object.assign(this, { client, version, seconds, symbols });
    this.seen = new Map(); // by "kind symbol"
    this.lively = new Map(); // seconds with a book, by "kind symbol"
    this.mismatches = 0;
    this.tradeIds = new Map(symbols.map((symbol) => [symbol, []]));
    this.problems = [];
  }

  problem(text) {
    this.problems.push(text);
  }

  // Counts nothing; notes a fault unless `ok`.
  require(ok, symbol, text) {
    if (!ok) this.problem(`${symbol}: ${text}`);
  }

  count(kind, symbol, n = 1) {
    this.seen.set(`${kind} ${symbol}`, this.counted(kind, symbol) + n);
  }

  counted(kind, symbol) {
    return this.seen.get(`${kind} ${symbol}`) ?? 0;
  }

  // A client's double at the instrument's precision, which must not need more decimals.
  precise(number, decimals) {
    const text = number.toFixed(decimals);
    this.require(Number(text) === number, 'number', `${number} does not fit ${decimals} decimals`);
    return text;
  }

  // A book as the client holds it after an update, and the checksum that came with that update.
  book(kind, symbol, asks, bids, depth, announced) {
    this.count(kind, symbol);
    this.secondsWith(kind, symbol).add(Math.floor(performance.now() / 1000));
    const own = checksum(asks, bids);
    if (own !== announced) {
      this.mismatches += 1;
      this.problem(`${symbol}: ${kind} has checksum ${own}, the gateway said ${announced}`);
    }
    const [askPrices, bidPrices] = [asks, bids].map((side) => side.map(([price]) => Number(price)));
    this.require(rising(askPrices) && rising([...bidPrices].reverse()), symbol, `${kind} is out of order`);
    this.require(rising([...bidPrices.slice(0, 1), ...askPrices.slice(0, 1)]), symbol, `${kind} is crossed`);
    this.require(asks.length <= depth && bids.length <= depth, symbol, `${kind} is deeper than ${depth}`);
    this.require([...asks, ...bids].every(([, qty]) => Number(qty) > 0), symbol, `${kind} has an empty level`);
  }

  // A row with keys bid, ask, last, low, high, volume, vwap; numbers.
  ticker(symbol, row) {
    this.count('ticker', symbol);
    const { bid, ask, last, low, high, volume, vwap } = row;
    // A symbol of a young feed may have no trade yet, and then no prices of trades.
    const untraded = volume === 0;
    const sane = untraded || (volume > 0 && low > 0 && low <= Math.min(last, vwap) && Math.max(last, vwap) <= high);
    this.require(bid > 0 && bid < ask && sane, symbol, `ticker ${JSON.stringify(row)}`);
  }

  trade(symbol, id, side, price, qty) {
    this.count('trade', symbol);
    const sane = ['buy', 'sell'].includes(side) && price > 0 && qty > 0;
    this.require(sane, symbol, `trade ${id} ${side} ${price} ${qty}`);
    this.tradeIds.get(symbol).push(id);
  }

  // Candles of a minute as `[begin_ms, open, high, low, close, volume]`, oldest first.
  candles(symbol, candles) {
    this.count('candle', symbol, candles.length);
    this.require(rising(candles.map(([begin]) => begin)), symbol, 'candles are out of order');
    for (const [begin, first, high, low, last, volume] of candles) {
      const range = low > 0 && low <= Math.min(first, last) && Math.max(first, last) <= high;
      const text = `candle ${[begin, first, high, low, last, volume]}`;
      this.require(range && volume >= 0 && begin % 60_000 === 0, symbol, text);
    }
  }

  // Prints the summary and gives the exit code; `books` are the kinds of judged books, `others` must be seen too.
  finish(books, others = []) {
    for (const symbol of this.symbols) {
      for (const kind of books) {
        this.expect(this.counted(kind, symbol), this.seconds * BOOKS_PER_SECOND_MIN, symbol, kind);
        const lively = this.secondsWith(kind, symbol).size;
        this.expect(lively, this.seconds * LIVELY_SHARE_MIN, symbol, `second with ${kind}`);
      }
      for (const kind of ['ticker', 'trade', 'candle', ...others]) {
        this.expect(this.counted(kind, symbol), 1, symbol, kind);
      }
      // A client may reorder the trades of one millisecond, but each must be there once.
      const ids = this.tradeIds.get(symbol).sort((a, b) => a - b);
      this.require(ids.every((id, i) => id === ids[0] + i), symbol, 'trade ids have a gap or a repeat');
    }
    console.log(JSON.stringify(this.summary(books)));
    return this.problems.length > 0 ? 1 : 0;
  }

  expect(seen, least, symbol, kind) {
    this.require(seen >= least, symbol, `${seen} of kind ${kind}, expected ${least} or more`);
  }

  secondsWith(kind, symbol) {
    const key = `${kind} ${symbol}`;
    if (!this.lively.has(key)) this.lively.set(key, new Set());
    return this.lively.get(key);
  }

  summary(books) {
    const counts = (kind) => this.symbols.map((symbol) => this.counted(kind, symbol));
    const total = (kind) => counts(kind).reduce((sum, count) => sum + count, 0);
    return {
      client: this.client,
      version: this.version,
      ok: this.problems.length === 0,
      symbols: this.symbols,
      checks: books.reduce((sum, kind) => sum + total(kind), 0),
      mismatches: this.mismatches,
      checks_per_symbol_min: Math.min(...books.flatMap(counts)),
      tickers: total('ticker'),
      trades: total('trade'),
      candles: total('candle'),
      problems: this.problems.length,
      problems_told: this.problems.slice(0, PROBLEMS_TOLD_MAX),
    };
  }
}
