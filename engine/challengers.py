"""Challengers: how a request becomes a job, when it is ready, and whether it is promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.extras import Bins, profile
from engine.history import Extent, History, Moment, Rows
from engine.pace import Pace
from engine.settings import CatBoostModel, Engine, Holdout, Shadow
from engine.training.jobs import Job, Params, Predictor, Study, Trainer
from engine.training.judge import Verdict, judge
from engine.training.tune import why_not
from engine.watch import Reference


@dataclass(frozen=True, slots=True)
class Challenger:
    """A model in the making, or an earlier champion that is about to come back.

    Parameters
    ----------
    number
        Its number in the run; model 0 is the first.
    job
        What it is trained on; None if it comes back.
    job_id
        The id of its job.
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
    tuning
        How it is tuned, or why it is not, JSON-ready; None if that was not asked for.
    returns
        What an earlier champion was held against, JSON-ready.
    """

    number: int
    job: Job | None
    job_id: str
    extent: Extent | None
    ready: Moment
    labels: int
    reference: Reference | None
    profile: dict[str, Bins]
    tuning: Mapping[str, Any] | None = None
    returns: Mapping[str, Any] | None = None


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
    warm: tuple[Params, ...] | None = None,
) -> Challenger:
    """Submit the job for a new model on `rows`; the first has no judge to withhold rows for.

    With `warm`, its settings are tuned, beginning with these.
    """
    rule = engine.retraining.judge
    withheld = rule.holdout if isinstance(rule, Holdout) and not first else 0
    kept = max(0, len(rows) - withheld)
    begin = int(rows.seqs[0]) if len(rows) else asked.seq
    end = int(rows.seqs[kept]) if kept < len(rows) else asked.seq + 1
    rows = rows[:kept]
    study, tuning = _studied(engine, rows, warm)
    job = Job(rows.table, rows.labels, engine.model, seed, code_root, study)
    return Challenger(
        number,
        job,
        trainer.submit(job),
        Extent(asked, begin, end),
        pace.ready(number, asked, len(rows), study.tuning.trials if study else 0),
        labels,
        Reference.of(rows.table) if len(rows) else None,
        profile(rows.table),
        tuning,
    )


def _studied(
    engine: Engine, rows: Rows, warm: tuple[Params, ...] | None
) -> tuple[Study | None, dict[str, Any] | None]:
    """Return how a job is tuned, and what its event tells of that."""
    tuning = engine.retraining.tuning
    if warm is None or tuning is None or not isinstance(engine.model, CatBoostModel):
        return None, None
    why = why_not(rows.table, rows.labels, tuning)
    if why:
        return None, {"trials": 0, "why_not": why}
    return Study(tuning, warm, engine.labels.scale), {"trials": tuning.trials}


def verdict(
    engine: Engine,
    models: tuple[Predictor, Predictor],
    extents: tuple[Extent | None, Extent | None],
    history: History,
    until: Moment,
    *,
    size: int | None,
    since: int,
    looks: int,
) -> tuple[Verdict, dict[str, Any]]:
    """Return what becomes of the challenger, and the figures of the verdict, JSON-ready.

    Parameters
    ----------
    engine
        The settings, whose judge is not ``always_promote``.
    models, extents
        The champion and the challenger, and which rows they were fitted on.
    history
        The past. With a holdout they are compared on the rows that neither was fitted on, in the
        shadow on the records that both answered.
    until
        What is known by then counts.
    size
        The challenger's trees × depth, if it has trees.
    since
        The first record that the challenger was asked along for, in the shadow.
    looks
        How often it was judged before.
    """
    rule, (ours, theirs) = engine.retraining.judge, extents
    assert isinstance(rule, Holdout | Shadow)
    if isinstance(rule, Shadow):
        rows = history.since(since, until)
    else:
        assert theirs is not None
        rows = history.unseen(theirs, until, ours)
    found = judge(
        *models,
        rows.table,
        rows.labels,
        engine.labels.scale,
        rule,
        size=size,
        last=looks + 1 >= rule.looks,
    )
    mode = "holdout" if isinstance(rule, Holdout) else "shadow"
    asked = {mode: getattr(rule, mode), "margin": rule.margin}
    asked |= rule.model_dump(exclude_defaults=True, exclude={mode, "margin"})
    return found, {"judge": asked, **found.figures(rule)}
