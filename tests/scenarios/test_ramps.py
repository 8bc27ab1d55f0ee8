from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.ramps import switches, weight
from scenarios.spec import Drift

ROWS = np.arange(400)


def drift_of(**settings: Any) -> Drift:
    return Drift(**settings)


@st.composite
def drifts(draw: st.DrawFn) -> Drift:
    at, over = draw(st.integers(0, 150)), draw(st.integers(0, 80))
    period = draw(st.none() | st.integers(max(1, over), 120))
    shape = "abrupt" if over == 0 else draw(st.sampled_from(["gradual", "incremental"]))
    until = draw(st.none() | st.integers(at + 1, 300))
    return drift_of(
        at=at,
        over=over,
        until=until,
        shape=shape if period is None else "recurring",
        period=period,
        ramp=draw(st.sampled_from(["linear", "sigmoid"])),
    )


@given(drifts())
def test_weights_are_shares_and_zero_outside(drift: Drift) -> None:
    weights = weight(drift, ROWS)
    assert weights.dtype == np.float64
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights[: drift.at] == 0).all()
    assert weights[drift.at] > 0
    if drift.until is not None:
        assert (weights[drift.until + drift.over :] == 0).all()


@given(drifts(), st.integers(0, 400))
def test_a_weight_depends_on_its_row_alone(drift: Drift, cut: int) -> None:
    parts = [weight(drift, ROWS[:cut]), weight(drift, ROWS[cut:])]
    assert np.array_equal(np.concatenate(parts), weight(drift, ROWS))


@pytest.mark.parametrize("ramp", ["linear", "sigmoid"])
@pytest.mark.parametrize("over", [1, 7, 100])
def test_a_ramp_rises_to_exactly_one_and_falls_to_exactly_zero(ramp: str, over: int) -> None:
    weights = weight(drift_of(at=50, over=over, ramp=ramp, until=200), ROWS)
    assert (weights[50 + over : 200] == 1).all()
    assert (np.diff(weights[:200]) >= 0).all()
    assert (np.diff(weights[199:]) <= 0).all()
    assert (weights[200 + over :] == 0).all()
    assert weights[199] == 1 > weights[200]
    assert weights[50 + over // 2] == pytest.approx(0.5, abs=0.3)


def test_the_two_ramps_differ() -> None:
    linear, sigmoid = (weight(drift_of(at=0, over=99, ramp=r), ROWS) for r in ("linear", "sigmoid"))
    assert linear[24] == 0.25
    assert sigmoid[24] < 0.1
    assert linear[49] == sigmoid[49] == 0.5


def test_a_ramp_cut_short_goes_back_from_where_it_had_got_to() -> None:
    weights = weight(drift_of(at=0, over=99, until=50, ramp="linear"), ROWS)
    assert weights.argmax() == 49
    assert weights.max() == 0.5
    assert (np.diff(weights[49:]) <= 0).all()


def test_recurring_comes_and_goes() -> None:
    weights = weight(drift_of(at=10, shape="recurring", period=20, until=85), ROWS)
    new = [*range(10, 30), *range(50, 70)]
    assert np.flatnonzero(weights).tolist() == new
    assert set(weights) == {0.0, 1.0}


@given(drifts(), st.integers(1, 400))
def test_switches_are_where_the_weights_turn(drift: Drift, rows_total: int) -> None:
    found = switches(drift, rows_total)
    assert all(row < rows_total for row, _ in found)
    assert [phase for _, phase in found] == ["start", "return"] * (len(found) // 2) + ["start"] * (
        len(found) % 2
    )
    assert [row for row, _ in found] == sorted({row for row, _ in found})
    if drift.over == 0:
        weights = weight(drift, np.arange(-1, rows_total))
        assert (np.flatnonzero(np.diff(weights))).tolist() == [row for row, _ in found]


def test_switches_of_a_drift_that_begins_too_late() -> None:
    assert switches(drift_of(at=100), rows_total=100) == []
    assert switches(drift_of(at=10, until=100), rows_total=100) == [(10, "start")]


def test_until_in_an_old_regime_is_no_switch() -> None:
    recurring = drift_of(at=10, shape="recurring", period=20, until=45)
    assert switches(recurring, rows_total=400) == [(10, "start"), (30, "return")]
