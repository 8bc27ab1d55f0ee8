"""A policy that forecasts the errors of keeping the champion and of retraining now.

The forecast is a Bayesian linear regression of the mean error of a block on the age and the birth
of the model that made it, over this champion's blocks and those of the champions before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from engine import settings as s
from engine.batch import Floats
from engine.costs import Blockwise
from engine.views import NOTHING, Decision, Parts, State, View, outlook

SPREAD = 0.1
"""How far the error is expected to change with age, birth or champion, as a share of itself."""
MEMORY = 256
"""A block counts a share of 1/e once so many further blocks are known."""
NOISE_MIN = 0.01
"""The least that a block's mean error is thought to vary by chance, as a share of itself."""
OWN, UPPER = 4, np.triu_indices(5)

Sums = tuple[float, ...]
"""Sums of products of (1, age, age squared, birth, error) over blocks: the upper triangle."""
NO_SUMS: Sums = (0.0,) * 15


def add(sums: Sums, row: Floats) -> Sums:
    """Return the sums with one more block, in which older ones count a little less.

    Examples
    --------
    >>> add(NO_SUMS, np.array([1.0, 0.5, 0.25, 0.0, 0.2]))[:5]
    (1.0, 0.5, 0.25, 0.0, 0.2)
    """
    return tuple((np.array(fade(sums)) + np.outer(row, row)[UPPER]).tolist())


def fade(sums: Sums) -> Sums:
    """Return the sums as they count after one more block elsewhere.

    Examples
    --------
    >>> fade((256.0, 0.0))
    (255.0, 0.0)
    """
    return tuple(one * (1 - 1 / MEMORY) for one in sums)


def _square(sums: Sums) -> Floats:
    half = np.zeros((5, 5))
    half[UPPER] = sums
    return half + np.triu(half, 1).T


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What a block's mean error is thought to depend on.

    Parameters
    ----------
    weights
        Of 1, age, age squared, birth, and of being the champion; shape `(5,)`.
    doubt
        The weights' covariance.
    noise
        Variance of a block's mean error around the curve.
    """

    weights: Floats
    doubt: Floats
    noise: float

    def at(self, features: Floats, blocks: float, more: float = 0.0) -> tuple[float, float]:
        """Return the mean error over so many blocks, and its standard deviation."""
        variance = features @ self.doubt @ features + self.noise / blocks + more
        return float(features @ self.weights), math.sqrt(float(variance))


def fit(own: Sums, earlier: Sums, scale: Floats, noise: float) -> Curve:
    """Return the curve through the champion's blocks (`own`) and those of earlier champions.

    Parameters
    ----------
    own, earlier
        Sums over blocks; together at least one block, with errors that are not all 0.
    scale
        Prior standard deviations of the weights. The first weight's prior mean is the mean error,
        that of the others is 0: without evidence a new model does as the first one did when new.
    noise
        First guess of the noise, worth five blocks.

    Examples
    --------
    >>> sums = NO_SUMS
    >>> for age in range(50):
    ...     sums = add(sums, np.array([1.0, age / 10, age**2 / 100, 0.0, 0.1 + age / 100]))
    >>> curve = fit(sums, NO_SUMS, np.full(5, 1.0), 0.01)
    >>> [round(float(weight), 2) for weight in curve.weights[1:3]]
    [0.1, 0.0]
    """
    mine, both = _square(own), np.add(_square(own), _square(earlier))
    count, level = both[0, 0], both[0, 4] / both[0, 0]
    products, targets = np.zeros((5, 5)), np.append(both[:4, 4], mine[0, 4])
    products[:4, :4] = both[:4, :4]
    products[OWN, :4] = products[:4, OWN] = mine[0, :4]
    products[OWN, OWN] = mine[0, 0]
    start = np.array([level, 0.0, 0.0, 0.0, 0.0])
    least, variance = (NOISE_MIN * level) ** 2, noise
    for _ in range(2):  # the noise follows from the fit, which hardly depends on it
        variance = max(variance, least)
        precision = products * np.outer(scale, scale) / variance + np.eye(5)
        doubt = np.linalg.inv(precision) * np.outer(scale, scale)
        weights = doubt @ (targets / variance + start / scale**2)
        left = both[4, 4] - 2 * weights @ targets + weights @ products @ weights
        variance = (max(float(left), 0.0) + 5 * noise) / (count + 5)
    return Curve(weights, doubt, max(variance, least))


@dataclass(frozen=True, slots=True)
class Forecast(Blockwise):
    """Retrain when the forecast of retraining now, its price included, is below that of keeping.

    Both are the `quantile` of the predicted sum of errors over `horizon` records from the moment
    at which a new model would serve, as after the last request. The error of a block is taken to
    be linear in the model's age, age squared and birth, and in whether it is the present champion;
    an age or a birth as far off as the farthest, and another champion, are each expected to change
    it by a share of `SPREAD`. So while no retrain was seen, a new model is expected to do as the
    first one did when new, give or take that share. A request that brought no new champion is
    repeated once a quarter of the horizon later at the earliest. After UPF (Regol et al., 2025),
    which regresses on the same times and on a score of the features' shift.

    Its memory is (champion's first record, its blocks seen, first champion's first record,
    latency, arrival and errors known of the last request, `Sums` of this champion, and of those
    before it).

    Parameters
    ----------
    quantile
        Of the predicted sums; above 0.5 doubt counts against an option.
    horizon
        How many records are looked ahead; None for the training window, or for as long as the
        champion has lasted if that is longer.

    Examples
    --------
    >>> from engine.policies import build, example_view
    >>> policy = build(s.Forecast(kind="forecast", horizon=1000))
    >>> blocks = (0.1,) * 10 + (0.5,) * 10
    >>> view = example_view(seq=1999, errors=np.repeat(blocks, 100), blocks=blocks)
    >>> decision, _ = policy.decide(view, None)
    >>> decision.action, decision.saw["errors_saved"] > 100
    ('retrain', True)
    """

    quantile: float
    horizon: int | None

    @classmethod
    def of(cls, settings: s.Forecast, parts: Parts) -> Forecast:
        """Return the policy that the settings describe."""
        return cls(settings.quantile, settings.horizon)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        first, seen, origin, latency, asked, own, earlier = _memory(view, state)
        full = view.known // view.block
        for at in range(max(seen, full - len(view.blocks)), full):
            row = _features(view, origin, (at + 0.5) * view.block, view.block)
            own, earlier = add(own, np.append(row, view.blocks[at - full])), fade(earlier)
        horizon = self.horizon or max(view.window, view.served)
        memory = (first, full, origin, latency, asked, own, earlier)
        soon = asked is not None and view.known < asked[1] + horizon // 4
        if full == seen or view.pending or soon or own[4] + earlier[4] <= 0:
            return NOTHING, memory
        keep, retrain = self._options(view, memory, horizon)
        price, error = view.prices.retrain, view.prices.error
        cost = retrain[1] * error + price
        if keep[0] <= retrain[0] or cost >= keep[1] * error:
            return NOTHING, memory
        reason = (
            f"over {horizon} records keeping is forecast to cost {keep[1] * error:.4g}, "
            f"retraining {cost:.4g} with its price (quantile {self.quantile:g})"
        )
        saw = {
            "errors_saved": keep[0] - retrain[0],
            "horizon": horizon,
            "price": price,
            "keep": {"errors": keep[0], "quantile": keep[1]},
            "retrain": {"errors": retrain[0], "quantile": retrain[1]},
        }
        asked = (view.seq, view.known)
        return Decision("retrain", reason, saw | outlook(view)), (*memory[:4], asked, own, earlier)

    def _options(
        self, view: View, memory: State, horizon: int
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the errors of keeping and of retraining: the mean and the quantile."""
        _, _, origin, latency, _, own, earlier = memory
        level = (own[4] + earlier[4]) / (own[0] + earlier[0])
        length, past = horizon / view.window, (view.seq + 1 - origin) / view.window
        reach = max(view.served / view.window, length)
        scale = level * SPREAD / np.array([SPREAD / 10, reach, reach**2, past, 1.0])
        curve = fit(own, earlier, scale, float(np.var(view.errors)) / view.block)
        middle = view.served + latency + horizon / 2
        old = np.append(_features(view, origin, middle, horizon), 1.0)
        new = np.append(_features(view, origin, horizon / 2, horizon), 0.0)
        new[3] = past + latency / view.window
        blocks, z = horizon / view.block, NormalDist().inv_cdf(self.quantile)
        found = curve.at(old, blocks), curve.at(new, blocks, more=float(scale[OWN]) ** 2)
        keep, retrain = [(mean * horizon, (mean + z * sd) * horizon) for mean, sd in found]
        return keep, retrain


def _memory(view: View, state: State) -> State:
    """Return the memory, in which a former champion's blocks have become those of an earlier."""
    if state is None:
        return (view.first, 0, view.first, 0, None, NO_SUMS, NO_SUMS)
    first, _, origin, latency, asked, own, earlier = state
    if first == view.first:
        return state
    latency = latency if asked is None else view.first - asked[0] - 1
    both = tuple(mine + theirs for mine, theirs in zip(own, earlier, strict=True))
    return (view.first, 0, origin, latency, None, NO_SUMS, both)


def _features(view: View, origin: int, middle: float, length: float) -> Floats:
    """Return the means of (1, age, age squared, birth) over a stretch of the champion's service.

    Ages and births are in training windows.
    """
    age, half = middle / view.window, length / view.window / 2
    return np.array([1.0, age, age**2 + half**2 / 3, (view.first - origin) / view.window])
