from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.batch import Floats, Schema, Table, table_of
from engine.errors import EngineError
from engine.training.fit import fit
from engine.training.jobs import Fitted, Prediction, Predictor
from engine.training.models import (
    CatBoostPredictor,
    ConstantPredictor,
    PythonPredictor,
    catboost_input,
    describe,
)
from tests.engine.training.windows import as_regression, job_of, regression_window, window

KINDS = ["binary", "three", "categorical", "regression"]


def trained(kind: str) -> tuple[CatBoostPredictor, Table]:
    if kind == "regression":
        table, labels = regression_window()
    else:
        classes = ("a", "b", "c") if kind == "three" else ("no", "yes")
        table, labels = window(classes=classes, categorical=kind == "categorical")
    result = fit(job_of(table, labels))
    assert isinstance(result, Fitted)
    assert isinstance(result.predictor, CatBoostPredictor)
    return result.predictor, table


def in_pieces(predictor: Predictor, table: Table, size: int) -> Prediction:
    parts = [predictor.predict(table[at : at + size]) for at in range(0, len(table), size)]
    return Prediction(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_answers_do_not_depend_on_batches(kind: str) -> None:
    predictor, table = trained(kind)
    whole = predictor.predict(table)
    for size in (1, 7, 64, 299):
        pieces = in_pieces(predictor, table, size)
        assert pieces.values.tolist() == whole.values.tolist()
        assert pieces.scores.tobytes() == whole.scores.tobytes()
    backwards = predictor.predict(table[np.arange(len(table))[::-1]])
    assert backwards.values[::-1].tolist() == whole.values.tolist()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_answers_are_those_of_catboost(kind: str) -> None:
    predictor, table = trained(kind)
    answer = predictor.predict(table)
    data = catboost_input(table)
    assert answer.values.tolist() == predictor.model.predict(data).ravel().tolist()
    assert answer.scores.tobytes() == predictor.model.predict_proba(data).max(axis=1).tobytes()
    assert {type(value) for value in answer.values} == {str}
    assert predictor.classes == tuple(sorted(predictor.classes))


def test_a_tie_is_decided_as_catboost_does() -> None:
    table = table_of({"x": [0.0, 0.0, 1.0, 1.0]})
    result = fit(job_of(table, np.array(["b", "a", "a", "b"], dtype=object)))
    assert isinstance(result, Fitted)
    answer = result.predictor.predict(table)
    assert answer.scores.tolist() == [0.5] * 4
    assert isinstance(result.predictor, CatBoostPredictor)
    assert answer.values.tolist() == result.predictor.model.predict([[0.0]] * 4).tolist()


def test_a_models_own_threshold_is_kept() -> None:
    predictor, table = trained("binary")
    predictor.model.set_probability_threshold(0.9)
    answer = predictor.predict(table)
    assert answer.values.tolist() == predictor.model.predict(catboost_input(table)).tolist()
    assert answer.scores.min() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_no_call(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    predictor, table = trained(kind)
    answer = predictor.predict(table[:0])
    assert answer.values.shape == answer.scores.shape == (0,)
    assert answer.values.dtype == (np.float64 if kind == "regression" else object)
    assert capfd.readouterr() == ("", "")


def test_new_levels_and_missing_values_are_answered() -> None:
    predictor, _ = trained("categorical")
    columns: dict[str, Any] = {name: [0.0, np.nan] for name in ("x", "y", "z")}
    answer = predictor.predict(table_of({**columns, "c": ["new", None]}, categorical=["c"]))
    assert set(answer.values) <= {"no", "yes"}


def test_the_order_of_levels_does_not_matter() -> None:
    predictor, table = trained("categorical")
    levels = table.levels[0]
    turned = np.where(table.codes < 0, table.codes, len(levels) - table.codes)
    other = replace(table, codes=turned, levels=(("unused", *levels[::-1]),))
    assert other.texts("c").tolist() == table.texts("c").tolist()
    assert predictor.predict(other).scores.tobytes() == predictor.predict(table).scores.tobytes()
    _, labels = window(categorical=True)
    again = fit(job_of(other, labels))
    assert isinstance(again, Fitted)
    scores = again.predictor.predict(table).scores
    assert scores.tobytes() == predictor.predict(table).scores.tobytes()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("x", "y"), "it wants z"),
        (("y", "x", "z"), "order differs"),
        (("x", "y", "q"), "it lacks q; it also wants z"),
    ],
)
def test_other_columns_are_refused(columns: tuple[str, ...], message: str) -> None:
    predictor, _ = trained("binary")
    with pytest.raises(EngineError, match=message):
        predictor.predict(table_of({name: [1.0] for name in columns}))


def test_a_constant_number() -> None:
    answer = ConstantPredictor(2.5).predict(as_regression(table_of({"x": [1.0, 2.0]})))
    assert answer.values.tolist() == [2.5, 2.5]
    assert np.isnan(answer.scores).all()
    assert ConstantPredictor(2.5).classes == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("catboost/libs/data/target.cpp:91: Target is empty", "Target is empty"),
        ("No such file: '/home/me/my.csv'", "No such file: 'my.csv'"),
        ("12 km/h <object at 0x7fAB>\nmore", "12 km/h <object at 0x...>"),
        ("", ""),
    ],
)
def test_reasons_hold_nothing_of_the_machine(text: str, line: str) -> None:
    assert describe(ValueError(text)) == line


# --- the user's own models ------------------------------------------------------------------


class Recorder:
    """Answers what it is told to, and remembers how it was asked."""

    def __init__(self, answer: Any, shares: Any = None) -> None:
        self.answer = answer
        self.frames: list[pd.DataFrame] = []
        if shares is not None:
            self.predict_proba = lambda frame: np.asarray(shares)[: len(frame)]

    def predict(self, frame: pd.DataFrame) -> Any:
        self.frames.append(frame)
        return self.answer(frame) if callable(self.answer) else self.answer


def ours(model: Any, regression: bool = False, vectorised: bool = True) -> PythonPredictor:
    task = "regression" if regression else "classification"
    schema = Schema(("x",), ("c",), task)  # type: ignore[arg-type]
    return PythonPredictor(schema, () if regression else ("1", "2"), model, vectorised)


def two_rows() -> Table:
    return table_of({"x": [0.5, np.nan], "c": ["u", None]}, categorical=["c"])


def test_a_frame_of_floats_and_texts_is_given() -> None:
    model = Recorder(["1", "2"])
    ours(model).predict(two_rows())
    (frame,) = model.frames
    assert frame.dtypes.astype(str).tolist() == ["float64", "object"]
    assert frame["c"].tolist() == ["u", None]


def test_row_by_row_unless_vectorised() -> None:
    model = Recorder(lambda frame: ["1"] * len(frame))
    ours(model, vectorised=False).predict(two_rows())
    assert [frame.index.tolist() for frame in model.frames] == [[0], [0]]
    assert model.frames[1]["c"].tolist() == [None]


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        (np.array([1, 2]), ["1", "2"]),
        (np.array(["1", "2"]), ["1", "2"]),
        ([np.str_("1"), 2], ["1", "2"]),
        (pd.Series(["1", "2"]), ["1", "2"]),
        (np.array([[1], [2]]), ["1", "2"]),
    ],
)
def test_answers_become_texts(answer: Any, texts: list[str]) -> None:
    values = ours(Recorder(answer)).predict(two_rows()).values
    assert values.tolist() == texts
    assert values.dtype == object
    assert {type(value) for value in values} == {str}


@pytest.mark.parametrize(
    ("shares", "scores"),
    [
        (None, [np.nan, np.nan]),
        ([[0.9, 0.1], [0.4, 0.6]], [0.9, 0.6]),
        ([[0.9], [0.4]], [np.nan, np.nan]),
    ],
)
def test_scores_come_from_predict_proba(shares: Any, scores: list[float]) -> None:
    answer: Floats = ours(Recorder([1, 2], shares)).predict(two_rows()).scores
    np.testing.assert_array_equal(answer, scores)


def test_the_models_own_order_of_classes_counts() -> None:
    model = Recorder([1, 2], [[0.9, 0.1], [0.4, 0.6]])
    model.classes_ = [2, 1]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(ours(model).predict(two_rows()).scores, [0.1, 0.4])


@pytest.mark.parametrize(
    ("answer", "regression", "message"),
    [
        (["1"], False, "answered 1 for 2 rows"),
        ("1", False, "answered a single value for 2 rows"),
        (np.zeros((2, 2)), False, "answered 2x2 for 2 rows"),
        (["1", None], False, "without a class"),
        ([1.0, np.nan], False, "without a class"),
        ([1.0, np.nan], True, "not finite"),
        (["a", "b"], True, "gave no number"),
        (lambda frame: 1 / 0, False, "ZeroDivisionError: division by zero"),
    ],
)
def test_bad_answers_are_one_clear_error(answer: Any, regression: bool, message: str) -> None:
    table = as_regression(two_rows()) if regression else two_rows()
    with pytest.raises(EngineError, match=message) as caught:
        ours(Recorder(answer), regression).predict(table)
    assert "\n" not in str(caught.value)
