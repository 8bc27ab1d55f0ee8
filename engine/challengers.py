"""Challengers: how a request becomes a job, when it is ready, and whether it is promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.extras import Bins, profile
from engine.history import Extent, History, Moment, Rows
from engine.pace import Pace
from engine.settings import Engine, Holdout
from engine.training.jobs import Fitted, Job, Predictor, Trainer
from engine.training.judge import judge
from engine.watch import Reference


@dataclass(frozen=True, slots=True)
class Challenger:
    """A model in the making.

    Parameters
    ----------
    number
        Its number in the run; model 0 is the first.
    job, job_id
        What it is trained on; kept so that the job can be asked for again after a crash.
    extent
        Which rows it is fitted on, and the arrival at which it was asked for.
    ready
        It serves from the first arrival that has reached both.
    labels
        How many labels were known when it was asked for.
    reference
        Its training window in figures, for the feature detectors.
    profile
        Its training window in histograms, for the samples around alarms.
    """

    number: int
    job: Job
    job_id: str
    extent: Extent
    ready: Moment
    labels: int
    reference: Reference | None
    profile: dict[str, Bins]


def window_bounds(rows: Rows) -> dict[str, int | None]:
    """Return the bounds of a training window, JSON-ready."""
    if not len(rows):
        return {"first": None, "last": None, "rows": 0}
    return {"first": int(rows.seqs[0]), "last": int(rows.seqs[-1]), "rows": len(rows)}


def challenge(
    engine: Engine,
    trainer: Trainer,
    pace: Pace,
    rows: Rows,
    *,
    number: int,
    asked: Moment,
    labels: int,
    seed: int,
    code_root: str,
    first: bool,
) -> Challenger:
    """Submit the job for a new model on `rows`; the first has no judge to withhold rows for."""
    rule = engine.retraining.judge
    withheld = rule.holdout if isinstance(rule, Holdout) and not first else 0
    kept = max(0, len(rows) - withheld)
    begin = int(rows.seqs[0]) if len(rows) else asked.seq
    end = int(rows.seqs[kept]) if kept < len(rows) else asked.seq + 1
    rows = rows[:kept]
    job = Job(rows.table, rows.labels, engine.model, seed, code_root)
    return Challenger(
        number,
        job,
        trainer.submit(job),
        Extent(asked, begin, end),
        pace.ready(number, asked, len(rows)),
        labels,
        Reference.of(rows.table) if len(rows) else None,
        profile(rows.table),
    )


def verdict(
    engine: Engine,
    challenger: Challenger,
    fitted: Fitted,
    champion: Predictor,
    champion_extent: Extent | None,
    history: History,
    until: Moment,
) -> tuple[bool, Mapping[str, Any]]:
    """Return whether the challenger is promoted, and the figures of the verdict, JSON-ready.

    They are compared on the rows known at `until` that neither of them was fitted on.
    """
    rule = engine.retraining.judge
    if not isinstance(rule, Holdout):
        return True, {"judge": "always_promote"}
    rows = history.unseen(challenger.extent, until, champion_extent)
    found = judge(
        champion, fitted.predictor, rows.table, rows.labels, engine.labels.scale, rule.margin
    )
    return found.promote, {
        "judge": {"holdout": rule.holdout, "margin": rule.margin},
        "judged_rows": found.rows,
        "champion_error": found.champion_error if found.rows else None,
        "challenger_error": found.challenger_error if found.rows else None,
    }
