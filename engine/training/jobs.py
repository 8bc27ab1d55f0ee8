"""A training job, its content id and what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from engine.batch import Floats, Labels, Places, Table
from engine.settings import CatBoostModel, PythonModel, Tuning

FIT_VERSION = 1
"""Raise this when `engine.training.fit` changes what a job's inputs lead to."""
TUNE_VERSION = 1
"""Raise this when `engine.training.tune` changes what a study's inputs lead to."""

Params = Mapping[str, int | float | None]
"""Settings of a model that tuning searches, by name; None is CatBoost's own choice."""


@dataclass(frozen=True, slots=True)
class Study:
    """How a job's model is to be tuned before it is fitted.

    Parameters
    ----------
    tuning
        Trials, folds and space.
    warm
        What is tried first, after the model as configured: the champion's settings and the best
        earlier ones of this stream.
    scale
        Regression: the size of an error that counts as 1, in units of the label.
    """

    tuning: Tuning
    warm: tuple[Params, ...] = ()
    scale: float = 1.0

    def identity(self) -> dict[str, Any]:
        """Return all that its outcome depends on, JSON-ready."""
        return {
            "tune": TUNE_VERSION,
            "optuna": version("optuna"),
            "tuning": self.tuning.model_dump(exclude={"every"}),
            "warm": [dict(params) for params in self.warm],
            "scale": self.scale,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """What a model is to be trained on, and how.

    Parameters
    ----------
    table, labels
        The training rows in stream order; all labels are known.
    model
        The model's settings.
    seed
        Seed of the fit.
    code_root
        Where a user's ``package:function`` may be imported from besides the Python path.
    study
        How the model is tuned first, if it is.
    """

    table: Table
    labels: Labels
    model: CatBoostModel | PythonModel
    seed: int
    code_root: str = ""
    study: Study | None = None

    def identity(self) -> str:
        """Return the job's id: a hash of all that its result depends on."""
        digest = hashlib.sha256()
        head = {
            "fit": FIT_VERSION,
            "catboost": version("catboost"),
            "model": self.model.model_dump(exclude={"initial"}),
            "seed": self.seed,
            "schema": [self.table.schema.numeric, self.table.schema.categorical],
            "task": self.table.schema.task,
            "rows": len(self.table),
            **({} if self.study is None else {"study": self.study.identity()}),
        }
        digest.update(json.dumps(head, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self.table.numbers).tobytes())
        for name in self.table.schema.categorical:
            digest.update(json.dumps(self.table.texts(name).tolist()).encode())
        digest.update(json.dumps(self.labels.tolist()).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answers for `n` records.

    Parameters
    ----------
    values
        The predicted labels: objects (`str`) of shape `(n,)`, or float64 for regression.
    scores
        Probability of the predicted class, shape `(n,)`; NaN for regression or where unknown.
    codes
        If the model has them at hand, `values` as places among its classes, shape `(n,)`.
    """

    values: Labels
    scores: Floats
    codes: Places | None = None

    def __getitem__(self, rows: slice) -> Prediction:
        codes = None if self.codes is None else self.codes[rows]
        return Prediction(self.values[rows], self.scores[rows], codes)


class Predictor(Protocol):
    """A trained model, ready to answer. The answer for a row never depends on other rows."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it can answer, sorted; empty for regression."""
        ...

    def predict(self, table: Table) -> Prediction:
        """Answer for each row of `table` (which may have none)."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """A job that led to a model.

    Parameters
    ----------
    predictor
        The model.
    notes
        What was odd about the window, each a sentence (one class, constant features, ...).
    details
        Figures of the fit for the event, JSON-ready; nothing that depends on the clock.
    trials
        The trials of its tuning, in order, JSON-ready: what was tried and what it came to.
    """

    predictor: Predictor
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that led to none, and why (one sentence without paths or addresses)."""

    reason: str


class Trainer(Protocol):
    """Whoever runs jobs. The heart only asks; when the answer comes changes no outcome."""

    def submit(self, job: Job) -> str:
        """Begin the job if its result is not there yet, and return its id at once."""
        ...

    def result(self, job_id: str) -> Fitted | Failed | None:
        """Return what came of the job, or None while it runs. Never blocks."""
        ...
