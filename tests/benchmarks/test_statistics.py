from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import significance
from benchmarks.findings import TUNED, Cell, Findings
from benchmarks.savings import savings
from benchmarks.statistics import Range, Standing, area, gap, over_streams, regret, summarise, wins
from tests.benchmarks.inventions import invent

# Demšar (2006), table 6: AUC of C4.5 with m and cf tuned or not, on 14 data sets. The paper ranks
# before rounding: on the last but one the third is a little better than the fourth.
PUBLISHED = -np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def findings() -> Findings:
    return invent()


def of(findings: Findings, policy: str) -> Standing:
    return next(one for one in summarise(findings).standings if one.policy == policy)


def cell(**changes: object) -> Cell:
    plain = Cell(
        stream="a", seed=1, policy="p", price="10%", alpha=10, latency="0", label_delay="0",
        errors=100, retrains=2, cost=120, optimum=100, never=200,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_ranks_and_critical_difference_are_the_published_ones() -> None:
    ranks = significance.average_ranks(PUBLISHED)
    assert np.round(ranks, 3).tolist() == [3.143, 2.0, 2.893, 1.964]
    assert round(significance.critical_difference(4, 14) or 0, 2) == 1.25
    assert significance.alike(sorted(ranks), 1.25) == [(0, 3)]
    assert significance.alike(sorted(ranks), 1.15) == [(0, 2), (1, 3)]  # that of 0.1


@pytest.mark.parametrize(
    ("policies", "quantile"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)]
)
def test_nemenyi_has_the_published_quantiles(policies: int, quantile: float) -> None:
    found = significance.critical_difference(policies, 14)
    expected = quantile * math.sqrt(policies * (policies + 1) / (6 * 14))
    assert found == pytest.approx(expected, rel=5e-4)


def test_friedman_is_the_textbook_formula_where_nothing_ties() -> None:
    table = np.array([[1.0, 2, 3], [1, 3, 2], [1, 2, 3], [2, 1, 3], [1, 2, 3], [1, 2, 3]])
    ranks = significance.average_ranks(table)
    statistic = 12 * 6 / (3 * 4) * (sum(rank**2 for rank in ranks) - 3 * 16 / 4)
    assert significance.friedman(table) == pytest.approx(math.exp(-statistic / 2))  # 2 d.o.f.


def test_friedman_knows_when_there_is_nothing_to_test() -> None:
    assert significance.friedman(np.ones((8, 3))) == 1.0
    assert significance.friedman(np.ones((8, 2))) is None
    assert significance.friedman(PUBLISHED[:4]) is None
    assert significance.critical_difference(4, 4) is None


def test_holm_by_hand() -> None:
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]
    assert significance.holm([]) == []


def test_against_is_the_exact_test_and_says_when_blocks_are_too_few() -> None:
    ahead = np.array([[0.0, 1 + i / 10, 2 + i / 10] for i in range(8)])
    assert significance.against(ahead, 0) == [None, 2 * 2 / 2**8, 2 * 2 / 2**8]
    assert significance.against(ahead[:6], 0) == [None, None, None]  # 2 × 2 / 2**6 > 0.05
    tied = np.array([[0.0, 1e-15, 2 + i / 10] for i in range(8)])
    assert significance.against(tied, 0)[1] == 1.0


def test_each_stream_weighs_the_same() -> None:
    cells = [cell(cost=200), cell(cost=200, seed=2), cell(cost=200, seed=3)]
    cells.append(cell(stream="b", cost=800))
    assert regret(cells) == pytest.approx(4.0)
    assert over_streams(cells, lambda one: one.cost) == 500
    assert over_streams(cells, lambda one: one.reaction) is None


def test_area_is_that_of_trapezia() -> None:
    curve = [cell(alpha=0, cost=100, optimum=50), cell(alpha=10, cost=200, optimum=100)]
    curve.append(cell(alpha=30, cost=300, optimum=100))
    assert area(curve) == pytest.approx((1500 + 5000) / (750 + 2000))
    assert area([curve[1], curve[0], curve[2]]) == area(curve)
    assert area(curve[:1]) is None


def test_gap_is_not_blown_up_by_a_stream_without_drift() -> None:
    cells = [cell(cost=120), cell(stream="quiet", cost=101, optimum=100, never=100)]
    assert gap(cells, {"a": 1000, "quiet": 1000}) == pytest.approx(21 / 100)
    assert gap([cells[1]], {"quiet": 1000}) is None


def test_ties_are_wins_for_all() -> None:
    cells = {
        "x": [cell(cost=100), cell(seed=2, cost=0.1 + 0.2)],
        "y": [cell(cost=110), cell(seed=2, cost=0.3)],
    }
    assert wins(cells) == {"x": 1.0, "y": 0.5}


def test_the_best_is_one_that_can_be_run(findings: Findings) -> None:
    cheap = tuple(
        replace(one, cost=one.optimum)
        if one.policy in (TUNED, "Hoeffding tree, incremental")
        else one
        for one in findings.cells
    )
    summary = summarise(replace(findings, cells=cheap))
    assert {one.policy for one in summary.standings[:2]} == {TUNED, "Hoeffding tree, incremental"}
    assert summary.best and summary.best.role == "policy"
    assert all(one.role == "policy" for one in summary.runnable)
    assert {one.policy for one in summary.ranges} <= {one.policy for one in summary.runnable}


def test_the_verdict_has_the_numbers(findings: Findings) -> None:
    summary = summarise(findings)
    first, second = summary.runnable[:2]
    assert first.regret and second.regret
    assert summary.verdict == (
        f"Use {first.policy}: it costs {first.regret:.2f} × the hindsight optimum (geometric mean "
        f"over 3 streams, 2 seeds and 4 prices), {1 - first.regret / second.regret:.0%} less than "
        f"the next best, {second.policy} (too few streams and seeds to tell this from chance)."
    )


def test_the_verdict_knows_significance() -> None:
    summary = summarise(invent([f"s{i}" for i in range(4)], seeds=3))
    assert summary.tests.unit == "pair of stream and seed"
    assert summary.tests.blocks == 12
    assert "significant difference, p " in summary.verdict
    few = summarise(invent([f"s{i}" for i in range(5)], seeds=2))
    assert (few.tests.unit, few.tests.blocks) == ("stream", 5)
    assert few.tests.friedman is not None
    assert {one.chance for one in few.standings} == {None}


def test_the_winner_changes_with_the_price(findings: Findings) -> None:
    cells = tuple(
        replace(one, cost=one.optimum * (1 if (one.policy == "adwin") == (one.alpha < 20) else 2))
        for one in findings.cells
        if one.policy in ("adwin", "never")
    )
    roles = {policy: findings.roles[policy] for policy in ("never", "adwin")}
    summary = summarise(replace(findings, cells=cells, roles=roles))
    assert summary.ranges == (Range("2%", "10%", "adwin"), Range("50%", "200%", "never"))


def test_a_policy_without_cells_on_a_stream_is_listed_and_not_recommended(
    findings: Findings,
) -> None:
    best = summarise(findings).best
    assert best
    cells = tuple(
        one for one in findings.cells if (one.policy, one.stream) != (best.policy, "elec2")
    )
    less = replace(findings, cells=cells)
    one = of(less, best.policy)
    assert (one.streams, one.complete, one.rank, one.wins) == (2, False, None, None)
    assert one.by_stream["elec2"] is None
    now = summarise(less).best
    assert now and now.policy != best.policy
    gone = replace(findings, cells=tuple(o for o in findings.cells if o.policy != best.policy))
    assert of(gone, best.policy).regret is None


def test_where_the_optimum_is_free_nothing_is_compared(findings: Findings) -> None:
    cells = tuple(
        replace(one, optimum=0.0) if one.stream == "elec2" else one for one in findings.cells
    )
    summary = summarise(replace(findings, cells=cells))
    assert summary.tests.blocks == 4
    assert all(one.by_stream["elec2"] is None for one in summary.standings)
    none = summarise(
        replace(findings, cells=tuple(replace(one, optimum=0.0) for one in findings.cells))
    )
    assert none.best is None
    assert none.verdict.startswith("No policy can be recommended")
    assert none.ranges == ()


def test_a_single_policy_has_nothing_to_be_compared_with(findings: Findings) -> None:
    cells = tuple(one for one in findings.cells if one.policy == "adwin")
    summary = summarise(replace(findings, cells=cells, roles={"adwin": "policy"}))
    assert "no other policy" in summary.verdict
    assert summary.tests.friedman is None


def test_the_summary_is_json_without_nan(findings: Findings) -> None:
    summary = summarise(findings)
    text = json.dumps(summary.as_json(), allow_nan=False)
    assert text == json.dumps(summarise(invent()).as_json(), allow_nan=False)
    told = json.loads(text)
    assert told["recommended"] == told["policies"][0]["policy"]
    assert told["policies"][0]["by_setting"][0]["latency"] == "0"
    fields = {field.name for field in dataclasses.fields(Standing)}
    assert set(told["policies"][0]) == fields


def test_the_order_of_cells_does_not_matter(findings: Findings) -> None:
    policies = sorted(findings.cells, key=lambda one: one.alpha)
    other = summarise(replace(findings, cells=tuple(policies)))
    for one, two in zip(other.standings, summarise(findings).standings, strict=True):
        assert one.policy == two.policy
        assert one.regret == pytest.approx(two.regret)
        assert (one.rank, one.wins, one.chance) == (two.rank, two.wins, two.chance)


def test_savings_by_hand(findings: Findings) -> None:
    found = savings(findings, "adwin")
    assert list(found) == [0, 1, 2, 5, 10, 20, 50]
    cells = [
        one for one in findings.cells if (one.policy, one.seed, one.price) == ("adwin", 1, "50%")
    ]
    now = [line.periods[5][0] + 50 * line.periods[5][1] for line in findings.timelines]
    saved = (sum(now) - sum(one.cost for one in cells)) / sum(now)
    assert found[5]["50%"].share == pytest.approx(saved)
    assert found[5]["50%"].errors == pytest.approx(saved * sum(now) / 3 / 6)
    assert savings(findings, "nobody") == {}
