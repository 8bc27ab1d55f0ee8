"""Cells of a table, converted column by column: texts to numbers, levels, times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.batch import MISSING, Codes, Floats, Ints
from engine.errors import InputError
from engine.quantities import moment_micros

NO_NUMBER = (
    *("NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NaN", "nan", "NAN", "-nan"),
    *("NULL", "Null", "null", "None", "none", "?"),
)
"""Texts that mean "missing" where a number is expected, besides the empty cell."""


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

    def is_numeric(self, name: str) -> bool:
        """Whether all values of a column that are not missing are numbers."""
        return as_numbers(self._column(name)) is not None

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers; missing and infinite ones are NaN."""
        column = self._column(name)
        numbers = as_numbers(column)
        if numbers is None:
            at = next(i for i in range(len(column)) if as_numbers(column[i : i + 1]) is None)
            raise self._bad(name, at, "is not a number: correct it, or make the column categorical")
        return numbers

    def texts(self, name: str) -> Any:
        """Return a column as a `pyarrow` array of texts; empty cells are null."""
        column = self._column(name)
        if pa.types.is_floating(column.type):
            return pa.array([float_text(value) for value in column.to_pylist()], pa.string())
        column = pc.cast(column, pa.string())
        return pc.if_else(pc.equal(column, ""), None, column)

    def codes(self, name: str) -> tuple[Codes, tuple[str, ...]]:
        """Return a column as codes and levels, these in order of first appearance."""
        encoded = self.texts(name).dictionary_encode()
        codes = encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
        return codes.astype(np.int32), tuple(encoded.dictionary.to_pylist())

    def times(self, name: str) -> Ints:
        """Return a column as microseconds since 1970."""
        column = self._column(name)
        times = as_times(column)
        if times is not None:
            return times
        slow = np.empty(len(column), dtype=np.int64)
        for at in range(len(column)):
            one = as_times(column[at : at + 1])
            if one is not None:
                slow[at] = one[0]
                continue
            try:
                slow[at] = moment_micros(str(column[at].as_py() or "").strip())
            except ValueError:
                raise self._bad(
                    name, at, "is no time: use ISO 8601, or seconds since 1970"
                ) from None
        return slow

    def _column(self, name: str) -> Any:
        column = self.piece.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            message = f"column {name!r} holds {column.type}, not numbers or texts: ignore it"
            raise InputError(message, self.shown)
        return column

    def _bad(self, name: str, at: int, what: str) -> InputError:
        value = self._column(name)[at].as_py()
        given = "the empty cell" if value in (None, "") else shorten(repr(value))
        row = f"row {self.row + at} (the first is row 0)"
        return InputError(f"{row}, column {name!r}: {given} {what}", self.shown)


def as_numbers(column: Any) -> Floats | None:
    """Return a `pyarrow` column as floats, or None if it holds something else.

    Examples
    --------
    >>> as_numbers(pa.array([" 1", "+2e1", "?", "inf"])).tolist()
    [1.0, 20.0, nan, nan]
    >>> as_numbers(pa.array(["1", "one"])) is None
    True
    """
    if pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type):
        return None
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        absent = pc.is_in(column, value_set=pa.array(["", *NO_NUMBER], column.type))
        column = pc.replace_substring_regex(pc.if_else(absent, None, column), r"^\+", "")
    try:
        cast = pc.cast(column, pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return None
    numbers: Floats = cast.fill_null(float("nan")).to_numpy(zero_copy_only=False).copy()
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def as_times(column: Any) -> Ints | None:
    """Return a `pyarrow` column as microseconds since 1970, or None if it is not that simple.

    Examples
    --------
    >>> as_times(pa.array(["1970-01-02", "1970-01-01 00:00:01"])).tolist()
    [86400000000, 1000000]
    >>> as_times(pa.array(["1.5", "soon"])) is None
    True
    """
    if column.null_count or pa.types.is_time(column.type) or pa.types.is_duration(column.type):
        return None
    seconds = as_numbers(column)
    if seconds is not None:
        usable = np.all(np.abs(seconds) < 1e11)  # NaN is not
        return np.rint(seconds * 1e6).astype(np.int64) if usable else None
    if pa.types.is_boolean(column.type):
        return None
    kinds = [pa.timestamp("us"), pa.timestamp("us", "UTC")]
    for kind in kinds if not pa.types.is_temporal(column.type) else kinds[:1]:
        try:
            cast = pc.cast(column, kind, safe=False)
        except pa.ArrowException:
            continue
        times: Ints = cast.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return times
    return None


def float_text(value: float | None) -> str | None:
    """Return a float as a text, whole ones without ``.0``; NaN is None.

    Examples
    --------
    >>> float_text(2.0), float_text(0.1), float_text(float("nan"))
    ('2', '0.1', None)
    """
    if value is None or value != value:
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def shorten(text: str, most: int = 120) -> str:
    """Return `text`, cut to `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."
