"""Processes that Driftline starts: spawned without the parent's main script, deaf to Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType


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


def cores() -> int:
    """Return how many processor cores may be used."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
