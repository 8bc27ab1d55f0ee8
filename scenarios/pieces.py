"""Records on their way from a source's block to their arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.batch import Bools, Ints, Labels, Table, concat_tables
from engine.quantities import records_and_micros
from engine.sources.blocks import Block


@dataclass(frozen=True, slots=True)
class Piece:
    """Records made from the rows of one block, in the order of rows.

    Parameters
    ----------
    rows
        The source row that each record comes from, shape `(n,)`.
    times
        Event times in microseconds since 1970, shape `(n,)`.
    table
        The features.
    labels
        The truth, see `engine.batch.Labels`.
    late_records, late_micros
        How late each label is, in arrivals and in microseconds, shape `(n,)`.
    places
        How many source rows later than its own a record arrives, shape `(n,)`.
    """

    rows: Ints
    times: Ints
    table: Table
    labels: Labels
    late_records: Ints
    late_micros: Ints
    places: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, picked: slice | Ints | Bools) -> Piece:
        return Piece(*(getattr(self, column)[picked] for column in self.__slots__))


def piece_of(block: Block, delay: int | str = 0) -> Piece:
    """Return a block's rows as records whose labels all take `delay` (records or a duration).

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> b = plain_batch({"x": [1.0, 2.0]}, ["a", "b"])
    >>> piece_of(Block(1024, b.times, b.table, b.labels), delay=48).rows.tolist()
    [1024, 1025]
    """
    records, micros = records_and_micros(delay)
    rows = np.arange(block.row, block.row + len(block), dtype=np.int64)
    return Piece(
        rows,
        block.times,
        block.table,
        block.labels,
        np.full(len(rows), records, dtype=np.int64),
        np.full(len(rows), micros, dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64),
    )


def joined(a: Piece, b: Piece) -> Piece:
    """Return the records of two pieces, one after the other."""
    return Piece(
        np.concatenate([a.rows, b.rows]),
        np.concatenate([a.times, b.times]),
        concat_tables([a.table, b.table]),
        np.concatenate([a.labels, b.labels]),
        np.concatenate([a.late_records, b.late_records]),
        np.concatenate([a.late_micros, b.late_micros]),
        np.concatenate([a.places, b.places]),
    )
