"""Colours and manners that all figures share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Theme = Literal["light", "dark"]
Figure = dict[str, Any]
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of a theme: Okabe and Ito's, which colour-blind readers can tell apart.

    Parameters
    ----------
    ink, quiet, line, paper
        Of text, lesser text, rules, and the background.
    runs
        Of the runs, in order.
    drift, fault, alarm, false
        Of scripted drifts and faults, of alarms, and of false ones.
    good, bad, pending
        Of promoted, of failed or rejected, of unfinished jobs.
    """

    ink: str
    quiet: str
    line: str
    paper: str
    runs: tuple[str, ...]
    drift: str
    fault: str
    alarm: str
    false: str
    good: str
    bad: str
    pending: str


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        ink="#1c2127", quiet="#5f6b76", line="#e6eaee", paper="#ffffff",
        runs=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
        drift="#CC79A7", fault="#8a949e", alarm="#D55E00", false="#E69F00",
        good="#009E73", bad="#D55E00", pending="#9aa5b1",
    ),
    "dark": Palette(
        ink="#e8ebee", quiet="#9aa6b2", line="#2a3138", paper="#14181c",
        runs=("#56B4E9", "#E69F00", "#20b88c", "#CC79A7", "#F0E442", "#D55E00"),
        drift="#CC79A7", fault="#87919b", alarm="#ff7a33", false="#E69F00",
        good="#20b88c", bad="#ff7a33", pending="#6c7782",
    ),
}  # fmt: skip


def base_layout(palette: Palette) -> dict[str, Any]:
    """Return the look that all figures share."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "autosize": True,
        "font": {"family": FONT, "size": 12, "color": palette.ink},
        "margin": {"l": 66, "r": 14, "t": 12, "b": 38}, "barmode": "overlay", "bargap": 0,
        "hovermode": "closest", "dragmode": "zoom", "uirevision": "same", "annotations": [],
        "shapes": [], "hoverdistance": 12, "uniformtext": {"mode": "hide", "minsize": 9},
        "hoverlabel": {
            "bgcolor": palette.paper, "bordercolor": palette.line,
            "font": {"family": FONT, "size": 12, "color": palette.ink}, "align": "left",
        },
        "legend": {
            "orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom",
            "font": {"size": 11.5, "color": palette.quiet}, "bgcolor": "rgba(0,0,0,0)",
            "itemclick": "toggle", "traceorder": "normal",
        },
        "xaxis": {
            "showgrid": True, "gridcolor": palette.line, "zeroline": False, "tickformat": ",d",
            "tickfont": {"size": 11, "color": palette.quiet}, "nticks": 9, "ticks": "",
            "showline": False,
        },
    }  # fmt: skip


def escaped(text: str) -> str:
    """Return a text of a run as Plotly shows it literally: its labels know some HTML.

    Examples
    --------
    >>> escaped("<b>x</b> & y")
    '&lt;b&gt;x&lt;/b&gt; &amp; y'
    """
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
