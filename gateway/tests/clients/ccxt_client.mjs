// ccxt for Node against a gateway: `node ccxt_client.mjs HTTP_URL SECONDS SYMBOL...` beside node_modules.
//
// Owns one ccxt.pro kraken exchange, which it follows as a trading program would, and judges every book that it holds.
// Never changes ccxt: only addresses are set, and a method of the instance is wrapped to look at its result.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Evidence } from './evidence.mjs';

// The package's own entry for modules, by its file: packages are looked up beside this script, where there are none.
const home = join(process.cwd(), 'node_modules/ccxt');
const { default: ccxt } = await import(pathToFileURL(join(home, 'js/ccxt.js')));
// The constant in ccxt's own code may lag behind the package.
const { version } = JSON.parse(readFileSync(join(home, 'package.json')));

// Undefined is ccxt's own default, which leaves the depth to the gateway: ten.
const DEPTHS = [undefined, 25, 100];

async function connect(httpUrl) {
  // With its default of one request a second, ccxt would be subscribing during the whole run.
  const exchange = new ccxt.pro.kraken({ enableRateLimit: false });
  exchange.urls.api.public = httpUrl;
  exchange.urls.api.ws.publicV2 = `${httpUrl.replace('http', 'ws')}/v2`;
  // ccxt refuses plain ws:// until it has an agent for it.
  if (httpUrl.startsWith('http:')) await exchange.loadHttpProxyAgent();
  return exchange;
}

// Judges the book that ccxt holds after each book message, before anything else can happen to it.
function observeBooks(exchange, depths, evidence) {
  const handleOrderBook = exchange.handleOrderBook;
  exchange.handleOrderBook = function observed(client, message) {
    handleOrderBook.call(exchange, client, message);
    const { symbol, checksum } = message.data[0];
    const { pair_decimals: priceDecimals, lot_decimals: qtyDecimals } = exchange.market(symbol).info;
    const texts = (side) => side.map(([price, qty]) => [
      evidence.precise(price, Number(priceDecimals)),
      evidence.precise(qty, Number(qtyDecimals)),
    ]);
    // ccxt's sides are arrays of their own kind, which must not be mapped into another one.
    const [asks, bids] = ['asks', 'bids'].map((side) => texts(Array.from(exchange.orderbooks[symbol][side])));
    evidence.book('book', symbol, asks, bids, depths.get(symbol) ?? 10, checksum);
  };
}

// ccxt derives its own precision from the assets as well as from the pair.
function checkPrecision(exchange, symbol, evidence) {
  const { precision, info } = exchange.market(symbol);
  for (const [key, decimals] of [['price', info.pair_decimals], ['amount', info.lot_decimals]]) {
    const step = precision[key];
    evidence.require(step === Number(`1e-${decimals}`), symbol, `ccxt takes ${step} as the step of ${key}`);
  }
}

function seeTicker(evidence, symbol, ticker) {
  const { bid, ask, last, low, high, vwap, baseVolume: volume } = ticker;
  evidence.ticker(symbol, { bid, ask, last, low, high, volume, vwap });
}

function seeTrades(evidence, trades) {
  for (const { symbol, id, side, price, amount } of trades) evidence.trade(symbol, Number(id), side, price, amount);
}

// Runs until the time is over or ccxt throws.
async function follow(watch, see, over) {
  while (true) {
    const seen = await Promise.race([watch(), over]);
    if (seen === undefined) return;
    see(seen);
  }
}

function watches(exchange, symbol, depth, evidence) {
  return [
    [() => exchange.watchOrderBook(symbol, depth), () => evidence.count('watched book', symbol)],
    [() => exchange.watchTicker(symbol), (ticker) => seeTicker(evidence, symbol, ticker)],
    [() => exchange.watchTrades(symbol), (trades) => seeTrades(evidence, trades)],
    [() => exchange.watchOHLCV(symbol), (candles) => evidence.candles(symbol, candles)],
  ];
}

async function main(httpUrl, seconds, symbols) {
  const evidence = new Evidence('ccxt-node', version, seconds, symbols);
  const depths = new Map(symbols.map((symbol, i) => [symbol, DEPTHS[i % DEPTHS.length]]));
  const exchange = await connect(httpUrl);
  observeBooks(exchange, depths, evidence);
  await exchange.loadMarkets();
  for (const symbol of symbols) checkPrecision(exchange, symbol, evidence);
  const over = sleep(seconds * 1000);
  const pairs = symbols.flatMap((symbol) => watches(exchange, symbol, depths.get(symbol), evidence));
  const ends = await Promise.allSettled(pairs.map(([watch, see]) => follow(watch, see, over)));
  for (const { reason } of ends) if (reason) evidence.problem(`ccxt threw ${reason}`);
  await exchange.close();
  process.exitCode = evidence.finish(['book'], ['watched book']);
}

const [httpUrl, seconds, ...symbols] = process.argv.slice(2);
await main(httpUrl, Number(seconds), symbols);
