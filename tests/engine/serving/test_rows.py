"""What a request may hold, and the sentence that refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.batch import Schema
from engine.errors import InputError
from engine.serving.app import labels_of
from engine.serving.rows import parse, rows_of, table_of_rows

SCHEMA = Schema(("x", "z"), ("colour",))
GOOD: dict[str, Any] = {"x": 1, "z": 2.5, "colour": "red"}


def test_rows_become_a_table() -> None:
    rows: list[dict[str, Any]] = [
        GOOD,
        {"colour": None, "z": None, "x": -3},
        {**GOOD, "colour": "\t "},
    ]
    table = table_of_rows(rows, SCHEMA)
    assert table.number("x").tolist() == [1.0, -3.0, 1.0]
    assert str(table.number("z").tolist()) == "[2.5, nan, 2.5]"
    assert table.texts("colour").tolist() == ["red", None, None]
    assert len(table_of_rows([], SCHEMA)) == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is no JSON: Expecting value at line 1, column 1"),
        (b'{"row": {"x": NaN}}', "NaN is no JSON: write null for a missing value"),
        (b'{"row": {"x": -Infinity}}', "-Infinity is no JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "the body is no JSON that can be read"),
        (b'{"x": ' + b"9" * 5000 + b"}", "the body is no JSON that can be read"),
    ],
)
def test_a_body_that_is_no_json(body: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse(body)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([], "give "),
        ({}, "give "),
        ({"rows": [], "row": {}}, "give "),
        ({"rows": {}}, "give "),
        ({"rows": [GOOD, 1]}, "row 1 is no object"),
        ({"rows": [{}] * 10_001}, "10,001 rows are too many for one request: at most 10,000"),
    ],
)
def test_a_request_of_another_shape(asked: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        rows_of(asked)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": "1"}, 'row 1: x is numeric: give a number or null, not "1"'),
        ({"x": True}, "row 1: x is numeric: give a number or null, not true"),
        ({"x": float("inf")}, "row 1: x is beyond what a number can be"),
        ({"x": 10**400}, "row 1: x is beyond what a number can be"),
        ({"x": [1]}, r"row 1: x is numeric: give a number or null, not \[1\]"),
        ({"colour": 7}, 'row 1: colour is categorical: give a text, such as "7", or null, not 7'),
        ({"colour": {}}, "row 1: colour is categorical: give a text or null, not {}"),
        ({"colour": "a" * 1001}, "row 1: colour is no category: at most 1,000 characters"),
        ({"colour": "\ud800"}, "row 1: colour holds half a character"),
        ({"y": "no"}, "row 1: there is no column y, only x, z, colour"),
    ],
)
def test_a_row_that_does_not_fit(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        table_of_rows([GOOD, {**GOOD, **change}], SCHEMA)


def test_a_row_that_lacks_a_column() -> None:
    with pytest.raises(InputError, match=r"^row 0: z is missing$"):
        table_of_rows([{"x": 1, "colour": "red"}], SCHEMA)
    renamed = {"x": 1, "z": 1, "color": "red"}
    with pytest.raises(InputError, match="colour is missing, and there is no column color: did"):
        table_of_rows([renamed], SCHEMA)


@pytest.mark.parametrize(
    ("asked", "numeric", "says"),
    [
        ([], False, "give "),
        ({"id": "a"}, False, "give "),
        ({"labels": [{"id": "a", "label": "b", "at": 1}]}, False, "give "),
        ({"labels": 3}, False, "give "),
        ({"id": 7, "label": "b"}, False, "label 0: the id is one that /predict gave, not 7"),
        ({"id": "a", "label": 1}, False, "label 0: give a text, not 1"),
        ({"id": "a", "label": "1"}, True, 'label 0: give a number, not "1"'),
    ],
)
def test_labels_that_are_none(asked: Any, numeric: bool, says: str) -> None:
    with pytest.raises(InputError, match=says):
        labels_of(asked, numeric)
