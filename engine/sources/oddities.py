"""What is odd about a table: counted column by column, and told when it begins and doubles."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.batch import Bools, Ints, Mark
from engine.sources.blocks import BLOCK
from engine.sources.cells import TEXT_MAX, shorten

TOLD_MAX = 1000
"""A source has at most so many anomalies."""
NOTES_MAX = 20
"""So many columns are told in `run.json`."""
JUMP_ROWS = 100
"""Before so many rows no step of time is called a jump."""

WHATS = {
    "number": "{cell} is not a number: it is missing",
    "infinite": "{cell} is infinite: it is missing",
    "text": f"{{cell}} is too long ({TEXT_MAX:,} characters at most) or binary: it is missing",
    "mixed": "{cell} and {percent} of the values are not numbers: the column is categorical; "
    "name it in columns to have it numeric",
    "empty": f"no value in {BLOCK:,} rows",
    "time": "{cell} is not a time: the record takes that of the row before",
    "back": "{cell} is before a time that has passed: the clock does not go back",
    "jump": "{cell} is further ahead than all times before it are apart",
    "still": "all times are equal: no span of time ever passes",
    "twin": "the label {cell} is another one than {other}",
    "spelled": "the label {cell} is a class of that name: only an empty label is missing",
}
"""All that can be odd, and how it is told."""


@dataclass(slots=True)
class Tally:
    """Counts what is odd in one way in one column.

    Parameters
    ----------
    column
        The column's name.
    kind
        A key of `WHATS`.
    count
        How many cells are odd so far.
    told
        (row, count so far, cell) where the first was seen, then where the count has doubled.
    words
        What else is told of it.

    Examples
    --------
    >>> tally = Tally("x", "infinite")
    >>> tally.add(np.array([False, True, True, True, True]), 100, lambda at: "inf")
    >>> [(row, count) for row, count, _ in tally.told]
    [(101, 1), (102, 2), (104, 4)]
    """

    column: str
    kind: str
    count: int = 0
    told: list[tuple[int, int, str]] = field(default_factory=list)
    words: Mapping[str, str] = field(default_factory=dict)

    def add(self, odd: Bools, row: int, show: Callable[[int], str]) -> None:
        """Count the odd ones among consecutive cells.

        Parameters
        ----------
        odd
            Which are, shape `(n,)`.
        row
            The row of the first cell.
        show
            Shows a cell by its place among these.
        """
        places = np.flatnonzero(odd)
        while (due := 2 * self.told[-1][1] if self.told else 1) <= self.count + len(places):
            place = int(places[due - self.count - 1])
            self.told.append((row + place, due, show(place)))
        self.count += len(places)

    def what(self, cell: str) -> str:
        """Say what is odd about a cell."""
        column = shorten(repr(self.column), 60)
        return f"column {column}: {WHATS[self.kind].format(cell=cell, **self.words)}"

    @property
    def note(self) -> str:
        """All of it in one line."""
        row, _, cell = self.told[0]
        more = f" and {self.count - 1:,} more" if self.count > 1 else ""
        return f"row {row}{more}: {self.what(cell)}"


def once(column: str, kind: str, row: int, cell: str = "", **words: str) -> Tally:
    """Return the tally of something that is told only once.

    Examples
    --------
    >>> once("t", "still", 0).note
    "row 0: column 't': all times are equal: no span of time ever passes"
    """
    return Tally(column, kind, 1, [(row, 1, cell)], words)


def marks_of(tallies: Iterable[Tally]) -> tuple[Mark, ...]:
    """Return the anomalies by row, `TOLD_MAX` at most; their `seq` are rows.

    Examples
    --------
    >>> marks_of([once("t", "still", 0)])[0].details["column"]
    't'
    """
    found = [
        Mark(
            row,
            "anomaly",
            {"what": tally.what(cell), "column": tally.column, "row": row, "so_far": count},
        )
        for tally in tallies
        for row, count, cell in tally.told
    ]
    found.sort(key=lambda mark: mark.seq)
    if len(found) > TOLD_MAX:
        what = f"more is odd: {len(found) - TOLD_MAX + 1:,} further anomalies are not told"
        row = found[TOLD_MAX - 1].seq
        found[TOLD_MAX - 1 :] = [Mark(row, "anomaly", {"what": what, "row": row})]
    return tuple(found)


def notes_of(tallies: Iterable[Tally]) -> tuple[str, ...]:
    """Return a line for each kind of oddity in each column, `NOTES_MAX` at most."""
    ordered = sorted((tally for tally in tallies if tally.told), key=lambda tally: tally.told[0][0])
    notes = [tally.note for tally in ordered[:NOTES_MAX]]
    more = len(ordered) - NOTES_MAX
    return (*notes, f"and {more:,} more") if more > 0 else tuple(notes)


def twins(classes: Sequence[str]) -> dict[str, str]:
    """Return classes that differ from an earlier one only by blanks, case or how a number is put.

    Examples
    --------
    >>> twins(["1", "yes", "1.0", "Yes ", "no"])
    {'1.0': '1', 'Yes ': 'yes'}
    """
    first: dict[str, str] = {}
    found = {}
    for name in classes:
        text = name.strip().lower()
        with contextlib.suppress(ValueError):
            text = repr(float(text))
        other = first.setdefault(text, name)
        if other != name:
            found[name] = other
    return found


class Clock:
    """Follows the event times of a table: which go back, or jump, or never move."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.latest = 0
        self.moved = False

    def follow(self, times: Ints, row: int) -> tuple[Bools, Bools]:
        """Return which of some times go back, and which jump ahead.

        Examples
        --------
        >>> back, jump = Clock().follow(np.array([5, 9, 8, 99]), row=100)
        >>> back.tolist(), jump.tolist()
        ([False, False, True, False], [False, False, False, True])
        """
        if self.first is None:
            self.first = self.latest = int(times[0])
        before = np.maximum.accumulate(np.concatenate(([self.latest], times)))
        span, step = before[:-1] - self.first, times - before[:-1]
        late = row + np.arange(len(times)) >= JUMP_ROWS
        self.latest = int(before[-1])
        self.moved |= bool((times != self.first).any())
        return step < 0, (step > span) & (span > 0) & late
