"""Policies at play: each runs through the real engine, over a tape whose models are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.findings import Track, Truth
from benchmarks.table import LossTable, Shelf, TableTrainer
from benchmarks.tapes import Tape
from engine.batch import Floats
from engine.events import Event
from engine.loop import Loop
from engine.policies import Policy
from engine.scoring import Happenings
from engine.settings import Engine
from engine.training.jobs import Trainer


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a policy.

    Parameters
    ----------
    errors
        Sum of all errors.
    retrains
        Jobs started, without the first.
    trials
        Trials of their tuning.
    track
        When it retrained, and how each block went.
    """

    errors: float
    retrains: int
    trials: int
    track: Track


def play(
    engine: Engine,
    table: LossTable,
    shelf: Shelf,
    *,
    seed: int,
    policy: Policy | None = None,
    trainer: Trainer | None = None,
) -> Played:
    """Run a policy over a tape.

    Parameters
    ----------
    engine
        The settings, policy and prices included.
    table
        The models.
    shelf
        Where models are kept that the policy has made besides.
    seed
        The stream's seed.
    policy
        The policy, if it is none that settings describe.
    trainer
        Who fits models, if the table is not to answer for them: tuned models are not in it, and
        a judge asks for more than a model's answers to the stream.
    """
    tape = table.recipe.tape
    loop = Loop(
        engine,
        "bench-0000",
        tape.batch.table.schema,
        trainer or TableTrainer(table, shelf),
        seed,
        code_root=table.recipe.code_root,
        rows=len(tape),
        policy=policy,
    )
    parts, events = [], list[Event]()
    for start, end in spans(tape):
        loop.feed(tape.batch[start:end])
        done = loop.advance()
        parts += done.outcomes
        events += done.events
        assert not loop.waiting, "a table's models are there when they are asked for"
    done = loop.finish()
    parts += done.outcomes
    events += done.events
    errors = np.concatenate([part.errors for part in parts])
    return Played(
        float(np.nansum(errors)),
        sum(event.kind == "job_started" and not event.details["first"] for event in events),
        trials_of(events),
        track_of(events, errors, tape),
    )


def spans(tape: Tape) -> Iterable[tuple[int, int]]:
    """Return the stretches in which a tape is fed: the blocks, which is where models change."""
    edges = [0, *tape.starts.tolist(), len(tape)]
    return pairwise(edges)


def track_of(events: Sequence[Event], errors: Floats, tape: Tape) -> Track:
    """Return when models were asked for and served, and the mean error of each block."""
    asked: dict[int, int] = {}
    ready: dict[int, int] = {}
    returns: list[tuple[int, int]] = []
    rejected: list[int] = []
    for event in events:
        if event.kind == "job_started" and not event.details["first"]:
            asked[event.details["model"]] = event.seq
        elif event.kind == "promoted" and event.details["model"] in asked:
            ready[event.details["model"]] = event.seq
        elif event.kind == "rejected":
            rejected.append(asked[event.details["model"]])
        elif event.kind == "reused":
            returns.append((event.details["asked"], event.seq))
    serves = tuple(ready.get(model, len(tape)) for model in asked)
    means = tape.block_means(errors)
    return Track(tuple(asked.values()), serves, means, tuple(returns), tuple(rejected))


def trials_of(events: Sequence[Event]) -> int:
    """Return how many trials were paid for, as `summary.json` counts them."""
    happened = Happenings()
    for event in events:
        if event.kind in ("job_started", "job_ready"):
            happened.add({"kind": event.kind, "seq": event.seq, **event.details})
    return sum(happened.trials.values())


def reaction(track: Track, drifts: Sequence[Truth] | None, records: int) -> float | None:
    """Return how long drifts took to be answered, in records, on average.

    A drift is answered by the first model, new or earlier, asked for at or after its first record,
    when it serves, if that is before the next drift and the end; None if no drift was answered,
    or the truth is unknown.

    Examples
    --------
    >>> track = Track((100, 520), (110, 530), ())
    >>> reaction(track, [Truth(90, 0, "concept"), Truth(500, 0, "concept")], 1000)
    25.0
    >>> reaction(track, [Truth(90, 0, "concept"), Truth(500, 0, "concept")], 530)
    20.0
    """
    if not drifts:
        return None
    begins = sorted({drift.seq for drift in drifts})
    delays = []
    for at, begin in enumerate(begins):
        end = begins[at + 1] if at + 1 < len(begins) else records
        served = [
            ready
            for asked, ready in (*zip(track.asked, track.ready, strict=True), *track.returns)
            if asked >= begin and ready < end
        ]
        delays += [min(served) - begin] if served else []
    return float(np.mean(delays)) if delays else None
