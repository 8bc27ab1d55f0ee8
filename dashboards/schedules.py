"""When each policy of a benchmark retrained: read from the data of its report."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.shapes import NUMBER, misfit

BEGIN, END = '<script type="application/json" id="data">', "</script>"
PLOT = re.compile(
    r'id="(plot-\d+)" role="img" aria-label="Timeline of ([^"]*), told in words before it."'
    r".*?<figcaption>(.*?): error above;",
    re.DOTALL,
)
"""A timeline in the report: the number of its plot, its stream, and where it was looked at."""
TIMELINE = {
    "data": [{"name": str, "mode": str, "meta": [str], "x": [NUMBER], "y": [object]}],
    "layout": {
        "xaxis": {"range": [NUMBER]},
        "shapes": [{"x0": NUMBER, "x1": NUMBER}],
        "yaxis2": {"ticktext": [str]},
    },
}
"""What is needed of a plot."""
Schedules = dict[str, Any]


def schedules_of(report: Path) -> dict[str, Schedules]:
    """Return the timelines of a report by stream, JSON-ready; none if it has none that fit.

    Each has `about` (its seed, latency and label delay), `records`, `drifts` ([first, last]),
    `policies` (the optimum first) and `tracks`: `policy`, `prices` at which it is true, `asked`
    and `ready` (the record at which each model was asked for, and the first that it served), and
    the mean error as `x` and `y`.

    Parameters
    ----------
    report
        The path of `report.html`.

    Examples
    --------
    >>> schedules_of(Path("/nowhere/at/all"))
    {}
    """
    try:
        text = report.read_text("utf-8")
        start = text.index(BEGIN) + len(BEGIN)
        plots = json.loads(text[start : text.index(END, start)])["plots"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    found = {}
    for number, stream, about in PLOT.findall(text[:start]):
        plot = plots.get(number) if isinstance(plots, Mapping) else None
        if isinstance(plot, Mapping) and not misfit(plot, TIMELINE):
            found[html.unescape(stream)] = {"about": html.unescape(about), **_timeline(plot)}
    return found


def _timeline(plot: Mapping[str, Any]) -> Schedules:
    """Return a plot of the report without its looks: lines and marks come in turn."""
    layout, tracks = plot["layout"], []
    for line, marks in zip(plot["data"][::2], plot["data"][1::2], strict=False):
        lasting = marks.get("error_x", {}).get("array", [])
        tracks.append(
            {
                "policy": html.unescape(line["name"]),
                "prices": line["meta"],
                "asked": marks["x"],
                "ready": [at + more for at, more in zip(marks["x"], lasting, strict=False)],
                "x": line["x"],
                "y": line["y"],
            }
        )
    return {
        "records": layout["xaxis"]["range"][-1],
        "drifts": [[one["x0"], one["x1"]] for one in layout["shapes"]],
        "policies": list(dict.fromkeys(one["policy"] for one in tracks)),
        "tracks": tracks,
    }
