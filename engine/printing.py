"""A run in the terminal: the verdict table, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

STREAMS_SHOWN = 20
"""So many streams get a line of their own; the others only count in the total."""
WIDE = 130
"""A terminal of fewer columns gets a narrower table."""
DASH = "–"


def verdict(about: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Return what the policy was worth, in one sentence.

    Examples
    --------
    >>> about = {"policy": "adwin", "prices": {"error": 1.0}}
    >>> total = {
    ...     "errors": 10.0,
    ...     "baseline_errors": 40.0,
    ...     "retrains": {"started": 2},
    ...     "cost": {"retrains": 10.0, "tuning": 0.0, "reuse": 0.0},
    ... }
    >>> verdict(about, {"total": total})
    'adwin: 2 retrains for 10 saved 30 errors worth 30: 20 better than never retraining.'
    """
    total, price = summary["total"], about["prices"]["error"]
    saved = total["baseline_errors"] - total["errors"]
    cost = total["cost"]["retrains"] + total["cost"]["tuning"] + total["cost"]["reuse"]
    started = total["retrains"]["started"]
    policy = about["policy"]
    if not started:
        return f"{policy}: no retrain was started; errors are those of never retraining."
    net = saved * price - cost
    kind = "saved" if saved >= 0 else "cost another"
    effect = f"{kind} {number(abs(saved))} errors worth {number(abs(saved) * price)}"
    judged = "better" if net >= 0 else "worse"
    retrains = "1 retrain" if started == 1 else f"{started} retrains"
    return (
        f"{policy}: {retrains} for {number(cost)} {effect}: "
        f"{number(abs(net))} {judged} than never retraining."
    )


def number(value: float | None) -> str:
    """Return a figure as people read it.

    Examples
    --------
    >>> number(1234.0), number(0.5), number(None)
    ('1,234', '0.5', '–')
    """
    if value is None:
        return DASH
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def rate(errors: float, scored: int, task: str) -> str:
    """Return a share of errors in percent, or a mean error."""
    if not scored:
        return DASH
    return f"{errors / scored:.2%}" if task == "classification" else f"{errors / scored:.4g}"


def verdict_table(about: Mapping[str, Any], summary: Mapping[str, Any], width: int = WIDE) -> Table:
    """Return the table of a run: a line per stream, and the total.

    Parameters
    ----------
    about
        Name of the policy, prices and task.
    summary
        The content of `summary.json`.
    width
        Columns of the terminal; in a narrow one the table has fewer.
    """
    title = f"policy: {about['policy']}"
    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        pad_edge=False,
        box=box.HEAVY_HEAD if width >= WIDE else box.SIMPLE_HEAD,
    )
    total, streams = summary["total"], summary["streams"]
    table.add_column("stream", no_wrap=True)
    for heading in _cells(total, about["task"], width):
        table.add_column(heading, justify="right", no_wrap=width < WIDE)
    for name in list(streams)[:STREAMS_SHOWN]:
        shown = name if width >= WIDE else name.rsplit("-", 1)[-1]
        table.add_row(shown, *_cells(streams[name], about["task"], width).values())
    if len(streams) > STREAMS_SHOWN:
        table.add_row(f"… {len(streams) - STREAMS_SHOWN} more")
    if len(streams) > 1:
        table.add_section()
        table.add_row("total", *_cells(total, about["task"], width).values(), style="bold")
    return table


def _cells(entry: Mapping[str, Any], task: str, width: int) -> dict[str, str]:
    """Return a line of the verdict table, by heading."""
    retrains, cost, drifts = entry["retrains"], entry["cost"], entry["drifts"]
    odd = [f"{retrains[key]} {key}" for key in ("rejected", "failed", "dropped") if retrains[key]]
    error = rate(entry["errors"], entry["scored"], task)
    never = rate(entry["baseline_errors"], entry["scored"], task)
    found = DASH if drifts["true"] is None else f"{drifts['found']} of {drifts['true']}"
    mean = drifts["delay_mean"]
    delay, false = number(None if mean is None else round(mean)), number(entry["alarms"]["false"])
    spent, total = number(cost["retrains"] + cost["tuning"] + cost["reuse"]), number(cost["total"])
    if width < WIDE:
        return {
            "error": error,
            "if never": never,
            "found": found,
            "delay": delay,
            "false": false,
            "retrains": f"{retrains['started']} for {spent}",
            "cost": total,
        }
    return {
        "records": number(entry["records"]),
        "error": error,
        "error if never": never,
        "drifts found": found,
        "missed": number(drifts["missed"]),
        "delay": delay,
        "false alarms": false,
        "retrains": f"{retrains['started']}" + (f" ({', '.join(odd)})" if odd else ""),
        "retrain cost": spent,
        "total cost": total,
    }


def print_run(about: Mapping[str, Any], summary: Mapping[str, Any], console: Console) -> None:
    """Print the verdict table and sentence of a run."""
    facts = {
        "policy": _policy_name(about["scenario"]["policy"]),
        "prices": about["scenario"]["prices"],
        "task": about["scenario"]["labels"]["task"],
    }
    console.print(verdict_table(facts, summary, console.width))
    console.print(verdict(facts, summary), highlight=False)
    if summary["total"]["drifts"]["true"] is None:
        note = f"{DASH} in the drift columns: nobody scripted the drifts of this stream."
        console.print(note, style="dim", highlight=False)


def ingested(totals: Mapping[str, Any]) -> str:
    """Return what became of all articles that ever came, in one sentence.

    Examples
    --------
    >>> ingested({"articles": 20, "rows": 13, "dropped": {"duplicate": 6, "no_url": 1}})
    '20 articles in all: 13 are kept, 6 dropped as duplicate, 1 as no_url.'
    """
    dropped = [f"{count:,} as {reason}" for reason, count in totals["dropped"].items() if count]
    told = f", {', '.join(dropped)}".replace(" as ", " dropped as ", 1) if dropped else ""
    return f"{totals['articles']:,} articles in all: {totals['rows']:,} are kept{told}."


def _policy_name(policy: Mapping[str, Any]) -> str:
    """Return a policy as a heading: its kind, and those that it joins."""
    if "of" in policy:
        return f"{policy['kind']}({', '.join(_policy_name(inner) for inner in policy['of'])})"
    return str(policy["kind"])


EVENTS_SHOWN = 40
"""So many events are listed; the others are only counted."""
LISTED = ("drift", "fault", "promoted", "rejected", "job_failed", "anomaly", "stream_failed")


def print_happenings(events: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print what happened: the telling events in order, the others by their number."""
    counts: Counter[str] = Counter()
    table = Table(header_style="bold", pad_edge=False)
    for heading in ("event time", "stream", "record", "event", ""):
        table.add_column(heading, overflow="fold")
    for event in events:
        counts[event["kind"]] += 1
        if event["kind"] in LISTED and table.row_count < EVENTS_SHOWN:
            moment = event["event_time"][:19].replace("T", " ")
            table.add_row(moment, event["stream"], number(event["seq"]), event["kind"], gist(event))
    console.print()
    console.print(table)
    listed = sum(counts[kind] for kind in LISTED)
    if listed > table.row_count:
        console.print(f"… and {listed - table.row_count} more of these", highlight=False)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    console.print(f"events: {told or 'none'}", highlight=False)


def gist(event: Mapping[str, Any]) -> str:
    """Return what an event is about, in a few words.

    Examples
    --------
    >>> gist({"kind": "anomaly", "what": "volume_drop", "topic": "sports", "new": 0, "usual": 8.3})
    'volume_drop of sports: new 0, usual 8.3'
    """
    if event["kind"] == "drift":
        return f"{event['shape']} {event['drift']} drift, {event['phase']}"
    if event["kind"] == "fault":
        return f"{event['fault']}, {event['phase']}"
    if event["kind"] in ("promoted", "rejected"):
        scores = (event.get("champion_error"), event.get("challenger_error"))
        judged = f" ({scores[0]:.3g} against {scores[1]:.3g})" if None not in scores else ""
        return f"model {event['model']}{judged}"
    if event["kind"] == "alarm":
        return f"{event['detector']} on {event.get('feature') or event['on']}"
    if event["kind"] == "alert":
        return f"{event['level']}: {event['message']}"
    if event["kind"] == "anomaly":
        return _oddity(event)
    return str(event.get("what") or event.get("reason") or "")


UNSAID = ("kind", "event_time", "stream", "seq", "n", "of_seq", "what", "topic", "field")
"""What is known of an anomaly's event, or said in front, when its evidence is shown."""


def _oddity(event: Mapping[str, Any]) -> str:
    """Return what kind of anomaly it is, where, and the evidence."""
    what = str(event.get("what") or event.get("reason") or "")
    where = " of ".join(str(event[key]) for key in ("field", "topic") if event.get(key))
    figures = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in event.items()
        if key not in UNSAID and isinstance(value, (int, float, str))
    ]
    evidence = event.get("message") or ", ".join(figures)
    return f"{what}{f' of {where}' if where else ''}{f': {evidence}' if evidence else ''}"
