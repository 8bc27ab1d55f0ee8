"""Driving River's own detectors: many values at a time, up to each alarm.

The two that run hottest, ADWIN and Page-Hinkley, are driven through private names of River;
`fast_paths_hold` checks those once against the public API, and the public API takes over should
they ever disagree.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.batch import Floats

Advance = Callable[[Any, Any], bool]
"""Feed a River detector from a list iterator up to an alarm (True) or to the end (False)."""
Drive = Callable[[Any, Floats, str], list[int]]
"""Feed a River detector with values and return the positions of its alarms in one direction."""


def untyped(module: Any) -> Any:
    """Return a module of River as it is: some of its constructors carry no types."""
    return module


def run(river: Any, values: list[Any], advance: Advance) -> list[int]:
    """Feed `values` to a River detector and return the positions of its alarms."""
    feed: Any = iter(values)
    found = []
    while advance(river, feed):
        found.append(len(values) - feed.__length_hint__() - 1)
    return found


def advance_any(river: Any, feed: Iterator[Any]) -> bool:
    """Feed any River detector through its public API, up to an alarm."""
    update = river.update
    for value in feed:
        update(value)
        if river.drift_detected:
            return True
    return False


def advance_adwin(river: Any, feed: Any) -> bool:
    """Do what `advance_any` does for ADWIN, without leaving compiled code."""
    if not feed.__length_hint__():
        return False
    if river.drift_detected:
        river._reset()
    river._drift_detected = True in map(river._helper.update, feed)
    return bool(river._drift_detected)


def advance_page_hinkley(river: Any, feed: Any) -> bool:
    """Do what `advance_any` does for Page-Hinkley, with its state in local variables."""
    if not feed.__length_hint__():
        return False
    if river.drift_detected:
        river._reset()
    alpha, delta, warm = river.alpha, river.delta, river.min_instances
    up = river.threshold if river.mode != "down" else math.inf
    down = river.threshold if river.mode != "up" else math.inf
    n, mean = river._x_mean.n, river._x_mean._mean
    rise, lowest = river._sum_increase, river._min_increase
    fall, highest = river._sum_decrease, river._max_decrease
    fired = False
    for value in feed:
        n += 1.0
        mean += (1.0 / n) * (value - mean)
        deviation = value - mean
        rise = alpha * rise + deviation - delta
        fall = alpha * fall + deviation + delta
        if rise < lowest:
            lowest = rise
        elif rise - lowest > up and n >= warm:
            fired = True
        if fall > highest:
            highest = fall
        elif highest - fall > down and n >= warm:
            fired = True
        if fired:
            break
    river._x_mean.n, river._x_mean._mean = n, mean
    river._sum_increase, river._min_increase = rise, lowest
    river._sum_decrease, river._max_decrease = fall, highest
    river._drift_detected = fired
    return fired


def run_adwin(river: Any, values: Floats, direction: str, advance: Advance) -> list[int]:
    """Feed `values` to River's ADWIN; return the alarms whose cut moved the mean that way."""
    if direction == "both":
        return run(river, values.tolist(), advance)
    found: list[int] = []
    start = 0
    feed: Any = iter(values.tolist())
    while True:
        width, total = (0, 0.0) if river.drift_detected else (river.width, river.total)
        if not advance(river, feed):
            return found
        end = len(values) - feed.__length_hint__()
        width, total = width + end - start, add_in_order(total, values[start:end])
        kept, dropped = river.total / river.width, (total - river.total) / (width - river.width)
        if kept > dropped if direction == "up" else kept < dropped:
            found.append(end - 1)
        start = end


def add_in_order(total: float, values: Floats) -> float:
    """Return `total` plus all values, added one by one from the left.

    Neither `sum` (compensated since Python 3.12) nor `np.sum` (pairwise) would give the same bits
    for every way of cutting the values.

    Examples
    --------
    >>> add_in_order(0.5, np.array([1.0, 2.0]))
    3.5
    """
    return float(np.add.accumulate(np.concatenate(([total], values)))[-1])


# --- proofs ---------------------------------------------------------------------------------

STREAM: Floats = np.repeat([0.0, 3.0, 1.0, 5.0, 0.0], 150) + np.arange(750) * 7919 % 97 / 97
"""What ways to drive a detector are proven on."""


@functools.cache
def fast_paths_hold() -> bool:
    """Return whether the private names of this River still mean what they did; checked once.

    Examples
    --------
    >>> fast_paths_hold()
    True
    """

    def adwin(river: Any, values: Floats, direction: str) -> list[int]:
        return run_adwin(river, values, direction, advance_adwin)

    def page_hinkley(river: Any, values: Floats, direction: str) -> list[int]:
        return run(river, values.tolist(), advance_page_hinkley)

    try:
        return proven(adwin, page_hinkley)
    except (AttributeError, TypeError):  # a private name is gone
        return False


def proven(adwin: Drive, page_hinkley: Drive) -> bool:
    """Return whether two ways to drive River's objects do what its public API does.

    They take turns with the public API, so that not only the alarms but also the state left behind
    has to agree.
    """
    from river import drift

    def public(river: Any, values: Floats, direction: str) -> list[int]:
        if isinstance(river, drift.ADWIN):
            return run_adwin(river, values, direction, advance_any)
        return run(river, values.tolist(), advance_any)

    for direction in ("both", "up", "down"):
        make_page_hinkley = functools.partial(drift.PageHinkley, mode=direction)
        for make, drive in ((untyped(drift).ADWIN, adwin), (make_page_hinkley, page_hinkley)):
            turns, alone = make(), make()
            found = _relay(turns, direction, drive, public)
            if found != _relay(alone, direction, public, public) or _left(turns) != _left(alone):
                return False
    return True


def _relay(river: Any, direction: str, drive: Drive, public: Drive) -> list[int]:
    """Return the alarms over the stream, cut in pieces that are driven in turn.

    The pieces end on many different phases of the detector's own clock.
    """
    found: list[int] = []
    for at in range(0, len(STREAM), 53):
        chosen = drive if at // 53 % 3 else public
        found += [at + alarm for alarm in chosen(river, STREAM[at : at + 53], direction)]
    return found


def _left(river: Any) -> list[float]:
    """Return what is left behind in a River detector."""
    if hasattr(river, "width"):
        return [river.width, river.total, river.variance]
    sums = [river._sum_increase, river._min_increase, river._sum_decrease, river._max_decrease]
    return [river._x_mean.n, river._x_mean.get(), *sums]
