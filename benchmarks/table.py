"""The loss table: a model trained at every decision point, and its error on all that follows.

Models are fitted once, kept by content, and shared by all policies and prices. What a model
answers to the stream is kept too, so that a policy is played without asking CatBoost again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from benchmarks.tapes import Tape
from engine.batch import Floats, Labels, Table
from engine.errors import EngineError
from engine.losses import prediction_errors
from engine.settings import CatBoostModel, PythonModel
from engine.training.jobs import Failed, Fitted, Job, Prediction, Predictor
from engine.training.pool import run_job
from engine.training.store import Store

ANSWERS_VERSION = 1
"""Raise this when the files of answers change their form."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One row of the table: the arrival at which a model is asked for, and its window's rows."""

    asked: int
    rows: int


@dataclass(frozen=True)
class Recipe:
    """How a tape's models are made.

    Parameters
    ----------
    tape
        The stream.
    windows
        The training windows to choose from, in records; policies use the first.
    model
        The models' settings.
    seed, code_root
        What every job is given, as the engine gives it.
    scale
        The size of an error that counts as one (regression).
    """

    tape: Tape
    windows: tuple[int, ...]
    model: CatBoostModel | PythonModel
    seed: int
    code_root: str = ""
    scale: float = 1.0

    @cached_property
    def fits(self) -> tuple[Fit, ...]:
        """All models: the first, then for each decision point one for each window."""
        asked = self.tape.first_asked()
        if asked is None:
            return ()
        points = [int(at) for at in self.tape.decisions if at > asked]
        later = [Fit(at, rows) for at in points for rows in self.windows]
        return (Fit(asked, self.windows[0]), *later)

    def job(self, fit: Fit) -> Job:
        """Return the job of a model, the very one that the engine would submit."""
        rows = self.tape.window(fit.asked, fit.rows)
        return Job(rows.table, rows.labels, self.model, self.seed, self.code_root)


# --- answers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to a stream's records from `start` on.

    Parameters
    ----------
    job_id
        The model.
    start
        The first record that it is asked about.
    values
        Classification: indices into `levels`, shape `(n - start,)`. Regression: float64.
    levels
        The labels that occur among its answers; empty for regression.
    classes
        The classes that it can answer; empty for regression.
    failure
        Why there is no model, if there is none.
    """

    job_id: str
    start: int
    values: NDArray[Any]
    levels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    failure: str = ""

    def labels(self) -> Labels:
        """Return the answers as labels, shape `(n - start,)`."""
        if not self.levels:
            return self.values
        labels: Labels = np.array(self.levels, dtype=object)[self.values]
        return labels


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where models and answers are kept.

    Parameters
    ----------
    store
        The models.
    folder
        The answers.
    """

    store: Store
    folder: Path

    def file(self, job_id: str, tape: Tape) -> Path:
        """Return the file of a model's answers to a tape."""
        name = hashlib.sha256(f"{ANSWERS_VERSION} {job_id} {tape.identity}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.npz"

    def load(self, job_id: str, tape: Tape) -> Answers | None:
        """Return a model's answers; None if they are not there, or damaged."""
        try:
            with np.load(self.file(job_id, tape), allow_pickle=False) as found:
                levels = tuple(map(str, found["levels"]))
                classes, failure = tuple(map(str, found["classes"])), str(found["failure"])
                start, values = int(found["start"]), found["values"]
                return Answers(job_id, start, values, levels, classes, failure)
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error):
            return None

    def save(self, answers: Answers, tape: Tape) -> None:
        """Keep a model's answers, whole or not at all."""
        file = self.file(answers.job_id, tape)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                np.savez(
                    out,
                    values=answers.values,
                    start=answers.start,
                    levels=np.array(answers.levels, dtype=str),
                    classes=np.array(answers.classes, dtype=str),
                    failure=np.array(answers.failure),
                )
            Path(draft).replace(file)
        finally:
            Path(draft).unlink(missing_ok=True)


def answer(recipe: Recipe, fit: Fit, shelf: Shelf) -> Answers:
    """Return what a model says to all records after its job, fitting it if need be."""
    job = recipe.job(fit)
    job_id, tape = job.identity(), recipe.tape
    found, start = shelf.load(job_id, tape), fit.asked + 1
    if found is not None and found.start <= start:  # the same rows may be asked for later as well
        return found
    result = shelf.store.load(job_id) or run_job(job, job_id, shelf.store)
    made = answers_of(job_id, result, tape, start)
    shelf.save(made, tape)
    return made


def answers_of(job_id: str, result: Fitted | Failed, tape: Tape, start: int) -> Answers:
    """Ask a model about a tape's records from `start` on."""
    if isinstance(result, Failed):
        return Answers(job_id, start, np.empty(0), failure=result.reason)
    try:
        values = result.predictor.predict(tape.batch.table[start:]).values
    except EngineError as error:
        return Answers(job_id, start, np.empty(0), failure=str(error))
    classes = result.predictor.classes
    if values.dtype != object:
        return Answers(job_id, start, values, classes=classes)
    levels, codes = np.unique(values.astype(str), return_inverse=True)
    small = np.min_scalar_type(max(0, len(levels) - 1))
    return Answers(job_id, start, codes.astype(small), tuple(map(str, levels)), classes)


# --- the table ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossTable:
    """All models of a tape, and what each would lose.

    Parameters
    ----------
    recipe
        How they were made.
    answers
        What each says, in the order of `recipe.fits`.
    """

    recipe: Recipe
    answers: tuple[Answers, ...]
    _errors: dict[int, Floats] = field(default_factory=dict, init=False, repr=False)

    def errors(self, model: int) -> Floats:
        """Return the error of a model on each record, NaN before it serves; shape `(n,)`."""
        if model not in self._errors:
            tape, said = self.recipe.tape, self.answers[model]
            errors = np.full(len(tape), np.nan)
            if not said.failure:
                labels = tape.batch.labels[said.start :]
                errors[said.start :] = prediction_errors(said.labels(), labels, self.recipe.scale)
            self._errors[model] = errors
        return self._errors[model]

    @cached_property
    def losses(self) -> Floats:
        """What each model has lost before each record, shape `(models, n + 1)`."""
        losses = np.zeros((len(self.answers), len(self.recipe.tape) + 1))
        for model in range(len(self.answers)):
            np.cumsum(np.nan_to_num(self.errors(model)), out=losses[model, 1:])
        return losses

    @cached_property
    def by_job(self) -> dict[str, int]:
        """The number of each model, by its job's id."""
        return {said.job_id: at for at, said in reversed(list(enumerate(self.answers)))}


def build(recipe: Recipe, shelf: Shelf) -> LossTable:
    """Return the loss table; models that are kept already are not fitted again."""
    return LossTable(recipe, tuple(answer(recipe, fit, shelf) for fit in recipe.fits))


# --- a trainer that knows the answers -------------------------------------------------------


class Recalled:
    """A model whose answers to a tape are known; asked anything else, it predicts.

    Parameters
    ----------
    answers
        What it says to the tape.
    tape
        The stream.
    store
        Where the model itself is, should it be needed.
    """

    def __init__(self, answers: Answers, tape: Tape, store: Store) -> None:
        self.answers, self.tape, self.store = answers, tape, store
        self._labels = answers.labels()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it can answer."""
        return self.answers.classes

    @cached_property
    def _model(self) -> Predictor:
        found = self.store.load(self.answers.job_id)
        assert isinstance(found, Fitted), "a model with answers is kept"
        return found.predictor

    def predict(self, table: Table) -> Prediction:
        """Answer for each row; of the tape's own rows only the labels, without a score."""
        row = self.tape.find(table)
        if row is None or row < self.answers.start:
            return self._model.predict(table)
        start = row - self.answers.start
        values = self._labels[start : start + len(table)]
        return Prediction(values, np.full(len(table), np.nan))


class TableTrainer:
    """Hands out a loss table's models; a job that is not in it is fitted at once.

    Parameters
    ----------
    table
        The models.
    shelf
        Where others are kept.
    """

    def __init__(self, table: LossTable, shelf: Shelf) -> None:
        self.table, self.shelf = table, shelf
        self._results: dict[str, Fitted | Failed] = {}

    def submit(self, job: Job) -> str:
        """Make sure that the job's result is there, and return its id."""
        job_id = job.identity()
        if job_id not in self._results:
            self._results[job_id] = self._made(job, job_id)
        return job_id

    def result(self, job_id: str) -> Fitted | Failed | None:
        """Return what came of a job; None if nobody submitted it."""
        return self._results.get(job_id)

    def _made(self, job: Job, job_id: str) -> Fitted | Failed:
        tape = self.table.recipe.tape
        known = self.table.by_job.get(job_id)
        said = self.table.answers[known] if known is not None else self.shelf.load(job_id, tape)
        if said is None:
            result = self.shelf.store.load(job_id) or run_job(job, job_id, self.shelf.store)
            if isinstance(result, Failed):
                return result
            said = answers_of(job_id, result, tape, 0)
        if said.failure:
            return Failed(said.failure)
        return Fitted(Recalled(said, tape, self.shelf.store))


def chunks(count: int, size: int) -> Iterator[Sequence[int]]:
    """Yield the numbers below `count` in runs of at most `size`.

    Examples
    --------
    >>> [list(part) for part in chunks(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    for start in range(0, count, size):
        yield range(start, min(count, start + size))
