"""What the pages are made of: Dash components, laid out; no data is read here.

Texts of a run come in as plain children, which Dash shows literally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import dcc, html

Children = list[Any]
TICK_MS = 500
"""How long after an answer a page asks again whether there is more of a run that may grow."""
KEYS = (
    ("Space", "play, pause"),
    ("← →", "one record back, on; with Shift to the previous, next event"),
    ("Home End", "to the start, to the end"),
    ("W S", "zoom in, out around the playhead"),
    ("A D", "pan to the left, right"),
    ("0", "show everything"),
    ("+ −", "faster, slower"),
    ("P", "peek at what lies ahead"),
    ("T", "light or dark"),
    ("?", "this help"),
)
"""Keys of the replay page, and what they do."""
CHIPS = {"green": "pays off", "amber": "look", "red": "failed", "grey": "open"}
"""A word for each colour of a verdict, for those who do not see it."""

BLUES = ("#e8f4fb", "#cfe6f5", "#a1cdea", "#6fb3df", "#469cd4", "#2183c3", "#0072b2", "#00659e",
         "#00527f", "#003f63")  # fmt: skip
"""Shades of Okabe and Ito's blue, for buttons."""


def link(path: str, **query: str) -> str:
    """Return a link to a page of the app.

    Examples
    --------
    >>> link("/replay", runs="a,b")
    '/replay?runs=a%2Cb'
    """
    return f"{path}?{urlencode(query)}" if query else path


def icon(name: str, label: str, key: str, **more: Any) -> dmc.ActionIcon:
    """Return a button with a picture of `assets/style.css`, and a name for those who hear it."""
    style = more.pop("variant", "subtle")
    return dmc.ActionIcon(
        html.Span(className=f"icon icon-{name}"), id=key, variant=style, size="lg",
        n_clicks=0, **{"aria-label": label}, **more,
    )  # fmt: skip


def frame(title: str) -> dmc.MantineProvider:
    """Return what stays while pages change: header, stores, and the place of the page."""
    header = html.Header(
        [
            dcc.Link([html.Span(className="mark"), title], href="/", className="brand"),
            html.Nav(id="crumbs", className="crumbs"),
            html.Div(
                [
                    icon("theme", "Light or dark", "theme-button"),
                    icon("help", "Keys", "help-button"),
                ],
                className="tools",
            ),
        ],
        className="top",
    )
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="theme"),
            header,
            html.Main(id="page"),
            help_window(),
            html.Div(id="sink", hidden=True),
        ],
        id="mantine",
        theme={
            "fontFamily": "inherit",
            "defaultRadius": "sm",
            "primaryColor": "okabe",
            "primaryShade": {"light": 6, "dark": 6},
            "colors": {"okabe": list(BLUES)},
        },
    )


def help_window() -> dmc.Modal:
    """Return the list of keys."""
    rows = [
        html.Div([html.Span([dmc.Kbd(k) for k in keys.split()], className="keys"), said])
        for keys, said in KEYS
    ]
    return dmc.Modal(
        html.Div(rows, className="help"), id="help", title="Keys", opened=False, size="md"
    )


def crumbs(*steps: tuple[str, str | None]) -> Children:
    """Return the way to a page: names, and links to all but the last."""
    parts: Children = []
    for name, href in steps:
        parts.append(html.Span("/", className="slash"))
        parts.append(dcc.Link(name, href=href) if href else html.Span(name))
    return parts


def chip(verdict: str, text: str | None = None) -> html.Span:
    """Return a verdict as a coloured word."""
    return html.Span(text or CHIPS[verdict], className=f"chip chip-{verdict}")


def message(title: str, text: str, *more: Any) -> html.Div:
    """Return a page that says what is wrong."""
    return html.Div([html.H1(title), html.P(text), *more], className="message", id="message")


# --- overview -------------------------------------------------------------------------------


def column(name: str, head: str, width: int, **more: Any) -> dict[str, Any]:
    """Return a column of figures of the table of runs."""
    form = more.pop("form", None)
    given = {"field": name, "headerName": head, "width": width, **more}
    if form:
        given |= {
            "type": "rightAligned", "filter": "agNumberColumnFilter",
            "valueFormatter": {"function": form},
        }  # fmt: skip
    return given


NUMBER = "params.value == null ? '–' : d3.format(',.0f')(params.value)"
PERCENT = "params.value == null ? '–' : d3.format('.1%')(params.value)"
SIGNED = "params.value == null ? '–' : d3.format('+.1%')(params.value)"


def columns() -> list[dict[str, Any]]:
    """Return the columns of the table of runs, the verdict first."""
    return [
        column("verdict", "Verdict", 134, cellRenderer="Chip",
               comparator={"function": "verdictOrder"}),
        column("name", "Run", 168, cellRenderer="RunLink", filter="agTextColumnFilter"),
        column("verdict_text", "What was seen", 262, filter="agTextColumnFilter",
               tooltipField="verdict_text"),
        column("policy", "Policy", 176, filter="agTextColumnFilter", tooltipField="policy"),
        column("against", "Cost vs never", 118, form=SIGNED,
               headerTooltip="Cost beside never retraining: below 0 is cheaper"),
        column("cost", "Cost", 86, form=NUMBER),
        column("error", "Error", 88, form=PERCENT),
        column("never", "If never", 92, form=PERCENT),
        column("retrains", "Retrains", 98, form=NUMBER),
        column("drifts", "Drifts found", 116),
        column("false", "False alarms", 116, form=NUMBER),
        column("records", "Records", 102, form=NUMBER),
        column("streams", "Streams", 92, form=NUMBER),
        column("seed", "Seed", 76, form=NUMBER),
        column("state", "State", 100),
        column("path", "Folder", 260, filter="agTextColumnFilter"),
    ]  # fmt: skip


def grid(key: str, rows: list[dict[str, Any]], cols: list[dict[str, Any]], **options: Any) -> Any:
    """Return a table that can be sorted, filtered and saved as CSV."""
    class_name = options.pop("class_name", "grid")
    get_id = options.pop("row_id", None)
    return dag.AgGrid(
        id=key, rowData=rows, columnDefs=cols, className=class_name, columnSize=None,
        getRowId=get_id, style={"height": None},
        csvExportParams={"fileName": f"driftline-{key}.csv"},
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={"theme": "themeQuartz", "animateRows": False, "tooltipShowDelay": 300,
                         "enableCellTextSelection": True, **options},
    )  # fmt: skip


def overview(rows: list[dict[str, Any]], counts: Mapping[str, int], growing: bool) -> html.Div:
    """Return the table of all runs."""
    told = [html.Span([chip(v), f" {counts[v]}"]) for v in CHIPS if counts.get(v)]
    return html.Div(
        [
            html.Div(
                [
                    html.H1(f"{len(rows)} runs" if len(rows) != 1 else "1 run"),
                    html.Div(told, className="counts"),
                    html.Div(
                        [
                            dmc.TextInput(id="quick", placeholder="Filter", size="xs", w=160,
                                          **{"aria-label": "Filter runs"}),
                            dmc.Button("Replay together", id="go-replay", size="xs", disabled=True),
                            dmc.Button("Compare settings", id="go-compare", size="xs",
                                       variant="default", disabled=True),
                            dmc.Button("CSV", id="runs-csv", size="xs", variant="default"),
                        ],
                        className="actions",
                    ),
                ],
                className="headline",
            ),
            grid("runs", rows, columns(), row_id="params.data.key", class_name="grid grid-runs",
                 rowSelection={"mode": "multiRow", "enableClickSelection": False}, rowHeight=38),
            html.P("Tick two or more runs to see them on one axis.", className="hint"),
            dcc.Interval(id="overview-tick", interval=4 * TICK_MS, disabled=not growing),
        ],
        className="overview",
    )  # fmt: skip


# --- many streams ---------------------------------------------------------------------------


def streams(
    name: str, key: str, cells: Sequence[dict[str, Any]], verdict: str, told: str, order: str
) -> html.Div:
    """Return all streams of a run as small pictures, each a link to its replay."""
    orders = [
        dcc.Link(text, href=link("/streams", run=key, sort=sort),
                 className="order chosen" if sort == order else "order")
        for sort, text in (("name", "by name"), ("error", "worst first"), ("gain", "least gain"))
    ]  # fmt: skip
    made = [cell | {"href": link("/replay", runs=key, stream=cell["stream"])} for cell in cells]
    return html.Div(
        [
            html.Div(
                [
                    html.H1(name), html.Span([chip(verdict), f" {told}"], className="said"),
                    html.Div(orders, className="actions"),
                ],
                className="headline",
            ),
            dcc.Store(id="cells", data=made),
            html.Div(className="cells", id="streams"),
            html.P(
                "Error of the champion (line) and of the first model (grey) over all records; "
                "dashed: a scripted drift. Click one to replay it.", className="hint",
            ),
        ],
        className="overview",
    )  # fmt: skip


# --- two runs, and a benchmark --------------------------------------------------------------


def comparison(
    names: Sequence[str], keys: Sequence[str], rows: Sequence[tuple[str, Any, Any]],
    figures: Sequence[Mapping[str, Any]],
) -> html.Div:  # fmt: skip
    """Return what two runs were told to do differently, and what came of it."""
    shown = (("cost", "Cost", ",.0f"), ("against", "Cost vs never", "+.1%"),
             ("error", "Error", ".2%"), ("retrains", "Retrains", ",.0f"),
             ("drifts", "Drifts found", ""), ("false", "False alarms", ",.0f"))  # fmt: skip

    def cell(one: Mapping[str, Any], name: str, form: str) -> str:
        value = one.get(name)
        return "–" if value is None else format(value, form)

    head = html.Thead(html.Tr([html.Th(""), *(html.Th(name) for name in names)]))
    came = html.Tbody(
        [
            html.Tr([html.Th(title), *(html.Td(cell(one, name, form)) for one in figures)])
            for name, title, form in shown
        ]
    )
    differ = html.Tbody(
        [
            html.Tr([html.Th(key), html.Td(said(one)), html.Td(said(other))])
            for key, one, other in rows
        ]
    )
    both = dcc.Link("Replay both on one axis", href=link("/replay", runs=",".join(keys)),
                    className="button")  # fmt: skip
    return html.Div(
        [
            html.Div([html.H1("Two runs"), html.Div(both, className="actions")],
                     className="headline"),
            html.H2("What came of it"),
            html.Div(html.Table([head, came]), className="table"),
            html.H2("What was set differently"),
            html.Div(html.Table([head, differ], id="differences"), className="table")
            if rows
            else html.P("Nothing: the two ran with the same settings.", id="differences"),
        ],
        className="page",
    )  # fmt: skip


def said(value: Any) -> str:
    """Return a setting as text; what is not set is a dash.

    Examples
    --------
    >>> said(None), said([1, 2]), said(0.5)
    ('–', '1, 2', '0.5')
    """
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def bench(
    found: Any, bench: Mapping[str, Any], figure: Any, table: Any, when: Any, about: str
) -> html.Div:
    """Return a benchmark: its verdict, cost curves, timelines, table, and a way to its report."""
    streams, prices = bench["streams"], bench["prices"]
    save = html.A("Save the report", href=f"/report/{found.key}", className="button", id="report",
                  download="")  # fmt: skip
    pick = dmc.Select(
        id="bench-stream", value="", size="xs", w=190, allowDeselect=False,
        data=[{"value": "", "label": "all streams"}, *({"value": s, "label": s} for s in streams)],
        **{"aria-label": "Stream"},
    )  # fmt: skip
    price = dmc.SegmentedControl(id="bench-price", data=prices, size="xs", value=middle(prices))
    rows = dmc.Button("CSV", id="policies-csv", size="xs", variant="default")
    still = {"displaylogo": False, "displayModeBar": False}
    graph: dict[str, Any] = {"responsive": True, "config": still}
    timelines = html.Div(
        [
            html.Div([html.H2("When each policy asked for a model"), price], className="between"),
            html.P(about, className="said", id="schedules-about"),
            dcc.Graph(figure=when or {}, id="schedules", **graph),
        ],
        style={} if when else {"display": "none"},
    )
    return html.Div(
        [
            dcc.Store(id="bench", data=found.key),
            html.Div(
                [
                    html.H1(found.name),
                    html.Div(
                        [pick, rows, *([save] if bench["report"] else [])], className="actions"
                    ),
                ],
                className="headline",
            ),
            html.P(bench["verdict"], className="said"),
            html.H2("Cost beside the best in hindsight, by the price of a retrain"),
            dcc.Graph(figure=figure, className="curves", id="curves", **graph),
            timelines,
            table,
        ],
        className="page wide",
    )


def middle(prices: Sequence[str]) -> str:
    """Return the price in the middle, the lower one of two.

    >>> middle(["2%", "10%", "50%", "200%"])
    '10%'
    """
    return prices[(len(prices) - 1) // 2] if prices else ""
