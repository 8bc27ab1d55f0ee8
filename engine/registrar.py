"""The registrar: has what a run's events tell registered, beside the run and never in its way.

The run only puts events on a queue. A thread hands them to a process of its own, which alone
talks to MLflow: a stream loses neither time nor its outcome to a registry that is slow or gone.
Whatever could not be registered is found again in the run directory, by `reconcile` in
`engine.registering`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event as Flag
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

from engine.children import obedient, undisturbed
from engine.dossiers import STEPS, Dossier, Follower, RunId, Verdict
from engine.events import Event
from engine.places import Place, RegistryGone
from engine.registering import BATCH_STEPS, Registering, Work
from engine.registry import Registry
from engine.settings import Settings

QUEUE_MAX = 100_000
"""So many events wait at most; more are left to `engine.registering`."""
BATCH_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
"""How long a registry may get nowhere once the run is over."""
STUCK_SECONDS = 5.0
"""How much longer than that its process may be silent."""
RETRY_SECONDS = (0.5, 15.0)
"""How long to wait before a registry that was gone is tried again: at first, and at most."""


class RegistrySettings(Settings):
    """Where models are registered: a folder, or an MLflow tracking URI, and under which name."""

    uri: str = "registry/"
    name: str | None = None


# --- beside a run ---------------------------------------------------------------------------


class Registrar:
    """Follows the events of a run that is going on.

    Use it as a context manager, or call `close`. Several may follow one run, if each stream has
    one of them only.

    Parameters
    ----------
    place
        The registry; a folder is made into one.
    about
        The content of `run.json`.
    out
        The run directory.
    cache
        Folder of results that runs share.
    tell
        Gets the few lines that the user should read.
    name
        What the registered models are called, instead of as the streams.
    """

    def __init__(
        self,
        place: Place,
        about: Mapping[str, Any],
        out: Path,
        cache: Path,
        tell: Callable[[str], None],
        name: str | None = None,
    ) -> None:
        self.place, self.tell, self.out = place, tell, out
        self._work = Work.of(place, RunId.of(about, str(out), name), out, cache)
        self._queue: Queue[tuple[dict[str, Any], float]] = Queue(QUEUE_MAX)
        self._closing, self._full, self._patience = Flag(), False, 0.0
        self._thread = Thread(target=self._follow, name="registrar", daemon=True)
        self._started, self._waited = False, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(PATIENCE_SECONDS if error is None else 1.0)

    def see(self, event: Event) -> None:
        """Take note of an event; never waits, never raises."""
        try:
            if event.kind not in STEPS:
                return
            if not self._started:
                self._started = True
                self._thread.start()
            self._queue.put_nowait((json.loads(event.line()), time.time()))
        except Full:
            self._full = True
        except Exception as error:  # the run goes on, whatever it is
            self._full = True
            with suppress(Exception):
                self.tell(f"registry: {type(error).__name__}: {error}")

    def close(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for what is left; give up if the registry gets nowhere for so many seconds.

        Call it before the run directory is finished.
        """
        if not self._started or self._closing.is_set():
            return
        self._patience = seconds
        self._closing.set()
        self._thread.join()
        if self._full:
            self.tell(f"registry: not all events were taken; {hint(self.place, self.out)}")

    def _follow(self) -> None:
        """Hand events on to the process, and its words to the user."""
        context = multiprocessing.get_context("spawn")
        near, far = context.Pipe()
        try:
            with undisturbed():
                args = (far, self._work, os.getpid())
                child = context.Process(target=_be_registrar, args=args, daemon=True)
                child.start()
            far.close()
            self._hand_on(near)
            near.send(("close", self._patience))
            left: int | None = None
            while left is None and near.poll(self._patience + STUCK_SECONDS):
                left = self._listen(near)
            if left is None or left:
                many = "not all models are" if left is None else f"{left} entries are not"
                self.tell(f"registry: {many} registered; {hint(self.place, self.out)}")
            child.join(0.5)
            child.kill()
        except (OSError, EOFError, ValueError) as error:
            self.tell(f"registry: its process ended ({error!r}); {hint(self.place, self.out)}")

    def _hand_on(self, near: Connection) -> None:
        """Send what comes, in batches, until it is time to close and nothing is left."""
        while not (self._closing.is_set() and self._queue.empty()):
            self._closing.wait(BATCH_SECONDS)
            batch: list[tuple[dict[str, Any], float]] = []
            with suppress(Empty):
                while len(batch) < 1000:
                    batch.append(self._queue.get_nowait())
            if batch:
                near.send(("events", batch))
            while near.poll():
                self._listen(near)

    def _listen(self, near: Connection) -> int | None:
        """Pass on what the process says; return how much it left undone if that is its last."""
        kind, content = near.recv()
        if kind == "left":
            return int(content)
        if kind == "say":
            self.tell(content)
        elif not self._waited:
            self._waited = True
            self.tell(f"registry: {content} entries are still to be written to {self.place.shown}")
        return None


def hint(place: Place, out: Path) -> str:
    """Return what a user can do about what is not registered."""
    return f"later: driftline models register {out} --registry {place.shown}"


def _be_registrar(connection: Connection, work: Work, parent_pid: int) -> None:
    """Be the process that talks to MLflow."""
    obedient(parent_pid)
    with suppress(OSError):
        os.nice(2)  # the stream goes first
    Desk(connection, work).serve()


class Desk:
    """The registrar's own process: one thread takes in what comes, the main one registers it."""

    def __init__(self, connection: Connection, work: Work) -> None:
        self.connection, self.work = connection, work
        self.steps: deque[Dossier | Verdict] = deque()
        self.patience: float | None = None
        self.since, self.opening = time.monotonic(), True
        self.sending = Lock()
        self.news, self.hurry, self.follower = Flag(), Flag(), Follower(work.run)
        self.registering: Registering | None = None
        self.told: set[str] = set()

    def serve(self) -> None:
        """Register until the run is over and nothing is left, or nothing comes of it."""
        Thread(target=self._take_in, daemon=True).start()
        Thread(target=self._report, daemon=True).start()
        pause = RETRY_SECONDS[0]
        while not self._over():
            if not self.steps:
                self.news.wait(BATCH_SECONDS)
                self.news.clear()
                continue
            try:
                batch = list(islice(self.steps, BATCH_STEPS))
                for problem in self._register(batch):
                    self._say(problem, f"registry: not registered: {problem}")
                self._done(len(batch))
                pause = RETRY_SECONDS[0]
            except RegistryGone as error:
                self._say("gone", f"registry: {error}; the run goes on, this is tried again")
                self.registering, self.opening = None, False
                if self.hurry.wait(pause):
                    time.sleep(RETRY_SECONDS[0])
                pause = min(2 * pause, RETRY_SECONDS[1])
            except Exception as error:  # one bad step must not stop the others
                self._say(str(error), f"registry: not registered: {error!r}")
                self._done(1)
        self._send("left", len(self.steps))

    def _done(self, steps: int) -> None:
        for _ in range(steps):
            self.steps.popleft()
        self.since = time.monotonic()

    def _register(self, steps: Sequence[Dossier | Verdict]) -> list[str]:
        if self.registering is None:
            registry = Registry(self.work.place, make=True)
            self.registering = Registering(registry, self.work, claim=True)
            self.opening, self.since = False, time.monotonic()
        return self.registering.take(steps)

    def _over(self) -> bool:
        if self.patience is None:
            return False
        return not self.steps or time.monotonic() - self.since > self.patience

    def _report(self) -> None:
        """Once the run is over, say now and then how much is left."""
        while True:
            time.sleep(3.0)
            if self.patience is not None and (self.opening or not self._over()):
                self._send("busy", len(self.steps))

    def _take_in(self) -> None:
        while True:
            try:
                kind, content = self.connection.recv()
            except (EOFError, OSError):
                kind, content = "close", 0.0
            if kind == "close":
                self.since, self.patience = time.monotonic(), content
                self.news.set()
                self.hurry.set()
                return
            for event, seen in content:
                for step in self.follower.see(event, seen):
                    if isinstance(step, Dossier):
                        self.work.keep(step)
                    self.steps.append(step)
            self.news.set()

    def _say(self, about: str, text: str) -> None:
        """Say something, once."""
        if about not in self.told:
            self.told.add(about)
            self._send("say", text)

    def _send(self, kind: str, content: str | int) -> None:
        with self.sending, suppress(OSError):
            self.connection.send((kind, content))
