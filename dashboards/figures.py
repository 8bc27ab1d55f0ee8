"""From lanes to pictures: pure functions that return Plotly figures as plain dictionaries.

Nothing here imports Plotly: a figure is data and layout, drawn by the browser. All of a run is
drawn at once; what lies after the playhead is covered by the page, so that playing redraws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dashboards.looks import PALETTES, Figure, Palette, Theme, base_layout, escaped

Mode = Literal["overlaid", "stacked"]
Lanes = Mapping[str, Any]

PIXELS = 28
"""How high a lane of weight 1 is at least; where that is too much, the page scrolls."""
DETECTORS_MAX = 3
"""So many detectors of a run have a lane."""


@dataclass(slots=True)
class Row:
    """One lane of a figure: what it shows, how high it is, and its traces.

    Parameters
    ----------
    kind
        What it shows: ``error``, ``detector``, ``drift``, ``alarms``, ``training``, ``champion``
        or ``anomalies``.
    run
        Which run, by its place in the list; None if it shows all.
    weight
        Its share of the height.
    traces
        Plotly traces, without axes.
    axis
        What its y-axis has beyond the shared style.
    title
        What is written above it.
    """

    kind: str
    run: int | None
    weight: float
    traces: list[dict[str, Any]]
    axis: dict[str, Any] = field(default_factory=dict)
    title: str = ""


# --- series ---------------------------------------------------------------------------------


def ends(lanes: Lanes) -> list[int]:
    """Return the record at which each bin of the lanes ends.

    Examples
    --------
    >>> ends({"records": 25, "bin": 10, "cum_error": [1, 2, 4]})
    [9, 19, 24]
    """
    last, step = int(lanes["records"]) - 1, int(lanes["bin"])
    return [min((at + 1) * step - 1, last) for at in range(len(lanes["cum_error"]))]


def line(
    name: str, x: Sequence[float], y: Sequence[float | None], colour: str, **more: Any
) -> dict[str, Any]:
    """Return a thin line that the pointer passes over: the crosshair reads it, not a label."""
    style = {"color": colour, "width": more.pop("width", 1.4), "dash": more.pop("dash", "solid")}
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y),
        "line": style, "hoverinfo": "skip", "connectgaps": False, **more,
    }  # fmt: skip


def error_traces(lanes: Lanes, colour: str, palette: Palette, name: str) -> list[dict[str, Any]]:
    """Return the champion's error, and the first model's."""
    x = ends(lanes)
    return [
        line(
            "if never retrained",
            x,
            lanes["window_baseline"],
            palette.quiet,
            dash="2px,3px",
            width=1.2,
            legendrank=2000,
        ),
        line(name, x, lanes["window_error"], colour, width=1.7),
    ]


def band(lanes: Lanes, palette: Palette) -> list[dict[str, Any]]:
    """Return the threshold that the policy holds the error against, if it has one.

    Examples
    --------
    >>> band({"threshold": None}, PALETTES["light"])
    []
    >>> band({"threshold": {"seq": [0, 8], "value": [0.3, 0.3]}}, PALETTES["light"])[0]["y"]
    [0.3, 0.3]
    """
    limit = lanes["threshold"]
    if not limit or not limit["seq"]:
        return []
    drawn = line("threshold", limit["seq"], limit["value"], palette.bad, dash="6px,3px", width=1.2)
    return [drawn]


# --- events ---------------------------------------------------------------------------------


def marks(
    events: Sequence[Mapping[str, Any]], run: int, style: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return events as marks that can be clicked; each carries its run and its number."""
    return {
        "type": "scatter", "mode": "markers", "name": name, "showlegend": False,
        "x": [event["seq"] for event in events], "y": [0.5] * len(events),
        "text": [f"{event['seq']:,}: {escaped(event['label'])}" for event in events],
        "customdata": [[run, event["i"], event["seq"]] for event in events],
        "hovertemplate": "%{text}<extra></extra>", "marker": dict(style),
    }  # fmt: skip


def alarm_traces(lanes: Lanes, run: int, palette: Palette) -> list[dict[str, Any]]:
    """Return the alarms: filled if they found or followed a drift, hollow if they are false."""
    alarms = [event for event in lanes["events"] if event["kind"] == "alarm"]
    wrong = [event for event in alarms if event.get("false")]
    right = [event for event in alarms if not event.get("false")]
    filled = {"color": palette.alarm, "size": 9, "symbol": "circle"}
    hollow = {"color": palette.false, "size": 9, "symbol": "circle-open", "line": {"width": 1.6}}
    return [
        marks(wrong, run, hollow, "false alarm"),
        marks(right, run, filled, "alarm"),
    ]


def truth_traces(lanes: Lanes, run: int, palette: Palette) -> list[dict[str, Any]]:
    """Return the scripted drifts and faults, as bars over the records they last."""
    last = lanes["records"] - 1
    bars = []
    for kind, colour in (("drift", palette.drift), ("fault", palette.fault)):
        spans = spans_of(lanes, kind, last)
        bars.append(
            {
                "type": "bar", "orientation": "h", "name": kind, "showlegend": False,
                "base": [start for _, start, _, _ in spans], "y": [0.5] * len(spans),
                "x": [end - start for _, start, end, _ in spans], "width": 0.62,
                "text": [f"{start:,}: {escaped(text)}" for _, start, _, text in spans],
                "textposition": "none", "hovertemplate": "%{text}<extra></extra>",
                "customdata": [[run, at, start] for at, start, _, _ in spans],
                "marker": {"color": colour, "line": {"color": colour, "width": 2}},
            }
        )  # fmt: skip
    return bars


def spans_of(lanes: Lanes, kind: str, last: int) -> list[tuple[int, int, int, str]]:
    """Return number, start, end and text of each drift or fault; an open fault lasts to the end.

    Examples
    --------
    >>> fault = {"i": 3, "seq": 5, "text": "missing", "until": None}
    >>> spans_of({"faults": [fault]}, "fault", 99)
    [(3, 5, 99, 'missing')]
    >>> spans_of({"drifts": [{"i": 4, "seq": 5, "over": 3, "text": "concept"}]}, "drift", 99)
    [(4, 5, 8, 'concept')]
    """
    if kind == "drift":
        return [
            (one["i"], one["seq"], min(one["seq"] + one["over"], last), one["text"])
            for one in lanes["drifts"]
        ]
    return [
        (one["i"], one["seq"], last if one["until"] is None else one["until"], one["text"])
        for one in lanes["faults"]
    ]


OUTCOMES = {"promoted": "promoted", "rejected": "rejected", "failed": "failed"}


def job_traces(lanes: Lanes, run: int, palette: Palette) -> list[dict[str, Any]]:
    """Return the training jobs: a bar from asked to ready, and a mark for what became of it."""
    last = lanes["records"] - 1
    jobs = lanes["jobs"]
    colours = {"promoted": palette.good, "rejected": palette.bad, "failed": palette.bad}
    told = ("promoted", "rejected", "job_failed", "job_started")
    number = {
        event["model"]: event["i"]
        for kind in reversed(told)
        for event in lanes["events"]
        if event["kind"] == kind and event.get("model") is not None
    }
    ready = [last if job["ready"] is None else job["ready"] for job in jobs]
    done = [job["ready"] is not None and job["outcome"] in OUTCOMES for job in jobs]
    fill = [
        colours.get(job["outcome"], palette.pending) if over else palette.pending
        for job, over in zip(jobs, done, strict=True)
    ]
    keys = [[run, number.get(job["model"]), job["asked"]] for job in jobs]
    text = [
        f"model {job['model']}: asked at {job['asked']:,}, "
        + (f"{job['outcome']} at {job['ready']:,}" if over else "not ready yet")
        for job, over in zip(jobs, done, strict=True)
    ]
    bars = {
        "type": "bar", "orientation": "h", "name": "training", "showlegend": False,
        "base": [job["asked"] for job in jobs], "y": [0.5] * len(jobs), "width": 0.3,
        "x": [end - job["asked"] for job, end in zip(jobs, ready, strict=True)],
        "text": text, "textposition": "none", "hoverinfo": "skip", "customdata": keys,
        "marker": {"color": fill, "line": {"color": fill, "width": 1}},
    }  # fmt: skip
    symbols = {"promoted": "triangle-up", "rejected": "x", "failed": "x-open"}
    ended = [at for at, over in enumerate(done) if over]
    verdicts = {
        "type": "scatter", "mode": "markers", "name": "verdict", "showlegend": False,
        "x": [ready[at] for at in ended], "y": [0.5] * len(ended),
        "text": [text[at] for at in ended], "hovertemplate": "%{text}<extra></extra>",
        "customdata": [[run, keys[at][1], ready[at]] for at in ended],
        "marker": {
            "color": [fill[at] for at in ended], "size": 9,
            "symbol": [symbols[jobs[at]["outcome"]] for at in ended],
        },
    }  # fmt: skip
    return [bars, verdicts, *return_traces(lanes, run, palette)]


def return_traces(lanes: Lanes, run: int, palette: Palette) -> list[dict[str, Any]]:
    """Return marks for the returns to earlier models, if there are any.

    Examples
    --------
    >>> back = {"i": 4, "seq": 9, "asked": 8, "model": 0, "replaces": 3, "kind": "reused"}
    >>> return_traces({"returns": [back]}, 0, PALETTES["light"])[0]["text"]
    ['model 0 serves again from 9']
    >>> return_traces({"returns": []}, 0, PALETTES["light"])
    []
    """
    back = lanes["returns"]
    if not back:
        return []
    return [
        {
            "type": "scatter", "mode": "markers", "name": "return", "showlegend": False,
            "x": [one["seq"] for one in back], "y": [0.5] * len(back),
            "text": [f"model {one['model']} serves again from {one['seq']:,}" for one in back],
            "hovertemplate": "%{text}<extra></extra>",
            "customdata": [[run, one["i"], one["seq"]] for one in back],
            "marker": {
                "color": palette.good, "size": 10, "symbol": "triangle-left-open",
                "line": {"width": 2},
            },
        }
    ]  # fmt: skip


def strip_traces(lanes: Lanes, run: int, colour: str, palette: Palette) -> list[dict[str, Any]]:
    """Return the strip that says which model is champion when."""
    last = lanes["records"] - 1
    starts = [at for at, _ in lanes["model"]]
    stops = [*starts[1:], last] if starts else []
    return [
        {
            "type": "bar", "orientation": "h", "name": "champion", "showlegend": False,
            "base": starts, "y": [0.5] * len(starts), "width": 0.72,
            "x": [stop - start for start, stop in zip(starts, stops, strict=True)],
            "text": [f"{model}" for _, model in lanes["model"]], "textposition": "inside",
            "insidetextanchor": "start", "textangle": 0, "hoverinfo": "skip",
            "insidetextfont": {"color": palette.ink, "size": 10},
            "marker": {
                "color": [colour] * len(starts),
                "opacity": [0.18 if at % 2 else 0.34 for at in range(len(starts))],
            },
        }
    ]  # fmt: skip


def anomaly_traces(lanes: Lanes, run: int, palette: Palette) -> list[dict[str, Any]]:
    """Return what was odd, filled while it lasts and hollow when it is over; none if nothing was.

    Examples
    --------
    >>> alert = {"kind": "alert", "i": 0, "seq": 5, "label": "no_data recovered", "calm": True}
    >>> found = anomaly_traces({"events": [alert]}, 0, PALETTES["light"])
    >>> [(one["name"], one["marker"]["symbol"]) for one in found]
    [('alert over', 'square-open')]
    """
    found = []
    for kind, name, symbol, colour in (
        ("anomaly", "odd", "diamond", palette.fault),
        ("alert", "alert", "square", palette.bad),
        ("stream_failed", "failed", "x", palette.bad),
    ):
        mine = [event for event in lanes["events"] if event["kind"] == kind]
        begun = [event for event in mine if not event.get("calm")]
        over = [event for event in mine if event.get("calm")]
        hollow = {"size": 8, "symbol": f"{symbol}-open", "line": {"width": 1.6}}
        if over:
            found.append(marks(over, run, {"color": palette.good, **hollow}, f"{name} over"))
        if begun:
            found.append(marks(begun, run, {"color": colour, "size": 8, "symbol": symbol}, name))
    return found


# --- the replay -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """One run as it is shown: a short name, and its lanes.

    Parameters
    ----------
    name
        What it is called in the legend.
    lanes
        As `dashboards.lanes.lanes` returns them.
    """

    name: str
    lanes: Lanes


def replay(shown: Sequence[Shown], mode: Mode = "overlaid", theme: Theme = "light") -> Figure:
    """Return the lanes of one or several runs over one axis of records.

    Parameters
    ----------
    shown
        The runs.
    mode
        Several runs: ``overlaid``, all errors in one lane, or ``stacked``, a set of lanes each.
    theme
        Whose colours.
    """
    palette = PALETTES[theme]
    rows: list[Row] = []
    if mode == "stacked" or len(shown) == 1:
        for at, one in enumerate(shown):
            colour = palette.runs[at % len(palette.runs)]
            title = one.name if len(shown) > 1 else ""
            rows += error_rows([one], [colour], palette, run=at, title=title)
            rows += detector_rows(one.lanes, at, palette)
            rows += event_rows(one.lanes, at, colour, palette)
    else:
        colours = [palette.runs[at % len(palette.runs)] for at in range(len(shown))]
        rows += error_rows(shown, colours, palette, run=None)
        same = all(truth_of(one.lanes) == truth_of(shown[0].lanes) for one in shown)
        if same:
            rows += [
                row for row in event_rows(shown[0].lanes, 0, "", palette) if row.kind == "drift"
            ]
        for at, one in enumerate(shown):
            own = event_rows(one.lanes, at, colours[at], palette)
            own = [row for row in own if row.kind != "drift" or not same]
            own[0].title = one.name
            rows += own
    return composed(rows, shown, palette)


def truth_of(lanes: Lanes) -> Any:
    """Return what is scripted."""
    return [[one["seq"] for one in lanes[kind]] for kind in ("drifts", "faults")]


def error_rows(
    shown: Sequence[Shown], colours: Sequence[str], palette: Palette, *, run: int | None,
    title: str = "",
) -> list[Row]:  # fmt: skip
    """Return the lane of errors: a champion each, never retraining once where that is the same."""
    traces: list[dict[str, Any]] = []
    for one, colour in zip(shown, colours, strict=True):
        name = one.name if len(shown) > 1 else "champion"
        never, own = error_traces(one.lanes, colour, palette, name)
        if all(never["y"] != trace["y"] for trace in traces):
            traces.append({**never, "showlegend": not traces and not run})
        traces.append({**own, "showlegend": len(shown) > 1 or not run})
    if len(shown) == 1:
        traces += [{**one, "showlegend": not run} for one in band(shown[0].lanes, palette)]
    highest = max((peak(one.lanes) for one in shown), default=1.0)
    axis = {
        "range": [0, highest * 1.06 or 1], "nticks": 5, "showgrid": True,
        "tickformat": ".0%" if highest <= 1 else ".3~g",
    }  # fmt: skip
    return [Row("error", run, 5.0 if len(shown) == 1 else 6.0, traces, axis, title)]


def peak(lanes: Lanes, settled: int = 100) -> float:
    """Return the highest error drawn once `settled` records are scored: the first few swing.

    Examples
    --------
    >>> lanes = {"scored": [1, 200], "window_error": [1.0, 0.25], "window_baseline": [1.0, 0.5]}
    >>> peak(lanes)
    0.5
    """
    both = zip(lanes["scored"], lanes["window_error"], lanes["window_baseline"], strict=True)
    found = [max(own or 0, never or 0) for many, own, never in both if many >= settled]
    return max(found, default=1.0)


def detector_rows(lanes: Lanes, run: int, palette: Palette) -> list[Row]:
    """Return a lane for the statistic of each error detector, the first `DETECTORS_MAX`."""
    rows = []
    for name, trace in list(lanes["statistics"].items())[:DETECTORS_MAX]:
        if any(value is not None for value in trace["value"]):
            drawn = line(name, trace["seq"], trace["value"], palette.quiet, width=1.1)
            axis = {"nticks": 3, "showgrid": True, "tickformat": ".3~g", "rangemode": "tozero"}
            rows.append(Row("detector", run, 1.5, [{**drawn, "showlegend": False}], axis, name))
    return rows


def event_rows(lanes: Lanes, run: int, colour: str, palette: Palette) -> list[Row]:
    """Return the lanes of what happened: truth, alarms, training, champion, oddities."""
    rows = []
    if lanes["drifts"] or lanes["faults"]:
        rows.append(Row("drift", run, 0.75, truth_traces(lanes, run, palette)))
    rows.append(Row("alarms", run, 0.75, alarm_traces(lanes, run, palette)))
    rows.append(Row("training", run, 0.75, job_traces(lanes, run, palette)))
    rows.append(Row("champion", run, 0.75, strip_traces(lanes, run, colour, palette)))
    odd = anomaly_traces(lanes, run, palette)
    if odd:
        rows.append(Row("anomalies", run, 0.6, odd))
    return rows


NAMES = {
    "drift": "script", "alarms": "alarms", "training": "training", "champion": "champion",
    "anomalies": "odd",
}  # fmt: skip


def composed(rows: Sequence[Row], shown: Sequence[Shown], palette: Palette) -> Figure:
    """Return the figure of all rows, one above the other on one x-axis."""
    layout = base_layout(palette) | {"showlegend": False}  # the page has its own
    titled = 0.65  # the height of a title, in units of weight
    gap = 0.16
    whole = sum(row.weight + gap + (titled if row.title else 0) for row in rows) - gap
    data: list[dict[str, Any]] = []
    meta: list[dict[str, Any]] = []
    top = 1.0
    for at, row in enumerate(rows):
        if row.title:
            layout["annotations"].append(title_of(row, top, palette))
            top -= titled / whole
        bottom = max(0.0, top - row.weight / whole)
        number = "" if at == 0 else str(at + 1)
        flat = row.kind in NAMES
        ticks = {"tickvals": [0.5], "ticktext": [NAMES[row.kind]], "range": [0, 1]} if flat else {}
        layout[f"yaxis{number}"] = {
            "domain": [bottom, top], "fixedrange": True, "zeroline": False, "showgrid": False,
            "gridcolor": palette.line, "tickfont": {"size": 11, "color": palette.quiet},
            "automargin": False, "anchor": "x", **ticks, **row.axis,
        }  # fmt: skip
        if flat:
            layout["shapes"].append(floor(bottom, palette))
        data += [{**trace, "xaxis": "x", "yaxis": f"y{number}"} for trace in row.traces]
        meta.append({"kind": row.kind, "run": row.run, "domain": [bottom, top]})
        top = bottom - gap / whole
    last = max(one.lanes["records"] for one in shown) - 1
    layout["xaxis"] |= {
        "range": [0, max(last, 1)],
        "anchor": f"y{len(rows) if len(rows) > 1 else ''}",
    }
    layout["shapes"] += onsets(shown, palette)
    layout["meta"] = {"rows": meta, "last": last, "high": round(whole * PIXELS) + 50}
    return {"data": data, "layout": layout}


def title_of(row: Row, top: float, palette: Palette) -> dict[str, Any]:
    """Return the title of a row, above it at the left."""
    strong = row.kind == "error" or row.kind in NAMES
    return {
        "text": escaped(row.title), "xref": "paper", "yref": "paper", "x": 0, "y": top,
        "xanchor": "left", "yanchor": "top", "showarrow": False, "borderpad": 1,
        "font": {"size": 12 if strong else 11, "color": palette.ink if strong else palette.quiet},
    }  # fmt: skip


def floor(bottom: float, palette: Palette) -> dict[str, Any]:
    """Return the rule below a lane of events."""
    return {
        "type": "line", "xref": "paper", "yref": "paper", "x0": 0, "x1": 1, "y0": bottom,
        "y1": bottom, "layer": "below", "line": {"color": palette.line, "width": 1},
    }  # fmt: skip


def onsets(shown: Sequence[Shown], palette: Palette) -> list[dict[str, Any]]:
    """Return an upright line, through all lanes, where a scripted drift begins."""
    starts = {one["seq"]: None for each in shown for one in each.lanes["drifts"]}
    return [
        {
            "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
            "layer": "below", "line": {"color": palette.drift, "width": 1.2, "dash": "2px,3px"},
        }
        for at in list(starts)[:200]
    ]  # fmt: skip
