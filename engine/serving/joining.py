"""A logbook as a table: what was answered, with the labels that came later, for `driftline run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.batch import Schema
from engine.errors import InputError
from engine.quantities import moment_micros
from engine.serving.logbook import ANSWERS, LABELS

GROUP_ROWS = 50_000
TIME, LABEL = "event_time", "label"


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of a logbook.

    Parameters
    ----------
    rows, labelled
        Rows of the table, and how many of them have a label.
    strays
        Labels whose id nobody was given.
    time, label
        Names of the columns that hold them.
    task
        What the labels are.
    """

    rows: int
    labelled: int
    strays: int
    time: str
    label: str
    task: str


def join(folder: Path, table: Path) -> Joined:
    """Write the answers of a logbook, in order, as a Parquet table with their labels.

    Parameters
    ----------
    folder
        What was given to ``driftline serve --log``.
    table
        The file to write, ending in ``.parquet``.

    Raises
    ------
    InputError
        If there is no logbook, no label, or the columns changed in between.
    """
    if table.suffix != ".parquet":
        raise InputError("must end in .parquet", str(table))
    parts = sorted(folder.glob(f"{ANSWERS}-*.jsonl"))
    if not parts:
        raise InputError("holds no answers: fill it with driftline serve --log", str(folder))
    labels = read_labels(folder)
    schema = schema_of(parts)
    time, label = free(TIME, schema.features), free(LABEL, schema.features)
    form = form_of(schema, time, label)
    rows, used = 0, 0
    table.parent.mkdir(parents=True, exist_ok=True)
    partial = table.with_name(f".{table.name}.partial")
    with pq.ParquetWriter(partial, form, compression="zstd") as writer:
        for group in groups(parts):
            found = [labels.get(answer["id"]) for answer in group]
            writer.write_table(to_arrow(group, found, schema, form))
            rows, used = rows + len(group), used + sum(one is not None for one in found)
    if not used:
        partial.unlink()
        raise InputError("no answer has a label yet: POST them to /labels", str(folder))
    partial.replace(table)
    return Joined(rows, used, len(labels) - used, time, label, schema.task)


def read_labels(folder: Path) -> dict[str, str | float]:
    """Return the labels by id; of two for one row the later counts."""
    found: dict[str, str | float] = {}
    for part in sorted(folder.glob(f"{LABELS}-*.jsonl")):
        for line in lines_of(part):
            found[line["id"]] = line["label"]
    return found


def schema_of(parts: list[Path]) -> Schema:
    """Return the columns of all parts.

    Raises
    ------
    InputError
        If they differ.
    """
    schemas = []
    for part in parts:
        head = next(lines_of(part), {})
        if "schema" in head:
            numeric, categorical, task = head["schema"]
            schemas.append((part, Schema(tuple(numeric), tuple(categorical), task)))
    if not schemas:
        raise InputError("is damaged: it does not say what its columns are", str(parts[0]))
    for part, schema in schemas:
        if schema != schemas[0][1]:
            message = f"has other columns than {schemas[0][0].name}: join them apart"
            raise InputError(message, str(part))
    return schemas[0][1]


def groups(parts: list[Path]) -> Iterator[list[dict[str, Any]]]:
    """Yield the answers in order, many at a time."""
    group: list[dict[str, Any]] = []
    for part in parts:
        for line in lines_of(part):
            if "features" in line:
                group.append(line)
                if len(group) == GROUP_ROWS:
                    yield group
                    group = []
    if group:
        yield group


def lines_of(part: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a file; a crash may have torn the last."""
    with part.open("rb") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            yield found


def form_of(schema: Schema, time: str, label: str) -> pa.Schema:
    """Return the columns of the table."""
    texts = schema.task == "classification"
    return pa.schema(
        [
            (time, pa.timestamp("us", tz="UTC")),
            *((name, pa.float64()) for name in schema.numeric),
            *((name, pa.string()) for name in schema.categorical),
            (label, pa.string() if texts else pa.float64()),
        ]
    )


def to_arrow(
    group: list[dict[str, Any]], labels: list[str | float | None], schema: Schema, form: pa.Schema
) -> pa.Table:
    """Return answers and their labels as a table."""
    times = pa.array([moment_micros(answer["time"]) for answer in group], pa.int64())
    columns = [times.cast(pa.timestamp("us", tz="UTC"))]
    for name in schema.features:
        cells = [answer["features"][name] for answer in group]
        kind = form.field(name).type
        columns.append(
            pa.array(cells if kind == pa.string() else [none_or_float(cell) for cell in cells],
                     kind)
        )  # fmt: skip
    columns.append(pa.array(labels, form.types[-1]))
    return pa.Table.from_arrays(columns, schema=form)


def none_or_float(cell: Any) -> float | None:
    """Return a number as a float."""
    return None if cell is None else float(cell)


def free(name: str, taken: tuple[str, ...]) -> str:
    """Return a name for a column that no other has.

    Examples
    --------
    >>> free("label", ("x", "label"))
    '_label'
    """
    while name in taken:
        name = f"_{name}"
    return name
