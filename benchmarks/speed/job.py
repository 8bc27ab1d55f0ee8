"""The job that every arm is given: 12 features, a label of two classes, two drifts.

The records come from tapes of seeded numbers that are played over and over, so a job of any
length costs no memory and next to no time to make. What is measured is the work on the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batch import Batch, Floats, Schema, Table
from engine.settings import (
    Adwin,
    CatBoostModel,
    Engine,
    Every,
    Never,
    PageHinkley,
    Retraining,
)
from engine.training.jobs import Job

FEATURES = 12
TREES = 200
DEPTH = 6
SEED = 20
PAST = 7
"""The world of the champion's training records: as world 0, but other records."""
TAPE_ROWS = 65_536
"""Records on a tape; a multiple of every batch size."""
CHAMPION_ROWS = 20_000
"""Records that the champion is trained on."""
CLASSES = ("no", "yes")
SCHEMA = Schema(tuple(f"x{at:02d}" for at in range(FEATURES)), ())
NO_CODES = np.empty((TAPE_ROWS, 0), dtype=np.int32)
SECOND = 1_000_000
FIRST_LABELS = 1000
"""After so many labels the engine has seen enough to standardise the features by."""


@dataclass(frozen=True, slots=True)
class Tape:
    """Records of one world.

    Parameters
    ----------
    numbers
        The features, one column after the other, shape `(TAPE_ROWS, FEATURES)`.
    truth
        0 or 1, shape `(TAPE_ROWS,)`.
    labels
        The same in words, as a source gives them.
    """

    numbers: Floats
    truth: NDArray[np.int8]
    labels: NDArray[Any]


@cache
def tape(world: int) -> Tape:
    """Return the tape of a world: 0 before any drift, 1 and 2 after the first and second.

    The first drift is one of concept, the second moves two features.

    Examples
    --------
    >>> tape(0).numbers.shape, sorted(set(tape(0).labels.tolist()))
    ((65536, 12), ['no', 'yes'])
    >>> round(float(tape(2).numbers[:, 3].mean() - tape(1).numbers[:, 3].mean()))
    1
    """
    chance = np.random.default_rng([SEED, world])
    numbers = np.asfortranarray(chance.standard_normal((TAPE_ROWS, FEATURES)))
    if world == 2:
        numbers[:, 3:5] += 1.0
    sign = -1.0 if world in (1, 2) else 1.0
    leaning = (
        numbers[:, 0]
        + sign * numbers[:, 1] * numbers[:, 2]
        + 0.5 * np.sin(2 * numbers[:, 3])
        + 0.5 * chance.standard_normal(TAPE_ROWS)
    )
    truth = (leaning > 0).astype(np.int8)
    return Tape(numbers, truth, np.array(CLASSES, dtype=object)[truth])


def champion_job() -> Job:
    """Return the fit of the champion, on records that no arm is given."""
    past = tape(PAST)
    rows = slice(0, CHAMPION_ROWS)
    table = Table(SCHEMA, past.numbers[rows], NO_CODES[rows], ())
    return Job(table, past.labels[rows], model_settings(), SEED)


def model_settings() -> CatBoostModel:
    """Return the champion's settings."""
    return CatBoostModel(iterations=TREES, depth=DEPTH)


@dataclass(frozen=True, slots=True)
class Made:
    """A stream of the job, as the dataflow takes it.

    Parameters
    ----------
    rows
        How many records.
    index
        Number of the stream.

    Examples
    --------
    >>> [len(batch) for batch in Made(3000).batches(1024)]
    [1000, 24, 976, 48, 952]
    """

    rows: int
    index: int = 0

    @property
    def name(self) -> str:
        """The stream's name."""
        return f"speed-{self.index:04d}"

    @property
    def seed(self) -> int:
        """Where its chance comes from."""
        return SEED + self.index

    @property
    def schema(self) -> Schema:
        """Its columns."""
        return SCHEMA

    def pieces(self, size: int) -> Iterator[tuple[int, int, slice]]:
        """Yield where each batch is: its first record, the world, and the place on the tape.

        A batch ends where a drift begins, a third and two thirds through.
        """
        assert TAPE_ROWS % size == 0, size
        ends = (self.rows // 3, 2 * self.rows // 3, self.rows)
        first = 0
        while first < self.rows:
            world = sum(first >= end for end in ends)
            end = min(first - first % size + size, ends[world])
            start = first % TAPE_ROWS
            yield first, world, slice(start, start + end - first)
            first = end

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all records in batches of at most `size`."""
        at_once = np.zeros(size, dtype=np.int64)
        steps = np.arange(size, dtype=np.int64) * SECOND
        for first, world, place in self.pieces(size):
            found, rows = tape(world), place.stop - place.start
            table = Table(SCHEMA, found.numbers[place], NO_CODES[place], ())
            late = at_once[:rows]
            times = steps[:rows] + first * SECOND
            yield Batch(first, times, table, found.labels[place], late, late)


def settings(every: int | None = None, latency: int = 1000) -> Engine:
    """Return what the engine is told to do: all detectors, and no retraining unless asked for.

    Parameters
    ----------
    every
        Retrain each so many records.
    latency
        How many records a training takes.
    """
    return Engine(
        model=model_settings(),
        detectors=(
            Adwin(kind="adwin"),
            PageHinkley(kind="page_hinkley"),
            PageHinkley(kind="page_hinkley", on="features"),
        ),
        policy=Never(kind="never") if every is None else Every(kind="every", records=every),
        retraining=Retraining(first=FIRST_LABELS, latency=latency),
    )
