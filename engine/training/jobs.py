"""A training job, its content id and what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from engine.batch import Floats, Labels, Table
from engine.settings import CatBoostModel, PythonModel

FIT_VERSION = 1
"""Raise this when `engine.training.fit` changes what a job's inputs lead to."""


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
    """

    table: Table
    labels: Labels
    model: CatBoostModel | PythonModel
    seed: int
    code_root: str = ""

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
    """

    values: Labels
    scores: Floats

    def __getitem__(self, rows: slice) -> Prediction:
        return Prediction(self.values[rows], self.scores[rows])


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
    """

    predictor: Predictor
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


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
