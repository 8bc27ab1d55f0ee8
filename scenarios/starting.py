"""A first scenario for a table that the user brings: runs at once, and says what to change."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np

from engine.batch import Labels, Table, Task
from engine.errors import InputError
from engine.quantities import moment_micros

CLASSES_MAX = 50
"""A numeric label with more distinct values than this is a regression target."""

TEMPLATE = """\
# A first scenario for {file}, {rows:,} rows. Run it with:  driftline run {out}
name: {name}
seed: 1
source:
  kind: file
  path: {path}
  label: {label}{ignore}{time}
{task}detectors:
  - {{kind: adwin, on: error}}            # watches the model's errors
  - {{kind: page_hinkley, on: features}}  # watches the inputs
policy: {{kind: adwin, cooldown: {cooldown}}}     # also: never, every, page_hinkley, ...
retraining:
  first: {first}        # labelled records before the first model
  window: {window}       # newest labelled records that a retrain learns from
  latency: 0        # records (or 2h) until a new model serves
prices: {{error: 1, retrain: 50}}        # what a wrong answer and a retrain cost you
# What if? Take the # away, and the stream drifts where you say; see the guide for all drifts.
# script:
{script}"""


def first_scenario(data: Path, label: str, out: Path) -> str:
    """Return the text of a scenario file for a table.

    Parameters
    ----------
    data
        The table.
    label
        Its label column.
    out
        Where the scenario will be written; its paths are relative to that folder.

    Raises
    ------
    InputError
        If the table cannot be used.
    """
    from engine.sources.file import FileSource

    source = FileSource(path=data, shown=str(data), label=label, task="classification")
    blocks = list(zip(range(8), source.blocks(), strict=False))
    if source.rows < 20:
        raise InputError(f"has {source.rows} rows; a scenario needs at least 20", str(data))
    labels = np.concatenate([block.labels for _, block in blocks])
    task = guess_task(labels)
    table = blocks[0][1].table
    time = next((name for name in table.schema.categorical if _is_time(table, name)), None)
    unique = [
        name
        for at, name in enumerate(table.schema.categorical)
        if name != time and len(table) >= 20 and len(table.levels[at]) > 0.9 * len(table)
    ]
    first = max(10, min(1000, source.rows // 10))
    schema = table.schema
    return TEMPLATE.format(
        file=data.name,
        rows=source.rows,
        out=shlex.quote(str(out)),
        name=_name(data),
        path=json.dumps(os.path.relpath(data, out.parent)),
        label=json.dumps(label),
        ignore=f"\n  ignore: {json.dumps(unique)}  # a different text in each row"
        if unique
        else "",
        time=f"\n  time: {json.dumps(time)}" if time else "\n  rate: 1/h  # made-up event times",
        task=_regression(labels) if task == "regression" else "",
        cooldown=first // 2,
        first=first,
        window=3 * first,
        script=_example(schema.numeric, source.rows),
    )


def guess_task(labels: Labels) -> Task:
    """Return what kind of label this is: many different numbers are a regression target.

    Examples
    --------
    >>> guess_task(np.array(["yes", "no"], dtype=object))
    'classification'
    >>> guess_task(np.array([str(number / 7) for number in range(100)], dtype=object))
    'regression'
    """
    texts = {text for text in labels if text is not None}
    if len(texts) <= CLASSES_MAX:
        return "classification"
    try:
        for text in texts:
            float(text)
    except ValueError:
        return "classification"
    return "regression"


def _regression(labels: Labels) -> str:
    """Return the lines that make the task a regression, errors in standard deviations."""
    values = np.array([float(text) for text in labels if text is not None])
    scale = float(f"{np.nanstd(values):.3g}") or 1.0
    return (
        f"labels: {{task: regression, scale: {scale:g}}}  # an error of {scale:g} costs one error\n"
    )


def _is_time(table: Table, name: str) -> bool:
    """Return whether the texts of a column are moments."""
    try:
        for text in table.texts(name)[:50]:
            moment_micros(text or "")
    except ValueError:
        return False
    return True


def _name(data: Path) -> str:
    """Return a scenario name made of a file's name."""
    stem = data.name.split(".")[0]
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in stem)
    return kept if kept[:1].isalnum() else f"my{kept}"


def _example(numeric: tuple[str, ...], rows: int) -> str:
    """Return an example script, commented out."""
    at = rows // 2
    if numeric:
        columns = json.dumps({numeric[0]: {"scale": 1.5}})
        return f"#   - {{kind: covariate, at: {at}, over: {rows // 20}, columns: {columns}}}\n"
    return f"#   - {{kind: outage, at: {at}, until: {at + rows // 20}}}\n"
