"""Trainers: background processes for real work, the calling process for tests and examples.

A `ProcessTrainer` has lanes. A lane is a thread that owns one child process and hands it one job
at a time, so when a child dies it is known exactly which job it was at. Children are spawned when
there is work for them, stay warm, and go when their parent goes, however it goes.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

from engine.children import cores, obedient, undisturbed
from engine.errors import EngineError, MachineError
from engine.training.fit import fit
from engine.training.jobs import Failed, Fitted, Job
from engine.training.models import catboost_library
from engine.training.store import Store

DEATHS_MAX = 3
"""A job whose process died so often is given up."""
RECENT_RESULTS = 32
"""How many results stay loaded."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What training took; for `timing.json`, never for an outcome.

    Parameters
    ----------
    fits
        Jobs that were fitted here.
    cached
        Submissions that found their result there.
    seconds
        Wall-clock time spent in fits, over all processes.
    deaths
        Training processes that died at work.
    """

    fits: int = 0
    cached: int = 0
    seconds: float = 0.0
    deaths: int = 0

    def plus(self, more: Stats) -> Stats:
        """Return both together.

        Examples
        --------
        >>> Stats(fits=1).plus(Stats(fits=2, cached=5))
        Stats(fits=3, cached=5, seconds=0.0, deaths=0)
        """
        return Stats(*(getattr(self, name) + getattr(more, name) for name in self.__slots__))


def run_job(job: Job, job_id: str, store: Store) -> Fitted | Failed:
    """Fit a job and keep the result; a model that cannot be kept is a failure."""
    result = fit(job)
    try:
        store.save(job_id, job, result)
    except EngineError as error:
        result = Failed(str(error))
        store.save(job_id, job, result)
    return result


class InlineTrainer:
    """Fits at once, in the calling process.

    Parameters
    ----------
    store
        Where results are kept; without one, in memory only.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.batch import table_of
    >>> from engine.settings import CatBoostModel
    >>> job = Job(table_of({"x": [1.0]}), np.array(["a"], dtype=object), CatBoostModel(), 7)
    >>> trainer = InlineTrainer()
    >>> trainer.result(trainer.submit(job)).predictor.classes
    ('a',)
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self.stats = Stats()
        self._results: dict[str, Fitted | Failed] = {}

    def submit(self, job: Job) -> str:
        """Fit the job unless its result is there, and return its id."""
        job_id = job.identity()
        if self.result(job_id) is not None:
            self.stats = replace(self.stats, cached=self.stats.cached + 1)
            return job_id
        began = time.perf_counter()
        result = run_job(job, job_id, self.store) if self.store else fit(job)
        self._results[job_id] = result
        seconds = self.stats.seconds + time.perf_counter() - began
        self.stats = replace(self.stats, fits=self.stats.fits + 1, seconds=seconds)
        return job_id

    def result(self, job_id: str) -> Fitted | Failed | None:
        """Return what came of the job; None if nobody submitted it."""
        if job_id not in self._results and self.store:
            found = self.store.load(job_id)
            if found is not None:
                self._results[job_id] = found
        return self._results.get(job_id)

    def wait(self, job_id: str, seconds: float) -> Fitted | Failed | None:
        """Return what came of the job; there is nothing to wait for."""
        return self.result(job_id)

    def close(self) -> None:
        """Do nothing: there is nothing to end."""


# --- the child ------------------------------------------------------------------------------


def _serve(connection: Connection, store: Store, parent_pid: int) -> None:
    """Be a training process: answer each (job, id) with seconds, or with what went wrong."""
    obedient(parent_pid)
    if not connection.poll():  # started ahead of its first job
        catboost_library()
    while True:
        try:
            job, job_id = connection.recv()
        except (EOFError, OSError):
            return
        began = time.perf_counter()
        try:
            run_job(job, job_id, store)
            answer = (time.perf_counter() - began, "")
        except OSError as error:
            answer = (0.0, f"{type(error).__name__}: {error}")
        except Exception:
            answer = (0.0, traceback.format_exc())
        try:
            connection.send(answer)
        except OSError:  # nobody is there to hear it
            return


# --- the parent -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Ticket:
    """A job that is waiting or running."""

    job: Job
    job_id: str
    deaths: int = 0


@dataclass(slots=True)
class _Lane:
    """A thread and its child process, if it has one."""

    thread: threading.Thread | None = None
    child: BaseProcess | None = None
    connection: Connection | None = field(default=None)


class ProcessTrainer:
    """Fits in background processes; safe to share between threads.

    Parameters
    ----------
    store
        Where results are kept.
    workers
        How many processes at most; by default one per processor core that may be used.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with ProcessTrainer(Store(Path(tempfile.gettempdir()) / "none")) as trainer:
    ...     trainer.stats  # nothing was submitted: no process was started
    Stats(fits=0, cached=0, seconds=0.0, deaths=0)
    """

    def __init__(self, store: Store, workers: int | None = None) -> None:
        self.store = store
        self.workers = workers or cores()
        self._stats = Stats()
        self._changed = threading.Condition()  # guards all that follows
        self._starting = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._pending: dict[str, _Ticket] = {}
        self._recent: OrderedDict[str, Fitted | Failed] = OrderedDict()
        self._broken: dict[str, str] = {}
        self._lanes: list[_Lane] = []
        self._idle = 0
        self._closed = False

    @property
    def stats(self) -> Stats:
        """What training took so far."""
        return self._stats

    def warm(self) -> None:
        """Start a process ahead of the first job: importing CatBoost there takes a while."""
        with self._changed:
            if not self._lanes and not self._closed:
                self._open_lane(ahead=True)

    def submit(self, job: Job) -> str:
        """Begin the job unless its result is there or on its way, and return its id at once."""
        job_id = job.identity()
        with self._changed:
            if job_id in self._pending:
                return job_id
        found = self._load(job_id)
        with self._changed:
            if self._closed:
                raise EngineError("the trainer is closed")
            if found is not None:
                self._count(cached=1)
            elif job_id not in self._pending:
                self._broken.pop(job_id, None)
                ticket = _Ticket(job, job_id)
                self._pending[job_id] = ticket
                self._queue.append(ticket)
                if self._idle < len(self._queue) and len(self._lanes) < self.workers:
                    self._open_lane()
                self._changed.notify_all()
        return job_id

    def result(self, job_id: str) -> Fitted | Failed | None:
        """Return what came of the job, or None while it runs or if nobody submitted it.

        Raises
        ------
        MachineError
            If the job could not be run for a reason that lies outside it, such as a full disk.
        """
        with self._changed:
            if job_id in self._pending:
                return None
            if job_id in self._broken:
                raise MachineError(f"training failed: {self._broken[job_id]}")
        return self._load(job_id)

    def wait(self, job_id: str, seconds: float) -> Fitted | Failed | None:
        """Return what came of the job, waiting up to `seconds` for it.

        Raises
        ------
        EngineError
            As `result` does, or if nobody submitted the job.
        """
        with self._changed:
            self._changed.wait_for(lambda: job_id not in self._pending or self._closed, seconds)
            running = job_id in self._pending
        result = self.result(job_id)
        if result is None and not running:
            raise EngineError(f"no training job {job_id[:12]} was submitted, or its result is gone")
        return result

    def settle(self, seconds: float) -> bool:
        """Wait up to `seconds` for all jobs to be done; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending or self._closed, seconds)

    def close(self) -> None:
        """End all processes at once; what they were at is dropped."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        with self._starting:  # no child can start from here on
            children = [lane.child for lane in self._lanes if lane.child is not None]
        for child in children:
            child.kill()
        for lane in self._lanes:
            if lane.thread is not None and lane.thread is not threading.current_thread():
                lane.thread.join(1.0)

    def __enter__(self) -> Self:
        """Return the trainer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the trainer."""
        self.close()

    def _load(self, job_id: str) -> Fitted | Failed | None:
        with self._changed:
            if job_id in self._recent:
                self._recent.move_to_end(job_id)
                return self._recent[job_id]
        found = self.store.load(job_id)
        return None if found is None else self._remember(job_id, found)

    def _remember(self, job_id: str, found: Fitted | Failed) -> Fitted | Failed:
        with self._changed:
            found = self._recent.setdefault(job_id, found)
            self._recent.move_to_end(job_id)
            if len(self._recent) > RECENT_RESULTS:
                self._recent.popitem(last=False)
        return found

    def _count(self, fits: int = 0, cached: int = 0, seconds: float = 0.0, deaths: int = 0) -> None:
        self._stats = self._stats.plus(Stats(fits, cached, seconds, deaths))

    # A lane's life, in its own thread.

    def _open_lane(self, ahead: bool = False) -> None:
        lane = _Lane()
        lane.thread = threading.Thread(target=self._work, args=(lane, ahead), daemon=True)
        self._lanes.append(lane)
        lane.thread.start()

    def _work(self, lane: _Lane, ahead: bool) -> None:
        try:
            if ahead:
                with suppress(OSError):  # the first job will try again, and say why not
                    self._child(lane)
            while (ticket := self._take()) is not None:
                self._run(lane, ticket)
        finally:
            self._drop_child(lane)

    def _take(self) -> _Ticket | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._idle -= 1
            return None if self._closed else self._queue.popleft()

    def _run(self, lane: _Lane, ticket: _Ticket) -> None:
        while not self._closed:
            try:
                connection = self._child(lane)
            except OSError as error:
                self._finish(ticket, 0.0, f"no process could be started for it: {error}")
                return
            try:
                if connection is None:
                    return
                connection.send((ticket.job, ticket.job_id))
                seconds, problem = connection.recv()
            except (EOFError, OSError):
                self._drop_child(lane)
                if self._died(ticket):
                    return
                continue
            self._finish(ticket, seconds, problem)
            return

    def _child(self, lane: _Lane) -> Connection | None:
        with self._starting:
            if self._closed:
                return None
            if lane.child is None or not lane.child.is_alive():
                context = get_context("spawn")
                ours, theirs = context.Pipe()
                arguments = (theirs, self.store, os.getpid())
                child = context.Process(target=_serve, args=arguments, daemon=True)
                with undisturbed():
                    child.start()
                theirs.close()
                lane.child, lane.connection = child, ours
            return lane.connection

    def _drop_child(self, lane: _Lane) -> None:
        with self._starting:
            child, connection = lane.child, lane.connection
            lane.child = lane.connection = None
        if connection is not None:
            connection.close()
        if child is not None:
            child.kill()
            child.join()
            child.close()

    def _died(self, ticket: _Ticket) -> bool:
        """Count a death; return whether the job is given up."""
        with self._changed:
            if self._closed:
                return True
            self._count(deaths=1)
            ticket.deaths += 1
            if ticket.deaths < DEATHS_MAX:
                return False
        problem = f"its process died {DEATHS_MAX} times (is there enough memory?)"
        self._finish(ticket, 0.0, problem)
        return True

    def _finish(self, ticket: _Ticket, seconds: float, problem: str) -> None:
        with self._changed:
            if problem:
                self._broken[ticket.job_id] = problem
            self._count(fits=int(seconds > 0), seconds=seconds)
            del self._pending[ticket.job_id]
            self._changed.notify_all()
