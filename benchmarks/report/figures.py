"""Findings as Plotly figures: plain data, without colours of the page, which the page adds.

A policy has the same colour, dash and marker in each figure. The colours are those of Okabe and
Ito that can be seen on white and on black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from benchmarks.findings import Findings, Timeline, Track
from benchmarks.significance import alike
from benchmarks.statistics import Summary, over_streams

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
GREY = "#808080"
"""Of what is no policy: it can be read on white and on black."""
POINTS_MAX = 150
"""Points to a line of a timeline; more cannot be told apart."""
TICKS = (1, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)

Plot = dict[str, Any]
Points = dict[tuple[float, float], list[str]]


@dataclass(frozen=True, slots=True)
class Style:
    """How a policy is drawn."""

    colour: str
    dash: str
    symbol: str

    @property
    def line(self) -> Plot:
        """Return how Plotly draws its lines."""
        return {"color": self.colour, "dash": self.dash, "width": 2}

    @property
    def marker(self) -> Plot:
        """Return how Plotly draws its points."""
        return {"color": self.colour, "symbol": self.symbol, "size": 8}


def styles(policies: Sequence[str]) -> dict[str, Style]:
    """Return a style for each policy.

    >>> styles(["never", "adwin"])["adwin"]
    Style(colour='#D55E00', dash='dash', symbol='square')
    """
    return {
        policy: Style(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)])
        for i, policy in enumerate(policies)
    }


def plain(text: str, most: int = 40) -> str:
    """Return text that Plotly draws as it is: it would read tags.

    >>> plain("<b>sea</b>")
    '&lt;b&gt;sea&lt;/b&gt;'
    """
    return escape(text if len(text) <= most else text[: most - 1] + "…", quote=False)


def layout(height: int, **more: Any) -> Plot:
    """Return what all figures share."""
    shared = {
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        "hovermode": "closest",
    }
    return shared | more


def costs(findings: Findings, summary: Summary) -> Plot:
    """Draw cost ÷ optimum against the price, and which policy costs least where."""
    drawn, prices = styles(list(findings.roles)), findings.prices
    data: list[Plot] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain(one.policy),
            "x": list(range(len(prices))),
            "y": [one.by_price[price] for price in prices],
            "line": drawn[one.policy].line,
            "marker": drawn[one.policy].marker,
            "hovertemplate": "%{y:.3f} × the optimum",
        }
        for one in summary.standings
    ]
    shapes, notes = [], []
    for one in summary.ranges:
        first, last = prices.index(one.first) - 0.5, prices.index(one.last) + 0.5
        where = {"xref": "x", "yref": "paper"}
        colour = drawn[one.policy].colour
        box = {"type": "rect", "x0": first, "x1": last, "y0": 0, "y1": 1, "layer": "below"}
        shapes.append(where | box | {"fillcolor": colour, "opacity": 0.12, "line": {"width": 0}})
        text = {"text": plain(one.policy, 8 * round(last - first) + 8), "showarrow": False}
        notes.append(where | text | {"x": (first + last) / 2, "y": 1, "yanchor": "bottom"})
    ticks = log_ticks([ratio for line in data for ratio in line["y"] if ratio])
    return {
        "data": data,
        "layout": layout(
            460,
            shapes=shapes,
            annotations=notes,
            xaxis={
                "title": {"text": "price of a retrain"},
                "tickvals": list(range(len(prices))),
                "ticktext": [plain(price) for price in prices],
                "range": [-0.5, len(prices) - 0.5],
                "zeroline": False,
            },
            yaxis={
                "title": {"text": "cost ÷ hindsight optimum"},
                "type": "log",
                "tickvals": ticks,
                "ticktext": [f"{tick:g}" for tick in ticks],
            },
        ),
    }


def log_ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers of which each can be read on a logarithmic axis.

    >>> log_ticks([1.0, 3.4])
    [1, 1.2, 1.5, 2, 3]
    """
    highest = max(values, default=1.0) * 1.02
    ticks: list[float] = []
    for tick in TICKS:
        if tick <= highest and (not ticks or tick / ticks[-1] >= highest**0.1):
            ticks.append(tick)
    return ticks


def ranks(summary: Summary, policies: Sequence[str]) -> Plot:
    """Draw average ranks; bars join policies that cannot be told apart (Demšar's diagram)."""
    drawn = styles(policies)
    pairs = [(one.rank, one.policy) for one in summary.standings if one.rank is not None]
    placed = sorted(pairs, key=lambda pair: pair[0])
    difference = summary.tests.critical_difference
    groups = alike([rank for rank, _ in placed], difference) if difference else []
    most, half, top = len(placed), (len(placed) + 1) // 2, -0.6 - 0.3 * len(groups)
    data = [stroke([1, most], [0, 0], 1.5)]
    data += [stroke([tick, tick], [0, 0.15], 1.5) for tick in range(1, most + 1)]
    for depth, (first, last) in enumerate(groups):
        low = -0.4 - 0.3 * depth
        data.append(stroke([placed[first][0] - 0.04, placed[last][0] + 0.04], [low, low], 6))
    notes = [note(tick, 0.2, str(tick), yanchor="bottom") for tick in range(1, most + 1)]
    if difference:
        data.append(stroke([1, 1 + difference], [1.3, 1.3], 3))
        words = f"critical difference {difference:.2f}"
        notes.append(note(1, 1.4, words, xanchor="left", yanchor="bottom"))
    for place, (rank, policy) in enumerate(placed):
        left = place < half
        low = top - (place if left else most - 1 - place)
        edge = 0.7 if left else most + 0.3
        line = {**stroke([rank, rank, edge], [0, low, low], 1.5), "name": plain(policy)}
        data.append(line | {"line": {"color": drawn[policy].colour, "width": 1.5}})
        words = f"{plain(policy, 26)} ({rank:.2f})"
        notes.append(note(edge, low, words, xanchor="right" if left else "left"))
    room = 16 + 7 * max((len(policy[:26]) + 7 for _, policy in placed), default=0)
    hidden = {"visible": False, "fixedrange": True}
    return {
        "data": data,
        "layout": layout(
            110 + 24 * (half + len(groups) // 3),
            margin={"l": room, "r": room, "t": 10, "b": 10},
            showlegend=False,
            annotations=notes,
            hovermode=False,
            xaxis=hidden | {"range": [0.6, most + 0.4]},
            yaxis=hidden | {"range": [top - half + 0.4, 2.2 if difference else 0.9]},
        ),
    }


def stroke(x: Sequence[float], y: Sequence[float], width: float) -> Plot:
    """Draw a grey line."""
    line = {"color": GREY, "width": width}
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "line": line}


def note(x: float, y: float, text: str, **more: str) -> Plot:
    """Write text at a point."""
    return {"x": x, "y": y, "text": text, "showarrow": False, **more}


def traded(findings: Findings) -> dict[str, Points]:
    """Return (retrains, errors) per 1,000 records of each policy, and the prices of each point."""
    records = {facts.stream: facts.records for facts in findings.streams}
    found: dict[str, Points] = {}
    for policy in findings.roles:
        points: Points = {}
        for price in findings.prices:
            mine = [cell for cell in findings.cells if (cell.policy, cell.price) == (policy, price)]
            retrains = over_streams(mine, lambda cell: 1000 * cell.retrains / records[cell.stream])
            errors = over_streams(mine, lambda cell: 1000 * cell.errors / records[cell.stream])
            if retrains is not None and errors is not None:
                points.setdefault((round(retrains, 4), round(errors, 4)), []).append(price)
        found[policy] = points
    return found


def trade(points: Mapping[str, Points], edge: Sequence[tuple[float, float]]) -> Plot:
    """Draw errors against retrains: a point for each policy and price, and the Pareto front."""
    drawn = styles(list(points))
    data: list[Plot] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain(policy),
            "x": [retrains for retrains, _ in mine],
            "y": [errors for _, errors in mine],
            "text": [plain(", ".join(prices), 80) for prices in mine.values()],
            "line": drawn[policy].line | {"width": 1},
            "marker": drawn[policy].marker | {"size": 10},
            "hovertemplate": "%{y:.1f} errors, %{x:.2f} retrains, price %{text}",
        }
        for policy, mine in points.items()
    ]
    data.insert(
        0,
        stroke([x for x, _ in edge], [y for _, y in edge], 6)
        | {"name": "Pareto front", "opacity": 0.4, "hoverinfo": "skip"}
        | {"line": {"color": GREY, "width": 6, "shape": "hv"}},
    )
    axes = {
        "xaxis": {"title": {"text": "retrains per 1,000 records"}, "zeroline": False},
        "yaxis": {"title": {"text": "errors per 1,000 records"}},
    }
    return {"data": data, "layout": layout(480, **axes)}


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other point beats or equals in both, from left to right.

    >>> front([(0, 9.0), (2, 5.0), (3, 6.0), (4, 5.0), (9, 1.0)])
    [(0, 9.0), (2, 5.0), (9, 1.0)]
    """
    edge: list[tuple[float, float]] = []
    for point in sorted(points):
        if not edge or point[1] < edge[-1][1]:
            edge.append(point)
    return edge


def timeline(line: Timeline, policies: Sequence[str], shown: Sequence[str], price: str) -> Plot:
    """Draw one stream: errors above, below when each policy asked for a model.

    Each trace says in `meta` at which prices it is true; those true at `price` are visible.
    """
    drawn = styles(policies)
    rows = ["optimum", *(policy for policy in policies if policy in line.tracks)]
    data: list[Plot] = []
    for depth, row in enumerate(rows):
        tracks = line.tracks[row] if depth else line.optimum
        style = drawn[row] if depth else Style(GREY, "solid", "circle")
        for track, prices in distinct(tracks):
            now = price in prices
            common = {"type": "scatter", "name": plain(row), "meta": prices}
            errors = {
                "mode": "lines",
                **curve(line, track),
                "line": style.line | {"width": 2 if depth else 4},
                "opacity": 1 if depth else 0.6,
                "visible": (True if not depth or row in shown else "legendonly") if now else False,
                "hovertemplate": "%{y:.3f} at record %{x:,.0f}",
            }
            asked = asked_for(track, style, -depth) | {"visible": now}
            data += [common | errors, common | asked]
    below = 18 * len(rows) + 20
    height = 300 + below + 22 * (len(rows) // 4 + 1)
    split = below / (height - 120)
    return {
        "data": data,
        "layout": layout(
            height,
            **drifts(line),
            margin={"l": 60 + 6 * min(26, max(map(len, rows))), "r": 20, "t": 30, "b": 50},
            xaxis={
                "title": {"text": "record"},
                "range": [0, line.records],
                "anchor": "y2",
                "tickformat": ",",
            },
            yaxis={"title": {"text": "error"}, "domain": [split, 1], "rangemode": "tozero"},
            yaxis2={
                "domain": [0, split - 0.03],
                "range": [-len(rows) + 0.4, 0.6],
                "tickvals": [-depth for depth in range(len(rows))],
                "ticktext": [plain(row, 26) for row in rows],
                "zeroline": False,
                "fixedrange": True,
            },
        ),
    }


def asked_for(track: Track, style: Style, height: int) -> Plot:
    """Draw when models were asked for, each with a bar until it serves.

    A cross stands for one that was rejected, a hollow mark for a return to an earlier model.
    """
    shape, rejected = style.symbol, set(track.rejected)
    asked = [
        (at, 0, "x-thin-open", "asked for, and rejected,")
        if at in rejected
        else (at, ready - at, shape, "asked")
        for at, ready in zip(track.asked, track.ready, strict=True)
    ]
    back = [(at, serves - at, f"{shape}-open", "an earlier model") for at, serves in track.returns]
    points = sorted([*asked, *back])
    marker = style.marker | {"size": 7}
    told: Plot = {"hovertemplate": "asked at record %{x:,.0f}"}
    if rejected or back:
        marker |= {"symbol": [symbol for _, _, symbol, _ in points]}
        words = [text for _, _, _, text in points]
        told = {"text": words, "hovertemplate": "%{text} at record %{x:,.0f}"}
    return {
        "mode": "markers",
        "x": [at for at, _, _, _ in points],
        "y": [height] * len(points),
        "yaxis": "y2",
        "marker": marker,
        "error_x": {
            "array": [bar for _, bar, _, _ in points],
            "arrayminus": [0] * len(points),
            "color": style.colour,
            "width": 0,
            "thickness": 2,
        },
        "showlegend": False,
        **told,
    }


def distinct(tracks: Mapping[str, Track]) -> list[tuple[Track, list[str]]]:
    """Return each track once, with the prices at which it was taken."""
    found: dict[Track, list[str]] = {}
    for price, track in tracks.items():
        found.setdefault(track, []).append(price)
    return list(found.items())


def curve(line: Timeline, track: Track) -> Plot:
    """Return a track's errors in at most `POINTS_MAX` points, each the mean of some blocks."""
    together = -(-len(track.errors) // POINTS_MAX)
    x, y = [], []
    for first in range(0, len(track.errors), together):
        known = [error for error in track.errors[first : first + together] if error is not None]
        x.append(line.starts[first])
        y.append(round(sum(known) / len(known), 4) if known else None)
    return {"x": x, "y": y}


def drifts(line: Timeline) -> Plot:
    """Return bands where the stream drifts, numbered."""
    where = {"xref": "x", "yref": "paper"}
    shapes, notes = [], []
    for place, drift in enumerate(line.drifts or (), start=1):
        box = {"type": "rect", "x0": drift.seq, "x1": drift.seq + drift.over, "y0": 0, "y1": 1}
        edge = {"color": GREY, "width": 1.5, "dash": "dot"}
        shapes.append(where | box | {"fillcolor": "rgba(128,128,128,0.25)", "line": edge})
        notes.append(where | note(drift.seq, 1, str(place), xanchor="left", yanchor="bottom"))
    return {"shapes": shapes, "annotations": notes}


def templates() -> dict[str, Plot]:
    """Return what a figure looks like on a light page and on a dark one."""
    found = {}
    for theme, ink, grid, paper in (
        ("light", "#1f2328", "#d8dce1", "#ffffff"),
        ("dark", "#e6e8eb", "#3a4048", "#15181c"),
    ):
        axis = {"gridcolor": grid, "linecolor": grid, "zerolinecolor": grid, "automargin": True}
        label = {"bgcolor": paper, "bordercolor": grid, "font": {"color": ink}}
        found[theme] = {
            "layout": {
                "font": {"color": ink, "size": 13, "family": "system-ui, sans-serif"},
                "paper_bgcolor": paper,
                "plot_bgcolor": paper,
                "xaxis": axis,
                "yaxis": axis,
                "hoverlabel": label,
            }
        }
    return found
