"""Runs the Autobahn cases against a WebSocket echo and judges them: judge.py URL REPORT_FOLDER

Owns the list of cases and the verdict: exit code 0 only if every case ran and each is as it must be. Prints the
counts, and one line for each case that is not. The reports of all cases stay in the folder.
"""

import asyncio
import collections
import sys

from kosoku import FailureError, run_fuzzingclient
from kosoku._report import write_reports

# Section 8 does not exist. 12 and 13 are about compression, which the gateway does not offer.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
# How many there are of each outcome when a server is strict in everything.
EXPECTED = {"OK": 298, "INFORMATIONAL": 3}
CLOSES = {"OK", "INFORMATIONAL"}
# Longest time of the whole run: a loaded machine is no failure.
PATIENCE_S = 300


async def run(url):
    try:
        return await asyncio.wait_for(run_fuzzingclient(url, CASES, concurrency=4), PATIENCE_S)
    except FailureError as failure:
        return failure.results


def is_good(case):
    return case.behavior.value in EXPECTED and case.behavior_close.value in CLOSES


def main():
    url, folder = sys.argv[1:]
    cases = asyncio.run(run(url))
    write_reports(cases, folder, produce_html=False)
    for case in cases:
        if not is_good(case):
            why = f"{case.result} {case.result_close}".replace("\n", " ")
            print(f"case {case.case_id}: {case.behavior.value}, close {case.behavior_close.value}: {why}")
    counts = collections.Counter(case.behavior.value for case in cases)
    closes = collections.Counter(case.behavior_close.value for case in cases)
    print(f"cases {dict(counts)}, closes {dict(closes)}")
    return 0 if counts == EXPECTED and all(map(is_good, cases)) else 1


if __name__ == "__main__":
    sys.exit(main())
