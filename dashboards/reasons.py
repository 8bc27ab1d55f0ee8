"""Why something happened: what the policy saw, the records around, the models before and after."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dashboards.happenings import IN_FAULT, Event, judge_alarms, label_of
from dashboards.runs import Opened
from engine.errors import InputError
from engine.events import iso
from engine.scoring import Happenings
from engine.shapes import EACH, NUMBER, misfit

NEAR = 500
"""Records before and after an event whose errors are compared."""
NEIGHBOURS = 4
"""Events before and after that are told beside it."""
ROWS_MAX = 500
"""Records that can be looked at at once, before and after."""
SAMPLE = {
    "n": int,
    "seq": int,
    "features": {EACH: {"bins": [object], "reference": [NUMBER], "recent": [NUMBER]}},
    "records": [{"seq": int, "features": {}}],
}
"""What is needed of a sample; one that is something else is passed over."""
Truth = dict[tuple[int, int], int | None] | None
OWN = ("model", "judge", "judged_rows", "champion_error", "challenger_error")
MORE = ("wins", "losses", "p_value", "broken", "extensions")
ENDS = ("promoted", "rejected", "job_failed")
BACK = ("reused", "rollback")
"""An earlier model serves again: its number tells of its training, long ago."""


def why(opened: Opened, stream: str, event_index: int) -> dict[str, Any]:
    """Return all that explains one event, JSON-ready.

    `event` as it was written, `i`, `title`, `sentences`; `chain`: what led to it and what came of
    it, in order (drift, alarms, decision, job, verdict), each with `i`, `seq`, `kind`, `label`;
    `neighbours` likewise. `saw`, `policy` and `reason` are the decision's, `window` what the job
    trains on, `scores` the judge's. `before` and `after` are the champion and the challenger
    (`model`, `trees`, `rows`, `window`, `reason`, `asked`, `ready`, `since`), `parameters` a
    [name, value of the one, value of the other] each: as set, and as tuning changed them.
    `sample` is what the stream looked like at the alarm: `features` (the alarmed one first, then
    by `shift`, the share that changed bins) with the shares of the training window (`reference`)
    and of late (`recent`) in each of `bins`, and `records`. `errors` are the champion's means over
    the 500 records before and after. What there is not is None.

    Parameters
    ----------
    opened
        The run.
    stream
        Name of the stream.
    event_index
        Place of the event among the stream's.

    Raises
    ------
    InputError
        If there is no such event, or the run is damaged.
    """
    events = opened.events(stream)
    if not 0 <= event_index < len(events):
        raise InputError(f"{stream} has no event {event_index}")
    event, window = events[event_index], opened.about["scenario"]["scoring"]["window"]
    truth = _truth(opened, stream, events)
    chain, sentences = _linked(events, event_index, truth, window)
    linked = {events[at]["kind"]: events[at] for at in chain}
    decision, job = linked.get("decision"), linked.get("job_started")
    alarms = [at for at in chain if events[at]["kind"] == "alarm"]
    number = event_index if event["kind"] == "alarm" else max(alarms, default=None)
    back = next((linked[kind] for kind in BACK if kind in linked), None)
    after = (back or job or {}).get("model")
    before = _champion(events, event_index, after)
    low, high = max(0, event_index - NEIGHBOURS), event_index + NEIGHBOURS + 1
    return {
        "event": event,
        "i": event_index,
        "title": label_of(event),
        "sentences": sentences,
        "chain": [_entry(events, at) for at in chain],
        "neighbours": [_entry(events, at) for at in range(low, min(high, len(events)))],
        "policy": decision["policy"] if decision else None,
        "reason": decision["reason"] if decision else None,
        "saw": decision.get("saw") if decision else None,
        "window": (job or decision or {}).get("window"),
        "scores": _scores(linked),
        "before": model_of(events, before),
        "after": model_of(events, after),
        "parameters": parameters_of(events, opened.about["scenario"].get("model"), before, after),
        "sample": None if number is None else _sample(opened, stream, events[number]),
        "errors": _errors(opened, stream, event["seq"]),
    }


def _entry(events: Sequence[Event], at: int) -> dict[str, Any]:
    event = events[at]
    return {"i": at, "seq": event["seq"], "kind": event["kind"], "label": label_of(event)}


def _linked(
    events: Sequence[Event], at: int, truth: Truth, window: int
) -> tuple[list[int], list[str]]:
    """Return what belongs to an event, the drift behind it included, and what is to say of it."""
    event = events[at]
    chain, sentences = chain_of(events, at), list[str]()
    if event["kind"] == "alarm":
        sentences = _say_alarm(event, truth, window)
    if event["kind"] == "drift" and truth is not None:
        mine = [seq for (seq, _), drift in truth.items() if drift == event["seq"]]
        found = min(mine, default=None)
        sentences = _say_drift(event, found, window)
        alarm = None if found is None else _first(events, at, "alarm", seq=found)
        chain = chain if alarm is None else sorted({at, *chain_of(events, alarm)})
    for one in chain:
        alarm_ = events[one]
        if alarm_["kind"] == "alarm" and truth is not None:
            drift = truth.get((alarm_["seq"], alarm_["of_seq"]))
            place = None if drift is None else _first(events, 0, "drift", seq=drift)
            if place is not None and event["kind"] != "drift":
                return sorted({place, *chain}), sentences
    return chain, sentences


# --- what belongs together ------------------------------------------------------------------


def chain_of(events: Sequence[Event], at: int) -> list[int]:
    """Return the places of the events that led to one and came of it, itself included, in order.

    Parameters
    ----------
    events
        All events of a stream.
    at
        The place of the event.

    Examples
    --------
    >>> events = [
    ...     {"kind": "alarm", "seq": 9, "of_seq": 7, "detector": "adwin"},
    ...     {"kind": "decision", "seq": 9, "of_seq": 7, "reason": "an alarm", "action": "retrain"},
    ...     {"kind": "job_started", "seq": 9, "model": 1, "reason": "an alarm"},
    ...     {"kind": "promoted", "seq": 12, "model": 1},
    ...     {"kind": "alarm", "seq": 20, "of_seq": 19, "detector": "adwin"},
    ... ]
    >>> chain_of(events, 3), chain_of(events, 0), chain_of(events, 4)
    ([0, 1, 2, 3], [0, 1, 2, 3], [4])
    """
    kind = events[at]["kind"]
    found = {at}
    if kind == "alarm":
        decision = _answer(events, at)
    elif kind == "decision":
        decision = at
    elif kind == "request_dropped" or kind in BACK:
        decision = _last_decision(events, at)
    elif events[at].get("model") is not None and kind != "anomaly":
        job = _first(events, 0, "job_started", model=events[at]["model"])
        decision = None if job is None else _last_decision(events, job)
        found |= _job(events, job)
    else:
        return [at]
    if decision is not None:
        came = _came_of(events, decision)
        found |= {decision, *_alarms(events, decision), *_job(events, came)}
    return sorted(found)


def _first(events: Sequence[Event], start: int, kind: str, **wanted: Any) -> int | None:
    """Return the first event of a kind from `start` on that has some fields."""
    for at in range(start, len(events)):
        event = events[at]
        if event["kind"] == kind and all(event.get(key) == wanted[key] for key in wanted):
            return at
    return None


def _answer(events: Sequence[Event], alarm: int) -> int | None:
    """Return the first decision that followed an alarm."""
    for at in range(alarm + 1, len(events)):
        if events[at]["kind"] == "decision" and _follows(events[at])(events[alarm]):
            return at
    return None


def _alarms(events: Sequence[Event], decision: int) -> list[int]:
    """Return the alarms that a decision followed."""
    follows = _follows(events[decision])
    return [at for at in range(decision) if events[at]["kind"] == "alarm" and follows(events[at])]


def _follows(decision: Event) -> Callable[[Event], bool]:
    """Return what tells whether a decision followed an alarm: it saw it, or has its `of_seq`."""
    saw = decision.get("saw")
    listed = saw.get("alarms") if isinstance(saw, Mapping) else None
    seen = {_identity(one) for one in (listed or ()) if isinstance(one, Mapping)}
    of_seq = decision.get("of_seq")
    return lambda alarm: _identity(alarm) in seen or alarm["of_seq"] == of_seq


def _identity(alarm: Event) -> tuple[str, ...]:
    return tuple(str(alarm.get(key)) for key in ("seq", "of_seq", "detector", "feature"))


def _last_decision(events: Sequence[Event], at: int) -> int | None:
    """Return the decision that an event came of: the newest with its reason, or at its record."""
    reason, seq = events[at].get("reason"), events[at]["seq"]
    for before in range(at - 1, -1, -1):
        event = events[before]
        if event["kind"] == "decision" and (event["seq"] == seq or event["reason"] == reason):
            return before
    return None


def _came_of(events: Sequence[Event], decision: int) -> int | None:
    """Return the job or the refusal that came of a decision; None if neither did yet."""
    reason, seq = events[decision]["reason"], events[decision]["seq"]
    for at in range(decision + 1, len(events)):
        event = events[at]
        if event["kind"] == "request_dropped" and event["seq"] == seq:
            return at
        if event["kind"] in ("job_started", "reused") and (
            event["seq"] == seq or event["reason"] == reason
        ):
            return at
        if event["kind"] == "decision":
            return None
    return None


def _job(events: Sequence[Event], job: int | None) -> set[int]:
    """Return a job, that it was ready, and what became of it."""
    if job is None:
        return set()
    if events[job]["kind"] != "job_started":
        return {job}
    model = events[job]["model"]
    later = [_first(events, job, kind, model=model) for kind in ("job_ready", *ENDS)]
    return {job, *(at for at in later if at is not None)}


def _truth(opened: Opened, stream: str, events: Sequence[Event]) -> Truth:
    """Return for each alarm the start of its drift, as `judge_alarms` does; None if unknown."""
    if not opened.truth_known(stream):
        return None
    happened = Happenings()
    for event in events:
        happened.add(event)
    return judge_alarms(happened, opened.about["scenario"]["scoring"]["window"])


def _say_alarm(alarm: Event, truth: Truth, window: int) -> list[str]:
    """Return what is to say of an alarm, in sentences."""
    seq, of_seq = alarm["seq"], alarm["of_seq"]
    said = [f"Raised at record {seq:,}."]
    if of_seq != seq:
        said = [f"Raised at record {seq:,} by record {of_seq:,}, whose label came that late."]
    if truth is None:
        return [*said, "Whether it is false cannot be said: nobody scripted the drifts."]
    drift = truth.get((seq, of_seq))
    if drift is None:
        return [*said, f"False: no drift began, or was complete, up to {window:,} records before."]
    if drift == IN_FAULT:
        return [*said, "Not false: a scripted fault caused it."]
    return [
        *said,
        f"Belongs to the drift at {drift:,}, which began {seq - drift:,} records before.",
    ]


def _say_drift(drift: Event, found: int | None, window: int) -> list[str]:
    """Return what is to say of a drift, in sentences."""
    if found is None:
        return [f"No alarm found it up to {window:,} records after it was complete."]
    return [f"Found by an alarm after {found - drift['seq']:,} records."]


# --- models ---------------------------------------------------------------------------------


def _champion(events: Sequence[Event], at: int, challenger: int | None) -> int | None:
    """Return the model that served just before an event, or before its challenger did."""
    for before in range(at, -1, -1):
        event = events[before]
        if event["kind"] in ("promoted", *BACK):
            replaced: int | None = event.get("replaces")
            return replaced if event["model"] == challenger else int(event["model"])
    return None


def model_of(events: Sequence[Event], number: int | None) -> dict[str, Any] | None:
    """Return what is known of a model; None if there is none.

    Examples
    --------
    >>> events = [{"kind": "job_started", "seq": 9, "model": 1, "reason": "an alarm"},
    ...           {"kind": "job_ready", "seq": 12, "model": 1, "rows": 300, "trees": 60},
    ...           {"kind": "promoted", "seq": 12, "model": 1}]
    >>> found = model_of(events, 1)
    >>> found["asked"], found["since"], found["rows"], found["trees"], found["outcome"]
    (9, 12, 300, 60, 'promoted')
    """
    if number is None:
        return None
    found: dict[str, Any] = {"model": number, "outcome": "pending"}
    found |= dict.fromkeys(("asked", "ready", "since", "rows", "trees", "window", "reason"))
    for event in events:
        if event.get("model") != number:
            continue
        if event["kind"] == "job_started":
            for key in ("window", "reason"):
                found[key] = event.get(key)
            found |= {"asked": event["seq"], "rows": event.get("fit_rows")}
        elif event["kind"] == "job_ready":
            found |= {"rows": event.get("rows", found["rows"]), "trees": event.get("trees")}
            found["ready"] = event["seq"]
        elif event["kind"] in ENDS:
            found["outcome"] = event["kind"].removeprefix("job_")
            if event["kind"] == "promoted":
                found["since"] = event["seq"]
    return found


def parameters_of(
    events: Sequence[Event], given: Any, before: int | None, after: int | None
) -> list[list[Any]]:
    """Return the parameters of two models: [name, value of one, value of the other].

    Parameters
    ----------
    events
        All events of the stream: where a model was tuned they tell its parameters.
    given
        The scenario's `model`: what both have if nothing else is told.
    before, after
        Numbers of the models; None for one that there is not.

    Examples
    --------
    >>> tuned = {"kind": "job_ready", "model": 1, "tuning": {"trials": 9, "params": {"depth": 4}}}
    >>> parameters_of([tuned], {"depth": 6, "params": {"l2": 3.0}, "initial": None}, 0, 1)
    [['depth', 6, 4], ['l2', 3.0, 3.0], ['tuning trials', None, 9]]
    """
    both = [_parameters(events, given, number) for number in (before, after)]
    names = dict.fromkeys(name for one in both for name in one)
    found = [[name, both[0].get(name), both[1].get(name)] for name in names]
    return [row for row in found if row[1:] != [None, None]]


def _parameters(events: Sequence[Event], given: Any, number: int | None) -> dict[str, Any]:
    if number is None:
        return {}
    found: dict[str, Any] = {}
    for name, value in (given if isinstance(given, Mapping) else {}).items():
        found |= value if isinstance(value, Mapping) else {name: value}
    at = _first(events, 0, "job_ready", model=number)
    tuning = events[at].get("tuning") if at is not None else None
    if isinstance(tuning, Mapping):
        best = tuning.get("params")
        found |= best if isinstance(best, Mapping) else {}
        rest = {f"tuning {name}": value for name, value in tuning.items() if name != "params"}
        found |= {name: one for name, one in rest.items() if not isinstance(one, list | Mapping)}
    return found


def _scores(linked: Mapping[str, Event]) -> dict[str, Any] | None:
    """Return what the judge said, or the archive: errors of champion and challenger."""
    verdict = linked.get("promoted") or linked.get("rejected")
    back = linked.get("reused")
    if back is not None:
        own = {"judge": "archive", "challenger_error": back.get("best_error")}
        return {**{key: back.get(key) for key in (*OWN, *MORE)}, **own}
    return {key: verdict.get(key) for key in (*OWN, *MORE)} if verdict else None


# --- records --------------------------------------------------------------------------------


def _errors(opened: Opened, stream: str, seq: int) -> dict[str, Any]:
    """Return the champion's mean error over the records before and after one."""
    rows = opened.rows(stream, max(0, seq - NEAR), seq + NEAR - 1)
    found: dict[str, Any] = {"records": NEAR}
    for name, near in (
        ("before", [row["error"] for row in rows if row["seq"] < seq]),
        ("after", [row["error"] for row in rows if row["seq"] >= seq]),
    ):
        known = [error for error in near if error is not None]
        found[name] = round(math.fsum(known) / len(known), 6) if known else None
    return found


def records(
    opened: Opened, stream: str, seq: int, before: int = 20, after: int = 20
) -> list[dict[str, Any]]:
    """Return the outcome rows around a record, JSON-ready; with their features where known.

    Parameters
    ----------
    opened
        The run.
    stream
        Name of the stream.
    seq
        The record.
    before, after
        How many beside it, at most 500 each.

    Raises
    ------
    InputError
        If the run is damaged.
    """
    first, last = max(0, seq - min(before, ROWS_MAX)), seq + min(after, ROWS_MAX)
    features: dict[int, Any] = {}
    for one in alarm_samples(opened, stream):
        features |= {row["seq"]: row["features"] for row in one["records"]}
    found = opened.rows(stream, first, last)
    for row in found:
        del row["stream"]
        for name in ("event_time", "label_time"):
            row[name] = None if row[name] is None else iso(row[name])
        row["features"] = features.get(row["seq"])
    return found


def alarm_samples(opened: Opened, stream: str) -> list[dict[str, Any]]:
    """Return what a stream looked like at its first alarms; `n` says which event each is of."""
    return [one for one in opened.samples(stream) if not misfit(one, SAMPLE)]


def _sample(opened: Opened, stream: str, alarm: Event) -> dict[str, Any] | None:
    """Return what the stream looked like at an alarm; None beyond the first hundred."""
    samples = alarm_samples(opened, stream)
    found = next((one for one in samples if one["n"] == alarm.get("n")), None)
    if found is None:
        return None
    features = [
        {
            "name": name,
            "alarmed": name == alarm.get("feature"),
            "bins": [bin_text(bin_) for bin_ in shares["bins"]],
            "reference": shares["reference"],
            "recent": shares["recent"],
            "shift": shift(shares["reference"], shares["recent"]),
        }
        for name, shares in found["features"].items()
    ]
    features.sort(key=lambda one: (not one["alarmed"], -one["shift"]))
    keys = ("seq", "of_seq", "detector", "on", "feature", "records")
    return {**{key: found.get(key) for key in keys}, "features": features}


def bin_text(bin_: Any) -> str:
    """Return what a bin holds, in a few characters.

    Examples
    --------
    >>> [bin_text(bin_) for bin_ in ([None, 1.0], [1.0, 2.5], [2.5, None], "missing")]
    ['≤ 1', '1 – 2.5', '> 2.5', 'missing']
    """
    match bin_:
        case [None, None]:
            return "all"
        case [None, high]:
            return f"≤ {_short(high)}"
        case [low, None]:
            return f"> {_short(low)}"
        case [low, high]:
            return f"{_short(low)} – {_short(high)}"
    return str(bin_)[:60]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, NUMBER) else str(value)[:20]


def shift(reference: Sequence[float], recent: Sequence[float]) -> float:
    """Return the share of records that lies in other bins than before (total variation).

    Examples
    --------
    >>> shift([0.5, 0.5], [0.25, 0.75])
    0.25
    """
    pairs = zip(reference, recent, strict=False)
    return round(sum(abs(one - other) for one, other in pairs) / 2, 6)
