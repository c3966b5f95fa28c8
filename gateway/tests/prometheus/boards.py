"""Dashboards and rules as the checks see them: which queries there are, and what a query selects.

Reads the JSON and YAML of the folder dashboards. Never talks to Prometheus.
"""

import json
import pathlib
import re
from typing import NamedTuple

import yaml

# What the gateway exports or our rules record. `up` is Prometheus' own.
SELECTOR = re.compile(r'(?<![\w:"])((?:gateway[_:]|process_)[\w:]*|up)\s*(\{[^}]*\})?(?!\w*\s*\()')
KEYWORDS = re.compile(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)")


class Query(NamedTuple):
    """A query and where it stands."""

    place: str
    expr: str


def dashboards(folder):
    """Every dashboard by the name of its file."""
    paths = sorted(pathlib.Path(folder).glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def panels(dashboard):
    """Its panels without the headings."""
    return [one for one in dashboard["panels"] if one["type"] != "row"]


def rules(folder):
    """Every rule of the folder dashboards/rules."""
    text = (pathlib.Path(folder) / "rules" / "gateway.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def selectors(expr):
    """What an expression selects: `name{matchers}` texts, each once."""
    plain = KEYWORDS.sub(" ", expr)
    return sorted({name + (matchers or "") for name, matchers in SELECTOR.findall(plain)})


def metric_names(expr):
    """The names in it."""
    return sorted({one.split("{")[0] for one in selectors(expr)})
