"""Rows of a request into a table, each cell checked; what is wrong is said in one sentence."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from engine.batch import Schema, Table, encode
from engine.errors import InputError

ROWS_MAX = 10_000
"""No request may have more rows."""
TEXT_MAX = 1000
"""A longer text is no category; a stream from a file takes it as missing."""


def parse(body: bytes) -> Any:
    """Return what a body of JSON says.

    Raises
    ------
    InputError
        If it is no JSON; NaN and Infinity are none.

    Examples
    --------
    >>> parse(b'{"x": 1}')
    {'x': 1}
    >>> parse(b'{"x": NaN}')
    Traceback (most recent call last):
    engine.errors.InputError: NaN is no JSON: write null for a missing value
    """

    def refuse(word: str) -> NoReturn:
        raise InputError(f"{word} is no JSON: write null for a missing value")

    try:
        return json.loads(body.decode("utf-8"), parse_constant=refuse)
    except json.JSONDecodeError as error:
        text = f"the body is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise InputError(text) from None
    except UnicodeDecodeError:
        raise InputError("the body is no JSON: it is not UTF-8") from None
    except (RecursionError, ValueError):
        raise InputError("the body is no JSON that can be read") from None


def rows_of(asked: Any) -> list[Mapping[str, Any]]:
    """Return the rows of a request.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> rows_of({"row": {"x": 1}}), rows_of({"rows": []})
    ([{'x': 1}], [])
    """
    shape = 'give {"rows": [{column: value, ...}, ...]} or {"row": {column: value, ...}}'
    if not isinstance(asked, dict) or len(asked) != 1 or not asked.keys() <= {"row", "rows"}:
        raise InputError(shape)
    rows = [asked["row"]] if "row" in asked else asked["rows"]
    if not isinstance(rows, list):
        raise InputError(shape)
    if len(rows) > ROWS_MAX:
        raise InputError(f"{len(rows):,} rows are too many for one request: at most {ROWS_MAX:,}")
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"row {at} is no object: {shape}")
    return rows


def table_of_rows(rows: Sequence[Mapping[str, Any]], schema: Schema) -> Table:
    """Return rows as a table.

    A missing value is null; a text of blanks only is missing too, as in a file.

    Raises
    ------
    InputError
        If a row lacks a column, has one that the model does not know, or a value of another kind.

    Examples
    --------
    >>> schema = Schema(("x",), ("c",))
    >>> table = table_of_rows([{"c": "a", "x": 1}, {"x": None, "c": " "}], schema)
    >>> table.numbers.ravel().tolist(), table.texts("c").tolist()
    ([1.0, nan], ['a', None])
    >>> table_of_rows([{"x": "1", "c": "a"}], schema)
    Traceback (most recent call last):
    engine.errors.InputError: row 0: x is numeric: give a number or null, not "1"
    """
    features = schema.features
    for at, row in enumerate(rows):
        if len(row) != len(features) or not all(name in row for name in features):
            raise InputError(misnamed(at, row, schema))
    numbers = np.empty((len(rows), len(schema.numeric)), order="F")
    for place, name in enumerate(schema.numeric):
        numbers[:, place] = [number(row[name], name, at) for at, row in enumerate(rows)]
    codes = np.empty((len(rows), len(schema.categorical)), dtype=np.int32, order="F")
    levels = []
    for place, name in enumerate(schema.categorical):
        cells = [text(row[name], name, at) for at, row in enumerate(rows)]
        codes[:, place], texts = encode(cells)
        levels.append(texts)
    return Table(schema, numbers, codes, tuple(levels))


def number(value: Any, name: str, at: int) -> float:
    """Return a cell of a numeric column; null is NaN."""
    if value is None:
        return math.nan
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
        raise InputError(f"row {at}: {name} is beyond what a number can be")
    raise InputError(f"row {at}: {name} is numeric: give a number or null, not {show(value)}")


def text(value: Any, name: str, at: int) -> str | None:
    """Return a cell of a categorical column; what is blank is missing."""
    if value is None:
        return None
    if not isinstance(value, str):
        hint = f', such as "{value}",' if isinstance(value, int | float) else ""
        said = f"row {at}: {name} is categorical: give a text{hint} or null, not {show(value)}"
        raise InputError(said)
    if len(value) > TEXT_MAX or "\0" in value:
        raise InputError(f"row {at}: {name} is no category: at most {TEXT_MAX:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"row {at}: {name} holds half a character") from None
    return value if value.strip() else None


def misnamed(at: int, row: Mapping[str, Any], schema: Schema) -> str:
    """Return what is wrong with the columns of a row.

    Examples
    --------
    >>> misnamed(0, {"x": 1, "colour": "red"}, Schema(("x",), ("color",)))
    'row 0: color is missing, and there is no column colour: did you mean color?'
    """
    lacking = [name for name in schema.features if name not in row]
    unknown = [str(name) for name in row if name not in schema.features]
    said = []
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        verb = "is" if len(lacking) == 1 else "are"
        said.append(f"{', '.join(lacking[:5])}{more} {verb} missing")
    if unknown:
        near = difflib.get_close_matches(unknown[0], schema.features, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        if not near and not lacking:
            hint = f", only {', '.join(schema.features[:20])}"
        said.append(f"there is no column {unknown[0][:60]}{hint}")
    return f"row {at}: {', and '.join(said)}"


def show(value: Any) -> str:
    """Return a value as a message shows it."""
    try:
        shown = json.dumps(value)
    except (ValueError, RecursionError):
        shown = "that"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
