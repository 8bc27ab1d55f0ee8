"""What can happen to a run while it runs; `damage.py` has what can happen to what it left."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import ClassVar

from tests.simulation.processes import GONE_SECONDS, Process, Trouble

Hook = Callable[[], None]
CHANGES = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"})
"""What Python tells its audit hooks of changes to files; what Arrow does it does not know."""
FINISHED = "finished already"


@dataclass(frozen=True)
class Scene:
    """Where faults happen, and how the run went that had none.

    Parameters
    ----------
    folder
        Where all of it is.
    out
        The run directory.
    cache
        The cache of the run at hand.
    code
        Exit code of the uninterrupted run: 0, or 1 if streams fail in this scenario.
    seconds
        What that run took.
    changes
        How many changes to files it made.
    bytes_max
        Size of its largest file.
    records
        How many records it had.
    streams
        Names of its streams.
    """

    folder: Path
    out: Path
    cache: Path
    code: int
    seconds: float
    changes: int
    bytes_max: int
    records: int
    streams: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether the run directory says that it is whole."""
        return (self.out / "summary.json").exists()


def before_changes(act: Callable[[int, str, str], None]) -> None:
    """Call `act` with number, kind and path before each change to a file, from now on."""
    numbers = count()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in CHANGES:
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | Path) else ""
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if not path or path.startswith("/dev/") or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        act(next(numbers), event, path)

    sys.addaudithook(hook)


def noting_changes(file: Path) -> Hook:
    """Return what has a process note each change to a file in `file`."""

    def hook() -> None:
        log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        before_changes(lambda number, event, path: _note(log, f"{number} {event} {path}\n"))

    return hook


def _note(log: int, line: str) -> None:
    os.write(log, line.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Fault:
    """Nothing happens; other faults say what does."""

    hooked: ClassVar[bool] = False
    """Whether it needs a hook in the process, which a command started by a user has not."""

    def hooks(self, scene: Scene) -> list[Hook]:
        """Return what the process does before it begins."""
        return []

    def act(self, process: Process, scene: Scene) -> None:
        """Do it to a process under way."""

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        """Return whether the process may end so: as without the fault, or in this fault's way."""
        return code == scene.code or (code == 0 and FINISHED in message)


@dataclass(frozen=True)
class CrashAtChange(Fault):
    """SIGKILL just before a change to a file: at this share of all that a whole run makes."""

    share: float
    hooked: ClassVar[bool] = True

    def hooks(self, scene: Scene) -> list[Hook]:
        last = int(self.share * scene.changes)

        def act(number: int, event: str, path: str) -> None:
            if number == last:
                os.write(2, f"crash at change {number}: {event} {path}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

        return [lambda: before_changes(act)]

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        return code == -signal.SIGKILL or super().allows(code, scene, message)


@dataclass(frozen=True)
class FullFromChange(Fault):
    """No space left on the device, from this share of all changes to files on."""

    share: float
    hooked: ClassVar[bool] = True

    def hooks(self, scene: Scene) -> list[Hook]:
        first = int(self.share * scene.changes)

        def act(number: int, event: str, path: str) -> None:
            if number >= first and event in ("open", "os.mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        return [lambda: before_changes(act)]

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        return code in (0, 1, 2)


@dataclass(frozen=True)
class FullBeyond(Fault):
    """No file may grow beyond this share of the largest one (and its parts)."""

    share: float

    def hooks(self, scene: Scene) -> list[Hook]:
        limit = int(3000 + self.share**2 * scene.bytes_max * 3)
        return [lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))]

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        return code in (0, 1)


@dataclass(frozen=True)
class FewFiles(Fault):
    """No more than so many files may be open at a time: neither tables nor pipes to trainers."""

    limit: int

    def hooks(self, scene: Scene) -> list[Hook]:
        return [lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (self.limit, self.limit))]

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        return code in (0, 1, 2)


@dataclass(frozen=True)
class KillAfter(Fault):
    """SIGKILL after this share of the time that a whole run takes."""

    share: float

    def act(self, process: Process, scene: Scene) -> None:
        process.pause(self.share * scene.seconds)
        process.send(signal.SIGKILL)

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        return code == -signal.SIGKILL or super().allows(code, scene, message)


@dataclass(frozen=True)
class KillWhen(KillAfter):
    """SIGKILL when something is there, and a moment later."""

    what: str = "parts"
    many: int = 1

    def act(self, process: Process, scene: Scene) -> None:
        out, models = scene.out, (scene.out / ".state/models", scene.cache / "models")
        facts: dict[str, Callable[[], bool]] = {
            "parts": lambda: _sizes(out / ".state/parts") > self.many * 2000,
            "models": lambda: sum(len([*path.glob("??/*")]) for path in models) >= self.many,
            "outcomes": lambda: (out / "outcomes").exists(),
            "events": lambda: (out / "events.jsonl").exists(),
        }
        if process.until(facts[self.what]):
            process.pause(self.share * 0.1)
            process.send(signal.SIGKILL)


@dataclass(frozen=True)
class KillChildren(Fault):
    """SIGKILL to a process that the run started (a trainer, a worker), so many times."""

    share: float
    many: int

    def act(self, process: Process, scene: Scene) -> None:
        process.pause(self.share * scene.seconds)
        for _ in range(self.many):
            if not process.until(process.children):
                return
            for pid in process.children()[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.pause(0.1)

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        return code == 1 or super().allows(code, scene, message)


@dataclass(frozen=True)
class Signal(Fault):
    """SIGINT or SIGTERM, once or twice, to the run alone or (as Ctrl-C does) to all of it."""

    share: float
    number: int
    to_all: bool
    times: int

    def act(self, process: Process, scene: Scene) -> None:
        process.until(process.listens)
        process.pause(self.share * scene.seconds)
        if process.poll() is None and not scene.finished:
            process.due = 128 + self.number
        for _ in range(self.times):
            (process.send_all if self.to_all else process.send)(self.number)
        sent = time.monotonic()
        process.wait()
        if time.monotonic() - sent > GONE_SECONDS:
            raise Trouble(f"it took {time.monotonic() - sent:.1f} s to stop after a signal")

    def allows(self, code: int, scene: Scene, message: str) -> bool:
        if code != 128 + self.number:
            return super().allows(code, scene, message)
        return f"stopped by {signal.Signals(self.number).name}; " in message


@dataclass(frozen=True)
class Stall(Fault):
    """The run, or one of its children, is stopped for a moment and goes on."""

    share: float
    child: bool

    def act(self, process: Process, scene: Scene) -> None:
        process.pause(self.share * scene.seconds)
        if self.child and not process.until(process.children):
            return
        pids = process.children() if self.child else [process.pid]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids if process.poll() is None else []:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.2)


def draw_fault(chance: Random) -> Fault:
    """Return a random fault."""
    share = round(chance.random(), 4)
    many = chance.choice([1, 2, 5, 20])
    number = chance.choice([signal.SIGINT, signal.SIGTERM])
    what = chance.choice(["parts", "parts", "models", "outcomes", "events"])
    faults = {
        CrashAtChange(share): 5,
        FullFromChange(share): 2,
        FullBeyond(share): 2,
        FewFiles(chance.randint(8, 60)): 1,
        KillAfter(share): 3,
        KillWhen(share, what, many): 3,
        KillChildren(share, chance.choice([1, 1, 2, 4])): 3,
        Signal(share, number, chance.random() < 0.5, chance.choice([1, 1, 2])): 4,
        Stall(share, chance.random() < 0.5): 1,
    }
    return chance.choices([*faults], [*faults.values()])[0]


def _sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*"))
