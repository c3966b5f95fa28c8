"""python-kraken-sdk against a gateway: `kraken_sdk_client.py HTTP_URL SECONDS SYMBOL...`

Owns two of the SDK's order-book clients and one of its feed clients, and judges what they hold and are told.
Never changes the SDK: addresses are set where it has them, and its public callbacks are used.
"""

import asyncio
import logging
import sys
from datetime import datetime
from importlib.metadata import version

from evidence import Evidence
from kraken.spot import Market, SpotClient, SpotOrderBookClient, SpotWSClient

# The SDK's order-book client has one depth for all its books.
DEPTHS = [10, 100]

FEEDS = [
    {"channel": "ticker", "event_trigger": "bbo"},
    {"channel": "trade", "snapshot": True},
    {"channel": "ohlc", "interval": 1},
]


class Complaints(logging.Handler):
    """The SDK survives what it dislikes, refused requests and lost connections too, and only logs it."""

    def __init__(self, evidence):
        super().__init__(logging.WARNING)
        self.evidence = evidence

    def emit(self, record):
        self.evidence.problem(f"the SDK logged: {record.getMessage()}"[:500])


def kind_of(depth):
    return f"book {depth}"


def order_books(depth, evidence):
    """An order-book client whose books are judged after each message."""

    def on_book(pair, message):
        book = client.get(pair)
        evidence.require(book["valid"], pair, "the SDK finds its own book invalid")
        if "data" in message:  # else it is the SDK's own word about an invalid book
            asks = [(price, qty) for price, (qty, _) in book["ask"].items()]
            bids = [(price, qty) for price, (qty, _) in book["bid"].items()]
            evidence.book(kind_of(depth), pair, asks, bids, depth, message["data"][0]["checksum"])

    client = SpotOrderBookClient(depth=depth, callback=on_book)
    return client


class Feeds:
    """What the feed client is told, message by message."""

    def __init__(self, evidence):
        self.evidence = evidence
        self.pongs = 0
        self.pairs = {}

    async def on_message(self, message):
        if message.get("method") == "pong":
            self.pongs += 1
        elif "method" in message:
            self.evidence.require(message["success"], "feeds", f"refused: {message}")
        else:
            self.see(message)

    def see(self, message):
        match message.get("channel"):
            case "ticker":
                self.see_ticker(message["data"])
            case "trade":
                self.see_trade(message["data"])
            case "ohlc":
                self.see_ohlc(message["data"])
            case "instrument":
                self.see_pairs(message["data"])
            case "status" | "heartbeat":
                pass
            case _:
                self.evidence.problem(f"not asked for: {message}")

    def see_ticker(self, data):
        for row in data:
            self.evidence.ticker(row["symbol"], row)

    def see_trade(self, data):
        for row in data:
            self.evidence.trade(row["symbol"], row["trade_id"], row["side"], row["price"], row["qty"])

    def see_ohlc(self, data):
        for row in data:
            begin = datetime.fromisoformat(row["interval_begin"])
            prices = [row[key] for key in ("open", "high", "low", "close", "volume")]
            self.evidence.candles(row["symbol"], [[int(begin.timestamp() * 1000), *prices]])

    def see_pairs(self, data):
        self.pairs |= {pair["symbol"]: pair for pair in data["pairs"]}

    def judge(self, client, symbols):
        """What must be there at the end: pongs, instruments that agree with REST, tracked subscriptions."""
        self.evidence.require(self.pongs > 0, "feeds", "no pong")
        tracked = {(one["channel"], one.get("symbol", [None])[0]) for one in client.active_public_subscriptions}
        for symbol in symbols:
            info, pair = Market().get_asset_pairs(pair=symbol)[symbol], self.pairs.get(symbol, {})
            announced = (pair.get("price_precision"), pair.get("qty_precision"))
            agreed = announced == (info["pair_decimals"], info["lot_decimals"])
            self.evidence.require(agreed, symbol, f"instrument says precisions {announced}, AssetPairs otherwise")
            wanted = {(feed["channel"], symbol) for feed in FEEDS}
            self.evidence.require(wanted <= tracked, symbol, f"the SDK knows of no subscription to {wanted - tracked}")


async def run(http_url, seconds, symbols, evidence):
    ws_url = http_url.replace("http", "ws", 1)
    # The order-book client has no parameters for addresses.
    SpotClient.URL, SpotOrderBookClient.WS_URL = http_url, ws_url
    books = [order_books(depth, evidence) for depth in DEPTHS]
    feeds = Feeds(evidence)
    feed = SpotWSClient(ws_url=ws_url, rest_url=http_url, callback=feeds.on_message)
    clients = [*books, feed]
    await asyncio.gather(*(client.start() for client in clients))
    for client in books:
        await client.add_book(symbols)
    await feed.subscribe(params={"channel": "instrument"})
    for params in FEEDS:
        await feed.subscribe(params=params | {"symbol": symbols})
    await asyncio.sleep(seconds)  # the run itself
    evidence.require(not any(client.exception_occur for client in clients), "SDK", "a connection gave up")
    feeds.judge(feed, symbols)
    await asyncio.gather(*(client.close() for client in clients))


def main(http_url, seconds, symbols):
    evidence = Evidence("python-kraken-sdk", version("python-kraken-sdk"), seconds, symbols)
    logging.getLogger().addHandler(Complaints(evidence))
    asyncio.run(run(http_url, seconds, symbols, evidence))
    return evidence.finish([kind_of(depth) for depth in DEPTHS])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
