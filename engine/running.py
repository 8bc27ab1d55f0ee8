"""A run from plan to summary: directory, trainer, dataflow, signals, and what is left behind."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from engine.batch import Schema
from engine.errors import InputError, Interrupted
from engine.flow import Feed, Flow, run
from engine.progress import Progress, shown
from engine.runlog import RunDirectory, write_json
from engine.settings import Engine

LIBRARIES = ("bytewax", "catboost", "numpy", "pandas", "pyarrow", "river", "scipy", "sdv")


@dataclass(frozen=True)
class Plan:
    """What is to be run, and how.

    Parameters
    ----------
    about
        The content of `run.json`: all that can change outcomes, and nothing else.
    engine
        The settings.
    feeds
        The streams.
    truth_known
        For each stream, whether its drifts are scripted.
    out
        The run directory.
    base
        Folder that paths in the settings start from.
    cache
        Folder of results that runs share.
    resume
        Whether `out` may hold an unfinished run, to be completed.
    workers
        Bytewax workers.
    batch_size
        Records to a batch.
    """

    about: Mapping[str, Any]
    engine: Engine
    feeds: Sequence[Feed]
    truth_known: Sequence[bool]
    out: Path
    base: Path
    cache: Path
    resume: bool = False
    workers: int = 1
    batch_size: int = 1024

    @property
    def schema(self) -> Schema:
        """The columns of all streams."""
        return self.feeds[0].schema


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Parameters
    ----------
    summary
        The content of `summary.json`.
    seconds
        Wall-clock time.
    failures
        Why streams failed, by name.
    """

    summary: Mapping[str, Any]
    seconds: float
    failures: Mapping[str, str] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Return the versions that outcomes depend on."""
    found = {"driftline": version("driftline"), "python": platform.python_version()}
    return {**found, **{name: version(name) for name in LIBRARIES}}


def commit(folder: Path) -> str | None:
    """Return the git commit of a folder, if it is under git."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def check_out(out: Path, resume: bool) -> None:
    """Make sure that a run may be written to `out`.

    Raises
    ------
    InputError
        If something is in the way.
    """
    if out.exists() and not out.is_dir():
        raise InputError("this is a file; name a new directory", f"--out {out}")
    if not out.exists() or resume:
        return
    if (out / "run.json").exists():
        message = "holds a run already; give another --out, or --resume to complete that one"
        raise InputError(message, str(out))
    if any(out.iterdir()):
        raise InputError("is not empty and holds no run; give another --out", str(out))


def execute(plan: Plan) -> Result:
    """Carry a plan out and return what came of it.

    Raises
    ------
    InputError
        If the run directory is taken, or holds another run than the one to be resumed.
    Interrupted
        If a signal stopped it; what was written is whole.
    EngineError
        If the machinery failed.
    """
    from engine.training.pool import ProcessTrainer
    from engine.training.store import Store

    check_out(plan.out, plan.resume)
    initial = load_initial_model(plan)
    _check_same(plan)
    directory = RunDirectory(plan.out, plan.schema.task)
    write_json(plan.out / "run.json", plan.about)
    progress = Progress(sum(feed.rows for feed in plan.feeds))
    started = time.monotonic()
    store = Store(private=directory.state / "models", shared=plan.cache / "models")
    with ProcessTrainer(store) as trainer:
        trainer.warm()
        flow = Flow(
            plan.engine,
            plan.feeds,
            directory,
            trainer,
            initial,
            str(plan.base.resolve()),
            plan.batch_size,
            progress,
        )
        with stopped_by_signals(flow) as signals, shown(progress, str(plan.about["name"])):
            run(flow, plan.workers)
        if signals:
            raise Interrupted(signals[0])
        fits = asdict(trainer.stats)
    names = [feed.name for feed in plan.feeds]
    engine = plan.engine
    summary = directory.finish(names, plan.truth_known, engine.prices, engine.scoring.window)
    seconds = time.monotonic() - started
    write_json(plan.out / "timing.json", timing(plan, summary, seconds, fits))
    return Result(summary, seconds, flow.failures)


def timing(
    plan: Plan, summary: Mapping[str, Any], seconds: float, fits: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of `timing.json`: how it ran, none of which changes outcomes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "out": str(plan.out),
        "workers": plan.workers,
        "processes": 1,
        "batch_size": plan.batch_size,
        "resumed": plan.resume,
        "commit": commit(Path(__file__).parent),
        "platform": platform.platform(),
        "seconds": round(seconds, 3),
        "records_per_second": round(summary["total"]["records"] / seconds, 1),
        "peak_memory_mb": round(peak / (1024 if sys.platform == "linux" else 1024**2), 1),
        "training": dict(fits),
        "cpu_count": os.cpu_count(),
    }


def load_initial_model(plan: Plan) -> Any:
    """Return the model in production to start from, or None."""
    name = plan.engine.model.initial
    if name is None:
        return None
    from engine.training.store import load_initial

    return load_initial(plan.base / name, plan.engine.model, plan.schema, str(plan.base))


def _check_same(plan: Plan) -> None:
    """Refuse to resume a directory that holds another run."""
    file = plan.out / "run.json"
    if not plan.resume or not file.exists():
        return
    before = json.loads(file.read_text("utf-8"))
    differs = [key for key in ("scenario", "seed", "source") if before.get(key) != plan.about[key]]
    if differs:
        message = f"holds a run with another {' and '.join(differs)}; it cannot be resumed as this"
        raise InputError(message, str(plan.out))


@contextmanager
def stopped_by_signals(flow: Flow) -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM end the dataflow cleanly; yields the list of those that came."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        flow.stop.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finished(out: Path) -> bool:
    """Return whether a directory holds a finished run."""
    return (out / "summary.json").exists()
