"""The incremental learner sees what it may, when it may, and does what River does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks import incremental
from benchmarks.incremental import (
    Incremental,
    Learner,
    incremental_errors,
    label_arrivals,
    learner,
    rows_of,
)
from engine.batch import FOREVER, Batch, Floats, Schema, plain_batch, table_of

HAT: Learner = "hoeffding_adaptive_tree"
MODELS: tuple[Learner, ...] = (HAT, "adaptive_random_forest")


def errors_of(batch: Batch, model: Learner = HAT, first_scored: int = 0) -> Floats:
    now = np.maximum.accumulate(batch.times)
    return incremental_errors(batch, now, model=model, seed=4, scale=2.0, first_scored=first_scored)


def made(rows: int, task: str = "classification", late: int = 0, holes: float = 0.0) -> Batch:
    """Return records of a drifting concept, with missing values if there are to be `holes`."""
    rng = np.random.default_rng(11)
    numbers = rng.normal(size=(rows, 3))
    letters = rng.integers(0, 3, size=rows)
    target = numbers[:, 0] + letters + numbers[:, 1] * np.where(np.arange(rows) > rows // 2, 2, -2)
    labels: list[Any] = target.tolist()
    if task == "classification":
        labels = np.array(["low", "middle", "high"])[np.digitize(target, [0, 2])].tolist()
    numbers[rng.random(numbers.shape) < holes] = np.nan
    absent = rng.random(rows) < holes
    texts = [None if gone else "abc"[at] for at, gone in zip(letters, absent, strict=True)]
    columns: dict[str, Any] = {f"x{at}": numbers[:, at] for at in range(3)}
    return plain_batch(columns | {"c": texts}, labels, categorical=["c"], late_records=late)


class Noting:
    """A learner that says the newest label it was taught, and notes all that is done to it."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, float]] = []
        self.newest: Any = None

    def predict_one(self, row: dict[str, float]) -> Any:
        self.notes.append(("predict", row["x"]))
        return self.newest

    def learn_one(self, row: dict[str, float], label: Any) -> None:
        self.notes.append(("learn", row["x"]))
        self.newest = label


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> Noting:
    found = Noting()
    monkeypatch.setattr(incremental, "learner", lambda model, schema, seed: found)
    return found


# --- the order of things --------------------------------------------------------------------


def numbered(labels: list[str | None], late: list[int], micros: list[int] | None = None) -> Batch:
    """Return records whose only feature is their number."""
    batch = plain_batch({"x": [float(at) for at in range(len(labels))]}, labels)
    waits = np.array(micros or [0] * len(labels), dtype=np.int64)
    return replace(batch, late_records=np.array(late, dtype=np.int64), late_micros=waits)


def test_a_label_is_learned_after_the_arrival_that_brings_it(noting: Noting) -> None:
    errors = errors_of(numbered(["a", "b", "c", "d", "e"], [2, 1, 0, 1, 5]))
    assert noting.notes == [
        ("learn", 0), ("learn", 1), ("learn", 2), ("predict", 3), ("predict", 4), ("learn", 3),
    ]  # fmt: skip
    assert np.isnan(errors[:3]).all() and errors[3:].tolist() == [1.0, 1.0]


def test_labels_late_in_time_come_with_the_arrival_that_has_reached_it(noting: Noting) -> None:
    batch = numbered(["a", "a", "b", "b"], [0] * 4, [1_500_000, 0, 0, 0])
    errors = errors_of(batch)
    assert [note for note in noting.notes if note[0] == "learn"] == [
        ("learn", 1), ("learn", 0), ("learn", 2), ("learn", 3),
    ]  # fmt: skip
    assert errors[2:].tolist() == [1.0, 0.0] and np.isnan(errors[:2]).all()


def test_a_label_that_never_comes_is_neither_learned_nor_scored(noting: Noting) -> None:
    errors = errors_of(numbered(["a", None, "a", "a"], [0, 0, FOREVER, 0]))
    assert [at for what, at in noting.notes if what == "learn"] == [0, 3]
    assert np.isnan(errors[:2]).all() and errors[2:].tolist() == [0.0, 0.0]


def test_what_comes_before_the_first_scored_is_learned_all_the_same(noting: Noting) -> None:
    errors = errors_of(numbered(["a", "b", "b", "b"], [0] * 4), first_scored=2)
    assert np.isnan(errors[:2]).all() and errors[2:].tolist() == [0.0, 0.0]


def test_a_piece_of_a_stream_counts_from_its_own_first_record() -> None:
    whole = made(200)
    piece = whole[100:]
    alone = replace(piece, first=0, marks=())
    np.testing.assert_array_equal(errors_of(piece), errors_of(alone))
    assert np.isnan(errors_of(piece, first_scored=150)[:50]).all()
    assert not np.isnan(errors_of(piece, first_scored=150)[50:]).any()


def test_label_arrivals_are_those_of_the_loop() -> None:
    batch = numbered(["a", "b", None, "d"], [2, 0, 0, 9], [0, 1_500_000, 0, 0])
    arrivals = label_arrivals(batch, batch.times)
    assert arrivals[:2].tolist() == [2, 3] and (arrivals[2:] > 4).all()


# --- what River does ------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0, 30])
def test_it_does_what_a_plain_loop_around_river_does(late: int) -> None:
    from river import tree

    batch = made(1500, late=late)
    trees: Any = tree
    model = trees.HoeffdingAdaptiveTreeClassifier(seed=4)
    rows, names = list(rows_of(batch.table)), list(dict.fromkeys(batch.labels))
    numbers = [names.index(label) for label in batch.labels]
    wrong = []
    for at, row in enumerate(rows):
        wrong.append(float(model.predict_one(row) != numbers[at]))
        if at >= late:
            model.learn_one(rows[at - late], numbers[at - late])
    errors = errors_of(batch)
    assert np.isnan(errors[: late + 1]).all()
    assert errors[late + 1 :].tolist() == wrong[late + 1 :]


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("model", MODELS)
def test_it_copes_with_holes_and_texts_and_learns(task: str, model: Learner) -> None:
    rows = 500 if model == HAT else 120
    errors = errors_of(made(rows, task, late=10, holes=0.2), model, first_scored=50)
    assert np.isfinite(errors[50:]).all()
    assert errors[50:].mean() < (0.7 if task == "classification" else 1.2)
    again = errors_of(made(rows, task, late=10, holes=0.2), model, first_scored=50)
    np.testing.assert_array_equal(errors, again)


def test_an_error_of_a_number_is_in_units_of_the_scale() -> None:
    batch = plain_batch({"x": [0.0] * 4}, [1.0, 1.0, 5.0, 5.0])
    one = incremental_errors(batch, batch.times, model=HAT, seed=1, scale=1.0, first_scored=0)
    two = incremental_errors(batch, batch.times, model=HAT, seed=1, scale=2.0, first_scored=0)
    assert np.isnan(one[0]) and (one[1:] == 2 * two[1:]).all() and one[2] > 3


def test_what_is_missing_is_left_out_of_its_row() -> None:
    gone = float("nan")
    table = table_of({"x": [1.0, 2.0], "c": [None, "a"]}, categorical=["c"])
    assert list(rows_of(table)) == [{"x": 1.0}, {"x": 2.0, "c": "a"}]
    table = table_of({"x": [1.0, gone], "c": ["b", "a"]}, categorical=["c"])
    assert list(rows_of(table)) == [{"x": 1.0, "c": "b"}, {"c": "a"}]


def test_a_row_without_any_value_is_a_row() -> None:
    table = table_of({"x": [float("nan"), float("inf")], "c": [None, "a"]}, categorical=["c"])
    assert list(rows_of(table)) == [{}, {"c": "a"}]
    nothing = plain_batch({"x": [float("nan")] * 3}, ["a"] * 3)
    assert errors_of(nothing)[1:].tolist() == [0.0, 0.0]


def test_classes_are_told_to_river_as_numbers(noting: Noting) -> None:
    """Its set of texts has another order in each process, and the first class wins a tie."""
    errors_of(numbered(["b", "a", "b"], [0] * 3))
    assert type(noting.newest) is int


def test_the_learner_follows_from_the_task() -> None:
    for model in MODELS:
        for task, suffix in (("classification", "Classifier"), ("regression", "Regressor")):
            schema = Schema(("x",), (), task)  # type: ignore[arg-type]
            assert type(learner(model, schema, 1)).__name__.endswith(suffix)


def test_settings_know_the_models() -> None:
    assert Incremental(kind="incremental").model == HAT
    with pytest.raises(ValidationError, match="hoeffding_adaptive_tree"):
        Incremental(kind="incremental", model="tree")  # type: ignore[arg-type]
