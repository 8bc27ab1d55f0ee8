"""Outcomes: one row per record, held back until its label is known, let go in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

import numpy as np

from engine.batch import FOREVER, Bools, Floats, Ints, Labels, Places

NEVER = np.iinfo(np.int64).max
"""The arrival of a label that does not come within the records at hand."""
UNDATED = np.iinfo(np.int64).min
"""The label time of a label that never comes."""
NO_MODEL = -1


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of texts once more, as places in a list of levels; quicker to write.

    Parameters
    ----------
    codes
        Shape `(n,)`.
    levels
        The texts.
    """

    codes: Places
    levels: tuple[str, ...]

    @classmethod
    def join(cls, parts: Sequence[Coded | None]) -> Coded | None:
        """Concatenate columns if all are there and have the same levels."""
        there = [part for part in parts if part is not None]
        if len(there) < len(parts) or len({part.levels for part in there}) != 1:
            return None
        return cls(np.concatenate([part.codes for part in there]), there[0].levels)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Columns of consecutive outcome rows, each of shape `(n,)`.

    Parameters
    ----------
    seqs, times
        The record and its event time.
    predictions, scores
        What the champion answered (None or NaN before there was one).
    labels, errors
        The truth, and what the answer lost; NaN where either is missing.
    models
        Number of the model that answered, -1 before there was one.
    baseline_errors
        What model 0 would have lost.
    due_seqs, due_times
        The label is known at the first arrival that has reached both.
    label_times
        When the label became known (microseconds), `UNDATED` while it is not.
    coded
        `predictions` as codes, if the model gave them.
    """

    seqs: Ints
    times: Ints
    predictions: Labels
    scores: Floats
    labels: Labels
    errors: Floats
    models: Ints
    baseline_errors: Floats
    due_seqs: Ints
    due_times: Ints
    label_times: Ints
    coded: Coded | None = None

    def __len__(self) -> int:
        return len(self.seqs)

    def __getitem__(self, rows: slice | Ints | Bools) -> Outcomes:
        coded = self.coded and Coded(self.coded.codes[rows], self.coded.levels)
        columns: list[Any] = [*(column[rows] for column in columns_of(self)), coded]
        return Outcomes(*columns)

    def before(self, seq: int) -> Outcomes:
        """Return the rows of records before `seq`."""
        return self[: int(np.searchsorted(self.seqs, seq))]

    def arrivals(self, first: int, now: Ints) -> Ints:
        """Return the arrival among `first .. first + len(now) - 1` that brings each label.

        `now` is the running maximum of event time at those arrivals. `NEVER` stands for labels
        that came before, come later or not at all.
        """
        by_time = first + np.searchsorted(now, self.due_times, side="left")
        arrivals = np.maximum(self.due_seqs, by_time)
        absent = arrivals >= first + len(now)
        return np.where(absent | (self.label_times != UNDATED), NEVER, arrivals)

    def dated(self, arrivals: Ints, first: int, now: Ints, stop: int) -> Outcomes:
        """Return the rows with label times filled in for labels that arrive before `stop`."""
        here = arrivals < stop
        seq_times = now[np.clip(self.due_seqs - first, 0, len(now) - 1)]
        times = np.maximum(self.due_times, np.where(self.due_seqs >= first, seq_times, UNDATED))
        return replace(self, label_times=np.where(here, times, self.label_times))

    def finished(self) -> int:
        """Return how many rows from the front need not wait for a label any more."""
        waits = (self.label_times == UNDATED) & (self.due_seqs < FOREVER)
        return int(np.argmax(waits)) if waits.any() else len(self)

    def parted(
        self, arrivals: Ints, first: int, now: Ints, stop: int
    ) -> tuple[Outcomes, Outcomes | None]:
        """Return the rows before `stop` that are finished, and what has to wait, if anything."""
        if arrivals is self.seqs:  # every label came with its record
            return replace(self, label_times=now)[: stop - first], None
        rows = self.dated(arrivals, first, now, stop).before(stop)
        ready = rows.finished()
        return rows[:ready], rows[ready:] if ready < len(rows) else None

    def closed(self, end: int) -> Outcomes:
        """Return the rows as they stand at the end of a stream of `end` records.

        A label due after the end has a time only if its delay is in event time.
        """
        datable = (self.label_times == UNDATED) & (self.due_seqs < end)
        return replace(self, label_times=np.where(datable, self.due_times, self.label_times))


columns_of = attrgetter(*(one.name for one in fields(Outcomes) if one.name != "coded"))
"""Returns the columns of outcome rows, in order."""


def join(parts: list[Outcomes]) -> Outcomes:
    """Concatenate outcome rows."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*map(columns_of, parts), strict=True)
    coded = Coded.join([part.coded for part in parts])
    whole: list[Any] = [*map(np.concatenate, columns), coded]
    return Outcomes(*whole)


def in_order(arrivals: Ints, seqs: Ints) -> Ints:
    """Return which rows get their label, by the arrival that brings it, then by seq.

    Examples
    --------
    >>> in_order(np.array([7, NEVER, 5, 5]), np.array([1, 2, 3, 4])).tolist()
    [2, 3, 0]
    """
    if len(arrivals) and arrivals[-1] < NEVER and (arrivals[1:] > arrivals[:-1]).all():
        return np.arange(len(arrivals), dtype=np.int64)
    order = np.lexsort((seqs, arrivals))
    return order[: int(np.searchsorted(arrivals, NEVER, sorter=order))]
