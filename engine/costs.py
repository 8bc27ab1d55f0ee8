"""Policies that weigh what a stale champion costs against the price of a retrain.

They look once for each full block of known errors, and never ask while a job is pending. What
they call stale is held against the error of a *fresh* model, which nobody can know online: see
`fresh_error` for how it is estimated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine import settings as s
from engine.batch import Floats
from engine.views import NOTHING, Decision, Parts, Plain, State, View, Wake, outlook

EARLIER = 3
"""How many times as much as the champion's own first errors those of earlier ones count."""
DOUBT = 0.5
"""How many standard errors above the estimate do not count as staleness."""


class Blockwise(Plain):
    """What the policies of this module share: prices matter, and there is news once a block."""

    __slots__ = ()

    @property
    def heeds_prices(self) -> bool:
        """Whether its decisions depend on the prices."""
        return True

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return Wake(errors=(view.known // view.block + 1) * view.block)


def fresh_error(view: View, fresh: int, earlier: float | None) -> tuple[float, float] | None:
    """Return what a fresh model's error is taken to be, with its standard error.

    It is the mean of the champion's first `fresh` known errors and of the estimate that its
    predecessors left behind (`earlier`), the latter counting as `EARLIER` times as many errors. So
    a challenger that was trained on the wrong world does not become the measure of things, while
    a world that has become harder for every model is accepted after a few retrains. Of the first
    champion nothing can be said before `fresh` of its errors are known.

    Examples
    --------
    >>> from engine.policies import example_view
    >>> fresh_error(example_view(errors=np.array([0.0, 1.0, 0.0, 1.0])), 4, earlier=None)
    (0.5, 0.25)
    >>> fresh_error(example_view(errors=np.array([1.0, 1.0])), 2, earlier=0.2)
    (0.4, 0.0)
    """
    own = view.reference[:fresh]
    before = 0 if earlier is None else EARLIER * fresh
    if earlier is None and len(own) < fresh:
        return None
    count = before + len(own)
    mean = (before * (earlier or 0.0) + float(np.add.reduce(own))) / count
    return mean, _deviation(own) / math.sqrt(count)


def _deviation(errors: Floats) -> float:
    return float(np.std(errors)) if len(errors) else 0.0


def _fresh(fresh: int | None, view: View) -> int:
    return fresh or min(max(view.window // 2, 1), s.RECENT_MAX)


def _memory(view: View, state: State, own: tuple[float, ...]) -> State:
    """Return the memory, or if the champion is new the one to begin with: `own` at its end."""
    if state is None:
        return (view.first, 0, None, None, *own)
    return state if state[0] == view.first else (view.first, 0, state[3], state[3], *own)


def _worth(errors: float, limit: float, prices: s.Prices) -> bool:
    """Return whether so many errors cost enough to pay for so many retrains."""
    cost = errors * prices.error
    return cost > 0 and cost >= limit * prices.retrain


@dataclass(frozen=True, slots=True)
class CumulativeCost(Blockwise):
    """Retrain when staleness has cost as much as a retrain does.

    The errors lost are the running sum, over full blocks, of (the block's mean error - the fresh
    error - `DOUBT` standard errors of that) x block, never below zero, as in CUSUM (Page, 1954).
    Where the error grows linearly with age, a limit of one retrain is the cheapest. A request and
    a new champion begin the sum again; a block that becomes known while a job is pending does not
    count, as nothing could be done about it. After CARA-CT (Mahadevan and Mathioudakis, 2024),
    which is given the fresh model's loss where this estimates it: see `fresh_error`.

    Its memory is (champion's first record, its blocks seen, the fresh error that its predecessors
    left behind, the estimate now, errors lost, records since the sum was zero).

    Parameters
    ----------
    limit
        The cost at which it asks, in retrains.
    fresh
        How many of a champion's first errors tell what a fresh model gets; None for half a
        training window.

    Examples
    --------
    >>> from engine.policies import build, example_view
    >>> policy = build(s.CumulativeCost(kind="cumulative_cost", fresh=100))
    >>> view = example_view(errors=np.repeat([0.0, 1.0], 100), blocks=(0.0, 1.0), block=100)
    >>> policy.decide(view, None)[0].reason
    'a stale model lost 100 errors in 100 records, which cost 100; the limit is 50'
    """

    limit: float
    fresh: int | None

    @classmethod
    def of(cls, settings: s.CumulativeCost, parts: Parts) -> CumulativeCost:
        """Return the policy that the settings describe."""
        return cls(settings.limit, settings.fresh)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        state = _memory(view, state, (0.0, 0))
        first, seen, earlier, _, lost, over = state
        full, fresh = view.known // view.block, _fresh(self.fresh, view)
        if full == seen:
            return NOTHING, state
        estimate = fresh_error(view, fresh, earlier)
        if estimate is None:
            return NOTHING, (first, full, None, None, lost, over)
        level = estimate[0] + DOUBT * estimate[1]
        within = fresh // view.block if earlier is None else 0  # what the estimate is made of
        counts = full > within and not view.pending
        for error in view.blocks[max(seen, within) - full :] if counts else ():
            lost = max(0.0, lost + (error - level) * view.block)
            over = over + view.block if lost > 0 else 0
        if view.pending or not _worth(lost, self.limit, view.prices):
            return NOTHING, (first, full, earlier, estimate[0], lost, over)
        cost, limit = lost * view.prices.error, self.limit * view.prices.retrain
        reason = f"a stale model lost {lost:.4g} errors in {over} records, which cost {cost:.4g}"
        saw = {
            "errors_lost": lost,
            "horizon": over,
            "price": view.prices.retrain,
            "limit": limit,
            "fresh_error": estimate[0],
        }
        decision = Decision("retrain", f"{reason}; the limit is {limit:.4g}", saw | outlook(view))
        return decision, (first, full, earlier, estimate[0], 0.0, 0)


@dataclass(frozen=True, slots=True)
class CostThreshold(Blockwise):
    """Retrain when staleness, if it stays as it is, would cost as much as a retrain does.

    The errors at stake are (mean of the newest `window` errors - the fresh error - `DOUBT`
    standard errors of this difference) x `horizon`. After a request it waits for `window` further
    errors. After CARA-T (Mahadevan and Mathioudakis, 2024), which is given the fresh model's loss
    where this estimates it: see `fresh_error`.

    Its memory is (champion's first record, its blocks seen, the fresh error that its predecessors
    left behind, the estimate now, errors known at its last request).

    Parameters
    ----------
    limit
        The cost at which it asks, in retrains.
    fresh
        How many of a champion's first errors tell what a fresh model gets; None for half a
        training window.
    window
        How many errors tell what the champion gets now; None for a training window.
    horizon
        How many records a new model is thought to serve; None for the training window, or for as
        long as the champion has lasted if that is longer.

    Examples
    --------
    >>> from engine.policies import build, example_view
    >>> given = {"fresh": 100, "window": 100, "horizon": 200}
    >>> policy = build(s.CostThreshold(kind="cost_threshold", **given))
    >>> view = example_view(errors=np.repeat([0.0, 1.0], 100), blocks=(0.0, 1.0), block=100)
    >>> policy.decide(view, None)[0].reason
    'a stale model would lose 200 errors in 200 records, which cost 200; the limit is 50'
    """

    limit: float
    fresh: int | None
    window: int | None
    horizon: int | None

    @classmethod
    def of(cls, settings: s.CostThreshold, parts: Parts) -> CostThreshold:
        """Return the policy that the settings describe."""
        return cls(settings.limit, settings.fresh, settings.window, settings.horizon)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        state = _memory(view, state, (0,))
        first, seen, earlier, _, asked = state
        full, window = view.known // view.block, self.window or min(view.window, s.RECENT_MAX)
        if full == seen:
            return NOTHING, state
        estimate = fresh_error(view, _fresh(self.fresh, view), earlier)
        reference = None if estimate is None else estimate[0]
        state = (first, full, earlier, reference, asked)
        if estimate is None or view.pending or view.known < asked + window:
            return NOTHING, state
        newest = view.errors[-window:]
        doubt = math.hypot(estimate[1], _deviation(newest) / math.sqrt(window))
        horizon = self.horizon or max(view.window, view.served)
        stake = (view.error(window) - estimate[0] - DOUBT * doubt) * horizon
        if not _worth(stake, self.limit, view.prices):
            return NOTHING, state
        cost, limit = stake * view.prices.error, self.limit * view.prices.retrain
        reason = f"a stale model would lose {stake:.4g} errors in {horizon} records, which cost"
        saw = {
            "errors_saved": stake,
            "horizon": horizon,
            "price": view.prices.retrain,
            "limit": limit,
            "error": view.error(window),
            "fresh_error": estimate[0],
        }
        reason = f"{reason} {cost:.4g}; the limit is {limit:.4g}"
        decision = Decision("retrain", reason, saw | outlook(view))
        return decision, (first, full, earlier, estimate[0], view.known)
