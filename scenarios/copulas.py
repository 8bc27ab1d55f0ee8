"""SDV's Gaussian copula: fit, load, sample, score. The only import of SDV, and only when used."""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError, InputError
from engine.seeds import derive, generator
from engine.sources.cells import shorten
from engine.sources.file import listed
from engine.sources.scans import Kind
from scenarios.samples import Origin

ONE_AT_A_TIME = threading.RLock()
QUALITY_ROWS = 5000
"""Rows of table and sample that the quality score compares, at most."""
TABLE = "records"


def fitted(frame: Any, kinds: Mapping[str, Kind], origin: Origin) -> Any:
    """Return a synthesizer fitted on a frame whose columns are of the given kinds.

    Categories get uniform marginals whatever `distribution` says: SDV spreads them over [0, 1],
    and any other shape would bend the shares of the levels, labels included.
    """
    sdtypes = {"numeric": "numerical", "categorical": "categorical"}
    described = {name: {"sdtype": sdtypes[kinds[name]]} for name in frame.columns}
    uniform = {name: "uniform" for name in frame.columns if kinds[name] == "categorical"}
    import_sdv()
    with quiet(), blamed(f"SDV cannot fit {origin.path}"):
        from sdv.metadata import Metadata
        from sdv.single_table import GaussianCopulaSynthesizer

        metadata = Metadata.load_from_dict({"tables": {TABLE: {"columns": described}}})
        synthesizer = GaussianCopulaSynthesizer(
            metadata, default_distribution=origin.distribution, numerical_distributions=uniform
        )
        synthesizer.fit({TABLE: frame})
        return synthesizer


def load_synthesizer(path: Path, shown: str) -> Any:
    """Return a synthesizer from a file that SDV saved.

    Raises
    ------
    InputError
        If it is none.
    """
    import_sdv()
    from sdv.utils import load_synthesizer as load

    try:
        with quiet():
            synthesizer = load(str(path))
            synthesizer.get_metadata().to_dict()
    except Exception as error:  # a pickle can fail in any way
        raise InputError(
            f"is not a single-table synthesizer that SDV {version('sdv')} can load "
            f"({shorten(type(error).__name__ + ': ' + str(error))}): save one with "
            "synthesizer.save(...)",
            shown,
        ) from None
    if not hasattr(synthesizer, "_set_random_state") or not hasattr(synthesizer, "reset_sampling"):
        raise InputError(f"holds a {type(synthesizer).__name__}, which cannot be seeded", shown)
    return synthesizer


def described_kinds(synthesizer: Any, origin: Origin) -> dict[str, Kind]:
    """Return the features of a saved synthesizer by its metadata.

    Raises
    ------
    InputError
        If the label is not there, or a column is neither a number nor a category.
    """
    tables = synthesizer.get_metadata().to_dict()["tables"]
    (table,) = tables.values()
    columns = {name: column.get("sdtype") for name, column in table["columns"].items()}
    for name in (origin.label, *origin.ignore, *origin.columns):
        if name not in columns:
            message = f"the synthesizer has no column {name!r}, only {listed(list(columns))}"
            raise InputError(message, origin.path)
    if origin.task == "regression" and columns[origin.label] != "numerical":
        raise InputError(f"the label {origin.label!r} is no number", origin.path)
    known_kinds: dict[str, Kind] = {
        "numerical": "numeric",
        "categorical": "categorical",
        "boolean": "categorical",
    }
    kinds: dict[str, Kind] = {}
    for name, sdtype in columns.items():
        if name == origin.label or name in origin.ignore:
            continue
        if sdtype not in known_kinds:
            message = f"column {name!r} is of type {sdtype}, no number or category: ignore it"
            raise InputError(message, origin.path)
        kinds[name] = origin.columns.get(name, known_kinds[sdtype])
        if kinds[name] == "numeric" and sdtype != "numerical":
            raise InputError(f"columns: {name!r} holds categories, not numbers", origin.path)
    if not kinds:
        raise InputError("no feature columns are left", origin.path)
    return kinds


def sampled(synthesizer: Any, rows: int, seed: int) -> Any:
    """Return a frame of samples: a pure function of synthesizer, rows and seed.

    The one place that needs SDV's private `_set_random_state`. What SDV draws after the model
    (which numbers are missing) starts alike each time, so the rows are put in an order of their
    own; otherwise the same row of each chunk would lack the same values.
    """
    with quiet(), blamed("SDV cannot sample"):
        synthesizer.reset_sampling()
        synthesizer._set_random_state(derive(seed, "sdv") % 2**32)
        frame = next(iter(synthesizer.sample(rows).values()))
    if len(frame) != rows:
        raise EngineError(f"SDV sampled {len(frame)} rows where {rows} were asked for")
    return frame.iloc[generator(seed, "order").permutation(rows)].reset_index(drop=True)


def quality(synthesizer: Any, frame: Any) -> float | None:
    """Return SDV's quality score of a fixed sample, 0 to 1, rounded; None if undefined."""
    rows = min(len(frame), QUALITY_ROWS)
    real = frame.iloc[np.linspace(0, len(frame) - 1, rows).astype(int)].reset_index(drop=True)
    made = sampled(synthesizer, rows, 0)
    with quiet(), blamed("SDV cannot score its sample"):
        from sdv.evaluation import evaluate_quality

        report = evaluate_quality(
            {TABLE: real}, {TABLE: made}, synthesizer.get_metadata(), verbose=False
        )
        score = float(report.get_score())
    return None if math.isnan(score) else round(score, 6)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep SDV's warnings and log lines to itself, and SDV to one thread at a time.

    It draws from numpy's global generator: what two threads sample at once would depend on which
    of them is faster.
    """
    loggers = [logging.getLogger(name) for name in ("sdv", "rdt", "copulas", "sdmetrics")]
    with ONE_AT_A_TIME:
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Turn whatever SDV raises into one sentence."""
    try:
        yield
    except Exception as error:
        message = shorten(" ".join(str(error).split()), 300)
        raise EngineError(f"{what}: {message or type(error).__name__}") from error


def import_sdv() -> None:
    """Import SDV without its progress bars, and without its files in the user's folders."""
    if "sdv" in sys.modules:
        return
    with tempfile.TemporaryDirectory() as folder, quiet():
        settings = {"TQDM_DISABLE": "1", "XDG_DATA_HOME": folder}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            import sdv.evaluation
            import sdv.single_table
            import sdv.utils  # noqa: F401
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
