"""Runs of `driftline` as processes to be watched and hurt.

Most are forked from this process, which has everything imported, so that they start in
milliseconds; some are started as a user does. Each leads a session of its own, in which all
processes that it starts stay.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.e2e.driving import COMMAND
from tests.simulation import nursery

PATIENCE_SECONDS = 120.0
"""A run that takes longer hangs."""
GONE_SECONDS = 5.0
"""How soon what a run started must be gone after it, and a run after a signal."""
LOOK_SECONDS = 0.003
"""How often a fact is looked at."""


class Trouble(Exception):
    """What should not have happened, in words for whoever looks into it."""


def import_all() -> None:
    """Import what runs need, so that forked ones find it there; this starts no work."""
    import catboost  # noqa: F401
    import pandas  # noqa: F401
    import river.drift  # noqa: F401

    import scenarios.loading
    import scenarios.streams  # noqa: F401


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def is_spawned(pid: int) -> bool:
    """Return whether a process is one of `multiprocessing`, or one in readiness that got work."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    except OSError:
        return False
    return name == nursery.MARK or "spawn_main" in command_of(pid)


def offspring(pid: int) -> list[int]:
    """Return the processes that a process started itself."""
    found: list[int] = []
    with suppress(OSError):  # the process or a thread of it is gone
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(word) for word in (task / "children").read_text("utf-8").split()]
    return found


def holds(fact: Callable[[], object]) -> bool:
    """Return whether a fact holds; one about something that goes meanwhile does not."""
    try:
        return bool(fact())
    except FileNotFoundError:
        return False


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, leader = file.read_text("utf-8", "replace").rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if int(leader) == session and state not in "ZX":
            found.append(int(file.parent.name))
    return found


@dataclass
class Process:
    """A run under way."""

    pid: int
    said: Path
    started: float = field(default_factory=time.monotonic)
    code: int | None = None
    due: int | None = None
    """The only exit code that is right, if there is only one."""

    def poll(self) -> int | None:
        """Return the exit code, negative if a signal ended it; None while it lives."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def until(self, fact: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> bool:
        """Wait for a fact; return False if the run ends first.

        Raises
        ------
        Trouble
            If neither happens in time.
        """
        end = time.monotonic() + seconds
        while not holds(fact):
            if self.poll() is not None:
                return False
            if time.monotonic() > end:
                self.hangs(seconds)
            time.sleep(LOOK_SECONDS)
        return True

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Return the exit code."""
        self.pause(seconds)
        if self.poll() is None:
            self.hangs(seconds)
        assert self.code is not None
        return self.code

    def hangs(self, seconds: float) -> NoReturn:
        """Have the stacks written, and say that it takes too long."""
        self.send(signal.SIGUSR1)
        time.sleep(0.2)
        raise Trouble(f"the run was still at work after {seconds:g} s")

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the run ends."""
        if self.poll() is None:
            handle = os.pidfd_open(self.pid)
            select.select([handle], [], [], seconds)
            os.close(handle)

    def send(self, number: int) -> None:
        """Send a signal, unless the run is over."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def send_all(self, number: int) -> None:
        """Send a signal to the run and to all that it started."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def children(self) -> list[int]:
        """Return the processes that the run started to do its work, and those that they started."""
        found, parents = [], [self.pid]
        while parents:
            for pid in offspring(parents.pop()):
                parents.append(pid)
                if is_spawned(pid):
                    found.append(pid)
        return found

    def listens(self) -> bool:
        """Return whether the run has a handler for SIGTERM."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return False
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def left_behind(self) -> list[str]:
        """Return the commands of what of the run still lives, after some time to go."""
        end = time.monotonic() + GONE_SECONDS
        while found := members(self.pid):
            if time.monotonic() > end:
                return [command_of(pid) for pid in found]
            time.sleep(0.02)
        return []

    def clear(self) -> None:
        """End the run and all that it started."""
        for pid in members(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    @property
    def message(self) -> str:
        """What it said on standard error so far, and what its trainers printed."""
        return self.said.read_text("utf-8", "replace")


def start(
    words: Sequence[str],
    folder: Path,
    said: Path,
    environment: Mapping[str, str],
    hooks: Sequence[Callable[[], None]] = (),
    *,
    real: bool = False,
    ready: int = 0,
    ready_each: int = 0,
) -> Process:
    """Start `driftline` with `words` in a folder.

    Parameters
    ----------
    words
        The command line.
    folder
        Where it runs.
    said
        File for what it says on standard error.
    environment
        Variables to set.
    hooks
        What to do in the new process first.
    real
        Whether to start the command as a user does, which keeps only hooks that outlive it.
    ready, ready_each
        How many children to have in readiness for it, and for each of these.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    said.touch()
    pid = os.fork()
    if pid:
        return Process(pid, said)
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, path in ((0, os.devnull), (1, f"{said}.out"), (2, said)):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(file, target)
            os.close(file)
        os.environ.update(environment)
        if ready and not real:
            nursery.prepare(ready, ready_each)
        for hook in hooks:
            hook()
        if real:
            os.execv(COMMAND, [str(COMMAND), *words])
        faulthandler.register(signal.SIGUSR1, file=2)
        code = _call(words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _call(words: Sequence[str]) -> int:
    """Do what the `driftline` command does, from its first line to the end of its process."""
    from engine.cli import main

    sys.argv = ["driftline", *words]
    code = 1
    try:
        main(list(words), prog_name="driftline")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return code


def apart(work: Callable[[], object]) -> None:
    """Do some work in a process of its own, so that nothing of it stays in this one.

    Raises
    ------
    Trouble
        If it failed.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise Trouble("the simulator itself failed; see above")
