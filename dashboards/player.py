"""The page of the replay: lanes with a playhead, numbers, log and panel, and what moves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.looks import Figure
from dashboards.pages import TICK_MS, icon

SPEEDS = ("0.25", "0.5", "1", "2", "4", "8")
"""Multiples of the speed at which a run takes a minute."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the page draws: it comes with the page, and anew whenever there is more.

    Parameters
    ----------
    figure
        The lanes.
    data
        What the numbers at the playhead are made from.
    version
        A text that changes whenever there is more to see.
    over
        Whether there never will be.
    """

    figure: Figure
    data: dict[str, Any]
    version: str
    over: bool


def replay(
    keys: Sequence[str], names: Sequence[str], streams: Sequence[str], stream: str,
    mode: str, drawn: Drawing,
) -> html.Div:  # fmt: skip
    """Return the page of lanes with its playhead."""
    several = len(keys) > 1
    pick = dmc.Select(
        id="stream", data=list(streams), value=stream, size="xs", w=190, searchable=True,
        allowDeselect=False, style={} if len(streams) > 1 else {"display": "none"},
        **{"aria-label": "Stream"},
    )  # fmt: skip
    how = dmc.SegmentedControl(
        id="mode",
        value=mode,
        size="xs",
        style={} if several else {"display": "none"},
        data=[{"value": "overlaid", "label": "Overlaid"}, {"value": "stacked", "label": "Stacked"}],
    )
    headline = html.Div(
        [
            html.H1(names[0] if not several else f"{len(keys)} runs"),
            html.Span(id="live", className="live"),
            html.Div(
                [
                    pick, how,
                    dmc.Switch(id="peek", label="Show ahead", size="xs", checked=False),
                    dmc.Button("PNG", id="save-png", size="xs", variant="default"),
                    dmc.Button("CSV", id="save-csv", size="xs", variant="default"),
                    dmc.Button("Copy link", id="copy-link", size="xs", variant="default"),
                ],
                className="actions",
            ),
        ],
        className="headline",
    )  # fmt: skip
    return html.Div(
        [
            dcc.Store(id="asked", data={"runs": list(keys)}),
            dcc.Store(id="data", data=drawn.data),
            dcc.Store(id="versions", data=drawn.version),
            dcc.Store(id="selected"),
            dcc.Interval(id="tick", interval=TICK_MS, disabled=drawn.over),
            headline,
            html.Div(id="numbers", className="numbers"),
            html.Div(
                [
                    html.Div([html.Div(id="legend"), stage(drawn.figure)], className="scroller"),
                    side(),
                ],
                className="columns",
            ),
            transport(),
        ],
        className="replay",
    )


def stage(figure: Figure) -> html.Div:
    """Return the place of the lanes; what covers the future lies above them."""
    graph = dcc.Graph(
        id="lanes", figure=figure, responsive=True, className="graph",
        config={
            "displaylogo": False, "scrollZoom": False, "doubleClick": False,
            "displayModeBar": False,
        },
    )  # fmt: skip
    return html.Div(
        [
            graph,
            html.Div(id="veil"),
            html.Div(id="needle"),
            html.Div(id="cross"),
            html.Div(id="readout"),
            html.Div(id="dates"),
        ],
        id="stage",
        className="stage",
    )


def side() -> html.Aside:
    """Return the log of events and the panel that explains one of them."""
    kinds = [
        {"value": "all", "label": "All"}, {"value": "alarms", "label": "Alarms"},
        {"value": "models", "label": "Models"}, {"value": "truth", "label": "Truth"},
    ]  # fmt: skip
    return html.Aside(
        dmc.Tabs(
            [
                dmc.TabsList([dmc.TabsTab("Events", value="log"), dmc.TabsTab("Why", value="why")]),
                dmc.TabsPanel(
                    [
                        dmc.SegmentedControl(
                            id="log-kind", data=kinds, value="all", size="xs", fullWidth=True
                        ),
                        html.Div(id="log", className="log", role="log"),
                    ],
                    value="log",
                ),
                dmc.TabsPanel(html.Div(nothing_yet(), id="why", className="why"), value="why"),
            ],
            id="side-tabs",
            value="log",
            keepMounted=True,
        ),
        className="side",
    )


def nothing_yet() -> html.P:
    """Return what the panel says before anything was clicked."""
    return html.P(
        "Click an alarm, a decision or a model, in the lanes or among the events, to see why.",
        className="hint",
    )


def transport() -> html.Div:
    """Return the buttons and the slider that move the playhead."""
    speeds = [{"value": one, "label": f"{one.replace('0.', '.')}×"} for one in SPEEDS]
    return html.Div(
        [
            html.Div(
                [
                    icon("start", "To the start", "to-start"),
                    icon("previous", "Previous event", "previous"),
                    icon("play", "Play or pause", "play", variant="filled", radius="xl"),
                    icon("next", "Next event", "next"),
                    icon("end", "To the end", "to-end"),
                ],
                className="buttons",
            ),
            dmc.Slider(
                id="slider", value=0, min=0, max=1, step=1, size="sm", updatemode="drag",
                label=None, persistence=False, className="slider", **{"aria-label": "Playhead"},
            ),
            html.Div(id="position", className="position"),
            dmc.Select(
                id="speed", data=speeds, value="1", size="xs", w=76, allowDeselect=False,
                **{"aria-label": "Speed"},
            ),
        ],
        className="transport",
    )  # fmt: skip
