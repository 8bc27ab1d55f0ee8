"""Figures of a run: alarms against the scripted truth, errors, retrains and what they cost.

All are pure functions of what the run directory holds. Undefined is None, never 0 or NaN.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.settings import Prices


@dataclass(slots=True)
class Tally:
    """Sums over the outcome rows of one stream.

    Parameters
    ----------
    records, predicted, scored
        Rows; rows with a prediction; rows with an error.
    errors, baseline_errors
        Sums over the scored rows.
    """

    records: int = 0
    predicted: int = 0
    scored: int = 0
    errors: float = 0.0
    baseline_errors: float = 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """How alarms met the truth.

    Parameters
    ----------
    found, missed
        True drifts with and without an alarm in time.
    delays
        For each found drift, records from its start to its first alarm.
    false
        Alarms that belong to no drift and no fault.
    """

    found: int
    missed: int
    delays: tuple[int, ...]
    false: int


def match_alarms(
    alarms: Iterable[tuple[int, int]],
    drifts: Sequence[tuple[int, int]],
    faults: Sequence[tuple[int, int | None]] = (),
    *,
    window: int,
) -> Detection:
    """Match alarms with scripted drifts.

    An alarm belongs to the newest drift that began at or before the record that caused it, if it
    comes at most `window` records after that drift was complete; drifts that begin at the same
    record share their alarms. A drift is found by its first alarm. An alarm caused by a record
    within a fault, or up to `window` records after it, is never false.

    Parameters
    ----------
    alarms
        (arrival at which it was raised, record whose label or features caused it) of each alarm;
        the two differ by the delay of labels.
    drifts
        (first record, records until complete) of each drift.
    faults
        (first record, last record or None if it never ends) of each fault.
    window
        How late an alarm may come, in records.

    Examples
    --------
    >>> alarms = [(1050, 990), (1200, 1140), (2100, 2040)]
    >>> match_alarms(alarms, [(1000, 0), (2000, 0)], window=200)
    Detection(found=2, missed=0, delays=(200, 100), false=1)
    """
    complete: dict[int, int] = {}
    for start, over in drifts:
        complete[start] = max(complete.get(start, 0), start + over)
    starts, first, false = sorted(complete), dict[int, int](), 0
    for seq, of_seq in sorted(alarms):
        begun = bisect_right(starts, of_seq)
        if begun and seq <= complete[starts[begun - 1]] + window:
            first.setdefault(starts[begun - 1], seq)
        elif not any(
            low <= of_seq <= (of_seq if high is None else high + window) for low, high in faults
        ):
            false += 1
    delays = tuple(first[start] - start for start, _ in sorted(drifts) if start in first)
    return Detection(len(delays), len(drifts) - len(delays), delays, false)


@dataclass(slots=True)
class Happenings:
    """What the events of one stream say, gathered one by one."""

    counts: Counter[str] = field(default_factory=Counter)
    firsts: set[int] = field(default_factory=set)
    alarms: list[tuple[int, int]] = field(default_factory=list)
    drifts: list[tuple[int, int]] = field(default_factory=list)
    faults: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    trials: dict[int, int] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event in, as `events.jsonl` holds it."""
        kind, seq = event["kind"], event["seq"]
        if kind == "job_started" and event["first"]:
            self.firsts.add(event["model"])
        if event.get("model") not in self.firsts or kind == "reused":
            self.counts[kind] += 1
        if kind in ("job_started", "job_ready") and "tuning" in event:
            self.trials[event["model"]] = event["tuning"]["trials"]
        if kind == "alarm":
            self.alarms.append((seq, event["of_seq"]))
        elif kind == "drift":
            self.drifts.append((seq, event["over"]))
        elif kind == "fault":
            start = self.faults.get(event["script"], (seq, None))[0]
            ended = seq if event["phase"] == "end" else None
            self.faults[event["script"]] = (start, ended)


def summarise(
    tally: Tally,
    happenings: Happenings,
    prices: Prices,
    *,
    window: int,
    truth_known: bool,
) -> dict[str, Any]:
    """Return a stream's entry in `summary.json`; undefined figures are None.

    Parameters
    ----------
    tally
        Sums over its outcomes.
    happenings
        What its events say.
    prices
        What an error and a retrain cost.
    window
        How late an alarm may come, in records.
    truth_known
        Whether the stream's drifts are scripted; else what depends on them is None.
    """
    counts = happenings.counts
    found = match_alarms(
        happenings.alarms, happenings.drifts, list(happenings.faults.values()), window=window
    )
    started, reused = counts["job_started"], counts["reused"]
    errors_cost = tally.errors * prices.error
    retrains_cost = started * prices.retrain
    tuning_cost = sum(happenings.trials.values()) * prices.trial
    reuse_cost = reused * prices.reuse
    delay_mean = sum(found.delays) / len(found.delays) if found.delays else None
    return {
        "records": tally.records,
        "predicted": tally.predicted,
        "scored": tally.scored,
        "errors": tally.errors,
        "error_rate": tally.errors / tally.scored if tally.scored else None,
        "baseline_errors": tally.baseline_errors,
        "retrains": {
            "started": started,
            "promoted": counts["promoted"],
            "rejected": counts["rejected"],
            "failed": counts["job_failed"],
            "dropped": counts["request_dropped"],
            "reused": reused,
        },
        "drifts": {
            "true": len(happenings.drifts) if truth_known else None,
            "found": found.found if truth_known else None,
            "missed": found.missed if truth_known else None,
            "delay_mean": delay_mean if truth_known else None,
        },
        "alarms": {
            "total": len(happenings.alarms),
            "false": found.false if truth_known else None,
        },
        "cost": {
            "errors": errors_cost,
            "retrains": retrains_cost,
            "tuning": tuning_cost,
            "reuse": reuse_cost,
            "total": errors_cost + retrains_cost + tuning_cost + reuse_cost,
        },
    }


def total(streams: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add the streams' entries up; rates and means are formed anew, None counts only if all are.

    Examples
    --------
    >>> total([{"scored": 2, "errors": 1.0}, {"scored": 2, "errors": 0.0}])
    {'scored': 4, 'errors': 1.0, 'error_rate': 0.25}
    """
    entries = list(streams)
    added: dict[str, Any] = {}
    for key in entries[0] if entries else ():
        values = [entry[key] for entry in entries]
        if isinstance(values[0], Mapping):
            added[key] = total(values)
        else:
            known = [value for value in values if value is not None]
            added[key] = sum(known) if known else None
    if "errors" in added and "scored" in added:
        added["error_rate"] = added["errors"] / added["scored"] if added["scored"] else None
    if "delay_mean" in added:
        pairs = [(entry["delay_mean"], entry["found"]) for entry in entries if entry["found"]]
        found = sum(count for _, count in pairs)
        weighted = sum(mean * count for mean, count in pairs)
        added["delay_mean"] = weighted / found if found else None
    return added
