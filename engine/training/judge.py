"""The verdict on a challenger: both models answer the same records, the lower error wins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.batch import Labels, Table, known
from engine.losses import prediction_errors
from engine.training.jobs import Predictor

ROUNDING = 1e-12
"""A difference of means this small is rounding, not evidence."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a challenger takes over, and what was held against what.

    Parameters
    ----------
    promote
        Whether the challenger takes over.
    rows
        How many labelled records both were judged on.
    champion_error, challenger_error
        Mean errors over these records (a share, or multiples of the scale); NaN without records.
    """

    promote: bool
    rows: int
    champion_error: float
    challenger_error: float


def judge(
    champion: Predictor,
    challenger: Predictor,
    table: Table,
    labels: Labels,
    scale: float,
    margin: float,
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
    margin
        By how much the challenger's mean error must be lower; 0 lets a draw promote.

    Returns
    -------
    The verdict. Without a labelled record there is no evidence and the champion stays.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> from engine.training.models import ConstantPredictor
    >>> table, labels = table_of({"x": [0.0, 1.0]}), np.array(["a", "b"], dtype=object)
    >>> judge(ConstantPredictor("c"), ConstantPredictor("a"), table, labels, 1.0, 0.1)
    Verdict(promote=True, rows=2, champion_error=1.0, challenger_error=0.5)
    """
    there = known(labels)
    rows = int(there.sum())
    if rows == 0:
        return Verdict(False, 0, math.nan, math.nan)
    table, labels = table[there], labels[there]
    ours, theirs = (
        float(np.mean(prediction_errors(model.predict(table).values, labels, scale)))
        for model in (champion, challenger)
    )
    bar = ours - margin
    promote = theirs <= bar or math.isclose(theirs, bar, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return Verdict(promote, rows, ours, theirs)
