"""Tuning: in stream order, seeded, never worse on the window's past than what was configured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.batch import table_of
from engine.losses import prediction_errors
from engine.settings import CatBoostModel, Space, Tuning
from engine.training.fit import fit
from engine.training.jobs import Fitted, Job, Study
from engine.training.pool import InlineTrainer, ProcessTrainer
from engine.training.store import Store
from engine.training.tune import best_of, clamped, shaped, spans, why_not
from tests.engine.training.windows import labels_of, regression_window, window

TINY = Space(iterations=(2, 12), depth=(1, 4), learning_rate=(0.05, 0.5), l2_leaf_reg=(1.0, 9.0))
MODEL = CatBoostModel(iterations=3, depth=1, learning_rate=0.1)


def job(trials: int = 8, seed: int = 7, model: CatBoostModel = MODEL, **study: Any) -> Job:
    table, labels = window(160)
    given = Study(Tuning(trials=trials, folds=2, space=TINY), **study)
    return Job(table, labels, model, seed, study=given)


def tuned(one: Job) -> Fitted:
    found = fit(one)
    assert isinstance(found, Fitted)
    return found


def test_a_job_is_the_same_with_and_without_a_study_but_for_its_id() -> None:
    plain = replace(job(), study=None)
    studies = [
        job(),
        job(trials=9),
        job(warm=({"depth": 2},)),
        job(scale=2.0),
        replace(job(), study=Study(Tuning(trials=8, folds=3, space=TINY))),
        replace(job(), study=Study(Tuning(trials=8, folds=2))),
    ]
    assert len({plain.identity(), *(one.identity() for one in studies)}) == 7
    other = replace(job(), study=Study(Tuning(trials=8, folds=2, space=TINY, every=5)))
    assert other.identity() == job().identity(), "when to tune is no part of how"


def test_the_same_seed_leads_to_the_same_trials_and_the_same_answers() -> None:
    first, second = tuned(job()), tuned(job())
    assert first.trials == second.trials and first.details == second.details
    table, _ = window(50, seed=9)
    one, two = (found.predictor.predict(table) for found in (first, second))
    assert one.scores.tolist() == two.scores.tolist()
    assert tuned(job(seed=8)).trials != first.trials


def test_the_first_trial_is_the_model_as_configured_walking_forward() -> None:
    one, values = job(), []
    for begin, end in spans(160, 2):
        past = replace(one, table=one.table[:begin], labels=one.labels[:begin], study=None)
        said = tuned(past).predictor.predict(one.table[begin:end]).values
        values.append(float(np.mean(prediction_errors(said, one.labels[begin:end], 1.0))))
    found = tuned(one)
    assert found.details["tuning"]["default_value"] == pytest.approx(np.mean(values))
    assert found.trials[0]["folds"] == pytest.approx([values[0], np.mean(values)])
    assert found.trials[0]["params"] == {
        "iterations": 3, "depth": 1, "learning_rate": 0.1, "l2_leaf_reg": None
    }  # fmt: skip


def test_the_best_trial_is_what_the_model_is_made_of() -> None:
    found = tuned(job(trials=25))
    told = found.details["tuning"]
    assert len(found.trials) == told["trials"] == 25
    assert told["pruned"] == sum(one["state"] == "pruned" for one in found.trials) > 0
    whole = [one for one in found.trials if one["state"] == "complete"]
    assert told["value"] == min(one["value"] for one in whole) <= told["default_value"]
    best = next(one for one in whole if one["value"] == told["value"])
    assert (best["trial"], best["params"]) == (told["best"], told["params"]), "of equals the first"
    assert found.details["trees"] == told["params"]["iterations"]
    plain = replace(job(), model=shaped(MODEL, told["params"]), study=None)
    table, _ = window(40, seed=3)
    answers = found.predictor.predict(table).scores
    assert answers.tolist() == tuned(plain).predictor.predict(table).scores.tolist()


def test_of_equal_trials_the_first_wins_and_pruned_ones_never() -> None:
    states = [("pruned", None), ("complete", 0.3), ("complete", 0.2), ("complete", 0.2)]
    trials = [{"trial": at, "state": s, "value": v} for at, (s, v) in enumerate(states)]
    found = best_of(trials)
    assert found is not None and found["trial"] == 2
    assert best_of(trials[:1]) is None


def test_what_was_found_earlier_is_tried_next_moved_into_the_space() -> None:
    warm = ({"iterations": 900, "depth": 2, "learning_rate": 0.2, "l2_leaf_reg": 4.0},)
    found = tuned(job(warm=(*warm, *warm)))
    moved = {"iterations": 12, "depth": 2, "learning_rate": 0.2, "l2_leaf_reg": 4.0}
    assert found.trials[1]["params"] == moved
    assert found.trials[2]["params"] != moved, "not twice"
    assert clamped({"depth": 9}, TINY) == {"depth": 4}


def test_a_setting_that_is_not_searched_stays_as_configured() -> None:
    space = Space(iterations=None, depth=(1, 3), learning_rate=None, l2_leaf_reg=None)
    study = Study(Tuning(trials=4, folds=2, space=space))
    found = tuned(replace(job(), study=study))
    assert {name for one in found.trials for name in one["params"]} == {"depth"}
    assert found.details["trees"] == 3


def test_numbers_are_tuned_too() -> None:
    table, labels = regression_window(120)
    study = Study(Tuning(trials=4, folds=2, space=TINY), scale=2.0)
    value = tuned(Job(table, labels, MODEL, 7, study=study)).details["tuning"]["default_value"]
    halved = replace(study, scale=4.0)
    other = tuned(Job(table, labels, MODEL, 7, study=halved)).details["tuning"]["default_value"]
    assert value == pytest.approx(2 * other)


def test_settings_that_catboost_refuses_fail_and_count() -> None:
    model = CatBoostModel(iterations=3, depth=1, params={"subsample": 7.0})
    assert not isinstance(fit(job(model=model)), Fitted)


def test_odd_windows_are_not_tuned() -> None:
    rule = Tuning(folds=2)
    table, labels = window(160)
    assert why_not(table, labels, rule) == ""
    assert "50 rows" in why_not(table[:50], labels[:50], rule)
    assert "equal" in why_not(table, labels_of(["a"] * 160), rule)
    flat = table_of({"x": [1.0] * 160})
    assert "varies" in why_not(flat, labels, rule)


def test_trials_are_kept_with_the_model(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trainer = InlineTrainer(store)
    made = trainer.result(trainer.submit(job(trials=3)))
    again = store.load(job(trials=3).identity())
    assert isinstance(made, Fitted) and isinstance(again, Fitted)
    assert made.trials == again.trials and made.details == again.details


def test_trials_are_the_same_on_one_worker_and_on_two(tmp_path: Path) -> None:
    jobs = [job(trials=6, seed=seed) for seed in (1, 2)]
    found = {}
    for workers in (1, 2):
        store = Store(tmp_path / str(workers))
        with ProcessTrainer(store, workers) as trainer:
            ids = [trainer.submit(one) for one in jobs]
            assert trainer.settle(120)
            found[workers] = [trainer.result(job_id) for job_id in ids]
    one, two = ([(r.trials, r.details) for r in found[n]] for n in (1, 2))  # type: ignore[union-attr]
    assert one == two
    assert one == [(r.trials, r.details) for r in map(tuned, jobs)], "nor does the process matter"
