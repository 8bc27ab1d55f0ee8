"""Small tables to be spoilt: good rows, a few odd cells, and the same in every format."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
from pyarrow import parquet

COLUMNS = ("x", "z", "c", "t", "y")
FORMATS = ("t.csv", "t.csv.gz", "t.parquet")
Cells = Mapping[tuple[str, int], str]

SCENARIO = """\
name: bad
source: {kind: file, path: FILE, label: LABEL, SETTINGS}
labels: {task: TASK}
model: {kind: python, factory: "dullard:make", vectorised: true}
policy: never
retraining: {first: 50, window: 100}
"""
DULLARD = """\
import pathlib


class Dullard:
    def fit(self, frame, labels):
        self.answer = sorted(labels)[len(labels) // 2]
        return self

    def predict(self, frame):
        return [self.answer] * len(frame)


def make(**params):
    return Dullard()
"""
"""A model that is fitted at once."""


def good_rows(count: int = 300, cells: Cells = MappingProxyType({})) -> list[list[str]]:
    """Return rows of numbers x and z, categories c, times t, labels y, with other cells in it."""
    rows = []
    for at in range(count):
        time = f"2024-{1 + at // 672:02d}-{1 + at // 24 % 28:02d}T{at % 24:02d}:00:00"
        label = "no" if at % 5 else "yes"
        rows.append([str(at % 7), f"{at % 11 / 2}", "rgb"[at % 3], time, label])
    for (column, row), cell in cells.items():
        rows[row][COLUMNS.index(column)] = cell
    return rows


def csv_text(rows: Iterable[Sequence[str]], header: Sequence[str] = COLUMNS) -> str:
    """Return rows as a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write rows in the format that the file's name asks for."""
    if path.suffix == ".parquet":
        columns = {name: [row[at] or None for row in rows] for at, name in enumerate(COLUMNS)}
        parquet.write_table(pa.table(columns), path)
        return path
    data = csv_text(rows).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_scenario(
    folder: Path, file: str, settings: str = "", task: str = "classification", more: str = ""
) -> Path:
    """Write a scenario on a file beside it, and the model that it names."""
    (folder / "dullard.py").write_text(DULLARD)
    label = "y" if task == "classification" else "z"
    text = SCENARIO.replace("FILE", file).replace("LABEL", label).replace("TASK", task)
    path = folder / "bad.yaml"
    path.write_text(text.replace(", SETTINGS", f", {settings}" if settings else "") + more)
    return path
