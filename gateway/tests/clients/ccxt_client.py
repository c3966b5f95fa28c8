"""ccxt for Python against a gateway: `ccxt_client.py HTTP_URL SECONDS SYMBOL...`

Owns one ccxt.pro kraken exchange, which it follows as a trading program would, and judges every book that ccxt holds.
Never changes ccxt: only addresses are set, and a method of the instance is wrapped to look at its result.
"""

import asyncio
import sys
from itertools import cycle

import ccxt.pro
from evidence import Evidence

# None is ccxt's own default, which leaves the depth to the gateway: ten.
DEPTHS = [None, 25, 100]


def connect(http_url):
    # With its default of one request a second, ccxt would be subscribing during the whole run.
    exchange = ccxt.pro.kraken({"enableRateLimit": False})
    exchange.urls["api"]["public"] = http_url
    exchange.urls["api"]["ws"]["publicV2"] = http_url.replace("http", "ws", 1) + "/v2"
    return exchange


def observe_books(exchange, depths, evidence):
    """Judges the book that ccxt holds after each book message, before anything else can happen to it."""
    handle_order_book = exchange.handle_order_book

    def observed(client, message):
        handle_order_book(client, message)
        symbol = message["data"][0]["symbol"]
        info = exchange.market(symbol)["info"]
        decimals = int(info["pair_decimals"]), int(info["lot_decimals"])
        sides = (exchange.orderbooks[symbol][side] for side in ("asks", "bids"))
        asks, bids = ([tuple(map(evidence.precise, level, decimals)) for level in side] for side in sides)
        evidence.book("book", symbol, asks, bids, depths[symbol] or 10, message["data"][0]["checksum"])

    exchange.handle_order_book = observed


def check_precision(exchange, symbol, evidence):
    """ccxt derives its own precision from the assets as well as from the pair."""
    market = exchange.market(symbol)
    expected = {"price": f"{market['info']['pair_decimals']}", "amount": f"{market['info']['lot_decimals']}"}
    for key, decimals in expected.items():
        step = market["precision"][key]
        evidence.require(step == float(f"1e-{decimals}"), symbol, f"ccxt takes {step} as the step of {key}")


def see_ticker(evidence, symbol, ticker):
    renamed = {"volume": ticker["baseVolume"]}
    evidence.ticker(symbol, renamed | {key: ticker[key] for key in ("bid", "ask", "last", "low", "high", "vwap")})


def see_trades(evidence, trades):
    for trade in trades:
        evidence.trade(trade["symbol"], int(trade["id"]), trade["side"], trade["price"], trade["amount"])


async def follow(watch, see):
    """Runs until it is cancelled or ccxt raises."""
    while True:
        see(await watch())


def watches(exchange, symbol, depth, evidence):
    yield lambda: exchange.watch_order_book(symbol, depth), lambda _: evidence.seen.update([("watched book", symbol)])
    yield lambda: exchange.watch_ticker(symbol), lambda ticker: see_ticker(evidence, symbol, ticker)
    yield lambda: exchange.watch_trades(symbol), lambda trades: see_trades(evidence, trades)
    yield lambda: exchange.watch_ohlcv(symbol), lambda candles: evidence.candles(symbol, candles)


async def main(http_url, seconds, symbols):
    evidence = Evidence("ccxt-python", ccxt.pro.__version__, seconds, symbols)
    # ccxt handles messages in callbacks: what they raise reaches nobody else.
    asyncio.get_running_loop().set_exception_handler(lambda _, context: evidence.problem(f"ccxt raised {context}"))
    depths = dict(zip(symbols, cycle(DEPTHS)))
    exchange = connect(http_url)
    observe_books(exchange, depths, evidence)
    try:
        await exchange.load_markets()
        for symbol in symbols:
            check_precision(exchange, symbol, evidence)
        pairs = [pair for symbol in symbols for pair in watches(exchange, symbol, depths[symbol], evidence)]
        tasks = [asyncio.create_task(follow(*pair)) for pair in pairs]
        done, running = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            evidence.problem(f"ccxt raised {task.exception()!r}")
        for task in running:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await exchange.close()
    return evidence.finish(["book"], ["watched book"])


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
