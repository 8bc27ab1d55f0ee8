"""The verdict on a challenger: both models answer the same records, and their errors are paired.

With `test`, records on which the two differ decide: McNemar's test in its exact form (McNemar 1947,
Psychometrika 12; Dietterich 1998, Neural Computation 10, on comparing classifiers), which is a sign
test of who is right alone. For numbers it is the sign test (Dixon and Mood 1946, JASA 41) of whose
error is smaller. It is one-sided, as the question is whether the challenger is better. Where a
challenger may be judged several times, `alpha` is shared among the looks (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engine.batch import Floats, Labels, Table, known
from engine.losses import prediction_errors
from engine.settings import Gate, Guards
from engine.training.jobs import Prediction, Predictor

ROUNDING = 1e-12
"""A difference of means this small is rounding, not evidence."""

Answer = Literal["promote", "keep", "extend"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a challenger, and what was held against what.

    Parameters
    ----------
    answer
        ``promote``, ``keep`` (the champion stays), or ``extend``: wait for more labels.
    rows
        How many labelled records both were judged on.
    champion_error, challenger_error
        Mean errors over these records (a share, or multiples of the scale); NaN without records.
    wins, losses
        On how many records the challenger's error was the smaller, and the larger.
    p_value
        How likely so many wins are if both were equally good; 1 without records.
    guards
        What the guard rails measured, by name.
    broken
        The guard rails that keep the challenger out.
    """

    answer: Answer
    rows: int
    champion_error: float
    challenger_error: float
    wins: int = 0
    losses: int = 0
    p_value: float = 1.0
    guards: Mapping[str, float | int | None] = field(default_factory=dict)
    broken: tuple[str, ...] = ()

    def figures(self, gate: Gate) -> dict[str, Any]:
        """Return what an event tells of it, JSON-ready."""
        told: dict[str, Any] = {
            "judged_rows": self.rows,
            "champion_error": self.champion_error if self.rows else None,
            "challenger_error": self.challenger_error if self.rows else None,
        }
        if gate.test is not None:
            told |= {"wins": self.wins, "losses": self.losses, "p_value": self.p_value}
        if self.guards:
            told |= {"guards": dict(self.guards), "broken": list(self.broken)}
        return told


def judge(
    champion: Predictor,
    challenger: Predictor,
    table: Table,
    labels: Labels,
    scale: float,
    gate: Gate,
    *,
    size: int | None = None,
    last: bool = True,
) -> Verdict:
    """Compare two models on the same records; those without a label do not count.

    Parameters
    ----------
    champion, challenger
        The model that serves, and the one that wants to.
    table, labels
        The records; neither model may have been trained on them.
    scale
        Regression: the size of an error that counts as 1, in units of the label.
    gate
        What is asked of the challenger; with margin 0 and no test, a draw promotes.
    size
        The challenger's trees × depth, if it has trees.
    last
        Whether it has to be decided now: what is undecided then is for the champion.

    Returns
    -------
    The verdict. Without a labelled record there is no evidence and the champion stays.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> from engine.training.models import ConstantPredictor
    >>> table, labels = table_of({"x": [0.0, 1.0]}), np.array(["a", "b"], dtype=object)
    >>> found = judge(
    ...     ConstantPredictor("c"), ConstantPredictor("a"), table, labels, 1.0, Gate(margin=0.1)
    ... )
    >>> found.answer, found.rows, found.champion_error, found.challenger_error
    ('promote', 2, 1.0, 0.5)
    """
    there = known(labels)
    rows = int(there.sum())
    undecided: Answer = "keep" if last else "extend"
    if rows == 0:
        return Verdict(undecided, 0, math.nan, math.nan)
    table, labels = table[there], labels[there]
    ours, theirs = champion.predict(table), challenger.predict(table)
    our_errors = prediction_errors(ours.values, labels, scale)
    their_errors = prediction_errors(theirs.values, labels, scale)
    mean, their_mean = float(np.mean(our_errors)), float(np.mean(their_errors))
    wins = int(np.count_nonzero(their_errors < our_errors))
    losses = int(np.count_nonzero(their_errors > our_errors))
    guards = _measure(gate.guards, ours, theirs, labels, size)
    broken = tuple(
        name
        for name, figure in guards.items()
        if figure is not None and figure > getattr(gate.guards, name)
    )
    answer = undecided
    if rows >= gate.minimum:
        alpha = gate.alpha / gate.looks
        lower = at_most(their_mean, mean - gate.margin)
        if broken or (gate.test is None and not lower):
            answer = "keep"
        elif lower and (gate.test is None or sign_test(wins, losses) <= alpha):
            answer = "promote"
        elif gate.test is not None and sign_test(losses, wins) <= alpha:
            answer = "keep"
    p_value = 1.0 if gate.test is None else sign_test(wins, losses)
    return Verdict(answer, rows, mean, their_mean, wins, losses, p_value, guards, broken)


def at_most(error: float, bar: float) -> bool:
    """Return whether an error is no higher than a bar, rounding aside.

    Examples
    --------
    >>> 0.1 + 0.2 <= 0.3, at_most(0.1 + 0.2, 0.3)
    (False, True)
    """
    return error <= bar or math.isclose(error, bar, rel_tol=ROUNDING, abs_tol=ROUNDING)


def sign_test(wins: int, losses: int) -> float:
    """Return how likely at least so many wins are by chance, each being as likely as a loss.

    This is the one-sided p-value, by the exact binomial distribution.

    Parameters
    ----------
    wins, losses
        How often either side was the better; draws do not count.

    Examples
    --------
    >>> sign_test(8, 2), sign_test(0, 0)
    (0.0546875, 1.0)
    """
    count = wins + losses
    ways = term = 1  # of having all as wins; then, one loss more in each turn
    for lost in range(1, losses + 1):
        term = term * (count - lost + 1) // lost
        ways += term
    return ways / (1 << count)


# --- guard rails ----------------------------------------------------------------------------


def _measure(
    guards: Guards, ours: Prediction, theirs: Prediction, labels: Labels, size: int | None
) -> dict[str, float | int | None]:
    """Return what the guard rails that are set look at; None where it cannot be had."""
    found: dict[str, float | int | None] = {}
    classes = labels.dtype == object
    if guards.collapse is not None:
        found["collapse"] = _excess(theirs.values, labels) if classes else None
    if guards.calibration is not None:
        rise = brier(theirs, labels) - brier(ours, labels) if classes else math.nan
        found["calibration"] = None if math.isnan(rise) else rise
    if guards.size is not None:
        found["size"] = size
    return found


def _excess(values: Labels, labels: Labels) -> float:
    """Return by what share the class that is answered most often is answered more than it occurs.

    A model that answers one class only has what the other classes are of the labels.
    """
    names, counts = np.unique(values.astype(str), return_counts=True)
    top = int(counts.argmax())
    return float(counts[top] / len(values) - np.mean(labels.astype(str) == names[top]))


def brier(said: Prediction, labels: Labels) -> float:
    """Return how far scores were from being right: mean of (score - right)², right being 0 or 1.

    It is the score of Brier (1950, Monthly Weather Review 78) for the class that was answered.
    NaN where the model gives no scores.

    Examples
    --------
    >>> said = Prediction(np.array(["a", "b"], dtype=object), np.array([0.75, 0.5]))
    >>> brier(said, np.array(["a", "a"], dtype=object))
    0.15625
    """
    right: Floats = 1.0 - prediction_errors(said.values, labels, 1.0)
    return float(np.mean((said.scores - right) ** 2))
