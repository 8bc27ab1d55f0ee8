"""Training windows for the tests: ordinary and odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.batch import Labels, Schema, Table, table_of
from engine.settings import CatBoostModel, PythonModel
from engine.training.jobs import Job

SMALL = CatBoostModel(iterations=10, depth=3)


def labels_of(values: Sequence[Any]) -> Labels:
    return np.array(values, dtype=np.float64 if isinstance(values[0], float) else object)


def as_regression(table: Table) -> Table:
    schema = Schema(table.schema.numeric, table.schema.categorical, "regression")
    return replace(table, schema=schema)


def window(
    rows: int = 300,
    classes: Sequence[str] = ("no", "yes"),
    categorical: bool = False,
    seed: int = 0,
) -> tuple[Table, Labels]:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.normal(size=rows) for name in ("x", "y", "z")}
    if categorical:
        columns["c"] = [None if k == 3 else f"level{k}" for k in rng.integers(0, 5, rows)]
    table = table_of(columns, categorical=["c"] if categorical else [])
    score = columns["x"] + 0.3 * rng.normal(size=rows)
    edges = np.quantile(score, np.arange(1, len(classes)) / len(classes))
    return table, np.array(classes, dtype=object)[np.digitize(score, edges)]


def regression_window(rows: int = 300, seed: int = 0) -> tuple[Table, Labels]:
    table, _ = window(rows, seed=seed)
    return as_regression(table), table.number("x") * 3.0 + 1.0


def job_of(
    table: Table,
    labels: Labels,
    model: CatBoostModel | PythonModel = SMALL,
    seed: int = 7,
    code_root: str = "",
) -> Job:
    return Job(table, labels, model, seed, code_root)
