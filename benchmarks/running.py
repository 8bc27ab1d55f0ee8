"""A benchmark from spec to report: tasks, what is kept of them, and the files left behind."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.arms import Equipped
from benchmarks.assembly import Answered, findings_of
from benchmarks.crew import Crew
from benchmarks.findings import Findings
from benchmarks.grid import Task
from benchmarks.loading import Grid, alpha_of, ascending, span_of
from benchmarks.table import chunks
from engine.errors import InputError
from engine.runlog import locked, tidy, write_json
from engine.running import check_out, versions
from engine.settings import Span
from engine.signals import Stop

MODELS_A_TASK = 8
"""How many models are fitted in one go."""
TELL_SECONDS = 10.0
"""How often progress is told where there is no terminal."""
ABOUT = "bench.json"


def check_place(out: Path, about: Mapping[str, Any], resume: bool) -> bool:
    """Make sure that a benchmark may be written to `out`; return whether it is finished there.

    Raises
    ------
    InputError
        If something is in the way.
    """
    if not (out / ABOUT).exists():
        check_out(out, resume=(out / ".state").exists() and not (out / "run.json").exists())
        return False
    if not resume:
        message = "holds a benchmark already; give another --out, or --resume to complete that one"
        raise InputError(message, str(out))
    try:
        found = json.loads((out / ABOUT).read_text("utf-8"))
        differs = [key for key in ("spec", "sources", "versions") if found.get(key) != about[key]]
    except (OSError, ValueError, AttributeError):
        raise InputError("is damaged; give another --out", str(out / ABOUT)) from None
    if differs:
        message = f"holds a benchmark with other {' and '.join(differs)}; give another --out"
        raise InputError(message, str(out))
    return (out / "summary.json").exists()


def about_bench(grid: Grid) -> dict[str, Any]:
    """Return the content of `bench.json`: what is run, and all that its results depend on."""
    return {
        "name": grid.bench.name,
        "replay": shlex.join(["driftline", "bench", str(grid.document.path)]),
        "spec": grid.bench.model_dump(mode="json"),
        "sources": [dict(facts) for facts in grid.sources],
        "versions": versions(),
    }


def execute(
    grid: Grid, out: Path, cache: Path, jobs: int, stop: Stop
) -> tuple[Findings, dict[str, float]]:
    """Do what is left to do; return the findings, and how many seconds each part took.

    Parameters
    ----------
    grid
        The benchmark.
    out
        Where it goes.
    cache
        Folder of results that runs share.
    jobs
        How many processes work at it.
    stop
        Tells what to do if a signal ends it.

    Raises
    ------
    EngineError
        If a task failed.
    """
    about = about_bench(grid)
    stop.hint = f"go on with: {about['replay']} --out {shlex.quote(str(out))} --resume"
    lock = locked(out)
    try:
        write_json(out / ABOUT, about)
        kept = Kept(out / ".state" / "done", about["versions"])
        with Crew(jobs, cache, out / ".state") as crew, shown(grid.bench.name) as tell:
            began = time.monotonic()
            kept.complete(crew, fits(grid), "models", tell)
            fitted = time.monotonic()
            answered = kept.complete(crew, plays(grid), "policies", tell)
            seconds = {"models": fitted - began, "policies": time.monotonic() - fitted}
        return findings_of(grid, about, answered), seconds
    finally:
        lock.close()


def fits(grid: Grid) -> list[Task]:
    """Return the tasks that fit all models."""
    found = []
    for case, facts in zip(grid.cases, grid.facts, strict=True):
        points = facts.records // facts.block - case.window + 2
        most = 1 + len(case.windows) * max(0, points)
        found += [Task("fit", case, tuple(part)) for part in chunks(most, MODELS_A_TASK)]
    return found


def plays(grid: Grid) -> list[Task]:
    """Return the tasks that plan and play, case by case."""
    found = []
    returns = returns_of(grid)
    for case in grid.cases:
        alphas = tuple(alpha_of(price, case.block) for price in ascending(grid.bench.alphas))
        for lag in grid.bench.latency:
            latency = span_of(lag, case.block)
            found.append(Task("plan", case, latency=latency, alphas=alphas, returns=returns))
            for arm in grid.arms:
                found.append(Task("play", case, latency=latency, alphas=alphas, arm=arm))
    return found


def returns_of(grid: Grid) -> tuple[Span, ...]:
    """Return how long returns take in arms that a relaxed bound can be found for, each once."""
    rules = [arm.retraining for arm in grid.arms if isinstance(arm, Equipped)]
    found = (one.archive.latency for one in rules if one.archive and one.bound == "relaxed")
    return tuple(dict.fromkeys(found))


class Kept:
    """The answers to tasks, on disk as soon as they are there.

    Parameters
    ----------
    folder
        Where they are.
    versions
        What they depend on besides the task.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str]) -> None:
        self.folder, self.versions = folder, versions
        folder.mkdir(parents=True, exist_ok=True)

    def complete(self, crew: Crew, tasks: Sequence[Task], what: str, tell: Any) -> list[Answered]:
        """Do the tasks that have no answer yet; return all with their answers, in order."""
        files = [self.folder / f"{task.identity(self.versions)}.json" for task in tasks]
        found = {at: read for at, file in enumerate(files) if (read := _read(file)) is not None}
        missing = [at for at in range(len(tasks)) if at not in found]
        tell(what, len(found), len(tasks))
        for number, answer in crew.do([tasks[at] for at in missing]):
            found[missing[number]] = {"answer": answer}
            write_json(files[missing[number]], {"answer": answer})
            tell(what, len(found), len(tasks))
        return [Answered(task, found[at]["answer"]) for at, task in enumerate(tasks)]


def _read(file: Path) -> Any:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "answer" in found else None


@contextmanager
def shown(name: str) -> Iterator[Any]:
    """Show how far each part of the work is, on standard error; a line now and then if piped."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console, told, rows = Console(stderr=True), [time.monotonic()], dict[str, Any]()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    def tell(what: str, done: int, total: int) -> None:
        if what not in rows:
            rows[what] = bar.add_task(f"{name}: {what}", total=total)
        bar.update(rows[what], completed=done)
        if not console.is_terminal and time.monotonic() - told[0] >= TELL_SECONDS:
            told[0] = time.monotonic()
            console.print(f"{name}: {what} {done} of {total}")

    with bar:
        yield tell


def write(out: Path, findings: Findings) -> Mapping[str, Any]:
    """Write the report's files and return the content of `summary.json`, which comes last."""
    from benchmarks import report
    from benchmarks.statistics import summarise
    from benchmarks.twins import twins

    summary = summarise(findings)
    texts = {
        "results.csv": report.csv(findings),
        "report.md": report.markdown(findings, summary),
        "report.html": report.html(findings, summary),
    }
    for name, text in texts.items():
        partial = out / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(out / name)
    content = summary.as_json() | {"additions": [asdict(twin) for twin in twins(findings)]}
    write_json(out / "summary.json", content)
    tidy(out)
    return content
