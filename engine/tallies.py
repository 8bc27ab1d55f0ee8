"""What a run counts as it goes, for whoever watches it from outside; changes no outcome.

A reading is a number under a key: a name of `FIGURES`, then the values of its labels. What is
counted is bounded, however long a run is and however many streams it has: the first `STREAMS_MAX`
streams are counted by name and the rest together, and so it is with the values of other labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from engine.alerts.rules import name_of as name_of_rule
from engine.batch import Floats
from engine.detectors import name_of as name_of_detector
from engine.events import KINDS, Event
from engine.extras import ERRORS
from engine.ledger import NO_MODEL, Outcomes
from engine.policies import build, with_needed
from engine.progress import Progress
from engine.settings import Engine
from engine.state import Effects

if TYPE_CHECKING:
    from engine.training.pool import Stats

STREAMS_MAX = 20
"""So many streams are counted by name."""
VALUES_MAX = 50
"""A label has so many values; more are counted together."""
OTHER = "other"
"""The label of what is counted together."""
WORD = re.compile(r"[a-z0-9_]{1,60}")
"""What an anomaly is called if it is one of a kind, not a sentence of its own."""
JOBS = ("promoted", "rejected", "failed", "reused", "dropped")
"""What becomes of a request to retrain."""
ENDS = {"job_failed": "failed", "request_dropped": "dropped", **{word: word for word in JOBS}}
"""The events that tell it."""
SWAPS = ("promoted", "reused", "rollback")
"""Events that put another model in."""
ERRORS_MIN = 30
"""A model's recent error is told once it has so many: fewer say little."""
MICROS = 1e6

Key = tuple[str, ...]
Readings = Mapping[Key, float]
Clock = Callable[[], int]
Listener = Callable[[str, Effects], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is counted or measured.

    Parameters
    ----------
    kind
        Whether it only grows, or goes up and down.
    meaning
        One sentence for people.
    labels
        What it is told apart by.
    """

    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...] = ()


def _counter(meaning: str, *labels: str) -> Figure:
    return Figure("counter", meaning, labels)


def _gauge(meaning: str, *labels: str) -> Figure:
    return Figure("gauge", meaning, labels)


FIGURES: dict[str, Figure] = {
    "build_info": _gauge("Always 1; what runs.", "version", "python"),
    "run_info": _gauge("Always 1; which run it is.", "mode", "name", "seed", "policy"),
    "replaying": _gauge("Whether a live run still replays its history, which is not counted."),
    "source_rows": _gauge("Rows that the run's sources have; 0 where nobody knows."),
    "streams": _gauge("Streams by whether a model answers.", "serving"),
    "records_total": _counter("Records handled.", "stream"),
    "scored_total": _counter("Records whose answer met its label.", "stream"),
    "prediction_errors_total": _counter("What the answers lost: errors, or loss.", "stream"),
    "baseline_errors_total": _counter("What model 0 would have lost.", "stream"),
    "error_recent": _gauge("Mean of the model's newest 500 errors, once it has 30.", "stream"),
    "champion": _gauge("Number of the model that answers.", "stream"),
    "model_age_seconds": _gauge("Since the model went in, by event time, live by ours.", "stream"),
    "model_age_records": _gauge("Records since the model went in.", "stream"),
    "rejected_in_row": _gauge("Challengers rejected since a model went in.", "stream"),
    "events_total": _counter("Events of the run.", "kind"),
    "alarms_total": _counter("Alarms of drift detectors.", "detector", "on"),
    "decisions_total": _counter("What policies asked for.", "policy", "action"),
    "anomalies_total": _counter("What was odd.", "what"),
    "alerts_total": _counter("Alerts that were raised, or recovered.", "alert", "state", "level"),
    "jobs_started_total": _counter("Training jobs begun."),
    "jobs_total": _counter("What became of requests to retrain.", "outcome"),
    "jobs_pending": _gauge("Training jobs begun that are not ready."),
    "fits_total": _counter("Models fitted by the trainer's processes."),
    "fits_cached_total": _counter("Fits that were found done."),
    "fit_seconds_total": _counter("Time spent in fits, all processes together."),
    "trainer_deaths_total": _counter("Training processes that died at work."),
    "quota_used": _gauge("Requests that count against NewsAPI's plan."),
    "quota_limit": _gauge("Requests that the plan allows in its period."),
    "lag_seconds": _gauge("Since the newest article came, or the run began."),
    "next_poll_timestamp_seconds": _gauge("When the next round may begin, since 1970."),
    "articles_total": _counter("Articles that came, by what became of them.", "topic", "fate"),
    "newsapi_requests_total": _counter("Requests made of NewsAPI.", "topic"),
    "newsapi_retried_total": _counter("Requests that had to be made again."),
    "newsapi_lost_total": _counter("Requests whose answer was lost in a crash or a stop."),
    "ledger_up": _gauge("Whether the ledger of a live run could be read."),
}
"""All figures, by their names less the prefix that all have."""


@dataclass(slots=True)
class _Stream:
    """What is remembered of one stream."""

    first: int | None = None
    newest: int = 0
    born: tuple[int, int] | None = None
    rejected: int = 0
    model: int = NO_MODEL
    recent: Floats = field(default_factory=lambda: np.empty(0))
    error: float = math.nan

    def score(self, rows: Outcomes) -> None:
        """Take in the newest errors of the model that answered last."""
        errors, models = rows.errors[-ERRORS:], rows.models[-ERRORS:]
        mine = errors[(models == models[-1]) & np.isfinite(errors)]
        if models[-1] != self.model:
            self.model, self.recent = int(models[-1]), mine
        else:
            self.recent = np.concatenate([self.recent, mine])[-ERRORS:]
        enough = len(self.recent) >= ERRORS_MIN
        self.error = float(self.recent.mean()) if enough else math.nan

    def stands(self, handled: int, number: int | None, now: int | None) -> list[tuple[str, float]]:
        """Return how the stream stands after so many records, with this model, if it has one."""
        found = [("rejected_in_row", float(self.rejected))]
        if self.error == self.error:
            found.append(("error_recent", self.error))
        if number is not None:
            seq, time = self.born or (0, self.newest if self.first is None else self.first)
            found.append(("model_age_records", float(max(0, handled - seq))))
            found.append(("model_age_seconds", max(0, (now or self.newest) - time) / MICROS))
        return found


class Tallies:
    """Counts what happens to the streams of one process.

    Made to be sent to another process: there it gives the readings that it had.

    Parameters
    ----------
    engine
        The settings: what they name is counted from 0 on.
    streams
        The process's streams and their numbers in the run.
    progress
        How far the streams are.
    since
        Arrivals before this one are history that a live run replays: not counted.
    began
        When the process began, microseconds since 1970; what happened later is no history.
    clock
        Returns the microseconds since 1970 in a live run; None: time is the streams'.
    pool
        Returns what training took, if anybody knows.
    anomalies
        Anomalies that are counted from 0 on.

    Examples
    --------
    >>> from engine.settings import Never
    >>> tallies = Tallies(Engine(policy=Never(kind="never")), {"s-0000": 0}, Progress(9))
    >>> tallies.listen("s-0000", Effects(events=[Event("job_started", "s-0000", 0, 3, 0)]))
    >>> tallies.readings()["jobs_pending",]
    1.0
    """

    def __init__(
        self,
        engine: Engine,
        streams: Mapping[str, int],
        progress: Progress,
        since: int = 0,
        began: int | None = None,
        clock: Clock | None = None,
        pool: Callable[[], Stats] | None = None,
        anomalies: Sequence[str] = (),
    ) -> None:
        self._progress, self._since, self._began = progress, since, began
        self._clock, self._pool = clock, pool
        named = [name for name, number in streams.items() if number < STREAMS_MAX]
        self._named, self._size = frozenset(named), len(streams)
        self._streams: dict[str, _Stream] = {}
        self._counts: dict[Key, float] = {}
        self._pending = 0
        self._lock = Lock()
        self._begin(engine, [*named, *([OTHER] * (len(streams) > len(named)))])
        for what in anomalies:
            self._add(0.0, "anomalies_total", what)

    def listen(self, stream: str, effects: Effects) -> None:
        """Count what came of a call to a stream's loop."""
        with self._lock:
            one = self._streams.setdefault(stream, _Stream())
            label = self._label(stream)
            for rows in filter(len, effects.outcomes):
                one.first = int(rows.times[0]) if one.first is None else one.first
                one.newest = max(one.newest, int(rows.times[-1]))
                one.score(rows)
                start = int(np.searchsorted(rows.seqs, self._since)) if self._since else 0
                scored, lost = _summed(rows.errors[start:])
                self._add(scored, "scored_total", label)
                self._add(lost, "prediction_errors_total", label)
                _, lost = _summed(rows.baseline_errors[start:])
                self._add(lost, "baseline_errors_total", label)
            for event in effects.events:
                self._see(one, event)
            if effects.traces:
                one.newest = max(one.newest, effects.traces[-1].time)

    def readings(self) -> dict[Key, float]:
        """Return all that was counted, and how it stands: of streams without a name the worst."""
        progress = self._progress
        with self._lock:
            found = dict(self._counts)
            found["jobs_pending",] = float(self._pending)
            streams = list(self._streams.items())
        records, champions = dict(progress.records), dict(progress.champions)
        served = len(champions) - sum(number is None for number in champions.values())
        found["streams", "yes"], found["streams", "no"] = float(served), float(self._size - served)
        if self._clock is not None:
            behind = any(handled < self._since for handled in records.values())
            found["replaying",] = float(behind or (not records and self._since > 0))
        for name, handled in records.items():
            found["records_total", self._label(name)] += max(0, handled - self._since)
        now = None if self._clock is None else self._clock()
        worst: dict[str, float] = {}
        for name, one in streams:
            handled, number = records.get(name, 0), champions.get(name)
            stands = one.stands(handled, number, now)
            if name in self._named:
                found.update({(figure, name): value for figure, value in stands})
                if number is not None:
                    found["champion", name] = float(number)
                continue
            for figure, value in stands:
                if value >= worst.get(figure, 0.0):
                    worst[figure] = value
        found.update({(figure, OTHER): value for figure, value in worst.items()})
        if self._pool is not None:
            stats = self._pool()
            found["fits_total",] = float(stats.fits)
            found["fits_cached_total",] = float(stats.cached)
            found["fit_seconds_total",] = stats.seconds
            found["trainer_deaths_total",] = float(stats.deaths)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what another process gets of it: its readings."""
        return Taken, (self.readings(),)

    def _begin(self, engine: Engine, labels: Sequence[str]) -> None:
        """Let everything that is known to come begin at 0: what appears later is no growth."""
        for name in ("records", "scored", "prediction_errors", "baseline_errors"):
            for label in labels:
                self._add(0.0, f"{name}_total", label)
        for kind in KINDS:
            self._add(0.0, "events_total", kind)
        for outcome in JOBS:
            self._add(0.0, "jobs_total", outcome)
        self._add(0.0, "jobs_started_total")
        self._add(0.0, "decisions_total", engine.policy.kind, "retrain")
        for detector in with_needed(engine.detectors, build(engine.policy)):
            self._add(0.0, "alarms_total", name_of_detector(detector), detector.on)
        for rule in engine.alerts:
            self._add(0.0, "alerts_total", name_of_rule(rule), "raised", rule.level)

    def _see(self, one: _Stream, event: Event) -> None:
        """Take an event."""
        kind, details = event.kind, event.details
        one.newest = max(one.newest, event.event_time)
        self._pending += (kind == "job_started") - (kind in ("job_ready", "job_failed"))
        if kind in SWAPS:
            one.born, one.rejected = (event.seq, event.event_time), 0
        one.rejected += kind == "rejected"
        later = self._began is not None and event.event_time >= self._began
        if event.seq < self._since and not later:
            return
        self._add(1.0, "events_total", kind)
        if kind == "job_started":
            self._add(1.0, "jobs_started_total")
        elif kind in ENDS:
            self._add(1.0, "jobs_total", ENDS[kind])
        elif kind == "alarm":
            self._add(1.0, "alarms_total", str(details.get("detector")), str(details.get("on")))
        elif kind == "decision":
            policy, action = details.get("policy"), details.get("action")
            self._add(1.0, "decisions_total", str(policy), str(action))
        elif kind == "anomaly":
            what = str(details.get("what"))
            self._add(1.0, "anomalies_total", what if WORD.fullmatch(what) else OTHER)
        elif kind == "alert":
            values = (str(details.get(key)) for key in ("alert", "state", "level"))
            self._add(1.0, "alerts_total", *values)

    def _label(self, stream: str) -> str:
        return stream if stream in self._named else OTHER

    def _add(self, value: float, name: str, *labels: str) -> None:
        key = (name, *labels)
        if key not in self._counts and labels and labels[0] not in self._named:
            alike = sum(other[0] == name for other in self._counts)
            if alike >= VALUES_MAX + STREAMS_MAX:
                key = (name, *([OTHER] * len(labels)))
        self._counts[key] = self._counts.get(key, 0.0) + value


@dataclass(frozen=True, slots=True)
class Taken:
    """What another process has counted, as it was a moment ago.

    Parameters
    ----------
    found
        Its readings.
    """

    found: Readings

    def readings(self) -> Readings:
        """Return them."""
        return self.found


def joined(parts: Iterable[Readings]) -> dict[Key, float]:
    """Return what several processes have counted together; of how something stands, the worst.

    Examples
    --------
    >>> one = {("fits_total",): 2.0, ("error_recent", "other"): 0.1}
    >>> joined([one, {("fits_total",): 1.0, ("error_recent", "other"): 0.3}])
    {('fits_total',): 3.0, ('error_recent', 'other'): 0.3}
    """
    found: dict[Key, float] = {}
    for part in parts:
        for key, value in part.items():
            if key not in found:
                found[key] = value
            elif FIGURES[key[0]].kind == "counter" or key[0] in ("jobs_pending", "streams"):
                found[key] += value
            else:
                found[key] = max(value, found[key])
    return found


def together(*listeners: Listener | None) -> Listener | None:
    """Return one listener for all of them; None if there is none.

    Examples
    --------
    >>> together(None, None) is None
    True
    >>> heard = []
    >>> both = together(lambda stream, effects: heard.append(stream), None)
    >>> both("s-0000", Effects())
    >>> heard
    ['s-0000']
    """
    there = [listener for listener in listeners if listener is not None]
    if not there:
        return None

    def listen(stream: str, effects: Effects) -> None:
        for listener in there:
            listener(stream, effects)

    return listen


def _summed(errors: Floats) -> tuple[float, float]:
    """Return how many errors are known, and their sum."""
    lost = float(errors.sum())
    if math.isfinite(lost):
        return float(len(errors)), lost
    known = errors[np.isfinite(errors)]
    return float(len(known)), float(known.sum())
