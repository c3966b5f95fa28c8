"""What one Python client saw of the gateway, and whether it was right.

Owns the exchange's checksum recipe, the rules of sane books, tickers, trades and candles, the counts of what was
checked, and the verdict. Never talks to the gateway and never repairs what a client holds: the observers of a client
hand in what it holds, one line of JSON goes out. `evidence.mjs` is the same for Node.
"""

import json
import time
import zlib
from collections import Counter, defaultdict

# Levels a side that the checksum covers, whatever the subscribed depth: a deeper level is judged once it has risen.
CHECKSUM_LEVELS = 10

# Books per second of a run that each subscription to books must have shown; far below what a feed sends.
BOOKS_PER_SECOND_MIN = 1

# Share of the seconds of a run in which each subscription must have shown a book: one that falls silent is no success.
LIVELY_SHARE_MIN = 0.5

# Problems told in full; the rest is only counted.
PROBLEMS_TOLD_MAX = 5


def checksum(asks, bids):
    """The exchange's checksum of levels given as texts at full precision, best first."""
    levels = asks[:CHECKSUM_LEVELS] + bids[:CHECKSUM_LEVELS]
    digits = (text.replace(".", "").lstrip("0") for level in levels for text in level)
    return zlib.crc32("".join(digits).encode())


class Evidence:
    """Counts and faults of one client's run."""

    def __init__(self, client, version, seconds, symbols):
        self.client, self.version, self.seconds, self.symbols = client, version, seconds, symbols
        self.seen = Counter()  # by (kind, symbol)
        self.lively = defaultdict(set)  # seconds with a book, by (kind, symbol)
        self.mismatches = 0
        self.trade_ids = {symbol: [] for symbol in symbols}
        self.problems = []

    def problem(self, text):
        self.problems.append(text)

    def require(self, ok, symbol, text):
        """Counts nothing; notes a fault unless `ok`."""
        if not ok:
            self.problem(f"{symbol}: {text}")

    def precise(self, number, decimals):
        """A client's double at the instrument's precision, which must not need more decimals."""
        text = f"{number:.{decimals}f}"
        self.require(float(text) == number, "number", f"{number!r} does not fit {decimals} decimals")
        return text

    def book(self, kind, symbol, asks, bids, depth, announced):
        """A book as the client holds it after an update, and the checksum that came with that update."""
        self.seen[kind, symbol] += 1
        self.lively[kind, symbol].add(int(time.monotonic()))
        if checksum(asks, bids) != announced:
            self.mismatches += 1
            self.problem(f"{symbol}: {kind} has checksum {checksum(asks, bids)}, the gateway said {announced}")
        ask_prices, bid_prices = [float(price) for price, _ in asks], [float(price) for price, _ in bids]
        self.require(rising(ask_prices) and rising(bid_prices[::-1]), symbol, f"{kind} is out of order")
        self.require(rising(bid_prices[:1] + ask_prices[:1]), symbol, f"{kind} is crossed")
        self.require(len(asks) <= depth and len(bids) <= depth, symbol, f"{kind} is deeper than {depth}")
        self.require(all(float(qty) > 0 for _, qty in asks + bids), symbol, f"{kind} has an empty level")

    def ticker(self, symbol, row):
        """A row with keys bid, ask, last, low, high, volume, vwap; numbers."""
        self.seen["ticker", symbol] += 1
        volume, low, last, high, vwap = (row[key] for key in ("volume", "low", "last", "high", "vwap"))
        # A symbol of a young feed may have no trade yet, and then no prices of trades.
        sane = volume == 0 or (volume > 0 and 0 < low <= min(last, vwap) and max(last, vwap) <= high)
        self.require(0 < row["bid"] < row["ask"] and sane, symbol, f"ticker {row}")

    def trade(self, symbol, trade_id, side, price, qty):
        self.seen["trade", symbol] += 1
        sane = side in ("buy", "sell") and price > 0 and qty > 0
        self.require(sane, symbol, f"trade {trade_id} {side} {price} {qty}")
        self.trade_ids[symbol].append(trade_id)

    def candles(self, symbol, candles):
        """Candles of a minute as `[begin_ms, open, high, low, close, volume]`, oldest first."""
        self.seen["candle", symbol] += len(candles)
        self.require(rising([candle[0] for candle in candles]), symbol, "candles are out of order")
        for begin_ms, first, high, low, last, volume in candles:
            sane = 0 < low <= min(first, last) and max(first, last) <= high and volume >= 0 and begin_ms % 60_000 == 0
            self.require(sane, symbol, f"candle {begin_ms} {first} {high} {low} {last} {volume}")

    def finish(self, books, others=()):
        """Prints the summary, gives the exit code; `books` are the kinds of judged books, `others` must be seen too."""
        for symbol in self.symbols:
            for kind in books:
                self.expect(self.seen[kind, symbol], self.seconds * BOOKS_PER_SECOND_MIN, symbol, kind)
                lively = len(self.lively[kind, symbol])
                self.expect(lively, self.seconds * LIVELY_SHARE_MIN, symbol, f"second with {kind}")
            for kind in ("ticker", "trade", "candle", *others):
                self.expect(self.seen[kind, symbol], 1, symbol, kind)
            # A client may reorder the trades of one millisecond, but each must be there once.
            ids = sorted(self.trade_ids[symbol])
            gapless = all(later == earlier + 1 for earlier, later in zip(ids, ids[1:]))
            self.require(gapless, symbol, "trade ids have a gap or a repeat")
        print(json.dumps(self.summary(books)), flush=True)
        return 1 if self.problems else 0

    def expect(self, seen, least, symbol, kind):
        self.require(seen >= least, symbol, f"{seen} of kind {kind}, expected {least} or more")

    def summary(self, books):
        def total(kind):
            return sum(self.seen[kind, symbol] for symbol in self.symbols)

        return {
            "client": self.client,
            "version": self.version,
            "ok": not self.problems,
            "symbols": self.symbols,
            "checks": sum(total(kind) for kind in books),
            "mismatches": self.mismatches,
            "checks_per_symbol_min": min(self.seen[kind, symbol] for kind in books for symbol in self.symbols),
            "tickers": total("ticker"),
            "trades": total("trade"),
            "candles": total("candle"),
            "problems": len(self.problems),
            "problems_told": self.problems[:PROBLEMS_TOLD_MAX],
        }


def rising(numbers):
    return all(low < high for low, high in zip(numbers, numbers[1:]))
