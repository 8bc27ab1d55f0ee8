"""The protocol of a source: fixed blocks of rows, restartable from any block.

A source knows nothing of batches, scripts or label delays. Its blocks lie at fixed places, so
whatever is computed block by block (a script's randomness, a resampling) cannot depend on how
the stream is later cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from engine.batch import Ints, Labels, Mark, Schema, Table

BLOCK = 1024
"""Rows in a block; the last one of a source may have fewer."""
POOL_ROWS = 4 * BLOCK
"""Records of each label in a pool to draw from."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows `row .. row + n - 1` of a source, as it gives them, before any script.

    Parameters
    ----------
    row
        Number of the first row, a multiple of `BLOCK`.
    times
        Event times in microseconds since 1970, shape `(n,)`.
    table
        The features.
    labels
        The truth, see `engine.batch.Labels`.
    """

    row: int
    times: Ints
    table: Table
    labels: Labels

    def __len__(self) -> int:
        return len(self.times)


class Source(Protocol):
    """Rows in order, the same ones each time."""

    @property
    def schema(self) -> Schema:
        """The columns; the same for all blocks."""
        ...

    @property
    def rows(self) -> int:
        """How many rows there are."""
        ...

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that labels can be, for checks of scripts; None if they are not known."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `run.json` should know of the source: checksums, quality scores; JSON-ready."""
        ...

    @property
    def oddities(self) -> Sequence[Mark]:
        """What is odd about its rows, in order; the marks' `seq` are rows."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is odd about its data, a line each."""
        ...

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the blocks from number `start` on (that is, from row `start * BLOCK` on)."""
        ...

    def variant(self, changes: Mapping[str, Any]) -> Source:
        """Return this source with `changes` made to it, of the same schema.

        Raises
        ------
        InputError
            If the changes do not fit this kind of source.
        """
        ...

    def pool(self, named: Sequence[str], others: bool) -> tuple[Table, Labels] | None:
        """Return records made to be drawn from, with their labels; None if none can be made.

        None of them depends on a row of the source.

        Parameters
        ----------
        named
            Labels to have up to `POOL_ROWS` records of each; some may not come up.
        others
            Whether to have as many with other labels too, in the mix of the source.
        """
        ...


def made_times(first: int, rows: int, start: int, interval: Fraction) -> Ints:
    """Return the times of rows `first .. first + rows - 1`, one each `interval` microseconds.

    Examples
    --------
    >>> made_times(2, 3, start=100, interval=Fraction(5, 2)).tolist()
    [105, 107, 110]
    """
    numbers = np.arange(first, first + rows, dtype=np.int64)
    times: Ints = start + numbers * interval.numerator // interval.denominator
    return times
