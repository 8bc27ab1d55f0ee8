"""The columnar currency: a `Table` of features and a `Batch` of records.

Records travel as arrays, never as row objects. How a stream is cut into batches is an
optimisation and may not change any result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]
Labels = NDArray[Any]
"""Classification: objects, `str` or None where there is none. Regression: float64 with NaN."""

Other = TypeVar("Other")

Task = Literal["classification", "regression"]
MISSING = -1
"""The code of a missing categorical value."""
FOREVER = np.iinfo(np.int64).max // 2
"""A label so many arrivals late never comes."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What the columns of a stream are; fixed for the life of the stream.

    Parameters
    ----------
    numeric
        Names of the numeric features, in column order.
    categorical
        Names of the categorical features, in column order.
    task
        What the label is: a class or a number.
    number_at, code_at
        The place of each feature among those of its kind.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    task: Task = "classification"
    number_at: Mapping[str, int] = field(init=False, repr=False, compare=False)
    code_at: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, columns in (("number_at", self.numeric), ("code_at", self.categorical)):
            object.__setattr__(self, name, {column: at for at, column in enumerate(columns)})

    @property
    def features(self) -> tuple[str, ...]:
        """All feature names, numeric first."""
        return self.numeric + self.categorical


@dataclass(frozen=True, slots=True)
class Table:
    """Features of `n` records in columns.

    Parameters
    ----------
    schema
        The columns' names.
    numbers
        Shape `(n, len(schema.numeric))`; NaN is missing.
    codes
        Shape `(n, len(schema.categorical))`; an index into `levels`, -1 is missing.
    levels
        For each categorical column the texts that its codes stand for.

    Examples
    --------
    >>> t = table_of({"x": [1.0, 2.0, 3.0], "c": ["a", None, "b"]}, categorical=("c",))
    >>> len(t), t[1:].numbers.ravel().tolist(), t[1:].texts("c").tolist()
    (3, [2.0, 3.0], [None, 'b'])
    """

    schema: Schema
    numbers: Floats
    codes: Codes
    levels: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | Ints | Bools) -> Table:
        return Table(self.schema, self.numbers[rows], self.codes[rows], self.levels)

    def number(self, name: str) -> Floats:
        """Return the numeric column `name`, shape `(n,)` (a view)."""
        column: Floats = self.numbers[:, self.schema.number_at[name]]
        return column

    def texts(self, name: str) -> Labels:
        """Return the categorical column `name` as objects: `str`, or None where missing."""
        at = self.schema.code_at[name]
        lookup = np.array([*self.levels[at], None], dtype=object)
        return lookup[self.codes[:, at]]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the script knows to happen at a record: a true drift or a fault.

    Parameters
    ----------
    seq
        The first record that it touches.
    kind
        ``drift``, ``fault`` or ``anomaly``.
    details
        What goes into the event, JSON-ready and in this order.
    """

    seq: int
    kind: Literal["drift", "fault", "anomaly"]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records `first .. first + n - 1` of one stream, in arrival order.

    Parameters
    ----------
    first
        Sequence number of the first record, counting from 0.
    times
        Event times in microseconds since 1970-01-01 UTC, shape `(n,)`.
    table
        The features.
    labels
        The truth; None or NaN where it will never be known.
    late_records
        A label is known no sooner than this many arrivals after its record, shape `(n,)`.
    late_micros
        ... and no sooner than this many microseconds after it, shape `(n,)`.
    marks
        Scripted truth that begins within these records, in order.
    """

    first: int
    times: Ints
    table: Table
    labels: Labels
    late_records: Ints
    late_micros: Ints
    marks: tuple[Mark, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> int:
        """Sequence number after the last record."""
        return self.first + len(self)

    @property
    def prompt(self) -> bool:
        """Whether every label is known as soon as its record arrives."""
        return not (self.late_records.any() or self.late_micros.any())

    def settled(self) -> Batch:
        """Return the batch with labels that are not there made `FOREVER` late."""
        there = known(self.labels)
        if there.all():
            return self
        return replace(self, late_records=np.where(there, self.late_records, FOREVER))

    def __getitem__(self, rows: slice) -> Batch:
        start, stop, _ = rows.indices(len(self))
        if stop - start == len(self):
            return self
        low, high = self.first + start, self.first + stop
        return Batch(
            low,
            self.times[rows],
            self.table[rows],
            self.labels[rows],
            self.late_records[rows],
            self.late_micros[rows],
            tuple(mark for mark in self.marks if low <= mark.seq < high),
        )


def known(labels: Labels) -> Bools:
    """Return where a label is there at all, shape `(n,)`.

    Examples
    --------
    >>> known(np.array(["a", None], dtype=object)).tolist(), known(np.array([1.5, np.nan])).tolist()
    ([True, False], [True, False])
    """
    if labels.dtype != object:
        return ~np.isnan(labels)
    there: Bools = labels != np.array(None)
    return there


def table_of(columns: Mapping[str, Sequence[Any]], categorical: Sequence[str] = ()) -> Table:
    """Build a table from columns by name; those in `categorical` hold texts or None.

    Examples
    --------
    >>> table_of({"x": [0.5], "c": ["red"]}, categorical=["c"]).levels
    (('red',),)
    """
    numeric = tuple(name for name in columns if name not in categorical)
    rows = len(next(iter(columns.values()))) if columns else 0
    numbers = np.empty((rows, len(numeric)), order="F")
    for at, name in enumerate(numeric):
        numbers[:, at] = columns[name]
    codes = np.empty((rows, len(categorical)), dtype=np.int32, order="F")
    levels = []
    for at, name in enumerate(categorical):
        codes[:, at], texts = encode(columns[name])
        levels.append(texts)
    return Table(Schema(numeric, tuple(categorical)), numbers, codes, tuple(levels))


def encode(texts: Sequence[str | None]) -> tuple[Codes, tuple[str, ...]]:
    """Return codes and levels of a column of texts; None becomes -1.

    Examples
    --------
    >>> codes, levels = encode(["b", None, "a", "b"])
    >>> codes.tolist(), levels
    ([0, -1, 1, 0], ('b', 'a'))
    """
    index: dict[str, int] = {}
    codes = [MISSING if text is None else index.setdefault(text, len(index)) for text in texts]
    return np.array(codes, dtype=np.int32), tuple(index)


def concat_tables(tables: Sequence[Table]) -> Table:
    """Stack tables of one schema; their levels may differ.

    Examples
    --------
    >>> a = table_of({"c": ["x"]}, categorical=["c"])
    >>> b = table_of({"c": ["y"]}, categorical=["c"])
    >>> concat_tables([a, b]).texts("c").tolist()
    ['x', 'y']
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    numbers = np.concatenate([table.numbers for table in tables])
    if all(table.levels is first.levels or table.levels == first.levels for table in tables):
        codes = np.concatenate([table.codes for table in tables])
        return Table(first.schema, numbers, codes, first.levels)
    merged: list[dict[str, int]] = [{} for _ in first.levels]
    recoded = []
    for table in tables:
        codes = np.empty_like(table.codes)
        for at, levels in enumerate(table.levels):
            index = merged[at]
            lookup = [index.setdefault(text, len(index)) for text in levels]
            codes[:, at] = np.array([*lookup, MISSING], dtype=np.int32)[table.codes[:, at]]
        recoded.append(codes)
    return Table(first.schema, numbers, np.concatenate(recoded), tuple(tuple(m) for m in merged))


def concat(batches: Sequence[Batch]) -> Batch:
    """Join consecutive batches of one stream into one.

    Examples
    --------
    >>> b = plain_batch({"x": [1.0, 2.0]}, ["a", "b"])
    >>> len(concat([b[:1], b[1:]])), concat([b[:1], b[1:]]).labels.tolist()
    (2, ['a', 'b'])
    """
    if len(batches) == 1:
        return batches[0]
    return replace(
        batches[0],
        times=np.concatenate([batch.times for batch in batches]),
        table=concat_tables([batch.table for batch in batches]),
        labels=np.concatenate([batch.labels for batch in batches]),
        late_records=np.concatenate([batch.late_records for batch in batches]),
        late_micros=np.concatenate([batch.late_micros for batch in batches]),
        marks=tuple(mark for batch in batches for mark in batch.marks),
    )


def batch_rows(schema: Schema) -> int:
    """Return how many records of a schema make a good batch: some thousand, a megabyte or so.

    Examples
    --------
    >>> batch_rows(Schema(("x", "y"), ())), batch_rows(Schema(tuple(map(str, range(5000))), ()))
    (8192, 209)
    """
    return max(64, min(8192, 2**20 // len(schema.features)))


def gathered(items: Iterable[Batch | Other], rows: int) -> Iterator[Batch | Other]:
    """Join consecutive batches of a stream until each has `rows` records: every call has its price.

    Anything that is no batch, the end and an error come after all the records before them.

    Examples
    --------
    >>> b = plain_batch({"x": [0.0] * 5}, ["a"] * 5)
    >>> found = list(gathered([b[:1], b[1:2], b[2:4], None, b[4:]], 3))
    >>> [item and len(item) for item in found]
    [4, None, 1]
    """
    held: list[Batch] = []
    count, failure = 0, None
    try:
        for item in items:
            if isinstance(item, Batch):
                held.append(item)
                count += len(item)
                if count < rows:
                    continue
            if held:
                yield concat(held)
                held, count = [], 0
            if not isinstance(item, Batch):
                yield item
    except EngineError as error:
        failure = error
    if held:
        yield concat(held)
    if failure is not None:
        raise failure


def plain_batch(
    columns: Mapping[str, Sequence[Any]],
    labels: Sequence[Any],
    *,
    first: int = 0,
    categorical: Sequence[str] = (),
    late_records: int = 0,
    late_micros: int = 0,
) -> Batch:
    """Build a batch by hand: a record a second, all labels equally late (for tests, examples).

    Examples
    --------
    >>> plain_batch({"x": [1.0]}, ["yes"], first=5).times.tolist()
    [5000000]
    """
    table = table_of(columns, categorical)
    rows = len(labels)
    regression = all(isinstance(label, float) for label in labels) and rows > 0
    if regression:
        schema = Schema(table.schema.numeric, table.schema.categorical, "regression")
        table = replace(table, schema=schema)
    return Batch(
        first,
        (np.arange(rows, dtype=np.int64) + first) * 1_000_000,
        table,
        np.array(labels, dtype=np.float64 if regression else object),
        np.full(rows, late_records, dtype=np.int64),
        np.full(rows, late_micros, dtype=np.int64),
    )
