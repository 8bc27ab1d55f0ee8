"""The arms: each prepares a case and returns a function that takes one sample of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import ceiling as bare
from benchmarks.speed import peers
from benchmarks.speed.cases import Case
from benchmarks.speed.clock import Sample, clocked
from benchmarks.speed.job import FEATURES, SCHEMA, SEED, Made, champion_job, settings
from engine import detectors
from engine.loop import Loop
from engine.parts import Parts, PartWriter, outcome_schema
from engine.progress import Progress
from engine.runlog import RunDirectory
from engine.settings import CatBoostModel
from engine.state import Effects
from engine.training.fit import fit
from engine.training.jobs import Failed, Predictor, Trainer
from engine.training.models import CatBoostPredictor, load_catboost
from engine.training.pool import InlineTrainer, ProcessTrainer
from engine.training.store import Store

Sampler = Callable[[], Sample]
CHAMPION = "champion.cbm"


class Skipped(Exception):
    """A case cannot be measured here; says why."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all arms are given.

    Parameters
    ----------
    folder
        Where the champion lies, and where files may be left.
    """

    folder: Path

    def champion(self) -> CatBoostPredictor:
        """Return the model that all arms ask."""
        return load_catboost(self.folder / CHAMPION, SCHEMA)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a fresh folder, and take it away afterwards."""
        path = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def fit_champion(folder: Path) -> None:
    """Fit the champion once for all."""
    result = fit(champion_job())
    assert not isinstance(result, Failed), result
    assert isinstance(result.predictor, CatBoostPredictor)
    result.predictor.model.save_model(str(folder / CHAMPION))


def set_kernels(choice: bool | None) -> None:
    """Have the engine use its compiled detectors, or River's, or see for itself (None)."""
    use: Any = getattr(detectors, "use_kernels", None)
    if use is not None:
        use(choice)


def compiled_detectors() -> float:
    """Return 1 if the engine's compiled detectors are at work, else 0."""
    switch: Any = getattr(detectors, "SWITCH", None)
    return float(switch is not None and switch.kernels(0) is not None)


def fitting(kind: Any, **given: Any) -> Any:
    """Make a `kind` of those things given that it takes, so that one more or less is no matter."""
    return kind(**{one.name: given[one.name] for one in fields(kind) if one.name in given})


# --- the engine -----------------------------------------------------------------------------


class NoWriter(PartWriter):
    """Writes nothing."""

    def __init__(self) -> None:
        pass

    def write(self, stream: str, effects: Effects) -> None:
        """Drop it."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class NoParts(Parts):
    """Parts that are not kept."""

    def writer(self, shard: int) -> PartWriter:
        """Return a writer that drops everything."""
        return NoWriter()


class NoDirectory(RunDirectory):
    """A run directory that keeps nothing."""

    def __init__(self) -> None:
        self.parts = NoParts(Path(), outcome_schema("classification"))


def through_bytewax(
    case: Case, directory: RunDirectory, trainer: Trainer, initial: Predictor
) -> Sample:
    """Send a case's records through the dataflow."""
    from engine.flow import Flow, run

    progress = Progress(case.records)
    flow = fitting(
        Flow,
        engine=settings(case.every),
        feeds=feeds_of(case),
        streams=case.streams,
        parts=directory.parts,
        trainer=trainer,
        initial=initial,
        code_root="",
        batch_size=case.batch,
        progress=progress,
    )
    sample = clocked(case.records, lambda: run(flow, case.workers))
    assert sum(progress.records.values()) == case.records, progress
    assert not flow.failures, flow.failures
    return replace(sample, more={"compiled": compiled_detectors()})


def feeds_of(case: Case) -> list[Made]:
    """Return the streams of a case."""
    assert case.records % case.streams == 0, case
    return [Made(case.records // case.streams, index) for index in range(case.streams)]


def logged(case: Case, tools: Tools, trainer: Trainer, initial: Predictor) -> Sample:
    """Send a case's records through the dataflow into a run directory, and finish that."""
    names = [feed.name for feed in feeds_of(case)]
    prices, window = settings().prices, settings().scoring.window
    with tools.scratch() as folder:
        directory = RunDirectory(folder / "run", "classification")
        sample = through_bytewax(case, directory, trainer, initial)
        closing = clocked(
            case.records,
            lambda: directory.finish(names, [True] * len(names), prices, window),
        )
    return replace(sample, more={**sample.more, "finish_seconds": closing.seconds})


def engine(case: Case, tools: Tools) -> Sampler:
    """The engine as `driftline run` drives it, up to the closing of its parts."""
    initial = tools.champion()
    return lambda: logged(case, tools, InlineTrainer(), initial)


def engine_no_log(case: Case, tools: Tools) -> Sampler:
    """The engine with a run directory that drops what it is given."""
    initial = tools.champion()
    return lambda: through_bytewax(case, NoDirectory(), InlineTrainer(), initial)


def loop_only(case: Case, tools: Tools) -> Sampler:
    """The engine's loop, fed by a plain `for`."""
    initial = tools.champion()

    def work() -> None:
        made = Made(case.records)
        loop = Loop(settings(), made.name, SCHEMA, InlineTrainer(), SEED, initial, "", made.rows)
        for batch in made.batches(case.batch):
            loop.feed(batch)
            loop.advance()
        loop.finish()

    return lambda: clocked(case.records, work)


# --- training -------------------------------------------------------------------------------


def small_job(trees: int = 1) -> Any:
    """Return a job that lasts as long as `trees` says."""
    return replace(champion_job(), model=CatBoostModel(iterations=trees, depth=10))


def with_fits(case: Case, tools: Tools, store: Store, initial: Predictor) -> Sample:
    """Run a case with a warm training process."""
    with ProcessTrainer(store) as trainer:
        while trainer.wait(trainer.submit(small_job()), 1.0) is None:
            pass
        before = trainer.stats
        sample = logged(case, tools, trainer, initial)
        after = trainer.stats
    more = {
        "fits": after.fits - before.fits,
        "cached": after.cached - before.cached,
        "fit_seconds": after.seconds - before.seconds,
    }
    return replace(sample, more={**sample.more, **more})


def fits_cold(case: Case, tools: Tools) -> Sampler:
    """Retraining with a cache that is empty."""
    initial = tools.champion()

    def sample() -> Sample:
        with tools.scratch() as folder:
            return with_fits(case, tools, Store(folder), initial)

    return sample


def fits_cached(case: Case, tools: Tools) -> Sampler:
    """Retraining with a cache that holds every fit."""
    initial, store = tools.champion(), Store(tools.folder / f"fits-{case.name}")
    with_fits(case, tools, store, initial)
    return lambda: with_fits(case, tools, store, initial)


def beside_a_fit(case: Case, tools: Tools) -> Sampler:
    """The engine, while a training process is at work for somebody else."""
    initial = tools.champion()

    def sample() -> Sample:
        with tools.scratch() as folder, ProcessTrainer(Store(folder)) as trainer:
            while trainer.wait(trainer.submit(small_job()), 1.0) is None:
                pass
            busy = trainer.submit(small_job(trees=100_000))
            found = logged(case, tools, InlineTrainer(), initial)
            assert trainer.result(busy) is None, "the fit was over before the stream"
        return found

    return sample


# --- whole runs -----------------------------------------------------------------------------


def can_use_processes() -> bool:
    """Return whether a run can be spread over processes."""
    from engine import running

    plan: Any = vars(running)["Plan"]
    return "processes" in {one.name for one in fields(plan)}


def whole(case: Case, tools: Tools) -> Sampler:
    """All that `driftline run` does once a scenario is read: from plan to summary."""
    started = run_whole(replace(case, records=case.streams), tools).seconds

    def sample() -> Sample:
        found = run_whole(case, tools)
        return replace(found, more={"start_seconds": started, "peak_mb": peak_megabytes()})

    return sample


def run_whole(case: Case, tools: Tools) -> Sample:
    """Carry out a plan for a case's records."""
    from engine import running

    chosen = settings(case.every)
    model = chosen.model.model_copy(update={"initial": CHAMPION})
    feeds = feeds_of(case)
    about: dict[str, Any] = {"name": case.name, "seed": SEED, "replay": "", "scenario": {}}
    about |= {"source": {}, "streams": [feed.name for feed in feeds], "versions": {}}
    with tools.scratch() as folder:
        plan = fitting(
            vars(running)["Plan"],
            about=about,
            engine=chosen.model_copy(update={"model": model}),
            feeds=feeds,
            streams=len(feeds),
            truth_known=[True] * len(feeds),
            out=folder / "run",
            base=tools.folder,
            cache=folder / "cache",
            workers=case.workers,
            processes=case.processes,
            batch_size=case.batch,
        )
        execute: Any = running.execute
        return clocked(case.records, lambda: execute(plan, *stop()))


def stop() -> list[Any]:
    """Return what can stop a run, if runs are to be given that."""
    try:
        from engine.signals import Stop
    except ImportError:
        return []
    return [Stop()]


def peak_megabytes() -> float:
    """Return the most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss may be that of the parent, from before the exec
        lines = status.read_text("ascii").splitlines()
        (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return round(int(peak) / 1024, 1)
    import resource

    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak_bytes / (1024**2 if sys.platform == "darwin" else 1024), 1)


# --- peers ----------------------------------------------------------------------------------


def ceiling(case: Case, tools: Tools) -> Sampler:
    """The least that the job can take."""
    if bare.compiler() is None:
        raise Skipped("there is no C compiler here")
    library, model = bare.compiled(tools.folder), tools.champion().model

    def sample() -> Sample:
        fresh = bare.Compiled(library, np.zeros(FEATURES), np.ones(FEATURES))
        work = lambda: bare.run(Made(case.records), model, fresh, case.batch)  # noqa: E731
        found = clocked(case.records, work)
        return replace(found, more={f"alarms_{on}": float(n) for on, n in fresh.alarms.items()})

    return sample


def user_loop(case: Case, tools: Tools) -> Sampler:
    """CatBoost and River's detectors, record by record."""
    return peers.user_loop(tools.champion().model, case.records)


def river_hat(case: Case, tools: Tools) -> Sampler:
    """River's adaptive tree and detectors, record by record."""
    return peers.river_hat(case.records)


def capymoa(case: Case, tools: Tools) -> Sampler:
    """CapyMOA's adaptive tree."""
    if not peers.has_capymoa():
        raise Skipped("CapyMOA is not installed (pip install capymoa; it needs Java and PyTorch)")
    return peers.capymoa(case.records, tools.folder)


ARMS: Mapping[str, Callable[[Case, Tools], Sampler]] = {
    one.__name__: one
    for one in (
        *(engine, engine_no_log, loop_only, ceiling, user_loop, river_hat, capymoa),
        *(fits_cold, fits_cached, beside_a_fit, whole),
    )
}
"""How each `Case.arm` is measured."""
