"""The Dash app: which page an address shows, and what the server answers while it is looked at.

Playing asks the server nothing: lanes come once, the browser does the rest (`assets/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import dash
import flask
from dash import ClientsideFunction, Input, Output, State, no_update

from dashboards import pages, panels, player
from dashboards.benches import open_bench
from dashboards.charts import costs
from dashboards.figures import replay
from dashboards.player import Drawing
from dashboards.reasons import records, why
from dashboards.serving import REPORT_POLICY, guard
from dashboards.shelf import Shelf, cells_of, labels, row_of
from dashboards.verdicts import difference
from engine.errors import EngineError, InputError

SPARK_BINS = 60
"""How fine the small pictures of many streams are."""
RUNS_MAX = 6
"""So many runs are drawn on one axis."""
EARLY = '<link rel="preload" as="script" href="/_dash-component-suites/dash/dcc/async-graph.js">'
"""Fetched while the page is still being put together; Plotly itself is among the assets."""
Query = Mapping[str, str]


def make(paths: Sequence[Path], host: str = "127.0.0.1", token: str | None = None) -> dash.Dash:
    """Return the app over some run directories.

    Parameters
    ----------
    paths
        Run directories, benchmark folders, or folders that hold some.
    host
        Where it will listen.
    token
        What readers have to show, if anything.
    """
    shelf = Shelf(paths)

    class App(dash.Dash):
        def interpolate_index(self, **parts: Any) -> str:  # type: ignore[override, unused-ignore]
            """Return the page, with a head start for what a replay needs."""
            if flask.request.path == "/replay":
                asked = flask.request.args
                shelf.hasten(keys_of(asked), asked.get("stream"))
                parts["css"] = EARLY + parts["css"]
            whole: Any = super()
            return str(whole.interpolate_index(**parts))

    app = App(
        __name__,
        assets_folder=str(Path(__file__).parent / "assets"),
        title="Driftline",
        update_title="",
        suppress_callback_exceptions=True,
        serve_locally=True,
        add_log_handler=False,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = pages.frame("Driftline")
    add_pages(app, shelf)
    add_replay(app, shelf)
    add_bench(app, shelf)
    add_client(app)
    add_report(app, shelf)
    guard(app.server, host, token, app.csp_hashes())
    shelf.warm()
    return app


# --- pages ----------------------------------------------------------------------------------


def add_pages(app: dash.Dash, shelf: Shelf) -> None:
    """Have addresses show pages."""

    @app.callback(
        Output("page", "children"),
        Output("crumbs", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("theme", "data"),
        State("page", "children"),
        prevent_initial_call=True,
    )  # type: ignore[untyped-decorator, unused-ignore]
    def show(path: str, search: str, theme: str, shown: Any) -> Any:
        if not theme:
            return no_update, no_update
        asked = {key: values[-1] for key, values in parse_qs((search or "").lstrip("?")).items()}
        only_theme = [one["prop_id"] for one in dash.ctx.triggered] == ["theme.data"]
        if only_theme and shown and path in ("/", "/replay"):
            return no_update, no_update  # they change colours by themselves
        try:
            return page_of(shelf, path, asked, theme)
        except EngineError as error:
            return pages.message("This cannot be shown", str(error)), pages.crumbs(
                ("Problem", None)
            )

    @app.callback(
        Output("runs", "rowData"),
        Input("overview-tick", "n_intervals"),
        State("runs", "rowData"),
        prevent_initial_call=True,
    )  # type: ignore[untyped-decorator, unused-ignore]
    def refresh(_: int, shown: list[dict[str, Any]]) -> Any:
        rows = [row_of(one) for one in shelf.look()]
        return no_update if rows == shown else rows


def page_of(shelf: Shelf, path: str, asked: Query, theme: Any) -> tuple[Any, Any]:
    """Return a page and the way to it."""
    match path:
        case "/":
            return overview_page(shelf), []
        case "/replay":
            return replay_page(shelf, asked, theme)
        case "/streams":
            return streams_page(shelf, asked, theme)
        case "/compare":
            return compare_page(shelf, asked)
        case "/bench":
            return bench_page(shelf, asked, theme)
    raise InputError("there is no such page; start from the overview")


def overview_page(shelf: Shelf) -> Any:
    """Return the table of all runs."""
    found = shelf.look()
    if not found:
        where = ", ".join(str(path) for path in shelf.paths)
        text = f"No run below {where}. Make one with: driftline run scenarios/elec2.yaml"
        return pages.message("Nothing here yet", text)
    counts: dict[str, int] = {}
    for one in found:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    growing = any(one.state == "growing" for one in found)
    return pages.overview([row_of(one) for one in found], counts, growing)


def keys_of(asked: Query, most: int = RUNS_MAX) -> list[str]:
    """Return the runs that an address asks for, each once.

    Examples
    --------
    >>> keys_of({"runs": "a,b,,a"})
    ['a', 'b']
    """
    return list(dict.fromkeys(key for key in asked.get("runs", "").split(",") if key))[:most]


def replay_page(shelf: Shelf, asked: Query, theme: Any) -> tuple[Any, Any]:
    """Return the lanes of the runs that are asked for."""
    keys = keys_of(asked)
    if not keys:
        raise InputError("no run was named; pick one in the overview")
    found = [shelf.found(key) for key in keys]
    for one in found:
        if one.state == "damaged":
            title = f"{one.name or one.label} cannot be opened"
            return pages.message(title, f"{one.label}: {one.problem}."), pages.crumbs(
                (one.name, None)
            )
    stream = shelf.stream(keys[0], asked.get("stream"))
    mode = "stacked" if asked.get("mode") == "stacked" else "overlaid"
    names = labels(found)
    streams = shelf.opened(keys[0]).streams
    steps: list[tuple[str, str | None]] = []
    if len(streams) > 1 and len(keys) == 1:
        steps.append((names[0], pages.link("/streams", run=keys[0])))
        steps.append((stream, None))
    else:
        steps.append((" + ".join(names) if len(names) < 3 else f"{len(names)} runs", None))
    drawn = drawing(shelf, keys, stream, mode, theme)
    page = player.replay(keys, names, streams, stream, mode, drawn)
    return page, pages.crumbs(*steps)


def drawing(shelf: Shelf, keys: Sequence[str], stream: str, mode: Any, theme: Any) -> Drawing:
    """Return what the replay page draws of some runs as they are now."""
    over = shelf.over(keys)  # these two first: what comes in between is drawn the next time
    version = shelf.version(keys, stream)
    shown = shelf.shown(keys, stream)
    runs = [
        {"key": key, "name": one.name, "stream": shelf.stream(key, stream),
         "state": shelf.opened(key).state, "changed": shelf.found(key).last_change,
         "lanes": one.lanes}
        for key, one in zip(keys, shown, strict=True)
    ]  # fmt: skip
    return Drawing(replay(shown, mode, theme or "light"), {"runs": runs}, version, over)


def streams_page(shelf: Shelf, asked: Query, theme: Any) -> tuple[Any, Any]:
    """Return all streams of a run as small pictures."""
    key = asked.get("run", "")
    found, opened = shelf.found(key), shelf.opened(key)
    order = asked.get("sort", "name")
    drawn = [(name, shelf.lanes(key, name, SPARK_BINS)[1]) for name in opened.streams]
    cells = cells_of(drawn, opened.summary, opened.prices["error"], theme)
    if order != "name":
        cells.sort(key=lambda cell: -cell["rank"][order])
    page = pages.streams(found.name, key, cells, found.verdict, found.verdict_text, order)
    return page, pages.crumbs((found.name, None))


def compare_page(shelf: Shelf, asked: Query) -> tuple[Any, Any]:
    """Return what differs between the settings of two runs, and between their figures."""
    keys = keys_of(asked, 2)
    if len(keys) < 2:
        raise InputError("two runs are needed to compare; tick them in the overview")
    found = [shelf.found(key) for key in keys]
    about = [shelf.opened(key).about for key in keys]
    rows = difference(about[0], about[1])
    figures = [row_of(one) for one in found]
    return pages.comparison(labels(found), keys, rows, figures), pages.crumbs(("Settings", None))


def bench_page(shelf: Shelf, asked: Query, theme: Any) -> tuple[Any, Any]:
    """Return the cost curves of a benchmark."""
    found = shelf.found(asked.get("run", ""))
    if found.kind != "bench" or found.state != "finished":
        why_not = found.problem or "it is not finished"
        raise InputError(f"{found.label}: {why_not}")
    bench = open_bench(found.path)
    page = panels.bench(found, bench, theme)
    return page, pages.crumbs((found.name, None))


# --- replay ---------------------------------------------------------------------------------


def add_replay(app: dash.Dash, shelf: Shelf) -> None:
    """Have the replay page draw lanes, follow runs that grow, and explain events."""

    @app.callback(
        Output("lanes", "figure"),
        Output("data", "data"),
        Output("versions", "data"),
        Output("tick", "disabled"),
        Input("asked", "data"),
        Input("stream", "value"),
        Input("mode", "value"),
        Input("theme", "data"),
        Input("tick", "n_intervals"),
        State("versions", "data"),
        prevent_initial_call=True,
    )  # type: ignore[untyped-decorator, unused-ignore]
    def draw(asked: Any, stream: str, mode: Any, theme: Any, tick: Any, known: Any) -> Any:
        keys = asked["runs"]
        ticked = [one["prop_id"] for one in dash.ctx.triggered] == ["tick.n_intervals"]
        try:
            over = shelf.over(keys)
            if ticked and shelf.version(keys, stream) == known:
                return no_update, no_update, no_update, over
            made = drawing(shelf, keys, stream, mode, theme)
        except EngineError:  # between two of its states: it is asked again
            return no_update, no_update, no_update, False
        return made.figure, made.data, made.version, made.over

    @app.callback(
        Output("why", "children"),
        Input("selected", "data"),
        Input("theme", "data"),
        prevent_initial_call=True,
    )  # type: ignore[untyped-decorator, unused-ignore]
    def explain(selected: Any, theme: Any) -> Any:
        if not selected:
            return player.nothing_yet()
        try:
            opened = shelf.opened(selected["run"])
            stream = shelf.stream(selected["run"], selected["stream"])
            told = why(opened, stream, int(selected["event"]))
            near = records(opened, stream, int(told["event"].get("of_seq") or told["event"]["seq"]))
        except (EngineError, IndexError, KeyError, TypeError, ValueError) as error:
            return pages.message("This cannot be explained", str(error))
        return panels.panel(told, near, theme or "light")


def add_bench(app: dash.Dash, shelf: Shelf) -> None:
    """Have the pictures of a benchmark show one stream or all, and one price."""

    @app.callback(
        Output("curves", "figure"),
        Output("schedules", "figure"),
        Output("schedules-about", "children"),
        Input("bench-stream", "value"),
        Input("bench-price", "value"),
        State("bench", "data"),
        State("theme", "data"),
        prevent_initial_call=True,
    )  # type: ignore[untyped-decorator, unused-ignore]
    def draw(stream: str, price: str, key: str, theme: Any) -> Any:
        told = open_bench(shelf.found(key).path)
        when, about = panels.timeline(told, stream, price, theme or "light")
        curves = costs(told["by_stream"].get(stream) or told["curves"], theme or "light")
        return curves, when or {}, about


def add_report(app: dash.Dash, shelf: Shelf) -> None:
    """Offer the report of a benchmark as a file: it is saved, never run in this page."""

    @app.server.route("/report/<key>")  # type: ignore[untyped-decorator, unused-ignore]
    def report(key: str) -> Any:
        try:
            found = shelf.found(key)
        except InputError:
            flask.abort(404)
        file = found.path / "report.html"
        whole = file.resolve()
        if found.kind != "bench" or not whole.is_file() or whole.parent != found.path.resolve():
            flask.abort(404)
        name = f"{found.path.name}-report.html"
        answer = flask.send_file(whole, as_attachment=True, download_name=name)
        answer.headers["Content-Security-Policy"] = REPORT_POLICY
        return answer


# --- in the browser -------------------------------------------------------------------------


def add_client(app: dash.Dash) -> None:
    """Join the components with the functions in `assets/`, which run in the browser."""
    client: Any = app.clientside_callback  # untyped in Dash

    def join(name: str, out: Any, *inputs: Any, first: bool = False) -> None:
        client(ClientsideFunction("driftline", name), out, *inputs, prevent_initial_call=not first)

    sink = Output("sink", "title", allow_duplicate=True)
    client(ClientsideFunction("driftline", "boot"), Output("theme", "data"), Input("url", "id"))
    join("paint", Output("mantine", "forceColorScheme"), Input("theme", "data"))
    join("flip", Output("theme", "data", allow_duplicate=True), Input("theme-button", "n_clicks"))
    join("help", Output("help", "opened"), Input("help-button", "n_clicks"))
    join("load", sink, Input("data", "data"))
    join("cells", sink, Input("cells", "data"))
    join("drawn", sink, Input("lanes", "figure"))
    join("ask", sink, Input("tick", "n_intervals"))
    join("seek", sink, Input("slider", "value"))
    join("pace", sink, Input("speed", "value"))
    join("peek", sink, Input("peek", "checked"))
    join("explained", sink, Input("why", "children"))
    join("filter", sink, Input("log-kind", "value"))
    join("arrange", sink, Input("mode", "value"), Input("stream", "value"))
    for button in ("play", "previous", "next", "to-start", "to-end"):
        join("press", sink, Input(button, "n_clicks"))
    for button in ("save-png", "save-csv", "copy-link"):
        join("save", sink, Input(button, "n_clicks"))
    join("search", Output("runs", "dashGridOptions"), Input("quick", "value"))
    join(
        "choose",
        [Output("go-replay", "disabled"), Output("go-compare", "disabled")],
        Input("runs", "selectedRows"),
    )
    join("go", Output("url", "href"), Input("go-replay", "n_clicks"),
         Input("go-compare", "n_clicks"), State("runs", "selectedRows"))  # fmt: skip
    join("csv", Output("runs", "exportDataAsCsv"), Input("runs-csv", "n_clicks"))
    for table in ("records", "policies"):
        join("csv", Output(table, "exportDataAsCsv"), Input(f"{table}-csv", "n_clicks"))
