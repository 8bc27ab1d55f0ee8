"""Extras for looking: what traces and samples hold, and that they never look ahead."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine import settings as s
from engine.batch import MISSING, Batch, Floats, plain_batch, table_of
from engine.detectors import DETECTORS, build
from engine.events import Alarm
from engine.extras import ERRORS, FEATURES_MAX, RECORDS, Bins, profile, sample
from engine.history import RECENT_ROWS, History, Moment
from engine.loop import Loop
from engine.settings import Engine
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

BITS = np.random.default_rng(7).integers(0, 2, 700).astype(np.float64)
BITS[:400] *= BITS[300:]


def engine(detectors: Any = (), **retraining: Any) -> Engine:
    training = {"first": 5, "window": 10, **retraining}
    return Engine.model_validate(
        {"policy": "never", "detectors": detectors, "retraining": training}
    )


def stream(rows: int = 60, late: int = 0) -> Batch:
    """Return records with a number, a category, and now and then neither."""
    x = [math.nan if at % 11 == 3 else float(at % 17) for at in range(rows)]
    c = [None if at % 13 == 4 else f"level {at * at % 7}" for at in range(rows)]
    return plain_batch({"x": x, "c": c}, letters(rows), categorical=["c"], late_records=late)


# --- what detectors judge by ----------------------------------------------------------------


def setting(kind: str) -> Any:
    return engine(detectors=({"kind": kind},)).detectors[0]


def by_definition(kind: str, values: Floats) -> float:
    """Return a statistic over values that raise no alarm, written out anew."""
    if kind == "page_hinkley":
        rise = fall = total = 0.0
        rises, falls = [], []
        for n, value in enumerate(values, start=1):
            total += float(value)
            rise = 0.9999 * rise + value - total / n - 0.005
            fall = 0.9999 * fall + value - total / n + 0.005
            rises.append(rise)
            falls.append(fall)
        return float(max(rise - min(rises), max(falls) - fall))
    if kind == "eddm":
        places = [0, *(np.flatnonzero(values) + 1)]
        gaps = np.diff(places)
        spans = [
            float(np.mean(gaps[:n]) + 2 * np.std(gaps[:n], ddof=1))
            for n in range(2, len(gaps) + 1)
            if places[n] > 30
        ]
        return float(spans[-1] / max(spans))
    if kind == "hddm_w":
        mean = float(values[0])
        for value in values[1:]:
            mean = 0.05 * float(value) + 0.95 * mean
        return mean
    return float(np.mean(values))


@pytest.mark.parametrize("kind", sorted(set(DETECTORS) - {"kswin"}))
def test_a_statistic_is_what_its_definition_says(kind: str) -> None:
    detector, values = build(setting(kind), 1), np.tile([0.0, 1.0, 0.0, 0.0, 1.0], 12)
    assert detector.update_many(values) == []
    assert detector.statistic() == pytest.approx(by_definition(kind, values))


def test_the_statistic_of_kswin_is_a_p_value_once_its_window_is_full() -> None:
    detector = build(setting("kswin"), 1)
    detector.update_many(BITS[:99])
    assert math.isnan(detector.statistic())
    detector.update_many(BITS[99:101])
    assert 0 < detector.statistic() <= 1
    alarms = detector.update_many(np.ones(20))[:1]
    detector = build(setting("kswin"), 1)
    detector.update_many(np.append(BITS[:101], np.ones(alarms[0] + 1)))
    assert detector.statistic() <= 0.005, "the one that raised the alarm"


@pytest.mark.parametrize(("direction", "larger"), [("up", True), ("down", False)])
def test_page_hinkley_tells_only_of_the_direction_that_counts(direction: Any, larger: bool) -> None:
    one = s.PageHinkley(kind="page_hinkley", direction=direction)
    detector = build(one, 1)
    detector.update_many(np.repeat([0.0, 1.0], 40))
    assert (detector.statistic() > 10) == larger


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_statistic_depends_on_no_cut_and_asking_changes_nothing(kind: str) -> None:
    whole, cut = build(setting(kind), 1), build(setting(kind), 1)
    assert math.isnan(whole.statistic())
    alarms = whole.update_many(BITS)
    found = []
    for low in range(0, len(BITS), 37):
        found += [low + at for at in cut.update_many(BITS[low : low + 37])]
        cut.statistic()
    assert found == alarms
    assert repr(cut.statistic()) == repr(whole.statistic())


# --- traces ---------------------------------------------------------------------------------


def seqs(outcome: Outcome) -> list[int]:
    return [point.seq for point in outcome.traces]


def test_points_are_taken_at_the_stride_while_there_is_a_champion() -> None:
    outcome = through(stream(late=4), engine(), policy=Scripted(), stride=7)
    assert outcome.kinds("promoted") == [("promoted", 9)]
    assert seqs(outcome) == [14, 21, 28, 35, 42, 49, 56]
    assert [point.time for point in outcome.traces] == [seq * 1_000_000 for seq in seqs(outcome)]


def test_a_point_knows_the_labels_due_at_its_arrival_and_no_more() -> None:
    outcome = through(stream(late=4), engine(), policy=Scripted(), errors=NotingErrors(), stride=10)
    counts = {point.seq: point.values["noting"] for point in outcome.traces}
    assert counts == {seq: seq - 4 - 9 + 1 for seq in (10, 20, 30, 40, 50) if seq >= 13} | {10: 0}


def test_the_error_series_is_the_mean_of_the_champions_newest_known_errors() -> None:
    batch = plain_batch({"x": [0.0] * 1200}, ["a"] * 700 + ["b"] * 500, late_records=3)
    outcome = through(batch, engine(), policy=Scripted())
    rows = outcome.rows
    assert seqs(outcome) == list(range(100, 1200, 100))
    for point in outcome.traces:
        known = rows.errors[: point.seq - 3 + 1][rows.models[: point.seq - 3 + 1] == 0]
        assert point.values["error"] == pytest.approx(np.mean(known[-ERRORS:]))


def test_a_promotion_starts_the_series_afresh_and_drops_what_was_ahead() -> None:
    policy, errors = Scripted(frozenset({20})), NotingErrors()
    outcome = through(stream(late=3), engine(latency=7), policy=policy, errors=errors, stride=9)
    assert outcome.kinds("promoted")[0] == ("promoted", 14)
    assert seqs(outcome) == [18, 27, 36, 45, 54], "each once"
    assert outcome.kinds("promoted")[1] == ("promoted", 27)
    assert math.isnan(outcome.traces[1].values["error"]), "the new champion has no error yet"
    assert not math.isnan(outcome.traces[0].values["error"])


def test_detectors_on_features_are_not_traced() -> None:
    both = ({"kind": "adwin"}, {"kind": "page_hinkley", "on": "features"})
    outcome = through(stream(), engine(detectors=both), stride=10)
    assert {tuple(point.values) for point in outcome.traces} == {("adwin", "error")}


# --- samples --------------------------------------------------------------------------------


def sampled(batch: Batch, *alarm_on: int, **more: Any) -> Outcome:
    features = NotingFeatures(alarm_on=frozenset(alarm_on))
    return through(batch, engine(), policy=Scripted(), features=features, **more)


def test_a_sample_says_which_alarm_it_belongs_to() -> None:
    errors = NotingErrors(alarm_on=frozenset({20}))
    batch = stream(late=3)
    outcome = through(batch, engine(), policy=Scripted(), errors=errors)
    (alarm,) = [event for event in outcome.events if event.kind == "alarm"]
    (found,) = outcome.samples
    assert [found[key] for key in ("seq", "of_seq", "n", "detector", "on", "feature")] == [
        23, 20, alarm.n, "noting", "error", None
    ]  # fmt: skip
    json.dumps(found, allow_nan=False)


def test_records_are_the_newest_up_to_the_alarm() -> None:
    batch = stream()
    (found,) = sampled(batch, 42).samples
    assert [record["seq"] for record in found["records"]] == list(range(42 - RECORDS + 1, 43))
    for record in found["records"]:
        x, c = batch.table.number("x")[record["seq"]], batch.table.texts("c")[record["seq"]]
        assert record["features"] == {"x": None if math.isnan(x) else x, "c": c}
    assert None in [record["features"]["x"] for record in found["records"]]
    assert None in [record["features"]["c"] for record in found["records"]]


def test_an_early_alarm_shows_what_there_is() -> None:
    (found,) = sampled(stream(), 6).samples
    assert [record["seq"] for record in found["records"]] == list(range(7))


def test_histograms_hold_recent_records_against_the_training_window() -> None:
    batch = stream()
    (found,) = sampled(batch, 42).samples
    window, recent = batch.table[:5], batch.table[:43]
    x = found["features"]["x"]
    assert x["bins"] == [[None, 0.0], [0.0, 1.0], [1.0, 2.0], [2.0, None], "missing"]
    assert x["reference"] == [0.2, 0.2, 0.2, 0.2, 0.2]
    places = [(value > np.array([0.0, 1.0, 2.0])).sum() for value in recent.number("x")]
    places = [4 if math.isnan(v) else p for p, v in zip(places, recent.number("x"), strict=True)]
    assert x["recent"] == [round(Counter(places)[at] / 43, 6) for at in range(5)]
    c, levels = found["features"]["c"], Counter(recent.texts("c"))
    tops = sorted({level for level in window.texts("c") if level is not None})
    assert sorted(c["bins"][:-2]) == tops
    assert c["recent"][:-2] == [round(levels[level] / 43, 6) for level in c["bins"][:-2]]
    assert c["recent"][-1] == round(levels[None] / 43, 6)
    for shares in (x["reference"], x["recent"], c["reference"], c["recent"]):
        assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_a_later_alarm_is_held_against_the_later_champion() -> None:
    policy = Scripted(frozenset({30}))
    features = NotingFeatures(alarm_on=frozenset({30, 31}))
    outcome = through(stream(), engine(), policy=policy, features=features)
    before, after = (found["features"]["x"]["bins"] for found in outcome.samples)
    assert before == [[None, 0.0], [0.0, 1.0], [1.0, 2.0], [2.0, None], "missing"]
    assert after[0] == [None, 4.0], "the window is 21 .. 30"


def test_a_sample_never_looks_ahead() -> None:
    plain, planted = stream(), stream()
    planted.table.numbers[43:] = 99.0
    planted.table.codes[43:] = 0
    one, other = (sampled(batch, 42, size=60).samples for batch in (plain, planted))
    assert one == other


def test_a_stream_has_only_so_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.swaps.SAMPLES_MAX", 3)
    outcome = sampled(stream(), *range(10, 50))
    assert [found["seq"] for found in outcome.samples] == [10, 11, 12]
    assert len(outcome.kinds("alarm")) == 40


def test_a_model_in_production_has_no_histograms_before_its_reference() -> None:
    batch = stream(late=10)
    loop = Loop(engine(), "s", batch.table.schema, NewestTrainer(), 1, Newest("7", 0))
    loop.state.error_watch = NotingErrors(frozenset({1, 20}))  # type: ignore[assignment]
    loop.feed(batch)
    before, after = map(json.loads, loop.advance().samples)
    assert before["features"] == {}
    assert list(after["features"]) == ["x", "c"]


def test_the_alarming_feature_comes_first_and_there_are_only_so_many() -> None:
    table = table_of({f"f{at:02}": [0.0, 1.0] for at in range(15)})
    alarm = Alarm(1, 1, "adwin", "features", "f12", "value")
    found = json.loads(sample(alarm, 0, table, profile(table)))
    assert list(found["features"]) == ["f12", *(f"f{at:02}" for at in range(FEATURES_MAX - 1))]
    assert len(found["records"][0]["features"]) == 15


@pytest.mark.parametrize("size", [1, 13, 200])
def test_trimming_and_batches_leave_samples_alone(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.history.SLACK_ROWS", 5)
    batch, alarms = stream(1500), (300, 499, 500, 800, 1400)
    whole = sampled(batch, *alarms, size=1500)
    table = batch.table  # with other codes for the same texts
    codes = np.where(table.codes >= 0, len(table.levels[0]) - 1 - table.codes, MISSING)
    recoded = replace(table, codes=codes.astype(np.int32), levels=(table.levels[0][::-1],))
    cut = replace(batch, table=recoded)
    found = sampled(cut, *alarms, size=size)
    assert whole.samples == found.samples
    assert [len(one["records"]) for one in found.samples] == [RECORDS] * 5


def test_history_keeps_the_newest_arrivals_whatever_is_labelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.history.SLACK_ROWS", 5)
    past, batch = History(keep=3), stream(2000)
    for start in range(0, 2000, 100):
        past.add(batch[start : start + 100], batch.times[start : start + 100])
        past.trim(Moment(start + 49, int(batch.times[start + 49])))
        for seq in (start + 50, start + 99):
            newest = past.arrived(seq).texts("c").tolist()
            assert (
                newest == batch.table.texts("c")[max(0, seq + 1 - RECENT_ROWS) : seq + 1].tolist()
            )
    assert past.held < 800


# --- bins -----------------------------------------------------------------------------------


def test_numeric_bins_lie_between_the_deciles() -> None:
    table = table_of({"x": [float(at) for at in range(1001)]})
    bins = Bins.of(table, "x")
    assert bins.edges == tuple(float(at) for at in range(100, 1000, 100))
    assert all(share == pytest.approx(0.1, abs=0.001) for share in bins.shares[:-1])
    assert [one[1] for one in bins.names()[:-2]] == list(bins.edges)
    assert all(low[1] == high[0] for low, high in pairwise(bins.names()[:-1]))


@pytest.mark.parametrize(
    ("values", "edges", "shares"),
    [
        ([2.0] * 4, (2.0,), (1.0, 0.0, 0.0)),
        ([math.nan] * 4, (), (0.0, 1.0)),
        ([], (), (0.0, 0.0)),
        ([-0.0, 0.0, -0.0, 0.0], (0.0,), (1.0, 0.0, 0.0)),
        ([math.inf, -math.inf, 1.0, math.nan], (1.0,), (0.5, 0.25, 0.25)),
        ([-1e308, 1e308], (-1e308,), (0.5, 0.5, 0.0)),
    ],
)
def test_odd_windows_have_bins_too(
    values: list[float], edges: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    bins = Bins.of(table_of({"x": values}), "x")
    assert (bins.edges, bins.shares) == (edges, shares)
    assert "-0.0" not in repr(bins)
    assert len(bins.names()) == len(bins.shares)
    json.dumps(bins.names(), allow_nan=False)


def test_rare_and_new_levels_are_other() -> None:
    texts = [level for at, level in enumerate("abcdefghijkl") for _ in range(20 - at)]
    bins = Bins.of(table_of({"c": texts}, ["c"]), "c")
    assert bins.names() == [*"abcdefghi", "other", "missing"]
    assert bins.shares[-2] == round((11 + 10 + 9) / len(texts), 6)
    new = table_of({"c": ["z", "a", None, "missing"]}, ["c"])
    assert bins.shares_of(new, "c") == (0.25, *[0.0] * 8, 0.5, 0.25)


def test_levels_of_one_count_are_ordered_by_name() -> None:
    bins = Bins.of(table_of({"c": ["b", "c", "a", "c"]}, ["c"]), "c")
    assert bins.levels == ("c", "a", "b")


def test_a_sample_is_a_line_as_json_writes_it() -> None:
    columns = {"x": [0.1, math.inf, math.nan, -0.0], 'a "name"': [1.5, 1e300, -math.inf, 2.0]}
    table = table_of({**columns, "c": ["é", None, "a", "a"]}, ["c"])
    for alarm in (Alarm(3, 2, "adwin", "error"), Alarm(3, 3, "x", "features", "c", "missing")):
        for reference in (profile(table), {}):
            line = sample(alarm, 0, table, reference)
            plain = json.dumps(json.loads(line), separators=(",", ":"), allow_nan=False)
            assert line == plain
    records = json.loads(line)["records"]
    assert [record["features"]["x"] for record in records] == [0.1, None, None, 0.0]
    assert [record["features"]['a "name"'] for record in records] == [1.5, 1e300, None, 2.0]


def test_shares_are_rounded_as_numpy_rounds() -> None:
    for rows in (7, 64, 640, 777, 5000):
        values = np.random.default_rng(rows).normal(size=rows).round(1)
        values[:: max(2, rows // 9)] = math.nan
        bins = Bins.of(table_of({"x": values.tolist()}), "x")
        places = np.searchsorted(bins.edges, values)
        places[np.isnan(values)] = len(bins.edges) + 1
        counts = np.bincount(places, minlength=len(bins.edges) + 2)
        assert bins.shares == tuple(np.round(counts / rows, 6).tolist())
