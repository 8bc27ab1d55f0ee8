"""A run from plan to summary: directory, work, and what is left behind."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Event as Flag
from typing import Any

from engine.errors import InputError
from engine.metrics import Metrics, of_run
from engine.progress import Progress, shown
from engine.runlog import RunDirectory, write_json
from engine.shapes import ABOUT, read_json
from engine.signals import Stop
from engine.supervisor import supervise
from engine.working import Plan, load_initial_model, work

LIBRARIES = ("bytewax", "catboost", "numpy", "pandas", "pyarrow", "river", "scipy", "sdv")


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
    place = f"--out {out}"
    try:
        there = next(path for path in (out, *out.parents) if path.exists() or path.is_symlink())
        if not there.is_dir():
            raise InputError(f"{there} is a file; name a new directory", place)
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{there} may not be written to; name another directory", place)
        holds_run = (out / "run.json").exists() or (out / ".state").exists()
        if holds_run and not resume:
            message = "holds a run already; give another --out, or --resume to complete that one"
            raise InputError(message, str(out))
        if there == out and not holds_run and any(out.iterdir()):
            raise InputError("is not empty and holds no run; give another --out", str(out))
    except OSError as error:
        raise InputError(f"cannot be used: {error.strerror}", place) from None


def execute(plan: Plan, stop: Stop, metrics: Metrics | None = None) -> Result:
    """Carry a plan out and return what came of it.

    Parameters
    ----------
    plan
        The plan.
    stop
        Ends it early if a signal comes.
    metrics
        Where to show figures, if they are wanted.

    Raises
    ------
    InputError
        If the run directory is taken, or holds another run than the one to be resumed.
    EngineError
        If the machinery failed.
    """
    check_out(plan.out, plan.resume)
    load_initial_model(plan)  # one that cannot be used is refused before anything is made
    check_same(plan.out, plan.about)
    stop.hint = f"go on with: {plan.about['replay']} --out {shlex.quote(str(plan.out))} --resume"
    directory = RunDirectory(plan.out, plan.schema.task)
    write_json(plan.out / "run.json", plan.about)
    progress, flag = Progress(sum(feed.rows for feed in plan.feeds)), Flag()
    if metrics is not None:
        metrics.show(of_run("run", plan.about, progress))
    started = time.monotonic()
    carry_out = supervise if min(plan.processes, plan.shards) > 1 else work
    with stop.by(flag), shown(progress, str(plan.about["name"])):
        done = carry_out(plan, directory.parts, progress, flag)
    names = [feed.name for feed in plan.feeds]
    engine = plan.engine
    summary = directory.compact(names, plan.truth_known, engine.prices, engine.scoring.window)
    seconds = time.monotonic() - started
    write_json(plan.out / "timing.json", timing(plan, summary, seconds, asdict(done.fits)))
    directory.seal(summary)
    return Result(summary, seconds, done.failures)


def timing(
    plan: Plan, summary: Mapping[str, Any], seconds: float, fits: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of `timing.json`: how it ran, none of which changes outcomes."""
    whose = resource.RUSAGE_CHILDREN if plan.processes > 1 else resource.RUSAGE_SELF
    peak = resource.getrusage(whose).ru_maxrss
    return {
        "out": str(plan.out),
        "workers": plan.workers,
        "processes": min(plan.processes, plan.shards),
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


def check_same(out: Path, about: Mapping[str, Any]) -> None:
    """Make sure that `out`, if it holds a run, holds the one that `about` describes.

    Raises
    ------
    InputError
        If it holds another one, or its `run.json` is damaged.
    """
    file = out / "run.json"
    if not file.exists():
        return
    found = read_json(file, ABOUT, "")
    before, now = found["scenario"], about["scenario"]
    differs = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if not differs and found["source"] != about["source"]:
        differs = ["source"]
    if differs:
        told = " and ".join(filter(None, (", ".join(differs[:-1]), differs[-1])))
        raise InputError(f"holds a run with another {told}; give another --out", str(out))


def finished(out: Path) -> bool:
    """Return whether a directory holds a finished run."""
    return (out / "summary.json").exists()
