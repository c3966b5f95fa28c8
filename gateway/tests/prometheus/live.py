"""Asks a Prometheus that scrapes a gateway whether every query of the dashboards and rules has data: live.py URL DASHBOARDS.

Waits for enough scrapes first. Takes the queries as they stand, with the variables replaced. A query that rightly has no data in a
gateway that is well is listed below with its reason; the series that it uses must be there all the same. Ends with 1 and names what
lacks data.
"""

import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import boards

# What Grafana would put in for a scrape interval of one second.
RATE_INTERVAL = "10s"
RANGE_S = 30

# Scrapes that must have gone well in the last 40 s before anything is asked, and the longest wait for them.
SCRAPES = "sum_over_time(up{job='gateway'}[40s]) >= 30"
PATIENCE_S = 200

# Queries that are under way at the same time.
AT_ONCE = 8

# Longest wait for an answer.
ANSWER_S = 60

# A machine that is loaded misses scrapes: what has no data is asked for once more after so long.
AGAIN_AFTER_S = 4

# Panels whose query may have no data, each with the reason.
MAY_BE_EMPTY = {
    ("gateway-overview", "Connections opened and ended", 'closed: {{code}}'): "lists only codes that occur",
    ("gateway-overview", "Credentials", "refused: {{reason}}"): "lists only reasons that occur",
}


def ask(url, path, **parameters):
    """The result of a query; an error of Prometheus is one of ours."""
    address = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error).get("error", str(error))) from error


def filled(expr, stage="end_to_end"):
    """A query as Grafana would send it."""
    for name, value in (("$__rate_interval", RATE_INTERVAL), ("$instance", ".+"), ("$stage", stage)):
        expr = expr.replace(name, value)
    return expr


def has_numbers(result):
    """Whether at least one series has at least one number."""
    samples = [sample for series in result for sample in series.get("values") or [series["value"]]]
    return any(not math.isnan(float(value)) for _, value in samples)


def check_query(url, expr):
    """What is wrong with a query; none when it has data."""
    what = try_query(url, expr)
    if what == "no data":
        time.sleep(AGAIN_AFTER_S)
        what = try_query(url, expr)
    return what


def try_query(url, expr):
    """The same of the last half minute."""
    now = time.time()
    try:
        result = ask(url, "query_range", query=expr, start=now - RANGE_S, end=now, step=1)
    except ValueError as error:
        return str(error)
    return None if has_numbers(result) else "no data"


def check_selectors(url, expr):
    """Selections of a query that have no series."""
    for one in boards.selectors(expr):
        if not ask(url, "query", query=f"last_over_time({one}[1m])"):
            yield f"{one} has no series"


def check_panel_query(url, name, panel, target):
    """One query of one panel: where it stands, as it was sent, what is wrong."""
    expr = filled(target["expr"])
    what = check_query(url, expr)
    if (name, panel["title"], target["legendFormat"]) in MAY_BE_EMPTY and what == "no data":
        what = "; ".join(check_selectors(url, expr)) or None
    return f"{name}: {panel['title']}: {target['legendFormat']}", expr, what


def check_rule(url, rule):
    """A recorded rule has data, an alert's series are there."""
    expr = rule["expr"]
    what = check_query(url, expr)
    if "record" in rule:
        what = what or check_query(url, rule["record"])
    elif what in (None, "no data"):
        what = "; ".join(check_selectors(url, expr)) or None
    return rule.get("alert") or rule["record"], expr, what


def checks(url, folder):
    """Everything that is to be asked: what to call and with what."""
    for name, board in boards.dashboards(folder).items():
        for panel in boards.panels(board):
            for target in panel["targets"]:
                yield check_panel_query, url, name, panel, target
    for rule in boards.rules(folder):
        yield check_rule, url, rule


def wait_for_scrapes(url):
    """Until there are enough of them for the rates of the panels."""
    until = time.monotonic() + PATIENCE_S
    while not ask(url, "query", query=SCRAPES):
        if time.monotonic() > until:
            sys.exit(f"live: Prometheus has too few scrapes after {PATIENCE_S} s")
        time.sleep(1)


def main():
    url, folder = sys.argv[1:]
    wait_for_scrapes(url)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(check, *arguments) for check, *arguments in checks(url, folder)]
        results = [answer.result() for answer in answers]
    checked = len(results)
    failed = [f"{place}: {what}\n    {expr}" for place, expr, what in results if what]
    print(*failed, sep="\n", end="\n" if failed else "")
    print(f"live: {checked} queries, {len(failed)} without data, {len(MAY_BE_EMPTY)} that may have none")
    sys.exit(1 if failed or checked < 100 else 0)


if __name__ == "__main__":
    main()
