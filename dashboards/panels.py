"""The panel that says why something happened, and the page of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dash import dcc, html

from dashboards import pages
from dashboards.catalogue import Found
from dashboards.charts import coloured, costs, distribution, schedules
from dashboards.looks import Theme

FEATURES_MAX = 4
"""So many features have a picture of their distribution."""
WORDS = {
    "recent_error": "error of the newest block",
    "first_error": "error of its first block",
    "served": "records served",
    "labels": "labels since its window",
    "pending": "a job is pending",
}
"""What a policy saw, in words; other names are shown as they are."""
Told = Mapping[str, Any]


def panel(told: Told, near: Sequence[Told], theme: Theme) -> Any:
    """Return what explains one event; what came later than the playhead waits for it.

    Parameters
    ----------
    told
        As `dashboards.reasons.why` returns it.
    near
        The records around the event.
    theme
        Whose colours.
    """
    event = told["event"]
    head = [
        html.H2(f"{event['kind'].replace('_', ' ')} at record {event['seq']:,}"),
        html.P(told["title"]),
        *(html.P(sentence, className="said") for sentence in told["sentences"]),
    ]
    parts = [
        head, noted(told), chain(told), seen(told), features(told, theme), window(told), duel(told),
        models(told), table(near),
    ]  # fmt: skip
    return [one for part in parts for one in part]


def later(seq: int, event: int | None = None) -> Any:
    """Return the attributes of what the page hides until the playhead is at a record.

    Examples
    --------
    >>> later(5, 2)
    {'data-seq': '5', 'data-event': '2'}
    """
    return {"data-seq": str(seq)} | ({} if event is None else {"data-event": str(event)})


def chain(told: Told) -> list[Any]:
    """Return what led to an event and what came of it, each a button."""
    if len(told["chain"]) < 2:
        return []
    steps = [
        html.Button(
            [html.Span(f"{one['seq']:,}", className="seq"),
             html.Span(one["kind"].replace("_", " "), className="word"),
             html.Span(one["label"], className="label")],
            className=f"event step kind-{one['kind']}{' chosen' if one['i'] == told['i'] else ''}",
            **later(one["seq"], one["i"]),
        )
        for one in told["chain"]
    ]  # fmt: skip
    return [html.H3("From cause to effect"), html.Div(steps)]


def facts(pairs: Iterable[tuple[str, Any]]) -> html.Dl:
    """Return names and values side by side."""
    return html.Dl([one for name, value in pairs for one in (html.Dt(name), html.Dd(said(value)))],
                   className="facts")  # fmt: skip


def said(value: Any) -> str:
    """Return a value that a policy saw, as text.

    Examples
    --------
    >>> said(0.123456), said(True), said(1296), said(None), said([{"seq": 1}, {"seq": 2}])
    ('0.123', 'yes', '1,296', '–', '2')
    >>> said({"low": 1, "high": 2})
    'low 1, high 2'
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        return f"{len(value)}"
    if isinstance(value, list):
        return ", ".join(said(one) for one in value[:20])
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {said(one)}" for key, one in list(value.items())[:12])
    return str(value)


def seen(told: Told) -> list[Any]:
    """Return what the policy saw when it decided."""
    saw = told["saw"]
    if not isinstance(saw, Mapping) or not saw:
        return []
    pairs = [(WORDS.get(key, key.replace("_", " ")), value) for key, value in saw.items()]
    return [html.H3(f"What the policy ({told['policy']}) saw"), facts(pairs)]


PLAIN = ("kind", "stream", "seq", "n", "event_time", "of_seq")
"""What an event says of where it is, rather than of what it is."""


def noted(told: Told) -> list[Any]:
    """Return all that an anomaly or an alert tells."""
    event = told["event"]
    if event["kind"] not in ("anomaly", "alert", "stream_failed"):
        return []
    return [facts((key.replace("_", " "), value) for key, value in event.items()
                  if key not in PLAIN and value is not None)]  # fmt: skip


def window(told: Told) -> list[Any]:
    """Return the training window, and the champion's error before and after the event."""
    found = []
    rows = told["window"]
    if rows:
        span = f"records {rows['first']:,} to {rows['last']:,}"
        found += [html.H3("Trained on"), html.P(f"{rows['rows']:,} labelled rows, {span}")]
    errors = told["errors"]
    if errors and errors["before"] is not None:
        many = errors["records"]
        cells = [html.Span(f"{said(errors['before'])} over the {many} records before")]
        if errors["after"] is not None:
            text = f", {said(errors['after'])} over the {many} after"
            cells.append(html.Span(text, **later(told["event"]["seq"] + many)))
        found += [html.H3("Error around it"), html.P(cells)]
    return found


def duel(told: Told) -> list[Any]:
    """Return what the judge measured: challenger against champion."""
    scores, after = told["scores"], told["after"]
    if not scores:
        return []
    ended = next(
        (one["seq"] for one in told["chain"] if one["kind"] in ("promoted", "rejected", "reused")),
        0,
    )
    back = any(one["kind"] == "reused" for one in told["chain"])
    own, other = scores["challenger_error"], scores["champion_error"]
    judge = scores["judge"]
    text = judge if isinstance(judge, str) else said(judge)
    if own is None or other is None:
        body: list[Any] = [html.P(f"judge: {text.replace('_', ' ')}; nothing was measured.")]
    else:
        top = max(own, other) or 1
        body = [
            html.Div(
                [
                    cell
                    for name, value in (("challenger", own), ("champion", other))
                    for cell in (
                        html.Span(name),
                        html.Div(
                            className=f"bar {name}", style={"width": f"{100 * value / top:.0f}%"}
                        ),
                        html.Span(said(value)),
                    )
                ],
                className="duel",
            ),
            html.P(
                f"error on {said(scores['judged_rows'])} records; judge: {text}", className="said"
            ),
            *[html.P(one, className="said") for one in tests(scores)],
        ]
    outcome = "serves again" if back else after["outcome"] if after else "pending"
    title = f"{'Earlier model' if back else 'Challenger'} against champion: {outcome}"
    return [html.Div([html.H3(title), *body], **later(ended))]


def tests(scores: Mapping[str, Any]) -> list[str]:
    """Return what a judge found besides the errors, in sentences.

    >>> tests({"wins": 5, "losses": 5, "p_value": 0.623, "broken": ["size"], "extensions": [{}]})
    ['better on 5, worse on 5: p = 0.623', 'kept out by its size', 'looked at 2 times']
    """
    found = []
    if scores.get("p_value") is not None:
        both = f"better on {said(scores.get('wins'))}, worse on {said(scores.get('losses'))}"
        found.append(f"{both}: p = {said(scores['p_value'])}")
    if scores.get("broken"):
        found.append(f"kept out by its {' and '.join(map(str, scores['broken']))}")
    if scores.get("extensions"):
        found.append(f"looked at {1 + len(scores['extensions'])} times")
    return found


def models(told: Told) -> list[Any]:
    """Return champion and challenger side by side: rows, trees, parameters."""
    before, after = told["before"], told["after"]
    both = [one for one in (before, after) if one]
    if not both:
        return []
    names = (
        ("rows", "rows fitted"),
        ("trees", "trees"),
        ("asked", "asked at"),
        ("since", "serves from"),
    )
    head = html.Tr([html.Th(""), *(html.Th(f"model {one['model']}") for one in both)])
    rows = [(name, [one[key] for one in both], key) for key, name in names]
    rows += [("window", [spanned(one["window"]) for one in both], "asked")]
    for name, one, other in told["parameters"]:
        values = [value for model, value in ((before, one), (after, other)) if model]
        rows.append((name.replace("_", " "), values, "parameter"))
    lines = []
    for name, values, key in rows:
        cells = [
            html.Td(html.Span(said(value), **later(known_from(one, key))))
            for one, value in zip(both, values, strict=True)
        ]
        differs = len(values) == 2 and values[0] != values[1]
        lines.append(html.Tr([html.Th(name), *cells], className="differs" if differs else ""))
    hint = html.P("≠ marks what differs.", className="said") if len(both) == 2 else None
    table = html.Table([html.Thead(head), html.Tbody(lines)], className="models")
    return [html.H3("Before and after"), table, *([hint] if hint else [])]


def spanned(window: Mapping[str, Any] | None) -> str | None:
    """Return the bounds of a training window.

    >>> spanned({"first": 0, "last": 1999, "rows": 2000})
    '0 to 1,999'
    """
    return f"{window['first']:,} to {window['last']:,}" if window else None


def known_from(model: Told, key: str) -> int:
    """Return the record from which a fact about a model is known.

    Examples
    --------
    >>> model = {"asked": 5, "ready": 9, "since": None}
    >>> [known_from(model, key) for key in ("asked", "trees", "since")]
    [5, 9, 9]
    """
    if key in ("asked", "rows"):
        return int(model["asked"] or 0)
    return int(model["since"] or model["ready"] or 0)


def features(told: Told, theme: Theme) -> list[Any]:
    """Return the distributions at the alarm: of the alarmed feature, then the most shifted."""
    sample = told["sample"]
    if not sample or not sample["features"]:
        return []
    key = html.Div(
        [
            html.Span([html.I(), "training window"]),
            html.Span([html.I(), "of late"], className="recent"),
        ],
        className="key",
    )
    found: list[Any] = [html.H3("Features: training window against of late"), key]
    for one in sample["features"][:FEATURES_MAX]:
        note = f"{one['shift']:.0%} moved" + (", alarmed" if one["alarmed"] else "")
        found.append(html.Div([one["name"], html.Span(note)], className="feature"))
        found.append(
            dcc.Graph(figure=distribution(one, theme), className="distribution", responsive=False,
                      config={"displayModeBar": False})
        )  # fmt: skip
    rest = sample["features"][FEATURES_MAX:]
    if rest:
        told_rest = ", ".join(f"{one['name']} {one['shift']:.0%}" for one in rest)
        found.append(html.P(f"Others: {told_rest}", className="said"))
    return found


RECORDS = (
    ("seq", "Record", 86), ("prediction", "Predicted", 100), ("label", "Label", 86),
    ("error", "Error", 74), ("baseline_error", "If never", 84), ("score", "Score", 80),
    ("model", "Model", 74), ("event_time", "Time", 170), ("label_time", "Label known", 170),
)  # fmt: skip


def table(near: Sequence[Told]) -> list[Any]:
    """Return the single records around an event."""
    if not near:
        return []
    names = [name for one in near if one.get("features") for name in one["features"]]
    extra = list(dict.fromkeys(names))[:20]
    cols: list[dict[str, Any]] = [
        {"field": key, "headerName": head, "width": width} for key, head, width in RECORDS
    ]
    cols += [{"field": f"feature {at}", "headerName": name, "width": 100}
             for at, name in enumerate(extra)]  # fmt: skip
    rows = []
    for one in near:
        row = {key: one.get(key) for key, _, _ in RECORDS}
        for key in ("event_time", "label_time"):
            row[key] = (row[key] or "")[:19].replace("T", " ")
        if isinstance(row["score"], float):
            row["score"] = round(row["score"], 3)
        known = one.get("features") or {}
        rows.append(row | {f"feature {at}": known.get(name) for at, name in enumerate(extra)})
    head = html.Div(
        [html.H3(f"Records {near[0]['seq']:,} to {near[-1]['seq']:,}"),
         html.Button("CSV", id="records-csv", className="button small", n_clicks=0)],
        className="between",
    )  # fmt: skip
    return [head, pages.grid("records", rows, cols, class_name="grid grid-records", rowHeight=28,
                             headerHeight=30)]  # fmt: skip


# --- a benchmark ----------------------------------------------------------------------------

BENCH = (
    ("policy", "Policy", 210, None), ("role", "Role", 96, None),
    ("regret", "Cost ÷ best", 120, "d3.format('.3f')(params.value)"),
    ("cost", "Cost", 104, "d3.format(',.1f')(params.value)"),
    ("errors", "Errors", 104, "d3.format(',.1f')(params.value)"),
    ("retrains", "Retrains", 104, "d3.format(',.1f')(params.value)"),
    ("gap", "Gap left", 100, "d3.format('.1%')(params.value)"),
    ("rank", "Mean rank", 110, "d3.format('.2f')(params.value)"),
    ("chance", "Chance", 96, "d3.format('.3f')(params.value)"),
    ("streams", "Streams", 96, "d3.format(',.0f')(params.value)"),
)  # fmt: skip


def bench(found: Found, told: Told, theme: Theme) -> Any:
    """Return the page of a benchmark.

    Parameters
    ----------
    found
        The folder.
    told
        As `dashboards.benches.open_bench` returns it.
    theme
        Whose colours.
    """
    cols = []
    for key, head, width, form in BENCH:
        shown = f"params.value == null ? '–' : {form}" if form else None
        cols.append(pages.column(key, head, width, **({"form": shown} if shown else {})))
    table = pages.grid("policies", told["rows"], cols, class_name="grid grid-bench", rowHeight=34)
    when, about = timeline(told, "", pages.middle(told["prices"]), theme)
    return pages.bench(found, told, costs(told["curves"], theme), table, when, about)


def timeline(told: Told, stream: str, price: str, theme: Theme) -> tuple[Any, str]:
    """Return the picture of when each policy retrained on a stream, and what it shows.

    Without a stream it is the first that the report tells of; None if it tells of none.
    """
    every = told["schedules"]
    one = every.get(stream) or next(iter(every.values()), None)
    if one is None:
        return None, ""
    if stream and stream not in every:
        return None, "The report tells nothing of this stream."
    names = [one["policy"] for one in told["by_stream"].get(stream) or told["curves"]]
    text = f"{one['about']}, at a price of {price}; above, the errors of the optimum and of three"
    return schedules(one, price, coloured(names, theme), theme), text
