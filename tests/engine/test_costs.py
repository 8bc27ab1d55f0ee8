"""Policies that weigh costs: what they count, against what, and when they keep quiet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine import settings as s
from engine.costs import DOUBT, EARLIER, fresh_error
from engine.policies import (
    BLOCKS_MAX,
    NOTHING,
    Decision,
    Policy,
    State,
    View,
    Wake,
    build,
    example_view,
)

BLOCK = 10


def seen(levels: Sequence[float], at: int = 0, **given: Any) -> View:
    """A champion that serves from record `at`, each of its blocks of errors at one level."""
    errors = np.repeat(np.array(levels, dtype=np.float64), BLOCK)
    known = {
        "seq": at + len(errors) - 1,
        "served": len(errors),
        "known": len(errors),
        "errors": errors[-s.RECENT_MAX :],
        "reference": errors[: s.RECENT_MAX],
        "blocks": tuple(levels)[-BLOCKS_MAX:],
        "block": BLOCK,
        "window": 100,
        "prices": s.Prices(retrain=10.0),
    }
    return example_view(**known | given)


def through(
    policy: Policy, levels: Sequence[float], state: State = None, **given: Any
) -> tuple[list[tuple[int, Decision]], State]:
    """Ask after every block; return the requests, by the number of blocks known, and the memory."""
    made = []
    for count in range(1, len(levels) + 1):
        decision, state = policy.decide(seen(levels[:count], **given), state)
        if decision.action == "retrain":
            made.append((count, decision))
    return made, state


def asked(policy: Policy, levels: Sequence[float], **given: Any) -> list[int]:
    return [count for count, _ in through(policy, levels, **given)[0]]


def cumulative(**given: Any) -> Policy:
    return build(s.CumulativeCost(kind="cumulative_cost", **{"fresh": 20} | given))


def threshold(**given: Any) -> Policy:
    plain = {"fresh": 20, "window": 20, "horizon": 50}
    return build(s.CostThreshold(kind="cost_threshold", **plain | given))


BOTH = pytest.mark.parametrize("make", [cumulative, threshold])


# --- the fresh error ------------------------------------------------------------------------


def test_the_first_champion_tells_nothing_before_it_is_known() -> None:
    assert fresh_error(seen([0.5]), 11, None) is None
    assert fresh_error(seen([0.5]), 10, None) == (0.5, 0.0)
    assert fresh_error(seen([0.5, 0.9]), 10, None) == (0.5, 0.0), "its first errors only"


def test_earlier_champions_weigh_more_until_they_are_outvoted() -> None:
    found = [fresh_error(seen([0.8] * count), 20, 0.2) for count in (0, 1, 2, 3)]
    means = [one[0] for one in found if one is not None]
    assert means == pytest.approx([0.2, 0.2 + 0.6 / 7, 0.35, 0.35])
    assert EARLIER == 3


def test_the_standard_error_is_of_all_that_counts() -> None:
    view = seen([0.0, 1.0])
    for earlier, count in ((None, 20), (0.5, 80)):
        assert fresh_error(view, 20, earlier) == pytest.approx((0.5, 0.5 / count**0.5))


# --- both -----------------------------------------------------------------------------------


@BOTH
def test_a_steady_or_improving_champion_is_kept(make: Any) -> None:
    assert asked(make(), [0.3] * 60) == []
    assert asked(make(), [0.3] * 2 + [0.1] * 60) == []


@BOTH
def test_half_a_standard_error_is_not_staleness(make: Any) -> None:
    policy = make(window=1000, horizon=1000) if make is threshold else make()
    view = seen([0.0, 1.0] + [0.5 + DOUBT * 0.1] * 100, prices=s.Prices(retrain=0.0))
    assert policy.decide(view, None)[0].action == "nothing"
    view = seen([0.0, 1.0] + [0.5 + DOUBT * 0.12] * 100, prices=s.Prices(retrain=0.0))
    assert policy.decide(view, None)[0].action == "retrain"


@BOTH
def test_they_ask_at_full_blocks_only(make: Any) -> None:
    policy = make()
    view = seen([0.1] * 3 + [0.9] * 3)
    decision, state = policy.decide(view, None)
    assert decision.action == "retrain"
    for prices in (s.Prices(retrain=0.0), s.Prices(error=1e9)):
        again = seen([0.1] * 3 + [0.9] * 3, prices=prices)
        assert policy.decide(again, state) == (NOTHING, state)
    assert policy.wake(view, state) == Wake(errors=70)


@BOTH
def test_they_do_not_ask_while_a_job_is_pending(make: Any) -> None:
    levels = [0.1] * 3 + [0.9] * 30
    assert asked(make(), levels, pending=True) == []


@BOTH
def test_prices_decide(make: Any) -> None:
    levels = [0.1] * 3 + [0.5] * 12
    times = {
        price: len(asked(make(), levels, prices=s.Prices(retrain=price)))
        for price in (0.0, 5.0, 15.0, 500.0)
    }
    assert times[0.0] >= times[5.0] >= times[15.0] > times[500.0] == 0
    assert asked(make(), levels, prices=s.Prices(error=0.0)) == []
    assert asked(make(), levels, prices=s.Prices(error=0.0, retrain=0.0)) == []
    scaled = s.Prices(error=7.0, retrain=35.0)
    assert asked(make(), levels, prices=scaled) == asked(
        make(), levels, prices=s.Prices(retrain=5.0)
    )


@BOTH
def test_a_free_retrain_is_asked_for_once_a_block_while_there_is_staleness(make: Any) -> None:
    policy = make(window=10) if make is threshold else make()
    levels = [0.1] * 3 + [0.5] * 3 + [0.1] * 4
    assert asked(policy, levels, prices=s.Prices(retrain=0.0)) == [4, 5, 6]


@BOTH
def test_regression_errors_count_as_they_are(make: Any) -> None:
    levels = [0.1, 0.2, 0.1] + [0.5, 0.7] * 9
    large = [1000 * level for level in levels]
    plain = asked(make(), levels)
    assert plain
    assert asked(make(), large, prices=s.Prices(retrain=10_000.0)) == plain


@BOTH
def test_a_new_champion_is_held_against_its_predecessors(make: Any) -> None:
    policy = make()
    _, state = through(policy, [0.1] * 4)
    stale = [0.5] * 12
    assert asked(policy, stale) == [], "it knows no better"
    assert through(policy, stale, state, at=40)[0], "they did"


@BOTH
def test_a_world_that_became_harder_is_accepted(make: Any) -> None:
    policy = make()
    state, at, made = None, 0, []
    for level in [0.1] + [0.5] * 12:
        found, state = through(policy, [level] * 12, state, at=at)
        made.append(len(found))
        at += 120
    assert made[0] == 0 < made[1]
    assert made[-3:] == [0, 0, 0]


@BOTH
def test_a_champion_without_a_full_block_hands_on_what_it_was_given(make: Any) -> None:
    policy = make()
    _, state = through(policy, [0.1] * 4)
    _, brief = policy.decide(seen([], at=40), state)
    found = [through(policy, [0.5] * 8, one, at=50)[0] for one in (state, brief)]
    assert found[0] == found[1] != []


@BOTH
def test_labels_that_come_all_at_once_count_as_one_by_one(make: Any) -> None:
    policy, levels = make(limit=50.0), [0.3] * 3 + [0.6] * 9
    for before in (None, through(policy, [0.1] * 4)[1]):
        at_once = policy.decide(seen(levels, at=40), before)
        _, one_by_one = through(policy, levels, before, at=40)
        assert at_once[0] == NOTHING
        assert at_once[1][:4] == one_by_one[:4]
        assert (before is None) == (at_once[1][3] == pytest.approx(0.3))


@BOTH
def test_more_blocks_than_are_remembered_do_no_harm(make: Any) -> None:
    policy = make()
    levels = [0.1] * (BLOCKS_MAX + 20)
    state = policy.decide(seen(levels), None)[1]
    late = policy.decide(seen([*levels, *[0.9] * 3]), state)[0]
    assert late.action == "retrain"


@BOTH
def test_a_request_says_what_is_at_stake(make: Any) -> None:
    (_, decision), *_ = through(make(), [0.1] * 3 + [0.5] * 9)[0]
    saw = json.loads(json.dumps(decision.saw, allow_nan=False))
    assert saw["price"] == saw["limit"] == 10.0
    assert saw["horizon"] in (30, 50)
    assert saw["fresh_error"] == pytest.approx(0.1)
    assert saw.get("errors_lost", saw.get("errors_saved")) >= 10.0


# --- cumulative cost ------------------------------------------------------------------------


def test_the_cost_of_staleness_adds_up_to_a_retrain() -> None:
    # 4 errors a block above the fresh 0.1: 12 after the third
    (count, decision), *more = through(cumulative(), [0.1] * 3 + [0.5] * 9)[0]
    assert (count, decision.saw["errors_lost"]) == (6, pytest.approx(12.0))
    assert decision.saw["horizon"] == 30
    assert decision.reason == (
        "a stale model lost 12 errors in 30 records, which cost 12; the limit is 10"
    )
    assert [count for count, _ in more] == [9, 12], "a request begins the sum again"
    assert asked(cumulative(limit=1.9), [0.1] * 3 + [0.5] * 9) == [8]


def test_a_good_block_makes_up_for_bad_ones_but_not_in_advance() -> None:
    assert asked(cumulative(), [0.4] * 2 + [0.0] * 50 + [1.0, 1.0]) == [54]
    # 6 up and 4 down, to 12 at last
    assert asked(cumulative(limit=1.1), [0.4] * 2 + [1.0, 0.0] * 10) == [9, 17]


def test_staleness_during_a_job_does_not_count() -> None:
    policy = cumulative()
    levels = [0.1] * 3 + [0.5] * 9
    _, state = policy.decide(seen(levels[:5]), None)
    _, state = policy.decide(seen(levels[:11], pending=True), state)
    decision, _ = policy.decide(seen(levels), state)
    assert decision.saw["errors_lost"] == pytest.approx(12.0)


def test_what_is_taken_for_fresh_is_not_stale() -> None:
    policy = cumulative()
    for count, lost in ((2, 0.0), (3, pytest.approx(2.0 - DOUBT * 0.2 / 20**0.5 * BLOCK))):
        levels = [0.0, 0.4, 0.4][:count]
        assert policy.decide(seen(levels), None)[1][4] == lost
        assert through(policy, levels)[1][4] == lost


def test_it_does_not_ask_while_a_job_is_pending_even_if_prices_fall() -> None:
    policy = cumulative()
    _, state = through(policy, [0.1] * 3 + [0.5] * 2)
    cheaper = seen([0.1] * 3 + [0.5] * 3, prices=s.Prices(retrain=1.0), pending=True)
    assert policy.decide(cheaper, state)[0] == NOTHING


def test_half_a_window_tells_what_a_fresh_model_gets() -> None:
    policy = cumulative(fresh=None)
    assert asked(policy, [0.1] * 3 + [0.5] * 4) == [], "0.26 in the first 50"
    assert asked(policy, [0.1] * 5 + [0.5] * 3) == [8]
    tiny, huge = seen([0.1] * 3, window=1), seen([0.1] * 3, window=10**6)
    assert policy.decide(tiny, None)[1][3] == pytest.approx(0.1)
    assert policy.decide(huge, None)[1][3] is None


# --- cost threshold -------------------------------------------------------------------------


def test_staleness_now_is_held_against_a_retrain() -> None:
    # 0.2 above the fresh 0.1 over 50 records is 10, less the doubt
    made, _ = through(threshold(limit=0.7), [0.1] * 3 + [0.5] * 1)
    doubt = DOUBT * 0.2 / 20**0.5 * 50
    ((count, decision),) = made
    assert (count, decision.saw["errors_saved"]) == (4, pytest.approx(10 - doubt))
    assert decision.saw["error"] == pytest.approx(0.3)
    assert decision.reason.endswith("in 50 records, which cost 8.882; the limit is 7")
    assert asked(threshold(limit=0.9), [0.1] * 3 + [0.5] * 1) == []


def test_after_a_request_it_waits_for_a_window_of_errors() -> None:
    assert asked(threshold(), [0.1] * 3 + [0.5] * 8) == [5, 7, 9, 11]
    assert asked(threshold(window=40), [0.1] * 3 + [0.5] * 8) == [6, 10]


def test_a_horizon_is_a_window_or_as_long_as_the_champion_lasted() -> None:
    policy = threshold(horizon=None)
    found = [through(policy, [0.1] * count + [0.5] * 2)[0] for count in (3, 30)]
    assert [made[0][1].saw["horizon"] for made in found] == [100, 310]


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "given"),
    [
        (s.CumulativeCost, {"limit": 0.0}),
        (s.CumulativeCost, {"fresh": 0}),
        (s.CumulativeCost, {"fresh": s.RECENT_MAX + 1}),
        (s.CostThreshold, {"limit": 0.0}),
        (s.CostThreshold, {"fresh": 0}),
        (s.CostThreshold, {"window": s.RECENT_MAX + 1}),
        (s.CostThreshold, {"window": 0}),
        (s.CostThreshold, {"horizon": 0}),
        (s.Forecast, {"quantile": 0.0}),
        (s.Forecast, {"quantile": 1.0}),
        (s.Forecast, {"horizon": 0}),
    ],
)
def test_settings_have_bounds(one: Any, given: dict[str, Any]) -> None:
    kind = {s.CumulativeCost: "cumulative_cost", s.CostThreshold: "cost_threshold"}
    (key,) = given
    with pytest.raises(ValidationError, match=key):
        one(kind=kind.get(one, "forecast"), **given)
