"""Bugs to plant, so that it can be seen that the simulator finds them."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def append() -> None:
    """Resume by appending to what an interrupted run left of its events."""
    from engine import parts, runlog

    left: dict[str, str] = {}
    begin, write = runlog.RunDirectory.__init__, parts.PartWriter.__init__

    def beginning(self: runlog.RunDirectory, path: Path, *rest: Any) -> None:
        for file in (path / ".state" / "parts").glob("events-*.jsonl"):
            left[file.name] = file.read_text("utf-8", "replace")
        begin(self, path, *rest)

    def writing(self: parts.PartWriter, folder: Path, shard: int, *rest: Any) -> None:
        write(self, folder, shard, *rest)
        self._events.write(left.get(f"events-{shard:02d}.jsonl", ""))

    vars(runlog)["RunDirectory"].__init__ = beginning
    vars(runlog)["PartWriter"].__init__ = writing


def unlocked() -> None:
    """Let several runs write to a directory at once."""
    fcntl.flock = lambda file, operation: None


def deaf() -> None:
    """Do not stop at a signal."""
    from engine import signals

    def enter(self: signals.Stop) -> signals.Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)
        return self

    vars(signals)["Stop"].__enter__ = enter
    vars(signals)["Stop"].__exit__ = lambda self, kind, error, trace: None


PLANTED: dict[str, Callable[[], None]] = {"append": append, "unlocked": unlocked, "deaf": deaf}
"""All bugs, by name."""
