"""Tuning: a seeded search for better settings of a model, on the past of its own training window.

A setting is judged by walking forward: the window is cut into `folds` + 1 stretches in stream
order; each but the first is answered by a model trained on all that came before it. So no trial
sees a label that was not known when its answer was due, and rows are never shuffled. What counts
is the mean error over the stretches, as in the stream itself.

The search is Optuna's TPE (Bergstra et al., NIPS 2011; multivariate), one trial after the other,
seeded, and pruned by the median rule (Golovin et al., KDD 2017): a trial stops after a stretch if
its error so far is above the median of what earlier trials had there. The first trial is the model
as configured, so nothing that did worse on the window's past is ever chosen; then follow what was
found earlier on this stream, moved into the space.

Optuna is imported here only, and only when there is something to tune.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from engine.batch import Labels, Table
from engine.losses import prediction_errors
from engine.quantities import duration_micros
from engine.settings import CatBoostModel, Space, Tuning
from engine.training.fit import fit, varies
from engine.training.jobs import Fitted, Job, Params, Study

FOLD_ROWS = 20
"""A stretch of fewer rows tells nothing."""
RANDOM_TRIALS = 5
"""So many trials come before TPE and the median rule have something to go by."""
LOGARITHMIC = ("learning_rate", "l2_leaf_reg")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Parameters
    ----------
    model
        The settings to train by.
    details
        What the event tells, JSON-ready.
    trials
        All trials in order, JSON-ready.
    """

    model: CatBoostModel
    details: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]


def optuna_library() -> ModuleType:
    """Import Optuna, silence it, and return it.

    Examples
    --------
    >>> optuna_library().__name__
    'optuna'
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    library: ModuleType = optuna
    return library


def why_not(table: Table, labels: Labels, tuning: Tuning) -> str:
    """Return why a window cannot be tuned on; empty if it can.

    Parameters
    ----------
    table, labels
        The training rows; all labels are known.
    tuning
        How they would be cut.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> why_not(table_of({"x": [0.0] * 50}), np.array(["a"] * 50, dtype=object), Tuning())
    'the window has 50 rows, 3 folds need 80'
    """
    needed = (tuning.folds + 1) * FOLD_ROWS
    if len(table) < needed:
        return f"the window has {len(table)} rows, {tuning.folds} folds need {needed}"
    if (labels == labels[0]).all():
        return "all labels of the window are equal"
    if not table.schema.features or not varies(table):
        return "no feature of the window varies"
    return ""


def spans(rows: int, folds: int) -> list[tuple[int, int]]:
    """Return where each stretch begins and ends; a model for it is trained on all before it.

    Examples
    --------
    >>> spans(103, 3)
    [(25, 51), (51, 77), (77, 103)]
    """
    edges = [rows * at // (folds + 1) for at in range(1, folds + 2)]
    return list(pairwise(edges))


def configured(model: CatBoostModel, space: Space) -> dict[str, int | float | None]:
    """Return the settings of a model that the space is about, as they are configured.

    Examples
    --------
    >>> configured(CatBoostModel(params={"reg_lambda": 5.0}), Space(iterations=None))
    {'depth': 6, 'learning_rate': None, 'l2_leaf_reg': 5.0}
    """
    penalty = model.params.get("l2_leaf_reg", model.params.get("reg_lambda"))
    found = {
        "iterations": model.iterations,
        "depth": model.depth,
        "learning_rate": model.learning_rate,
        "l2_leaf_reg": None if penalty is None else float(penalty),
    }
    return {name: found[name] for name in found if getattr(space, name) is not None}


def shaped(model: CatBoostModel, params: Params) -> CatBoostModel:
    """Return the model with other settings.

    Examples
    --------
    >>> shaped(CatBoostModel(), {"depth": 4, "l2_leaf_reg": 2.0}).params
    {'l2_leaf_reg': 2.0}
    """
    given: dict[str, Any] = {name: value for name, value in params.items() if value is not None}
    penalty = given.pop("l2_leaf_reg", None)
    if penalty is not None:
        kept = {name: value for name, value in model.params.items() if name != "reg_lambda"}
        given["params"] = {**kept, "l2_leaf_reg": penalty}
    return model.model_copy(update=given)


def clamped(params: Params, space: Space) -> dict[str, int | float]:
    """Return what a space has of some settings, each moved to its nearest bound if it is beyond.

    Examples
    --------
    >>> clamped({"depth": 12, "iterations": 100, "learning_rate": None}, Space(iterations=None))
    {'depth': 8}
    """
    found: dict[str, int | float] = {}
    for name in Space.model_fields:
        bounds, value = getattr(space, name), params.get(name)
        if bounds is not None and value is not None:
            found[name] = min(max(value, bounds[0]), bounds[1])
    return found


def best_of(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the trial with the lowest error, of equals the first; None if none was completed.

    Examples
    --------
    >>> trials = [{"trial": at, "state": "complete", "value": 0.5} for at in range(3)]
    >>> best_of(trials)["trial"]
    0
    """
    whole = [one for one in trials if one["state"] == "complete"]
    return min(whole, key=lambda one: (one["value"], one["trial"]), default=None)


def tune(job: Job, study: Study) -> Found:
    """Search the settings with the lowest error on the past of a job's window.

    Parameters
    ----------
    job
        The job; its model is tried as it is first.
    study
        How to search.

    Returns
    -------
    The settings with the lowest mean error; of equals the first. Trials that failed or were
    pruned count as trials.
    """
    assert isinstance(job.model, CatBoostModel)
    search = _Search(job, study)
    search.run()
    return search.found()


class _Search:
    """One study: its trials are asked for, judged and told one after the other."""

    def __init__(self, job: Job, study: Study) -> None:
        assert isinstance(job.model, CatBoostModel)
        self.job, self.model, self.setup = job, job.model, study
        self.space = study.tuning.space
        self.optuna = optuna_library()
        self.plain = configured(self.model, self.space)
        self.tried: list[dict[str, Any]] = []
        self.study = self.optuna.create_study(
            direction="minimize",
            sampler=self.optuna.samplers.TPESampler(
                n_startup_trials=RANDOM_TRIALS, seed=job.seed % 2**32
            ),
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS),
        )

    def run(self) -> None:
        """Run the trials; the clock is asked only where a time-out is set."""
        self._as_configured()
        queue: list[dict[str, int | float]] = []
        for params in self.setup.warm:
            moved = clamped(params, self.space)
            if moved and moved not in queue:
                queue.append(moved)
        tuning = self.setup.tuning
        for params in queue[: tuning.trials - 1]:
            self.study.enqueue_trial(params)
        seconds = None if tuning.timeout is None else duration_micros(tuning.timeout) / 1e6
        self.study.optimize(self._judge, n_trials=tuning.trials - 1, timeout=seconds)

    def found(self) -> Found:
        """Return the best trial, and what there is to tell."""
        best = best_of(self.tried)
        params = self.plain if best is None else best["params"]
        first = self.tried[0]
        details = {
            "trials": len(self.tried),
            "pruned": sum(one["state"] == "pruned" for one in self.tried),
            "best": None if best is None else best["trial"],
            "params": params,
            "value": None if best is None else best["value"],
            "default_value": first["value"],
        }
        return Found(shaped(self.model, params), details, tuple(self.tried))

    def _as_configured(self) -> None:
        """Judge the model as it is; Optuna hears of it as the nearest point of its space."""
        told = self._walk(self.model, trial=None)
        self.tried.append({"trial": 0, "params": self.plain, **told})
        if told["state"] != "complete":
            return
        near = clamped(self.plain, self.space)
        trial = self.optuna.trial.create_trial(
            value=told["value"],
            params={name: near.get(name, self._middle(name)) for name in self._distributions()},
            distributions=self._distributions(),
            intermediate_values=dict(enumerate(told["folds"])),
        )
        self.study.add_trial(trial)

    def _judge(self, trial: Any) -> float:
        """Judge what Optuna suggests."""
        params: dict[str, int | float] = {}
        for name, choice in self._distributions().items():
            whole = isinstance(choice, self.optuna.distributions.IntDistribution)
            suggest = trial.suggest_int if whole else trial.suggest_float
            params[name] = suggest(name, choice.low, choice.high, log=choice.log)
        told = self._walk(shaped(self.model, params), trial)
        self.tried.append({"trial": len(self.tried), "params": params, **told})
        if told["state"] == "pruned":
            raise self.optuna.TrialPruned
        return math.nan if told["value"] is None else float(told["value"])

    def _walk(self, model: CatBoostModel, trial: Any) -> dict[str, Any]:
        """Return the errors of a model that walks forward, the mean so far after each stretch."""
        job, folds = self.job, list[float]()
        total = 0.0
        for fold, (begin, end) in enumerate(spans(len(job.table), self.setup.tuning.folds)):
            past = replace(
                job, table=job.table[:begin], labels=job.labels[:begin], model=model, study=None
            )
            outcome = fit(past)
            if not isinstance(outcome, Fitted):
                return {"state": "failed", "value": None, "folds": folds}
            said = outcome.predictor.predict(job.table[begin:end]).values
            errors = prediction_errors(said, job.labels[begin:end], self.setup.scale)
            total += float(np.mean(errors))
            folds.append(total / (fold + 1))
            if trial is not None:
                trial.report(folds[-1], fold)
                if trial.should_prune():
                    return {"state": "pruned", "value": None, "folds": folds}
        return {"state": "complete", "value": folds[-1], "folds": folds}

    def _distributions(self) -> dict[str, Any]:
        """Return the space as Optuna has it, in one order."""
        made = self.optuna.distributions
        found = {}
        for name in Space.model_fields:
            bounds = getattr(self.space, name)
            if bounds is not None and name in LOGARITHMIC:
                found[name] = made.FloatDistribution(float(bounds[0]), float(bounds[1]), log=True)
            elif bounds is not None:
                found[name] = made.IntDistribution(*bounds)
        return found

    def _middle(self, name: str) -> int | float:
        """Return the middle of what a setting may be, where CatBoost's own choice is unknown."""
        low, high = getattr(self.space, name)
        return math.sqrt(low * high) if name in LOGARITHMIC else (low + high) // 2
