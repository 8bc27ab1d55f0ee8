"""Random scenarios: small, always valid, and of everything that a scenario can say."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from scenarios.loading import load, prepare

GENERATORS: dict[str, list[dict[str, Any]]] = {
    "agrawal": [{"classification_function": 0}, {"classification_function": 4}],
    "friedman": [],
    "hyperplane": [{"n_features": 4, "mag_change": 0.1}, {"n_features": 4, "sigma": 0.3}],
    "mixed": [{"classification_function": 0}, {"classification_function": 1}],
    "planes_2d": [],
    "random_rbf": [{"n_classes": 3, "n_features": 3}, {"n_classes": 3, "n_features": 3}],
    "random_tree": [{"n_num_features": 2, "n_cat_features": 2}],
    "sea": [{"variant": 0}, {"variant": 3}, {"variant": 1, "noise": 0.1}],
    "sine": [{"classification_function": 0}, {"classification_function": 1}],
    "stagger": [{"classification_function": 0}, {"classification_function": 2}],
}
"""River's generators, with parameters to choose from: the first to begin with, all to drift to."""
LEVELS = ("a", "b", "NA", "ü d")
RECORDS_MAX = 3000
"""So many records in all streams together: a schedule must not take long."""

MODEL = '''\
"""A model of the user's own: it draws, prints, takes its time, and may break."""

import os
import random
import time
from collections import Counter

import numpy as np


class Model:
    def __init__(self, breaks):
        self.breaks = breaks

    def fit(self, frame, labels):
        print("fitting", len(frame), flush=True)
        time.sleep(float(os.environ.get("SIMULATION_NAP", "0")))
        assert self.breaks != "fit" or random.random() < 0.7, "fit breaks now and then"
        self.shift = float(np.random.normal()) / 100
        numbers = frame.select_dtypes("number")
        self.column = None if numbers.empty else numbers.columns[0]
        self.middle = self.shift + (0.0 if numbers.empty else float(numbers.iloc[:, 0].mean()))
        self.numeric = not isinstance(labels[0], str)
        sides = self.sides(frame)
        self.answers = [self.answer(labels[sides == side], labels) for side in (False, True)]
        return self

    def answer(self, some, labels):
        some = some if len(some) else labels
        return float(np.mean(some)) if self.numeric else Counter(some).most_common(1)[0][0]

    def sides(self, frame):
        if self.column is None:
            return np.zeros(len(frame), dtype=bool)
        return frame[self.column].to_numpy() > self.middle

    def predict(self, frame):
        found = [self.answers[int(side)] for side in self.sides(frame)]
        if self.breaks == "predict" and self.column is not None:
            assert not (frame[self.column] > self.middle + 3.2).any(), "predict breaks"
        return found


def make(breaks=""):
    return Model(breaks)
'''


@dataclass(frozen=True)
class Columns:
    """What a source turns out to have."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    classes: tuple[str, ...] | None
    rows: int

    @property
    def all(self) -> tuple[str, ...]:
        return self.numeric + self.categorical


def write_scenario(chance: Random, folder: Path) -> Path:
    """Write a random scenario and its files into a folder, and return its path."""
    path = folder / "scenario.yaml"
    count = chance.choice([1, 1, 1, 2, 2, 3, 4, 6])
    rows = chance.randint(300, RECORDS_MAX // max(count, 2))
    source, task = _source(chance, folder, rows)
    content: dict[str, Any] = {
        "name": "sim",
        "seed": chance.randrange(10**6),
        "source": source,
        "labels": _labels(chance, task),
        "retraining": _retraining(chance, rows),
        "streams": count if chance.random() < 0.8 else {"count": count, "seeds": [*range(count)]},
    }
    _dump(path, content)
    stream = prepare(load(path), folder / "cache-of-the-maker")[0]
    classes, schema = stream.source.classes, stream.schema
    columns = Columns(schema.numeric, schema.categorical, classes, stream.rows)
    detectors = _detectors(chance, columns)
    content |= {
        "script": [_item(chance, columns, content) for _ in range(chance.choice([0, 1, 2, 3, 4]))],
        "model": _model(chance, folder),
        "detectors": detectors,
        "policy": _policy(chance, detectors),
        "decide_every": chance.choice([1, 1, 7, 50]),
        "block": chance.choice([10, 37, 100]),
        "prices": {"error": chance.choice([0.5, 1.0, 3.0]), "retrain": chance.choice([0.0, 50.0])},
        "scoring": {"window": chance.choice([50, 400])},
    }
    if content["model"]["kind"] != "catboost":
        content["retraining"].pop("tuning", None)
    _dump(path, content)
    return path


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


# --- sources --------------------------------------------------------------------------------


def _source(chance: Random, folder: Path, rows: int) -> tuple[dict[str, Any], str]:
    rate = {"rate": chance.choice(["1/s", "1/m", "3/h"])}
    kind = chance.choices(["file", "generator", "synthetic"], [50, 47, 3])[0]
    if kind == "generator":
        name = chance.choice(sorted(GENERATORS))
        params = GENERATORS[name][0] if GENERATORS[name] else {}
        task = "regression" if name in ("friedman", "planes_2d") else "classification"
        return {"kind": kind, "name": name, "params": params, "records": rows, **rate}, task
    task = chance.choice(["classification", "classification", "regression"])
    timed = kind == "file" and chance.random() < 0.4
    table = folder / "table.csv"
    state = chance.getstate()
    _write_table(chance, table, rows, task, timed, bent=False)
    if kind == "synthetic":
        return {"kind": kind, "table": table.name, "label": "y", "records": rows, **rate}, task
    chance.setstate(state)
    _write_table(chance, folder / "bent.csv", rows, task, timed, bent=True)
    return {"kind": kind, "path": table.name, "label": "y"} | (
        {"time": "at"} if timed else rate
    ), task


def _write_table(
    chance: Random, path: Path, rows: int, task: str, timed: bool, *, bent: bool
) -> None:
    """Write a table whose labels follow from its columns: one way, then (or if bent) another."""
    numbers, texts = chance.randint(1, 3), chance.randint(0, 2)
    gaps = chance.choice([0.0, 0.05])
    turn = chance.randint(1, rows)
    header = [*(f"x{at}" for at in range(numbers)), *(f"c{at}" for at in range(texts)), "y"]
    now = 1_700_000_000
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["at", *header] if timed else header)
        for row in range(rows):
            values = [chance.gauss(0, 1) for _ in range(numbers)]
            levels = [chance.choice(LEVELS) for _ in range(texts)]
            score = values[0] + 0.5 * values[-1] + (levels[:1] == ["a"]) + chance.gauss(0, 0.2)
            score = -score if bent or row >= turn else score
            label = (
                f"{score:.3f}"
                if task == "regression"
                else ("no", "yes", "so")[(score > 0) + (score > 1.5)]
            )
            cells = [*(f"{value:.4g}" for value in values), *levels, label]
            cells = ["" if chance.random() < gaps else cell for cell in cells]
            now += chance.choice([0, 1, 60, 60, 3600]) if chance.random() < 0.95 else -90
            out.writerow([now, *cells] if timed else cells)


def _labels(chance: Random, task: str) -> dict[str, Any]:
    delay = chance.choice([0, 0, 1, 20, 150, "90s", "30m", "6h"])
    return {"delay": delay, "task": task} | ({"scale": 2.0} if task == "regression" else {})


# --- script ---------------------------------------------------------------------------------


def _item(chance: Random, columns: Columns, content: dict[str, Any]) -> dict[str, Any]:
    """Return a random drift or fault that fits the columns."""
    at = chance.randrange(columns.rows)
    until = chance.randint(at + 1, columns.rows)
    kinds = ["covariate", "concept", "concept", "missing", "stuck", "late_labels"]
    kinds += ["missing_labels", "outage", "duplicates", "out_of_order"]
    kinds += ["prior", "prior"] if columns.classes else []
    kinds += ["swapped"] if len(columns.numeric) > 1 else []
    kind = chance.choice(kinds)
    touched = {"streams": [0]} if chance.random() < 0.15 else {}
    share = round(chance.random(), 3)
    if kind in ("covariate", "prior", "concept"):
        return {"kind": kind, "at": at, **touched, **_drift(chance, kind, columns, content)}
    own: dict[str, dict[str, Any]] = {
        "missing": {"columns": [chance.choice(columns.all)], "share": share},
        "stuck": {"columns": [chance.choice(columns.all)]},
        "swapped": {"columns": list(columns.numeric[:2])},
        "late_labels": {"delay": chance.choice([5, 60, "10m"]), "share": share},
        "missing_labels": {"share": share},
        "duplicates": {"share": share},
        "out_of_order": {"share": share, "by": chance.choice([1, 10, 1000])},
    }
    return {"kind": kind, "at": at, "until": until, **touched, **own.get(kind, {})}


def _drift(chance: Random, kind: str, columns: Columns, content: dict[str, Any]) -> dict[str, Any]:
    over = chance.choice([20, 200])
    shapes: list[dict[str, Any]] = [{}, {"over": over}]
    shapes.append({"shape": "recurring", "period": 250, "over": over})
    shapes += [{"shape": "incremental", "over": over}] if kind == "covariate" else []
    shape = chance.choice(shapes)
    classes, column = columns.classes, chance.choice(columns.all)
    if kind == "prior":
        assert classes is not None
        return {**shape, "mix": {chance.choice(classes): chance.choice([0.0, 0.6, 1.0])}}
    if kind == "covariate":
        numeric = {"scale": 1.5, "offset": -0.4}
        return {
            **shape,
            "columns": {column: {"mix": {"a": 0.7}} if column in columns.categorical else numeric},
        }
    if (to := _elsewhere(chance, content)) and chance.random() < 0.5:
        return {**shape, "to": to}
    if classes is None:
        return {**shape, "shift": {"scale": -1.0, "offset": 0.5}}
    where: dict[str, Any] = {"column": column} | (
        {"levels": ["a", "1"]} if column in columns.categorical else {"above": 0.2}
    )
    relabel = {"relabel": {classes[0]: classes[-1], classes[-1]: classes[0]}}
    return {**shape, **relabel} | ({"where": where} if chance.random() < 0.4 else {})


def _elsewhere(chance: Random, content: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a concept drift can make different about the source itself."""
    source = content["source"]
    if source["kind"] == "file":
        return {"path": "bent.csv"}
    if source["kind"] == "generator" and GENERATORS[source["name"]]:
        params = chance.choice(GENERATORS[source["name"]])
        return {**params, "seed": chance.randrange(100)}
    return None


# --- model, detectors, policy, retraining ---------------------------------------------------


def _model(chance: Random, folder: Path) -> dict[str, Any]:
    if chance.random() < 0.35:
        (folder / "simulated_model.py").write_text(MODEL, "utf-8")
        breaks = chance.choices(["", "fit", "predict"], [70, 15, 15])[0]
        params = {"breaks": breaks} if breaks else {}
        made = {"kind": "python", "factory": "simulated_model:make", "params": params}
        return made | {"vectorised": chance.random() < 0.5}
    model: dict[str, Any] = {"kind": "catboost", "iterations": chance.choice([2, 5, 15])}
    model |= {"depth": chance.choice([1, 3, 4])}
    model |= {"early_stopping": 3} if chance.random() < 0.2 else {}
    return model | ({"params": {"l2_leaf_reg": 5}} if chance.random() < 0.2 else {})


def _detectors(chance: Random, columns: Columns) -> list[dict[str, Any]]:
    kinds = ["adwin", "page_hinkley", "kswin"]
    kinds += ["ddm", "eddm", "hddm_a", "hddm_w"] if columns.classes else []
    found: list[dict[str, Any]] = []
    for number in range(chance.choice([0, 1, 1, 2, 3])):
        one: dict[str, Any] = {"kind": chance.choice(kinds), "name": f"d{number}"}
        if one["kind"] in ("adwin", "page_hinkley", "kswin"):
            if chance.random() < 0.5:
                one |= {"on": "features", "columns": [chance.choice(columns.all)]}
            one |= {"direction": chance.choice(["up", "down", "both"])}
        one |= {"threshold": 5.0} if one["kind"] == "page_hinkley" else {}
        one |= {"delta": 0.2, "clock": 8} if one["kind"] == "adwin" else {}
        found.append(one)
    return found


def _policy(
    chance: Random, detectors: list[dict[str, Any]], *, inner: bool = False
) -> dict[str, Any]:
    """Return a random policy that cannot ask for more than a few dozen retrains."""
    kinds = ["never", "every", "every", "error_threshold", "adwin", "page_hinkley", "data_drift"]
    kinds += ["alarm", "alarm"] if detectors else []
    kinds += [] if inner else ["any_of", "all_of"]
    kind = chance.choice(kinds)
    policy: dict[str, Any] = {"kind": kind}
    if kind == "every":
        spans: list[dict[str, Any]] = [
            {"records": chance.randint(60, 400)},
            {"blocks": 3},
            {"time": "2h"},
            {},
        ]
        policy |= chance.choice(spans)
    elif kind == "error_threshold":
        policy |= chance.choice([{"rise": 0.02, "window": 50}, {"above": 0.2, "window": 20}])
    elif kind == "data_drift":
        policy |= {"share": 0.1, "within": 200}
    elif kind == "alarm":
        heard = chance.choice(detectors)
        policy |= {"detector": heard["name"], "on": heard.get("on", "error")}
    elif kind in ("any_of", "all_of"):
        policy["of"] = [_policy(chance, detectors, inner=True) for _ in range(chance.randint(1, 3))]
    policy |= {"settle": chance.choice([5, 40])} if chance.random() < 0.2 else {}
    policy |= {"warmup": 30} if chance.random() < 0.2 else {}
    policy |= {"queue": True} if chance.random() < 0.3 else {}
    if not inner:
        policy |= {"cooldown": chance.randint(60, 300)} if chance.random() < 0.8 else {}
        policy |= {} if "cooldown" in policy else {"budget": chance.randint(1, 12)}
    return policy


def _retraining(chance: Random, rows: int) -> dict[str, Any]:
    window = chance.randint(40, 400)
    judge: Any = "always_promote"
    if chance.random() < 0.4:
        judge = {"holdout": chance.randint(1, window - 1), "margin": chance.choice([0.0, 0.01])}
    spans: list[Any] = [0, 0, 1, 30, 120, "10m", {"fixed": 5, "per_1000_rows": 50}]
    rules: dict[str, Any] = {
        "first": chance.randint(20, rows // 2),
        "window": window,
        "latency": chance.choice(spans),
        "judge": judge,
    }
    return rules | _more_retraining(Random(rows * 1_000 + window), window)


def _more_retraining(chance: Random, window: int) -> dict[str, Any]:
    """Return what else a retrain may go through, by a chance of its own: seeds keep the rest."""
    rules: dict[str, Any] = {}
    if chance.random() < 0.3:
        rules["archive"] = {"window": min(window, 60), "alpha": 0.3, "slack": 0.2}
    if chance.random() < 0.3:
        extend = {"test": "mcnemar", "alpha": 0.3, "extend": 20, "extensions": 2}
        rules["judge"] = {"shadow": chance.randint(1, 60), **chance.choice([{}, extend])}
    if chance.random() < 0.2:
        space = {"iterations": [2, 8], "depth": [1, 3]}
        rules["tuning"] = {"trials": 3, "folds": 1, "space": space}
    return rules
