"""What reaches the detectors, and in which order their alarms come back."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import settings as s
from engine.batch import Floats, Schema, Table, concat_tables, table_of
from engine.detectors import build, use_kernels
from engine.errors import InputError
from engine.events import Alarm
from engine.seeds import derive
from engine.watch import ErrorWatch, FeatureWatch, Napper, Reference, inputs_of, standardise

PH_FEATURES = s.PageHinkley(kind="page_hinkley", on="features", threshold=10.0)
ADWIN_FEATURES = s.Adwin(kind="adwin", on="features")


@pytest.fixture(autouse=True, params=["kernels", "river"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    use_kernels(request.param == "kernels")
    yield str(request.param)
    use_kernels(None)


def stepping(length: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return (rng.random(length) < np.repeat([0.1, 0.6], length // 2)).astype(np.float64)


# --- errors ---------------------------------------------------------------------------------


def test_errors_keep_arrival_and_record_apart() -> None:
    errors = stepping(1000)
    seqs = np.arange(1000, dtype=np.int64)
    watch = ErrorWatch([PH_FEATURES, s.Adwin(kind="adwin", name="mine")], seed=1)
    (alarm,) = watch.update(seqs + 48, seqs, errors)
    (at,) = build(s.Adwin(kind="adwin"), 1).update_many(errors)
    assert alarm == Alarm(at + 48, at, "mine", "error")
    assert type(alarm.seq) is type(alarm.of_seq) is int


def test_errors_alarm_in_order_of_arrival_record_and_detector() -> None:
    detectors: Sequence[s.AnyDetector] = [
        s.HddmW(kind="hddm_w"),
        s.Ddm(kind="ddm"),
        s.HddmA(kind="hddm_a"),
    ]
    twice = [*detectors, s.Ddm(kind="ddm", name="again")]
    seqs = np.arange(1000, dtype=np.int64)
    alarms = ErrorWatch(twice, seed=1).update(seqs // 300 * 300 + 300, seqs, stepping(1000))
    names = ["hddm_w", "ddm", "hddm_a", "again"]
    assert len({alarm.detector for alarm in alarms}) == 4
    keys = [(alarm.seq, alarm.of_seq, names.index(alarm.detector)) for alarm in alarms]
    assert keys == sorted(keys)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_errors_for_every_cut(cuts: list[int]) -> None:
    kinds: list[s.AnyDetector] = [
        s.Adwin(kind="adwin"),
        s.PageHinkley(kind="page_hinkley", threshold=5),
    ]
    errors, seqs = stepping(1000), np.arange(1000, dtype=np.int64)
    whole = ErrorWatch(kinds, seed=1).update(seqs + 5, seqs, errors)
    watch, found = ErrorWatch(kinds, seed=1), []
    edges = sorted({0, 1000, *cuts})
    for low, high in itertools.pairwise(edges):
        watch = pickle.loads(pickle.dumps(watch))
        found += watch.update(seqs[low:high] + 5, seqs[low:high], errors[low:high])
    assert found == whole != []


def test_reset_makes_detectors_fresh() -> None:
    errors, seqs = stepping(1000), np.arange(1000, dtype=np.int64)
    watch = ErrorWatch([s.Adwin(kind="adwin")], seed=1)
    watch.update(seqs[:450], seqs[:450], errors[:450])
    watch.reset()
    assert watch.update(seqs[500:], seqs[500:], errors[500:]) == []
    assert ErrorWatch([s.Adwin(kind="adwin")], seed=1).update(seqs, seqs, errors) != []


# --- references and inputs ------------------------------------------------------------------


def test_reference_ignores_what_is_missing() -> None:
    table = table_of({"x": [1.0, np.nan, 3.0, 5.0], "c": ["a", "a", "b", None]}, ["c"])
    reference = Reference.of(table)
    (x,), (c,) = reference.numeric, reference.categorical
    assert (x.mean, x.missing) == (3.0, 0.25)
    np.testing.assert_allclose(x.std, np.std([1, 3, 5]))
    shares = [2 / 3, 2 / 3, 1 / 3]
    assert c.frequencies == (("a", 2 / 3), ("b", 1 / 3))
    np.testing.assert_allclose([c.mean, c.std], [np.mean(shares), np.std(shares)])
    assert c.missing == 0.25
    assert pickle.loads(pickle.dumps(reference)) == reference


def test_reference_does_not_depend_on_layout_or_codes() -> None:
    rng = np.random.default_rng(3)
    texts = rng.choice(["a", "b", "c"], 500).tolist()
    table = table_of({"x": rng.normal(size=500).tolist(), "c": texts}, ["c"])
    parts = [
        table_of({"x": table.number("x").tolist()[at : at + 100], "c": texts[at : at + 100]}, ["c"])
        for at in range(0, 500, 100)
    ]
    joined = concat_tables(parts)
    turned = Table(
        table.schema, np.ascontiguousarray(table.numbers), 2 - table.codes, (table.levels[0][::-1],)
    )
    assert Reference.of(table) == Reference.of(joined) == Reference.of(turned)


def one(reference: Table, table: Table, name: str) -> tuple[list[float], list[float]]:
    found = Reference.of(reference)
    columns = dict(zip(reference.schema.features, found.numeric + found.categorical, strict=True))
    values, missing = inputs_of(columns[name], table, name)
    return values.tolist(), missing.tolist()


def test_values_are_standardised_and_cut_off() -> None:
    values, missing = one(
        table_of({"x": [2.0, 6.0]}), table_of({"x": [4.0, 8.0, 99.0, -99.0, np.inf]}), "x"
    )
    assert values == [0.0, 2.0, 5.0, -5.0, 5.0]
    assert missing == [0.0] * 5


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7, 1e300])
def test_a_constant_column_has_scale_one(constant: float) -> None:
    reference = table_of({"x": [constant] * 7})
    assert Reference.of(reference).numeric[0].scale == 1.0
    values, _ = one(reference, table_of({"x": [constant, constant + 2.0]}), "x")
    assert values[0] == pytest.approx(0.0, abs=1e-6)
    assert values[1] == pytest.approx((constant + 2.0) - constant, abs=1e-6)


def test_rounding_is_not_spread() -> None:
    rounded = [0.1 + 0.2, 0.3] * 10
    values, _ = one(table_of({"x": rounded}), table_of({"x": [*rounded[:2], 0.8]}), "x")
    np.testing.assert_allclose(values, [0.0, 0.0, 0.5], atol=1e-9)


def test_missing_is_standardised_by_its_share() -> None:
    values, missing = one(
        table_of({"x": [1.0, 3.0, np.nan, np.nan]}), table_of({"x": [np.nan, 2.0]}), "x"
    )
    assert np.isnan(values[0])
    assert values[1] == 0.0
    assert missing == [1.0, -1.0]


def test_an_all_missing_reference_watches_only_whether_it_stays_so() -> None:
    numbers = one(table_of({"x": [np.nan, np.nan]}), table_of({"x": [7.0, np.nan]}), "x")
    texts = one(table_of({"c": [None, None]}, ["c"]), table_of({"c": ["a", None]}, ["c"]), "c")
    assert np.isnan(numbers[0]).all()
    assert numbers[1] == texts[1] == [-1.0, 0.0]


def test_levels_go_by_text_and_unseen_ones_have_frequency_zero() -> None:
    reference = table_of({"c": ["a"] * 6 + ["b"] * 3 + ["d"]}, ["c"])
    values, missing = one(reference, table_of({"c": ["new", "d", None, "a", "b"]}, ["c"]), "c")
    shares = np.repeat([0.6, 0.3, 0.1], [6, 3, 1])
    expected = (np.array([0.0, 0.1, np.nan, 0.6, 0.3]) - shares.mean()) / shares.std()
    np.testing.assert_allclose(values, expected)
    assert missing == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_equally_frequent_levels_have_no_spread() -> None:
    values, _ = one(
        table_of({"c": ["a", "b", "c"]}, ["c"]), table_of({"c": ["b", "z"]}, ["c"]), "c"
    )
    assert values == [0.0, -1 / 3]


@settings(max_examples=50, deadline=None)
@given(
    reference=st.lists(st.floats(width=64), min_size=1, max_size=20),
    values=st.lists(st.floats(width=64), min_size=1, max_size=20),
)
def test_no_input_is_wild(reference: list[float], values: list[float]) -> None:
    inputs, missing = one(table_of({"x": reference}), table_of({"x": values}), "x")
    found = np.array(inputs)
    assert (np.isnan(found) | (np.abs(found) <= 5)).all()
    assert np.isnan(found)[np.isnan(values)].all()
    assert (np.abs(missing) <= 5).all()


def test_standardise_does_not_touch_what_it_is_given() -> None:
    values = np.array([1.0, 9.0])
    standardise(values, 0.0, 1.0)
    assert values.tolist() == [1.0, 9.0]


# --- feature detectors ----------------------------------------------------------------------


def mixed(length: int, seed: int, moved: float = 0.0) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(moved, 1.0, length)
    x[rng.random(length) < 0.1 + moved / 10] = np.nan
    texts: list[Any] = rng.choice(["a", "b", "c", "d"], length, p=[0.6, 0.2, 0.1, 0.1]).tolist()
    if moved:
        levels: list[Any] = ["d", "e", None]
        texts = rng.choice(np.array(levels, dtype=object), length).tolist()
    y = rng.normal(moved, 1.0, length)
    columns: dict[str, Sequence[Any]] = {
        "c": texts,
        "x": x.tolist(),
        "k": [1.0] * length,
        "y": y.tolist(),
    }
    return table_of(columns, ["c"])


def watched(detectors: Sequence[s.AnyDetector], table: Table, reference: Table) -> FeatureWatch:
    watch = FeatureWatch(detectors, table.schema, seed=1)
    watch.refer(Reference.of(reference))
    return watch


def drifting() -> Table:
    return concat_tables([mixed(600, 1), mixed(400, 2, moved=3.0)])


def test_nothing_is_watched_before_there_is_a_reference() -> None:
    watch = FeatureWatch([PH_FEATURES], drifting().schema, seed=1)
    assert watch.update(0, drifting()) == []
    assert watch.count == 4


def test_alarms_name_record_feature_and_aspect() -> None:
    detectors: list[s.AnyDetector] = [s.Adwin(kind="adwin"), PH_FEATURES, ADWIN_FEATURES]
    alarms = watched(detectors, drifting(), mixed(600, 0)).update(50, drifting())
    assert {(alarm.feature, alarm.aspect) for alarm in alarms if alarm.detector == "adwin"} == {
        ("x", "value"),
        ("x", "missing"),
        ("y", "value"),
        ("c", "frequency"),
        ("c", "missing"),
    }
    late = [alarm for alarm in alarms if alarm.detector == "adwin"]
    assert all(alarm.seq == alarm.of_seq and alarm.on == "features" for alarm in alarms)
    assert all(650 <= alarm.seq < 900 for alarm in late)


def test_positions_skip_missing_values() -> None:
    table, reference = drifting(), mixed(600, 0)
    x = Reference.of(reference).numeric[0]
    values = standardise(table.number("x"), x.mean, x.scale)
    rows = np.flatnonzero(~np.isnan(values))
    expected = rows[build(PH_FEATURES, derive(1, "x", "value")).update_many(values[rows])]
    alarms = watched([PH_FEATURES], table, reference).update(50, table)
    found = [alarm.seq - 50 for alarm in alarms if (alarm.feature, alarm.aspect) == ("x", "value")]
    assert found == expected.tolist() != []


def test_alarms_of_a_record_come_in_the_order_of_settings_and_schema() -> None:
    table = table_of({"c": ["a"] * 100, "x": [0.0] * 100, "y": [0.0] * 100}, ["c"])
    gone = table_of({"c": [None] * 60, "x": [9.0] * 60, "y": [np.nan] * 60}, ["c"])
    second = PH_FEATURES.model_copy(update={"name": "second"})
    first = PH_FEATURES.model_copy(update={"name": "first"})
    alarms = watched([second, first], table, table).update(0, concat_tables([table, gone]))
    detectors = ["second", "first"]
    inputs: list[Any] = [("x", "value"), ("y", "missing"), ("c", "missing")]
    keys = [
        (one.seq, detectors.index(one.detector), inputs.index((one.feature, one.aspect)))
        for one in alarms
    ]
    assert keys == sorted(keys)
    both = [key[1:] for key in keys if key[0] == keys[-1][0]]
    assert both == [(0, 1), (0, 2), (1, 1), (1, 2)]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_features_for_every_cut(cuts: list[int]) -> None:
    table = drifting()
    detectors: list[s.AnyDetector] = [PH_FEATURES, ADWIN_FEATURES]
    whole = watched(detectors, table, mixed(600, 0)).update(7, table)
    watch, found = watched(detectors, table, mixed(600, 0)), []
    edges = sorted({0, 1000, *cuts})
    for low, high in itertools.pairwise(edges):
        watch = pickle.loads(pickle.dumps(watch))
        found += watch.update(7 + low, table[low:high])
    assert found == whole != []


def odd(length: int, seed: int) -> Table:
    """Numbers of all sorts: missing now and then, always or never, constant, infinite, huge."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (length, 8)) + np.repeat(rng.integers(0, 3, (4, 8)), length // 4, axis=0)
    x[rng.random(length) < 0.2, 0] = np.nan
    x[: length // 2, 1] = np.nan
    x[:, 2], x[:, 3] = 4.0, np.nan
    x[rng.random(length) < 0.1, 4] = np.inf
    x[:, 5] *= 1e300
    x[length // 3 :, 6] = np.nan
    return Table(Schema(tuple("abcdefgh"), ()), x, np.empty((length, 0), np.int32), ())


@pytest.mark.parametrize("order", ["C", "F"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99), length=st.sampled_from([4, 400]), cuts=st.lists(st.integers(0, 400))
)
def test_kernels_and_river_may_take_turns(
    order: Literal["C", "F"], seed: int, length: int, cuts: list[int]
) -> None:
    reference, table = odd(length, seed), odd(400, seed + 1)
    table = Table(table.schema, np.array(table.numbers, order=order), table.codes, ())
    table.numbers.flags.writeable = False
    quick = s.PageHinkley(kind="page_hinkley", on="features", threshold=3.0, min_instances=2)
    down = quick.model_copy(update={"columns": ("a", "h", "b"), "direction": "down", "name": "d"})
    detectors: list[s.AnyDetector] = [quick, ADWIN_FEATURES, down]
    use_kernels(False)
    whole = watched(detectors, table, reference).update(7, table)
    watch, found = watched(detectors, table, reference), []
    for turn, (low, high) in enumerate(itertools.pairwise(sorted({0, 400, *cuts}))):
        use_kernels((turn + seed) % 3 > 0)
        if (turn + seed) % 4 == 0:
            watch = pickle.loads(pickle.dumps(watch))
        found += watch.update(7 + low, table[low:high])
    assert found == whole != []


def test_what_was_woken_does_not_sleep_again() -> None:
    values = np.repeat([0.0, np.nan, 0.0], [100, 60, 200])
    fine, table = table_of({"x": [0.0] * 100}), table_of({"x": values.tolist()})
    down = PH_FEATURES.model_copy(update={"direction": "down", "delta": 0.05, "threshold": 3.0})
    (at,) = build(down, 1).update_many(np.isnan(values).astype(np.float64))
    watch = watched([down], table, fine)
    assert watch.update(0, table[:160]) == []
    watch = pickle.loads(pickle.dumps(watch))
    (alarm,) = watch.update(160, table[160:])
    assert (alarm.seq, alarm.aspect) == (at, "missing")
    assert at > 160


def test_a_pack_is_made_of_the_page_hinkley_tests_of_numbers(way: str) -> None:
    table = drifting()
    watch = watched([PH_FEATURES, ADWIN_FEATURES], table, mixed(600, 0))
    watch.update(0, table)
    assert (watch._pack is not None) == (way == "kernels")
    if watch._pack is not None:
        assert len(watch._pack.states) == 6, "x, k and y: the value, and whether it is missing"
        assert watch._pack.zeros.tolist()[3] == 1000, "k was never missing"


def test_a_new_reference_starts_afresh() -> None:
    table = mixed(400, 2, moved=3.0)
    watch = watched([ADWIN_FEATURES], table, mixed(600, 0))
    watch.update(0, mixed(600, 1))
    watch.refer(Reference.of(mixed(600, 5, moved=3.0)))
    assert watch.update(600, table) == []
    watch.refer(Reference.of(mixed(600, 0)))
    fresh = watched([ADWIN_FEATURES], table, mixed(600, 0))
    assert watch.update(0, drifting()) == fresh.update(0, drifting()) != []


def test_columns_limit_what_is_watched() -> None:
    some = ADWIN_FEATURES.model_copy(update={"columns": ("y", "c")})
    other = PH_FEATURES.model_copy(update={"columns": ("y",)})
    watch = watched([some, other], drifting(), mixed(600, 0))
    assert watch.count == 2
    alarms = watch.update(0, drifting())
    pairs = {(alarm.detector, alarm.feature) for alarm in alarms}
    assert {("adwin", "y"), ("adwin", "c"), ("page_hinkley", "y")} == pairs


def test_a_column_that_is_not_there_is_refused() -> None:
    odd = ADWIN_FEATURES.model_copy(update={"columns": ("z",)})
    with pytest.raises(InputError, match="no column z, only x, c"):
        FeatureWatch([odd], Schema(("x",), ("c",)), seed=1)


@pytest.mark.parametrize(
    "setting",
    [ADWIN_FEATURES, PH_FEATURES, s.Kswin(kind="kswin", on="features")],
    ids=lambda one: one.kind,
)
def test_postponed_zeros_change_nothing(setting: s.AnyDetector) -> None:
    values = np.concatenate([np.zeros(130), np.repeat([0.0, 1.0, 0.0], 60)])
    plain = build(setting, 1).update_many(values)
    napper, found = Napper(build(setting, 1)), []
    for low in range(0, len(values), 17):
        found += [low + at for at in napper.update_many(values[low : low + 17])]
    assert found == plain != []


def test_postponed_zeros_are_given_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.watch.NAP_MAX", 10)
    seen: list[int] = []

    class Counter:
        def update_many(self, values: Floats) -> list[int]:
            seen.append(len(values))
            return []

        def statistic(self) -> float:
            return 0.0

    napper = Napper(Counter())
    napper.update_many(np.zeros(25))
    assert seen == []
    napper.update_many(np.array([0.0, 1.0]))
    assert seen == [10, 10, 5, 2]
