"""A stream laid out in memory, with the points at which every policy decides.

Policies and the hindsight optimum are asked at the same arrivals, ``first − 1 + k·block``, so
that a difference between two of them is never one of timing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.batch import Batch, Floats, Ints, Table, concat
from engine.history import History, Moment, Rows
from engine.ledger import NEVER
from engine.state import first_arrival


@dataclass(frozen=True)
class Tape:
    """All records of a stream, and where its blocks begin.

    Parameters
    ----------
    batch
        The records, with how late their labels are; labels that never come are settled.
    block
        Records to a block.
    first
        Labelled records that the first model is fitted on.

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> tape = Tape.of([plain_batch({"x": [0.0] * 10}, ["a"] * 10)], block=2, first=4)
    >>> tape.decisions.tolist(), tape.starts.tolist()
    ([3, 5, 7, 9], [4, 6, 8])
    """

    batch: Batch
    block: int
    first: int

    @classmethod
    def of(cls, batches: Iterable[Batch], *, block: int, first: int) -> Tape:
        """Return the tape of a stream that comes in batches."""
        return cls(concat(list(batches)).settled(), block, first)

    def __len__(self) -> int:
        return len(self.batch)

    @cached_property
    def now(self) -> Ints:
        """The latest event time so far at each arrival, shape `(n,)`."""
        times: Ints = np.maximum.accumulate(self.batch.times)
        return times

    @cached_property
    def decisions(self) -> Ints:
        """The arrivals at which policies are asked."""
        return np.arange(self.first - 1, len(self), self.block, dtype=np.int64)

    @cached_property
    def starts(self) -> Ints:
        """First record of each block that follows a decision."""
        starts = self.decisions + 1
        return starts[starts < len(self)]

    @cached_property
    def known(self) -> Ints:
        """The arrival that brings each record's label, `NEVER` if none does; shape `(n,)`."""
        by_seq = np.arange(len(self)) + self.batch.late_records
        by_time = np.searchsorted(self.now, self.now + self.batch.late_micros, side="left")
        arrivals = np.maximum(by_seq, by_time)
        return np.where(arrivals >= len(self), NEVER, arrivals)

    @cached_property
    def _history(self) -> History:
        past = History(keep=len(self))
        past.add(self.batch, self.now)
        return past

    @cached_property
    def identity(self) -> str:
        """A hash of all that the answers to its records, and their timing, depend on."""
        digest = hashlib.sha256()
        table, batch = self.batch.table, self.batch
        head = (table.schema.numeric, table.schema.categorical, table.schema.task, len(self))
        digest.update(repr(head).encode())
        for column in (table.numbers, batch.times, batch.late_records, batch.late_micros):
            digest.update(np.ascontiguousarray(column).tobytes())
        for texts in (*(table.texts(name) for name in table.schema.categorical), batch.labels):
            digest.update(repr(texts.tolist()).encode())
        return digest.hexdigest()

    def moment(self, arrival: int) -> Moment:
        """Return the moment of an arrival."""
        return Moment(arrival, int(self.now[arrival]))

    def reached(self, moment: Moment) -> int:
        """Return the first arrival that has reached a moment; the tape's length if none has."""
        return first_arrival(moment, 0, self.now)

    def window(self, arrival: int, rows: int) -> Rows:
        """Return the newest `rows` records whose labels are known at an arrival."""
        return self._history.window(self.moment(arrival), rows)

    def first_asked(self) -> int | None:
        """Return the arrival at which the first model is asked for; None if labels are too few."""
        arrivals = np.sort(self.known)
        if self.first > len(arrivals) or arrivals[self.first - 1] == NEVER:
            return None
        return int(arrivals[self.first - 1])

    def block_means(self, errors: Floats) -> tuple[float | None, ...]:
        """Return the mean of the errors of each block, None where there is none."""
        means: list[float | None] = []
        ends = [*self.starts[1:].tolist(), len(self)]
        for start, end in zip(self.starts.tolist(), ends, strict=True):
            there = errors[start:end][~np.isnan(errors[start:end])]
            means.append(float(there.mean()) if len(there) else None)
        return tuple(means)

    def find(self, table: Table) -> int | None:
        """Return the first row of a slice of the tape's own table; None if it is another one."""
        mine, given = self.batch.table, table
        if given.schema is not mine.schema or given.levels is not mine.levels:
            return None
        whole: NDArray[Any] = mine.numbers
        part: NDArray[Any] = given.numbers
        if not mine.schema.numeric:
            whole, part = (mine.codes, given.codes)
        if part.strides != whole.strides or not len(part):
            return None
        apart = part.ctypes.data - whole.ctypes.data
        row, rest = divmod(apart, whole.strides[0])
        return row if rest == 0 and 0 <= row <= len(self) - len(part) else None
