"""The events of a stream as the replay draws them: labelled, alarms judged, jobs told whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.scoring import Happenings, match_alarms

Event = Mapping[str, Any]
EVENTS_MAX = 5000
"""So many events of a stream are shown."""
LABEL_MAX = 140
"""Characters of a label."""
IN_FAULT = -1
"""Stands for the drift of an alarm that a fault caused."""
PLENTY = ("alarm", "anomaly", "request_dropped", "job_ready")
"""Kinds that are left out first where there are too many events."""


def told(events: Sequence[Event], known: bool, window: int) -> dict[str, Any]:
    """Return what is drawn of events: themselves, alarms judged, jobs, drifts and faults.

    Parameters
    ----------
    events
        All events of a stream, in order.
    known
        Whether its drifts are.
    window
        How late an alarm may come, in records.

    Examples
    --------
    >>> alarm = {"kind": "alarm", "event_time": "", "stream": "s", "detector": "adwin",
    ...          "on": "error"}
    >>> drift = {"kind": "drift", "event_time": "", "stream": "s", "seq": 50, "over": 0,
    ...          "drift": "concept", "shape": "abrupt", "phase": "start"}
    >>> events = [{**alarm, "seq": 9, "of_seq": 9}, drift, {**alarm, "seq": 70, "of_seq": 60}]
    >>> found = told(events, known=True, window=100)
    >>> found["found"], found["false_alarms"]
    ([[50, 70]], [[9, 1]])
    """
    happened = Happenings()
    for event in events:
        happened.add(event)
    judged = judge_alarms(happened, window) if known else {}
    first: dict[int, int] = {}
    false: list[list[int]] = []
    for alarm in sorted(happened.alarms):
        drift = judged.get(alarm, IN_FAULT)
        if drift is None:
            count = false[-1][1] + 1 if false else 1
            false = false[:-1] if false and false[-1][0] == alarm[0] else false
            false.append([alarm[0], count])
        elif drift != IN_FAULT:
            first.setdefault(drift, alarm[0])
    return {
        **shown(events, happened, judged),
        "jobs": jobs_of(events),
        "returns": returns_of(events),
        "drifts": drifts_of(events, first),
        "faults": faults_of(events),
        "false_alarms": false,
        "found": [[start, first[start]] for start, _ in sorted(happened.drifts) if start in first],
    }


def judge_alarms(happened: Happenings, window: int) -> dict[tuple[int, int], int | None]:
    """Return for each alarm (seq, of_seq) the start of its drift; `IN_FAULT`; None if false.

    Parameters
    ----------
    happened
        Alarms, drifts and faults of a stream.
    window
        How late an alarm may come, in records.
    """
    found: dict[tuple[int, int], int | None] = {}
    faults = list(happened.faults.values())
    for alarm in happened.alarms:
        if alarm not in found:
            match = match_alarms([alarm], happened.drifts, faults, window=window)
            excused = None if match.false else IN_FAULT
            found[alarm] = alarm[0] - match.delays[0] if match.found else excused
    return found


def shown(
    events: Sequence[Event],
    happened: Happenings,
    judged: Mapping[tuple[int, int], int | None],
    most: int = EVENTS_MAX,
) -> dict[str, Any]:
    """Return the events that are shown, and how many are left out.

    Where there are more than `most`, of the kinds in `PLENTY` only some are, evenly spread.
    """
    plenty = [at for at, event in enumerate(events) if event["kind"] in PLENTY]
    few = [at for at, event in enumerate(events) if event["kind"] not in PLENTY]
    kept = sorted([*spread(few, most), *spread(plenty, most - min(most, len(few)))])
    listed = []
    for at in kept:
        event = events[at]
        kind = event["kind"]
        entry: dict[str, Any] = {
            "i": at,
            "seq": event["seq"],
            "time": event["event_time"],
            "kind": kind,
            "label": label_of(event),
        }
        for key in ("of_seq", "model", "on"):
            if event.get(key) is not None:
                entry[key] = event[key]
        if kind in ("alert", "anomaly") and is_over(event):
            entry["calm"] = True
        if kind == "drift" and event["over"]:
            entry["until"] = event["seq"] + event["over"]
        if kind == "fault" and event["phase"] != "end":
            entry["until"] = happened.faults[event["script"]][1]
        if kind == "alarm" and judged:
            drift = judged[event["seq"], event["of_seq"]]
            entry |= {"false": drift is None, "drift": drift if drift != IN_FAULT else None}
        listed.append(entry)
    left_out = Counter(event["kind"] for event in events)
    left_out.subtract(entry["kind"] for entry in listed)
    return {
        "events": listed,
        "left_out": sum(left_out.values()),
        "counts": dict(Counter(event["kind"] for event in events)),
    }


def is_over(event: Event) -> bool:
    """Return whether an event says that an anomaly or the cause of an alert is over.

    Examples
    --------
    >>> is_over({"what": "empty_poll_over"}), is_over({"state": "raised"})
    (True, False)
    """
    return event.get("state") == "recovered" or str(event.get("what", "")).endswith("_over")


def spread(places: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of some places, evenly spread.

    Examples
    --------
    >>> spread([1, 2, 3, 4, 5, 6], 3), spread([1, 2], 3)
    ([1, 3, 5], [1, 2])
    """
    if len(places) <= most:
        return list(places)
    return [places[at * len(places) // most] for at in range(most)]


def label_of(event: Event) -> str:
    """Return what an event is about, in a few words.

    Examples
    --------
    >>> label_of({"kind": "alarm", "detector": "kswin", "on": "features", "feature": "x0",
    ...           "aspect": "value"})
    'kswin on x0 (value)'
    >>> label_of({"kind": "anomaly", "what": "empty_poll", "topic": "art"})
    'empty poll (art)'
    >>> label_of({"kind": "rejected", "model": 3, "champion_error": 0.25, "challenger_error": 0.5})
    'model 3 rejected: 0.5 against 0.25'
    >>> label_of({"kind": "reused", "model": 0, "replaces": 3, "best_error": 0.05,
    ...           "champion_error": 0.97})
    'model 0 serves again instead of model 3: 0.05 against 0.97'
    """
    model = f"model {event.get('model')}"
    match event["kind"]:
        case "drift":
            text = f"{event['shape']} {event['drift']} drift"
            text += "" if event["phase"] == "start" else f": {event['phase']}"
        case "fault":
            text = f"{event['fault']}: {event['phase']}"
        case "alarm":
            feature = event.get("feature")
            on = f"{feature} ({event.get('aspect')})" if feature else event["on"]
            text = f"{event['detector']} on {on}"
        case "decision":
            text = f"{event['action']}: {event['reason']}"
        case "request_dropped":
            text = f"request dropped: model {event.get('pending')} is in training"
        case "job_started":
            text = f"{model} asked for{_tuned(event)}: {event['reason']}"
        case "job_ready":
            trees = event.get("trees")
            text = f"{model} ready" + (f": {trees} trees" if trees is not None else "")
            text += _tuned(event)
        case "job_failed":
            text = f"{model} failed: {event['reason']}"
        case "promoted":
            old = event.get("replaces")
            text = f"{model} replaces model {old}" if old is not None else f"{model} begins"
            text += _scores(event)
        case "rejected":
            text = f"{model} rejected{_scores(event)}{_broken(event)}"
        case "reused" | "rollback":
            old = event.get("replaces")
            text = f"{model} serves again{f' instead of model {old}' if old is not None else ''}"
            text = f"rollback: {text}" if event["kind"] == "rollback" else text
            text += _scores(event, "best_error")
        case "alert":
            text = f"{event.get('alert')} {event.get('state', '')}: {event.get('message', '')}"
        case "anomaly":
            topic = f" ({event['topic']})" if event.get("topic") else ""
            text = f"{str(event.get('what') or 'anomaly').replace('_', ' ')}{topic}"
        case _:
            text = str(event.get("what") or event.get("reason") or event["kind"])
    return text if len(text) <= LABEL_MAX else f"{text[: LABEL_MAX - 1]}…"


def _scores(event: Event, own: str = "challenger_error") -> str:
    scores = event.get(own), event.get("champion_error")
    return f": {scores[0]:.3g} against {scores[1]:.3g}" if None not in scores else ""


def _broken(event: Event) -> str:
    """Return which guard rails kept a model out, or that the test could not tell."""
    if event.get("broken"):
        return f"; guarded by {', '.join(map(str, event['broken']))}"
    return f"; p = {event['p_value']:.2g}" if event.get("p_value") is not None else ""


def _tuned(event: Event) -> str:
    """Return how a model is tuned, or was."""
    tuning = event.get("tuning")
    if not isinstance(tuning, Mapping) or not tuning.get("trials"):
        return ""
    said = f", tuned in {tuning['trials']} trials"
    scores = tuning.get("default_value"), tuning.get("value")
    return said + (f" ({scores[0]:.3g} to {scores[1]:.3g})" if None not in scores else "")


ENDS = {"promoted": "promoted", "rejected": "rejected", "job_failed": "failed"}


def returns_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return when earlier models came back, and how much of that was asked of the archive.

    Examples
    --------
    >>> back = {"kind": "reused", "seq": 9, "model": 0, "replaces": 3, "asked": 8}
    >>> returns_of([back])
    [{'i': 0, 'seq': 9, 'asked': 8, 'model': 0, 'replaces': 3, 'kind': 'reused'}]
    """
    return [
        {
            "i": at,
            "seq": event["seq"],
            "asked": event.get("asked", event["seq"]),
            "model": event.get("model"),
            "replaces": event.get("replaces"),
            "kind": event["kind"],
        }
        for at, event in enumerate(events)
        if event["kind"] in ("reused", "rollback")
    ]


def jobs_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the training jobs, each from the request to what became of it.

    One that is tuned has its `trials`.

    Examples
    --------
    >>> asked = {"kind": "job_started", "seq": 5, "model": 1, "first": False, "reason": "an alarm"}
    >>> jobs_of([asked, {"kind": "job_failed", "seq": 9, "model": 1, "reason": "no rows"}])[0]
    {'model': 1, 'first': False, 'asked': 5, 'ready': 9, 'outcome': 'failed', 'reason': 'an alarm'}
    """
    jobs: dict[int, dict[str, Any]] = {}
    for event in events:
        kind, model = event["kind"], event.get("model")
        if kind == "job_started":
            jobs[event["model"]] = {
                "model": event["model"],
                "first": event["first"],
                "asked": event["seq"],
                "ready": None,
                "outcome": "pending",
                "reason": event["reason"][:LABEL_MAX],
            }
        tuning = event.get("tuning")
        if kind in ("job_started", "job_ready") and model in jobs and isinstance(tuning, Mapping):
            jobs[event["model"]] |= {"trials": tuning.get("trials", 0)}
        if kind in ENDS and model in jobs:
            jobs[model] |= {"ready": event["seq"], "outcome": ENDS[kind]}
    return list(jobs.values())


def drifts_of(events: Sequence[Event], first: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return the scripted drifts, each with its first alarm, None if there is none in time."""
    return [
        {
            "i": at,
            "seq": event["seq"],
            "over": event["over"],
            "phase": event["phase"],
            "text": label_of(event),
            "found": first.get(event["seq"]),
        }
        for at, event in enumerate(events)
        if event["kind"] == "drift"
    ]


def faults_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the scripted faults; one that has not ended has None for `until`.

    Examples
    --------
    >>> fault = {"kind": "fault", "fault": "stuck", "script": 0}
    >>> events = [{**fault, "seq": 5, "phase": "start"}, {**fault, "seq": 8, "phase": "end"}]
    >>> [(one["seq"], one["until"], one["text"]) for one in faults_of(events)]
    [(5, 8, 'stuck')]
    """
    found: list[dict[str, Any]] = []
    latest: dict[int, dict[str, Any]] = {}
    for at, event in enumerate(events):
        if event["kind"] == "fault" and event["phase"] == "end" and event["script"] in latest:
            latest[event["script"]]["until"] = event["seq"]
        elif event["kind"] == "fault":
            columns = ", ".join(map(str, event.get("columns") or ()))
            text = f"{event['fault']} ({columns})" if columns else str(event["fault"])
            entry = {"i": at, "seq": event["seq"], "until": None, "text": text[:LABEL_MAX]}
            latest[event["script"]] = entry
            found.append(entry)
    return found
