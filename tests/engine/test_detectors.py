"""The adapters against River itself, driven by hand one value at a time."""

from __future__ import annotations

import itertools
import math
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine import detectors, driving
from engine import settings as s
from engine.batch import Floats
from engine.detectors import DETECTORS, Detector, build, name_of, use_kernels
from engine.errors import InputError


def river(kind: str, **given: Any) -> Any:
    """River's own detector, made through its public API."""
    from river import drift
    from river.drift import binary

    makers: dict[str, Any] = {
        "adwin": drift.ADWIN,
        "page_hinkley": drift.PageHinkley,
        "kswin": drift.KSWIN,
        "ddm": binary.DDM,
        "eddm": binary.EDDM,
        "hddm_a": binary.HDDMA,
        "hddm_w": binary.HDDMW,
    }
    return makers[kind](**given)


def by_hand(detector: Any, values: list[float]) -> list[int]:
    found = []
    for at, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(at)
    return found


@pytest.fixture(autouse=True)
def no_kernels() -> Iterator[None]:
    """River's own objects; the kernels are held against them in `test_compiled`."""
    use_kernels(False)
    yield
    use_kernels(None)


@pytest.fixture(params=["kernels", "fast", "public"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use_kernels(request.param == "kernels")
    if request.param == "public":
        monkeypatch.setattr(detectors, "fast_paths_hold", lambda: False)
    return str(request.param)


def test_every_kind_of_settings_has_an_adapter() -> None:
    kinds = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(s.AnyDetector)}
    assert set(DETECTORS) == kinds == set(get_args(s.DetectorKind))


# --- golden alarms: River 0.26.1, numpy 2.4 -------------------------------------------------


def steps() -> Floats:
    rng = random.Random(12345)
    chosen = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    return np.array(chosen, dtype=np.float64)


def noise() -> Floats:
    rng = np.random.RandomState(12345)
    return np.concatenate([rng.randint(2, size=1000), rng.randint(8, size=1000)]).astype(float)


def test_golden_adwin(path: str) -> None:
    assert build(s.Adwin(kind="adwin", direction="both"), 1).update_many(steps())[0] == 1023


def test_golden_page_hinkley(path: str) -> None:
    both, up = (s.PageHinkley(kind="page_hinkley", direction=one) for one in ("both", "up"))
    assert build(both, 1).update_many(steps())[0] == 1006
    assert build(both, 1).update_many(noise()) == [1020, 1397, 1548, 1988]
    assert build(up, 1).update_many(noise()) == [1020, 1990]


def test_golden_kswin() -> None:
    setting = s.Kswin(kind="kswin", alpha=0.0001, direction="both")
    assert DETECTORS["kswin"](setting, 42).update_many(steps())[0] == 1016


# --- the same alarms as River's, for every cut, with pickles in between ---------------------

CASES: dict[str, tuple[s.AnyDetector, dict[str, Any]]] = {
    "adwin": (s.Adwin(kind="adwin", direction="both"), {}),
    "adwin_quick": (
        s.Adwin(kind="adwin", direction="both", delta=0.3, clock=3, grace_period=2),
        {"delta": 0.3, "clock": 3, "grace_period": 2},
    ),
    "page_hinkley": (
        s.PageHinkley(kind="page_hinkley", direction="both", threshold=4.0),
        {"threshold": 4.0},
    ),
    "page_hinkley_up": (
        s.PageHinkley(kind="page_hinkley", threshold=3.0, min_instances=5, alpha=0.99),
        {"threshold": 3.0, "min_instances": 5, "alpha": 0.99, "mode": "up"},
    ),
    "page_hinkley_down": (
        s.PageHinkley(kind="page_hinkley", on="features", direction="down", threshold=3.0),
        {"threshold": 3.0, "delta": 0.25, "mode": "down"},
    ),
    "ddm": (s.Ddm(kind="ddm"), {}),
    "eddm": (s.Eddm(kind="eddm"), {}),
    "hddm_a": (s.HddmA(kind="hddm_a"), {}),
    "hddm_w": (s.HddmW(kind="hddm_w", lambda_val=0.1), {"lambda_val": 0.1}),
    "kswin": (
        s.Kswin(kind="kswin", window_size=12, stat_size=4, alpha=0.2, direction="both"),
        {"window_size": 12, "stat_size": 4, "alpha": 0.2, "seed": 9},
    ),
}


def stream(seed: int, length: int, binary: bool) -> Floats:
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.random(6), length // 6 + 1)[:length]
    if binary:
        return (rng.random(length) < levels).astype(np.float64)
    return np.asarray(rng.normal(4 * levels, 1.0))


def pieces(values: Floats, cuts: list[int]) -> Iterator[tuple[int, Floats]]:
    edges = sorted({0, len(values), *(cut % (len(values) + 1) for cut in cuts)})
    for low, high in itertools.pairwise(edges):
        yield low, values[low:high]


def relayed(detector: Detector, values: Floats, cuts: list[int]) -> list[int]:
    """Alarms over `values` cut in pieces, the detector pickled before each."""
    found = []
    for low, piece in pieces(values, cuts):
        detector = pickle.loads(pickle.dumps(detector))
        found += [low + at for at in detector.update_many(piece)]
    return found


def make(name: str) -> Detector:
    setting, _ = CASES[name]
    return DETECTORS[setting.kind](setting, 9)


def test_every_kind_is_held_against_river() -> None:
    assert {setting.kind for setting, _ in CASES.values()} == set(DETECTORS)


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 1500), max_size=6),
    binary=st.booleans(),
)
def test_alarms_are_those_of_river(name: str, seed: int, cuts: list[int], binary: bool) -> None:
    setting, given = CASES[name]
    counts_errors = isinstance(setting, s.ErrorDetector)
    values = stream(seed, 60 if name == "kswin" else 1200, binary or counts_errors)
    plain: list[Any] = (values != 0).tolist() if counts_errors else values.tolist()
    assert relayed(make(name), values, cuts) == by_hand(river(setting.kind, **given), plain)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_streams_above_do_raise_alarms(name: str) -> None:
    binary = isinstance(CASES[name][0], s.ErrorDetector)
    raised = [bool(make(name).update_many(stream(seed, 1200, binary))) for seed in range(4)]
    assert sum(raised) >= 2


@pytest.mark.parametrize("name", ["adwin", "adwin_quick", "page_hinkley", "page_hinkley_up"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_state_left_behind_is_that_of_river(name: str, seed: int) -> None:
    values = stream(seed, 700, False)
    ours: Any = make(name)
    ours.update_many(values)
    theirs = river(CASES[name][0].kind, **CASES[name][1])
    by_hand(theirs, values.tolist())
    if name.startswith("adwin"):
        assert (ours.river.width, ours.river.total) == (theirs.width, theirs.total)
        assert ours.river.variance == theirs.variance
    else:
        bare = {"_test_drift", "_x_mean"}
        left = {key: value for key, value in vars(ours.river).items() if key not in bare}
        assert left == {key: value for key, value in vars(theirs).items() if key not in bare}
        assert vars(ours.river._x_mean) == vars(theirs._x_mean)


def test_no_values_change_nothing(path: str) -> None:
    for name in CASES:
        detector = make(name)
        assert detector.update_many(np.empty(0)) == []


# --- one direction --------------------------------------------------------------------------


def adwin_by_hand(values: list[float], direction: str) -> list[int]:
    """River's alarms whose cut moved the mean that way, by the public API alone."""
    detector, found, total, width = river("adwin"), [], 0.0, 0
    for at, value in enumerate(values):
        detector.update(value)
        total, width = total + value, width + 1
        if detector.drift_detected:
            kept = detector.total / detector.width
            dropped = (total - detector.total) / (width - detector.width)
            if kept > dropped if direction == "up" else kept < dropped:
                found.append(at)
            total, width = 0.0, 0  # River starts with an empty window after a drift
    return found


@pytest.mark.parametrize("direction", ["up", "down"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 1200), max_size=8))
def test_adwin_in_one_direction(direction: Any, seed: int, cuts: list[int]) -> None:
    values = stream(seed, 1200, False)
    detector = build(s.Adwin(kind="adwin", direction=direction), 1)
    assert relayed(detector, values, cuts) == adwin_by_hand(values.tolist(), direction)


@pytest.mark.parametrize(
    "setting",
    [
        s.Adwin(kind="adwin", direction="both"),
        s.PageHinkley(kind="page_hinkley", direction="both", threshold=30.0),
        s.Kswin(kind="kswin", direction="both", alpha=0.0001),
    ],
    ids=lambda setting: setting.kind,
)
def test_a_direction_swallows_the_other(setting: s.AnyDetector, path: str) -> None:
    rise = np.random.default_rng(5).normal(np.repeat([0.0, 3.0], 200), 0.3)
    up, down = (setting.model_copy(update={"direction": one}) for one in ("up", "down"))
    for values, wanted, other in ((rise, up, down), (-rise, down, up)):
        alarms = build(wanted, 1).update_many(values)
        assert alarms
        assert alarms[0] in range(200, 260)
        assert build(other, 1).update_many(values) == []
        assert build(setting, 1).update_many(values)[0] == alarms[0]


def test_river_goes_on_after_a_swallowed_alarm() -> None:
    values = np.repeat([1.0, 0.0, 1.0], 300)
    both = build(s.Adwin(kind="adwin", direction="both"), 1).update_many(values)
    up = build(s.Adwin(kind="adwin", direction="up"), 1).update_many(values)
    assert len(both) == 2
    assert up == both[1:]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 90), max_size=5))
def test_kswin_in_one_direction_for_every_cut(seed: int, cuts: list[int]) -> None:
    values = stream(seed, 90, False)
    setting, _ = CASES["kswin"]
    both = relayed(DETECTORS["kswin"](setting, 9), values, cuts)
    split = [
        relayed(DETECTORS["kswin"](setting.model_copy(update={"direction": one}), 9), values, cuts)
        for one in ("up", "down")
    ]
    assert sorted(split[0] + split[1]) == both


# --- the fast paths -------------------------------------------------------------------------


@pytest.fixture
def unchecked() -> Iterator[None]:
    driving.fast_paths_hold.cache_clear()
    yield
    driving.fast_paths_hold.cache_clear()


def gone(river: Any, feed: Any) -> bool:
    return bool(river._no_such_name)


def forgetful(river: Any, feed: Any) -> bool:
    """Right alarms within a piece, but the state is not written back."""
    if river.drift_detected:
        river._reset()
    kept = pickle.loads(pickle.dumps(river))
    fired = driving.advance_any(kept, feed)
    river._drift_detected = fired
    return fired


@pytest.mark.parametrize("name", ["advance_adwin", "advance_page_hinkley"])
@pytest.mark.parametrize("broken", [gone, forgetful])
def test_another_river_sends_everyone_to_the_public_api(
    name: str, broken: Callable[[Any, Any], bool], monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    assert driving.fast_paths_hold()
    driving.fast_paths_hold.cache_clear()
    monkeypatch.setattr(driving, name, broken)
    assert not driving.fast_paths_hold()
    for case in ("adwin", "page_hinkley"):
        values = stream(3, 1200, False)
        theirs = by_hand(river(CASES[case][0].kind, **CASES[case][1]), values.tolist())
        assert make(case).update_many(values) == theirs != []


def test_paths_may_change_in_midstream(monkeypatch: pytest.MonkeyPatch) -> None:
    values = stream(3, 1200, False)
    for case in ("adwin_quick", "page_hinkley"):
        whole, parts = make(case).update_many(values), make(case)
        found = []
        for turn, low in enumerate(range(0, 1200, 100)):
            monkeypatch.setattr(detectors, "fast_paths_hold", lambda turn=turn: turn % 2 == 0)
            found += [low + at for at in parts.update_many(values[low : low + 100])]
        assert found == whole


# --- settings that cannot be ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ddm", "eddm", "hddm_a", "hddm_w"])
@pytest.mark.parametrize("odd", [0.5, 2.0, math.nan])
def test_binary_detectors_refuse_other_errors(kind: str, odd: float) -> None:
    with pytest.raises(InputError, match="0 and 1"):
        make(kind).update_many(np.array([0.0, 1.0, odd]))


def test_eddm_refuses_a_warning_level_below_its_drift_level() -> None:
    with pytest.raises(ValidationError, match=r"alpha \(0\.5\) must not be below beta \(0\.9\)"):
        s.Eddm(kind="eddm", alpha=0.5)


def test_the_seed_and_the_name_make_the_sample() -> None:
    setting = s.Kswin(kind="kswin", window_size=12, stat_size=4, alpha=0.2, direction="both")
    values = np.random.default_rng(1).normal(size=100)
    named = setting.model_copy(update={"name": "other"})
    assert name_of(named) == "other"
    same = [build(setting, 1).update_many(values) for _ in range(2)]
    others = [build(setting, 2).update_many(values), build(named, 1).update_many(values)]
    assert same[0] == same[1]
    assert same[0] not in others
