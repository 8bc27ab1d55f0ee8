"""Processes that Driftline starts: spawned without the parent's main script, deaf to Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process, resource_tracker
from threading import Thread
from types import ModuleType

GUARD_SECONDS = 0.5
"""How often a child makes sure that its parent lives, should the sentinel not tell."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Start a child without re-running the parent's main script, and deaf to Ctrl-C.

    The child is to ignore SIGINT first, then to unblock it.
    """
    resource_tracker.ensure_running()  # which itself would unblock what is blocked below
    main = sys.modules["__main__"]
    mask = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else set()
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obedient(parent_pid: int) -> None:
    """Let this child be deaf to Ctrl-C, go with its parent, and print to standard error only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    Thread(target=_guard, args=(parent_pid,), daemon=True).start()
    with suppress(OSError):
        os.dup2(2, 1)  # what a user's model prints must not mix with a command's output


def _guard(parent_pid: int) -> None:
    parent = parent_process()
    while os.getppid() == parent_pid:
        if parent is None:
            time.sleep(GUARD_SECONDS)
        else:
            parent.join(GUARD_SECONDS)
            if not parent.is_alive():
                break
    os._exit(1)


def cores() -> int:
    """Return how many processor cores may be used."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
