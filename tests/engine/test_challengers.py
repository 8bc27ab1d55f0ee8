"""Who is compared with whom on which records: the holdout, and what neither model has seen."""

from __future__ import annotations

from typing import Any

from engine.batch import Batch, plain_batch
from engine.settings import Engine, Holdout, Never, Retraining
from tests.engine.doubles import NewestTrainer, Outcome, Scripted, through


def engine(holdout: int, **retraining: object) -> Engine:
    judge = Holdout(holdout=holdout).model_dump()
    given = {"first": 5, "window": 10, "judge": judge, **retraining}
    return Engine(
        policy=Never(kind="never"), detectors=(), retraining=Retraining.model_validate(given)
    )


def stream(labels: str) -> Batch:
    return plain_batch({"x": [0.0] * len(labels)}, list(labels))


def verdicts(outcome: Outcome) -> list[tuple[str, Any]]:
    """Return what became of each challenger, and on how many records it was judged."""
    return [
        (event.kind, event.details["judged_rows"])
        for event in outcome.events
        if event.kind in ("promoted", "rejected") and "judged_rows" in event.details
    ]


def test_labels_that_came_since_count_even_of_records_older_than_the_window() -> None:
    batch = stream("a" * 40)
    batch.late_records[6] = 16  # known at 22; the window of 20 begins at 11
    policy = Scripted(frozenset({20}))
    outcome = through(batch, engine(3, latency=5), policy=policy)
    assert verdicts(outcome) == [("promoted", 1 + 3 + 4)], "6, 18..20 and 21..24"


def test_the_champion_is_not_asked_what_it_was_fitted_on() -> None:
    batch = stream("ab" * 20)
    policy = Scripted(frozenset({6}))
    outcome = through(batch, engine(4, latency=1), policy=policy)
    assert verdicts(outcome)[0][1] == 2, "of 3..6 model 0 knows 3 and 4"


def test_a_champion_that_was_judged_has_not_seen_what_was_withheld() -> None:
    batch = stream("a" * 40)
    policy = Scripted(frozenset({20, 22}))
    outcome = through(batch, engine(4, latency=1), policy=policy)
    assert verdicts(outcome) == [("promoted", 4), ("promoted", 4)], "17..20, then 19..22"


def test_without_a_record_that_neither_has_seen_the_champion_stays() -> None:
    batch = stream("a" * 40)
    batch.late_records[5:] = 100
    policy = Scripted(frozenset({10}))
    outcome = through(batch, engine(3, latency=2), policy=policy)
    (rejected,) = [event for event in outcome.events if event.kind == "rejected"]
    assert rejected.details["judged_rows"] == 0
    assert rejected.details["champion_error"] is rejected.details["challenger_error"] is None


def test_from_a_first_model_nothing_is_withheld_though_an_attempt_failed_before() -> None:
    trainer = NewestTrainer(fails=lambda job: len(job.labels) == 5)
    outcome = through(stream("a" * 40), engine(3), policy=Scripted(), trainer=trainer)
    started = [event.details for event in outcome.events if event.kind == "job_started"]
    assert [one["fit_rows"] for one in started] == [5, 10]
