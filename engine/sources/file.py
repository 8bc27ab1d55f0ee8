"""Records from a table on disk: CSV, gzipped CSV or Parquet, read in columns, never as a whole."""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from engine.batch import Ints, Labels, Schema, Table, Task, known
from engine.errors import InputError
from engine.sources.blocks import BLOCK, Block, made_times
from engine.sources.cells import Cells, shorten

Kind = Literal["numeric", "categorical"]
SUFFIXES = (".csv", ".csv.gz", ".parquet")
CLASSES_MAX = 1000
"""More different labels than this are not listed."""
CSV_CHUNK_BYTES = 1 << 22
PARQUET_CHUNK_ROWS = 16 * BLOCK
UNREADABLE = (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)


@dataclass(frozen=True, slots=True)
class Findings:
    """What one pass over the file finds: its rows, what its features are, and its classes.

    `classes` is None for regression, and for more than `CLASSES_MAX` of them.
    """

    rows: int
    kinds: Mapping[str, Kind]
    classes: tuple[str, ...] | None


class FileSource:
    """A source that reads a table, the same blocks from wherever one starts.

    A feature is numeric if every value of it that is not missing is a number; all others are
    categorical. Cells of a CSV are taken as they stand: the label ``1.0`` is not the label ``1``.
    Starting at a late block of a CSV still reads what is before it; Parquet skips row groups.

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
        names = read_header(path, self.shown)
        self._check_names(names)
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
        """The path as written, the SHA-256 of the file's bytes and the number of rows used."""
        return {"path": self.shown, "sha256": self.sha256, "rows": self.rows}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @cached_property
    def findings(self) -> Findings:
        """What one pass over the whole file finds; it also proves that all cells can be used."""
        undecided = [name for name in self.features if name not in self.columns]
        kinds: dict[str, Kind] = {name: self.columns.get(name, "numeric") for name in self.features}
        rows, classes = 0, set[str]()
        for row, piece in self._pieces(0):
            cells = Cells(piece, row, self.shown)
            for name in [name for name in undecided if kinds[name] == "numeric"]:
                if not cells.is_numeric(name):
                    kinds[name] = "categorical"
            for name in self.features:
                if self.columns.get(name) == "numeric":
                    with about("columns", name):
                        cells.numbers(name)
            with about("label"):
                labels = self._labels(cells)
            if self.task == "classification" and len(classes) <= CLASSES_MAX:
                classes.update(labels[known(labels)])
            if self.time is not None:
                with about("time"):
                    cells.times(self.time)
            rows = row + len(piece)
        if rows == 0:
            raise InputError("holds no records, only a header: give it at least one", self.shown)
        named = 0 < len(classes) <= CLASSES_MAX
        return Findings(rows, kinds, tuple(sorted(classes)) if named else None)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes in the file; None if they are not known."""
        return self.findings.classes

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the blocks from number `start` on."""
        schema, rows = self.schema, self.rows
        for row, piece in cut(self._pieces(start * BLOCK), start * BLOCK, rows):
            cells = Cells(piece, row, self.shown)
            numbers = np.empty((len(piece), len(schema.numeric)), order="F")
            for at, name in enumerate(schema.numeric):
                numbers[:, at] = cells.numbers(name)
            codes = np.empty((len(piece), len(schema.categorical)), dtype=np.int32, order="F")
            levels = []
            for at, name in enumerate(schema.categorical):
                codes[:, at], texts = cells.codes(name)
                levels.append(texts)
            table = Table(schema, numbers, codes, tuple(levels))
            yield Block(row, self._times(cells), table, self._labels(cells))

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
        return other

    def pool(self, named: Sequence[str], others: bool) -> None:
        """Make no records: a file has those only that it has."""

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
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

    def _pieces(self, start: int) -> Iterator[tuple[int, Any]]:
        names = [*self.features, self.label, *([self.time] if self.time else [])]
        pieces = read_pieces(self.path, list(dict.fromkeys(names)), start)
        while True:
            try:
                piece = next(pieces)
            except StopIteration:
                return
            except UNREADABLE as error:
                if "Empty CSV" in str(error):  # a header without an end of line
                    return
                raise unreadable(self.path, self.shown, error) from None
            yield piece

    def _labels(self, cells: Cells) -> Labels:
        if self.task == "regression":
            return cells.numbers(self.label)
        texts: Labels = cells.texts(self.label).to_numpy(zero_copy_only=False)
        return texts.astype(object)

    def _times(self, cells: Cells) -> Ints:
        if self.time is None:
            return made_times(cells.row, len(cells.piece), self.start, self.interval)
        return cells.times(self.time)


@contextmanager
def about(*key: str) -> Iterator[None]:
    """Say of an error within which setting it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(error.message, error.place, key) from None


def read_header(path: Path, shown: str) -> tuple[str, ...]:
    """Return the column names of a table.

    Raises
    ------
    InputError
        If there is no such file, or it is none that can be read.
    """
    if path.is_dir():
        raise InputError("is a folder: give a file", shown)
    if not path.exists():
        raise InputError("there is no such file (paths start at the file that names them)", shown)
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"must end in {' or '.join(SUFFIXES)}", shown)
    try:
        if path.stat().st_size == 0:
            raise InputError("is empty: the first line must name the columns", shown)
        if path.suffix.lower() == ".parquet":
            return tuple(parquet(path).schema_arrow.names)
        opened = gzip.open if path.suffix.lower() == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            names = next((row for row in csv.reader(stream) if row), [])
    except UNREADABLE as error:
        raise unreadable(path, shown, error) from None
    if not names:
        raise InputError("is empty: the first line must name the columns", shown)
    if any("\0" in name for name in names):
        raise unreadable(path, shown, ValueError("it holds binary data"))
    return tuple(names)


def read_pieces(path: Path, names: list[str], start: int) -> Iterator[tuple[int, Any]]:
    """Yield (number of first row, `pyarrow` record batch) from row `start` on, or sooner."""
    row = 0
    if path.suffix.lower() == ".parquet":
        table = parquet(path)
        group = 0
        while group < table.num_row_groups and (
            row + table.metadata.row_group(group).num_rows <= start
        ):
            row += table.metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, table.num_row_groups))
        batches = table.iter_batches(PARQUET_CHUNK_ROWS, row_groups=groups, columns=names)
    else:
        from pyarrow import csv as arrow_csv

        batches = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=CSV_CHUNK_BYTES),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    for batch in batches:
        yield row, batch
        row += len(batch)


def parquet(path: Path) -> Any:
    """Open a Parquet file; only its footer is read."""
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path)


def cut(pieces: Iterator[tuple[int, Any]], start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """Cut pieces anew, into tables of `BLOCK` rows from row `start` to before row `stop`."""
    held: list[Any] = []
    row, count = start, 0
    for first, piece in pieces:
        piece = piece.slice(max(0, start - first), max(0, stop - max(first, start)))
        held.append(piece)
        count += len(piece)
        if count < BLOCK:
            continue
        table = pa.Table.from_batches(held)
        whole = count - count % BLOCK
        for at in range(0, whole, BLOCK):
            yield row + at, table.slice(at, BLOCK)
        row, count = row + whole, count - whole
        held = table.slice(whole).to_batches()
        if first + len(piece) >= stop:
            break
    if count:
        yield row, pa.Table.from_batches(held)


def unreadable(path: Path, shown: str, error: Exception) -> InputError:
    """Return the error for a file that is not what its name says."""
    kind = "Parquet" if path.suffix.lower() == ".parquet" else "CSV (UTF-8, columns by commas)"
    return InputError(f"cannot be read as {kind}: {shorten(' '.join(str(error).split()))}", shown)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names as an enumeration, the first `most` of them.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
