from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.batch import Batch, Bools, Labels, concat, known
from engine.errors import InputError
from engine.sources.blocks import BLOCK
from scenarios import spec
from scenarios.drifts import DRIFTS, FAULTS
from scenarios.streams import Stream
from tests.scenarios import MemorySource, fingerprint, item_of


def run(*items: dict[str, Any], source: MemorySource | None = None, seed: int = 3) -> Batch:
    """Return all records that arrive under a script."""
    script = tuple(item_of(**item) for item in items)
    return concat(list(Stream("t", 0, seed, source or MemorySource(), script).batches(700)))


def same(a: Labels, b: Labels) -> Bools:
    """Return where two columns are the same, NaN and NaN counting as the same."""
    equal: Bools = (a == b) | ((a != a) & (b != b))
    return equal


PLAIN = run()
ROWS = np.arange(len(PLAIN))


def test_registries_equal_the_settings() -> None:
    variants = get_args(get_args(spec.Item)[0])
    kinds = {drift: get_args(drift.model_fields["kind"].annotation)[0] for drift in variants}
    assert set(DRIFTS) == {k for v, k in kinds.items() if issubclass(v, spec.Drift)}
    assert set(FAULTS) == {k for v, k in kinds.items() if issubclass(v, spec.Fault)}


EVERY_KIND: list[dict[str, Any]] = [
    {"kind": "covariate", "at": 1500, "columns": {"x": {"scale": 2.0}}},
    {"kind": "prior", "at": 1500, "mix": {"yes": 0.9}},
    {"kind": "concept", "at": 1500, "relabel": {"yes": "no"}},
    {"kind": "missing", "at": 1500, "until": 2500, "columns": ["x", "c"]},
    {"kind": "stuck", "at": 1500, "until": 2500, "columns": ["x", "c"]},
    {"kind": "swapped", "at": 1500, "until": 2500, "columns": ["c", "d"]},
    {"kind": "duplicates", "at": 1500, "until": 2500, "share": 0.3},
    {"kind": "out_of_order", "at": 1500, "until": 2500, "share": 0.3, "by": 20},
    {"kind": "outage", "at": 1500, "until": 2500},
    {"kind": "late_labels", "at": 1500, "until": 2500, "delay": 7},
    {"kind": "missing_labels", "at": 1500, "until": 2500, "share": 0.5},
]


@pytest.mark.parametrize("item", EVERY_KIND, ids=lambda item: item["kind"])
def test_every_kind_changes_something_and_nothing_before_it(item: dict[str, Any]) -> None:
    changed = run(item)
    parts = {"times", "labels", "late_records", "late_micros"}
    before = [same(getattr(changed, p)[:1500], getattr(PLAIN, p)[:1500]).all() for p in parts]
    assert all(before)
    assert same(changed.table.numbers[:1500], PLAIN.table.numbers[:1500]).all()
    for name in ("c", "d"):
        assert (changed.table.texts(name)[:1500] == PLAIN.table.texts(name)[:1500]).all()
    assert fingerprint(changed) != fingerprint(PLAIN)
    assert fingerprint(run(item)) == fingerprint(changed)
    assert changed.marks[0].seq == 1500


def test_kinds_tested_are_all_kinds() -> None:
    assert {item["kind"] for item in EVERY_KIND} == {*DRIFTS, *FAULTS}


# --- covariate ------------------------------------------------------------------------------


def test_abrupt_scale_and_offset_are_exact() -> None:
    x = run({"kind": "covariate", "at": 1500, "until": 3000, "columns": {"x": SHIFT}})
    expected = np.where((ROWS >= 1500) & (ROWS < 3000), X * 0.1 + 0.5, X)
    assert np.array_equal(x.table.number("x"), expected)
    assert np.array_equal(x.table.number("y"), PLAIN.table.number("y"), equal_nan=True)


SHIFT = {"scale": 0.1, "offset": 0.5}
X = PLAIN.table.number("x")


def test_gradual_changes_a_growing_share_fully() -> None:
    drift = {"kind": "covariate", "at": 1000, "over": 3000, "ramp": "linear"}
    x = run({**drift, "columns": {"x": {"offset": 100}}}).table.number("x")
    moved = x != X
    assert np.array_equal(x[moved], X[moved] + 100)
    assert moved[1000:1500].mean() == pytest.approx(1 / 12, abs=0.03)
    assert moved[2000:3000].mean() == pytest.approx(0.5, abs=0.04)
    assert moved[4000:].all()


def test_incremental_changes_all_by_a_growing_amount() -> None:
    drift = {"kind": "covariate", "at": 1000, "over": 3000, "ramp": "linear"}
    x = run({**drift, "shape": "incremental", "columns": {"x": {"offset": 100}}}).table.number("x")
    expected = np.clip((ROWS - 999) / 3001, 0, 1) * 100
    assert np.allclose(x - X, expected)
    assert np.array_equal(x[4000:], X[4000:] + 100)


@pytest.mark.parametrize("mix", [{"a": 0.5, "z": 0.2}, {"z": 0.25, "a": 0.75}])
def test_mix_has_its_shares_and_the_rest_keep_theirs(mix: dict[str, float]) -> None:
    batch = run({"kind": "covariate", "at": 1000, "columns": {"d": {"mix": mix}}})
    new, old = batch.table.texts("d")[1000:], PLAIN.table.texts("d")[1000:]
    rest = 1 - sum(mix.values())
    shares = {level: (new == level).mean() for level in ("a", "b", "z")}
    assert shares["z"] == pytest.approx(mix["z"], abs=0.03)
    assert shares["a"] == pytest.approx(mix["a"] + rest * (old == "a").mean(), abs=0.03)
    assert shares["b"] == pytest.approx(rest * (old == "b").mean(), abs=0.03)


@pytest.mark.parametrize("to", [-1.0, -0.5, 0.8, 1.0])
def test_correlation_is_reached_and_marginals_kept(to: float) -> None:
    drift = {"kind": "covariate", "at": 1024, "correlation": {"columns": ["x", "y"], "to": to}}
    table = run(drift).table
    x, y, old = table.number("x"), table.number("y"), PLAIN.table.number("y")
    assert np.array_equal(x, X)
    assert np.array_equal(np.isnan(y), np.isnan(old))
    for start in range(1024, 5000, BLOCK):
        here = slice(start, start + BLOCK)
        assert np.array_equal(np.sort(y[here]), np.sort(old[here]), equal_nan=True)
        there = ~np.isnan(y[here])
        found = spearmanr(x[here][there], y[here][there]).statistic
        assert found == pytest.approx(to, abs=0.08 if abs(to) < 1 else 1e-9)


def test_incremental_correlation_grows() -> None:
    drift = {"kind": "covariate", "at": 0, "over": 5 * BLOCK, "shape": "incremental"}
    pair = {"columns": ["x", "y"], "to": 0.95}
    table = run({**drift, "ramp": "linear", "correlation": pair}).table
    y = table.number("y")
    found = []
    for start in range(0, 4 * BLOCK, BLOCK):
        here = np.arange(start, start + BLOCK)
        here = here[~np.isnan(y[here])]
        found.append(spearmanr(X[here], y[here]).statistic)
    assert found == sorted(found)
    assert found[0] < 0.3 and found[-1] > 0.75


# --- prior and concept ----------------------------------------------------------------------


def test_prior_draws_every_record_from_its_mix() -> None:
    batch = run({"kind": "prior", "at": 1000, "mix": {"yes": 0.8}})
    new = batch.labels[1000:]
    assert (new == "yes").mean() == pytest.approx(0.8, abs=0.02)
    assert (new == "third").mean() == pytest.approx(0.1, abs=0.02)
    assert not (new == "no").any()
    x, c = batch.table.number("x")[1000:], batch.table.texts("c")[1000:]
    assert (c == "drawn").all()
    assert (np.where(new == "yes", x, -x) >= 49).all()
    assert len(set(x)) > 0.5 * len(x)
    assert np.array_equal(batch.times, PLAIN.times)


def test_prior_full_mix_leaves_no_other_label() -> None:
    batch = run({"kind": "prior", "at": 1000, "mix": {"yes": 0.7, "no": 0.3}})
    assert (batch.labels[1000:] == "yes").mean() == pytest.approx(0.7, abs=0.02)
    assert set(batch.labels[1000:]) == {"yes", "no"}


@pytest.mark.parametrize("makes", [True, False])
def test_prior_of_a_label_that_never_comes_leaves_rows_as_they_are(makes: bool) -> None:
    source = MemorySource(makes=makes)
    batch = run({"kind": "prior", "at": 1000, "mix": {"never": 1.0}}, source=source)
    assert (batch.labels == PLAIN.labels).all()
    assert np.array_equal(batch.table.number("x"), X)


@pytest.mark.parametrize("source", [MemorySource(), MemorySource(makes=False)])
def test_prior_comes_before_other_drifts(source: MemorySource) -> None:
    prior = {"kind": "prior", "at": 1500, "mix": {"yes": 1.0}}
    relabel = {"kind": "concept", "at": 0, "relabel": {"yes": "maybe"}}
    one, other = run(prior, relabel, source=source), run(relabel, prior, source=source)
    assert set(one.labels[1500:]) == set(other.labels[1500:]) == {"maybe"}


def test_prior_of_a_source_that_makes_none_draws_from_its_newest_known_records() -> None:
    drift = {"kind": "prior", "at": 3000, "mix": {"yes": 0.9}}
    batch = run(drift, source=MemorySource(makes=False))
    row_of = {x: row for row, x in enumerate(X)}
    rows = np.array([row_of[x] for x in batch.table.number("x")])
    new, old = rows[3000:], np.arange(3000, len(rows))
    assert (rows[:3000] == np.arange(3000)).all()
    assert (new < old).all()  # a label without delay is known after its own record
    assert (batch.labels == PLAIN.labels[rows]).all()
    assert (batch.labels[3000:] == "yes").mean() == pytest.approx(0.9, abs=0.02)
    assert (old - new)[batch.labels[3000:] == "yes"].max() < 5 * BLOCK
    assert len(set(new)) > 900


RULES: list[tuple[int | str, list[dict[str, Any]]]] = [
    (0, []),
    (1, []),
    (300, []),
    (1500, []),
    ("400s", []),
    (200, [{"kind": "late_labels", "at": 900, "until": 2600, "delay": 700, "share": 0.5}]),
    (200, [{"kind": "late_labels", "at": 900, "until": 2600, "delay": "700s", "share": 0.5}]),
    (30, [{"kind": "outage", "at": 1500, "until": 2300}]),
    ("30s", [{"kind": "outage", "at": 1500, "until": 2300}]),
    (90, [{"kind": "out_of_order", "at": 900, "until": 2600, "share": 0.4, "by": 300}]),
    ("90s", [{"kind": "out_of_order", "at": 900, "until": 2600, "share": 0.4, "by": 300}]),
    (90, [{"kind": "duplicates", "at": 900, "until": 2600, "share": 0.4}]),
    (90, [{"kind": "missing_labels", "at": 900, "until": 2600, "share": 0.4}]),
    (90, [{"kind": "stuck", "at": 1400, "until": 2600, "columns": ["y"]}]),
    (
        90,
        [
            {"kind": "outage", "at": 1300, "until": 1420},
            {"kind": "stuck", "at": 1305, "until": 2600, "columns": ["x", "y"]},
        ],
    ),
    (
        90,
        [
            {"kind": "out_of_order", "at": 1304, "until": 1305, "share": 1.0, "by": 900},
            {"kind": "stuck", "at": 1304, "until": 2600, "columns": ["x", "y"]},
        ],
    ),
]


@pytest.mark.parametrize(("delay", "others"), RULES)
@pytest.mark.parametrize("over", [0, 1200])
def test_prior_shows_no_label_before_it_is_known(
    delay: int | str, others: list[dict[str, Any]], over: int
) -> None:
    script = [{"kind": "prior", "at": 1100, "over": over, "mix": {"yes": 0.6}}, *others]
    items = tuple(item_of(**item) for item in script)

    def arrived(planted: dict[int, str | None]) -> Batch:
        source = MemorySource(3000, makes=False, planted=planted)
        return concat(list(Stream("t", 0, 3, source, items, delay).batches(700)))

    plain = arrived({})
    now = np.maximum.accumulate(plain.times)
    told = 0
    for row in (700, 1023, 1024, 1214, 1225, 1240, 1290, 1330, 1550, 2100):
        mine = plain.times == row * 1_000_000
        if not mine.any():  # lost in an outage
            continue
        due = np.arange(len(plain))[mine] + plain.late_records[mine]
        due = np.maximum(due, np.searchsorted(now, now[mine] + plain.late_micros[mine]))
        seen = slice(0, int(due.min()) + 1)  # predicted before the label comes
        for label in ("no", "yes", "unheard of", None):
            other = arrived({row: label})
            parts = [(a.table[seen], a.labels[seen][~mine[seen]]) for a in (plain, other)]
            assert same(parts[0][0].numbers, parts[1][0].numbers).all()
            for column in ("c", "d"):
                assert (parts[0][0].texts(column) == parts[1][0].texts(column)).all()
            assert (parts[0][1] == parts[1][1]).all()
            told += not same(plain.table.numbers, other.table.numbers).all()
    assert told > 0  # a label that is known does make a difference


@pytest.mark.parametrize(
    ("where", "inside"),
    [
        ({"column": "x", "above": 0.5}, X > 0.5),
        ({"column": "x", "above": 0.5, "below": 1.0}, (X > 0.5) & (X < 1.0)),
        ({"column": "y", "below": 0.0}, PLAIN.table.number("y") < 0),
        ({"column": "c", "levels": ["a", "c"]}, np.isin(PLAIN.table.texts("c"), ["a", "c"])),
    ],
)
def test_relabel_swaps_classes_inside_the_region_only(where: Any, inside: Any) -> None:
    swap = {"yes": "no", "no": "yes"}
    batch = run({"kind": "concept", "at": 1000, "relabel": swap, "where": where})
    assert np.array_equal(batch.labels != PLAIN.labels, inside & (ROWS >= 1000))
    assert set(batch.labels) == {"yes", "no"}


def test_incremental_relabelling_spreads_from_the_lowest_values() -> None:
    drift = {"kind": "concept", "at": 1000, "over": 3000, "shape": "incremental", "by": "x"}
    relabel = {"yes": "new", "no": "new"}
    batch = run({**drift, "ramp": "linear", "relabel": relabel})
    changed = batch.labels == "new"
    weights = np.clip((ROWS - 999) / 3001, 0, 1)
    bounds = np.quantile(X[:BLOCK], weights)
    expected = (weights > 0) & ((bounds > X) | (weights == 1))
    assert np.array_equal(changed, expected)
    assert changed[2000:3000].mean() == pytest.approx(0.5, abs=0.06)
    assert changed[4000:].all()


def test_shift_moves_regression_labels_inside_the_region() -> None:
    source = MemorySource(regression=True)
    shift = {"scale": 2.0, "offset": 1.0}
    where = {"column": "x", "above": 0.0}
    batch = run({"kind": "concept", "at": 1000, "shift": shift, "where": where}, source=source)
    expected = np.where((X > 0) & (ROWS >= 1000), 20.0 * X + 1.0, 10.0 * X)
    assert np.array_equal(batch.labels, expected)


def test_to_takes_rows_of_the_changed_source_and_keeps_times() -> None:
    changes = {"offset": 100.0}
    batch = run({"kind": "concept", "at": 1000, "over": 3000, "ramp": "linear", "to": changes})
    other = run(source=MemorySource(offset=100.0))
    new = batch.labels == "new"
    assert new[2000:3000].mean() == pytest.approx(0.5, abs=0.05)
    assert not new[:1000].any() and new[4000:].all()
    numbers = np.where(new[:, None], other.table.numbers, PLAIN.table.numbers)
    assert np.array_equal(batch.table.numbers, numbers, equal_nan=True)
    assert np.array_equal(batch.times, PLAIN.times)


@pytest.mark.parametrize(("rows", "needed"), [(2000, 2047), (2 * BLOCK, 3 * BLOCK - 1)])
def test_to_a_shorter_source_says_where_it_ends(rows: int, needed: int) -> None:
    to = {"kind": "concept", "at": 1000, "to": {"offset": 100.0, "rows": rows}}
    with pytest.raises(InputError, match=rf"script\[0\].to: .* before row {needed}"):
        run(to)
    assert len(run({**to, "until": 2000})) == 5000


# --- faults ---------------------------------------------------------------------------------


def test_missing_loses_its_share_of_each_column_on_its_own() -> None:
    fault = {"kind": "missing", "at": 1000, "until": 4000, "columns": ["x", "d"], "share": 0.3}
    table = run(fault).table
    x, d = np.isnan(table.number("x")), ~known(table.texts("d"))
    assert x.sum() / 3000 == pytest.approx(0.3, abs=0.03)
    assert (x & d).sum() / 3000 == pytest.approx(0.09, abs=0.02)
    outside = (ROWS < 1000) | (ROWS >= 4000)
    assert not x[outside].any() and not d[outside].any()


def test_stuck_keeps_what_earlier_items_left_of_its_first_row() -> None:
    scale = {"kind": "covariate", "at": 0, "columns": {"x": {"scale": 3.0}}}
    fault = {"kind": "stuck", "at": 1000, "until": 4000, "columns": ["x", "c"]}
    table = run(fault, scale).table
    assert (table.number("x")[1000:4000] == X[1000] * 3).all()
    assert (table.texts("c")[1000:4000] == PLAIN.table.texts("c")[1000]).all()
    assert table.number("x")[4000] == X[4000] * 3


@pytest.mark.parametrize("pair", [("x", "y"), ("d", "c")])
def test_swapped_columns_trade_places(pair: tuple[str, str]) -> None:
    table = run({"kind": "swapped", "at": 1000, "until": 4000, "columns": list(pair)}).table
    for name, other in (pair, pair[::-1]):
        column, own, its = (
            t.number(n) if n in ("x", "y") else t.texts(n)
            for t, n in ((table, name), (PLAIN.table, name), (PLAIN.table, other))
        )
        assert same(column[1000:4000], its[1000:4000]).all()
        assert same(column[:1000], own[:1000]).all() and same(column[4000:], own[4000:]).all()


def test_duplicates_follow_themselves_at_the_same_time() -> None:
    batch = run({"kind": "duplicates", "at": 1000, "until": 4000, "share": 0.2})
    again = np.flatnonzero(np.diff(batch.times) == 0)
    assert len(batch) == 5000 + len(again)
    assert len(again) / 3000 == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(batch.table.number("x")[again], batch.table.number("x")[again + 1])


def test_out_of_order_moves_its_share_up_to_by_places() -> None:
    batch = run({"kind": "out_of_order", "at": 0, "until": 5000, "share": 0.1, "by": 900})
    rows = batch.times // 1_000_000
    assert sorted(rows.tolist()) == ROWS.tolist()
    late = rows < np.maximum.accumulate(rows)
    assert late.mean() == pytest.approx(0.1, abs=0.02)
    moved = ROWS[late] - rows[late]
    assert moved.max() <= 900
    assert moved.max() > 800


def test_a_record_moved_one_place_arrives_after_the_next() -> None:
    fault = {"kind": "out_of_order", "at": BLOCK - 1, "until": BLOCK, "share": 1.0, "by": 1}
    rows = run(fault).times // 1_000_000
    assert rows[BLOCK - 2 : BLOCK + 2].tolist() == [BLOCK - 2, BLOCK, BLOCK - 1, BLOCK + 1]


def test_of_several_moves_the_longest_counts() -> None:
    fault = {"kind": "out_of_order", "at": 100, "until": 101, "share": 1.0, "by": 1}
    for other in (fault, {**fault, "share": 0.0}):
        rows = run(fault, other).times // 1_000_000
        assert rows[99:103].tolist() == [99, 101, 100, 102]


def test_outage_drops_its_rows() -> None:
    batch = run({"kind": "outage", "at": 1000, "until": 4000})
    assert (batch.times // 1_000_000).tolist() == [*range(1000), *range(4000, 5000)]


@pytest.mark.parametrize(("delay", "records", "micros"), [(7, 7, 0), ("2s", 0, 2_000_000)])
def test_late_labels_add_to_the_delay(delay: Any, records: int, micros: int) -> None:
    fault = {"kind": "late_labels", "at": 1000, "until": 4000, "delay": delay, "share": 0.5}
    batch = run(fault, {**fault, "share": 1.0})
    inside = (ROWS >= 1000) & (ROWS < 4000)
    for late, unit in ((batch.late_records, records), (batch.late_micros, micros)):
        assert not late[~inside].any()
        assert set(late[inside]) == {unit, 2 * unit}


@pytest.mark.parametrize("regression", [False, True])
def test_missing_labels_never_come(regression: bool) -> None:
    fault = {"kind": "missing_labels", "at": 1000, "until": 4000, "share": 0.5}
    labels = run(fault, source=MemorySource(regression=regression)).labels
    lost = ~known(labels)
    assert lost[1000:4000].mean() == pytest.approx(0.5, abs=0.03)
    assert lost.sum() == lost[1000:4000].sum()


def test_items_draw_their_own_chance() -> None:
    fault = {"kind": "missing", "at": 0, "until": 5000, "columns": ["x"], "share": 0.5}
    twice = run(fault, fault).table.number("x")
    assert np.isnan(twice).mean() == pytest.approx(0.75, abs=0.03)
    other = run(fault, seed=4).table.number("x")
    assert not np.array_equal(np.isnan(other), np.isnan(run(fault).table.number("x")))
