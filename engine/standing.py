"""How the champion has done so far: the bounded figures that policies see."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from engine.batch import Floats, Ints
from engine.ledger import NEVER
from engine.settings import RECENT_MAX

BLOCKS_MAX = 256
"""How many block losses are remembered."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The champion's known errors, in the order in which they became known.

    Parameters
    ----------
    known
        How many there were.
    recent
        The newest, oldest first, at most `RECENT_MAX`.
    reference
        The first, at most `RECENT_MAX`.
    blocks
        Mean error of successive full blocks, newest last, at most `BLOCKS_MAX`.
    tail
        The errors of the block that is not full yet.
    """

    known: int = 0
    recent: Floats = field(default_factory=lambda: np.empty(0))
    reference: Floats = field(default_factory=lambda: np.empty(0))
    blocks: tuple[float, ...] = ()
    tail: Floats = field(default_factory=lambda: np.empty(0))


class Outlook:
    """A standing and the errors that become known within a segment of the stream.

    Lets the standing be asked for at any arrival of the segment without copying it each time.

    Parameters
    ----------
    standing
        The figures before the segment.
    arrivals, errors
        The champion's errors within the segment, in the order in which they become known, and
        the arrivals at which they do; shape `(m,)`.
    block
        Errors to a block.

    Examples
    --------
    >>> outlook = Outlook(Standing(), np.array([4, 5]), np.array([0.0, 1.0]), block=2)
    >>> outlook.at(4).known, outlook.at(5).blocks
    (1, (0.5,))
    """

    def __init__(self, standing: Standing, arrivals: Ints, errors: Floats, block: int) -> None:
        self.base = standing
        self.arrivals = arrivals
        self.block = block
        self.recent = np.concatenate([standing.recent, errors])
        room = max(0, RECENT_MAX - len(standing.reference))
        self.reference = np.concatenate([standing.reference, errors[:room]])
        self.series = np.concatenate([standing.tail, errors])
        full = len(self.series) // block
        blocks = self.series[: full * block].reshape(full, block)
        self.means = tuple(blocks.mean(axis=1).tolist())

    def at(self, arrival: int) -> Standing:
        """Return the standing once everything known by `arrival` has been seen."""
        new = int(np.searchsorted(self.arrivals, arrival, side="right"))
        end = len(self.base.recent) + new
        seen = len(self.base.tail) + new
        full = seen // self.block
        return Standing(
            self.base.known + new,
            self.recent[max(0, end - RECENT_MAX) : end],
            self.reference[: len(self.base.reference) + new],
            (self.base.blocks + self.means[:full])[-BLOCKS_MAX:],
            self.series[full * self.block : seen],
        )

    def error(self, new: int, newest: int) -> float:
        """Return the mean of the `newest` errors once `new` of the segment are known, or NaN.

        Examples
        --------
        >>> Outlook(Standing(), np.array([4, 5, 6]), np.array([0.0, 1.0, 1.0]), 100).error(2, 500)
        0.5
        """
        end = len(self.base.recent) + new
        errors = self.recent[max(0, end - newest) : end]
        return float(np.add.reduce(errors)) / len(errors) if len(errors) else math.nan

    def arrival_of(self, known: int) -> int:
        """Return the arrival at which the number of known errors reaches `known`.

        That is -1 if it did before the segment, and beyond all arrivals if it does after it.
        """
        index = known - self.base.known - 1
        if index < 0:
            return -1
        return int(self.arrivals[index]) if index < len(self.arrivals) else NEVER
