"""The heart: the rules of virtual time, one by one, and that batches change nothing."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import history
from engine.batch import Batch, Mark, plain_batch
from engine.ledger import UNDATED, join
from engine.loop import Loop
from engine.settings import Engine, Holdout, Latency, Never, Retraining
from tests.engine.doubles import (
    Newest,
    NewestTrainer,
    NotingErrors,
    NotingFeatures,
    Outcome,
    Scripted,
    letters,
    through,
)

ROWS = 40


def engine(*, first: int = 5, window: int = 10, **retraining: object) -> Engine:
    return Engine(
        policy=Never(kind="never"),
        detectors=(),
        retraining=Retraining.model_validate({"first": first, "window": window, **retraining}),
    )


def stream(rows: int = ROWS, *, late: int = 0, late_micros: int = 0) -> Batch:
    columns = {"x": [float(at) for at in range(rows)]}
    return plain_batch(columns, letters(rows), late_records=late, late_micros=late_micros)


def models(outcome: Outcome) -> list[int]:
    return [int(model) for model in outcome.rows.models]


# --- order at one arrival: a test for every pair of steps -----------------------------------


def test_1_before_2_the_record_at_ready_is_answered_by_the_new_model() -> None:
    outcome = through(stream(), engine(latency=7), policy=Scripted(frozenset({20})))
    assert models(outcome)[26:28] == [0, 1]


def test_1_before_3_features_at_the_swap_are_held_against_the_new_reference() -> None:
    features = NotingFeatures()
    through(
        stream(), engine(latency=7), policy=Scripted(frozenset({20})), features=features, size=1
    )
    references = dict(features.seen)
    assert (references[26], references[27]) == (1, 2)


def test_1_before_4_errors_of_the_old_model_due_at_the_swap_do_not_reach_detectors() -> None:
    errors = NotingErrors()
    policy = Scripted(frozenset({20}))
    through(stream(late=3), engine(latency=7), policy=policy, errors=errors, size=1)
    seen = {seq for _, seq, _ in errors.seen}
    assert 23 in seen, "known at 26, before the swap"
    assert not seen & {24, 25, 26}, "answered by the old model, known at the swap or later"
    assert 27 in seen


def test_1_before_5_the_policy_at_the_swap_sees_the_new_champion() -> None:
    policy = Scripted(frozenset({20}))
    through(stream(), engine(latency=7), policy=policy)
    view = next(view for view in policy.views if view.seq == 27)
    assert (view.served, view.pending, view.known) == (1, False, 1)


def test_2_before_3_a_feature_alarm_at_k_cannot_change_the_answer_to_k() -> None:
    policy = Scripted(decide_on=lambda view: bool(view.alarms))
    features = NotingFeatures(alarm_on=frozenset({20}))
    outcome = through(stream(), engine(), policy=policy, features=features)
    assert models(outcome)[20:22] == [0, 1]


def test_2_before_4_the_answer_to_k_cannot_know_the_label_of_k() -> None:
    outcome = through(stream(), engine(window=1), policy=Scripted(frozenset(range(5, ROWS))))
    answers = outcome.rows.predictions.tolist()
    assert answers[6:] == letters(ROWS)[5:-1], "each model knows the label before, and no more"


def test_2_before_5_a_decision_at_k_cannot_change_the_answer_to_k() -> None:
    outcome = through(stream(), engine(), policy=Scripted(frozenset({20})))
    assert models(outcome)[20:22] == [0, 1]


def test_3_before_4_feature_alarms_come_before_error_alarms() -> None:
    features = NotingFeatures(alarm_on=frozenset({20}))
    errors = NotingErrors(alarm_on=frozenset({20}))
    outcome = through(stream(), engine(), policy=Scripted(), features=features, errors=errors)
    alarms = [event for event in outcome.events if event.kind == "alarm"]
    assert [(event.seq, event.details["on"]) for event in alarms] == [
        (20, "features"),
        (20, "error"),
    ]


def test_3_before_5_the_policy_at_k_sees_the_feature_alarm_of_k() -> None:
    policy = Scripted()
    features = NotingFeatures(alarm_on=frozenset({20}))
    through(stream(), engine(), policy=policy, features=features)
    heard = {view.seq: [alarm.seq for alarm in view.alarms] for view in policy.views}
    assert (heard[19], heard[20], heard[21]) == ([], [20], [])


def test_4_before_5_the_policy_at_k_knows_the_labels_due_at_k() -> None:
    policy = Scripted()
    through(stream(late=3), engine(), policy=policy)
    assert {view.seq: view.known for view in policy.views}[20] == 20 - 3 - 8 + 1


# --- labels ---------------------------------------------------------------------------------


def test_labels_count_from_arrival_plus_delay() -> None:
    outcome = through(stream(late=4), engine(), policy=Scripted())
    assert outcome.kinds("job_started") == [("job_started", 8)]
    assert models(outcome)[8:10] == [-1, 0], "five labels are known at arrival 4 + 4"
    assert outcome.rows.label_times[0] == 4_000_000
    assert outcome.rows.label_times[-1] == UNDATED, "no arrival brings the last labels"
    assert not np.isnan(outcome.rows.errors[-1]), "but they are scored"


def test_a_delay_in_event_time_is_reached_at_the_first_arrival_at_or_after_it() -> None:
    outcome = through(stream(late_micros=3_500_000), engine(), policy=Scripted())
    assert outcome.kinds("job_started") == [("job_started", 8)]
    assert outcome.rows.label_times[0] == 3_500_000
    assert outcome.rows.label_times[-1] == (ROWS - 1) * 1_000_000 + 3_500_000


def test_late_labels_become_known_out_of_order() -> None:
    batch = stream()
    batch.late_records[10] = 6
    errors = NotingErrors()
    through(batch, engine(), policy=Scripted(), errors=errors)
    seqs = [seq for _, seq, _ in errors.seen]
    assert seqs[:13] == [5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 10, 16, 17]


def test_missing_labels_are_never_scored_and_hold_nothing_up() -> None:
    batch = stream()
    batch.labels[10:12] = None
    outcome = through(batch, engine(), policy=Scripted())
    assert np.isnan(outcome.rows.errors[10:12]).all()
    assert outcome.rows.seqs.tolist() == list(range(ROWS))


@pytest.mark.parametrize("late", [{"late": 9}, {"late_micros": 9_000_000}])
def test_a_planted_label_changes_nothing_before_its_time(late: dict[str, int]) -> None:
    """Labels that would give perfect foresight: swap one, and all before its time stays."""
    plain, planted = stream(**late), stream(**late)
    planted.labels[17] = "treasure"
    policy = Scripted(frozenset(range(5, ROWS, 3)))
    a, b = (through(batch, engine(window=1), policy=policy) for batch in (plain, planted))
    known = 17 + 9
    assert a.rows.predictions[: known + 1].tolist() == b.rows.predictions[: known + 1].tolist()
    assert "treasure" in b.rows.predictions[known + 1 :].tolist(), "the plant does matter later"
    before = [[event.line() for event in one.events if event.seq < known] for one in (a, b)]
    assert before[0] == before[1]


# --- jobs -----------------------------------------------------------------------------------


def test_a_job_asked_for_at_k_trains_on_what_is_known_at_k() -> None:
    trainer = NewestTrainer()
    through(stream(late=3), engine(window=4), policy=Scripted(frozenset({20})), trainer=trainer)
    first, second = trainer.jobs.values()
    assert first.labels.tolist() == ["1", "2", "3", "4"]
    assert second.labels.tolist() == ["14", "15", "16", "17"]


@pytest.mark.parametrize(("latency", "served"), [(0, 21), (1, 21), (2, 22), ("2500ms", 23)])
def test_a_model_serves_from_its_ready_time(latency: object, served: int) -> None:
    outcome = through(stream(), engine(latency=latency), policy=Scripted(frozenset({20})))
    assert models(outcome).index(1) == served


def test_latency_may_grow_with_the_rows() -> None:
    latency = Latency(fixed=1, per_1000_rows=600)
    settings = engine(latency=latency.model_dump())
    outcome = through(stream(), settings, policy=Scripted(frozenset({20})))
    assert models(outcome).index(1) == 20 + 1 + 6, "ten rows take six records"


def test_a_request_while_one_is_pending_is_dropped() -> None:
    outcome = through(stream(), engine(latency=7), policy=Scripted(frozenset({20, 23})))
    assert outcome.kinds("request_dropped") == [("request_dropped", 23)]
    assert outcome.loop.state.started == 1


def test_a_queued_request_starts_when_the_pending_one_is_done() -> None:
    trainer = NewestTrainer()
    policy = Scripted(frozenset({20, 23}), queue=True)
    outcome = through(stream(), engine(latency=7), policy=policy, trainer=trainer)
    assert outcome.kinds("job_started")[1:] == [("job_started", 20), ("job_started", 27)]
    assert [job.labels[-1] for job in trainer.jobs.values()][1:] == ["20", "27"]
    assert not outcome.kinds("request_dropped")


def test_a_failed_first_job_is_tried_again_with_more_labels() -> None:
    trainer = NewestTrainer(fails=lambda job: job.labels[-1] == "4")
    outcome = through(stream(), engine(), policy=Scripted(), trainer=trainer)
    assert outcome.kinds("job_failed") == [("job_failed", 5)]
    assert outcome.kinds("promoted") == [("promoted", 10)]


def test_a_failed_retrain_leaves_the_champion() -> None:
    trainer = NewestTrainer(fails=lambda job: job.labels[-1] == "20")
    policy = Scripted(frozenset({20}))
    outcome = through(stream(), engine(), policy=policy, trainer=trainer)
    assert outcome.kinds("job_failed") == [("job_failed", 21)]
    assert set(models(outcome)[5:]) == {0}


def test_holdout_is_withheld_and_judges_with_what_came_since() -> None:
    trainer = NewestTrainer()
    settings = engine(window=10, latency=5, judge=Holdout(holdout=3).model_dump())
    batch = plain_batch({"x": [0.0] * ROWS}, ["a"] * 15 + ["b"] * 25)
    policy = Scripted(frozenset({20}))
    outcome = through(batch, settings, policy=policy, trainer=trainer)
    assert len(list(trainer.jobs.values())[1].labels) == 7
    promoted = [event for event in outcome.events if event.kind == "promoted"][1]
    assert promoted.seq == 25
    assert promoted.details["judged_rows"] == 3 + 4, "known before 25: 18..20 and 21..24"
    assert promoted.details["champion_error"] == 1.0
    assert promoted.details["challenger_error"] == 0.0


def test_a_worse_challenger_is_rejected_and_detectors_go_on() -> None:
    settings = engine(window=10, latency=5, judge=Holdout(holdout=2).model_dump())
    batch = plain_batch({"x": [0.0] * ROWS}, ["a"] * 15 + ["b"] * 4 + ["a"] * 21)
    errors = NotingErrors()
    outcome = through(batch, settings, policy=Scripted(frozenset({20})), errors=errors)
    assert outcome.kinds("rejected") == [("rejected", 25)]
    assert errors.resets == 1, "by the first model only"
    assert [seq for _, seq, _ in errors.seen] == list(range(9, ROWS)), "nothing twice, no gap"


def test_a_model_in_production_answers_from_the_first_record() -> None:
    batch, features = stream(), NotingFeatures()
    loop = Loop(engine(), "s", batch.table.schema, NewestTrainer(), 1, Newest("7", 0))
    loop.state.feature_watch = features  # type: ignore[assignment]
    loop.feed(batch)
    rows = join(loop.advance().outcomes)
    assert rows.predictions.tolist() == ["7"] * ROWS
    assert features.seen[4:6] == [(4, 0), (5, 1)], "its reference are the first labelled records"


def test_without_enough_labels_nothing_is_predicted_and_it_says_so() -> None:
    outcome = through(stream(4), engine(), policy=Scripted())
    assert models(outcome) == [-1] * 4
    assert [event.kind for event in outcome.events] == ["anomaly"]


def test_what_ends_a_stream_stands_at_its_last_arrival() -> None:
    batch = stream(4)
    batch.times[:] = [-9_000_000, -5_000_000, -8_000_000, -7_000_000]
    loop = Loop(engine(), "s", batch.table.schema, NewestTrainer(), 1)
    loop.feed(batch)
    loop.advance()
    events = loop.finish("the source broke").events
    assert [event.kind for event in events] == ["anomaly", "stream_failed"]
    assert {(event.seq, event.event_time) for event in events} == {(3, -7_000_000)}


def test_a_stream_that_ends_before_its_first_record_ends_at_0() -> None:
    loop = Loop(engine(), "s", SCHEMA, NewestTrainer(), 1)
    events = loop.finish("the source broke").events
    assert {(event.seq, event.event_time) for event in events} == {(0, 0)}


def test_now_is_the_running_maximum_of_event_time() -> None:
    batch = stream(late_micros=5_000_000)
    batch.times[3] = 10_000_000
    errors = NotingErrors()
    through(batch, engine(first=1), policy=Scripted(), errors=errors)
    assert errors.seen[0][0] > 0
    policy = Scripted()
    through(batch, engine(), policy=policy)
    times = [view.time for view in policy.views]
    assert times == sorted(times)


def test_baseline_is_the_first_model() -> None:
    outcome = through(stream(), engine(), policy=Scripted(frozenset({20})))
    rows = outcome.rows
    assert rows.baseline_errors[5:].tolist() == [1.0] * 35
    assert np.isnan(rows.baseline_errors[:5]).all()


def test_marks_become_events_at_their_record() -> None:
    batch = stream()
    mark = Mark(12, "drift", {"script": 0})
    batch = Batch(
        0, batch.times, batch.table, batch.labels, batch.late_records, batch.late_micros, (mark,)
    )
    outcome = through(batch, engine(), policy=Scripted(), size=5)
    assert outcome.kinds("drift") == [("drift", 12)]


def test_decide_every_calls_at_first_plus_whole_blocks() -> None:
    settings = engine().model_copy(update={"decide_every": 10})
    policy = Scripted()
    features = NotingFeatures(alarm_on=frozenset({16, 18}))
    through(stream(), settings, policy=policy, features=features)
    assert [view.seq for view in policy.views] == [14, 24, 34]
    assert [alarm.seq for alarm in policy.views[1].alarms] == [16, 18]


# --- batches, slow trainers and pickling change nothing -------------------------------------


def restored(loop: Loop) -> Loop:
    """Return a loop that goes on from a pickle of the state, as after a crash."""
    state = pickle.loads(pickle.dumps(loop.state))
    desk = loop.desk
    fresh = Loop(loop.engine, desk.stream, SCHEMA, desk.trainer, seed=1)
    fresh.stride = loop.stride
    fresh.desk.policy = desk.policy
    fresh.state = fresh.desk.state = state
    return fresh


SCHEMA = stream(1).table.schema


@st.composite
def cases(draw: st.DrawFn) -> tuple[Batch, Engine, Scripted]:
    rows = draw(st.integers(20, 120))
    kinds = st.integers(0, 3)
    labels = draw(st.lists(kinds, min_size=rows, max_size=rows))
    batch = plain_batch(
        {"x": draw(st.lists(st.floats(-5, 5), min_size=rows, max_size=rows))},
        [f"c{label}" for label in labels],
        late_records=draw(st.integers(0, 6)),
        late_micros=draw(st.sampled_from([0, 0, 2_500_000])),
    )
    for at in draw(st.lists(st.integers(0, rows - 1), max_size=8)):
        batch.late_records[at] += draw(st.sampled_from([5, 40]))
        batch.times[at] += 3_000_000
    for at in draw(st.lists(st.integers(0, rows - 1), max_size=5)):
        batch.labels[at] = None
    more = {"test": "mcnemar", "alpha": 0.4, "extend": draw(st.integers(1, 6)), "extensions": 2}
    judges = ["always_promote", {"holdout": 2}, {"holdout": 2, **more}, {"shadow": 3, **more}]
    judge = draw(st.sampled_from(judges))
    archive = draw(st.sampled_from([None, {"window": 5, "alpha": 0.4, "latency": 2}]))
    latency = draw(st.sampled_from([0, 1, 4, "3s", {"fixed": 2, "per_1000_rows": 300}]))
    settings = Engine.model_validate(
        {
            "detectors": (
                {"kind": "ddm", "warm_start": 3},
                {"kind": "page_hinkley", "on": "features", "threshold": 2.0, "min_instances": 2},
            ),
            "policy": "never",
            "block": 3,
            "decide_every": draw(st.sampled_from([1, 1, 4])),
            "retraining": {
                "first": 5,
                "window": 9,
                "latency": latency,
                "judge": judge,
                "archive": archive,
            },
        }
    )
    asks = frozenset(draw(st.lists(st.integers(0, rows), max_size=12)))
    return batch, settings, Scripted(asks, queue=draw(st.booleans()))


@pytest.fixture
def no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let old rows go as soon as may be."""
    monkeypatch.setattr(history, "SLACK_ROWS", 0)
    monkeypatch.setattr(history, "RECENT_ROWS", 5)


@pytest.mark.usefixtures("no_slack")
@given(cases(), st.integers(1, 50), st.integers(0, 3), st.booleans(), st.integers(1, 9))
def test_no_batch_size_slow_trainer_or_restart_changes_anything(
    case: tuple[Batch, Engine, Scripted], size: int, slowness: int, restarts: bool, stride: int
) -> None:
    batch, settings, policy = case
    whole = through(batch, settings, policy=policy, size=10_000, stride=stride)
    views = list(policy.views)
    policy.views.clear()
    trainer = NewestTrainer(slowness=slowness)
    prepare = restored if restarts else (lambda loop: loop)
    cut = through(
        batch, settings, policy=policy, size=size, trainer=trainer, prepare=prepare, stride=stride
    )
    assert whole.lines() == cut.lines()
    for name in ("seqs", "models", "errors", "baseline_errors", "label_times"):
        a, b = getattr(whole.rows, name), getattr(cut.rows, name)
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
    assert whole.rows.predictions.tolist() == cut.rows.predictions.tolist()
    assert len(views) == len(policy.views)
    for one, other in zip(views, policy.views, strict=True):
        assert (one.seq, one.time, one.alarms, one.known, one.blocks, one.labels) == (
            other.seq, other.time, other.alarms, other.known, other.blocks, other.labels
        )  # fmt: skip
        assert one.errors.tolist() == other.errors.tolist()
    assert repr(whole.traces) == repr(cut.traces), "repr, for NaN is not equal to itself"
    assert whole.samples == cut.samples
    assert [one["seq"] for one in whole.samples] == [seq for _, seq in whole.kinds("alarm")][:200]
