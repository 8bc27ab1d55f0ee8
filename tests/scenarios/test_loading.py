from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.batch import table_of
from engine.errors import InputError
from engine.settings import CatBoostModel
from engine.training.fit import fit
from engine.training.jobs import Fitted, Job
from engine.training.models import CatBoostPredictor
from scenarios.loading import load, prepare
from tests.e2e.driving import driftline

SEA = """\
name: small
source: {kind: generator, name: sea, records: 400}
retraining: {first: 50, window: 100}
"""


def scenario(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(SEA + text, "utf-8")
    return path


@pytest.mark.parametrize("params", ["{rsm: hello}", "{bootstrap_type: Nope}"])
def test_check_tries_the_params_that_only_catboost_can_judge(tmp_path: Path, params: str) -> None:
    path = scenario(tmp_path, f"model: {{kind: catboost, params: {params}}}\n")
    answer = driftline("check", path)
    assert answer.code == 2
    assert answer.err.startswith(f"{path}:4:25: model.params: CatBoost refuses them")
    assert driftline("run", path, "--out", tmp_path / "out").err == answer.err


def test_check_takes_params_that_catboost_takes(tmp_path: Path) -> None:
    path = scenario(tmp_path, "model: {kind: catboost, params: {rsm: 0.5}}\n")
    assert driftline("check", path).code == 0


# --- a model in production ------------------------------------------------------------------


class Answering:
    """A user's model of given classes."""

    def __init__(self, *classes: Any) -> None:
        self.classes_ = np.array(classes)

    def predict(self, frame: Any) -> Any:
        return self.classes_[:1].repeat(len(frame))


def refusal(folder: Path, text: str) -> str:
    """Return what is said against a scenario; nothing if all is well."""
    try:
        prepare(load(scenario(folder, text)), folder / "cache")
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("0", "1"), ""),
        ((0, 1, 2), ""),
        ((), ""),
        (("no", "yes"), "answers 'no', 'yes', none of the source's labels '0', '1'"),
        ((0.0, 1.0), "answers '0.0', '1.0', none of the source's labels '0', '1'"),
    ],
)
def test_an_initial_model_knows_a_label_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[Any, ...], told: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(Answering(*classes)))
    said = refusal(
        tmp_path, "model: {kind: python, factory: 'collections:deque', initial: old.pkl}\n"
    )
    assert bool(said) == bool(told) and told in said
    assert not said or said.startswith(f"{tmp_path / 'small.yaml'}:4:53: model.initial: old.pkl")


@pytest.mark.parametrize(("labels", "fits"), [("ab", False), ("01", True)])
def test_an_initial_catboost_model_knows_a_label_of_the_source(
    tmp_path: Path, labels: str, fits: bool
) -> None:
    columns = {name: [0.0, 1.0, 2.0, 3.0] * 5 for name in ("x0", "x1", "x2")}
    job = Job(
        table_of(columns),
        np.array([*(labels * 10)], dtype=object),
        CatBoostModel(iterations=2),
        seed=0,
    )
    fitted = fit(job)
    assert isinstance(fitted, Fitted) and isinstance(fitted.predictor, CatBoostPredictor)
    fitted.predictor.model.save_model(str(tmp_path / "old.cbm"))
    path = scenario(tmp_path, "model: {kind: catboost, initial: old.cbm}\n")
    answer = driftline("check", path)
    assert answer.code == (0 if fits else 2)
    if not fits:
        assert answer.err == (
            f"{path}:4:25: model.initial: old.cbm answers 'a', 'b', "
            "none of the source's labels '0', '1'\n"
        )


# --- how many streams -----------------------------------------------------------------------


@pytest.mark.parametrize("streams", ["100000000", "{count: 100000000}"])
def test_too_many_streams_are_refused_at_once(tmp_path: Path, streams: str) -> None:
    path = scenario(tmp_path, f"streams: {streams}\n")
    answer = driftline("check", path)
    assert answer.code == 2
    assert "must be 1 to 100,000 streams, not 100,000,000" in answer.err
