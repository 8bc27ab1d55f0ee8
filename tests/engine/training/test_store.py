from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.batch import Schema
from engine.errors import EngineError, InputError
from engine.settings import CatBoostModel, PythonModel
from engine.training.fit import fit
from engine.training.jobs import Failed, Fitted, Job
from engine.training.models import CatBoostPredictor, ConstantPredictor
from engine.training.store import Store, load_initial
from tests.engine.training.windows import job_of, labels_of, regression_window, window

USERS = """
class Always:
    def fit(self, X, y):
        self.answer = y[0]
    def predict(self, X):
        return [self.answer] * len(X)

class Sticky(Always):
    def fit(self, X, y):
        self.answer, self.trap = y[0], lambda: 0
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "private", tmp_path / "shared")


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("users_store", None)


def users_job(tmp_path: Path, function: str = "Always") -> Job:
    folder = tmp_path / "code"
    folder.mkdir(exist_ok=True)
    (folder / "users_store.py").write_text(USERS)
    table, labels = window(20)
    model = PythonModel(kind="python", factory=f"users_store:{function}", vectorised=True)
    return job_of(table, labels, model, code_root=str(folder))


def kept(store: Store, job: Job, job_id: str = "5f00") -> Fitted:
    result = fit(job)
    assert isinstance(result, Fitted), result
    store.save(job_id, job, result)
    return result


def files(root: Path | None) -> list[str]:
    assert root is not None
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["numeric", "categorical", "regression"])
def test_a_catboost_model_comes_back_as_it_was(store: Store, kind: str) -> None:
    table, labels = (
        regression_window() if kind == "regression" else window(categorical=kind == "categorical")
    )
    before = kept(store, job_of(table, labels))
    after = store.load("5f00")
    assert isinstance(after, Fitted)
    assert (after.notes, after.details) == (before.notes, before.details)
    assert after.predictor.classes == before.predictor.classes
    one, two = before.predictor.predict(table), after.predictor.predict(table)
    assert one.values.tolist() == two.values.tolist()
    assert one.scores.tobytes() == two.scores.tobytes()
    assert files(store.shared) == ["meta.json", "model.cbm"]
    assert not store.private.exists()


def test_constants_and_failures(store: Store) -> None:
    table, labels = window(5)
    job = job_of(table, labels)
    constant = Fitted(ConstantPredictor(1 / 3, 0.1), ("odd",), {"rows": 5})
    store.save("a1", job, constant)
    store.save("b2", job, Failed("no luck"))
    assert (store.load("a1"), store.load("b2")) == (constant, Failed("no luck"))
    assert files(store.shared) == files(store.private) == ["meta.json"]


def test_users_models_are_never_shared(store: Store, tmp_path: Path) -> None:
    job = users_job(tmp_path)
    kept(store, job)
    assert files(store.private) == ["meta.json", "model.pkl"]
    assert store.shared is not None and not store.shared.exists()
    sys.modules.pop("users_store")
    sys.path[:] = [entry for entry in sys.path if entry != job.code_root]
    after = store.load("5f00")
    assert isinstance(after, Fitted)
    assert after.predictor.predict(job.table).values.tolist() == [job.labels[0]] * 20
    assert after.predictor.vectorised  # type: ignore[attr-defined]


def test_a_users_model_whose_code_is_gone_is_absent(store: Store, tmp_path: Path) -> None:
    job = users_job(tmp_path)
    kept(store, job)
    sys.modules.pop("users_store")
    (Path(job.code_root) / "users_store.py").write_text("Always = None")
    assert store.load("5f00") is None


def test_a_model_that_cannot_be_pickled(store: Store, tmp_path: Path) -> None:
    job = users_job(tmp_path, "Sticky")
    with pytest.raises(EngineError, match="cannot be pickled"):
        kept(store, job)
    assert files(store.private) == []
    assert list(store.private.iterdir()) == []  # no draft is left behind


@pytest.mark.parametrize(
    "damage", ["model", "meta", "meta gone", "model gone", "empty", "format", "flip"]
)
def test_a_damaged_entry_is_absent_and_replaced(store: Store, damage: str) -> None:
    job = job_of(*window())
    result = kept(store, job)
    assert store.shared is not None
    entry = store.shared / "5f" / "5f00"
    meta, model = entry / "meta.json", entry / "model.cbm"
    if "gone" in damage:
        (meta if "meta" in damage else model).unlink()
    elif damage == "format":
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "format": 0}))
    elif damage == "flip":
        model.write_bytes(model.read_bytes().replace(b"x", b"q", 1))
    elif damage == "empty":
        meta.unlink()
        model.unlink()
    else:
        file = meta if damage == "meta" else model
        file.write_bytes(file.read_bytes()[:-20])
    assert store.load("5f00") is None
    store.save("5f00", job, result)
    assert isinstance(store.load("5f00"), Fitted)
    assert files(store.shared) == ["meta.json", "model.cbm"]


def test_a_whole_entry_stays(store: Store) -> None:
    job = job_of(*window())
    kept(store, job)
    store.save("5f00", job, Fitted(ConstantPredictor("other")))
    after = store.load("5f00")
    assert isinstance(after, Fitted) and isinstance(after.predictor, CatBoostPredictor)


def test_without_a_shared_folder_all_is_private(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept(store, job_of(*window()))
    assert isinstance(store.load("5f00"), Fitted)


# --- a model in production ------------------------------------------------------------------

XYZ = Schema(("x", "y", "z"), ())


def saved(path: Path, kind: str = "numeric", unnamed: bool = False) -> Path:
    table, labels = (
        regression_window() if kind == "regression" else window(categorical=kind == "categorical")
    )
    result = fit(job_of(table, labels))
    assert isinstance(result, Fitted) and isinstance(result.predictor, CatBoostPredictor)
    model = result.predictor.model
    if unnamed:
        model = type(model)(iterations=3, logging_level="Silent", allow_writing_files=False)
        model.fit(table.numbers, labels)
    model.save_model(str(path), format=path.suffix[1:])
    return path


@pytest.mark.parametrize("ending", ["cbm", "json"])
@pytest.mark.parametrize("unnamed", [False, True])
def test_a_model_of_catboost(tmp_path: Path, ending: str, unnamed: bool) -> None:
    path = saved(tmp_path / f"model.{ending}", unnamed=unnamed)
    predictor = load_initial(path, CatBoostModel(), XYZ)
    table, labels = window()
    assert predictor.classes == ("no", "yes")
    assert np.mean(predictor.predict(table).values == labels) > 0.8


def test_a_model_with_texts(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.cbm", "categorical")
    table, _ = window(categorical=True)
    assert len(load_initial(path, CatBoostModel(), table.schema).predict(table).values) == 300
    numbers = Schema(("x", "y", "z", "c"), ())
    with pytest.raises(InputError, match="other kinds of features"):
        load_initial(path, CatBoostModel(), numbers)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema(("x", "y"), ()), "it wants z"),
        (Schema(("x", "y", "q"), ()), "it lacks q; it also wants z"),
        (Schema(("y", "x", "z"), ()), "order differs"),
        (Schema(("x", "y"), ("z",)), "other kinds of features"),
        (Schema(("x", "y", "z"), (), "regression"), "is a model for classification"),
    ],
)
def test_a_model_that_does_not_fit_the_stream(tmp_path: Path, schema: Schema, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_initial(saved(tmp_path / "model.cbm"), CatBoostModel(), schema)


def test_a_model_of_the_other_task(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.cbm", "regression")
    with pytest.raises(InputError, match="is a model for regression"):
        load_initial(path, CatBoostModel(), XYZ)
    assert load_initial(path, CatBoostModel(), Schema(XYZ.numeric, (), "regression")).classes == ()


@pytest.mark.parametrize("name", ["bad.cbm", "bad.json", "bad.bin", "none.cbm"])
def test_files_that_are_no_model(tmp_path: Path, name: str) -> None:
    if name != "none.cbm":
        (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(InputError, match=r"^model.initial: .*" + name) as caught:
        load_initial(tmp_path / name, CatBoostModel(), XYZ)
    assert "\n" not in str(caught.value)


class Named:
    feature_names_in_ = ("x", "q")
    classes_ = (2, 1)

    def predict(self, frame: object) -> list[int]:
        return [1]


def test_a_pickled_model(tmp_path: Path) -> None:
    settings = PythonModel(kind="python", factory="none:none")
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(Named()))
    predictor = load_initial(file, settings, Schema(("x", "q"), ()))
    assert predictor.classes == ("1", "2")
    table, _ = window(1)
    with pytest.raises(InputError, match="trained on other features: x, q"):
        load_initial(file, settings, table.schema)
    file.write_bytes(pickle.dumps(7))
    with pytest.raises(InputError, match="holds a int without predict"):
        load_initial(file, settings, XYZ)
    file.write_bytes(b"hello")
    with pytest.raises(InputError, match="cannot be unpickled"):
        load_initial(file, settings, XYZ)
    assert labels_of(["a"]).dtype == object
