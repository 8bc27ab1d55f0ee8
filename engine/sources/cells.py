"""Cells of a table, converted column by column: texts to numbers, levels, times.

No cell makes a conversion fail. What is there but cannot be used is missing, and told as *odd*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.batch import MISSING, Bools, Codes, Floats, Ints
from engine.errors import InputError
from engine.quantities import moment_micros

ABSENT = ("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "+nan", "nat", "null", "none", "?")
"""Texts in lower case that mean "missing" where a number or a time is expected."""
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$|^(?i:[+-]?inf(?:inity)?)$"
ZONED = r"(?:[zZ]|[+-]\d\d:?\d\d)$"
TEXT_MAX = 1000
"""A longer cell is no category, and no number either."""
SECONDS_MAX = 1e11
TIME_MIN, TIME_MAX = moment_micros("0001-01-01"), moment_micros("9000-01-01")
"""Event times lie from here to before there, so that label times can be written too."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column as numbers.

    Parameters
    ----------
    values
        The numbers; NaN is missing.
    there
        How many cells hold anything.
    odd, infinite
        Cells that hold no number, or one without end; their values are missing.
    """

    values: Floats
    there: int
    odd: Bools
    infinite: Bools


@dataclass(frozen=True, slots=True)
class Texts:
    """A column as a `pyarrow` array of texts, null where missing, and which cells are odd."""

    values: Any
    odd: Bools


@dataclass(frozen=True, slots=True)
class Times:
    """A column as microseconds since 1970, and which cells hold no time; 0 stands for these."""

    values: Ints
    odd: Bools


class Cells:
    """The cells of some consecutive rows, converted column by column when asked.

    Parameters
    ----------
    piece
        A `pyarrow` record batch or table.
    row
        Number of its first row in the file, counting from 0.
    shown
        The file's name, for messages.
    """

    def __init__(self, piece: Any, row: int, shown: str) -> None:
        self.piece, self.row, self.shown = piece, row, shown

    def __len__(self) -> int:
        return len(self.piece)

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers; what is missing, odd or infinite is NaN."""
        return self.as_numbers(name).values

    def as_numbers(self, name: str) -> Numbers:
        """Return a column as numbers, and what is odd about it."""
        return as_numbers(self._column(name))

    def texts(self, name: str) -> Any:
        """Return a column as a `pyarrow` array of texts; what is missing or odd is null."""
        return self.as_texts(name).values

    def as_texts(self, name: str) -> Texts:
        """Return a column as texts, and what is odd about it."""
        return as_texts(self._column(name))

    def codes(self, name: str) -> tuple[Codes, tuple[str, ...]]:
        """Return a column as codes and levels, these in order of first appearance."""
        encoded = self.texts(name).dictionary_encode()
        return codes_of(encoded), tuple(encoded.dictionary.to_pylist())

    def times(self, name: str) -> Times:
        """Return a column as times, and what is odd about it."""
        return as_times(self._column(name))

    def show(self, name: str, at: int) -> str:
        """Return the cell in row `at` of these as a message shows it."""
        cell = self._column(name)[at]
        try:
            value = cell.as_py()
        except (OverflowError, ValueError):  # a moment that Python has no name for
            return f"{cell.value} {cell.type}"
        value = getattr(value, "isoformat", lambda: value)()
        return "the empty cell" if value in (None, "") else shorten(repr(value), 60)

    def _column(self, name: str) -> Any:
        column = self.piece.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if pa.types.is_large_string(kind) or kind == pa.string_view():
            column = pc.cast(column, pa.string())
        elif not usable(kind):
            message = f"column {name!r} holds {kind}, not numbers or texts: ignore it"
            raise InputError(message, self.shown)
        if pa.types.is_string(column.type):
            try:
                column.validate(full=True)
            except pa.ArrowInvalid:
                message = f"column {name!r} holds texts that are not UTF-8: ignore it"
                raise InputError(message, self.shown) from None
        return column


def usable(kind: Any) -> bool:
    """Return whether cells of a `pyarrow` type can be numbers, texts or times.

    Examples
    --------
    >>> usable(pa.int8()), usable(pa.list_(pa.int8())), usable(pa.binary(16))
    (True, False, False)
    """
    types = pa.types
    known = (types.is_string, types.is_boolean, types.is_null, types.is_temporal)
    numbers = (types.is_integer, types.is_floating, types.is_decimal)
    return any(is_one(kind) for is_one in (*known, *numbers))


def as_numbers(column: Any) -> Numbers:
    """Return a `pyarrow` column as numbers.

    Examples
    --------
    >>> found = as_numbers(pa.array([" 1", "+2e1", "?", "inf", "one"]))
    >>> found.values.tolist(), found.there, found.odd.tolist(), found.infinite.tolist()[3]
    ([1.0, 20.0, nan, nan, nan], 4, [False, False, False, False, True], True)
    """
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        full = mask(column.is_valid())
        return Numbers(np.full(len(column), np.nan), int(full.sum()), full, np.zeros_like(full))
    odd = np.zeros(len(column), dtype=bool)
    if not pa.types.is_string(kind):
        values = floats(column)
    elif (plain := _plain_numbers(column)) is not None:
        values = plain
    else:
        values, odd = _read_numbers(column)
    infinite = np.isinf(values)
    there = len(values) - int(np.count_nonzero(np.isnan(values))) + int(np.count_nonzero(odd))
    values[infinite] = np.nan
    return Numbers(values, there, odd, infinite)


def _plain_numbers(column: Any) -> Floats | None:
    """Return texts as floats if nothing about them is out of the way, else None."""
    try:
        values = floats(column)
    except pa.ArrowInvalid:
        return None
    plain = np.count_nonzero(np.isnan(values)) == column.null_count and longest(column) <= TEXT_MAX
    return values if plain else None


def _read_numbers(column: Any) -> tuple[Floats, Bools]:
    """Return texts as floats, and which of them are odd; equal ones are read once."""
    encoded = column.dictionary_encode()
    levels = encoded.dictionary
    trimmed = pc.utf8_trim_whitespace(levels)
    like = pc.and_(pc.match_substring_regex(trimmed, NUMBER), is_short(levels))
    plain = pc.replace_substring_regex(pc.if_else(like, trimmed, None), r"^\+", "")
    absent = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(ABSENT))
    codes = codes_of(encoded)
    values = np.append(floats(plain), np.nan)[codes]
    return values, np.append(~mask(like) & ~mask(absent), False)[codes]


def as_texts(column: Any) -> Texts:
    """Return a `pyarrow` column as texts; cells of blanks only are empty, and so missing.

    Examples
    --------
    >>> found = as_texts(pa.array(["a", " ", "b" * 2000]))
    >>> found.values.to_pylist(), found.odd.tolist()
    (['a', None, None], [False, False, True])
    """
    if pa.types.is_floating(column.type):
        texts = [float_text(value) for value in column.to_pylist()]
        return Texts(pa.array(texts, pa.string()), np.isinf(floats(column)))
    column = pc.cast(column, pa.string())
    encoded = column.dictionary_encode()  # equal texts are judged once
    levels, codes = encoded.dictionary, codes_of(encoded)
    odd = ~mask(is_short(levels)) | mask(pc.match_substring(levels, "\0"))
    lost = odd | mask(pc.equal(pc.utf8_trim_whitespace(levels), ""))
    if lost.any():
        column = pc.if_else(pa.array(np.append(lost, True)[codes]), None, column)
    return Texts(column, np.append(odd, False)[codes])


def as_times(column: Any) -> Times:
    """Return a `pyarrow` column as times.

    Examples
    --------
    >>> as_times(pa.array(["1970-01-02", "1970-01-01T00:00:01Z", "0.5"])).values.tolist()
    [86400000000, 1000000, 500000]
    >>> as_times(pa.array(["1.5", "soon"])).odd.tolist()
    [False, True]
    """
    rows, kind = len(column), column.type
    values, found = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=bool)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        _cast_times(column, pa.timestamp("us"), np.arange(rows), values, found)
    elif not pa.types.is_temporal(kind) and not pa.types.is_boolean(kind):
        seconds = as_numbers(column).values
        with np.errstate(invalid="ignore"):
            found = np.abs(seconds) < SECONDS_MAX  # NaN is not
        values[found] = np.rint(seconds[found] * 1e6).astype(np.int64)
        if pa.types.is_string(kind) and np.isnan(seconds).any():
            _read_times(column, np.isnan(seconds), values, found)
    found &= (values >= TIME_MIN) & (values < TIME_MAX)
    return Times(np.where(found, values, 0), ~found)


def _read_times(column: Any, rows: Bools, values: Ints, found: Bools) -> None:
    """Read those texts that are no numbers: fast in two groups, what is left one by one."""
    trimmed = pc.utf8_trim_whitespace(column)
    zoned = mask(pc.match_substring_regex(trimmed, ZONED))
    rows = rows & mask(is_short(column)) & ~mask(pc.is_in(trimmed, value_set=pa.array([""])))
    for group, kind in ((rows & ~zoned, pa.timestamp("us")), (rows & zoned, utc())):
        _cast_times(trimmed, kind, np.flatnonzero(group), values, found)
    for at in np.flatnonzero(rows & ~found):
        try:
            values[at] = moment_micros(trimmed[int(at)].as_py())
            found[at] = True
        except (ValueError, OverflowError):
            continue


def _cast_times(column: Any, kind: Any, rows: Any, values: Ints, found: Bools) -> None:
    """Cast some rows of a column, by halves where one of them cannot be."""
    if not len(rows):
        return
    nanos = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    part = column.take(pa.array(rows)).cast(pa.timestamp("ns")) if nanos else column.take(rows)
    try:
        cast = pc.cast(part, kind, safe=not nanos)
    except pa.ArrowException:
        if len(rows) > 1:
            _cast_times(column, kind, rows[: len(rows) // 2], values, found)
            _cast_times(column, kind, rows[len(rows) // 2 :], values, found)
        return
    values[rows] = cast.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    found[rows] = mask(cast.is_valid())


def utc() -> Any:
    """Return the type of moments with a zone."""
    return pa.timestamp("us", "UTC")


def floats(column: Any) -> Floats:
    """Return a `pyarrow` column as floats of its own, null as NaN."""
    cast = pc.cast(column, pa.float64(), safe=False)
    values: Floats = cast.to_numpy(zero_copy_only=False).copy()
    return values


def mask(answers: Any) -> Bools:
    """Return a `pyarrow` column of yes and no as booleans, null as no."""
    found: Bools = answers.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def codes_of(encoded: Any) -> Codes:
    """Return the codes of a column that was dictionary-encoded; null is `MISSING`, the last."""
    codes = encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
    found: Codes = codes.astype(np.int32)
    return found


def longest(column: Any) -> int:
    """Return the bytes of the longest text."""
    return pc.max(pc.binary_length(column)).as_py() or 0


def is_short(column: Any) -> Any:
    """Return which texts are not longer than `TEXT_MAX` characters."""
    return pc.less_equal(pc.utf8_length(column), TEXT_MAX)


def float_text(value: float | None) -> str | None:
    """Return a float as a text, whole ones without ``.0``; what is not finite is None.

    Examples
    --------
    >>> float_text(2.0), float_text(0.1), float_text(float("nan"))
    ('2', '0.1', None)
    """
    if value is None or not np.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def shorten(text: str, most: int = 120) -> str:
    """Return `text`, cut to `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."
