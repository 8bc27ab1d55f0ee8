"""What is to be run, and the part of it that one process does: trainer, dataflow, parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from typing import Any

from engine.batch import Schema
from engine.batch import batch_rows as batch_rows
from engine.children import cores
from engine.flow import Feed, Flow, run
from engine.parts import Parts, shards_of
from engine.progress import Progress
from engine.settings import Engine
from engine.state import Effects
from engine.tallies import Listener, Tallies, together
from engine.training.jobs import Predictor
from engine.training.pool import ProcessTrainer, Stats
from engine.training.store import Store, load_initial


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
        The streams; those of one process, if there are several.
    streams
        How many streams the run has.
    out
        The run directory.
    base
        Folder that paths in the settings start from.
    cache
        Folder of results that runs share.
    truth_known
        For each stream, whether its drifts are scripted.
    resume
        Whether `out` may hold an unfinished run, to be completed.
    workers
        Bytewax workers in each process.
    processes
        How many processes share the streams.
    batch_size
        Records to a batch.
    registry
        Where models are registered: a folder or an MLflow tracking URI; None: nowhere.
    metered
        Whether figures are counted for metrics.
    """

    about: Mapping[str, Any]
    engine: Engine
    feeds: Sequence[Feed]
    streams: int
    out: Path
    base: Path
    cache: Path
    truth_known: Sequence[bool] = ()
    resume: bool = False
    workers: int = 1
    processes: int = 1
    batch_size: int = 1024
    registry: str | None = None
    metered: bool = False

    @property
    def schema(self) -> Schema:
        """The columns of all streams."""
        return self.feeds[0].schema

    @property
    def shards(self) -> int:
        """How many parts the run is written in."""
        return shards_of(self.streams)


@dataclass(frozen=True)
class Done:
    """What came of a process's work, besides what it wrote.

    Parameters
    ----------
    failures
        Why streams failed, by name.
    fits
        What training took.
    """

    failures: Mapping[str, str] = field(default_factory=dict)
    fits: Stats = field(default_factory=Stats)

    @staticmethod
    def joined(parts: Sequence[Done]) -> Done:
        """Return what several processes did together.

        Examples
        --------
        >>> Done.joined([Done({"a": "no rows"}, Stats(fits=2)), Done(fits=Stats(fits=1))])
        Done(failures={'a': 'no rows'}, fits=Stats(fits=3, cached=0, seconds=0.0, deaths=0))
        """
        failures = {name: why for part in parts for name, why in part.failures.items()}
        fits = Stats()
        for part in parts:
            fits = fits.plus(part.fits)
        return Done(failures, fits)


def work(plan: Plan, parts: Parts, progress: Progress, stop: Flag) -> Done:
    """Handle the plan's streams in this process and write parts.

    Raises
    ------
    EngineError
        If the machinery failed.
    """
    store = Store(private=parts.folder.parent / "models", shared=plan.cache / "models")
    lanes = max(1, cores() // plan.processes)
    with ProcessTrainer(store, lanes) as trainer, registering(plan) as register:
        trainer.warm()
        flow = Flow(
            plan.engine,
            plan.feeds,
            plan.streams,
            parts,
            trainer,
            load_initial_model(plan),
            str(plan.base.resolve()),
            plan.batch_size,
            progress,
            stop,
            listen=together(register, counting(plan, progress, trainer)),
        )
        run(flow, plan.workers)
        return Done(flow.failures, trainer.stats)


def counting(plan: Plan, progress: Progress, trainer: ProcessTrainer) -> Listener | None:
    """Return who counts for metrics, if anybody is to."""
    if not plan.metered:
        return None
    streams = {feed.name: feed.index for feed in plan.feeds}
    tallies = Tallies(plan.engine, streams, progress, pool=lambda: trainer.stats)
    progress.tallies[plan.feeds[0].name] = tallies
    return tallies.listen


@contextmanager
def registering(plan: Plan) -> Iterator[Callable[[str, Effects], None] | None]:
    """Register the models of the plan's streams, if they are to be, while the block runs."""
    if plan.registry is None:
        yield None
        return
    from engine.places import Place
    from engine.registrar import Registrar

    with Registrar(Place.of(plan.registry), plan.about, plan.out, plan.cache, say) as registrar:

        def listen(stream: str, effects: Effects) -> None:
            for event in effects.events:
                registrar.see(event)

        yield listen


def say(line: str) -> None:
    """Tell the user something while the progress bar runs."""
    sys.stderr.write(f"{line}\n")


def load_initial_model(plan: Plan) -> Predictor | None:
    """Return the model in production to start from, if the plan has one.

    Raises
    ------
    InputError
        If it cannot be read, or is for other columns.
    """
    name = plan.engine.model.initial
    if name is None:
        return None
    return load_initial(plan.base / name, plan.engine.model, plan.schema, str(plan.base))
