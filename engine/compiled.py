"""ADWIN and Page-Hinkley in the form that the compiled kernels take, and their way back to River.

A detector may pass between River's object and the kernels at any moment and goes on identically.
Where this needs private names of River, `engine.switch` has proven them on a short stream before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.batch import Floats, Ints

NOWHERE: Ints = np.empty(0, dtype=np.int64)
"""No position at all."""


class CompiledPageHinkley:
    """The state of a Page-Hinkley test as the kernels take it.

    Parameters
    ----------
    river
        The object to go on from.

    Examples
    --------
    >>> from river.drift import PageHinkley
    >>> from engine import kernels
    >>> ours = CompiledPageHinkley(PageHinkley())
    >>> ours.update_many(kernels, np.repeat([0.0, 4.0], 500))
    [512]
    """

    def __init__(self, river: Any) -> None:
        up = river.threshold if river.mode != "down" else math.inf
        down = river.threshold if river.mode != "up" else math.inf
        self.rule = np.array([river.min_instances, river.delta, river.alpha, up, down])
        mean, rise, fall = river._x_mean, river._sum_increase, river._sum_decrease
        state = [mean.n, mean._mean, rise, river._min_increase, fall, river._max_decrease]
        self.state: Floats = np.array([*state, river._drift_detected], dtype=np.float64)
        self.sides = (river.mode != "down", river.mode != "up")

    def update_many(self, kernels: Any, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        return self.trace_many(kernels, values, NOWHERE)[0]

    def trace_many(
        self, kernels: Any, values: Floats, stops: Ints
    ) -> tuple[list[int], list[float]]:
        """Return what `update_many` does, and the statistic before each position in `stops`."""
        given = np.ascontiguousarray(values, dtype=np.float64)
        found, states = np.empty(len(given), dtype=np.int64), np.empty((len(stops), 7))
        count = kernels.page_hinkley(given, self.rule, self.state, found, stops, states)
        return _listed(found, count), [self._statistic(*state) for state in states.tolist()]

    def statistic(self) -> float:
        """Return how far the sum has left its extreme, the larger if both directions count."""
        return self._statistic(*self.state.tolist())

    def _statistic(
        self, n: float, _: float, rise: float, low: float, fall: float, high: float, *_fired: float
    ) -> float:
        up, down = self.sides
        return max(rise - low if up else 0.0, high - fall if down else 0.0) if n else math.nan

    def settle(self, river: Any) -> None:
        """Give the state back to River's object."""
        n, mean, rise, lowest, fall, highest, fired = self.state.tolist()
        river._x_mean.n, river._x_mean._mean = n, mean
        river._sum_increase, river._min_increase = rise, lowest
        river._sum_decrease, river._max_decrease = fall, highest
        river._drift_detected = fired > 0


HEADER = np.dtype(
    {
        "names": ["total", "variance", "width", "tick", "detections", "levels"],
        "formats": ["<f8", "<f8", "<f8", "<i4", "<i4", "<u8"],
        "offsets": [36, 44, 52, 76, 80, 84],
        "itemsize": 92,
    }
)
"""Where things are at the head of the pickled ADWIN of River; its levels follow, then a tail."""


ROOM_MAX = 64
"""So many values are put into a window at a time."""


class CompiledAdwin:
    """The state of an ADWIN as the kernels take it.

    Level i of its window holds up to `max_buckets` sums of 2^i values, and how these spread.

    Parameters
    ----------
    river
        The object to go on from.
    direction
        Which alarms count; `up` if what the cut kept has the larger mean.

    Examples
    --------
    >>> from river.drift import ADWIN
    >>> from engine import kernels
    >>> ours = CompiledAdwin(ADWIN())
    >>> ours.update_many(kernels, np.repeat([0.0, 1.0], 500)), ours.mean
    ([511], 1.0)
    """

    def __init__(self, river: Any, direction: str = "both") -> None:
        side = {"both": 0, "up": 1, "down": -1}[direction]
        raw, capacity = river._helper.__getstate__(), river.max_buckets + 1
        head = np.frombuffer(raw, HEADER, 1)[0]
        levels = np.frombuffer(raw, _level(capacity), int(head["levels"]), HEADER.itemsize)
        self.head, self.tail = raw[: HEADER.itemsize], raw[HEADER.itemsize + levels.nbytes :]
        least, grace = river.min_window_length, river.grace_period
        rule = (river.delta, river.clock, least, grace, side, capacity)
        self.rule = np.array(rule, dtype=np.float64)
        state = (head["total"], head["variance"], head["width"], head["tick"], head["levels"])
        self.state = np.array([*state, river._drift_detected], dtype=np.float64)
        self.counts = levels["count"].astype(np.int64)
        buckets = np.stack([levels["totals"], levels["spreads"]])
        self.buckets = np.pad(buckets, ((0, 0), (0, 0), (0, min(river.clock, ROOM_MAX))))

    @property
    def mean(self) -> float:
        """The mean of its window; NaN while that is empty."""
        return _mean(*self.state.tolist())

    def update_many(self, kernels: Any, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        return self.trace_many(kernels, values, NOWHERE)[0]

    def trace_many(
        self, kernels: Any, values: Floats, stops: Ints
    ) -> tuple[list[int], list[float]]:
        """Return what `update_many` does, and the mean before each position in `stops`."""
        given = np.ascontiguousarray(values, dtype=np.float64)
        found, states = np.empty(len(given), dtype=np.int64), np.empty((len(stops), 6))
        lack = int(self.state[2] + len(given)).bit_length() + 1 - len(self.counts)
        if lack > 0:
            self.counts = np.pad(self.counts, (0, lack))
            self.buckets = np.pad(self.buckets, ((0, 0), (0, lack), (0, 0)))
        arrays = (self.rule, self.state, self.counts, self.buckets)
        count = kernels.adwin(given, *arrays, found, stops, states)
        return _listed(found, count), [_mean(*state) for state in states.tolist()]

    def settle(self, river: Any) -> None:
        """Give the state back to River's object (but for counters that no alarm depends on)."""
        head, capacity = bytearray(self.head), int(self.rule[5])
        fields = np.frombuffer(head, HEADER, 1)[0]
        names = ("total", "variance", "width", "tick", "levels", "detections")
        for name, value in zip(names, self.state, strict=True):
            fields[name] = value
        levels = np.zeros(int(self.state[4]), dtype=_level(capacity))
        counts = self.counts[: len(levels)]
        there = np.arange(capacity) < counts[:, np.newaxis]
        levels["max_buckets"], levels["count"] = capacity - 1, counts
        levels["totals_length"] = levels["spreads_length"] = capacity
        for name, part in zip(("totals", "spreads"), self.buckets, strict=True):
            levels[name] = np.where(there, part[: len(levels), :capacity], 0.0)
        river._helper.__setstate__(bytes(head) + levels.tobytes() + self.tail)
        river._drift_detected = bool(self.state[5])


def _mean(total: float, _: float, width: float, *_rest: float) -> float:
    """Return the mean of a window; NaN while it is empty."""
    return total / width if width else math.nan


def _level(capacity: int) -> np.dtype[Any]:
    """Return how River's ADWIN pickles one level."""
    room = (capacity,)
    head = [("max_buckets", "<u8"), ("count", "<u8"), ("totals_length", "<u8")]
    body = [("totals", "<f8", room), ("spreads_length", "<u8"), ("spreads", "<f8", room)]
    return np.dtype([*head, *body])


def _listed(found: Ints, count: int) -> list[int]:
    """Return the first `count` of what a kernel found."""
    return found[:count].tolist() if count else []


class PageHinkleyPack:
    """Many Page-Hinkley tests that one call feeds with the columns of a table, standardised.

    The tests' own states become rows of the pack's: they move along, and can be looked at.

    Parameters
    ----------
    tests
        The tests.
    inputs
        For each test the column that it watches, and 1 if it watches whether that is missing.
    scales
        For each test what is subtracted from its input, and by what that is divided.
    zeros
        For each test how many zeros it has not been given yet; -1 once it got something else.
    clip
        Where inputs are cut off.
    """

    def __init__(
        self,
        tests: Sequence[CompiledPageHinkley],
        inputs: Sequence[tuple[int, int]],
        scales: Sequence[tuple[float, float]],
        zeros: Sequence[int],
        clip: float,
    ) -> None:
        self.states = np.array([one.state for one in tests])
        self.rules = np.array([one.rule for one in tests])
        self.inputs, self.scales = np.array(inputs, dtype=np.int64), np.array(scales)
        self.zeros, self.clip = np.array(zeros, dtype=np.int64), clip
        self.gap_min = max(1, int(self.rules[:, 0].min()))
        for one, state in zip(tests, self.states, strict=True):
            one.state = state

    def update(self, kernels: Any, numbers: Floats) -> list[tuple[int, int]]:
        """Return the alarms over the rows of `numbers`, each as number of the test and row."""
        room = len(self.states) * (len(numbers) // self.gap_min + 1)
        found = np.empty(room, dtype=np.int64)
        count = kernels.page_hinkley_pack(
            numbers, self.inputs, self.scales, self.rules, self.states, self.zeros, self.clip, found
        )
        return [divmod(at, len(numbers)) for at in _listed(found, count)]
