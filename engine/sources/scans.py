"""One pass over a whole table before it is used: what its columns are, and what is odd about them.

It decides what all later readings rely on: kinds of columns must not depend on where one begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.batch import Bools, Ints, Mark, Task
from engine.errors import InputError
from engine.sources.blocks import BLOCK
from engine.sources.cells import ABSENT, Cells, Times
from engine.sources.oddities import Clock, Tally, marks_of, notes_of, once, twins

Kind = Literal["numeric", "categorical"]
CLASSES_MAX = 1000
"""More different labels than this are not listed."""
ODD_SHARE = 0.01
"""A column is numeric if at most this share of its values are not numbers."""
ODD_SHARE_NAMED = 0.5
"""A column that the scenario needs as numbers or times may have this share of others."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one pass over a table finds.

    Parameters
    ----------
    rows
        How many rows it has.
    kinds
        What its features are.
    classes
        Its classes; None for regression, and for more than `CLASSES_MAX` of them.
    oddities
        Its anomalies by row; their `seq` are rows.
    notes
        The same in a few lines.
    times
        For blocks that begin with a row without a time: the time that it takes.
    """

    rows: int
    kinds: Mapping[str, Kind]
    classes: tuple[str, ...] | None
    oddities: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
    times: Mapping[int, int] | None = None


@dataclass(slots=True)
class Shares:
    """How many values of a column are there, and how many of them are odd."""

    there: int = 0
    odd: int = 0


class Scan:
    """Sees the blocks of a table in order, then says what was found.

    Parameters
    ----------
    features
        The columns that are features.
    columns
        Kinds of features that are not to be found out.
    label, task
        The label column and what it holds.
    time
        The column with event times, if there is one.
    shown
        The file's name, for messages.
    """

    def __init__(
        self,
        features: Sequence[str],
        columns: Mapping[str, Kind],
        label: str,
        task: Task,
        time: str | None,
        shown: str,
    ) -> None:
        self.features, self.columns, self.shown = features, columns, shown
        self.label, self.task, self.time = label, task, time
        self.rows = 0
        self._shares = {name: Shares() for name in (*features, label, *([time] if time else []))}
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._classes: dict[str, int] = {}
        self._clock = Clock()
        self._times: dict[int, int | None] = {}
        self._last: int | None = None

    def see(self, cells: Cells) -> None:
        """Take in the next block, `BLOCK` rows but for the last one."""
        self.rows = cells.row + len(cells)
        for name in self.features:
            kind = self.columns.get(name)
            empty = kind != "categorical" and self._numbers(name, cells)
            if kind == "categorical" or (kind is None and self._shares[name].odd):
                empty = self._texts(name, cells)
            self._empty(name, cells, empty)
        if self.task == "regression":
            self._empty(self.label, cells, self._numbers(self.label, cells))
        else:
            self._empty(self.label, cells, self._labels(cells))
        if self.time is not None:
            self._follow(cells, self.time)

    def findings(self) -> Findings:
        """Return what was found.

        Raises
        ------
        InputError
            If there is no row, or a column is not what the scenario needs it to be.
        """
        if self.rows == 0:
            raise InputError("holds no records, only a header: give it at least one", self.shown)
        for name, kind in self.columns.items():
            if kind == "numeric" and name in self._shares:
                self._demand(name, "number", ("columns", name))
        if self.task == "regression":
            self._demand(self.label, "number", ("label",))
        if self.time is not None:
            self._demand(self.time, "time", ("time",))
        kinds = {name: self.columns.get(name) or self._kind(name) for name in self.features}
        named = 0 < len(self._classes) <= CLASSES_MAX
        tallies = self._told(kinds)
        first = self._clock.first or 0
        return Findings(
            self.rows,
            kinds,
            tuple(sorted(self._classes)) if named else None,
            marks_of(tallies),
            notes_of(tallies),
            {number: first if time is None else time for number, time in self._times.items()},
        )

    # --- columns ----------------------------------------------------------------------------

    def _numbers(self, name: str, cells: Cells) -> bool:
        found, shares = cells.as_numbers(name), self._shares[name]
        shares.there += found.there
        shares.odd += int(np.count_nonzero(found.odd))
        self._tally(name, "number", found.odd, cells)
        self._tally(name, "infinite", found.infinite, cells)
        return found.there == 0

    def _texts(self, name: str, cells: Cells) -> bool:
        found = cells.as_texts(name)
        self._tally(name, "text", found.odd, cells)
        return len(found.values) == found.values.null_count and not found.odd.any()

    def _labels(self, cells: Cells) -> bool:
        empty = self._texts(self.label, cells)
        codes, levels = cells.codes(self.label)
        for code, level in enumerate(levels):
            if len(self._classes) <= CLASSES_MAX and level not in self._classes:
                self._classes[level] = cells.row + int(np.argmax(codes == code))
        return empty

    def _empty(self, name: str, cells: Cells, empty: bool) -> None:
        if empty and len(cells) == BLOCK:
            self._tally(name, "empty", np.arange(BLOCK) == 0, cells)

    def _tally(self, name: str, kind: str, odd: Bools, cells: Cells) -> None:
        if odd.any():
            tally = self._tallies.setdefault((name, kind), Tally(name, kind))
            tally.add(odd, cells.row, lambda at: cells.show(name, at))

    def _kind(self, name: str) -> Kind:
        shares = self._shares[name]
        return "numeric" if shares.odd <= ODD_SHARE * shares.there else "categorical"

    # --- times ------------------------------------------------------------------------------

    def _follow(self, cells: Cells, name: str) -> None:
        times, shares = cells.times(name), self._shares[name]
        shares.there += len(cells)
        shares.odd += int(np.count_nonzero(times.odd))
        self._tally(name, "time", times.odd, cells)
        if times.odd[0]:
            self._times[cells.row // BLOCK] = self._last
        if times.odd.all():
            return
        known = np.flatnonzero(~times.odd)
        whole = filled(times, self._last if self._last is not None else int(times.values[known[0]]))
        self._last = int(whole[-1])
        back, jump = self._clock.follow(whole, cells.row)
        self._tally(name, "back", back & ~times.odd, cells)
        self._tally(name, "jump", jump & ~times.odd, cells)

    # --- the end ----------------------------------------------------------------------------

    def _demand(self, name: str, kind: str, key: tuple[str, ...]) -> None:
        """Refuse a column that does not hold what the scenario says."""
        shares = self._shares[name]
        if shares.odd <= ODD_SHARE_NAMED * shares.there:
            return
        row, _, cell = self._tallies[name, kind].told[0]
        fix = "use ISO 8601, or seconds since 1970" if kind == "time" else "correct them"
        others = f"{shares.odd:,} of {shares.there:,} values are none"
        message = f"{cell} is not a {kind}, and {others}: {fix}"
        if key[0] == "columns":
            message += ", or make the column categorical"
        where = f"row {row} (the first is row 0), column {name!r}"
        raise InputError(f"{where}: {message}", self.shown, key)

    def _told(self, kinds: Mapping[str, Kind]) -> list[Tally]:
        """Return the tallies that count, now that it is known which column is what."""
        told = []
        for (name, kind), tally in self._tallies.items():
            categorical = kinds.get(name) == "categorical"
            if kind in ("number", "infinite") and categorical:
                told += self._mixed(name, tally)
            elif kind != "text" or categorical or name == self.label:
                told.append(tally)
        if self.time is not None and self.rows > 1 and not self._clock.moved:
            told.append(once(self.time, "still", 0))
        if len(self._classes) <= CLASSES_MAX:
            others = twins(list(self._classes))
            for name, row in self._classes.items():
                if name in others:
                    twin = once(self.label, "twin", row, repr(name), other=repr(others[name]))
                    told.append(twin)
                if name.strip().lower() in ABSENT:
                    told.append(once(self.label, "spelled", row, repr(name)))
        return told

    def _mixed(self, name: str, tally: Tally) -> list[Tally]:
        """Tell of a column that is categorical although most of its values are numbers."""
        shares = self._shares[name]
        share = shares.odd / shares.there if shares.there else 1.0
        if tally.kind != "number" or name in self.columns or share > ODD_SHARE_NAMED:
            return []
        row, _, cell = tally.told[0]
        return [once(name, "mixed", row, cell, percent=f"{share:.1%}")]


def filled(times: Times, before: int) -> Ints:
    """Return times, each odd one being the one before it; `before` comes before the first.

    Examples
    --------
    >>> odd = np.array([True, False, True])
    >>> filled(Times(np.array([0, 7, 0]), odd), before=5).tolist()
    [5, 7, 7]
    """
    places = np.maximum.accumulate(np.where(times.odd, -1, np.arange(len(times.odd))))
    whole: Ints = np.where(places < 0, before, times.values[places])
    return whole
