"""The sentinel: what is told, what is held back, and that neither depends on how it is fed."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

from engine.alerts import rules as r
from engine.alerts.rounds import SUBJECTS_MAX, Facts, Sentinel, sentinel_of
from engine.events import KINDS, Event, Kind

HOUR = 3_600_000_000
Alerts = list[dict[str, Any]]


def event(kind: Kind, at: int, **details: Any) -> Event:
    """Return an event in hour `at`."""
    return Event(kind, "s-0000", at * HOUR, at, at, details)


def sentinel(*rules: r.AnyRule) -> Sentinel:
    made = sentinel_of(rules)
    assert made is not None
    return made


def states(alerts: Alerts) -> list[str]:
    return [alert["state"] for alert in alerts]


def test_nothing_is_watched_without_rules() -> None:
    assert sentinel_of(()) is None


def test_a_failed_training_is_told_and_recovers() -> None:
    watch = sentinel(r.RetrainFailed(when="retrain_failed", name="fits", level="critical"))
    assert watch.see(event("job_ready", 0, model=0)) == []
    (alert,) = watch.see(event("job_failed", 1, model=1, reason="one class"))
    assert list(alert)[:5] == ["alert", "when", "state", "level", "message"]
    assert (alert["alert"], alert["when"]) == ("fits", "retrain_failed")
    assert alert["level"] == "critical" and "one class" in alert["message"]
    assert states(watch.see(event("job_ready", 2, model=2))) == ["recovered"]
    assert watch.see(event("job_ready", 3, model=3)) == []


def test_rejections_count_in_a_row() -> None:
    watch = sentinel(r.Rejected(when="rejected", times=2))
    kinds: list[Kind] = ["rejected", "promoted", "rejected", "rejected", "rejected", "promoted"]
    told = [states(watch.see(event(kind, at))) for at, kind in enumerate(kinds)]
    assert told == [[], [], [], ["raised"], ["raised"], ["recovered"]]


def test_what_stands_is_not_told_again_within_the_time_set() -> None:
    watch = sentinel(r.Rejected(when="rejected", times=1, every="3h"))
    told = [states(watch.see(event("rejected", at))) for at in range(8)]
    assert [at for at, found in enumerate(told) if found] == [0, 3, 6]
    (last,) = watch.see(event("rejected", 9))
    assert last["since"] == "1970-01-01T00:00:00.000000Z" and last["times"] == 9


def test_what_flaps_is_held_back_both_ways() -> None:
    watch = sentinel(r.ErrorAbove(when="error_above", limit=0.5, every="10h"))
    told = [
        (at, state)
        for at in range(24)
        for state in states(watch.look(at, at * HOUR, 0.6 if at % 2 == 0 else 0.1))
    ]
    assert told == [(0, "raised"), (1, "recovered"), (10, "raised"), (11, "recovered"),
                    (20, "raised"), (21, "recovered")]  # fmt: skip


def test_an_error_above_its_limit_is_told_until_it_is_well_below() -> None:
    watch = sentinel(r.ErrorAbove(when="error_above", limit=0.5, every="1000h"))
    errors = [math.nan, 0.4, 0.51, 0.6, 0.49, 0.46, 0.44, 0.2]
    told = [watch.look(at, at * HOUR, error) for at, error in enumerate(errors)]
    assert [states(found) for found in told] == [
        [], [], ["raised"], [], [], [], ["recovered"], []
    ]  # fmt: skip
    assert told[2][0]["error"] == 0.51 and told[2][0]["limit"] == 0.5


def test_alarms_are_told_by_detector_and_counted_while_held_back() -> None:
    watch = sentinel(r.OnAlarm(when="alarm", detector="adwin", on="error", every="3h"))
    of = {"detector": "adwin", "on": "error"}
    assert watch.see(event("alarm", 0, detector="kswin", on="error")) == []
    assert watch.see(event("alarm", 0, detector="adwin", on="features", feature="x")) == []
    told = [watch.see(event("alarm", at, **of)) for at in range(8)]
    assert [len(found) for found in told] == [1, 0, 0, 1, 0, 0, 1, 0]
    assert "held_back" not in told[0][0]
    assert told[3][0]["held_back"] == told[6][0]["held_back"] == 2


def test_anomalies_are_told_by_what_they_are_about() -> None:
    watch = sentinel(r.OnAnomaly(when="anomaly", what=("null_rate_jump",), every="100h"))

    def of(at: int, what: str, field: str) -> list[str]:
        found = watch.see(event("anomaly", at, what=what, topic="art", field=field, shares={}))
        return states(found)

    assert of(0, "null_rate_jump", "author") == ["raised"]
    assert of(1, "null_rate_jump", "author") == []
    assert of(2, "null_rate_jump", "content") == ["raised"]
    assert of(3, "volume_drop", "x") == []
    assert of(4, "null_rate_jump_over", "author") == ["recovered"]
    assert of(5, "null_rate_jump_over", "author") == []


def test_subjects_are_bounded() -> None:
    watch = sentinel(r.OnAnomaly(when="anomaly"))
    for at in range(SUBJECTS_MAX + 50):
        watch.see(event("anomaly", at, what=f"oddity {at}"))
    assert len(watch.guards[0].posts) == SUBJECTS_MAX


@pytest.mark.parametrize(("above", "old"), [("5h", 6), (5, 6)])
def test_a_model_grows_old_in_time_or_records(above: int | str, old: int) -> None:
    watch = sentinel(r.ModelAge(when="model_age", above=above, every="100h"))
    assert watch.look(90, 0, 0.1) == [], "there is no model yet"
    watch = sentinel(r.ModelAge(when="model_age", above=above, every="100h"))
    watch.see(event("promoted", 0, model=0))
    told = [at for at in range(1, 12) if watch.look(at, at * HOUR, math.nan)]
    assert told == [old]
    assert states(watch.see(event("promoted", 12, model=1))) == ["recovered"]


def test_failures_and_rollbacks_of_others_are_told() -> None:
    watch = sentinel(r.StreamFailed(when="stream_failed"), r.RolledBack(when="rollback"))
    (alert,) = watch.see(event("stream_failed", 0, reason="the disk is full"))
    assert alert["level"] == "critical" and "the disk is full" in alert["message"]
    assert states(watch.see(event("rollback", 1, model=3))) == ["raised"]


def test_live_facts_are_told_and_recover() -> None:
    watch = sentinel(
        r.NoData(**{"when": "no_data", "for": "6h", "every": "100h"}),  # type: ignore[arg-type]
        r.Quota(when="quota", above=0.9),
    )
    told = [
        (at, alert["when"], alert["state"])
        for at in range(12)
        for alert in watch.tick(at * HOUR, Facts(0 if at < 9 else at * HOUR, at / 10 % 1))
    ]
    assert told == [
        (7, "no_data", "raised"),
        (9, "no_data", "recovered"),
    ]
    (alert,) = watch.tick(12 * HOUR, Facts(quota=0.95))
    assert alert["quota"] == 0.95
    assert watch.tick(13 * HOUR, Facts(quota=0.85)) == []
    assert states(watch.tick(14 * HOUR, Facts(quota=0.1))) == ["recovered"]
    assert watch.tick(99 * HOUR, Facts()) == []


def test_time_that_runs_back_does_not_reset_the_limit() -> None:
    watch = sentinel(r.RolledBack(when="rollback", every="10h"))
    told = [len(watch.see(event("rollback", at))) for at in (20, 1, 25, 29, 30)]
    assert told == [1, 0, 0, 0, 1]
    watch = sentinel(r.ModelAge(when="model_age", above="5h"))
    watch.see(event("promoted", 0, model=0))
    assert states(watch.look(1, 10 * HOUR, 0.1)) == ["raised"]
    assert watch.look(2, HOUR, 0.1) == [], "time that runs back makes no model younger"


def test_alerts_lead_to_no_alerts() -> None:
    watch = sentinel(r.OnAnomaly(when="anomaly"), r.RolledBack(when="rollback"))
    assert watch.see(event("alert", 0, what="x")) == []


ALL: tuple[r.AnyRule, ...] = (
    r.NoData(when="no_data"),
    r.Quota(when="quota"),
    r.ErrorAbove(when="error_above", limit=0.4),
    r.RetrainFailed(when="retrain_failed", every="7h"),
    r.Rejected(when="rejected"),
    r.OnAlarm(when="alarm", every="5h"),
    r.OnAnomaly(when="anomaly", every="9h"),
    r.ModelAge(when="model_age", above="8h"),
    r.StreamFailed(when="stream_failed"),
    r.RolledBack(when="rollback"),
)


def drive(seed: int, cuts: float) -> Alerts:
    """Return the alerts of a random stream; the sentinel is put away at a share of its steps."""
    rng, chance = np.random.default_rng(seed), np.random.default_rng(99)
    watch, told = sentinel(*ALL), []
    for at in range(400):
        if chance.random() < cuts:
            watch = pickle.loads(pickle.dumps(watch))
        kind = KINDS[int(rng.integers(len(KINDS)))]
        what = ["drop", "drop_over", "jump", "jump_over"][int(rng.integers(4))]
        details = {"what": what, "detector": "adwin", "on": "error", "model": at, "reason": "r"}
        told += watch.see(Event(kind, "s", at * HOUR, at, at, details))  # type: ignore[arg-type]
        told += watch.look(at, at * HOUR, float(rng.random()))
        told += watch.tick(at * HOUR, Facts(int(at // 10 * 10 * HOUR), float(rng.random())))
    return told


@pytest.mark.parametrize("seed", [1, 2])
def test_alerts_are_the_same_however_often_the_sentinel_is_put_away(seed: int) -> None:
    told = drive(seed, 0.0)
    assert {alert["when"] for alert in told} == {rule.when for rule in ALL}
    assert told == drive(seed, 0.0) == drive(seed, 0.3) == drive(seed, 1.0)
    json.dumps(told, allow_nan=False)


def test_no_rule_tells_a_thing_more_often_than_it_may() -> None:
    rng = np.random.default_rng(3)
    watch = sentinel(r.OnAlarm(when="alarm", every="6h"))
    times = sorted(int(at) for at in rng.integers(0, 1000, size=500))
    told = [at for at in times if watch.see(event("alarm", at, detector="a", on="error"))]
    assert len(told) > 50 and min(np.diff(told)) >= 6
