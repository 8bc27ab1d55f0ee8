"""The control arm: a learner that takes in every label at once and so never has to be retrained.

It shows what a policy of retraining is worth next to one model of another kind, River's, that
learns as it goes. It is asked and told in the same order as the engine: each record is predicted
when it arrives, and its label is learned at the arrival that makes it known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from numbers import Number
from typing import Any, Literal

import numpy as np

from engine.batch import Batch, Floats, Ints, Labels, Schema, Table, encode
from engine.ledger import NEVER, UNDATED, Outcomes, in_order
from engine.losses import prediction_errors
from engine.settings import Settings

Learner = Literal["hoeffding_adaptive_tree", "adaptive_random_forest"]
Row = dict[str, float | str]
CHUNK = 4096
"""How many rows are turned into dictionaries at a time."""


class Incremental(Settings):
    """One of River's learners, which takes in every label as it becomes known."""

    kind: Literal["incremental"]
    model: Learner = "hoeffding_adaptive_tree"


def incremental_errors(
    batch: Batch, now: Ints, *, model: Learner, seed: int, scale: float, first_scored: int
) -> Floats:
    """Return the error of each record, predicted by a model that learns as it goes.

    It learns from the first record on, also from those that are not scored, and for nothing: no
    retrain is ever paid for.

    Parameters
    ----------
    batch
        A whole stream.
    now
        The running maximum of event time at each arrival, shape `(n,)`.
    model
        Which of River's learners; classifier or regressor follows from the schema.
    seed
        What the learner draws its own chance from.
    scale
        Regression: the size of an error that counts as 1, in units of the label.
    first_scored
        Sequence number of the first record whose error counts.

    Returns
    -------
    Errors, shape `(n,)`; NaN before `first_scored`, where there is no label, and where nothing had
    been learned yet.

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> batch = plain_batch({"x": [0.0, 0.0, 0.0, 0.0]}, ["a", "a", "b", "a"], late_records=1)
    >>> given = {"model": "hoeffding_adaptive_tree", "seed": 1, "scale": 1.0}
    >>> incremental_errors(batch, batch.times, first_scored=0, **given).tolist()
    [nan, nan, 1.0, 0.0]
    """
    schema = batch.table.schema
    codes, classes = _coded(batch.labels)
    truth = batch.labels if codes is None else codes
    said = answers(learner(model, schema, seed), rows_of(batch.table), truth, _lessons(batch, now))
    values: Labels
    if codes is None:
        values = np.array([np.nan if one is None else one for one in said], dtype=np.float64)
    else:
        values = np.array([None if one is None else classes[one] for one in said], dtype=object)
    errors = prediction_errors(values, batch.labels, scale)
    errors[: max(0, first_scored - batch.first)] = np.nan
    return errors


def learner(model: Learner, schema: Schema, seed: int) -> Any:
    """Return River's learner, with River's own settings.

    Only the linear models in the leaves of a regression tree are given what they need: numbers,
    and of about the same size. Without that a drift that multiplies a feature throws them off for
    good.

    Examples
    --------
    >>> type(learner("adaptive_random_forest", Schema(("x",), (), "regression"), 1)).__name__
    'ARFRegressor'
    """
    from river import compose, forest, linear_model, preprocessing, tree

    forests: Any = forest
    trees: Any = tree
    adaptive_tree = model == "hoeffding_adaptive_tree"
    if schema.task == "classification":
        of = trees.HoeffdingAdaptiveTreeClassifier if adaptive_tree else forests.ARFClassifier
        return of(seed=seed)
    of = trees.HoeffdingAdaptiveTreeRegressor if adaptive_tree else forests.ARFRegressor
    leaf: Any = preprocessing.StandardScaler() | linear_model.LinearRegression()
    if schema.categorical:
        leaf = compose.SelectType(Number) | leaf
    return of(leaf_model=leaf, seed=seed)


def rows_of(table: Table) -> Iterator[Row]:
    """Yield each record as River takes it: values by name, without those that are missing.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> table = table_of({"x": [1.0, float("nan")], "c": ["a", "b"]}, categorical=["c"])
    >>> list(rows_of(table))
    [{'x': 1.0, 'c': 'a'}, {'c': 'b'}]
    """
    names = table.schema.features
    for start in range(0, len(table), CHUNK):
        part = table[start : start + CHUNK]
        finite = np.isfinite(part.numbers)
        numbers = np.where(finite, part.numbers, np.nan)
        columns = [column.tolist() for column in numbers.T]
        columns += [part.texts(name).tolist() for name in part.schema.categorical]
        rows = zip(*columns, strict=True) if columns else repeat((), len(part))
        if finite.all() and (part.codes >= 0).all():
            yield from (dict(zip(names, row, strict=True)) for row in rows)
            continue
        for row in rows:
            both = zip(names, row, strict=True)
            yield {name: value for name, value in both if value is not None and value == value}


def answers(
    model: Any, rows: Iterator[Row], truth: Labels, lessons: list[tuple[int, int]]
) -> list[Any]:
    """Return what the model says to each row when it comes, None before its first lesson.

    Parameters
    ----------
    model
        An object with River's `predict_one` and `learn_one`.
    rows
        The records in order of arrival.
    truth
        What each record's label is.
    lessons
        (arrival, row) in order: the row's label is learned after that arrival was predicted.

    Examples
    --------
    >>> class Last:
    ...     def predict_one(self, row):
    ...         return self.seen
    ...     def learn_one(self, row, label):
    ...         self.seen = label
    >>> answers(Last(), iter([{}, {}, {}]), np.array([7, 8, 9]), [(1, 0), (1, 1)])
    [None, None, 8]
    """
    predict, learn, labels = model.predict_one, model.learn_one, truth.tolist()
    awaited = {row for _, row in lessons}
    held: dict[int, Row] = {}
    said: list[Any] = []
    queue = iter(lessons)
    due, next_row = next(queue, (NEVER, 0))
    taught = False
    for at, row in enumerate(rows):
        said.append(predict(row) if taught else None)
        if at in awaited:
            held[at] = row
        while due == at:
            learn(held.pop(next_row), labels[next_row])
            taught = True
            due, next_row = next(queue, (NEVER, 0))
    return said


def label_arrivals(batch: Batch, now: Ints) -> Ints:
    """Return the arrival that brings each label, shape `(n,)`; `NEVER` if none of these does.

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> batch = plain_batch({"x": [0.0, 0.0, 0.0]}, ["a", None, "b"], late_records=2)
    >>> (label_arrivals(batch, batch.times) == [2, NEVER, NEVER]).all()
    np.True_
    """
    batch = batch.settled()
    seqs = np.arange(batch.first, batch.end, dtype=np.int64)
    blank = np.full(len(batch), np.nan)
    undated = np.full(len(batch), UNDATED, dtype=np.int64)
    due = (seqs + batch.late_records, now + batch.late_micros)
    labels = batch.labels
    rows = Outcomes(seqs, batch.times, labels, blank, labels, blank, seqs, blank, *due, undated)
    return rows.arrivals(batch.first, now)


def _lessons(batch: Batch, now: Ints) -> list[tuple[int, int]]:
    """Return (arrival, row) of each label that becomes known, in the order in which it does."""
    arrivals = label_arrivals(batch, now)
    order = in_order(arrivals, np.arange(len(batch), dtype=np.int64))
    return list(zip((arrivals[order] - batch.first).tolist(), order.tolist(), strict=True))


def _coded(labels: Labels) -> tuple[Ints | None, tuple[str, ...]]:
    """Return classes as numbers, and their names; None if the labels are numbers anyway.

    River keeps its classes in a set, and where two are equally likely the first one wins: with
    texts that differs from process to process, with numbers it does not.
    """
    if labels.dtype != object:
        return None, ()
    codes, classes = encode(labels.tolist())
    return codes.astype(np.int64), classes
