"""Where a prior drift takes its records from, so that no label shows before it is known.

A source that can make records makes a pool of them. Of any other, the stream's own past is the
pool: a record may be drawn again by those that arrive after its label became known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.batch import Bools, Floats, Ints, Labels, Table, known
from engine.sources.blocks import BLOCK
from scenarios.pieces import Piece, joined

NEWEST = 1024
"""So many known records of each label are kept to draw from."""


@dataclass(frozen=True, slots=True)
class Donors:
    """Labelled records to draw from, in the order in which they may be.

    Parameters
    ----------
    table, labels
        The records.
    usable
        How many of them, from the front, each row of a block may draw from, shape `(BLOCK,)`.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> donors = everywhere(table_of({"x": [1.0, 2.0]}), np.array(["a", "b"], dtype=object))
    >>> donors.pick(np.array([0, 7]), donors.labels == "b", np.array([0.3, 0.9])).tolist()
    [1, 1]
    >>> donors.pick(np.array([0]), donors.labels == "c", np.array([0.3])).tolist()
    [-1]
    """

    table: Table
    labels: Labels
    usable: Ints

    def pick(self, places: Ints, group: Bools, drawn: Floats) -> Ints:
        """Return a record of a group for each of some rows, -1 where there is none yet.

        Parameters
        ----------
        places
            Places of the rows in the block, shape `(n,)`.
        group
            Which records may be picked, each with equal chance.
        drawn
            A number in [0, 1) for each row, shape `(n,)`.
        """
        members = np.flatnonzero(group)
        choices = np.searchsorted(members, self.usable[places])
        picked = np.full(len(places), -1, dtype=np.int64)
        some = choices > 0
        picked[some] = members[(drawn[some] * choices[some]).astype(np.int64)]
        return picked


def everywhere(table: Table, labels: Labels) -> Donors:
    """Return records that every row may draw from."""
    return Donors(table, labels, np.full(BLOCK, len(labels), dtype=np.int64))


class Past:
    """The newest known records of a stream, block by block.

    What is usable at a block does not depend on where one begins: every walk begins at the start.

    Parameters
    ----------
    walk
        Begins a walk over the stream as it arrives, without its drifts: yields the records that
        arrive with each block, in order of arrival.
    named
        Labels to keep apart; all others are one group.
    """

    def __init__(self, walk: Callable[[], Iterator[Piece]], named: Sequence[str]) -> None:
        self._walk, self._named = walk, tuple(named)
        self._restart()

    def at(self, number: int) -> Donors:
        """Return what the rows of block `number` may draw from."""
        if number < self._next:
            self._restart()
        while self._next <= number:
            donors = self._step(next(self._pieces))
        return donors

    def _restart(self) -> None:
        self._pieces, self._next = self._walk(), 0
        self._seq, self._now = 0, np.iinfo(np.int64).min
        self._held: _Held | None = None

    def _step(self, piece: Piece) -> Donors:
        """Take in what arrives with the next block."""
        end = self._seq + len(piece)
        now = np.maximum.accumulate(np.maximum(piece.times, self._now))
        seqs = np.arange(self._seq, end)
        fresh = _Held(piece, seqs + piece.late_records, now + piece.late_micros)
        held = fresh if self._held is None else self._held.joined(fresh)
        held = held[known(held.piece.labels)]
        by_time = self._seq + np.searchsorted(now, held.due_times)
        due = held.due_times > self._now  # others waited for an arrival only
        known_at = np.where(due, np.maximum(held.due_seqs, by_time), held.due_seqs)
        order = np.argsort(known_at, kind="stable")
        held, known_at = held[order], known_at[order]
        first = np.full(BLOCK, end, dtype=np.int64)  # rows that arrive later see all of it
        places = piece.rows - self._next * BLOCK
        mine = places >= 0  # the others were carried over from the block before
        np.minimum.at(first, places[mine], seqs[mine])
        # A row that a fault holds back or drops may show sooner, as a value that is stuck.
        first = np.minimum.accumulate(first[::-1])[::-1]
        donors = Donors(held.piece.table, held.piece.labels, np.searchsorted(known_at, first))
        self._held = held[self._kept(held.piece.labels, int(np.searchsorted(known_at, end)))]
        self._seq, self._next = end, self._next + 1
        self._now = int(now[-1]) if len(now) else self._now
        return donors

    def _kept(self, labels: Labels, done: int) -> Bools:
        """Return what to keep: the newest known of each group, and all that are not known yet."""
        kept = np.arange(len(labels)) >= done
        for group in groups(labels[:done], self._named):
            kept[np.flatnonzero(group)[-NEWEST:]] = True
        return kept


def groups(labels: Labels, named: Sequence[str]) -> Iterator[Bools]:
    """Yield which labels are the first of `named`, the second, ..., and at last none of them.

    Examples
    --------
    >>> [group.tolist() for group in groups(np.array(["a", "b"], dtype=object), ["b"])]
    [[False, True], [True, False]]
    """
    others = np.ones(len(labels), dtype=bool)
    for name in named:
        group = labels == name
        others &= ~group
        yield group
    yield others


@dataclass(frozen=True, slots=True)
class _Held:
    """Records with the arrival and the time that their labels wait for."""

    piece: Piece
    due_seqs: Ints
    due_times: Ints

    def __getitem__(self, picked: Ints | Bools) -> _Held:
        return _Held(self.piece[picked], self.due_seqs[picked], self.due_times[picked])

    def joined(self, other: _Held) -> _Held:
        return _Held(
            joined(self.piece, other.piece),
            np.concatenate([self.due_seqs, other.due_seqs]),
            np.concatenate([self.due_times, other.due_times]),
        )
