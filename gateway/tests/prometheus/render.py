"""Draws each dashboard from its JSON and Prometheus' answers: render.py URL DASHBOARDS FOLDER.

For people who want to see a dashboard without a Grafana: the same panels in the same places, in a plain form. Decides nothing about
right and wrong; live.py does.
"""

import math
import pathlib
import sys
import time

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.colors import PowerNorm  # noqa: E402

import boards  # noqa: E402
from live import ask, filled  # noqa: E402

WINDOW_S = 45
CELL_W, CELL_H = 0.56, 0.30  # inches of a cell of the grid
GAP = 0.10
INK, FAINT, GRID, PAPER, SHEET = "#d8d9da", "#8e9196", "#2c3037", "#181b1f", "#111217"
LINES = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#5195ce", "#ba43a9", "#a18bdb", "#64b0c8", "#e0b400", "#f29191", "#96d98d"]
COLORS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "text": INK}
STEPS = {
    "short": ("", 1e3, ["", "k", "M", "G"]),
    "s": None,
    "bytes": ("B", 1024, ["", "Ki", "Mi", "Gi"]),
    "Bps": ("B/s", 1e3, ["", "k", "M", "G"]),
}


def human(value, unit):
    """A number with its unit, as short as it can be told."""
    if value is None or math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if abs(value) * factor >= 1 or name == "µs":
                return "0 s" if value == 0 else f"{value * factor:.3g} {name}"
    if unit in ("bool_on_off", "bool_yes_no", "none"):
        return f"{value:g}"
    suffix, step, names = STEPS.get(unit) or ({"mps": " msg/s", "ops": "/s", "cps": "/s", "wps": " w/s", "reqps": " req/s", "cpm": "/min"}[unit], 1e3, ["", "k", "M", "G"])
    index = 0
    while abs(value) >= step and index < len(names) - 1:
        value /= step
        index += 1
    return f"{value:.3g} {names[index]}{suffix}".replace("  ", " ").strip()


def fetch(url, target):
    """The series of a query over the window: names, times before now, values."""
    now = time.time()
    result = ask(url, "query_range", query=filled(target["expr"]), start=now - WINDOW_S, end=now, step=1)
    for series in result:
        name = target["legendFormat"]
        for label, value in series["metric"].items():
            name = name.replace("{{" + label + "}}", value)
        points = [(float(at) - now, float(value)) for at, value in series["values"]]
        points = [(at, value) for at, value in points if math.isfinite(value)]
        if points:
            yield name, *zip(*points)


def color_of(value, thresholds):
    """The colour of the last threshold that is reached."""
    found = thresholds[0]["color"]
    for step in thresholds[1:]:
        if value >= step["value"]:
            found = step["color"]
    return COLORS.get(found, found)


def draw_stat(axes, url, panel):
    defaults = panel["fieldConfig"]["defaults"]
    series = [one for target in panel["targets"] for one in fetch(url, target)]
    axes.axis("off")
    if not series:
        axes.text(0.5, 0.4, "no data", ha="center", va="center", color=FAINT, fontsize=11)
        return
    name, times, values = series[0]
    last = values[-1]
    text = human(last, defaults["unit"])
    for mapping in defaults.get("mappings", ()):
        text = mapping["options"].get(f"{last:g}", {}).get("text", text)
    if panel["options"]["textMode"] == "name":
        text = name
    ink = color_of(last, defaults["thresholds"]["steps"])
    axes.text(0.5, 0.5, text, ha="center", va="center", color=ink, fontsize=16, transform=axes.transAxes)
    if panel["options"]["graphMode"] == "area" and len(values) > 1:
        low, high = min(values), max(values)
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(low - 1e-12, low + 4 * (high - low) + 1e-12)
        axes.fill_between(times, values, low, color=ink, alpha=0.25, lw=0)


def draw_bars(axes, url, panel):
    defaults = panel["fieldConfig"]["defaults"]
    series = [one for target in panel["targets"] for one in fetch(url, target)]
    top = defaults.get("max", 1)
    for index, (name, _, values) in enumerate(series):
        last, at = values[-1], len(series) - index
        axes.barh(at, top, color=GRID, height=0.6)
        axes.barh(at, last, color=color_of(last, defaults["thresholds"]["steps"]), height=0.6)
        axes.text(-0.02 * top, at, name, ha="right", va="center", color=INK, fontsize=7.5)
        axes.text(1.02 * top, at, human(last, defaults["unit"]), ha="left", va="center", color=INK, fontsize=7.5)
    axes.set_xlim(-0.35 * top, 1.25 * top)
    axes.axis("off")


def draw_lines(axes, url, panel):
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    series = [one for target in panel["targets"] for one in fetch(url, target)]
    series.sort(key=lambda one: -max(one[2]))
    is_stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    floor = {}
    for (name, times, values), ink in zip(series, LINES * 4):
        if is_stacked:
            low = [floor.get(round(at), 0.0) for at in times]
            high = [a + b for a, b in zip(low, values)]
            axes.fill_between(times, low, high, color=ink, alpha=0.45, lw=0)
            floor.update({round(at): value for at, value in zip(times, high)})
        else:
            axes.plot(times, values, color=ink, lw=1.1)
    if "min" in defaults:
        axes.set_ylim(bottom=defaults["min"])
    if not any(max(values) for _, _, values in series):
        axes.set_ylim(-0.05, 1)
    top = axes.get_ylim()[1]
    for step in defaults["thresholds"]["steps"][1:]:
        if step["value"] <= top and defaults["custom"]["thresholdsStyle"]["mode"] == "dashed":
            axes.axhline(step["value"], color=COLORS.get(step["color"], step["color"]), lw=0.8, ls="--")
    axes.yaxis.set_major_formatter(lambda value, _: human(value, unit))
    axes.set_xlim(-WINDOW_S, 0)
    shown = [f"{name}  {human(values[-1], unit)}" for name, _, values in series]
    legend(axes, shown)


def legend(axes, names):
    """Names below the lines; what does not fit is counted."""
    room = 6
    rest = len(names) - room
    names = names[:room] + ([f"and {rest} more"] if rest > 0 else [])
    handles = [pyplot.Line2D([], [], color=ink, lw=3) for ink, _ in zip(LINES, names)]
    if rest > 0:
        handles[-1].set_color(PAPER)
    if names:
        figure, at = axes.figure, axes.get_position()
        corner = (at.x0 - 0.55 / figure.get_figwidth(), at.y0 - 0.2 / figure.get_figheight())
        found = axes.legend(handles, names, loc="upper left", bbox_to_anchor=corner, bbox_transform=figure.transFigure, ncol=3, fontsize=6,
                            frameon=False, handlelength=1.0, columnspacing=1.0, handletextpad=0.5, labelcolor=INK)
        found.set_in_layout(False)


def draw_heatmap(axes, url, panel):
    cumulated = {}
    for name, times, values in fetch(url, panel["targets"][0]):
        if name not in ("+Inf", "inf"):
            cumulated[float(name)] = dict(zip((round(at) for at in times), values))
    bounds = sorted(cumulated)
    if not bounds:
        return
    moments = sorted({at for row in cumulated.values() for at in row})
    cells, below = [], dict.fromkeys(moments, 0.0)
    for bound in bounds:
        row = [max(cumulated[bound].get(at, 0.0) - below[at], 0.0) for at in moments]
        below = {at: cumulated[bound].get(at, 0.0) for at in moments}
        cells.append(row)
    filled_rows = [index for index, row in enumerate(cells) if any(row)] or [0]
    low, high = max(filled_rows[0] - 1, 0), min(filled_rows[-1] + 2, len(bounds))
    seen = [[cell or math.nan for cell in row] for row in cells[low:high]]
    axes.pcolormesh(moments, range(low, high), seen, shading="nearest", cmap="inferno", norm=PowerNorm(0.5, vmin=0))
    unit = panel["options"]["yAxis"]["unit"]
    axes.set_yticks([index + 0.5 for index in range(low, high)][:: max(1, (high - low) // 9)])
    axes.set_yticklabels([human(bounds[index], unit) for index in range(low, high)][:: max(1, (high - low) // 9)])
    axes.set_xlim(-WINDOW_S, 0)
    axes.grid(False)


DRAW = {"stat": draw_stat, "bargauge": draw_bars, "timeseries": draw_lines, "heatmap": draw_heatmap}


def draw(url, board, path):
    """One dashboard as a picture."""
    height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in board["panels"])
    figure_w, figure_h = 24 * CELL_W, height * CELL_H + 0.4
    figure = pyplot.figure(figsize=(figure_w, figure_h), facecolor=SHEET)
    figure.text(0.008, 1 - 0.2 / figure_h, board["title"], color=INK, fontsize=12, va="center")
    for panel in board["panels"]:
        at = panel["gridPos"]
        x, y = at["x"] * CELL_W, figure_h - 0.4 - (at["y"] + at["h"]) * CELL_H
        w, h = at["w"] * CELL_W, at["h"] * CELL_H
        if panel["type"] == "row":
            figure.text((x + GAP) / figure_w, (y + h / 2) / figure_h, panel["title"], color=INK, fontsize=9.5, va="center", weight="bold")
            continue
        box = pyplot.Rectangle(((x + GAP / 2) / figure_w, (y + GAP / 2) / figure_h), (w - GAP) / figure_w, (h - GAP) / figure_h,
                               facecolor=PAPER, edgecolor=GRID, lw=0.6, transform=figure.transFigure, zorder=-1)
        figure.add_artist(box)
        figure.text((x + 2 * GAP) / figure_w, (y + h - 0.2) / figure_h, panel["title"].replace("$stage", "end_to_end"), color=INK, fontsize=7.5, va="center")
        is_plot = panel["type"] in ("timeseries", "heatmap")
        left, right, bottom, up = (0.62, 0.2, 0.72 if panel["type"] == "timeseries" else 0.3, 0.36) if is_plot else (0.15, 0.15, 0.1, 0.34)
        axes = figure.add_axes([(x + left) / figure_w, (y + bottom) / figure_h, (w - left - right) / figure_w, (h - bottom - up) / figure_h],
                               facecolor=PAPER)
        axes.tick_params(colors=FAINT, labelsize=6, length=2)
        axes.grid(True, color=GRID, lw=0.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        DRAW[panel["type"]](axes, url, panel)
        if is_plot:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")
    figure.savefig(path, dpi=80, facecolor=SHEET, pil_kwargs={"optimize": True})
    pyplot.close(figure)


def main():
    url, folder, out = sys.argv[1:]
    for name, board in boards.dashboards(folder).items():
        path = pathlib.Path(out) / f"{name}.png"
        draw(url, board, path)
        print(f"render: {path.name}, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
