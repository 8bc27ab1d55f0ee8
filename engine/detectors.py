"""Detectors of change: River's own objects, driven many values at a time.

Each adapter makes one of River's detectors from its settings and feeds it whole arrays. What it
answers is what River answers one value at a time, to the last alarm, however the values are cut
into calls. `engine.driving` feeds River's objects; the two that run hottest, ADWIN and
Page-Hinkley, also come compiled (`use_kernels`). What a detector compares with its threshold
(`statistic`, for looking only) is private to River with most of them; a test holds each against
its definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from engine import settings as s
from engine.batch import Floats, Ints
from engine.compiled import CompiledAdwin, CompiledPageHinkley
from engine.driving import (
    advance_adwin,
    advance_any,
    advance_page_hinkley,
    fast_paths_hold,
    run,
    run_adwin,
    untyped,
)
from engine.errors import InputError
from engine.seeds import derive
from engine.switch import SWITCH
from engine.switch import use_kernels as use_kernels


class Detector(Protocol):
    """What watches one sequence of numbers; it pickles at any moment and goes on identically."""

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""

    def statistic(self) -> float:
        """Return the figure that it judges by, as of the last value; NaN while it has none."""


class Compilable:
    """What ADWIN and Page-Hinkley share: River's object, or its compiled form in its place.

    It is pickled as River's object, and so may go on where there are no kernels.

    Parameters
    ----------
    river
        The object.
    form
        Makes its compiled form; None if there is none.
    """

    def __init__(self, river: Any, form: Callable[[Any], Any] | None) -> None:
        self.river = river
        self.form = form
        self.compiled: Any = None

    def compile(self) -> Any:
        """Return the compiled form, which from now on takes the place of River's object."""
        if self.compiled is None and self.form is not None:
            self.compiled = self.form(self.river)
        return self.compiled

    def settle(self) -> None:
        """Let River's object go on from where the compiled form is."""
        if self.compiled is not None:
            self.compiled.settle(self.river)
            self.compiled = None

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        kernels = SWITCH.kernels(len(values))
        if kernels is None or self.compile() is None:
            self.settle()
            return self._drive(values)
        found: list[int] = self.compiled.update_many(kernels, values)
        return found

    def trace_many(self, values: Floats, stops: Ints) -> tuple[list[int], list[float]] | None:
        """Return what the function `trace_many` does, or None where there are no kernels."""
        kernels = SWITCH.kernels(len(values))
        if kernels is None or self.compile() is None:
            return None
        found: tuple[list[int], list[float]] = self.compiled.trace_many(kernels, values, stops)
        return found

    def _drive(self, values: Floats) -> list[int]:
        """Return what `update_many` does, from River's object."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return vars(self)


class AdwinDetector(Compilable):
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

        river = untyped(drift).ADWIN(
            delta=settings.delta,
            clock=settings.clock,
            max_buckets=settings.max_buckets,
            min_window_length=settings.min_window_length,
            grace_period=settings.grace_period,
        )
        form = partial(CompiledAdwin, direction=settings.direction)
        super().__init__(river, form)
        self.direction = settings.direction

    def _drive(self, values: Floats) -> list[int]:
        """Return what `update_many` does, from River's object."""
        advance = advance_adwin if fast_paths_hold() else advance_any
        return run_adwin(self.river, values, self.direction, advance)

    def statistic(self) -> float:
        """Return the mean of its window."""
        if self.compiled is not None:
            return float(self.compiled.mean)
        return float(self.river.estimation) if self.river.width else math.nan


class PageHinkleyDetector(Compilable):
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

        river = PageHinkley(
            min_instances=settings.min_instances,
            delta=settings.delta,
            threshold=settings.threshold,
            alpha=settings.alpha,
            mode=settings.direction,
        )
        super().__init__(river, CompiledPageHinkley)

    def _drive(self, values: Floats) -> list[int]:
        """Return what `update_many` does, from River's object."""
        advance = advance_page_hinkley if fast_paths_hold() else advance_any
        return run(self.river, values.tolist(), advance)

    def statistic(self) -> float:
        """Return how far the sum has left its extreme, the larger if both directions count."""
        if self.compiled is not None:
            return float(self.compiled.statistic())
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


def trace_many(detector: Detector, values: Floats, stops: Ints) -> tuple[list[int], list[float]]:
    """Return the positions of alarms, and the statistic before each of the positions `stops`.

    Examples
    --------
    >>> detector = build(s.Adwin(kind="adwin"), seed=7)
    >>> trace_many(detector, np.repeat([0.0, 1.0], 500), np.array([0, 500, 1000]))
    ([511], [nan, 0.0, 1.0])
    """
    if isinstance(detector, Compilable) and (found := detector.trace_many(values, stops)):
        return found
    alarms, figures, start = [], [], 0
    for end in [*stops.tolist(), len(values)]:
        if start < end:
            alarms += [start + at for at in detector.update_many(values[start:end])]
        figures.append(detector.statistic())
        start = end
    return alarms, figures[:-1]
