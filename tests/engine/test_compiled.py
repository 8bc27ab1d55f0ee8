"""The kernels against River itself, and what happens where there are none."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from river import drift

from engine import kernels, switch
from engine import settings as s
from engine.batch import Floats
from engine.compiled import HEADER, CompiledAdwin, CompiledPageHinkley
from engine.detectors import AdwinDetector, PageHinkleyDetector, build, trace_many, use_kernels
from engine.driving import advance_any, run, run_adwin, untyped
from engine.switch import Switch

DIRECTIONS: Any = st.sampled_from(["both", "up", "down"])


@pytest.fixture(autouse=True)
def with_kernels() -> Iterator[None]:
    use_kernels(True)
    yield
    use_kernels(None)


def values_of(kind: str, seed: int, length: int) -> Floats:
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.random(8), length // 8 + 1)[:length]
    made: dict[str, Callable[[], Any]] = {
        "errors": lambda: (rng.random(length) < levels).astype(np.float64),
        "normal": lambda: rng.normal(4 * levels, 1.0),
        "constant": lambda: np.full(length, rng.choice([0.0, 0.1, -3e7, 1e300, 5e-324])),
        "tiny": lambda: rng.normal(levels, 0.1) * 1e-300,
        "huge": lambda: rng.normal(levels, 0.1) * 1e150,
        "far": lambda: 1e9 + rng.normal(levels, 0.01),
        "walk": lambda: np.cumsum(rng.normal(0.0, 1.0, length)),
        "steps": lambda: levels,
        "wild": lambda: rng.standard_cauchy(length),
    }
    return np.asarray(made[kind]())


KINDS = ["errors", "normal", "constant", "tiny", "huge", "far", "walk", "steps", "wild"]
STREAMS = st.builds(
    values_of, st.sampled_from(KINDS), st.integers(0, 2**32), st.sampled_from([50, 700, 3000])
)
CUTS = st.lists(st.integers(0, 3000), max_size=8)
ADWINS: Any = st.fixed_dictionaries(
    {
        "delta": st.sampled_from([1e-6, 0.002, 0.05, 0.3, 0.9]),
        "clock": st.sampled_from([1, 2, 3, 7, 32, 100]),
        "max_buckets": st.sampled_from([2, 3, 5, 9]),
        "min_window_length": st.sampled_from([1, 2, 5, 30]),
        "grace_period": st.sampled_from([0, 1, 10, 200]),
    }
)
TESTS: Any = st.fixed_dictionaries(
    {
        "min_instances": st.sampled_from([1, 5, 30, 100]),
        "delta": st.sampled_from([0.0, 0.005, 0.25, 3.0]),
        "threshold": st.sampled_from([0.1, 3.0, 10.0, 50.0, 1e5]),
        "alpha": st.sampled_from([1.0, 0.9999, 0.99, 0.5]),
    }
)


def relayed(detector: Any, values: Floats, cuts: list[int]) -> tuple[list[int], Any]:
    """Alarms over `values` in pieces, by kernels and River in turn, pickled in between."""
    found = []
    edges = sorted({0, len(values), *(cut % (len(values) + 1) for cut in cuts)})
    for low, high in itertools.pairwise(edges):
        use_kernels(low % 4 > 0)
        if low % 3 == 0:
            detector = pickle.loads(pickle.dumps(detector))
        found += [low + at for at in detector.update_many(values[low:high])]
    use_kernels(True)
    return found, detector


def same(left: float, right: float) -> bool:
    """Whether two numbers are the same, to the last bit."""
    return np.float64(left).tobytes() == np.float64(right).tobytes() or (left != left != right)


def window(adwin: Any) -> bytes:
    """All that a River ADWIN bases its alarms on."""
    raw = adwin._helper.__getstate__()
    head = np.frombuffer(raw, HEADER, 1)[0]
    names = ("total", "variance", "width", "tick", "levels")
    return bytes(b"".join(head[name].tobytes() for name in names) + raw[HEADER.itemsize :])


@settings(max_examples=150, deadline=None)
@given(given=ADWINS, direction=DIRECTIONS, values=STREAMS, cuts=CUTS)
def test_adwin_is_that_of_river(
    given: dict[str, Any], direction: Any, values: Floats, cuts: list[int]
) -> None:
    theirs = untyped(drift).ADWIN(**given)
    expected = run_adwin(theirs, values, direction, advance_any)
    ours: Any = AdwinDetector(s.Adwin(kind="adwin", direction=direction, **given))
    found, ours = relayed(ours, values, cuts)
    assert found == expected
    assert same(ours.statistic(), theirs.total / theirs.width)
    ours.settle()
    assert window(ours.river) == window(theirs)
    assert ours.river.drift_detected == theirs.drift_detected


@settings(max_examples=150, deadline=None)
@given(given=TESTS, direction=DIRECTIONS, values=STREAMS, cuts=CUTS)
def test_page_hinkley_is_that_of_river(
    given: dict[str, Any], direction: Any, values: Floats, cuts: list[int]
) -> None:
    theirs = drift.PageHinkley(mode=direction, **given)
    setting = s.PageHinkley(kind="page_hinkley", direction=direction, **given)
    expected = run(theirs, values.tolist(), advance_any)
    found, ours = relayed(PageHinkleyDetector(setting), values, cuts)
    assert found == expected
    other: Any = PageHinkleyDetector(setting)
    other.river = theirs
    assert same(ours.statistic(), other.statistic())
    ours.settle()
    bare = {"_test_drift", "_x_mean"}
    left = {key: value for key, value in vars(ours.river).items() if key not in bare}
    assert left == {key: value for key, value in vars(theirs).items() if key not in bare}
    assert vars(ours.river._x_mean) == vars(theirs._x_mean)


@pytest.mark.parametrize("kind", KINDS)
def test_long_streams(kind: str) -> None:
    values = values_of(kind, 3, 100_000)
    adwin, test = build(s.Adwin(kind="adwin"), 1), build(s.PageHinkley(kind="page_hinkley"), 1)
    theirs = run_adwin(untyped(drift).ADWIN(), values, "up", advance_any)
    assert adwin.update_many(values) == theirs
    theirs = run(drift.PageHinkley(mode="up"), values.tolist(), advance_any)
    assert test.update_many(values) == theirs


@pytest.mark.parametrize("clock", [1, 7, 32])
@pytest.mark.parametrize("ahead", [1, 40, 1000])
def test_the_tick_of_adwin_overflows_as_in_river(clock: int, ahead: int) -> None:
    values = values_of("normal", 5, 3000)
    theirs = untyped(drift).ADWIN(clock=clock, delta=0.3)
    theirs.update(0.0)
    raw = bytearray(theirs._helper.__getstate__())
    np.frombuffer(raw, HEADER, 1)["tick"][0] = 2**31 - ahead
    theirs._helper.__setstate__(bytes(raw))
    ours = CompiledAdwin(pickle.loads(pickle.dumps(theirs)))
    found = []
    for low in range(0, 3000, 500):
        found += [low + at for at in ours.update_many(kernels, values[low : low + 500])]
    assert found == run(theirs, values.tolist(), advance_any) != []


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(0, 1500),
    stops=st.lists(st.integers(0, 1500), max_size=30),
    seed=st.integers(0, 99),
    direction=DIRECTIONS,
)
@pytest.mark.parametrize("kind", ["adwin", "page_hinkley"])
def test_statistics_on_the_way_are_those_of_river(
    kind: str, length: int, stops: list[int], seed: int, direction: Any
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random(length) + (np.arange(length) > 700)
    places = np.sort(np.minimum(np.array(stops, dtype=np.int64), length))
    setting: s.AnyDetector = (
        s.Adwin(kind="adwin", direction=direction)
        if kind == "adwin"
        else s.PageHinkley(kind="page_hinkley", direction=direction, threshold=20)
    )
    found = []
    for choice in (True, False):
        use_kernels(choice)
        detector = build(setting, seed=1)
        whole = [trace_many(detector, values, places) for _ in range(2)]
        found.append(repr([whole, detector.statistic()]))
    assert found[0] == found[1]


@pytest.mark.parametrize("make", [s.Adwin(kind="adwin"), s.PageHinkley(kind="page_hinkley")])
def test_any_array_will_do(make: s.AnyDetector) -> None:
    values = values_of("errors", 4, 2000)
    frozen = values.copy()
    frozen.flags.writeable = False
    wide = np.repeat(values, 2)
    expected = build(make, 1).update_many(values)
    others: list[Any] = [frozen, wide[::2], values.astype(np.int64), values.astype(bool)]
    for other in others:
        assert build(make, 1).update_many(other) == expected != []


def test_a_statistic_before_the_first_value_is_none() -> None:
    for setting in (s.Adwin(kind="adwin"), s.PageHinkley(kind="page_hinkley")):
        detector = build(setting, 1)
        assert detector.update_many(np.empty(0)) == []
        assert np.isnan(detector.statistic())


def test_adwin_with_one_bucket_is_refused_since_river_panics() -> None:
    with pytest.raises(ValidationError, match="max_buckets"):
        s.Adwin(kind="adwin", max_buckets=1)


# --- when -----------------------------------------------------------------------------------


def test_patience_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "PATIENCE", 100)
    ours = Switch()
    assert [ours.kernels(40) is not None for _ in range(4)] == [False, False, True, True]


def test_detectors_move_to_the_kernels_in_midstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "PATIENCE", 1500)
    monkeypatch.setattr("engine.detectors.SWITCH", Switch())
    values = values_of("errors", 4, 3000)
    detector: Any = build(s.Adwin(kind="adwin", direction="both"), 1)
    found, compiled = [], []
    for low in range(0, 3000, 500):
        found += [low + at for at in detector.update_many(values[low : low + 500])]
        compiled.append(detector.compiled is not None)
    assert found == run(untyped(drift).ADWIN(), values.tolist(), advance_any)
    assert compiled == [False, False, True, True, True, True]


def test_threads_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    start = threading.Barrier(8)

    def load() -> Any:
        asked.append(1)
        return kernels

    def ask() -> None:
        start.wait()
        assert ours.kernels(1) is kernels

    monkeypatch.setattr(switch, "load", load)
    ours = Switch()
    ours.choice = True
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1


# --- kernels that are not there, or wrong ---------------------------------------------------


def broken(**given: Any) -> Any:
    """The kernels, some of them replaced."""
    names = ("adwin", "page_hinkley", "page_hinkley_pack")
    return SimpleNamespace(**{name: getattr(kernels, name) for name in names} | given)


def nudged(name: str, place: int) -> Any:
    """The kernels, one of them leaving behind a state that is a bit off."""
    kernel = getattr(kernels, name)

    def wrong(values: Any, rule: Any, state: Any, *rest: Any) -> Any:
        count = kernel(values, rule, state, *rest)
        state[place] = np.nextafter(state[place], np.inf)
        return count

    return broken(**{name: wrong})


def blind(values: Any, rule: Any, state: Any, *rest: Any) -> int:
    """ADWIN that takes no notice of the direction."""
    return kernels.adwin(values, np.where(np.arange(len(rule)) == 4, 0, rule), state, *rest)


def unclipped(*given: Any) -> int:
    """A pack that does not cut its inputs off."""
    numbers, inputs, scales, rules, states, zeros, _, found = given
    return kernels.page_hinkley_pack(numbers, inputs, scales, rules, states, zeros, np.inf, found)


def raising(*given: Any) -> int:
    raise TypeError("no matching definition")


def test_the_kernels_hold() -> None:
    assert switch.hold(broken())


@pytest.mark.parametrize(
    "wrong",
    [
        broken(adwin=lambda *given: 0),
        broken(adwin=blind),
        broken(adwin=raising),
        nudged("adwin", 0),
        nudged("adwin", 1),
        broken(page_hinkley=lambda *given: 0),
        nudged("page_hinkley", 2),
        nudged("page_hinkley", 5),
        broken(page_hinkley_pack=lambda *given: 0),
        broken(page_hinkley_pack=unclipped),
        SimpleNamespace(),
    ],
)
def test_wrong_kernels_are_noticed_and_not_used(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "load", lambda: wrong)
    ours = Switch()
    ours.choice = True
    assert ours.kernels(1) is None
    monkeypatch.setattr("engine.detectors.SWITCH", ours)
    values = values_of("errors", 4, 2000)
    detector: Any = build(s.Adwin(kind="adwin", direction="both"), 1)
    assert detector.update_many(values) == run(untyped(drift).ADWIN(), values.tolist(), advance_any)
    assert detector.compiled is None


ELSEWHERE = """
import sys
import numpy as np
from engine import settings as s

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "llvmlite"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
from engine.detectors import build, use_kernels
use_kernels(True)
steps = np.repeat([0.0, 1.0, 0.0], 500)
for kind in (s.Adwin(kind="adwin", direction="both"), s.PageHinkley(kind="page_hinkley")):
    detector = build(kind, 1)
    print(detector.update_many(steps), detector.compiled is None)
from engine.switch import SWITCH
print(SWITCH.kernels(1), "numba" in sys.modules)
"""


def test_without_numba_river_does_it_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True
    )
    steps = np.repeat([0.0, 1.0, 0.0], 500)
    alarms = [
        build(one, 1).update_many(steps)
        for one in (s.Adwin(kind="adwin", direction="both"), s.PageHinkley(kind="page_hinkley"))
    ]
    assert alarms[0]
    assert done.stdout.splitlines() == [f"{alarms[0]} True", f"{alarms[1]} True", "None False"]


def test_numba_is_not_imported_before_it_is_worth_it() -> None:
    check = (
        "import sys, numpy as np; from engine import settings as s; from engine.detectors import "
        "build; build(s.Adwin(kind='adwin'), 1).update_many(np.zeros(9)); "
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_compiled_starts_from_any_state() -> None:
    values = values_of("normal", 7, 900)
    for river, form in (
        (untyped(drift).ADWIN(), CompiledAdwin),
        (drift.PageHinkley(), CompiledPageHinkley),
    ):
        expected = run(pickle.loads(pickle.dumps(river)), values.tolist(), advance_any)
        found = []
        for low in range(0, 900, 90):
            ours = form(river)
            found += [low + at for at in ours.update_many(kernels, values[low : low + 90])]
            ours.settle(river)
        assert found == expected != []
