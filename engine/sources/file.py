"""Records from a table on disk: CSV, gzipped CSV or Parquet, read in columns, never as a whole."""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine.batch import Ints, Labels, Mark, Schema, Table, Task
from engine.errors import InputError
from engine.sources.blocks import BLOCK, Block, made_times
from engine.sources.cells import Cells
from engine.sources.scans import Findings, Kind, Scan, filled
from engine.sources.tables import DiskTable, cut


class FileSource:
    """A source that reads a table, the same blocks from wherever one starts.

    What its columns are is found out by a `Scan` of the whole file. Cells of a CSV are taken as
    they stand: the label ``1.0`` is not the label ``1``. Starting at a late block of a CSV still
    reads what is before it; Parquet skips row groups. The file must not change while it is in use.

    Parameters
    ----------
    path
        The file, ending in ``.csv``, ``.csv.gz`` or ``.parquet``.
    label
        Name of the label column.
    task
        Whether labels are classes (texts as they stand) or numbers.
    ignore
        Columns to leave out.
    time
        Column with event times: ISO 8601 texts, timestamps, or seconds since 1970. None: made.
    start, interval
        Made times: the first, and the distance of two, in microseconds.
    columns
        Kinds of columns that are not to be found out.
    limit
        Use at most this many rows.
    shown
        The path as the user wrote it, for messages and `facts`; by default `path`.
    resolve
        Turns the path of a `variant`, as written, into one that can be opened.

    Raises
    ------
    InputError
        If the file cannot be read, or does not have the columns that were named.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "t.csv")
    ...     _ = path.write_text("x,colour,y\\n1,red,a\\n?,blue,b\\n")
    ...     source = FileSource(path, label="y")
    ...     block = next(source.blocks())
    >>> source.schema.numeric, source.schema.categorical, block.labels.tolist()
    (('x',), ('colour',), ['a', 'b'])
    """

    def __init__(
        self,
        path: Path,
        *,
        label: str,
        task: Task = "classification",
        ignore: Sequence[str] = (),
        time: str | None = None,
        start: int = 0,
        interval: Fraction = Fraction(1_000_000),
        columns: Mapping[str, Kind] | None = None,
        limit: int | None = None,
        shown: str = "",
        resolve: Callable[[str], Path] = Path,
    ) -> None:
        self.path, self.label, self.task, self.time = path, label, task, time
        self.ignore, self.columns, self.limit = tuple(ignore), dict(columns or {}), limit
        self.start, self.interval, self.resolve = start, interval, resolve
        self.shown = shown or str(path)
        self.disk = DiskTable(path, self.shown)
        names = self.disk.names
        self._check_names(names)
        self._variants: dict[str, FileSource] = {}
        taken = {label, time, *ignore}
        self.features = tuple(name for name in names if name not in taken)
        if not self.features:
            raise InputError("no feature columns are left: there is only what you name", self.shown)

    @property
    def schema(self) -> Schema:
        """The columns, numeric ones first, each kind in the order of the file."""
        kinds = self.findings.kinds
        return Schema(
            tuple(name for name in self.features if kinds[name] == "numeric"),
            tuple(name for name in self.features if kinds[name] == "categorical"),
            self.task,
        )

    @property
    def rows(self) -> int:
        """Rows in the file, or `limit` if that is less."""
        return self.findings.rows if self.limit is None else min(self.findings.rows, self.limit)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The path as written, the SHA-256 of the file, the rows used, and what is odd about it."""
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {"path": self.shown, "sha256": self.sha256, "rows": self.rows, **notes}

    @property
    def oddities(self) -> tuple[Mark, ...]:
        """The anomalies of the rows used."""
        return tuple(mark for mark in self.findings.oddities if mark.seq < self.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """The same for the whole file, in a few lines."""
        return self.findings.notes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes."""
        return self.disk.sha256()

    @cached_property
    def findings(self) -> Findings:
        """What one pass over the whole file finds."""
        scan = Scan(self.features, self.columns, self.label, self.task, self.time, self.shown)
        for cells in self._cells(0):
            scan.see(cells)
        return scan.findings()

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes in the file; None if they are not known."""
        return self.findings.classes

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the blocks from number `start` on."""
        schema, rows = self.schema, self.rows
        for cells in self._cells(start * BLOCK, rows):
            numbers = np.empty((len(cells), len(schema.numeric)), order="F")
            for at, name in enumerate(schema.numeric):
                numbers[:, at] = cells.numbers(name)
            codes = np.empty((len(cells), len(schema.categorical)), dtype=np.int32, order="F")
            levels = []
            for at, name in enumerate(schema.categorical):
                codes[:, at], texts = cells.codes(name)
                levels.append(texts)
            table = Table(schema, numbers, codes, tuple(levels))
            yield Block(cells.row, self._times(cells), table, self._labels(cells))

    def variant(self, changes: Mapping[str, Any]) -> FileSource:
        """Return the same settings over another file: ``{"path": ...}``.

        Raises
        ------
        InputError
            If anything else is to change, or the file does not have the same columns.
        """
        path = changes.get("path")
        if set(changes) != {"path"} or not isinstance(path, str):
            raise InputError(f"a file can change its path only ({{path: FILE}}), not {changes}")
        if path in self._variants:
            return self._variants[path]
        other = FileSource(
            self.resolve(path),
            label=self.label,
            task=self.task,
            ignore=self.ignore,
            time=self.time,
            start=self.start,
            interval=self.interval,
            columns={**self.columns, **self.findings.kinds},
            limit=self.limit,
            shown=path,
            resolve=self.resolve,
        )
        if other.schema != self.schema:
            odd = sorted(set(other.features) - set(self.features))
            what = f"it has {listed(odd)} too" if odd else "their order differs"
            raise InputError(f"must have the same columns as {self.shown}, but {what}", path)
        self._variants[path] = other
        return other

    def pool(self, named: Sequence[str], others: bool) -> None:
        """Make no records: a file has those only that it has."""

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise InputError(f"has columns of one name, {listed(twice)}: rename them", self.shown)
        asked: list[tuple[tuple[str | int, ...], str]] = [(("label",), self.label)]
        asked += [(("ignore", at), name) for at, name in enumerate(self.ignore)]
        asked += [(("time",), self.time)] if self.time is not None else []
        asked += [(("columns", name), name) for name in self.columns]
        for setting, name in asked:
            if name in names:
                continue
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
                hint = "; separate columns by commas"
            message = f"{setting[0]}: there is no column {name!r}, only {listed(names)}{hint}"
            raise InputError(message, self.shown, setting)
        if self.label == self.time or self.label in self.ignore:
            message = f"the label {self.label!r} cannot be time or ignored too"
            raise InputError(message, self.shown, ("label",))

    def _cells(self, start: int, stop: int = sys.maxsize) -> Iterator[Cells]:
        """Yield blocks of cells from row `start` to before row `stop`."""
        names = [*self.features, self.label, *([self.time] if self.time else [])]
        pieces = self.disk.pieces(names, start)
        return (Cells(piece, row, self.shown) for row, piece in cut(pieces, start, stop))

    def _labels(self, cells: Cells) -> Labels:
        if self.task == "regression":
            return cells.numbers(self.label)
        texts: Labels = cells.texts(self.label).to_numpy(zero_copy_only=False)
        return texts.astype(object)

    def _times(self, cells: Cells) -> Ints:
        if self.time is None:
            return made_times(cells.row, len(cells), self.start, self.interval)
        carried = (self.findings.times or {}).get(cells.row // BLOCK, 0)
        return filled(cells.times(self.time), carried)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names as an enumeration, the first `most` of them.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
