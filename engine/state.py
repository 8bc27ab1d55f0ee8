"""What a stream remembers, what a call leads to, and the stretch of arrivals being handled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.alerts.rounds import Sentinel
from engine.batch import Batch, Ints, Mark
from engine.challengers import Challenger
from engine.events import Alarm, Event, Kind, Note
from engine.extras import Bins, TracePoint
from engine.history import Extent, History, Moment
from engine.ledger import UNDATED, Outcomes
from engine.pace import Pace
from engine.policies import Decision, Policy, Wake
from engine.settings import Engine
from engine.standing import Outlook, Standing
from engine.strangers import Strangers
from engine.training.jobs import Params, Predictor, Trainer
from engine.watch import ErrorWatch, FeatureWatch, Reference

INITIAL = "initial"
"""The job id of a first model that the user brought along."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The model that answers now.

    Its number and job, since when, labels known at its birth, which rows it was fitted on (None if
    the user brought it along), histograms of its training window, that window in figures, and the
    settings that tuning found for it.
    """

    number: int
    job_id: str
    since: Moment
    labels: int
    extent: Extent | None = None
    profile: dict[str, Bins] = field(default_factory=dict)
    reference: Reference | None = None
    params: Params | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A challenger that waits for labels before it is judged.

    Parameters
    ----------
    first
        Only labels of records from this one on count.
    missing
        How many more have to become known.
    looks
        What earlier looks came to, JSON-ready.
    """

    first: int
    missing: int
    looks: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class State:
    """All that a stream remembers; picklable between any two calls."""

    history: History
    error_watch: ErrorWatch
    feature_watch: FeatureWatch
    memory: Any
    seq: int = 0
    now: int = UNDATED
    time: int = 0
    events: int = 0
    inbox: list[tuple[Batch, Ints] | Note] = field(default_factory=list)
    fed: int = UNDATED
    ledger: Outcomes | None = None
    labels: int = 0
    first_due: int = 0
    referred: bool = False
    baseline: str | None = None
    champion: Champion | None = None
    standing: Standing = field(default_factory=Standing)
    watched: int = 0
    ahead: list[Alarm | TracePoint | Mark] = field(default_factory=list)
    strangers: Strangers = field(default_factory=Strangers)
    sampled: int = 0
    sentinel: Sentinel | None = None
    heard: tuple[Alarm, ...] = ()
    wake: Wake = field(default_factory=Wake)
    challenger: Challenger | None = None
    trial: Trial | None = None
    archive: tuple[Champion, ...] = ()
    best: tuple[float, Params] | None = None
    queued: Decision | None = None
    jobs: int = 0
    started: int = 0


@dataclass(slots=True)
class Effects:
    """What came of a call, in order: finished outcome rows, events, and extras for looking."""

    outcomes: list[Outcomes] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    traces: list[TracePoint] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.events or self.traces or self.samples)

    def __add__(self, later: Effects) -> Effects:
        return Effects(
            self.outcomes + later.outcomes,
            self.events + later.events,
            self.traces + later.traces,
            self.samples + later.samples,
        )


@dataclass(slots=True)
class Segment:
    """A stretch of arrivals without a swap, and what becomes known within it."""

    batch: Batch
    now: Ints
    label_arrivals: Ints
    outlook: Outlook
    news: list[Mark | Alarm | TracePoint]
    error_max: float
    told: int = 0

    def moment(self, arrival: int) -> Moment:
        """Return the moment of `arrival`."""
        return Moment(arrival, int(self.now[arrival - self.batch.first]))

    def arrival(self, moment: Moment) -> int:
        """Return the first arrival that has reached `moment`; the segment's end if none has."""
        return first_arrival(moment, self.batch.first, self.now)

    def labels(self, arrival: int) -> int:
        """Return how many labels become known within the segment by `arrival`."""
        return int(np.searchsorted(self.label_arrivals, arrival, side="right"))


def first_arrival(moment: Moment, first: int, now: Ints) -> int:
    """Return the first arrival from `first` on that has reached `moment`.

    That is `first + len(now)` if none has.
    """
    by_time = first + int(np.searchsorted(now, moment.now, side="left"))
    return min(max(moment.seq, by_time, first), first + len(now))


class Desk:
    """Where a stream is worked on: its state, and the tools that are not part of it.

    Parameters
    ----------
    engine
        The settings.
    stream
        The stream's name.
    policy
        Who decides.
    trainer
        Who fits models.
    pace
        Who says when they are ready.
    state
        What the stream remembers.
    models
        The models that answer, by job id.
    model_seed, code_root
        What every job of the stream is given.
    """

    def __init__(
        self,
        engine: Engine,
        stream: str,
        policy: Policy,
        trainer: Trainer,
        pace: Pace,
        state: State,
        models: dict[str, Predictor],
        model_seed: int,
        code_root: str,
    ) -> None:
        self.engine, self.stream, self.policy, self.trainer = engine, stream, policy, trainer
        self.pace, self.state, self.models = pace, state, models
        self.model_seed, self.code_root = model_seed, code_root
        self.effects = Effects()

    def emit(self, kind: Kind, seq: int, time: int, details: Mapping[str, Any]) -> None:
        """Write an event down."""
        event = Event(kind, self.stream, time, seq, self.state.events, details)
        self.state.events += 1
        self.effects.events.append(event)
        if self.state.sentinel is not None:
            self.alert(seq, time, self.state.sentinel.see(event))

    def watch_over(self, point: TracePoint, time: int) -> None:
        """Have the sentinel look at how the stream stands."""
        if self.state.sentinel is not None:
            error = point.values.get("error", math.nan)
            self.alert(point.seq, time, self.state.sentinel.look(point.seq, time, error))

    def alert(self, seq: int, time: int, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Write alerts down."""
        for details in alerts:
            self.emit("alert", seq, time, details)

    def take_effects(self) -> Effects:
        """Hand over what came of the work since the last call."""
        done, self.effects = self.effects, Effects()
        return done

    def window(self, asked: int | None) -> int:
        """Return the rows of a training window: what a policy asks for, within the setting."""
        whole = self.engine.retraining.window
        return whole if asked is None else min(asked, whole)
