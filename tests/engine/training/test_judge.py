from __future__ import annotations

import math
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pytest

from engine.batch import Labels, Table, table_of
from engine.losses import prediction_errors
from engine.settings import Gate, Guards
from engine.training.jobs import Prediction
from engine.training.judge import Verdict, judge, sign_test
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
        Gate(margin=margin),
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
    assert verdict(ours, theirs, list(TEN), margin).answer == ("promote" if promote else "keep")


def test_exact_margin_survives_rounding() -> None:
    labels: list[str | None] = [*["a"] * 7, "c", *["b"] * 2]
    assert verdict("b", "c", labels, -0.1).challenger_error == pytest.approx(0.9)
    assert 0.8 - -0.1 != 0.9 or verdict("b", "c", labels, -0.1).answer == "promote"
    assert verdict("b", "c", labels, -0.1).answer == "promote"


def test_rows_without_label_do_not_count() -> None:
    wanted = Verdict("promote", 3, 2 / 3, 1 / 3, wins=2, losses=1)
    assert verdict("a", "b", ["a", None, "b", "b"], 0.0) == wanted


@pytest.mark.parametrize("labels", [[], [None, None]])
def test_without_labels_the_champion_stays(labels: list[str | None]) -> None:
    given = verdict("a", "b", labels, 0.0)
    assert (given.answer, given.rows) == ("keep", 0)
    assert math.isnan(given.champion_error) and math.isnan(given.challenger_error)


def test_regression_is_scaled() -> None:
    table = as_regression(table_of({"x": [0.0, 0.0]}))
    labels = labels_of([1.0, 3.0])
    gate = Gate(margin=0.5)
    given = judge(ConstantPredictor(0.0), ConstantPredictor(2.0), table, labels, 2.0, gate)
    assert given == Verdict("promote", 2, 1.0, 0.5, wins=1, losses=0)


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


# --- the paired test, extensions and guard rails ----------------------------------------------


@dataclass(frozen=True)
class Saying:
    """A model that answers what it is told to, with the scores it is told to have."""

    values: Labels
    scores: float = 1.0

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    def predict(self, table: Table) -> Prediction:
        return Prediction(self.values, np.full(len(table), self.scores))


def paired(wins: int, losses: int, draws: int, gate: Gate, last: bool = True) -> Verdict:
    """Judge a challenger that alone is right so often, alone wrong so often."""
    ours = labels_of(["b"] * wins + ["a"] * (losses + draws))
    theirs = labels_of(["a"] * wins + ["b"] * losses + ["a"] * draws)
    rows = wins + losses + draws
    table, labels = table_of({"x": [0.0] * rows}), labels_of(["a"] * rows)
    return judge(Saying(ours), Saying(theirs), table, labels, 1.0, gate, last=last)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (8, 2), (2, 8), (70, 41)])
def test_the_sign_test_is_the_exact_binomial_one(wins: int, losses: int) -> None:
    ways = [comb(wins + losses, k) for k in range(wins, wins + losses + 1)]
    assert sign_test(wins, losses) == sum(ways) / 2 ** (wins + losses)


def test_the_sign_test_stands_many_records() -> None:
    assert 0 < sign_test(5_200, 4_800) < 1e-4
    assert sign_test(5_000, 0) == 0.0, "less than the smallest float"


@pytest.mark.parametrize(
    ("wins", "losses", "draws", "given", "answer"),
    [
        (5, 0, 10, {}, "promote"),  # 1/32
        (4, 0, 10, {}, "extend"),  # 1/16
        (0, 5, 10, {}, "keep"),  # the champion is surely better
        (3, 3, 10, {}, "extend"),
        (5, 0, 10, {"margin": 0.4}, "extend"),  # better, but not by so much: more may tell
        (5, 0, 10, {"minimum": 16}, "extend"),
        (5, 0, 10, {"minimum": 15}, "promote"),
        (5, 0, 10, {"alpha": 0.03}, "extend"),
        (5, 0, 10, {"extend": 10, "extensions": 1}, "extend"),  # two looks share alpha
        (6, 0, 10, {"extend": 10, "extensions": 1}, "promote"),  # 1/64
    ],
)
def test_the_paired_test_decides(
    wins: int, losses: int, draws: int, given: dict[str, Any], answer: str
) -> None:
    gate = Gate(test="mcnemar", **given)
    assert paired(wins, losses, draws, gate, last=False).answer == answer
    last = "keep" if answer == "extend" else answer
    assert paired(wins, losses, draws, gate, last=True).answer == last


def test_without_a_test_only_too_few_records_extend() -> None:
    assert paired(3, 3, 1, Gate(minimum=8), last=False).answer == "extend"
    assert paired(3, 3, 2, Gate(minimum=8), last=False).answer == "promote"
    assert paired(3, 4, 2, Gate(minimum=8), last=False).answer == "keep"


def test_numbers_are_compared_by_whose_error_is_smaller() -> None:
    table = as_regression(table_of({"x": [0.0] * 6}))
    labels = labels_of([1.0] * 6)
    gate = Gate(test="mcnemar")
    found = judge(Saying(labels + 5), Saying(labels - 1), table, labels, 1.0, gate)
    assert (found.answer, found.wins, found.losses) == ("promote", 6, 0)
    assert found.p_value == 1 / 64


GUARDED = [
    ({"collapse": 0.2}, True, 0.3),
    ({"collapse": 0.31}, False, 0.3),
    ({"calibration": 0.04}, True, 0.3 - 0.25),
    ({"calibration": 0.06}, False, 0.3 - 0.25),
    ({"size": 599}, True, 600),
    ({"size": 600}, False, 600),
]
"""What is set, whether it holds the challenger back, and what was measured."""


@pytest.mark.parametrize(("given", "broken", "figure"), GUARDED)
def test_guard_rails_keep_a_challenger_out(
    given: dict[str, Any], broken: bool, figure: float
) -> None:
    ours, theirs = Saying(labels_of(["b"] * 10), 0.5), Saying(labels_of(["a"] * 10), 1.0)
    gate = Gate(guards=Guards(**given))
    table, labels = table_of({"x": [0.0] * 10}), labels_of(TEN)
    found = judge(ours, theirs, table, labels, 1.0, gate, size=600, last=False)
    (name,) = given
    assert found.guards[name] == pytest.approx(figure)
    assert found.broken == ((name,) if broken else ())
    assert found.answer == ("keep" if broken else "promote")
    assert found.figures(gate)["broken"] == list(found.broken)


def test_guard_rails_that_cannot_be_measured_hold_nobody_back() -> None:
    table = as_regression(table_of({"x": [0.0]}))
    gate = Gate(guards=Guards(collapse=0.0, calibration=0.0, size=1))
    found = judge(ConstantPredictor(0.0), ConstantPredictor(1.0), table, labels_of([1.0]), 1, gate)
    assert found.answer == "promote"
    assert dict(found.guards) == {"collapse": None, "calibration": None, "size": None}


def test_figures_of_a_plain_gate_are_the_errors_only() -> None:
    told = paired(1, 0, 1, Gate()).figures(Gate())
    assert told == {"judged_rows": 2, "champion_error": 0.5, "challenger_error": 0.0}
