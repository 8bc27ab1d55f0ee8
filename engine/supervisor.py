"""A run over several processes: each handles a share of the streams, and one looks after them.

Streams share nothing, so a process needs nothing from another. It is told to stop over its pipe,
tells how far it is and what came of its share, and goes when its supervisor goes. One that dies is
started again: its share is replayed, and fits that were finished are found in the cache.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Event as Flag
from typing import Any

from engine.children import undisturbed
from engine.errors import EngineError, MachineError
from engine.parts import Parts, shard_of
from engine.progress import Progress
from engine.working import Done, Plan, work

DEATHS_MAX = 3
"""A process that died so often is given up."""
TELL_SECONDS = 0.2
STOP_SECONDS = 1.5
"""How long processes that were told to stop may take."""


def shares(plan: Plan) -> list[Plan]:
    """Return the plan of each process; all streams of a shard are in one of them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> from engine.settings import Engine, Never
    >>> feeds = [SimpleNamespace(name=f"s-{index}", index=index) for index in range(5)]
    >>> engine = Engine(policy=Never(kind="never"))
    >>> plan = Plan({}, engine, feeds, 5, Path("out"), Path(), Path(), processes=2)
    >>> [[feed.index for feed in share.feeds] for share in shares(plan)]
    [[0, 2, 4], [1, 3]]
    """
    count = min(plan.processes, plan.shards)
    groups: list[list[Any]] = [[] for _ in range(count)]
    for feed in plan.feeds:
        groups[shard_of(feed.index, plan.streams) % count].append(feed)
    return [replace(plan, feeds=group, processes=count) for group in groups]


def supervise(plan: Plan, parts: Parts, progress: Progress, stop: Flag) -> Done:
    """Carry out a plan with several processes.

    Parameters
    ----------
    plan
        The plan.
    parts
        Where outcomes go.
    progress
        Whom to tell how far it is.
    stop
        Ends it early.

    Raises
    ------
    MachineError
        What broke in a process, or that it died again and again.
    """
    members = [_Member(share, parts) for share in shares(plan)]
    try:
        for member in members:
            member.start()
        while (left := [one for one in members if one.done is None]) and not stop.is_set():
            for connection in wait([one.connection for one in left], TELL_SECONDS):
                next(one for one in left if one.connection is connection).hear(progress)
        for member in left:
            member.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for member in left:
            member.wait(deadline - time.monotonic())
        return Done.joined([member.done for member in members if member.done is not None])
    finally:
        for member in members:
            member.end()


class _Member:
    """One process and what is known of it."""

    connection: Connection
    _process: BaseProcess

    def __init__(self, plan: Plan, parts: Parts) -> None:
        self.plan, self.parts = plan, parts
        self.done: Done | None = None
        self._deaths = 0

    def start(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.plan, self.parts))
        try:
            with undisturbed():
                process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.connection, self._process = ours, process

    def hear(self, progress: Progress) -> None:
        """Take in what the process says, or that it has died."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self._died()
            return
        if isinstance(said, Done):
            self.done = said
        elif isinstance(said, str):
            raise MachineError(said)
        else:
            progress.take(said)

    def ask_to_stop(self) -> None:
        with suppress(OSError):
            self.connection.send(None)

    def wait(self, seconds: float) -> None:
        self._process.join(max(0.0, seconds))

    def end(self) -> None:
        """Make sure that the process is gone."""
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.join()
            self.connection.close()

    def _died(self) -> None:
        self.end()
        self._deaths += 1
        if self._deaths == DEATHS_MAX:
            code = self._process.exitcode or 0
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            raise MachineError(
                f"a process died {DEATHS_MAX} times, at last {how} (is there enough memory?)"
            )
        self.start()


# --- the process ----------------------------------------------------------------------------


def _serve(connection: Connection, plan: Plan, parts: Parts) -> None:
    """Handle a share; tell what came of it, or what broke."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor to act on
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with suppress(OSError):
        os.dup2(2, 1)  # what a user's model prints must not mix with the command's output
    progress, stop = Progress(sum(feed.rows for feed in plan.feeds)), Flag()
    threading.Thread(target=_listen, args=(connection, stop), daemon=True).start()
    with _told(connection, progress) as say:
        try:
            say(work(plan, parts, progress, stop))
        except EngineError as error:
            say(str(error))
        except Exception:
            say(traceback.format_exc())


def _listen(connection: Connection, stop: Flag) -> None:
    """Wait to be told to stop, or for the end of the supervisor."""
    try:
        connection.recv()
        stop.set()
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _told(connection: Connection, progress: Progress) -> Iterator[Any]:
    """Tell how far this process is, now and then, and let the block say something too."""
    one_at_a_time, over = threading.Lock(), Flag()

    def say(what: Any) -> None:
        with one_at_a_time, suppress(OSError):  # nobody may be there to hear it
            connection.send(what)

    def tell() -> None:
        while not over.wait(TELL_SECONDS):
            say(progress)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    yield say
    over.set()
    teller.join()
