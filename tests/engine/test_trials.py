"""Challengers that wait to be judged: in the shadow, or for more labels; and tuned ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.batch import Batch, plain_batch
from engine.loop import Loop
from engine.policies import Decision
from engine.scoring import Happenings, Tally, summarise
from engine.settings import CatBoostModel, Engine, Never, Prices, Retraining
from engine.training.jobs import Fitted, Job
from engine.training.pool import InlineTrainer
from engine.training.store import Store
from tests.engine.doubles import NewestTrainer, Outcome, Scripted, through


def engine(model: CatBoostModel | None = None, **rules: object) -> Engine:
    given = {"first": 5, "window": 10, "latency": 3, **rules}
    return Engine(
        policy=Never(kind="never"),
        detectors=(),
        retraining=Retraining.model_validate(given),
        model=model or CatBoostModel(),
    )


def stream(labels: str, late: int = 0) -> Batch:
    return plain_batch({"x": [0.0] * len(labels)}, list(labels), late_records=late)


def run(batch: Batch, asks: set[int], settings: Engine, **given: Any) -> Outcome:
    queue = given.pop("queue", False)
    return through(batch, settings, policy=Scripted(frozenset(asks), queue=queue), **given)


def verdicts(outcome: Outcome) -> list[tuple[str, int, Any]]:
    return [
        (one.kind, one.seq, one.details["judged_rows"])
        for one in outcome.events
        if one.kind in ("promoted", "rejected") and "judged_rows" in one.details
    ]


# --- in the shadow ----------------------------------------------------------------------------

SHADOW = {"shadow": 6, "test": "mcnemar"}


def test_a_shadow_is_judged_on_what_arrived_since_it_was_ready() -> None:
    outcome = run(stream("a" * 20 + "b" * 40), {29}, engine(judge=SHADOW))
    assert outcome.kinds("job_ready") == [("job_ready", 8 - 1), ("job_ready", 32)]
    assert verdicts(outcome) == [("promoted", 38, 6)], "32 to 37"
    assert [int(model) for model in outcome.rows.models[36:39]] == [0, 0, 1]
    (promoted,) = [one for one in outcome.events if one.kind == "promoted" and one.seq > 8]
    assert promoted.details["p_value"] == 1 / 64
    assert (promoted.details["wins"], promoted.details["losses"]) == (6, 0)


def test_labels_of_older_records_do_not_count_for_a_shadow() -> None:
    outcome = run(stream("a" * 20 + "b" * 40, late=5), {34}, engine(judge=SHADOW))
    assert verdicts(outcome) == [("promoted", 37 + 6 + 5, 6)], "the label of 42 comes with 47"


def test_nothing_is_withheld_from_a_shadow() -> None:
    outcome = run(stream("a" * 60), {29}, engine(judge=SHADOW))
    started = [one.details for one in outcome.events if one.kind == "job_started"]
    assert started[1]["fit_rows"] == 10
    assert verdicts(outcome) == [("rejected", 38, 6)], "as good as the champion is not better"


@pytest.mark.parametrize(("queue", "kind"), [(False, "request_dropped"), (True, "job_started")])
def test_a_shadow_is_pending(queue: bool, kind: str) -> None:
    outcome = run(stream("a" * 60), {29, 35}, engine(judge=SHADOW), queue=queue)
    assert outcome.kinds("request_dropped", "job_started")[2:] == [(kind, 38 if queue else 35)]


def test_a_stream_that_ends_before_the_verdict_leaves_the_champion() -> None:
    outcome = run(stream("a" * 20 + "b" * 14), {29}, engine(judge=SHADOW))
    assert verdicts(outcome) == []
    assert outcome.rows.models[-1] == 0


# --- more labels ------------------------------------------------------------------------------


def test_what_is_undecided_is_judged_again_after_so_many_labels() -> None:
    judge = {"holdout": 2, "test": "mcnemar", "extend": 4, "extensions": 2}
    outcome = run(stream("a" * 27 + "b" * 40), {29}, engine(judge=judge))
    (promoted,) = [one for one in outcome.events if one.kind == "promoted" and one.seq > 8]
    looks = promoted.details["extensions"]
    assert [(one["seq"], one["judged_rows"]) for one in looks] == [(32, 4)]
    assert (promoted.seq, promoted.details["judged_rows"]) == (36, 8), "2 withheld, 30 to 35"
    assert promoted.details["p_value"] == 1 / 2**8
    assert promoted.details["judge"] == {
        "holdout": 2, "margin": 0.0, "test": "mcnemar", "extend": 4, "extensions": 2
    }  # fmt: skip


def test_extensions_end_and_the_champion_stays() -> None:
    judge = {"shadow": 3, "test": "mcnemar", "extend": 4, "extensions": 2}
    outcome = run(stream("a" * 70), {29}, engine(judge=judge))
    (rejected,) = [one for one in outcome.events if one.kind == "rejected"]
    assert [one["judged_rows"] for one in rejected.details["extensions"]] == [3, 7]
    assert (rejected.seq, rejected.details["judged_rows"]) == (32 + 3 + 4 + 4, 11)


def test_too_few_records_are_waited_for() -> None:
    judge = {"holdout": 2, "minimum": 9, "extend": 6}
    outcome = run(stream("a" * 70), {29}, engine(judge=judge))
    assert verdicts(outcome) == [("promoted", 38, 10)], "4 at first: 28, 29, 30 and 31"


# --- guard rails ------------------------------------------------------------------------------


class Sized(NewestTrainer):
    """Says of each model how many trees it has."""

    def result(self, job_id: str) -> Any:
        found = super().result(job_id)
        assert isinstance(found, Fitted)
        return Fitted(found.predictor, (), {"trees": 50, **self.extra(self.jobs[job_id])})

    def extra(self, job: Job) -> dict[str, Any]:
        if job.study is None:
            return {}
        told = {"trials": 9, "pruned": 0, "best": 4, "params": {"depth": 2}, "value": 0.1}
        return {"tuning": {**told, "default_value": 0.3}}


@pytest.mark.parametrize(("size", "kind"), [(200, "promoted"), (199, "rejected")])
def test_a_model_that_is_too_large_stays_out(size: int, kind: str) -> None:
    judge = {"holdout": 2, "guards": {"size": size}}
    settings = engine(CatBoostModel(depth=4), judge=judge)
    outcome = run(stream("a" * 20 + "b" * 40), {29}, settings, trainer=Sized())
    assert verdicts(outcome) == [(kind, 32, 4)]


# --- tuning -----------------------------------------------------------------------------------

TUNED: dict[str, Any] = {"window": 90, "first": 45, "tuning": {"trials": 9, "folds": 1, "every": 2}}
WORLD = plain_batch({"x": [float(at % 7) for at in range(300)]}, ["a", "b"] * 150)


@pytest.mark.parametrize("wish", [None, True, False])
def test_the_first_retrain_is_tuned_and_then_every_so_many_or_as_the_policy_wants(
    wish: bool | None,
) -> None:
    class Wishing(Scripted):
        def decide(self, view: Any, state: Any) -> tuple[Decision, Any]:
            decision, state = super().decide(view, state)
            return Decision(decision.action, decision.reason, tune=wish), state

    trainer = Sized()
    policy = Wishing(frozenset({100, 150, 200}))
    through(WORLD, engine(**TUNED), policy=policy, trainer=trainer)
    made = [job.study is not None for job in trainer.jobs.values()]
    assert made == [False, *{None: [True, False, True], True: [True] * 3, False: [False] * 3}[wish]]


def test_each_trial_takes_its_time_and_has_its_price() -> None:
    latency = {"fixed": 4, "per_trial": 2}
    settings = engine(**TUNED, latency=latency)
    outcome = run(WORLD, {100, 150}, settings, trainer=Sized())
    ready = [one for one in outcome.events if one.kind == "job_ready"]
    assert [one.seq for one in ready] == [44 + 4, 100 + 4 + 9 * 2, 150 + 4]
    heard = Happenings()
    for one in outcome.events:
        heard.add({"kind": one.kind, "seq": one.seq, **one.details})
    prices = Prices(retrain=50.0, trial=2.0)
    figures = summarise(Tally(), heard, prices, window=1, truth_known=False)
    assert figures["cost"]["tuning"] == 18.0 and figures["cost"]["total"] == 118.0


def test_what_was_found_is_where_the_next_search_begins() -> None:
    trainer = Sized()
    settings = engine(**{**TUNED, "tuning": {"trials": 9, "folds": 1}})
    through(WORLD, settings, policy=Scripted(frozenset({100, 150})), trainer=trainer)
    warm = [job.study.warm for job in trainer.jobs.values() if job.study is not None]
    assert warm == [(), ({"depth": 2}, {"depth": 2})]


def test_a_window_that_cannot_be_tuned_on_is_trained_as_configured() -> None:
    trainer, flat = Sized(), stream("a" * 300)
    settings = engine(**TUNED, latency={"fixed": 4, "per_trial": 2})
    outcome = run(flat, {100}, settings, trainer=trainer)
    started = [one.details for one in outcome.events if one.kind == "job_started"]
    assert started[1]["tuning"] == {
        "trials": 0, "why_not": "all labels of the window are equal"
    }  # fmt: skip
    assert outcome.kinds("job_ready")[-1] == ("job_ready", 104)
    assert all(job.study is None for job in trainer.jobs.values())


# --- all of it, with real models --------------------------------------------------------------


def test_with_all_of_it_no_batch_size_and_no_restart_changes_anything(tmp_path: Path) -> None:
    numbers = np.random.default_rng(3).normal(size=(1_800, 2))
    turned = np.arange(1_800) // 450 % 2 == 1
    labels = np.where((numbers[:, 0] > 0.3 * numbers[:, 1]) ^ turned, "yes", "no").tolist()
    columns = {"x": numbers[:, 0].tolist(), "y": numbers[:, 1].tolist()}
    batch = plain_batch(columns, labels, late_records=3)
    space = {"iterations": (2, 8), "depth": (1, 3), "learning_rate": (0.1, 0.5)}
    rules: dict[str, Any] = {
        "first": 150,
        "window": 200,
        "latency": {"fixed": 5, "per_trial": 2},
        "judge": {"shadow": 40, "test": "mcnemar", "extend": 40, "guards": {"collapse": 0.3}},
        "tuning": {"trials": 4, "folds": 1, "space": space},
        "archive": {"window": 80},
    }
    settings = engine(CatBoostModel(iterations=4, depth=2), **rules)
    asks = frozenset({300, 650, 1_000, 1_200, 1_500})
    found = []

    def restored(loop: Loop) -> Loop:
        """Return a loop that goes on from a pickle of the state, as after a crash."""
        desk = loop.desk
        fresh = Loop(loop.engine, desk.stream, batch.table.schema, desk.trainer, seed=1)
        fresh.stride, fresh.desk.policy = loop.stride, desk.policy
        fresh.state = fresh.desk.state = pickle.loads(pickle.dumps(loop.state))
        return fresh

    for size, prepare in ((10_000, lambda loop: loop), (61, lambda loop: loop), (173, restored)):
        trainer = InlineTrainer(Store(tmp_path))
        policy = Scripted(asks)
        outcome = through(
            batch, settings, size=size, policy=policy, trainer=trainer, prepare=prepare
        )
        rows = outcome.rows
        answers = (rows.models.tolist(), rows.predictions.tolist(), rows.label_times.tolist())
        found.append((outcome.lines(), answers))
    assert found[0] == found[1] == found[2]
    kinds = {one.kind for one in outcome.events}
    assert kinds >= {"job_started", "job_ready", "promoted", "rejected", "reused"}
