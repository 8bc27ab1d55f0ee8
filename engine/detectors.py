"""Detectors of change: River's own objects, driven many values at a time.

Each adapter makes one of River's detectors from its settings and feeds it whole arrays. What it
answers is what River answers one value at a time, to the last alarm, however the values are cut
into calls. The two that run hottest, ADWIN and Page-Hinkley, are driven through private names of
River; `fast_paths_hold` checks those once against the public API, and the public API takes over
should they ever disagree. What a detector compares with its threshold (`statistic`, for looking
only) is private too with most of them; a test holds each against its definition.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from engine import settings as s
from engine.batch import Floats
from engine.errors import InputError
from engine.seeds import derive

Advance = Callable[[Any, Any], bool]
"""Feed a River detector from a list iterator up to an alarm (True) or to the end (False)."""


class Detector(Protocol):
    """What watches one sequence of numbers; it pickles at any moment and goes on identically."""

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""

    def statistic(self) -> float:
        """Return the figure that it judges by, as of the last value; NaN while it has none."""


class AdwinDetector:
    """Adaptive windowing: alarms when two parts of a growing window have different means.

    ADWIN fires in both directions; for one direction an alarm is kept if the mean of what the cut
    kept lies on that side of the mean of what it dropped.

    Parameters
    ----------
    settings
        ADWIN's own parameters and the direction that counts.
    seed
        Not used: ADWIN takes no chances.

    References
    ----------
    Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007.

    Examples
    --------
    >>> steps = np.repeat([0.0, 1.0], 500)
    >>> AdwinDetector(s.Adwin(kind="adwin")).update_many(steps)
    [511]
    >>> AdwinDetector(s.Adwin(kind="adwin", direction="down")).update_many(steps)
    []
    """

    def __init__(self, settings: s.Adwin, seed: int = 0) -> None:
        from river import drift

        self.direction = settings.direction
        self.river: Any = untyped(drift).ADWIN(
            delta=settings.delta,
            clock=settings.clock,
            max_buckets=settings.max_buckets,
            min_window_length=settings.min_window_length,
            grace_period=settings.grace_period,
        )

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        advance = advance_adwin if fast_paths_hold() else advance_any
        if self.direction == "both":
            return run(self.river, values.tolist(), advance)
        found: list[int] = []
        start = 0
        feed: Any = iter(values.tolist())
        while True:
            fresh = self.river.drift_detected
            width, total = (0, 0.0) if fresh else (self.river.width, self.river.total)
            if not advance(self.river, feed):
                return found
            end = len(values) - feed.__length_hint__()
            total = add_in_order(total, values[start:end])
            if self._counts(width + end - start, total):
                found.append(end - 1)
            start = end

    def statistic(self) -> float:
        """Return the mean of its window."""
        return float(self.river.estimation) if self.river.width else math.nan

    def _counts(self, width: int, total: float) -> bool:
        """Return whether a cut of a window of so many values moved the mean the wanted way."""
        kept = self.river.total / self.river.width
        dropped = (total - self.river.total) / (width - self.river.width)
        return bool(kept > dropped if self.direction == "up" else kept < dropped)


class PageHinkleyDetector:
    """Page-Hinkley test: alarms when the sum of deviations from the mean leaves its extreme.

    Parameters
    ----------
    settings
        Its own parameters; the direction is River's mode.
    seed
        Not used: the test takes no chances.

    References
    ----------
    Page, "Continuous inspection schemes", Biometrika 41, 1954.

    Examples
    --------
    >>> values = np.repeat([0.0, 4.0], 500)
    >>> PageHinkleyDetector(s.PageHinkley(kind="page_hinkley")).update_many(values)
    [512]
    """

    def __init__(self, settings: s.PageHinkley, seed: int = 0) -> None:
        from river.drift import PageHinkley

        self.river: Any = PageHinkley(
            min_instances=settings.min_instances,
            delta=settings.delta,
            threshold=settings.threshold,
            alpha=settings.alpha,
            mode=settings.direction,
        )

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        advance = advance_page_hinkley if fast_paths_hold() else advance_any
        return run(self.river, values.tolist(), advance)

    def statistic(self) -> float:
        """Return how far the sum has left its extreme, the larger if both directions count."""
        river = self.river
        rise = river._sum_increase - river._min_increase if river.mode != "down" else 0.0
        fall = river._max_decrease - river._sum_decrease if river.mode != "up" else 0.0
        return float(max(rise, fall)) if river._x_mean.n else math.nan


class KswinDetector:
    """Kolmogorov-Smirnov windowing: alarms when the newest values and older ones differ.

    For one direction an alarm is kept if the mean of the newest `stat_size` values lies on that
    side of the mean of the older part of the window.

    Parameters
    ----------
    settings
        KSWIN's own parameters and the direction that counts.
    seed
        Seed of the sample that it draws from the older part.

    References
    ----------
    Raab, Heusinger and Schleif, "Reactive soft prototype computing for concept drift streams",
    Neurocomputing 416, 2020.

    Examples
    --------
    >>> values = np.repeat([0.0, 1.0], 150)
    >>> KswinDetector(s.Kswin(kind="kswin"), seed=7).update_many(values)
    [163]
    """

    def __init__(self, settings: s.Kswin, seed: int = 0) -> None:
        from river.drift import KSWIN

        self.direction = settings.direction
        self.river: Any = KSWIN(
            alpha=settings.alpha,
            window_size=settings.window_size,
            stat_size=settings.stat_size,
            seed=seed,
        )

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        if self.direction == "both":
            return run(self.river, values.tolist(), advance_any)
        found = []
        for at, value in enumerate(values.tolist()):
            before = [*self.river.window, value][-self.river.window_size :]
            self.river.update(value)
            if self.river.drift_detected and self._counts(before):
                found.append(at)
        return found

    def statistic(self) -> float:
        """Return the p-value of the last test."""
        tested = self.river.drift_detected or len(self.river.window) >= self.river.window_size
        return float(self.river.p_value) if tested else math.nan

    def _counts(self, window: list[float]) -> bool:
        """Return whether the newest part of a full window differs the wanted way."""
        cut = len(window) - self.river.stat_size
        older, newest = math.fsum(window[:cut]) / cut, math.fsum(window[cut:]) / (len(window) - cut)
        return bool(newest > older if self.direction == "up" else newest < older)


class BinaryDetector:
    """What the detectors of a rising rate of 0/1 errors share.

    Parameters
    ----------
    river
        One of River's binary detectors.
    """

    def __init__(self, river: Any) -> None:
        self.river = river

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values`, all 0 or 1, at which an alarm is raised.

        Raises
        ------
        InputError
            If a value is neither 0 nor 1.
        """
        bits = values != 0
        if not np.array_equal(bits, values):
            odd = values[(values != 0) & (values != 1)][0]
            name = type(self).__name__.removesuffix("Detector")
            raise InputError(f"{name} takes errors of 0 and 1, not {odd:g}: use it to classify")
        return run(self.river, bits.tolist(), advance_any)


class DdmDetector(BinaryDetector):
    """Drift detection method: alarms when the error rate leaves its lowest level.

    Parameters
    ----------
    settings
        Its own parameters.
    seed
        Not used.

    References
    ----------
    Gama, Medas, Castillo and Rodrigues, "Learning with drift detection", SBIA 2004.

    Examples
    --------
    >>> values = np.array([0.0, 0.0, 0.0, 1.0] * 100 + [1.0] * 100)
    >>> DdmDetector(s.Ddm(kind="ddm")).update_many(values)
    [423]
    """

    def __init__(self, settings: s.Ddm, seed: int = 0) -> None:
        from river.drift.binary import DDM

        super().__init__(
            DDM(
                warm_start=settings.warm_start,
                warning_threshold=settings.warning_threshold,
                drift_threshold=settings.drift_threshold,
            )
        )

    def statistic(self) -> float:
        """Return the error rate."""
        rate = self.river._p
        return float(rate.get()) if rate.n else math.nan


class EddmDetector(BinaryDetector):
    """Early drift detection method: alarms when errors follow one another more closely.

    Parameters
    ----------
    settings
        Its own parameters; `alpha`, the warning level, is at least `beta`, the drift level.
    seed
        Not used.

    References
    ----------
    Baena-García et al., "Early drift detection method", IWKDDS 2006.

    Examples
    --------
    >>> values = np.array(([1.0] + [0.0] * 19 + [1.0]) * 50 + [1.0] * 100)
    >>> EddmDetector(s.Eddm(kind="eddm")).update_many(values)
    [1054]
    """

    def __init__(self, settings: s.Eddm, seed: int = 0) -> None:
        from river.drift.binary import EDDM

        super().__init__(
            EDDM(warm_start=settings.warm_start, alpha=settings.alpha, beta=settings.beta)
        )

    def statistic(self) -> float:
        """Return how far apart errors lie (mean + 2 deviations), as a share of the most so far."""
        gaps, most = self.river._error_distances, self.river._p2s_prime_max
        return float((gaps.mean.get() + 2 * gaps.get() ** 0.5) / most) if most > 0 else math.nan


class HddmADetector(BinaryDetector):
    """Hoeffding's bound on moving averages: alarms when the error rate has risen beyond chance.

    Parameters
    ----------
    settings
        Its own parameters.
    seed
        Not used.

    References
    ----------
    Frías-Blanco et al., "Online and non-parametric drift detection methods based on Hoeffding's
    bounds", IEEE TKDE 27, 2015.

    Examples
    --------
    >>> values = np.array([0.0, 0.0, 0.0, 1.0] * 100 + [1.0] * 100)
    >>> HddmADetector(s.HddmA(kind="hddm_a")).update_many(values)
    [405]
    """

    def __init__(self, settings: s.HddmA, seed: int = 0) -> None:
        from river.drift import binary

        super().__init__(
            untyped(binary).HDDMA(
                drift_confidence=settings.drift_confidence,
                warning_confidence=settings.warning_confidence,
            )
        )

    def statistic(self) -> float:
        """Return the error rate."""
        rate = self.river._z
        return float(rate.get()) if rate.n else math.nan


class HddmWDetector(BinaryDetector):
    """Hoeffding's bound on exponentially weighted averages, which favours the newest errors.

    Parameters
    ----------
    settings
        Its own parameters.
    seed
        Not used.

    References
    ----------
    Frías-Blanco et al., "Online and non-parametric drift detection methods based on Hoeffding's
    bounds", IEEE TKDE 27, 2015.

    Examples
    --------
    >>> values = np.array([0.0, 0.0, 0.0, 1.0] * 100 + [1.0] * 100)
    >>> HddmWDetector(s.HddmW(kind="hddm_w")).update_many(values)
    [414]
    """

    def __init__(self, settings: s.HddmW, seed: int = 0) -> None:
        from river.drift import binary

        super().__init__(
            untyped(binary).HDDMW(
                drift_confidence=settings.drift_confidence,
                warning_confidence=settings.warning_confidence,
                lambda_val=settings.lambda_val,
            )
        )

    def statistic(self) -> float:
        """Return the weighted error rate."""
        rate = self.river._total
        return float(rate.ewma) if rate.is_init else math.nan


DETECTORS: dict[str, Callable[[Any, int], Detector]] = {
    "adwin": AdwinDetector,
    "page_hinkley": PageHinkleyDetector,
    "kswin": KswinDetector,
    "ddm": DdmDetector,
    "eddm": EddmDetector,
    "hddm_a": HddmADetector,
    "hddm_w": HddmWDetector,
}
"""The adapter of each `kind` of detector settings."""


def name_of(settings: s.AnyDetector) -> str:
    """Return what a detector's alarms are signed with: its name, or else its kind.

    Examples
    --------
    >>> name_of(s.Adwin(kind="adwin")), name_of(s.Adwin(kind="adwin", name="quick"))
    ('adwin', 'quick')
    """
    return settings.name or settings.kind


def build(settings: s.AnyDetector, seed: int) -> Detector:
    """Return a fresh detector; what chance it needs comes from `seed` and its name.

    Raises
    ------
    InputError
        If the settings contradict one another.

    Examples
    --------
    >>> build(s.Adwin(kind="adwin"), seed=7).update_many(np.repeat([0.0, 1.0], 500))
    [511]
    """
    return DETECTORS[settings.kind](settings, derive(seed, name_of(settings)))


# --- driving River --------------------------------------------------------------------------


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


@functools.cache
def fast_paths_hold() -> bool:
    """Return whether the private names of this River still mean what they did; checked once.

    Both ways are driven over a short fixed stream, changing hands in the middle, so that not only
    the alarms but also the state left behind has to agree.

    Examples
    --------
    >>> fast_paths_hold()
    True
    """
    from river import drift

    levels = (0.0, 3.0, 1.0, 5.0, 0.0)
    stream = [level + at * 7919 % 97 / 97 for level in levels for at in range(150)]
    pairs: list[tuple[Callable[[], Any], Advance]] = [(untyped(drift).ADWIN, advance_adwin)]
    for mode in ("up", "down", "both"):
        pairs.append((functools.partial(drift.PageHinkley, mode=mode), advance_page_hinkley))
    try:
        return all(_relay(make(), stream, fast) == _relay(make(), stream) for make, fast in pairs)
    except (AttributeError, TypeError):  # a private name is gone
        return False


def _relay(river: Any, stream: list[float], fast: Advance = advance_any) -> list[int]:
    """Return the alarms over `stream`, cut in pieces that go to `fast` and the public API in turn.

    The pieces end on many different phases of the detector's own clock.
    """
    found: list[int] = []
    for at in range(0, len(stream), 53):
        advance = fast if at // 53 % 3 else advance_any
        found += [at + alarm for alarm in run(river, stream[at : at + 53], advance)]
    return found


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
