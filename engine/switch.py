"""Whether compiled kernels are used: once they are worth their start, and only if they hold.

numba, an optional extra, takes its time to be imported, and the first time to compile; it is asked
for when enough values have come by to be worth that. Then the kernels are held against River, once
per process. Without numba, or should they disagree, River's own objects do all the work.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from engine.batch import Floats
from engine.compiled import CompiledAdwin, CompiledPageHinkley, PageHinkleyPack
from engine.driving import STREAM, advance_any, proven, run

PATIENCE = 2_000_000
"""So many values go to River's own objects before the kernels are worth their start."""


class Switch:
    """Says whether the kernels are to be used; any thread may ask.

    Examples
    --------
    >>> switch = Switch()
    >>> switch.kernels(1000) is None
    True
    """

    def __init__(self) -> None:
        self.choice: bool | None = None
        self._fed = 0
        self._kernels: Any = None
        self._asked = False
        self._lock = threading.Lock()

    def kernels(self, count: int) -> Any:
        """Return the kernels if the next `count` values are theirs, or None if River's."""
        if self.choice is None:
            self._fed += count
            if self._fed < PATIENCE:
                return None
        elif not self.choice:
            return None
        if not self._asked:
            with self._lock:
                if not self._asked:
                    self._kernels = kernels_that_hold()
                    self._asked = True
        return self._kernels


SWITCH = Switch()
"""The switch of this process."""


def use_kernels(choice: bool | None) -> None:
    """Use compiled kernels from now on (True), never (False), or when worth it (None).

    No outcome depends on it; tests and speed measurements do.
    """
    SWITCH.choice = choice


def kernels_that_hold() -> Any:
    """Return the kernels, or None where they cannot be had or are not as good as River."""
    try:
        kernels = load()
        return kernels if hold(kernels) else None
    except Exception:  # whatever numba, or another River, may come up with
        return None


def load() -> Any:
    """Import the kernels: compiled the first time, then loaded from numba's cache."""
    from engine import kernels

    return kernels


def hold(kernels: Any) -> bool:
    """Return whether `kernels` do what River does, over a short fixed stream."""

    def adwin(river: Any, values: Floats, direction: str) -> list[int]:
        ours = CompiledAdwin(river, direction)
        found = ours.update_many(kernels, values)
        ours.settle(river)
        return found

    def page_hinkley(river: Any, values: Floats, direction: str) -> list[int]:
        ours = CompiledPageHinkley(river)
        found = ours.update_many(kernels, values)
        ours.settle(river)
        return found

    return proven(adwin, page_hinkley) and _pack_holds(kernels)


def _pack_holds(kernels: Any) -> bool:
    """Return whether a pack does what River does with each input."""
    from river.drift import PageHinkley

    column = np.where(np.arange(len(STREAM)) % 7 < 3, np.nan, STREAM)
    column[:200] = STREAM[:200]
    numbers = np.column_stack([np.zeros(len(STREAM)), column, STREAM])
    inputs = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]
    scales = [(0.0, 1.0), (1.0, 0.5), (0.0, 0.1), (1.5, 2.0), (0.3, 0.4)]
    expected, alone = [], [PageHinkley(threshold=5.0) for _ in inputs]
    for at, ((place, indicator), (mean, scale)) in enumerate(zip(inputs, scales, strict=True)):
        values = np.isnan(numbers[:, place]).astype(float) if indicator else numbers[:, place]
        values = np.clip((values - mean) / scale, -3.0, 3.0)
        rows = np.flatnonzero(~np.isnan(values))
        alarms = rows[run(alone[at], values[rows].tolist(), advance_any)]
        expected += [(at, row) for row in alarms.tolist()]
    tests = [CompiledPageHinkley(PageHinkley(threshold=5.0)) for _ in inputs]
    pack = PageHinkleyPack(tests, inputs, scales, [0] * len(inputs), 3.0)
    found: list[tuple[int, int]] = []
    for start in range(0, len(STREAM), 53):
        part = pack.update(kernels, numbers[start : start + 53])
        found += [(at, start + row) for at, row in part]
    return bool(expected) and sorted(found) == expected
