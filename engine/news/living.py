"""A live run: what is ingested goes through the loop of the simulations, into a run directory.

The ledger is the one truth. A run that starts again replays it from its beginning, the fits from
its own store, and goes on with what is new; so nothing but the ledger and the arrivals at which
models went in has to survive a crash.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, get_args

from engine.alerts.outlets import Outlets
from engine.alerts.rounds import Facts
from engine.children import cores
from engine.errors import EngineError, InputError
from engine.flow import Flow, run
from engine.metrics import Metrics, measured
from engine.news.agent import Agent, What
from engine.news.client import Client
from engine.news.feed import LedgerFeed
from engine.news.ledger import FILE, Ledger
from engine.news.live import INGESTION, LoadedLive
from engine.news.lookout import Lookout
from engine.pace import Measured
from engine.places import Place
from engine.progress import Progress
from engine.quantities import duration_micros
from engine.registrar import Registrar
from engine.runlog import RunDirectory, write_json
from engine.running import Result, versions
from engine.secrets import secret
from engine.shapes import ABOUT, read_json
from engine.signals import Stop
from engine.state import Effects
from engine.tallies import together
from engine.training.pool import ProcessTrainer
from engine.training.store import Store
from engine.working import batch_rows

KEY = "NEWSAPI_KEY"
"""The secret that holds NewsAPI's key."""
COUNTS = {"rows": int}
"""What is needed of `ingestion.json`."""
UNTOLD = ("decision", "job_ready")
"""Events that are no news: others tell the same."""
TOLD: tuple[str, ...] = get_args(What)
"""Anomalies of requests, which the agent tells."""
REGISTER_SECONDS = 5.0
"""How long models that are still to be registered may take when a run stops."""
SEND_SECONDS = 2.0
"""How long alerts that are still to be sent may take when a run stops."""
JOIN_SECONDS = 1.0
"""How long to wait for the agent, which may be at a request; what it has not done it does again."""
LOOK_SECONDS = 0.2
"""How soon a wait for the last fits looks whether it is to stop."""


@dataclass(frozen=True)
class LivePlan:
    """What is to be streamed, and how.

    Parameters
    ----------
    loaded
        The configuration.
    about
        The content of `run.json`.
    out
        The run directory.
    key
        NewsAPI's key.
    rounds
        How many rounds over all topics; None: until a signal comes.
    tell
        Called with each line that people should see.
    report
        Called with the verdict and the ledger's totals when it stops, however it does.
    metrics
        Where to show figures, if they are wanted.
    """

    loaded: LoadedLive
    about: Mapping[str, Any]
    out: Path
    key: str = field(repr=False)
    rounds: int | None
    tell: Callable[[str], None]
    report: Callable[[Result, Mapping[str, Any]], None]
    metrics: Metrics | None = None


class LiveDirectory(RunDirectory):
    """The run directory of a live run, which is never finished for good."""

    def _claim(self) -> None:
        """Open a run that was brought into its lasting form when it stopped."""
        (self.path / "summary.json").unlink(missing_ok=True)


class Arrivals:
    """The arrivals at which models went in, on disk: ``ready.jsonl``.

    Parameters
    ----------
    path
        The file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def read(self) -> dict[int, int]:
        """Return the arrivals by model number, and drop a line that a crash has torn."""
        whole = ""
        found = {}
        for line in self.path.read_text("utf-8").splitlines(True) if self.path.exists() else ():
            try:
                entry = json.loads(line) if line.endswith("\n") else {}
                found[int(entry["model"])] = int(entry["ready"])
            except (ValueError, KeyError, TypeError):
                break  # what comes after it cannot have happened either
            whole += line
        if self.path.exists():
            with self.path.open("r+", encoding="utf-8") as file:
                file.truncate(len(whole.encode()))
        return found

    def add(self, number: int, arrival: int) -> None:
        """Write down, to last, that model `number` goes in at `arrival`."""
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps({"model": number, "ready": arrival}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def about_live(loaded: LoadedLive, replay: str) -> dict[str, Any]:
    """Return the content of `run.json`."""
    live = loaded.live
    return {
        "name": live.name,
        "seed": live.seed,
        "replay": replay,
        "scenario": live.lasting(),
        "source": {"kind": "newsapi", **live.model_dump(mode="json", include=set(INGESTION))},
        "streams": [live.stream],
        "versions": versions(),
    }


def check_place(out: Path, about: Mapping[str, Any]) -> bool:
    """Return whether `out` holds this very live run, to be gone on with.

    Raises
    ------
    InputError
        If it holds something else.
    """
    file = out / "run.json"
    if not file.exists():
        if out.is_dir() and any(path.name not in (".state", "data") for path in out.iterdir()):
            raise InputError("is not empty and holds no run; give another --out", str(out))
        if out.exists() and not out.is_dir():
            raise InputError("is a file; give another --out", str(out))
        return False
    found = read_json(file, ABOUT, "")
    if found["source"].get("kind") != "newsapi":
        raise InputError("holds a simulation; give another --out", str(out))
    before, now = found["scenario"], about["scenario"]
    differs = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if differs:
        told = " and ".join(filter(None, (", ".join(differs[:-1]), differs[-1])))
        raise InputError(f"holds a live run with another {told}; give another --out", str(out))
    return True


@dataclass(frozen=True)
class History:
    """What a run directory came from: it may only go on with that.

    Parameters
    ----------
    out
        The run directory.
    identity
        Its ledger's; empty if that is not known.
    rows
        So many articles its ledger had, or more.
    """

    out: Path
    identity: str
    rows: int

    @staticmethod
    def of(out: Path) -> History:
        """Return what is known of a run directory, which need not be there."""
        about, counts = out / "run.json", out / "ingestion.json"
        source = read_json(about, ABOUT, "")["source"] if about.exists() else {}
        rows = read_json(counts, COUNTS, "")["rows"] if counts.exists() else 0
        return History(out, str(source.get("ledger", "")), rows)

    def open(self, folder: Path) -> Ledger:
        """Open the ledger of a data folder, if it is the one that the run came from.

        Raises
        ------
        InputError
            If it is not, or cannot be opened.
        """
        known = bool(self.identity or self.rows)
        hint = f"the run in {self.out} came from it: restore it, or give another --out"
        if known and not (folder / FILE).is_file():
            raise InputError(f"the ledger is gone, and {hint}", str(folder / FILE))
        ledger = Ledger.open(folder)
        told, rows = self.identity, ledger.totals()["rows"]
        if (told and ledger.recall("identity") != told) or rows < self.rows:
            ledger.close()
            message = f"this is another ledger than the run in {self.out} came from, or an older"
            raise InputError(
                f"{message} copy of it; set data to the right folder, or give another --out",
                str(folder / FILE),
            )
        return ledger


@dataclass(frozen=True)
class Crew:
    """Who works on a live run: who ingests, fits models, sends alerts, and registers models."""

    ledger: Ledger
    agent: Agent
    trainer: ProcessTrainer
    outlets: Outlets
    registrar: Registrar | None
    stop: threading.Event


def stream(plan: LivePlan, stop: Stop) -> None:
    """Stream until a signal comes or all rounds are over.

    Raises
    ------
    InputError
        If the run directory or the data folder is taken.
    EngineError
        If nothing can work any more, such as when the key is refused.
    """
    live, base, started = plan.loaded.live, plan.loaded.base, time.monotonic()
    marks = plan.out / "delivered.jsonl"
    outlets = Outlets(live.notify, base, marks, lambda name: secret(name, base), plan.tell)
    history = History.of(plan.out)
    with history.open(base / live.data) as ledger:
        directory = LiveDirectory(plan.out, "classification")
        source = {**plan.about["source"], "ledger": ledger.identity(clock())}
        write_json(plan.out / "run.json", {**plan.about, "source": source})
        flag = threading.Event()
        client, interval = Client(live.newsapi, plan.key), duration_micros(live.interval)
        agent = Agent(live.newsapi, live.topics, interval, ledger, client, clock, flag, plan.tell)
        store = Store(private=plan.out / "models")
        with stop.by(flag), ProcessTrainer(store, cores()) as trainer:
            trainer.warm()
            registrar = _registrar(plan)
            _follow(plan, directory, Crew(ledger, agent, trainer, outlets, registrar, flag))
            if plan.rounds is not None and not agent.failure:
                _await_fits(trainer, flag, plan.tell)
            if registrar is not None:
                registrar.close(REGISTER_SECONDS)
            summary = directory.compact([live.stream], [False], live.prices, live.scoring.window)
            totals, seconds = ledger.totals(), time.monotonic() - started
            write_json(plan.out / "ingestion.json", totals)
            training = asdict(trainer.stats)
            timing = {"out": str(plan.out), "seconds": round(seconds, 3), "training": training}
            write_json(plan.out / "timing.json", timing)
            directory.seal(summary)
            plan.report(Result(summary, seconds), totals)
        if agent.failure:
            raise EngineError(agent.failure)


def _registrar(plan: LivePlan) -> Registrar | None:
    """Return who registers models, if they are to be."""
    settings, data = plan.loaded.live.registry, plan.loaded.base / plan.loaded.live.data
    if settings is None:
        return None
    place = Place.of(settings.uri, data)
    return Registrar(place, plan.about, plan.out, data, plan.tell, settings.name)


def _follow(plan: LivePlan, directory: RunDirectory, crew: Crew) -> None:
    """Let the agent ingest and the loop follow, to the end of both."""
    live, ledger, began = plan.loaded.live, crew.ledger, clock()
    arrivals = Arrivals(plan.out / "ready.jsonl")
    past = ledger.totals()["rows"]
    if past:
        plan.tell(f"going on: {past:,} articles of before")
    thread = threading.Thread(target=crew.agent.run, args=(plan.rounds,), daemon=True)

    def facts() -> Facts:
        used = ledger.budget(live.newsapi.plan, clock()).used
        newest = began if feed.newest is None else feed.newest
        return Facts(newest, used / live.newsapi.plan.requests)

    lookout = Lookout.of(live.alerts, ledger, facts, clock)
    feed = LedgerFeed(live, ledger, lambda: crew.stop.is_set() or not thread.is_alive(), lookout)
    flow = Flow(
        live,
        [feed],
        1,
        directory.parts,
        crew.trainer,
        None,
        str(plan.loaded.base.resolve()),
        batch_rows(feed.schema),
        Progress(0),
        pace=Measured(arrivals.add, arrivals.read(), past),
        listen=Narrator(past, plan.tell, crew.outlets, crew.registrar),
    )
    parts = (live, ledger, crew.trainer, flow.progress, past, lambda: feed.newest, clock)
    with measured(plan.metrics, plan.about, *parts) as count:
        flow.listen = together(flow.listen, count)
        thread.start()
        run(flow, 1)
        thread.join(JOIN_SECONDS)
    if unsent := crew.outlets.close(SEND_SECONDS):
        plan.tell(f"{unsent} alerts could not be sent yet; they are when it goes on")
    if flow.failures:
        raise EngineError(next(iter(flow.failures.values())))


def clock() -> int:
    """Return the microseconds since 1970."""
    return time.time_ns() // 1000


def _await_fits(
    trainer: ProcessTrainer, flag: threading.Event, tell: Callable[[str], None]
) -> None:
    """Wait for the fits that are under way: the next start finds them done."""
    if not trainer.settle(0):
        tell("waiting for a model to be fitted")
        while not flag.is_set() and not trainer.settle(LOOK_SECONDS):
            pass


@dataclass
class Narrator:
    """Tells people what happens to a live stream, as it happens.

    Parameters
    ----------
    since
        The first arrival that is news.
    tell
        Called with each line.
    outlets
        Who send alerts, each once.
    registrar
        Who registers models, each once; None: nobody.
    """

    since: int
    tell: Callable[[str], None]
    outlets: Outlets
    registrar: Registrar | None

    def __call__(self, stream: str, effects: Effects) -> None:
        """Tell the events among what is about to be written, send alerts, register models."""
        from engine.printing import gist

        for event in effects.events:
            if self.registrar is not None:
                self.registrar.see(event)
            if event.kind == "alert":
                self.outlets.deliver(event.line(), f"{stream}:{event.n}")
            about = {"kind": event.kind, **event.details}
            told = event.kind in UNTOLD or event.details.get("what") in TOLD
            if event.seq >= self.since and not told:
                self.tell(f"{event.kind} at record {event.seq:,}: {gist(about)}")
