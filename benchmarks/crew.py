"""Processes that do a benchmark's tasks, and go when their parent goes, however it goes."""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.grid import Hand, Task
from engine.children import obedient, undisturbed
from engine.errors import EngineError, MachineError

GRACE_SECONDS = 5.0
"""How long a process that has nothing to do may take to end."""


class Crew:
    """So many processes at work.

    Parameters
    ----------
    jobs
        How many.
    cache, private
        What a `Hand` needs.
    """

    def __init__(self, jobs: int, cache: Path, private: Path) -> None:
        context = get_context("spawn")
        self._lanes: list[Connection] = []
        self._processes = []
        with undisturbed():
            for _ in range(jobs):
                mine, theirs = context.Pipe()
                args = (theirs, os.getpid(), cache, private)
                process = context.Process(target=_serve, args=args, daemon=True)
                process.start()
                theirs.close()
                self._lanes.append(mine)
                self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for lane in self._lanes:
            lane.close()  # which lets a process at rest end by itself
        for process in self._processes:
            process.join(GRACE_SECONDS if error is None else 0)
            process.kill()
            process.join()

    def do(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """Yield (number of the task, answer) as answers come.

        Raises
        ------
        EngineError
            If a task fails or a process dies.
        """
        left = deque(range(len(tasks)))
        busy: dict[Connection, int] = {}
        idle = list(self._lanes)
        while left or busy:
            while left and idle:
                lane = idle.pop()
                busy[lane] = left.popleft()
                _send(lane, tasks[busy[lane]])
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                number = busy.pop(ready)
                idle.append(ready)
                yield number, _received(ready)


def _send(lane: Connection, task: Task) -> None:
    with suppress(OSError):  # that its process is gone shows when it is listened to
        lane.send(task)


def _received(lane: Connection) -> Any:
    try:
        answer, problem = lane.recv()
    except (EOFError, OSError):
        message = "a process died at work (is there enough memory?); what was done is kept"
        raise MachineError(message) from None
    if problem:
        raise EngineError(problem)
    return answer


def _serve(lane: Connection, parent_pid: int, cache: Path, private: Path) -> None:
    """Be a process of the crew: answer each task, until the parent is gone."""
    obedient(parent_pid)
    hand = Hand(cache, private)
    with suppress(EOFError, OSError):
        while True:
            lane.send(_done(hand, lane.recv()))


def _done(hand: Hand, task: Task) -> tuple[Any, str]:
    try:
        return hand.do(task), ""
    except (EngineError, OSError) as error:
        return None, str(error)
    except Exception:
        return None, traceback.format_exc()
