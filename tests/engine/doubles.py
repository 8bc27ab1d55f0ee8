"""Small real parts for tests of the heart: trainers without CatBoost, policies that take notes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.batch import Batch, Floats, Ints, Schema, Table
from engine.events import Alarm, Event
from engine.extras import TracePoint
from engine.ledger import Outcomes, join
from engine.loop import Loop
from engine.policies import NOTHING, Decision, View, Wake
from engine.settings import AnyDetector, Engine
from engine.state import Effects
from engine.training.jobs import Failed, Fitted, Job, Prediction
from engine.watch import Reference


@dataclass(frozen=True)
class Newest:
    """A model that always answers the newest label of its window."""

    answer: str
    rows: int

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.answer,)

    def predict(self, table: Table) -> Prediction:
        values = np.full(len(table), self.answer, dtype=object)
        return Prediction(values, np.ones(len(table)))


@dataclass
class NewestTrainer:
    """Fits `Newest` models; a result can be had only after `slowness` questions."""

    slowness: int = 0
    fails: Callable[[Job], bool] = lambda job: False
    jobs: dict[str, Job] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def submit(self, job: Job) -> str:
        job_id = job.identity()
        self.jobs[job_id] = job
        return job_id

    def result(self, job_id: str) -> Fitted | Failed | None:
        self.asked[job_id] = self.asked.get(job_id, 0) + 1
        if self.asked[job_id] <= self.slowness:
            return None
        job = self.jobs[job_id]
        if self.fails(job):
            return Failed("it was told to fail")
        return Fitted(Newest(job.labels[-1], len(job.labels)))


@dataclass
class Scripted:
    """A policy that retrains at given arrivals, and notes every view."""

    at: frozenset[int] = frozenset()
    queue: bool = False
    views: list[View] = field(default_factory=list)
    decide_on: Callable[[View], bool] | None = None

    @property
    def needs(self) -> tuple[AnyDetector, ...]:
        return ()

    def initial(self) -> Any:
        return ()

    def decide(self, view: View, state: Any) -> tuple[Decision, Any]:
        self.views.append(view)
        wanted = self.decide_on(view) if self.decide_on else view.seq in self.at
        if not wanted:
            return NOTHING, state
        return Decision("retrain", "as scripted", {}, queue=self.queue), state

    def wake(self, view: View, state: Any) -> Wake:
        return Wake(seq=view.seq + 1)


@dataclass
class NotingErrors:
    """An error watch that notes what it is given, and alarms on given records."""

    alarm_on: frozenset[int] = frozenset()
    seen: list[tuple[int, int, float]] = field(default_factory=list)
    resets: int = 0

    def reset(self) -> None:
        self.resets += 1

    def trace(
        self, arrivals: Ints, seqs: Ints, errors: Floats, stops: Ints
    ) -> tuple[list[Alarm], list[dict[str, float]]]:
        figures = [{"noting": float(len(self.seen) + stop)} for stop in stops]
        rows = list(zip(arrivals.tolist(), seqs.tolist(), errors.tolist(), strict=True))
        self.seen += rows
        alarms = [Alarm(k, seq, "noting", "error") for k, seq, _ in rows if seq in self.alarm_on]
        return alarms, figures


@dataclass
class NotingFeatures:
    """A feature watch that notes what it is given, and alarms on given records."""

    alarm_on: frozenset[int] = frozenset()
    seen: list[tuple[int, int]] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    count: int = 1

    def refer(self, reference: Reference) -> None:
        self.references.append(reference)

    def update(self, first_seq: int, table: Table) -> list[Alarm]:
        seqs = range(first_seq, first_seq + len(table))
        self.seen += [(seq, len(self.references)) for seq in seqs]
        return [
            Alarm(seq, seq, "noting", "features", "x", "value")
            for seq in seqs
            if seq in self.alarm_on
        ]


@dataclass
class Outcome:
    """All that came of a stream."""

    loop: Loop
    rows: Outcomes
    events: list[Event]
    traces: list[TracePoint]
    samples: list[dict[str, Any]]

    def kinds(self, *wanted: str) -> list[tuple[str, int]]:
        return [(event.kind, event.seq) for event in self.events if event.kind in wanted]

    def lines(self) -> list[str]:
        return [event.line() for event in self.events]


def through(
    batch: Batch,
    engine: Engine,
    *,
    size: int = 1024,
    policy: Any = None,
    trainer: Any = None,
    errors: Any = None,
    features: Any = None,
    prepare: Callable[[Loop], Loop] = lambda loop: loop,
    schema: Schema | None = None,
    stride: int = 100,
) -> Outcome:
    """Send a batch through a loop in pieces of `size`, waiting for jobs as long as they take."""
    loop = Loop(engine, "s-0000", schema or batch.table.schema, trainer or NewestTrainer(), seed=1)
    loop.stride = stride
    if policy is not None:
        loop.desk.policy = policy
    if errors is not None:
        loop.state.error_watch = errors
    if features is not None:
        loop.state.feature_watch = features
    effects = Effects()
    for start in range(0, len(batch), size):
        loop.feed(batch[start : start + size])
        while True:
            effects += loop.advance()
            if not loop.waiting:
                break
        loop = prepare(loop)
    effects += loop.finish()
    rows = join(effects.outcomes)
    samples = [json.loads(line) for line in effects.samples]
    return Outcome(loop, rows, effects.events, effects.traces, samples)


def letters(count: int, every: int = 1) -> Sequence[str]:
    """Return labels that tell which record they belong to: "0", "1", ... each `every` times."""
    return [str(at // every) for at in range(count)]
