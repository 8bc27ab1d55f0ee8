"""Every policy: pure, small, and asleep only when it has nothing to say."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from engine import settings as s
from engine.events import Alarm
from engine.policies import (
    BLOCKS_MAX,
    NOTHING,
    POLICIES,
    Decision,
    Policy,
    View,
    Wake,
    build,
    earliest,
    example_view,
    with_needed,
)

SETTING: TypeAdapter[s.AnyPolicy] = TypeAdapter(s.PolicySetting)


def frozen(given: Any) -> Any:
    """Settings as written, with tuples for lists: strict settings take nothing else."""
    if isinstance(given, dict):
        return {key: frozen(value) for key, value in given.items()}
    return tuple(map(frozen, given)) if isinstance(given, list) else given


def setting(**given: Any) -> s.AnyPolicy:
    return SETTING.validate_python(frozen(given))


def label(given: Any) -> str:
    """A short test id."""
    if isinstance(given, dict):
        return "-".join(str(label(one)) for one in given.values())
    return str(given)


def error_alarm(seq: int, detector: str = "adwin") -> Alarm:
    return Alarm(seq, max(seq - 5, 0), detector, "error")


def feature_alarm(seq: int, feature: str) -> Alarm:
    return Alarm(seq, seq, "page_hinkley", "features", feature, "value")


def test_every_kind_of_settings_has_a_policy() -> None:
    kinds = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(s.AnyPolicy)}
    assert set(POLICIES) == kinds
    assert set(get_args(s.PolicyName)) <= kinds


# --- a small engine -------------------------------------------------------------------------


@dataclass
class World:
    """A stream of errors, alarms and verdicts, and an engine reduced to what policies see."""

    seed: int
    length: int = 400
    delay: int = 3
    latency: int = 9
    every: int = 1
    alarm_rate: float = 0.02
    bounded: bool = True
    prices: s.Prices = field(default_factory=lambda: s.Prices(retrain=2.0))

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        level = np.repeat(rng.random(4) * 0.8, self.length // 4 + 1)[: self.length]
        self.errors = (rng.random(self.length) < level).astype(np.float64)
        if not self.bounded:
            self.errors *= rng.random(self.length) * 3
        self.late = self.delay + rng.integers(0, 4, self.length) * (rng.random(self.length) < 0.2)
        self.times = np.cumsum(rng.integers(0, 3, self.length)) * 1_000_000
        self.promotes = rng.random(self.length) < 0.5
        self.alarms: list[tuple[Alarm, ...]] = []
        for seq in range(self.length):
            here = []
            if rng.random() < self.alarm_rate:
                here.append(error_alarm(seq, str(rng.choice(["adwin", "page_hinkley"]))))
            if rng.random() < 2 * self.alarm_rate:
                here.append(feature_alarm(seq, str(rng.choice(["a", "b", "c"]))))
            self.alarms.append(tuple(here))


def due(wake: Wake, view: View) -> bool:
    return (
        (wake.seq is not None and view.seq >= wake.seq)
        or (wake.time is not None and view.time >= wake.time)
        or (wake.errors is not None and view.known >= wake.errors)
    )


def play(world: World, policy: Policy, lazy: bool) -> tuple[list[tuple[int, Decision]], int]:
    """Return the decisions that are not "nothing", and how often the policy was asked."""
    state, wake = policy.initial(), Wake()
    champion, started, taken = 0, 0, 0
    job: tuple[int, int] | None = None  # ready at, asked at
    arriving = sorted(((i + late, i) for i, late in enumerate(world.late.tolist())), reverse=True)
    known: list[float] = []
    heard: list[Alarm] = []
    nudged, asked, made = True, 0, []
    for k in range(world.length):
        if job is not None and job[0] <= k:
            if world.promotes[job[1]]:
                champion, nudged, known = k, True, []
            job = None
        while arriving and arriving[-1][0] <= k:
            _, seq = arriving.pop()
            if seq >= champion:
                known.append(world.errors[seq])
        heard += world.alarms[k]
        if k % world.every:
            continue
        errors = np.array(known)
        view = example_view(
            seq=k,
            time=int(world.times[k]),
            alarms=tuple(heard),
            errors=errors[-s.RECENT_MAX :],
            reference=errors[: s.RECENT_MAX],
            known=len(known),
            blocks=tuple(errors[: len(known) // 10 * 10].reshape(-1, 10).mean(axis=1).tolist())[
                -BLOCKS_MAX:
            ],
            block=10,
            served=k - champion + 1,
            since=int(world.times[k] - world.times[champion]),
            labels=k - taken,
            features=3,
            started=started,
            pending=job is not None,
            window=60,
            error_max=1.0 if world.bounded else np.inf,
            prices=world.prices,
        )
        if lazy and not (heard or nudged or due(wake, view)):
            continue
        decision, state = policy.decide(view, state)
        wake = policy.wake(view, state)
        asked, nudged, heard = asked + 1, False, []
        if decision.action != "nothing":
            made.append((k, decision))
            if job is None:
                job, started, taken = (k + max(world.latency, 1), k), started + 1, k
    return made, asked


PLAIN: list[dict[str, Any]] = [
    {"kind": "never"},
    {"kind": "every"},
    {"kind": "every", "records": 7},
    {"kind": "every", "blocks": 4},
    {"kind": "every", "time": "35s"},
    {"kind": "error_threshold", "window": 20, "rise": 0.2},
    {"kind": "error_threshold", "window": 11, "above": 0.5},
    {"kind": "alarm", "detector": "page_hinkley", "on": "features"},
    {"kind": "adwin"},
    {"kind": "page_hinkley"},
    {"kind": "data_drift", "share": 0.5, "within": 50},
    {"kind": "data_drift", "share": 1.0, "within": 90},
    {"kind": "cumulative_cost"},
    {"kind": "cost_threshold"},
    {"kind": "cost_threshold", "limit": 0.7, "fresh": 20, "window": 15, "horizon": 20},
    {"kind": "forecast"},
    {"kind": "forecast", "quantile": 0.6, "horizon": 90},
]
HELD: list[dict[str, Any]] = [
    {},
    {"cooldown": 40},
    {"cooldown": "30s"},
    {"budget": 2},
    {"warmup": 100},
    {"settle": 25},
    {"queue": True},
    {"settle": 10, "cooldown": 15, "budget": 3, "warmup": 30, "queue": True},
]
COMBINED: list[dict[str, Any]] = [
    {"kind": "any_of", "of": [PLAIN[5], PLAIN[8] | {"cooldown": 30}]},
    {"kind": "all_of", "of": [PLAIN[5], PLAIN[10]], "within": 60},
    {"kind": "all_of", "of": [PLAIN[8], PLAIN[2]], "within": 20},
    {"kind": "any_of", "of": [PLAIN[8], PLAIN[12]]},
]
ALL = [one | held for one in PLAIN + COMBINED for held in HELD]


PRICES = [
    s.Prices(retrain=2.0),
    s.Prices(retrain=0.0),
    s.Prices(retrain=500.0),
    s.Prices(error=0.0),
]


@pytest.mark.parametrize("given", PLAIN + COMBINED, ids=label)
def test_policies_say_whether_they_heed_prices(given: dict[str, Any]) -> None:
    policy = build(setting(**given))
    worlds = [[World(seed, prices=prices) for seed in range(3)] for prices in PRICES]
    made = [[play(one, policy, lazy=False)[0] for one in priced] for priced in worlds]
    assert policy.heeds_prices == any(one != made[0] for one in made)
    for held in HELD:
        assert build(setting(**(given | held))).heeds_prices == policy.heeds_prices


def test_every_policy_is_visited() -> None:
    assert {one["kind"] for one in ALL} == set(POLICIES)


singles = st.builds(lambda a, b: a | b, st.sampled_from(PLAIN), st.sampled_from(HELD))
groups = st.builds(
    lambda kind, of, held: {"kind": kind, "of": of} | held,
    st.sampled_from(["any_of", "all_of"]),
    st.lists(singles, min_size=1, max_size=3),
    st.sampled_from(HELD),
)
worlds = st.builds(
    World,
    seed=st.integers(0, 2**32),
    delay=st.sampled_from([0, 3, 30]),
    latency=st.sampled_from([0, 1, 9, 70]),
    every=st.sampled_from([1, 1, 7]),
    alarm_rate=st.sampled_from([0.0, 0.02, 0.1]),
    bounded=st.booleans(),
    length=st.just(300),
)


@settings(max_examples=150, deadline=None)
@given(world=worlds, given=st.one_of(singles, groups))
def test_a_sleeping_policy_has_nothing_to_say(world: World, given: dict[str, Any]) -> None:
    policy = build(setting(**given))
    always, _ = play(world, policy, lazy=False)
    woken, _ = play(world, policy, lazy=True)
    assert woken == always


@pytest.mark.parametrize("given", ALL, ids=label)
def test_wakes_are_kept_by_every_policy(given: dict[str, Any]) -> None:
    policy = build(setting(**given))
    for seed in range(2):
        always, calls = play(World(seed), policy, lazy=False)
        woken, wakes = play(World(seed), policy, lazy=True)
        assert woken == always
        assert wakes <= calls


@pytest.mark.parametrize(
    "given", [one for one in PLAIN + COMBINED if one["kind"] != "never"], ids=label
)
def test_the_small_engine_makes_them_speak(given: dict[str, Any]) -> None:
    made = [play(World(seed), build(setting(**given)), lazy=False)[0] for seed in range(6)]
    assert any(made)


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({"kind": "never"}, 1),
        ({"kind": "every", "records": 50}, 40),
        ({"kind": "error_threshold", "window": 100, "rise": 0.3}, 60),
    ],
    ids=label,
)
def test_policies_do_sleep(given: dict[str, Any], most: int) -> None:
    _, asked = play(World(1, alarm_rate=0.0), build(setting(**given)), lazy=True)
    assert asked <= most


# --- all of them ----------------------------------------------------------------------------


def views(seed: int = 4) -> list[View]:
    """Views of many kinds, in order of time."""
    rng = np.random.default_rng(seed)
    found = []
    for seq in range(0, 400, 13):
        errors = (rng.random(seq) < seq / 400).astype(np.float64)
        alarms = (error_alarm(seq), error_alarm(seq, "page_hinkley"), feature_alarm(seq, "a"))
        found.append(
            example_view(
                seq=seq,
                errors=errors,
                alarms=alarms if seq % 3 == 0 else (),
                pending=seq % 5 == 0,
                started=seq // 150,
                window=100,
            )
        )
    return found


def fields(view: View) -> dict[str, Any]:
    return {name: copy.deepcopy(getattr(view, name)) for name in View.__dataclass_fields__}


@pytest.mark.parametrize("given", ALL, ids=label)
def test_policies_are_pure_frozen_and_pickle(given: dict[str, Any]) -> None:
    policy = build(setting(**given))
    assert pickle.loads(pickle.dumps(policy)) == policy == build(setting(**given))
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        policy.inner = None  # type: ignore[attr-defined]
    state = policy.initial()
    for view in views():
        before, memory = fields(view), copy.deepcopy(state)
        decision, after = policy.decide(view, state)
        restored, same = pickle.loads(pickle.dumps((policy, state)))
        assert restored.decide(view, same) == (decision, after) == policy.decide(view, state)
        assert policy.wake(view, after) == restored.wake(view, after)
        assert state == memory
        for name, value in fields(view).items():
            np.testing.assert_equal(value, before[name])
        json.dumps([decision.saw, after], allow_nan=False)
        assert bool(decision.reason) == (decision.action != "nothing")
        assert len(pickle.dumps(after)) < 600
        state = after


@pytest.mark.parametrize("given", [one for one in ALL if one["kind"] != "never"], ids=label)
def test_requests_say_why_and_what_they_saw(given: dict[str, Any]) -> None:
    for seed in range(2):
        for _, decision in play(World(seed), build(setting(**given)), lazy=False)[0]:
            assert decision.action == "retrain"
            assert any(letter.isdigit() for letter in decision.reason)
            assert {"served", "labels", "pending"} <= set(decision.saw)
            assert decision.queue == given.get("queue", False)


# --- one by one -----------------------------------------------------------------------------


def asked_at(world: World, lazy: bool = False, **given: Any) -> list[int]:
    return [seq for seq, _ in play(world, build(setting(**given)), lazy)[0]]


class Always(World):
    """A world whose every challenger is promoted, or none."""

    def __init__(self, promotes: bool, **given: Any) -> None:
        super().__init__(seed=1, alarm_rate=0.0, **given)
        self.promotes[:] = promotes


def test_every_counts_from_the_champions_first_record() -> None:
    assert asked_at(Always(True, latency=10), kind="every", records=100) == [99, 208, 317]
    assert asked_at(Always(True, latency=0), kind="every", blocks=10) == [99, 199, 299, 399]
    assert asked_at(Always(True, latency=1), kind="every") == [59, 119, 179, 239, 299, 359]


def test_every_counts_from_the_last_request_if_the_challenger_was_rejected() -> None:
    assert asked_at(Always(False, latency=10), kind="every", records=100) == [99, 199, 299, 399]


def test_every_waits_for_a_pending_job() -> None:
    assert asked_at(Always(False, latency=150), kind="every", records=100) == [99, 249, 399]


def test_every_by_time() -> None:
    world = Always(True, latency=0)
    world.times = np.arange(world.length, dtype=np.int64) * 1_000_000
    assert asked_at(world, kind="every", time="2m") == [120, 241, 362]


def test_every_by_time_counts_from_the_last_request() -> None:
    world = Always(False, latency=5)
    world.times = np.arange(world.length, dtype=np.int64) * 1_000_000
    assert asked_at(world, kind="every", time="2m") == [120, 240, 360]


def test_never_asks_never() -> None:
    assert asked_at(World(1), kind="never") == []


def test_error_threshold_needs_its_window_and_its_rise() -> None:
    policy = build(setting(kind="error_threshold", window=4, rise=0.5))
    calm, worse = np.array([0, 0, 0, 1.0]), np.array([0, 0, 0, 1.0, 1, 1, 1, 1])
    assert policy.decide(example_view(errors=worse[:3]), None)[0] == NOTHING
    assert policy.decide(example_view(errors=calm), None)[0] == NOTHING
    decision, state = policy.decide(example_view(errors=worse), None)
    assert decision.reason == "error 1 over the newest 4 labels exceeds 0.75"
    assert (decision.saw["error"], decision.saw["reference"]) == (1.0, 0.25)
    assert policy.decide(example_view(errors=worse, pending=True), None)[0] == NOTHING
    more = np.append(worse, np.ones(3))
    assert policy.decide(example_view(errors=more), state)[0] == NOTHING
    assert policy.decide(example_view(errors=np.append(more, 1.0)), state)[0].action == "retrain"
    exact = np.array([0, 0, 0, 1.0, 0, 1, 1, 1])
    assert policy.decide(example_view(errors=exact), None)[0] == NOTHING, "not above the limit"


def test_error_threshold_forgets_its_request_with_a_new_champion() -> None:
    policy = build(setting(kind="error_threshold", window=4, above=0.5))
    _, state = policy.decide(example_view(seq=99, errors=np.ones(50)), None)
    fresh = example_view(seq=120, served=10, errors=np.ones(4))
    decision, _ = policy.decide(fresh, state)
    assert decision.action == "retrain"
    assert "reference" not in decision.saw


def test_error_threshold_wakes_when_enough_errors_could_have_come() -> None:
    policy = build(setting(kind="error_threshold", window=10, above=0.55))
    calm = example_view(errors=np.zeros(20), error_max=1.0)
    assert policy.wake(calm, None) == Wake(errors=26)  # 6 of 10 exceed it, 5 do not
    assert policy.wake(example_view(errors=np.zeros(20)), None) == Wake(errors=21)
    assert policy.wake(example_view(errors=np.zeros(3)), None) == Wake(errors=10)


def test_alarm_policies_hear_their_own_detector_only() -> None:
    alarms = (error_alarm(7), error_alarm(7, "mine"), feature_alarm(7, "a"))
    for wanted, heard in (
        ({"kind": "adwin"}, ["adwin"]),
        ({"kind": "page_hinkley"}, []),
        ({"kind": "alarm", "detector": "mine"}, ["mine"]),
        ({"kind": "alarm", "detector": "page_hinkley", "on": "features"}, ["page_hinkley"]),
        ({"kind": "alarm", "detector": "adwin", "on": "features"}, []),
    ):
        view = example_view(seq=7, alarms=alarms, pending=True)
        decision, _ = build(setting(**wanted)).decide(view, None)
        assert [one["detector"] for one in decision.saw.get("alarms", [])] == heard


def test_an_alarm_of_an_earlier_champion_is_ignored() -> None:
    for wanted in ({"kind": "adwin"}, {"kind": "data_drift", "share": 0.1}):
        policy = build(setting(**wanted))
        alarms = (error_alarm(50), feature_alarm(50, "a"))
        seen = [example_view(seq=99, served=served, alarms=alarms) for served in (49, 50)]
        actions = [policy.decide(view, policy.initial())[0].action for view in seen]
        assert actions == ["nothing", "retrain"]


def test_data_drift_counts_different_features_of_late() -> None:
    policy = build(setting(kind="data_drift", share=0.5, within=100))

    def decide(seq: int, *names: str, state: Any = None, **given: Any) -> tuple[str, Any]:
        alarms = tuple(feature_alarm(seq, name) for name in names)
        view = example_view(seq=seq, alarms=alarms, features=4, **given)
        decision, state = policy.decide(view, state)
        return decision.action, state

    assert decide(10, "a", "a")[0] == "nothing"
    _, one = decide(10, "a")
    assert decide(109, "b", state=one)[0] == "retrain"
    assert decide(110, "b", state=one)[0] == "nothing", "a was too long ago"
    assert decide(60, "b", state=one, served=50)[0] == "nothing", "a was another champion's"
    action, held = decide(60, "b", state=one, pending=True)
    assert action == "nothing"
    assert decide(61, state=held)[0] == "retrain", "remembered while a job was pending"
    _, asked = decide(60, "b", state=one)
    assert decide(61, "c", state=asked)[0] == "nothing", "forgotten with the request"


def test_any_of_and_all_of() -> None:
    world = Always(False, latency=1)
    sevens, tens = {"kind": "every", "records": 70}, {"kind": "every", "records": 100}
    assert asked_at(world, kind="any_of", of=[sevens, tens]) == [
        69, 99, 139, 199, 209, 279, 299, 349, 399,
    ]  # fmt: skip
    # wishes at 69, 139, 209, ... and at 99, 199, ...: both within 40 records
    assert asked_at(world, kind="all_of", of=[sevens, tens], within=40) == [99, 209, 299]
    assert asked_at(world, kind="all_of", of=[sevens, tens], within=10) == []


def test_all_of_forgets_its_wishes() -> None:
    members = [{"kind": "adwin"}, {"kind": "page_hinkley"}]
    policy = build(setting(kind="all_of", of=members, within=50))

    def decide(seq: int, detector: str, state: Any, served: int) -> tuple[str, Any]:
        view = example_view(seq=seq, served=served, alarms=(error_alarm(seq, detector),))
        decision, state = policy.decide(view, state)
        return decision.action, state

    action, one = decide(100, "adwin", policy.initial(), 101)
    assert action == "nothing"
    assert decide(110, "page_hinkley", one, 10)[0] == "nothing", "another champion's wish"
    action, asked = decide(110, "page_hinkley", one, 111)
    assert action == "retrain"
    assert decide(120, "page_hinkley", asked, 121)[0] == "nothing", "the wishes were granted"


def test_warmup_counts_from_the_first_model() -> None:
    given: dict[str, Any] = {"kind": "every", "records": 30, "warmup": 100}
    assert asked_at(Always(True, latency=1), **given)[:3] == [119, 149, 179]
    assert asked_at(Always(False), kind="every", records=30, warmup=90)[0] == 89


def test_settle_passes_a_wish_on_later_unless_a_new_champion_came() -> None:
    assert asked_at(Always(False), kind="every", records=30, settle=12)[:2] == [41, 71]
    policy = build(setting(kind="adwin", settle=40))
    first = example_view(seq=7, alarms=(error_alarm(7),))
    decision, state = policy.decide(first, policy.initial())
    assert decision == NOTHING
    more = example_view(seq=20, alarms=(error_alarm(20),))
    decision, state = policy.decide(more, state)
    assert (decision, policy.wake(more, state).seq) == (NOTHING, 47), "the first wish counts"
    assert policy.decide(example_view(seq=47), state)[0].action == "retrain"
    assert policy.decide(example_view(seq=47, served=5), state)[0] == NOTHING


def test_cooldown_counts_from_what_it_let_through() -> None:
    given: dict[str, Any] = {"kind": "every", "records": 30, "cooldown": 70}
    assert asked_at(Always(False, latency=1), **given) == [29, 119, 209, 299, 389]
    world = Always(False, latency=1)
    world.times = np.arange(world.length, dtype=np.int64) * 1_000_000
    assert asked_at(world, kind="every", records=30, cooldown="70s")[:2] == [29, 119]
    assert asked_at(world, kind="every", records=30, cooldown=0) == asked_at(
        world, kind="every", records=30
    )


def test_budget_counts_retrains_started() -> None:
    assert asked_at(Always(True), kind="every", records=30, budget=2) == [29, 67]
    assert asked_at(Always(True), kind="every", records=30, budget=0) == []


def test_modifiers_wrap_in_a_fixed_order() -> None:
    policy = build(setting(kind="every", settle=4, warmup=1, cooldown=2, budget=3, queue=True))
    names = []
    inner: Any = policy
    while inner is not None:
        names.append(type(inner).__name__)
        inner = getattr(inner, "inner", None)
    assert names == ["Queue", "Budget", "Cooldown", "Warmup", "Settle", "Every"]


def test_queue_marks_requests_only() -> None:
    policy = build(setting(kind="adwin", queue=True))
    assert policy.decide(example_view(seq=7), None)[0] == NOTHING
    assert policy.decide(example_view(seq=7, alarms=(error_alarm(7),)), None)[0].queue


# --- views, wakes, detectors ----------------------------------------------------------------


def test_view_means() -> None:
    view = example_view(errors=np.array([1.0, 0, 0, 1]), reference=np.array([1.0, 0, 0, 1]))
    assert (view.error(1), view.error(2), view.reference_error(3)) == (1.0, 0.5, 1 / 3)
    assert np.isnan([view.error(5), view.reference_error(5)]).all()


def test_earliest_goes_by_component() -> None:
    assert earliest(Wake(1, None, 9), Wake(4, 7, 3)) == Wake(1, 7, 3)
    assert earliest(Wake(), Wake()) == Wake()


MINE = s.Adwin(kind="adwin", name="mine")
FEATURES = s.Kswin(kind="kswin", on="features")
Need = tuple[str, Literal["error", "features"]]


@pytest.mark.parametrize(
    ("given", "detectors", "added"),
    [
        ({"kind": "never"}, [], []),
        ({"kind": "adwin"}, [], [("adwin", "error")]),
        ({"kind": "adwin"}, [MINE], []),
        ({"kind": "adwin"}, [MINE.model_copy(update={"on": "features"})], [("adwin", "error")]),
        ({"kind": "page_hinkley"}, [MINE], [("page_hinkley", "error")]),
        ({"kind": "alarm", "detector": "mine"}, [MINE], []),
        ({"kind": "alarm", "detector": "mine"}, [], []),
        ({"kind": "alarm", "detector": "ddm"}, [MINE], [("ddm", "error")]),
        ({"kind": "alarm", "detector": "ddm", "on": "features"}, [], []),
        ({"kind": "alarm", "detector": "kswin", "on": "features"}, [], [("kswin", "features")]),
        ({"kind": "alarm", "detector": "kswin", "on": "features"}, [FEATURES], []),
        ({"kind": "data_drift"}, [MINE], [("page_hinkley", "features")]),
        ({"kind": "data_drift", "budget": 3}, [FEATURES], []),
        (
            {"kind": "any_of", "of": ["adwin", {"kind": "all_of", "of": ["adwin", "data_drift"]}]},
            [],
            [("adwin", "error"), ("page_hinkley", "features")],
        ),
    ],
    ids=label,
)
def test_needed_detectors_are_added_once(
    given: dict[str, Any], detectors: Sequence[s.AnyDetector], added: list[Need]
) -> None:
    policy = build(setting(**given), detectors)
    found = with_needed(detectors, policy)
    assert found[: len(detectors)] == tuple(detectors)
    assert [(one.kind, one.on) for one in found[len(detectors) :]] == added
    assert with_needed(found, policy) == found
    if not detectors:
        assert policy.needs == found


def test_a_kind_stands_for_the_detectors_of_that_kind() -> None:
    named = build(setting(kind="adwin"), [MINE, FEATURES])
    assert named.decide(example_view(seq=7, alarms=(error_alarm(7, "mine"),)), None)[0].action == (
        "retrain"
    )
    both = build(setting(kind="adwin"), [MINE, s.Adwin(kind="adwin")])
    view = example_view(seq=7, alarms=(error_alarm(7, "mine"),))
    assert both.decide(view, None)[0] == NOTHING, "there is one of that very name"
