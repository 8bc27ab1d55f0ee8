"""The smaller pictures: many streams at a glance, cost curves, and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from dashboards.looks import PALETTES, Figure, Theme, base_layout, escaped

WIDE, HIGH = 160, 44
"""Size of a spark, in its own units."""


def spark(lanes: Mapping[str, Any], theme: Theme = "light", top: float = 1.0) -> str:
    """Return the course of a stream's error as a small SVG picture: numbers only, no text.

    Parameters
    ----------
    lanes
        Of the stream, in few bins.
    theme
        Whose colours.
    top
        The error at the upper edge, the same for all that are compared.

    Examples
    --------
    >>> lanes = {"records": 3, "window_error": [None, 0.5, 1], "window_baseline": [], "drifts": []}
    >>> "80.0,22.0 160.0,0.0" in spark(lanes)
    True
    """
    palette, last = PALETTES[theme], max(1, lanes["records"] - 1)
    drawn = [
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HIGH}" stroke="{palette.drift}" '
        'stroke-dasharray="2 2"/>'
        for at in (one["seq"] / last * WIDE for one in lanes["drifts"][:20])
    ]
    for name, colour, width in (
        ("window_baseline", palette.pending, 1.1),
        ("window_error", palette.runs[0], 1.7),
    ):
        values = lanes[name]
        step = WIDE / max(1, len(values) - 1)
        points = " ".join(
            f"{at * step:.1f},{HIGH - min(value / top, 1) * HIGH:.1f}"
            for at, value in enumerate(values)
            if value is not None
        )
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
            'stroke-linejoin="round" vector-effect="non-scaling-stroke"/>'
        )
    box = f'viewBox="0 -1 {WIDE} {HIGH + 2}" preserveAspectRatio="none"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(drawn)}</svg>'


def picture(svg: str) -> str:
    """Return an SVG picture as an address that an image can have.

    Examples
    --------
    >>> picture("<svg/>")
    'data:image/svg+xml,%3Csvg/%3E'
    """
    return f"data:image/svg+xml,{quote(svg)}"


def distribution(feature: Mapping[str, Any], theme: Theme = "light") -> Figure:
    """Return the shares of a feature's bins, in the training window and of late.

    Parameters
    ----------
    feature
        With ``bins`` (texts), ``reference`` and ``recent``.
    theme
        Whose colours.
    """
    palette = PALETTES[theme]
    both = zip(feature["bins"], feature["reference"], feature["recent"], strict=True)
    kept = [one for one in both if one[0] != "missing" or one[1] or one[2]]
    names = [escaped(name) for name, _, _ in kept]
    layout = base_layout(palette)
    layout |= {
        "barmode": "group", "bargap": 0.22, "margin": {"l": 36, "r": 6, "t": 6, "b": 20},
        "dragmode": False, "hovermode": "x", "showlegend": False,
        "autosize": False, "width": 336, "height": 128,
    }  # fmt: skip
    ends = sorted({0, len(names) - 1}) if names and names[0].startswith("≤") else range(len(names))
    layout["xaxis"] |= {
        "type": "category", "showgrid": False, "tickformat": "", "fixedrange": True,
        "tickangle": 0, "tickfont": {"size": 9.5, "color": palette.quiet},
        "tickvals": list(ends), "ticktext": [short(names[at]) for at in ends],
    }  # fmt: skip
    layout["yaxis"] = {
        "tickformat": ".0%", "gridcolor": palette.line, "zeroline": False, "nticks": 4,
        "range": [0, max(0.2, *(1.08 * max(one[1:]) for one in kept))] if kept else [0, 1],
        "fixedrange": True, "tickfont": {"size": 10, "color": palette.quiet},
    }  # fmt: skip
    bars = [
        {
            "type": "bar", "name": name, "x": names, "y": [one[at] for one in kept],
            "marker": {"color": colour}, "hovertemplate": "%{y:.1%} " + name + "<extra></extra>",
        }
        for name, at, colour in (
            ("training window", 1, palette.pending),
            ("of late", 2, palette.runs[0]),
        )
    ]  # fmt: skip
    return {"data": bars, "layout": layout}


def short(text: str, most: int = 9) -> str:
    """Return a text that fits below a bar.

    Examples
    --------
    >>> short("electronics"), short("≤ 0.5")
    ('electron…', '≤ 0.5')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def costs(curves: Sequence[Mapping[str, Any]], theme: Theme = "light") -> Figure:
    """Return what each policy costs beside the optimum, over the price of a retrain.

    Parameters
    ----------
    curves
        For each policy `policy`, `prices` and `regret`; the best first.
    theme
        Whose colours.
    """
    palette = PALETTES[theme]
    layout = base_layout(palette)
    layout |= {"margin": {"l": 54, "r": 12, "t": 8, "b": 44}, "dragmode": False}
    layout["xaxis"] |= {
        "type": "category", "tickformat": "", "fixedrange": True, "title": {
            "text": "price of one retrain", "font": {"size": 12}},
    }  # fmt: skip
    layout["yaxis"] = {
        "gridcolor": palette.line, "zeroline": False, "tickformat": ".2~f", "fixedrange": True,
        "tickfont": {"size": 11, "color": palette.quiet}, "ticksuffix": "×",
        "title": {"text": "cost ÷ the best in hindsight", "font": {"size": 12}},
    }  # fmt: skip
    layout["legend"] |= {
        "x": 0, "y": -0.2, "yanchor": "top",
    }  # fmt: skip
    data = []
    dashes = ("solid", "6px,3px", "2px,3px")
    for at, one in enumerate(curves):
        colour = palette.runs[at % len(palette.runs)]
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": escaped(one["policy"]),
                "x": list(one["prices"]), "y": list(one["regret"]),
                "line": {"color": colour, "width": 1.6,
                         "dash": dashes[at // len(palette.runs) % len(dashes)]},
                "marker": {"size": 5, "color": colour}, "visible": True if at < 8 else "legendonly",
                "hovertemplate": "%{y:.3f}× at %{x}<extra>%{fullData.name}</extra>",
            }
        )  # fmt: skip
    return {"data": data, "layout": layout}


def schedules(
    timeline: Mapping[str, Any], price: str, colours: Mapping[str, str], theme: Theme = "light"
) -> Figure:
    """Return when each policy retrained at a price, the optimum first; above, what they lost.

    Parameters
    ----------
    timeline
        As `dashboards.schedules.schedules_of` returns it.
    price
        One of its prices.
    colours
        Of the policies; the first three of them, and the optimum, have their error drawn.
    theme
        Whose colours.
    """
    palette = PALETTES[theme]
    names = timeline["policies"]
    high = 26 * len(names)
    layout = base_layout(palette)
    layout |= {"margin": {"l": 150, "r": 12, "t": 8, "b": 44}, "dragmode": False,
               "height": 260 + high}  # fmt: skip
    split = high / (208 + high)
    layout["xaxis"] |= {"range": [0, timeline["records"]], "anchor": "y2", "fixedrange": True,
                        "title": {"text": "record", "font": {"size": 12}}}  # fmt: skip
    tick = {"size": 11, "color": palette.quiet}
    layout["yaxis"] = {"domain": [split + 0.04, 1], "gridcolor": palette.line, "zeroline": False,
                       "rangemode": "tozero", "nticks": 4, "fixedrange": True, "tickfont": tick,
                       "title": {"text": "error", "font": {"size": 12}}}  # fmt: skip
    layout["yaxis2"] = {"domain": [0, split], "range": [len(names) - 0.4, -0.6], "zeroline": False,
                        "tickvals": list(range(len(names))), "fixedrange": True, "tickfont": tick,
                        "ticktext": [escaped(short(name, 22)) for name in names],
                        "gridcolor": palette.line}  # fmt: skip
    layout["shapes"] = [
        {"type": "rect", "xref": "x", "yref": "paper", "x0": start, "x1": end, "y0": 0, "y1": 1,
         "layer": "below", "fillcolor": palette.drift, "opacity": 0.25,
         "line": {"color": palette.drift, "width": 1.2, "dash": "2px,3px"}}
        for start, end in timeline["drifts"]
    ]  # fmt: skip
    layout["showlegend"] = False
    drawn = ["optimum", *list(colours)[:3]]
    data: list[Figure] = []
    for track in timeline["tracks"]:
        if price not in track["prices"]:
            continue
        name = track["policy"]
        colour = colours.get(name, palette.quiet)
        common = {"type": "scatter", "name": escaped(name)}
        if name in drawn:
            data.append({**common, "mode": "lines", "x": track["x"], "y": track["y"],
                         "line": {"color": colour, "width": 1.5},
                         "hovertemplate": "%{y:.3f} at %{x:,.0f}"})  # fmt: skip
        both = list(zip(track["asked"], track["ready"], strict=False))
        data.append(
            {**common, "mode": "markers", "yaxis": "y2", "x": track["asked"],
             "y": [names.index(name)] * len(track["asked"]),
             "marker": {"color": colour, "size": 8, "symbol": "line-ns-open" if len(both) > 60 else
                        "circle"},
             "error_x": {"array": [ready - asked for asked, ready in both],
                         "arrayminus": [0] * len(both), "color": colour, "width": 0,
                         "thickness": 3},
             "hovertemplate": "asked at %{x:,.0f}<extra>%{fullData.name}</extra>"}
        )  # fmt: skip
    return {"data": data, "layout": layout}


def coloured(policies: Sequence[str], theme: Theme) -> dict[str, str]:
    """Return the colour of each policy, the same in all pictures of a benchmark.

    Examples
    --------
    >>> coloured(["adwin", "never"], "light")
    {'adwin': '#0072B2', 'never': '#D55E00'}
    """
    runs = PALETTES[theme].runs
    return {name: runs[at % len(runs)] for at, name in enumerate(policies)}
