"""The symbols that the clients follow: `symbols.py HTTP_URL`, one a line.

Owns the choice: from the listing of GET /0/public/AssetPairs a pair of each price precision, the well-known ones where
there is a choice, and a pair whose price moves in steps that are no power of ten. Fails when the listing has too few
precisions to tell anything.
"""

import json
import sys
from urllib.request import urlopen

PRECISIONS_MIN = 4
PRECISIONS_MAX = 9

# Busy in every feed that has them.
WELL_KNOWN = ["BTC/USD", "ETH/USD", "XRP/USD", "SHIB/USD"]


def choose(pairs):
    firsts = {}
    for name in [name for name in WELL_KNOWN if name in pairs] + list(pairs):
        firsts.setdefault(pairs[name]["pair_decimals"], name)
    if len(firsts) < PRECISIONS_MIN:
        sys.exit(f"{len(firsts)} different pair_decimals, expected {PRECISIONS_MIN} or more")
    chosen = list(firsts.values())[:PRECISIONS_MAX]
    odd_steps = [name for name, pair in pairs.items() if pair["tick_size"].strip("0.") != "1"]
    return dict.fromkeys(chosen + odd_steps[:1])


def main(http_url):
    with urlopen(f"{http_url}/0/public/AssetPairs", timeout=10) as answer:
        listing = json.load(answer)
    if listing["error"]:
        sys.exit(f"AssetPairs: {listing['error']}")
    print("\n".join(choose({pair["wsname"]: pair for pair in listing["result"].values()})))


if __name__ == "__main__":
    main(sys.argv[1])
