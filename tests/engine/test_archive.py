"""Earlier champions serve again when their world comes back, and only then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from engine.archive import kept, try_archive
from engine.batch import Batch, plain_batch
from engine.history import Extent, History, Moment, Rows
from engine.scoring import Happenings, Tally, summarise
from engine.settings import Archive, Engine, Never, Prices, Retraining
from engine.state import Champion
from tests.engine.doubles import Newest, NewestTrainer, Outcome, Scripted, through


def champion(number: int, extent: Extent | None = None) -> Champion:
    return Champion(number, str(number), Moment(0, 0), 0, extent)


def rows(labels: str) -> Rows:
    past = History(keep=1000)
    batch = plain_batch({"x": [0.0] * len(labels)}, list(labels))
    past.add(batch, batch.times)
    return past.window(Moment(len(labels), int(batch.times[-1])), 1000)


def ask(labels: str, answers: str, young: float | None = 0.1, **rule: Any) -> Any:
    """Try models that answer one class each; the last of them serves."""
    models = {str(at): Newest(one, 1) for at, one in enumerate(answers)}
    earlier = [champion(at) for at in range(len(answers) - 1)]
    errors = np.array([] if young is None else [young] * 5)
    given = Archive(**rule)
    return try_archive(
        given, earlier, champion(len(answers) - 1), models, rows(labels), errors, 1.0
    )


@pytest.mark.parametrize(
    ("labels", "answers", "rule", "chosen"),
    [
        ("a" * 6, "ab", {}, 0),
        ("a" * 4, "ab", {}, None),  # 1/16: by chance
        ("a" * 4, "ab", {"alpha": 0.1}, 0),
        ("a" * 6, "aab", {"alpha": 0.04}, 1),  # of two that are as good the newer
        ("a" * 5, "aab", {"alpha": 0.04}, None),  # two were tried: 0.02 for each
        ("a" * 9 + "b", "ab", {"margin": 0.8}, 0),
        ("a" * 9 + "b", "ab", {"margin": 0.81}, None),
        ("a" * 80 + "b" * 20, "ab", {"slack": 0.1}, 0),  # 0.2 against 0.1 when it was new
        ("a" * 80 + "b" * 20, "ab", {"slack": 0.09}, None),  # better, but a new one is better still
        ("b" * 9, "ab", {}, None),
    ],
)
def test_who_is_chosen(labels: str, answers: str, rule: dict[str, Any], chosen: int | None) -> None:
    found = ask(labels, answers, **rule)
    assert (None if found.chosen is None else found.chosen.number) == chosen
    assert found.figures["judged_rows"] == len(labels)


def test_a_champion_without_errors_of_its_own_sets_no_bar() -> None:
    found = ask("a" * 80 + "b" * 20, "ab", young=None, slack=0.0)
    assert found.chosen is not None and found.figures["fresh_error"] is None


def test_rows_that_a_model_was_trained_on_do_not_count() -> None:
    models = {"0": Newest("a", 1), "1": Newest("b", 1)}
    trained = champion(1, Extent(Moment(7, 10**12), 0, 8))
    found = try_archive(Archive(), [champion(0)], trained, models, rows("a" * 10), np.empty(0), 1.0)
    assert (found.chosen, found.figures["judged_rows"]) == (None, 2)


def test_the_archive_is_bounded_and_lets_go_of_who_served_longest_ago() -> None:
    held: tuple[Champion, ...] = ()
    for number in range(5):
        held = kept(held, champion(number), champion(number + 1), keep=3)
    assert [one.number for one in held] == [2, 3, 4]
    held = kept(held, champion(5), champion(3), keep=3)  # 3 comes back
    assert [one.number for one in held] == [2, 4, 5]


# --- in the loop ------------------------------------------------------------------------------


@dataclass
class Counting(NewestTrainer):
    """Notes what it was asked to train."""

    submitted: list[int] = field(default_factory=list)

    def submit(self, job: Any) -> str:
        self.submitted.append(len(job.table))
        return super().submit(job)


def engine(**archive: object) -> Engine:
    rules = {"first": 5, "window": 10, "latency": 3, "archive": {"window": 6, **archive}}
    return Engine(
        policy=Never(kind="never"), detectors=(), retraining=Retraining.model_validate(rules)
    )


def recurring(period: int = 20, times: int = 4, late: int = 0) -> Batch:
    labels = "".join("ab"[at % 2] * period for at in range(times))
    return plain_batch({"x": [0.0] * len(labels)}, list(labels), late_records=late)


def run(batch: Batch, asks: set[int], settings: Engine, **given: Any) -> Outcome:
    return through(batch, settings, policy=Scripted(frozenset(asks)), **given)


def changes(outcome: Outcome) -> list[tuple[str, int, int]]:
    return [
        (one.kind, one.seq, one.details["model"])
        for one in outcome.events
        if one.kind in ("promoted", "reused")
    ]


def test_a_world_that_comes_back_is_answered_by_its_model_without_a_job() -> None:
    trainer = Counting()
    outcome = run(recurring(), {29, 47, 67}, engine(), trainer=trainer)
    assert changes(outcome) == [
        ("promoted", 7, 0), ("promoted", 32, 1), ("reused", 48, 0), ("reused", 68, 1)
    ]  # fmt: skip
    assert trainer.submitted == [5, 10], "nothing else was trained"
    assert [int(model) for model in outcome.rows.models[46:50]] == [1, 1, 0, 0]
    assert outcome.rows.models[-1] == 1


def test_the_events_tell_what_it_was_held_against() -> None:
    outcome = run(recurring(), {29, 47}, engine())
    (reused,) = [one for one in outcome.events if one.kind == "reused"]
    told = dict(reused.details)
    assert (told["replaces"], told["asked"], told["reason"]) == (1, 47, "as scripted")
    assert (told["champion_error"], told["best_error"], told["wins"]) == (1.0, 0.0, 6)
    started = [one.details for one in outcome.events if one.kind == "job_started"]
    assert [one.get("archive") for one in started][:1] == [None], "nobody to try"


def test_who_was_tried_in_vain_is_told_with_the_job() -> None:
    outcome = run(recurring(), {29, 44}, engine())
    started = [one.details for one in outcome.events if one.kind == "job_started"]
    figures = started[2]["archive"]
    assert (figures["tried"], figures["best"], figures["losses"]) == ([0], 0, 1)


def test_coming_back_takes_as_long_as_is_said() -> None:
    outcome = run(recurring(), {29, 47}, engine(latency=9))
    assert changes(outcome)[-1] == ("reused", 56, 0)
    dropped = run(recurring(), {29, 47, 50}, engine(latency=9))
    assert ("request_dropped", 50) in dropped.kinds("request_dropped")


def test_errors_of_its_earlier_service_are_not_its_own() -> None:
    late = recurring(period=30, times=4, late=4)
    late.late_records[35] = 45  # model 0 answered it, before it came back
    settings = engine(latency=0)
    policy = Scripted(frozenset({42, 72}))
    outcome = through(late, settings, policy=policy)
    assert changes(outcome)[-1][0] == "reused"
    begin = changes(outcome)[-1][1]
    known = {view.seq: view.known for view in policy.views}
    assert (begin, known[begin + 3], known[begin + 4]) == (73, 0, 1)
    assert (known[79], known[80]) == (3, 4), "35's label came with 80"


def test_a_return_has_its_price_and_is_no_retrain() -> None:
    outcome = run(recurring(), {29, 47, 67}, engine())
    heard = Happenings()
    for one in outcome.events:
        heard.add({"kind": one.kind, "seq": one.seq, **one.details})
    prices = Prices(retrain=50.0, reuse=3.0)
    figures = summarise(Tally(errors=7.0), heard, prices, window=1, truth_known=False)
    assert figures["retrains"]["started"] == figures["retrains"]["promoted"] == 1
    assert figures["retrains"]["reused"] == 2
    assert figures["cost"]["reuse"] == 6.0 and figures["cost"]["total"] == 63.0
