"""The labelled past that training jobs are cut from.

Memory is bounded by the window and by the labels that are still to come.

Rows enter with their labels, but a row counts only from the moment its label is known. Holding
a label early is safe because nothing but `window`, `unseen` and `since` reads it, and they ask for
the moment first. Features are known on arrival; `arrived` hands those out without the labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.batch import FOREVER, Batch, Bools, Ints, Labels, Table, concat_tables

RECENT_ROWS = 500
"""Rows that stay available from their arrival on, labelled or not, to be looked at."""
SLACK_ROWS = 4096
"""Rows that may pile up beyond the window before old ones are let go (no outcome depends on it)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An arrival: its sequence number and the time then (running maximum, microseconds)."""

    seq: int
    now: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Which rows a model is fitted on: those whose labels were known when it was asked for.

    Parameters
    ----------
    asked
        The arrival at which it was asked for.
    first, end
        Sequence numbers of the first row, and of the first one after the last.
    """

    asked: Moment
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the past in stream order, with the moments their labels become known."""

    seqs: Ints
    table: Table
    labels: Labels
    due_seqs: Ints
    due_times: Ints

    def __len__(self) -> int:
        return len(self.seqs)

    def __getitem__(self, rows: slice | Bools) -> Rows:
        return Rows(
            self.seqs[rows],
            self.table[rows],
            self.labels[rows],
            self.due_seqs[rows],
            self.due_times[rows],
        )

    def known_at(self, moment: Moment) -> Bools:
        """Return which labels are known at `moment`, shape `(n,)`."""
        return (self.due_seqs <= moment.seq) & (self.due_times <= moment.now)

    def fitted(self, extent: Extent) -> Bools:
        """Return which rows a model of that extent is fitted on."""
        inside = (self.seqs >= extent.first) & (self.seqs < extent.end)
        return inside & self.known_at(extent.asked)

    def unseen(self, extent: Extent) -> Bools:
        """Return which rows come after that extent, or got their label since (if they have one)."""
        fresh = ~self.known_at(extent.asked) | (self.seqs >= extent.end)
        return fresh & (self.due_seqs < FOREVER)


@dataclass(slots=True)
class History:
    """The newest rows of a stream.

    Parameters
    ----------
    keep
        How many known rows must stay available.

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> past = History(keep=2)
    >>> batch = plain_batch({"x": [1.0, 2.0, 3.0]}, ["a", "b", "c"], late_records=1)
    >>> past.add(batch, batch.times)
    >>> past.window(Moment(2, 2_000_000), 5).labels.tolist()
    ['a', 'b']
    """

    keep: int
    chunks: list[Rows] = field(default_factory=list)
    held: int = 0
    limit: int = 0

    def add(self, batch: Batch, now: Ints) -> None:
        """Append a settled batch; `now` is the running maximum of its event times, shape `(n,)`."""
        seqs = np.arange(batch.first, batch.end, dtype=np.int64)
        due_seqs, due_times = seqs + batch.late_records, now + batch.late_micros
        self.chunks.append(Rows(seqs, batch.table, batch.labels, due_seqs, due_times))
        self.held += len(batch)

    def trim(self, moment: Moment, pending: Extent | None = None) -> None:
        """Let rows go that nobody can ask for any more.

        What a window can reach stays, and the newest `RECENT_ROWS` that have arrived; and so do
        rows whose labels are to come, and what the challenger `pending` has not seen. Where these
        are most of a chunk, it stays whole: to copy it would cost more than it brings.
        """
        if self.held <= max(self.limit, self.keep + SLACK_ROWS):
            return
        pending = pending or Extent(moment, 0, moment.seq + 1)
        kept, lacking = [], self.keep
        for rows in reversed(self.chunks):
            reachable = np.flatnonzero(rows.known_at(moment))
            start = len(rows) if lacking <= 0 else 0
            if 0 < lacking <= len(reachable):
                start = int(reachable[-lacking])
            start = min(start, int(np.searchsorted(rows.seqs, moment.seq + 1 - RECENT_ROWS)))
            stays = rows.unseen(pending)
            stays[start:] = True
            lacking -= len(reachable)
            if (count := int(np.count_nonzero(stays))) > len(rows) // 2:
                kept.append(rows)
            elif count:
                kept.append(rows[stays])
        self.chunks = kept[::-1]
        self.held = sum(map(len, kept))
        self.limit = self.held + self.keep + SLACK_ROWS

    def window(self, moment: Moment, size: int) -> Rows:
        """Return the newest `size` rows whose labels are known at `moment`."""
        rows = self._all()
        return rows[_newest(rows.known_at(moment), size)]

    def unseen(self, challenger: Extent, until: Moment, champion: Extent | None = None) -> Rows:
        """Return the rows known at `until` that neither of two models has seen.

        Parameters
        ----------
        challenger
            What the newer model is fitted on: what was withheld from it, and labels that became
            known since, count as unseen.
        until
            When they are compared.
        champion
            What the other is fitted on; None if that is not known.
        """
        rows = self._all()
        wanted = rows.known_at(until) & rows.unseen(challenger)
        if champion is not None:
            wanted &= ~rows.fitted(champion)
        return rows[wanted]

    def since(self, first: int, until: Moment) -> Rows:
        """Return the rows from record `first` on whose labels are known at `until`."""
        rows = self._all()
        return rows[(rows.seqs >= first) & rows.known_at(until)]

    def arrived(self, seq: int) -> Table:
        """Return the features of the newest `RECENT_ROWS` records that have arrived by `seq`.

        Parameters
        ----------
        seq
            The newest arrival to be returned, no older than the last `trim`.
        """
        tables: list[Table] = []
        lacking = RECENT_ROWS
        for rows in reversed(self.chunks):
            end = int(np.searchsorted(rows.seqs, seq, side="right"))
            start = max(0, end - lacking)
            if start < end or rows is self.chunks[0]:
                tables.append(rows.table[start:end])
            lacking -= end - start
            if not lacking:
                break
        return concat_tables(tables[::-1])

    def _all(self) -> Rows:
        """Return all rows held, as one chunk from now on."""
        if len(self.chunks) > 1:
            self.chunks = [
                Rows(
                    np.concatenate([chunk.seqs for chunk in self.chunks]),
                    concat_tables([chunk.table for chunk in self.chunks]),
                    np.concatenate([chunk.labels for chunk in self.chunks]),
                    np.concatenate([chunk.due_seqs for chunk in self.chunks]),
                    np.concatenate([chunk.due_times for chunk in self.chunks]),
                )
            ]
        return self.chunks[0]


def _newest(mask: Bools, size: int) -> Bools:
    """Keep the last `size` true entries of `mask`."""
    kept = np.zeros(len(mask), dtype=bool)
    kept[np.flatnonzero(mask)[-size:]] = True
    return kept
