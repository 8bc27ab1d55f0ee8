"""How a drift sets in: the weight of the new at each source row, and where regimes change.

Everything here is a pure function of a drift's settings and of row numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.batch import Floats, Ints
from scenarios.spec import Drift

STEEPNESS = 10.0
"""The sigmoid ramp is the logistic function from -5 to 5, scaled to reach 0 and 1."""

Phase = Literal["start", "return"]


def weight(drift: Drift, rows: Ints) -> Floats:
    """Return how much of the new holds at each of `rows`: 0 nothing, 1 all of it.

    It is exactly 0 before row `at`, above 0 from there on, and exactly 1 from row `at + over`
    on. From `until` on it goes back to 0 the same way, from wherever it had got to. A recurring
    drift holds for `period` rows, then does not for `period` rows, and so on.

    Parameters
    ----------
    drift
        When and how it sets in.
    rows
        Numbers of source rows, counted from 0, in any order.

    Returns
    -------
    Floats
        Weights in [0, 1], of the shape of `rows`.

    Examples
    --------
    >>> drift = Drift(at=2, over=3, ramp="linear", until=6)
    >>> weight(drift, np.arange(10)).tolist()
    [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0]
    >>> weight(Drift(at=1, shape="recurring", period=2), np.arange(7)).tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    """
    if drift.until is None:
        return _onset(drift, rows)
    back: Floats = 1.0 - _ramp(drift, rows - drift.until)
    return _onset(drift, np.minimum(rows, drift.until - 1)) * back


def switches(drift: Drift, rows_total: int) -> list[tuple[int, Phase]]:
    """Return where each change of regime begins, as (source row, phase), in order of rows.

    Phase ``start`` leads to the new regime, ``return`` back to the old one. Changes that would
    begin at or after row `rows_total` are left out.

    Examples
    --------
    >>> switches(Drift(at=10, over=5, until=40), rows_total=100)
    [(10, 'start'), (40, 'return')]
    >>> switches(Drift(at=10, shape="recurring", period=20), rows_total=60)
    [(10, 'start'), (30, 'return'), (50, 'start')]
    """
    end = rows_total if drift.until is None else min(drift.until, rows_total)
    starts = range(drift.at, end, drift.period or max(1, end - drift.at))
    found: list[tuple[int, Phase]] = [
        (row, "return" if count % 2 else "start") for count, row in enumerate(starts)
    ]
    if drift.until is not None and drift.until < rows_total and len(found) % 2:
        found.append((drift.until, "return"))
    return found


def _onset(drift: Drift, rows: Ints) -> Floats:
    """Return the weights as they would be without `until`."""
    since = rows - drift.at
    if drift.period is None:
        return _ramp(drift, since)
    turn, into = np.divmod(since, drift.period)
    grown = _ramp(drift, into)
    weights: Floats = np.where(since < 0, 0.0, np.where(turn % 2 == 0, grown, 1.0 - grown))
    return weights


def _ramp(drift: Drift, since: Ints) -> Floats:
    """Return how far a change has come `since` rows after its first row (negative: before)."""
    share: Floats = np.clip((since + 1) / (drift.over + 1), 0.0, 1.0)
    if drift.ramp == "linear" or drift.over == 0:
        return share
    half = STEEPNESS / 2
    bent: Floats = (1.0 + np.tanh(half * (share - 0.5)) / np.tanh(half / 2)) / 2
    return np.clip(bent, 0.0, 1.0)
