"""The form of a Grafana dashboard: panels, rows, variables, links.

Knows nothing of the gateway: what is shown stands in generate.py. Gives plain dictionaries in the order in which Grafana writes
them. Never reads a file and never talks to a server.
"""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


def query(expr, legend, **more):
    """One query of a panel; `legend` names its series."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "legendFormat": legend,
        "range": True,
        **more,
    }


def steps(*pairs):
    """Thresholds: a colour, then values from which on there is another colour."""
    first, *rest = pairs
    found = [{"color": first, "value": None}]
    found += [{"color": color, "value": value} for value, color in rest]
    return {"mode": "absolute", "steps": found}


def panel(kind, title, description, unit, queries, *, thresholds=None, section=None, lowest=None, **more):
    """A panel without its place; `section` is the heading of the runbook that says what to do."""
    defaults = {
        "color": {"mode": "palette-classic" if kind == "timeseries" else "thresholds"},
        "mappings": [],
        "noValue": more.pop("no_value", "none"),
        "thresholds": thresholds or steps("text"),
        "unit": unit,
    }
    if lowest is not None:
        defaults["min"] = lowest
    for key in ("max", "decimals"):
        if key in more:
            defaults[key] = more.pop(key)
    if kind == "timeseries":
        defaults["custom"] = _lines(more.pop("stack", False), thresholds is not None)
    mappings = more.pop("mappings", None)
    if mappings:
        defaults["mappings"] = mappings
    links = []
    if section:
        anchor = section.lower().replace(" ", "-")
        links = [{"title": f"Runbook: {section}", "url": f"${{runbook}}#{anchor}", "targetBlank": True}]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "links": links,
        "options": {**_OPTIONS[kind], **more.pop("options", {})},
        "targets": [{**one, "refId": chr(ord("A") + index)} for index, one in enumerate(queries)],
        **more,
    }


def _lines(stack, has_thresholds):
    return {
        "drawStyle": "line",
        "fillOpacity": 30 if stack else 8,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stack else "none"},
        "thresholdsStyle": {"mode": "dashed" if has_thresholds else "off"},
    }


_REDUCE = {"calcs": ["lastNotNull"], "fields": "", "values": False}

_OPTIONS = {
    "timeseries": {
        "legend": {"calcs": ["mean", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _REDUCE,
        "textMode": "auto",
    },
    "bargauge": {
        "displayMode": "gradient",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "orientation": "horizontal",
        "reduceOptions": _REDUCE,
        "showUnfilled": True,
        "valueMode": "color",
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "scale": "exponential", "exponent": 0.5, "reverse": False, "fill": "dark-orange"},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"show": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    },
}


def row(title):
    """A heading over the panels that follow."""
    return {"type": "row", "title": title, "collapsed": False, "panels": []}


def place(rows):
    """Gives every panel its place: `rows` are lists of a height and of panels with their widths, or a heading."""
    placed, y, number = [], 0, 0
    for entry in rows:
        height, panels = (1, [(COLUMNS, entry)]) if isinstance(entry, dict) else (entry[0], entry[1:])
        x = 0
        for width, one in panels:
            number += 1
            placed.append({**one, "id": number, "gridPos": {"h": height, "w": width, "x": x, "y": y}})
            x += width
        assert x == COLUMNS, f"a row is {x} wide at {panels[0][1]['title']}"
        y += height
    return placed


def _variables(extra):
    instances = "label_values(gateway_build_info, instance)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0,
         "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "", "skipUrlSync": False},
        {"name": "instance", "label": "Instance", "type": "query", "datasource": DATASOURCE, "definition": instances,
         "query": {"qryType": 1, "query": instances, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
         "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "hide": 0, "includeAll": True, "allValue": ".+",
         "multi": True, "options": [], "refresh": 2, "regex": "", "skipUrlSync": False, "sort": 1},
        *extra,
        {"name": "runbook", "label": "Runbook", "type": "textbox", "query": "/public/operations.md", "hide": 2,
         "current": {"selected": True, "text": "/public/operations.md", "value": "/public/operations.md"},
         "options": [{"selected": True, "text": "/public/operations.md", "value": "/public/operations.md"}], "skipUrlSync": False},
    ]


def choice(name, label, values):
    """A variable with a fixed set of values; the first is chosen."""
    options = [{"selected": index == 0, "text": value, "value": value} for index, value in enumerate(values)]
    return {"name": name, "label": label, "type": "custom", "query": ",".join(values), "current": options[0], "hide": 0,
            "includeAll": False, "multi": False, "options": options, "skipUrlSync": False}


def dashboard(uid, title, description, rows, variables=()):
    """A whole dashboard."""
    panels = place(rows)
    kinds = sorted({one["type"] for one in panels} - {"row"})
    names = {"timeseries": "Time series", "stat": "Stat", "heatmap": "Heatmap", "bargauge": "Bar gauge"}
    return {
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            *({"type": "panel", "id": kind, "name": names[kind], "version": ""} for kind in kinds),
        ],
        "annotations": {"list": [
            {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
             "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard"},
            {"datasource": DATASOURCE, "enable": True, "hide": False, "iconColor": "purple", "name": "Restarts",
             "expr": 'changes(process_start_time_seconds{instance=~"$instance", job="gateway"}[1m]) > 0',
             "titleFormat": "restart of {{instance}}", "step": "30s"},
        ]},
        "description": description,
        "editable": False,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [
            {"asDropdown": False, "icon": "dashboard", "includeVars": True, "keepTime": True, "tags": ["market-data-gateway"],
             "targetBlank": False, "title": "Gateway", "tooltip": "", "type": "dashboards", "url": ""},
            {"asDropdown": False, "icon": "doc", "includeVars": False, "keepTime": False, "tags": [], "targetBlank": True,
             "title": "Runbook", "tooltip": "what to do", "type": "link", "url": "${runbook}"},
        ],
        "panels": panels,
        "refresh": "10s",
        "schemaVersion": 39,
        "tags": ["market-data-gateway"],
        "templating": {"list": _variables(variables)},
        "time": {"from": "now-30m", "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "timezone": "browser",
        "title": title,
        "uid": uid,
        "version": 1,
        "weekStart": "",
    }
