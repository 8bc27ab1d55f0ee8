"""The forecasting policy: what its curve learns, and what it makes of it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engine import settings as s
from engine.forecasts import MEMORY, NO_SUMS, Sums, add, fade, fit
from engine.policies import NOTHING, Policy, State, Wake, build
from tests.engine.test_costs import seen, through


def forecast(**given: Any) -> Policy:
    return build(s.Forecast(kind="forecast", **given))


def noisy(levels: Sequence[float], seed: int = 1) -> list[float]:
    """Block errors of about these levels."""
    rng = np.random.default_rng(seed)
    return [float(np.mean(rng.random(10) < level)) for level in levels]


def sums(rows: Sequence[tuple[float, float, float]]) -> Sums:
    """Sums over blocks given as (age, birth, error)."""
    found = NO_SUMS
    for age, birth, error in rows:
        found = add(found, np.array([1.0, age, age**2, birth, error]))
    return found


WIDE = np.array([10.0, 1.0, 1.0, 1.0, 1.0])


# --- the curve ------------------------------------------------------------------------------


def test_the_curve_finds_age_birth_and_champion() -> None:
    ages = np.arange(40) / 10
    earlier = sums([(age, birth, 0.2 + 0.1 * age + 0.05 * birth) for birth in (0, 4, 8)
                    for age in ages])  # fmt: skip
    own = sums([(age, 12.0, 0.5 + 0.1 * age + 0.05 * 12) for age in ages])
    weights = fit(own, earlier, WIDE, 1e-4).weights
    assert weights == pytest.approx([0.2, 0.1, 0.0, 0.05, 0.3], abs=0.01)


def test_without_evidence_the_curve_stays_at_the_prior() -> None:
    curve = fit(sums([(0.5, 0.0, 0.2)]), NO_SUMS, 0.2 * np.array([10, 0.1, 0.1, 0.1, 0.1]), 0.01)
    assert curve.weights == pytest.approx([0.2, 0.0, 0.0, 0.0, 0.0], abs=1e-3)
    assert np.sqrt(curve.doubt[3, 3]) == pytest.approx(0.02)


def test_noise_is_learnt_from_what_the_curve_leaves() -> None:
    rng = np.random.default_rng(1)
    own = sums([(age / 50, 0.0, 0.5 + 0.1 * rng.standard_normal()) for age in range(200)])
    assert fit(own, NO_SUMS, WIDE, 1e-6).noise == pytest.approx(0.01, rel=0.3)


def test_older_blocks_count_less() -> None:
    count = add(sums([(0.0, 0.0, 0.1)] * 4000), np.ones(5))[0]
    assert count == pytest.approx(MEMORY, rel=1e-3)
    assert fade(NO_SUMS) == NO_SUMS


# --- the policy -----------------------------------------------------------------------------


def test_a_rise_is_worth_a_retrain_and_level_errors_are_not() -> None:
    rising, level = noisy([0.1] * 20 + [0.6] * 20), noisy([0.2] * 200)
    made, _ = through(forecast(), rising)
    assert made[0][0] in range(22, 30)
    assert len(through(forecast(), level, prices=s.Prices(retrain=50.0))[0]) <= 2
    assert through(forecast(), noisy([0.6] * 20 + [0.1] * 40))[0] == []


def test_a_request_shows_both_forecasts() -> None:
    (_, decision), *_ = through(forecast(horizon=100), noisy([0.1] * 20 + [0.6] * 20))[0]
    saw = json.loads(json.dumps(decision.saw, allow_nan=False))
    keep, retrain = saw["keep"], saw["retrain"]
    assert saw["errors_saved"] == pytest.approx(keep["errors"] - retrain["errors"])
    assert (saw["horizon"], saw["price"]) == (100, 10.0)
    assert retrain["errors"] < retrain["quantile"] < keep["quantile"] - saw["price"]
    assert "over 100 records" in decision.reason and "quantile 0.95" in decision.reason


def test_prices_decide() -> None:
    levels = noisy([0.1] * 20 + [0.6] * 20)
    first = {
        price: [
            count for count, _ in through(forecast(), levels, prices=s.Prices(retrain=price))[0]
        ]
        for price in (1.0, 30.0, 1000.0)
    }
    assert first[1.0][0] < first[30.0][0] and first[1000.0] == []
    assert through(forecast(), levels, prices=s.Prices(error=0.0))[0] == []
    assert through(forecast(), levels, prices=s.Prices(error=0.0, retrain=0.0))[0] == []
    scaled = through(forecast(), levels, prices=s.Prices(error=3.0, retrain=90.0))[0]
    assert [count for count, _ in scaled] == first[30.0]


def test_regression_errors_count_as_they_are() -> None:
    levels = noisy([0.1] * 20 + [0.6] * 20)
    plain = [count for count, _ in through(forecast(), levels)[0]]
    for factor in (1e6, 1e-6):
        large, prices = [factor * one for one in levels], s.Prices(retrain=10.0 * factor)
        assert [count for count, _ in through(forecast(), large, prices=prices)[0]] == plain


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_errors_that_never_vary_do_no_harm(level: float) -> None:
    assert through(forecast(), [level] * 50, prices=s.Prices(retrain=0.0))[0] == []


def relay(policy: Policy, champions: Sequence[Sequence[float]]) -> tuple[int, State]:
    """Let champions follow each other; return how often the last one made it ask."""
    state, at, made = None, 0, 0
    for levels in champions:
        found, state = through(policy, levels, state, at=at, prices=s.Prices(retrain=20.0))
        at, made = at + 10 * len(levels), len(found)
    return made, state


def test_it_learns_whether_a_new_model_helps() -> None:
    stale = noisy([0.2] * 10 + [0.5] * 10)
    cured = [noisy([0.2] * 10 + [0.5] * 10, seed) for seed in range(6)]
    alike = [noisy([0.5] * 20, seed) for seed in range(6)]
    policy = forecast(horizon=200)
    assert relay(policy, [*cured, stale])[0] > 0
    assert relay(policy, [stale, *alike, noisy([0.5] * 20, 9)])[0] == 0


def test_a_request_in_vain_is_not_repeated_at_once() -> None:
    made, _ = through(forecast(horizon=200), noisy([0.1] * 20 + [0.9] * 40))
    counts = [count for count, _ in made]
    assert np.diff(counts).min() >= 5, "a quarter of 200 records"
    assert len(counts) > 1


def test_doubt_alone_is_no_reason() -> None:
    saved = [
        decision.saw["errors_saved"]
        for seed in range(4)
        for _, decision in through(
            forecast(horizon=40), noisy([0.3] * 40, seed), prices=s.Prices(retrain=0.0)
        )[0]
    ]
    assert saved and min(saved) > 0


def test_earlier_champions_are_remembered_and_fade() -> None:
    _, state = relay(forecast(), [[0.1] * 4, [0.2] * 5, [0.3] * 3])
    kept = 1 - 1 / MEMORY
    assert state[5][0] == pytest.approx(1 + kept + kept**2)
    assert state[6][0] == pytest.approx(sum(kept**age for age in range(3, 12)))
    assert state[6][4] == pytest.approx(
        sum(0.2 * kept**age for age in range(3, 8)) + sum(0.1 * kept**age for age in range(8, 12))
    )


def test_it_asks_at_full_blocks_only_and_not_while_a_job_is_pending() -> None:
    levels = noisy([0.1] * 20 + [0.6] * 20)
    policy = forecast()
    decision, state = policy.decide(seen(levels), None)
    assert decision.action == "retrain"
    assert policy.decide(seen(levels, prices=s.Prices(retrain=0.0)), state) == (NOTHING, state)
    assert policy.wake(seen(levels), state) == Wake(errors=410)
    assert through(policy, levels, pending=True)[0] == []


def test_latency_is_that_of_the_last_request() -> None:
    policy = forecast()
    _, state = policy.decide(seen(noisy([0.1] * 20 + [0.6] * 20)), None)
    assert state[4] == (399, 400)
    _, state = policy.decide(seen([], at=400), state)
    assert state[3:5] == (0, None)
    _, state = policy.decide(seen(noisy([0.1] * 20 + [0.6] * 20)), None)
    _, state = policy.decide(seen([], at=475), state)
    assert state[3:5] == (75, None)


def test_a_new_model_is_weighed_from_when_it_would_serve() -> None:
    levels = noisy([0.1] * 20 + [0.6] * 20)
    policy = forecast(horizon=100)
    _, state = through(policy, levels[:39])
    saved = []
    for latency in (0, 100):
        memory = (*state[:3], latency, None, *state[5:])
        saved.append(policy.decide(seen(levels), memory)[0].saw["errors_saved"])
    assert saved[1] > saved[0], "the old one is older by then"


def test_its_memory_is_small_and_that_of_one_call_or_many() -> None:
    levels = noisy([0.1] * 200 + [0.15] * 56)
    policy = forecast()
    _, state = through(policy, levels, prices=s.Prices(retrain=1e6))
    assert policy.decide(seen(levels, prices=s.Prices(retrain=1e6)), None)[1] == state
    _, state = policy.decide(seen(levels[:30], at=2560), state)
    assert len(pickle.dumps(state)) < 500
