"""The cheapest schedule of retrains that hindsight could have chosen, by dynamic programming.

One core serves two callers: a table of losses that a user brings (`benchmarks.tables`) and the
loss table of a benchmark's stream.

Positions count what is served, one after another: the steps of a table or the records of a stream.
A decision at position p is taken before p is served. The engine asks a policy at the arrival of
record k, after its prediction, so p = k + 1; with a latency of L records the model serves from
max(k + 1, k + L), and the next request is possible at that arrival or later, for which
p > max(k + 1, k + L).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from engine.batch import Floats, Ints

KEEP = -1
"""Stands for the choice to do nothing at a decision."""


@dataclass(frozen=True, slots=True)
class Action:
    """A retrain that a decision may ask for.

    Parameters
    ----------
    model
        The model that will serve, a row of `Problem.losses`.
    serves
        The first position that it serves, never before the decision's own. Beyond the last
        position the old model serves until the end, and the price is paid for nothing.
    price
        What it costs to ask.
    free
        Index of the first later decision at which the next action may be taken; the number of
        decisions if there is none.
    """

    model: int
    serves: int
    price: float
    free: int


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What hindsight knows: what each model costs where, and what could be done when.

    Parameters
    ----------
    losses
        Models × (positions + 1), cumulative: serving positions a to b (exclusive) by model m
        costs ``losses[m, b] - losses[m, a]``. Where a model cannot serve yet the values do not
        matter, but they must be finite; 0 will do.
    decisions
        Position of each decision, ascending.
    actions
        For each decision what can be asked for there, besides keeping the model.
    first
        The model that serves at the start.
    start
        The first position whose cost counts.

    Raises
    ------
    ValueError
        If these do not fit together.
    """

    losses: Floats
    decisions: Ints
    actions: tuple[tuple[Action, ...], ...]
    first: int
    start: int = 0

    def __post_init__(self) -> None:
        places = [self.start, *self.decisions.tolist()]
        if places[0] < 0 or any(a > b for a, b in pairwise(places)) or places[-1] > self.end:
            raise ValueError(f"decisions must ascend from {self.start} to {self.end}")
        if len(self.actions) != len(self.decisions):
            raise ValueError(f"{len(self.actions)} lists of actions, {len(places) - 1} decisions")
        if not 0 <= self.first < len(self.losses):
            raise ValueError(f"there is no model {self.first}")
        for at, actions in enumerate(self.actions):
            for action in actions:
                self._check(at, action, places[1:])

    def _check(self, at: int, action: Action, places: Sequence[int]) -> None:
        """Refuse an action that is out of bounds, or not done when the next may be taken."""
        if not 0 <= action.model < len(self.losses) or action.serves < places[at]:
            raise ValueError(f"decision {at}: no such model, or it serves too early: {action}")
        if not at < action.free <= len(places):
            raise ValueError(f"decision {at}: must be free at a later decision: {action}")
        if action.free < len(places) and places[action.free] < action.serves:
            raise ValueError(f"decision {at}: free while its model is still awaited: {action}")

    @property
    def end(self) -> int:
        """Number of positions."""
        return int(self.losses.shape[1]) - 1


@dataclass(frozen=True, slots=True)
class Step:
    """A retrain in a schedule.

    Parameters
    ----------
    decision, action
        Index of the decision, and of the action among those possible there.
    model, serves
        Those of the action.
    """

    decision: int
    action: int
    model: int
    serves: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of retrains, in order, and what it costs in total."""

    total: float
    steps: tuple[Step, ...]


def with_returns(
    problem: Problem, serves: Sequence[int], free: Sequence[int], price: float
) -> Problem:
    """Let every decision also return to any model that could have served before it.

    This is a relaxation: whether a schedule ever paid for the model is not asked, since that would
    take a state for each set of models. So the cheapest schedule costs at most what any schedule
    costs that returns only to models it had; none can undercut it.

    Parameters
    ----------
    problem
        What can be done without returns.
    serves, free
        For each decision, what `Action` says of a return that is asked for there.
    price
        Of a return; where a retrain can be had for less, it costs as much as that.

    Examples
    --------
    Model 1 is good at steps 1 and 2, model 0 at the others. Going back to it for 1 saves 5:

    >>> losses = np.array([[0.0, 1, 10, 19, 20], [0, 9, 10, 11, 20]])
    >>> actions = ((Action(model=1, serves=1, price=3.0, free=1),), ())
    >>> problem = Problem(losses, np.array([1, 3]), actions, first=0)
    >>> cheapest(problem).total, cheapest(with_returns(problem, [1, 3], [1, 2], 1.0)).total
    (15.0, 8.0)
    """
    models, found = [problem.first], list[tuple[Action, ...]]()
    waiting: list[Action] = []
    for at, actions in enumerate(problem.actions):
        there = [one for one in waiting if one.serves <= problem.decisions[at]]
        waiting = [one for one in waiting if one.serves > problem.decisions[at]]
        models += [one.model for one in there if one.model not in models]
        least = min([price, *(one.price for one in actions)])
        returns = (Action(model, serves[at], least, free[at]) for model in models)
        found.append((*actions, *returns))
        waiting += actions
    return replace(problem, actions=tuple(found))


def cheapest(problem: Problem) -> Schedule:
    """Return the cheapest schedule; of equal choices keeping the model, then the first action.

    Every decision goes back to front: what the rest costs when model m serves is the least of
    keeping m until the next decision, and, for each action, its price, m until the new model
    serves, that one until the action after it, and what the rest costs from there.

    Examples
    --------
    Six steps; model 0 costs 1 a step, and 5 from step 3 on. Model 1 costs 2 a step:

    >>> losses = np.array([[0.0, 1, 2, 3, 8, 13, 18], [0, 2, 4, 6, 8, 10, 12]])
    >>> actions = ((Action(model=1, serves=3, price=4.0, free=1),), ())
    >>> cheapest(Problem(losses, np.array([2, 5]), actions, first=0))
    Schedule(total=13.0, steps=(Step(decision=0, action=0, model=1, serves=3),))
    """
    choices = _choices(problem)
    steps: list[Step] = []
    serving, at = problem.first, 0
    while at < len(problem.decisions):
        chosen = int(choices[at, serving])
        if chosen == KEEP:
            at += 1
            continue
        action = problem.actions[at][chosen]
        steps.append(Step(at, chosen, action.model, action.serves))
        serving, at = action.model, action.free
    return Schedule(cost(problem, [(step.decision, step.action) for step in steps]), tuple(steps))


def _choices(problem: Problem) -> Ints:
    """Return the best choice at each decision, for each model that may be serving there."""
    models, count = len(problem.losses), len(problem.decisions)
    bounds = problem.losses[:, np.append(problem.decisions, problem.end)]
    if not np.isfinite(bounds).all():
        raise ValueError("losses must be finite")
    rest = np.zeros((count + 1, models))
    choices = np.full((count, models), KEEP, dtype=np.int64)
    for at in reversed(range(count)):
        rest[at] = bounds[:, at + 1] - bounds[:, at] + rest[at + 1]
        actions = problem.actions[at]
        if not actions:
            continue
        model = [action.model for action in actions]
        free = [action.free for action in actions]
        until = problem.losses[:, [min(action.serves, problem.end) for action in actions]]
        after = bounds[model, free] - until[model, range(len(actions))] + rest[free, model]
        after += [action.price for action in actions]
        acting = until - bounds[:, [at]] + after
        first = acting.argmin(axis=1)
        least = acting[np.arange(models), first]
        better = least < rest[at]
        choices[at, better] = first[better]
        rest[at, better] = least[better]
    return choices


def cost(problem: Problem, chosen: Sequence[tuple[int, int]]) -> float:
    """Return what a schedule costs; this is the plain statement of the rules.

    The sum is rounded once, so that schedules which cost the same come out the same, and none
    that costs less comes out dearer.

    Parameters
    ----------
    problem
        What can be done.
    chosen
        In order, the decisions at which something is done, each with the index of its action.

    Raises
    ------
    ValueError
        If there is no such action, or one is taken while the model of another is awaited.

    Examples
    --------
    >>> losses = np.array([[0.0, 1, 2], [0, 0, 1]])
    >>> problem = Problem(losses, np.array([1]), ((Action(1, 2, 0.5, 1),),), first=0)
    >>> cost(problem, []), cost(problem, [(0, 0)])
    (2.0, 2.5)
    """
    losses, end = problem.losses, problem.end
    serving, since, free = problem.first, problem.start, 0
    terms: list[float] = []
    for decision, index in chosen:
        if not (0 <= decision < len(problem.actions)):
            raise ValueError(f"there is no decision {decision}")
        if decision < free:
            raise ValueError(f"decision {decision} comes too early; the next may be {free}")
        if not 0 <= index < len(problem.actions[decision]):
            raise ValueError(f"decision {decision} has no action {index}")
        action = problem.actions[decision][index]
        until = min(action.serves, end)
        terms += [losses[serving, until], -losses[serving, since], action.price]
        serving, since, free = action.model, until, action.free
    return math.fsum([*terms, losses[serving, end], -losses[serving, since]])
