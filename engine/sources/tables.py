"""Tables on disk, read piece by piece, never as a whole; a file that changes meanwhile is told."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from engine.errors import InputError
from engine.sources.blocks import BLOCK
from engine.sources.cells import shorten

SUFFIXES = (".csv", ".csv.gz", ".parquet")
CSV_CHUNK_BYTES = 1 << 22
CSV_ROW_BYTES_MAX = 1 << 26
"""No row of a CSV may be longer."""
PARQUET_CHUNK_ROWS = 16 * BLOCK
UNREADABLE = (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeError, csv.Error)


class Imprint(NamedTuple):
    """What of a file changes when its content does."""

    size: int
    modified: int
    inode: int
    device: int


class DiskTable:
    """A table in a file that must stay as it is from here on.

    Parameters
    ----------
    path
        The file, ending in ``.csv``, ``.csv.gz`` or ``.parquet``.
    shown
        The path as the user wrote it, for messages.

    Raises
    ------
    InputError
        If there is no such file, or it is none that can be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "t.csv")
    ...     _ = path.write_text("x,y\\n1,a\\n2,b\\n")
    ...     table = DiskTable(path, "t.csv")
    ...     [(row, len(piece)) for row, piece in table.pieces(["x"])]
    [(0, 2)]
    >>> table.names
    ('x', 'y')
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path, self.shown = path, shown
        self._imprint = imprint(path, shown)
        self.names = read_header(path, shown)

    def pieces(self, names: Sequence[str], start: int = 0) -> Iterator[tuple[int, Any]]:
        """Yield (number of first row, `pyarrow` record batch) from row `start` on, or sooner.

        Raises
        ------
        InputError
            If the file cannot be read to its end, or is no longer the one it was.
        """
        self.check_unchanged()
        pieces = read_pieces(self.path, list(names), start)
        while True:
            try:
                piece = next(pieces, None)
            except UNREADABLE as error:
                self.check_unchanged()
                if "Empty CSV" in str(error):  # a header without an end of line
                    return
                raise unreadable(self.path, self.shown, error, self.names) from None
            self.check_unchanged()
            if piece is None:
                return
            yield piece

    def sha256(self) -> str:
        """Return the SHA-256 of the file's bytes."""
        self.check_unchanged()
        try:
            with self.path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(self.path, self.shown, error) from None
        self.check_unchanged()
        return digest

    def check_unchanged(self) -> None:
        """Make sure that the file is still the one that it was at first.

        Raises
        ------
        InputError
            If it is another one now, or gone.
        """
        try:
            now = imprint(self.path, self.shown)
        except InputError:
            now = None
        if now == self._imprint:
            return
        what = "is gone" if now is None else "has changed"
        message = f"{what} since it was opened: a table must stay as it is while it is in use"
        raise InputError(message, self.shown)


def imprint(path: Path, shown: str) -> Imprint:
    """Return what a file's content is told by.

    Raises
    ------
    InputError
        If there is no such file, or it is none that can be read.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        message = "there is no such file (paths start at the file that names them)"
        raise InputError(message, shown) from None
    except (OSError, ValueError) as error:
        raise unreadable(path, shown, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError("is a folder: give a file", shown)
    if not stat.S_ISREG(found.st_mode):
        raise InputError("is no ordinary file: a table must be read more than once", shown)
    return Imprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def read_header(path: Path, shown: str) -> tuple[str, ...]:
    """Return the column names of a table.

    Raises
    ------
    InputError
        If the file is none that can be read.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"must end in {' or '.join(SUFFIXES)}", shown)
    try:
        if path.stat().st_size == 0:
            raise InputError("is empty: the first line must name the columns", shown)
        if path.suffix.lower() == ".parquet":
            return tuple(parquet(path).schema_arrow.names)
        opened = gzip.open if path.suffix.lower() == ".gz" else open
        with opened(
            path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as stream:
            names = next((row for row in csv.reader(stream) if row), [])
        "".join(names).encode()
    except UNREADABLE as error:
        raise unreadable(path, shown, error) from None
    if not names:
        raise InputError("is empty: the first line must name the columns", shown)
    if any("\0" in name for name in names):
        raise unreadable(path, shown, ValueError("it holds binary data"))
    return tuple(names)


def read_pieces(path: Path, names: list[str], start: int) -> Iterator[tuple[int, Any]]:
    """Yield (number of first row, `pyarrow` record batch) from row `start` on, or sooner."""
    if path.suffix.lower() != ".parquet":
        yield from read_csv(path, names)
        return
    table = parquet(path)
    row = group = 0
    while group < table.num_row_groups and (
        row + table.metadata.row_group(group).num_rows <= start
    ):
        row += table.metadata.row_group(group).num_rows
        group += 1
    groups = list(range(group, table.num_row_groups))
    for batch in table.iter_batches(PARQUET_CHUNK_ROWS, row_groups=groups, columns=names):
        yield row, batch
        row += len(batch)


def read_csv(path: Path, names: list[str]) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a CSV; begins again with larger chunks where a row does not fit in one."""
    from pyarrow import csv as arrow_csv

    done, chunk = 0, CSV_CHUNK_BYTES
    while True:
        row = 0
        try:
            for batch in arrow_csv.open_csv(
                path,
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=chunk),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=names,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            ):
                if row + len(batch) > done:
                    yield done, batch.slice(done - row)
                    done = row + len(batch)
                row += len(batch)
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error) or chunk >= CSV_ROW_BYTES_MAX:
                raise
            chunk *= 4
        else:
            return


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
        if count >= BLOCK:
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


def unreadable(path: Path, shown: str, error: Exception, names: Sequence[str] = ()) -> InputError:
    """Return the error for a file that is not what its name says."""
    kind = "Parquet" if path.suffix.lower() == ".parquet" else "CSV (UTF-8, columns by commas)"
    return InputError(f"cannot be read as {kind}: {shorten(worded(error, names))}", shown)


def worded(error: Exception, names: Sequence[str] = ()) -> str:
    """Return a library's message with rows and columns as they are counted here.

    Examples
    --------
    >>> worded(ValueError("CSV parse error: Row #5: Expected 2 columns, got 1: 7"))
    'row 3 (the first is row 0): Expected 2 columns, got 1: 7'
    >>> worded(ValueError("In CSV column #1: Row #5: CSV conversion error: no UTF8"), ("x", "c"))
    "row 3 (the first is row 0): column 'c': no UTF8"
    """
    text = " ".join(str(error).split())
    if "straddl" in text:
        return f"a row is longer than {CSV_ROW_BYTES_MAX:,} bytes"
    found = re.match(r"(?:In CSV column #(\d+): )?(?:CSV parse error: )?Row #(\d+): (.*)", text)
    if found is None:
        return text
    column, row, rest = found.groups()
    named = column is not None and int(column) < len(names)
    about = f"column {names[int(column)]!r}: " if named else ""
    rest = re.sub(r"^CSV conversion error[^:]*: ", "", rest)
    return f"row {int(row) - 2} (the first is row 0): {about}{rest}"
