from __future__ import annotations

import math

import numpy as np
import pytest

from engine.batch import table_of
from engine.losses import prediction_errors
from engine.training.judge import Verdict, judge
from engine.training.models import ConstantPredictor
from tests.engine.training.windows import as_regression, labels_of


def verdict(ours: str, theirs: str, labels: list[str | None], margin: float) -> Verdict:
    table = table_of({"x": [0.0] * len(labels)})
    return judge(
        ConstantPredictor(ours),
        ConstantPredictor(theirs),
        table,
        np.array(labels, dtype=object),
        1.0,
        margin,
    )


TEN = ["a"] * 7 + ["b"] * 3


@pytest.mark.parametrize(
    ("ours", "theirs", "margin", "promote"),
    [
        ("b", "a", 0.0, True),
        ("a", "b", 0.0, False),
        ("a", "a", 0.0, True),  # a draw promotes...
        ("a", "a", 0.01, False),  # ... unless a margin is asked for
        ("b", "a", 0.4, True),  # 0.3 against 0.7: exactly the margin, in spite of rounding
        ("b", "a", 0.401, False),
        ("a", "b", -0.4, True),
    ],
)
def test_the_margin_decides(ours: str, theirs: str, margin: float, promote: bool) -> None:
    assert verdict(ours, theirs, list(TEN), margin).promote is promote


def test_exact_margin_survives_rounding() -> None:
    labels: list[str | None] = [*["a"] * 7, "c", *["b"] * 2]
    assert verdict("b", "c", labels, -0.1).challenger_error == pytest.approx(0.9)
    assert 0.8 - -0.1 != 0.9 or verdict("b", "c", labels, -0.1).promote
    assert verdict("b", "c", labels, -0.1).promote


def test_rows_without_label_do_not_count() -> None:
    assert verdict("a", "b", ["a", None, "b", "b"], 0.0) == Verdict(True, 3, 2 / 3, 1 / 3)


@pytest.mark.parametrize("labels", [[], [None, None]])
def test_without_labels_the_champion_stays(labels: list[str | None]) -> None:
    given = verdict("a", "b", labels, 0.0)
    assert (given.promote, given.rows) == (False, 0)
    assert math.isnan(given.champion_error) and math.isnan(given.challenger_error)


def test_regression_is_scaled() -> None:
    table = as_regression(table_of({"x": [0.0, 0.0]}))
    labels = labels_of([1.0, 3.0])
    given = judge(ConstantPredictor(0.0), ConstantPredictor(2.0), table, labels, 2.0, 0.5)
    assert given == Verdict(True, 2, 1.0, 0.5)


def test_errors_are_nan_where_anything_is_missing() -> None:
    said = np.array(["a", None, "b", "b"], dtype=object)
    true = np.array(["a", "a", None, "a"], dtype=object)
    errors = prediction_errors(said, true, 1.0)
    assert errors.dtype == np.float64
    np.testing.assert_array_equal(errors, [0.0, np.nan, np.nan, 1.0])
    numbers = prediction_errors(labels_of([1.0, np.nan, 4.0]), labels_of([3.0, 1.0, np.nan]), 4.0)
    np.testing.assert_array_equal(numbers, [0.5, np.nan, np.nan])


def test_errors_of_no_rows() -> None:
    none = np.empty(0, dtype=object)
    assert prediction_errors(none, none, 1.0).shape == (0,)
