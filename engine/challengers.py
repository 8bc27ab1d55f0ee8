"""Challengers: how a request becomes a job, when it is ready, and whether it is promoted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.extras import Bins, profile
from engine.history import History, Moment, Rows
from engine.quantities import records_and_micros
from engine.settings import Engine, Holdout, Latency, Span
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
    asked
        The arrival at which it was asked for.
    ready
        It serves from the first arrival that has reached both.
    first_seq
        First row of its window.
    held_out
        First row withheld for the judge; None without one.
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
    asked: Moment
    ready: Moment
    first_seq: int
    held_out: int | None
    labels: int
    reference: Reference | None
    profile: dict[str, Bins]


def window_bounds(rows: Rows) -> dict[str, int | None]:
    """Return the bounds of a training window, JSON-ready."""
    if not len(rows):
        return {"first": None, "last": None, "rows": 0}
    return {"first": int(rows.seqs[0]), "last": int(rows.seqs[-1]), "rows": len(rows)}


def ready_moment(latency: Span | Latency, asked: Moment, rows: int) -> Moment:
    """Return when a job of `rows` rows asked for at `asked` is ready: no sooner than the next.

    Examples
    --------
    >>> ready_moment(0, Moment(9, 0), 100)
    Moment(seq=10, now=0)
    >>> ready_moment(Latency(per_1000_rows=50), Moment(9, 0), 1500)
    Moment(seq=84, now=0)
    """
    if not isinstance(latency, Latency):
        latency = Latency(fixed=latency)
    records, micros = records_and_micros(latency.fixed)
    more_records, more_micros = records_and_micros(latency.per_1000_rows)
    records += math.ceil(more_records * rows / 1000)
    micros += math.ceil(more_micros * rows / 1000)
    return Moment(asked.seq + max(1, records), asked.now + micros)


def challenge(
    engine: Engine,
    trainer: Trainer,
    rows: Rows,
    *,
    number: int,
    asked: Moment,
    labels: int,
    seed: int,
    code_root: str,
) -> Challenger:
    """Submit the job for a new model on `rows`; model 0 is never judged, so nothing is held out."""
    held_out = None
    first_seq = int(rows.seqs[0]) if len(rows) else asked.seq
    rule = engine.retraining.judge
    if isinstance(rule, Holdout) and number > 0 and len(rows):
        held_out = int(rows.seqs[max(0, len(rows) - rule.holdout)])
        rows = rows[: max(0, len(rows) - rule.holdout)]
    job = Job(rows.table, rows.labels, engine.model, seed, code_root)
    return Challenger(
        number,
        job,
        trainer.submit(job),
        asked,
        ready_moment(engine.retraining.latency, asked, len(rows)),
        first_seq,
        held_out,
        labels,
        Reference.of(rows.table) if len(rows) else None,
        profile(rows.table),
    )


def verdict(
    engine: Engine,
    challenger: Challenger,
    fitted: Fitted,
    champion: Predictor,
    history: History,
    until: Moment,
) -> tuple[bool, Mapping[str, Any]]:
    """Return whether the challenger is promoted, and the figures of the verdict, JSON-ready."""
    rule = engine.retraining.judge
    if not isinstance(rule, Holdout) or challenger.held_out is None:
        return True, {"judge": "always_promote"}
    rows = history.unseen(
        challenger.asked, until, first=challenger.first_seq, held_out=challenger.held_out
    )
    found = judge(
        champion, fitted.predictor, rows.table, rows.labels, engine.labels.scale, rule.margin
    )
    return found.promote, {
        "judge": {"holdout": rule.holdout, "margin": rule.margin},
        "judged_rows": found.rows,
        "champion_error": found.champion_error if found.rows else None,
        "challenger_error": found.challenger_error if found.rows else None,
    }
