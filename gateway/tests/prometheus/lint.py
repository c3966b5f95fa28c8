"""What can be said of dashboards and rules without running anything: lint.py DASHBOARDS OPERATIONS.md METRICS_PAGE.

The rules of Grafana's dashboard-linter, re-implemented, since it is not to be had as a package; the dashboards against the types of
grafana-foundation-sdk; every metric of the gateway's own page on a panel; every alert with its section in the runbook, its severity
and its unit tests. Prints every complaint and ends with 1 if there is one.
"""

import json
import pathlib
import re
import sys

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import boards

# Exported and on no panel, each with the reason.
NOT_SHOWN = {
    "process_cpu_seconds_total": "gateway_thread_cpu_seconds_total says the same by thread",
    "process_virtual_memory_bytes": "address space is no memory",
    "process_threads": "gateway_loop_threads says what they do",
}

# Grafana writes these, and the SDK does not know them.
BEYOND_SCHEMA = {
    "/__requires",
    "/annotations/list/N/builtIn",
    "/annotations/list/N/titleFormat",
    "/annotations/list/N/step",
    "/templating/list/N/definition",
}


def lint_dashboard(name, board):
    """The linter's rules for a whole dashboard."""
    variables = {one["name"]: one for one in board["templating"]["list"]}
    datasource, instance = variables.get("datasource", {}), variables.get("instance", {})
    if datasource.get("type") != "datasource" or datasource.get("query") != "prometheus":
        yield "template-datasource: a variable `datasource` chooses the Prometheus data source"
    if instance.get("type") != "query" or not (instance.get("multi") and instance.get("includeAll") and instance.get("allValue") == ".+"):
        yield "template-instance: a variable `instance` chooses one, several or all (.+)"
    if instance.get("refresh") != 2:
        yield "template-on-time-change-reload: `instance` is read anew when the time range changes"
    if board["editable"]:
        yield "uneditable-dashboard: what is provisioned is changed in the repository"
    if not board["uid"] or board["uid"] != name or not board["title"] or not board["description"]:
        yield "dashboard: uid, title and description, and a file called after the uid"
    if not any("${runbook}" in link.get("url", "") for link in board["links"]):
        yield "dashboard: a link to the runbook"
    ids = [one["id"] for one in board["panels"]]
    titles = [one["title"] for one in board["panels"]]
    if len(set(ids)) != len(ids) or len(set(titles)) != len(titles):
        yield "panel: every panel has its own id and title"
    yield from overlaps(board["panels"])


def overlaps(panels):
    """No two panels share a cell, and none leaves the grid."""
    taken = {}
    for one in panels:
        at = one["gridPos"]
        if at["x"] + at["w"] > 24:
            yield f"panel: {one['title']} leaves the grid"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield f"panel: {one['title']} lies over {taken[cell]}"
                break
            taken[cell] = one["title"]


def lint_panel(panel, headings):
    """The linter's rules for a panel."""
    if not panel.get("title") or not panel.get("description", "").endswith("."):
        yield "panel-title-description: a title, and a sentence that says what it means"
    if panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
        yield "panel-datasource: the data source is the variable"
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        yield "panel-units: a unit"
    if not defaults.get("thresholds", {}).get("steps"):
        yield "panel: thresholds"
    if not panel.get("targets"):
        yield "panel-no-targets: a query"
    for link in panel["links"]:
        anchor = link["url"].split("#")[-1]
        if anchor not in headings:
            yield f"panel: its link leads to #{anchor}, which docs/operations.md lacks"
    for target in panel.get("targets", ()):
        yield from lint_target(target)


def lint_target(target):
    """The linter's rules for a query."""
    expr = target["expr"]
    if target["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
        yield f"panel-datasource: the data source of {target['refId']} is the variable"
    if not target.get("legendFormat"):
        yield f"target: {target['refId']} names its series"
    for found in re.findall(r"\[([^\]]+)\]", expr):
        if found != "$__rate_interval":
            yield f"target-rate-interval: [{found}] in {expr}"
    for one in boards.selectors(expr):
        metric = one.split("{")[0]
        if 'instance=~"$instance"' not in one:
            yield f"target-instance: {one} takes every instance"
        counts = re.search(r"_(total|bucket|sum|count)$", metric) and not metric.startswith("gateway:")
        is_rated = re.search(r"\b(?:rate|irate|increase)\(" + re.escape(one) + r"\[", expr)
        # Counters are compared with each other in one place: where it is seen whether they add up.
        if counts and not is_rated and "gateway_deliveries_fanned_out_total" not in expr:
            yield f"target-counter-agg: {metric} is a counter, and shown as it is"


def lost_keys(ours, theirs, path=""):
    """What the typed form of a dashboard does not have of ours."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if value is None:
                continue
            if not isinstance(theirs, dict) or key not in theirs:
                yield f"{path}/{key}"
            else:
                yield from lost_keys(value, theirs[key], f"{path}/{key}")
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            yield path
        else:
            for one, other in zip(ours, theirs):
                yield from lost_keys(one, other, f"{path}/N")
    elif ours != theirs:
        yield path


def lint_schema(board):
    """Takes a dashboard into the types of Grafana's own SDK and back: what does not come back has no place in the schema."""
    try:
        typed = Dashboard.from_json(board)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        yield f"schema: {error!r}"
        return
    lost = set(lost_keys(board, json.loads(json.dumps(typed, cls=JSONEncoder))))
    yield from (f"schema: {path} is not in Grafana's schema" for path in sorted(lost - BEYOND_SCHEMA))


def lint_rules(folder, headings):
    """Every alert has a severity, words, a runbook section, and tests in which it fires and in which it is silent."""
    tests = yaml.safe_load((pathlib.Path(folder) / "rules" / "gateway.test.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    for rule in boards.rules(folder):
        name = rule.get("alert")
        if name is None:
            if not re.fullmatch(r"gateway:\w+:\w+", rule["record"]):
                yield f"{rule['record']}: recorded names are level:metric:operation"
            continue
        notes = rule.get("annotations", {})
        if rule.get("labels", {}).get("severity") not in ("critical", "warning"):
            yield f"{name}: severity is critical or warning"
        if not notes.get("summary") or not notes.get("description"):
            yield f"{name}: a summary and a description"
        if notes.get("runbook_url") != f"docs/operations.md#{name.lower()}" or name.lower() not in headings:
            yield f"{name}: runbook_url names its section, and docs/operations.md has it"
        fires = [case for case in cases if case["alertname"] == name and case.get("exp_alerts")]
        silent = [case for case in cases if case["alertname"] == name and not case.get("exp_alerts")]
        if not fires or not silent:
            yield f"{name}: {len(fires)} tests in which it fires, {len(silent)} in which it is silent"


def lint_shown(folder, page):
    """Every metric that the gateway exports is on a panel or has a reason not to be."""
    exported = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    shown = set()
    for board in boards.dashboards(folder).values():
        text = json.dumps(board)
        shown |= {name for name in exported if re.search(rf"\b{name}(_bucket|_sum|_count)?\b", text)}
    yield from (f"{name}: on no panel" for name in sorted(exported - shown - NOT_SHOWN.keys()))
    yield from (f"{name}: is shown, or not exported; correct NOT_SHOWN" for name in sorted(NOT_SHOWN.keys() - (exported - shown)))


def anchors(document):
    """Headings as links name them."""
    titles = re.findall(r"^#{2,4} (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def main():
    folder, operations, page = sys.argv[1:]
    register_default_plugins()
    headings = anchors(pathlib.Path(operations).read_text(encoding="utf-8"))
    complaints = []
    found = boards.dashboards(folder)
    for name, board in found.items():
        complaints += [f"{name}: {what}" for what in [*lint_dashboard(name, board), *lint_schema(board)]]
        for panel in boards.panels(board):
            complaints += [f"{name}: {panel['title']}: {what}" for what in lint_panel(panel, headings)]
    complaints += lint_rules(folder, headings)
    complaints += lint_shown(folder, pathlib.Path(page).read_text(encoding="utf-8"))
    print(*complaints, sep="\n", end="\n" if complaints else "")
    count = sum(len(boards.panels(board)) for board in found.values())
    print(f"lint: {len(found)} dashboards, {count} panels, {len(boards.rules(folder))} rules, {len(complaints)} complaints")
    sys.exit(1 if complaints or len(found) < 4 else 0)


if __name__ == "__main__":
    main()
