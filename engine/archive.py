"""Earlier champions, kept for the day that their world comes back.

Before a new model is trained, the best of them on the newest labels may serve again: if it beats
the champion there by a paired test, and is about as good as the champion was when it was new, which
is what a fresh model may be expected to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.batch import Bools, Floats, known
from engine.history import Rows
from engine.losses import prediction_errors
from engine.settings import Archive
from engine.state import Champion
from engine.training.jobs import Predictor
from engine.training.judge import at_most, sign_test


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of asking earlier champions.

    Parameters
    ----------
    chosen
        The one that is to serve again, if any.
    figures
        What they were held against, JSON-ready.
    """

    chosen: Champion | None
    figures: Mapping[str, Any]


def kept(
    archive: Sequence[Champion], left: Champion, comes: Champion, keep: int
) -> tuple[Champion, ...]:
    """Return the archive after a change of champion: who served last comes last, at most `keep`.

    Parameters
    ----------
    archive
        What it held before.
    left, comes
        The champion that was, and the one that is.
    keep
        How many may stay; those that served longest ago go first.

    Examples
    --------
    >>> from engine.history import Moment
    >>> a, b, c = (Champion(number, str(number), Moment(0, 0), 0) for number in range(3))
    >>> [one.number for one in kept([a, b], c, a, keep=3)]
    [1, 2]
    """
    gone = (left.number, comes.number)
    others = [one for one in archive if one.number not in gone]
    return tuple([*others, left][-keep:])


def try_archive(
    rule: Archive,
    archive: Sequence[Champion],
    champion: Champion,
    models: Mapping[str, Predictor],
    rows: Rows,
    young: Floats,
    scale: float,
) -> Tried:
    """Hold earlier champions against the one that serves, on the newest labels.

    Parameters
    ----------
    rule
        What is asked of them.
    archive
        The earlier champions.
    champion
        The one that serves.
    models
        The models by job id.
    rows
        The newest rows whose labels are known; what one of the models was fitted on is left out.
    young
        The champion's first errors: the newest known of them tell what a fresh model gets.
    scale
        Regression: the size of an error that counts as 1, in units of the label.
    """
    rows = rows[_unseen_by_all(rows, [champion, *archive])]
    errors = {
        one.number: prediction_errors(models[one.job_id].predict(rows.table).values, rows.labels,
                                      scale)
        for one in (champion, *archive)
    }  # fmt: skip
    fresh = float(np.mean(young[: rule.window])) if len(young) else None
    figures: dict[str, Any] = {
        "tried": [one.number for one in archive],
        "judged_rows": len(rows),
        "champion_error": None,
        "fresh_error": fresh,
    }
    if not len(rows) or not archive:
        return Tried(None, figures)
    ours = errors[champion.number]
    best = min(archive, key=lambda one: (float(np.mean(errors[one.number])), -one.number))
    theirs = errors[best.number]
    wins, losses = int(np.sum(theirs < ours)), int(np.sum(theirs > ours))
    mean, p_value = float(np.mean(theirs)), sign_test(wins, losses)
    figures |= {
        "champion_error": float(np.mean(ours)),
        "best": best.number,
        "best_error": mean,
        "wins": wins,
        "losses": losses,
        "p_value": p_value,
    }
    better = at_most(mean, float(np.mean(ours)) - rule.margin)
    good = at_most(mean, (math.inf if fresh is None else fresh) + rule.slack)
    sure = p_value <= rule.alpha / len(archive)
    return Tried(best if better and good and sure else None, figures)


def _unseen_by_all(rows: Rows, models: Sequence[Champion]) -> Bools:
    """Return which rows have a label and were in no model's training."""
    unseen = known(rows.labels)
    for one in models:
        if one.extent is not None:
            unseen = unseen & ~rows.fitted(one.extent)
    return unseen
