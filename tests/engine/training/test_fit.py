from __future__ import annotations

import inspect
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.batch import Labels, Table, table_of
from engine.settings import CatBoostModel, PythonModel
from engine.training.fit import ALLOWED, REFUSED, check_model, fit
from engine.training.jobs import Failed, Fitted
from engine.training.models import ConstantPredictor, catboost_library
from tests.engine.training.windows import (
    SMALL,
    as_regression,
    job_of,
    labels_of,
    regression_window,
    window,
)

NAN = float("nan")
AB = ["a", "b"] * 20


def fitted(table: Table, labels: Labels, model: Any = SMALL, **more: Any) -> Fitted:
    result = fit(job_of(table, labels, model, **more))
    assert isinstance(result, Fitted), result
    return result


# --- ordinary windows -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes", [("no", "yes"), ("a", "b", "c"), ("10", "9"), ("0", "1", "1.0")]
)
@pytest.mark.parametrize("categorical", [False, True])
def test_it_learns(classes: tuple[str, ...], categorical: bool) -> None:
    table, labels = window(classes=classes, categorical=categorical)
    result = fitted(table, labels)
    assert result.predictor.classes == tuple(sorted(classes))
    assert np.mean(result.predictor.predict(table).values == labels) > 0.75
    assert result.notes == ()
    assert result.details == {"rows": 300, "trees": 10}


def test_it_learns_numbers() -> None:
    table, labels = regression_window()
    result = fitted(table, labels, CatBoostModel(iterations=100, learning_rate=0.2))
    answer = result.predictor.predict(table)
    assert np.abs(answer.values - labels).mean() < 0.3
    assert answer.values.dtype == np.float64
    assert np.isnan(answer.scores).all()


def test_the_seed_counts_and_nothing_else() -> None:
    table, labels = window()
    first, again, other = (
        fitted(table, labels, seed=seed).predictor.predict(table).scores.tobytes()
        for seed in (2**40 + 1, 2**40 + 1, 2)
    )
    assert first == again != other


# --- odd windows ----------------------------------------------------------------------------


def odd(x: Any, labels: list[Any], c: Any = None) -> tuple[Table, Labels]:
    columns = {"x": x} | ({} if c is None else {"c": c})
    return table_of(columns, categorical=["c"] if c is not None else []), labels_of(labels)


WAVE = [float(at % 7) for at in range(40)]
CONSTANT = {
    "one class": (odd(WAVE, ["a"] * 40), "a", 1.0, "one class only, 'a'"),
    "single row": (odd([1.0], ["a"]), "a", 1.0, "one class only"),
    "constant numbers": (odd([3.0] * 40, [*AB[:39], "a"]), "a", 21 / 40, "features are constant"),
    "all missing, alone": (odd([NAN] * 40, AB), "a", 0.5, "features are constant"),
    "huge, alone": (odd([1e300] * 20 + [1e301] * 20, AB), "a", 0.5, "features are constant"),
    "constant texts": (odd([1.0] * 40, AB, ["u"] * 40), "a", 0.5, "features are constant"),
    "missing texts, alone": (odd([NAN] * 40, AB, [None] * 40), "a", 0.5, "are constant"),
    "blank is missing": (odd([1.0] * 40, AB, ["", None] * 20), "a", 0.5, "are constant"),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_windows_that_teach_one_answer(name: str) -> None:
    (table, labels), value, score, note = CONSTANT[name]
    result = fitted(table, labels)
    assert result.predictor == ConstantPredictor(value, score)
    assert len(result.notes) == 1
    assert note in result.notes[0]


ODD = {
    "missing numbers beside others": (
        table_of({"x": WAVE, "y": [NAN] * 40}),
        AB,
        "no value at all in y",
    ),
    "missing texts beside numbers": (odd(WAVE, AB, [None] * 40)[0], AB, "no value at all in c"),
    "a value or none": (table_of({"x": [1.0, NAN] * 20}), AB, ""),
    "two rows": (table_of({"x": [1.0, 2.0]}), ["a", "b"], "fewer than 5 records of class 'a', 'b'"),
    "two rows of text": (odd([1.0] * 2, ["a", "b"], ["u", "v"])[0], ["a", "b"], "fewer than 5"),
    "rare classes": (table_of({"x": WAVE}), [*AB[:38], "c", "d"], "class 'c', 'd'"),
    "huge numbers": (table_of({"x": [1e300, *WAVE[1:]]}), AB, "too large for 32 bits"),
    "infinite numbers": (table_of({"x": [-np.inf, *WAVE[1:]]}), AB, "count as infinite in x"),
    "only texts": (table_of({"c": ["u", "v", None, ""] * 10}, categorical=["c"]), AB, ""),
    "odd names of classes": (table_of({"x": WAVE}), ["nan", "é 日本"] * 20, ""),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_windows_train_with_a_note(name: str) -> None:
    table, labels, note = ODD[name]
    result = fitted(table, labels_of(labels))
    assert result.predictor.classes == tuple(sorted(set(labels)))
    assert set(result.predictor.predict(table).values) <= set(labels)
    assert note in " ".join(result.notes)
    assert bool(result.notes) == bool(note)


def test_no_rows() -> None:
    result = fit(job_of(table_of({"x": []}), np.empty(0, dtype=object)))
    assert result == Failed("the window has no labelled records")


@pytest.mark.parametrize("labels", [labels_of(AB), labels_of([1.0, 3.0] * 20)])
def test_no_features(labels: Labels) -> None:
    numbers = np.empty((40, 0))
    table = Table(table_of({}).schema, numbers, np.empty((40, 0), dtype=np.int32), ())
    regression = labels.dtype != object
    result = fitted(as_regression(table) if regression else table, labels)
    assert result.predictor == (
        ConstantPredictor(2.0) if regression else ConstantPredictor("a", 0.5)
    )
    assert "there is no feature" in result.notes[0]


@pytest.mark.parametrize(
    ("x", "labels", "value"),
    [(WAVE, [2.5] * 40, 2.5), ([1.0], [4.0], 4.0), ([1.0] * 2, [1.0, 2.0], 1.5)],
)
def test_constant_numbers(x: list[float], labels: list[float], value: float) -> None:
    result = fitted(as_regression(table_of({"x": x})), labels_of(labels))
    assert result.predictor == ConstantPredictor(value)
    assert len(result.notes) == 1


@pytest.mark.parametrize("largest", [1e31, 1e300, np.inf])
def test_huge_labels_fail_with_a_reason(largest: float) -> None:
    table = as_regression(table_of({"x": WAVE}))
    result = fit(job_of(table, labels_of([largest, *WAVE[1:]])))
    assert result == Failed("a label is beyond 1e+30, the largest that CatBoost can be given")


def test_catboosts_own_errors_are_reasons() -> None:
    table, labels = window()
    result = fit(job_of(table, labels, CatBoostModel(params={"bootstrap_type": "Sideways"})))
    assert isinstance(result, Failed)
    assert result.reason.startswith("CatBoost: ")
    assert ".cpp" not in result.reason and "\n" not in result.reason
    blank = fit(job_of(table, np.where(labels == "no", "", labels)))
    assert isinstance(blank, Failed)


# --- early stopping -------------------------------------------------------------------------

STOPPING = CatBoostModel(iterations=200, depth=3, learning_rate=0.5, early_stopping=3)


def test_early_stopping_watches_the_newest_fifth() -> None:
    table, labels = window(500)
    result = fitted(table, labels, STOPPING)
    assert 0 < result.details["trees"] < 200
    assert result.notes == ()
    labels = labels.copy()
    labels[400:] = labels[400:][::-1]  # the newest fifth is noise: other trees are kept
    assert fitted(table, labels, STOPPING).details["trees"] != result.details["trees"]


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        ([*AB[:36], "c", "a", "b", "c"], "a class that the rest does not"),
        ([*AB[:32], *["a"] * 8], "one class only"),
        (["a"] * 32 + ["b"] * 8, "a class that the rest does not"),
    ],
)
def test_no_early_stopping_on_odd_rows(labels: list[str], note: str) -> None:
    result = fitted(table_of({"x": WAVE}), labels_of(labels), STOPPING)
    assert result.details["trees"] == 200
    assert any(text.startswith("no early stopping: ") and note in text for text in result.notes)


def test_no_early_stopping_on_few_rows_or_constants() -> None:
    few = fitted(table_of({"x": [1.0, 2.0, 3.0]}), labels_of(["a", "b", "a"]), STOPPING)
    assert "no early stopping: 3 records are too few" in few.notes
    flat = fitted(table_of({"x": [1.0] * 32 + WAVE[:8]}), labels_of(AB), STOPPING)
    assert any("constant in the older four fifths" in note for note in flat.notes)
    table = as_regression(table_of({"x": WAVE}))
    still = fitted(table, labels_of([1.0] * 32 + WAVE[:8]), STOPPING)
    assert any("labels of the older four fifths" in note for note in still.notes)


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_keys_that_break_the_contract_are_refused(key: str) -> None:
    settings = CatBoostModel(params={key: 1})
    assert check_model(settings) == [(f"params.{key}", REFUSED[key])]
    table, labels = window()
    assert isinstance(fit(job_of(table, labels, settings)), Failed)


def test_losses_must_fit_the_task() -> None:
    rmse = CatBoostModel(params={"loss_function": "RMSE"})
    quantile = CatBoostModel(params={"objective": "Quantile:alpha=0.9"})
    assert check_model(rmse) == check_model(rmse, "regression") == []
    assert check_model(quantile, "regression") == []
    assert "only Logloss" in check_model(rmse, "classification")[0][1]
    assert check_model(CatBoostModel(params={"loss_function": "YetiRank"}))
    assert check_model(CatBoostModel(params={"no_such_key": 1}))
    assert check_model(PythonModel(kind="python", factory="a:b", params={"seed": 1})) == []


@pytest.mark.parametrize("loss", ["MAE", "Quantile:alpha=0.9", "Poisson", "Huber:delta=1"])
def test_other_losses_of_regression(loss: str) -> None:
    table, labels = regression_window()
    result = fitted(table, np.exp(labels / 3), CatBoostModel(params={"loss_function": loss}))
    values = result.predictor.predict(table).values
    assert np.corrcoef(values, np.exp(labels / 3))[0, 1] > 0.8
    assert loss != "Poisson" or values.min() > 0


def test_all_allowed_keys_are_known_to_catboost() -> None:
    known = set(inspect.signature(catboost_library().CatBoostClassifier.__init__).parameters)
    assert known >= ALLOWED
    assert not ALLOWED & set(REFUSED)
    assert set(REFUSED) <= known


def test_params_reach_catboost() -> None:
    table, labels = window()
    plain = fitted(table, labels).predictor.predict(table).scores
    other = fitted(table, labels, CatBoostModel(iterations=10, depth=3, params={"l2_leaf_reg": 90}))
    assert other.predictor.predict(table).scores.tobytes() != plain.tobytes()


def test_checking_settings_needs_no_catboost() -> None:
    code = (
        "import sys; from engine.training.fit import check_model; "
        "from engine.settings import CatBoostModel; check_model(CatBoostModel()); "
        "sys.exit('catboost' in sys.modules or 'pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the user's own models ------------------------------------------------------------------

MODULE = """
import random
import numpy as np

class Mean:
    def __init__(self, shift=0.0):
        self.shift = shift
    def fit(self, X, y):
        self.seen = (list(X.dtypes.astype(str)), y.dtype, random.random(), np.random.rand())
        self.mean = y.mean() if y.dtype == float else max(set(y), key=list(y).count)
    def predict(self, X):
        return [self.mean + self.shift if self.shift else self.mean] * len(X)

class Broken(Mean):
    def fit(self, X, y):
        raise RuntimeError("no luck with /home/me/data.csv\\nsecond line")

class Mute:
    def fit(self, X, y):
        pass

class Short(Mean):
    def predict(self, X):
        return []

def leave():
    raise SystemExit(3)
"""


def user(tmp_path: Path, function: str, name: str = "users_fit", **params: Any) -> dict[str, Any]:
    (tmp_path / f"{name}.py").write_text(MODULE)
    model = PythonModel(kind="python", factory=f"{name}:{function}", params=params)
    return {"model": model, "code_root": str(tmp_path)}


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("users_fit", None)


def test_a_users_model(tmp_path: Path) -> None:
    table, labels = window(classes=("a", "b", "c"), categorical=True)
    state = random.getstate()
    first, second = (fitted(table, labels, **user(tmp_path, "Mean")) for _ in range(2))
    assert first.predictor.classes == ("a", "b", "c")
    assert set(first.predictor.predict(table[:3]).values) <= {"a", "b", "c"}
    seen: Any = first.predictor
    assert seen.model.seen[0] == ["float64"] * 3 + ["object"]
    assert seen.model.seen[2:] == second.predictor.model.seen[2:]  # type: ignore[attr-defined]
    assert random.getstate() == state


def test_a_users_model_of_numbers(tmp_path: Path) -> None:
    table, labels = regression_window()
    result = fitted(table, labels, **user(tmp_path, "Mean", shift=2.0))
    assert result.predictor.predict(table[:2]).values.tolist() == [labels.mean() + 2.0] * 2


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("Broken", "the model's fit failed with RuntimeError: no luck with data.csv"),
        ("Mute", "users_fit:Mute made a Mute without predict"),
        ("Short", "the model's predict answered 0 for 1 rows"),
        ("leave", "the model's fit failed with SystemExit: 3"),
        ("absent", "model.factory: users_fit has no function absent"),
    ],
)
def test_a_users_model_that_fails(tmp_path: Path, function: str, reason: str) -> None:
    table, labels = window()
    assert fit(job_of(table, labels, **user(tmp_path, function))) == Failed(reason)


def test_a_module_that_cannot_be_imported() -> None:
    table, labels = window()
    model = PythonModel(kind="python", factory="no_such_module:make")
    reason = fit(job_of(table, labels, model))
    assert isinstance(reason, Failed)
    assert "cannot import no_such_module: ModuleNotFoundError" in reason.reason


def test_a_namesake_is_noticed(tmp_path: Path) -> None:
    table, labels = window()
    reason = fit(job_of(table, labels, **user(tmp_path, "Mean", name="colorsys")))
    assert isinstance(reason, Failed)
    assert "another module named colorsys" in reason.reason


def test_one_class_is_a_note_for_users_models_too(tmp_path: Path) -> None:
    table, _ = window(10)
    result = fitted(table, labels_of(["a"] * 10), **user(tmp_path, "Broken"))
    assert result.predictor == ConstantPredictor("a")
