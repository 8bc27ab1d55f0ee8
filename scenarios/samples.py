"""What synthetic records come from, their way into tables, and the cache that keeps them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from engine.batch import Labels, Schema, Table, Task
from engine.errors import InputError
from engine.sources.cells import Cells, float_text
from engine.sources.scans import Kind


@dataclass(frozen=True, slots=True)
class Origin:
    """What a synthesizer comes from: a table to fit on, or a file with a saved one.

    Parameters
    ----------
    label, task
        The label column and what it holds.
    table, synthesizer
        Path as written; one of them is None.
    rows
        The slice ``[from, to)`` of the table to fit on; None is all of it.
    ignore, columns
        Columns to leave out, and kinds of columns that are not to be found out.
    distribution
        The copula's marginal distribution of numeric columns.
    """

    label: str
    task: Task = "classification"
    table: str | None = None
    synthesizer: str | None = None
    rows: tuple[int, int] | None = None
    ignore: tuple[str, ...] = ()
    columns: Mapping[str, Kind] = field(default_factory=dict)
    distribution: str = "norm"

    @property
    def path(self) -> str:
        """The path as written."""
        return self.table or self.synthesizer or ""


def changed(origin: Origin, changes: Mapping[str, Any]) -> Origin:
    """Return `origin` with the changes that a script's ``to`` states.

    Examples
    --------
    >>> changed(Origin("y", table="t.csv"), {"rows": [10, 20]}).rows
    (10, 20)
    """
    allowed = "give rows: [from, to), table: FILE (with or without rows), or synthesizer: FILE"
    rows = changes.get("rows")
    paths = [changes[key] for key in ("table", "synthesizer") if key in changes]
    if not changes or not set(changes) <= {"rows", "table", "synthesizer"} or len(paths) > 1:
        raise InputError(f"a synthetic source cannot change {dict(changes)}: {allowed}")
    if not all(isinstance(path, str) for path in paths):
        raise InputError(f"not a path: {paths[0]!r}: {allowed}")
    if rows is not None:
        whole = isinstance(rows, list | tuple) and len(rows) == 2
        if not whole or not all(type(row) is int for row in rows) or not 0 <= rows[0] < rows[1]:
            raise InputError(f"rows: {rows!r} is no slice: {allowed}")
        rows = (rows[0], rows[1])
    if "synthesizer" in changes:
        if rows is not None:
            raise InputError(f"rows are of a table, not of a synthesizer: {allowed}")
        return replace(origin, synthesizer=paths[0], table=None, rows=None)
    if "table" in changes:
        return replace(origin, table=paths[0], synthesizer=None, rows=rows)
    if origin.table is None:
        raise InputError(f"there is no table whose rows could be others: {allowed}")
    return replace(origin, rows=rows)


def to_arrow(frame: Any, schema: Schema, origin: Origin) -> Any:
    """Return a sampled frame as a `pyarrow` table of floats and texts."""
    columns = {}
    for name in (*schema.features, origin.label):
        number = name in schema.numeric or (name == origin.label and origin.task == "regression")
        values = frame[name]
        if number:
            floats = values.to_numpy(dtype=np.float64, na_value=np.nan)
            columns[name] = pa.array(floats, pa.float64())
        else:
            columns[name] = pa.array([as_text(value) for value in values], pa.string())
    return pa.table(columns)


def as_text(value: Any) -> str | None:
    """Return a category as a text; missing is None.

    Examples
    --------
    >>> as_text("red"), as_text(True), as_text(1.0), as_text(float("nan"))
    ('red', 'true', '1', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    return None if str(value) in ("<NA>", "nan", "NaT") else str(value)


def to_table(cells: Cells, schema: Schema) -> Table:
    """Return the features among some cells."""
    rows = len(cells.piece)
    numbers = np.empty((rows, len(schema.numeric)), order="F")
    for at, name in enumerate(schema.numeric):
        numbers[:, at] = cells.numbers(name)
    codes = np.empty((rows, len(schema.categorical)), dtype=np.int32, order="F")
    levels: list[tuple[str, ...]] = []
    for at, name in enumerate(schema.categorical):
        codes[:, at], texts = cells.codes(name)
        levels.append(texts)
    return Table(schema, numbers, codes, tuple(levels))


def labels_of(cells: Cells, origin: Origin) -> Labels:
    """Return the labels among some cells."""
    if origin.task == "regression":
        return cells.numbers(origin.label)
    labels: Labels = cells.texts(origin.label).to_numpy(zero_copy_only=False).astype(object)
    return labels


def identity(*parts: Any) -> str:
    """Return the hash of JSON-ready parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def stored(path: Path, make: Callable[[], Any]) -> Any:
    """Return the `pyarrow` table of a file, which is made first if it is not there."""
    if path.exists():
        return parquet.ParquetFile(path).read()
    table = make()
    with replacing(path) as unfinished:
        parquet.write_table(table, unfinished)
    return table


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write that becomes `path` as a whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
