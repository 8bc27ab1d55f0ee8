"""RetrainOpt is told what can be known, and nothing else; its own code does the rest.

What needs the package is skipped where it is not installed.
"""

from __future__ import annotations

import itertools
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.peers import (
    NOT_INSTALLED,
    Features,
    History,
    RetrainOptBase,
    RetrainOptLearned,
    RetrainOptPolicy,
    history_of,
    known_after,
    lessons,
    missing,
    tuned,
)
from engine.batch import Floats, plain_batch
from engine.errors import EngineError
from engine.ledger import NEVER
from engine.policies import example_view
from engine.settings import Engine, Labels, Never, Retraining
from tests.engine.doubles import letters, through

installed = pytest.mark.skipif(find_spec("retrainopt") is None, reason=NOT_INSTALLED)
BLOCK = 10
BASE = RetrainOptBase(kind="retrainopt_base")
LEARNED = RetrainOptLearned(kind="retrainopt_learned")


def drifting(steps: int, every: int = 8) -> Floats:
    """Return a loss matrix in which a model is good until the next drift, then bad."""
    era = np.arange(steps) // every
    noise = np.random.default_rng(2).uniform(0, 0.05, (steps, steps))
    losses: Floats = np.where(era[:, None] == era[None, :], 0.1, 0.5) + noise
    return losses


def history(steps: int = 40, alpha: float = 10.0, lag: int = 1) -> History:
    return History(drifting(steps), alpha, BLOCK, origin=99, lag=lag)


# --- what it learns from --------------------------------------------------------------------


def test_a_history_holds_the_mean_loss_of_each_model_on_each_block() -> None:
    rng = np.random.default_rng(1)
    errors = rng.random((5, 60))
    losses = np.concatenate([np.zeros((5, 1)), errors.cumsum(axis=1)], axis=1)
    asked = np.array([12, 19, 29, 39, 49])  # the first model need not be on the grid
    found = history_of(losses, asked, share=0.6, block=10, alpha=3.0, lag=2, failed=[1, 4])
    assert (found.steps, found.origin, found.lag, found.alpha) == (3, 9, 2, 3.0)
    for model, block in ((0, 1), (0, 2), (2, 2)):
        mean = errors[model, asked[block] + 1 : asked[block + 1] + 1].mean()
        assert found.losses[model, block] == pytest.approx(mean)
    assert found.losses[0, 0] == pytest.approx(errors[0, 13:20].mean())
    assert (found.losses[1] > 1).all() and np.isfinite(found.losses).all()


@pytest.mark.parametrize(("share", "steps"), [(0.01, 1), (0.5, 2), (0.999, 4)])
def test_a_history_is_at_least_a_block_and_never_the_whole_stream(share: float, steps: int) -> None:
    losses, asked = np.zeros((5, 61)), np.array([9, 19, 29, 39, 49])
    assert history_of(losses, asked, share=share, block=10, alpha=1.0).steps == steps
    with pytest.raises(EngineError, match="second decision"):
        history_of(losses, asked[:1], share=share, block=10, alpha=1.0)


@pytest.mark.parametrize(
    ("late", "lag"),
    [([0, 0, 0], 1), ([1, 1, 1], 2), ([10, 10, 10], 2), ([1, 11, 11], 3), ([11, NEVER, NEVER], 3)],
)
def test_when_a_blocks_loss_is_known(late: list[int], lag: int) -> None:
    assert known_after(np.array(late), 10) == lag
    assert known_after(np.array([], dtype=np.int64), 10) == 1


def test_settings_are_checked() -> None:
    assert (BASE.history, BASE.meanwhile) == (0.25, "plan")
    for share in (0.0, 1.0):
        with pytest.raises(ValidationError, match="history"):
            RetrainOptBase(kind="retrainopt_base", history=share)
    with pytest.raises(ValidationError, match="meanwhile"):
        RetrainOptLearned(kind="retrainopt_learned", meanwhile="always")  # type: ignore[arg-type]


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for absent, base in (("retrainopt", NOT_INSTALLED), ("sklearn", None)):
        monkeypatch.setattr(
            "benchmarks.peers.find_spec", lambda name, no=absent: name != no or None
        )
        assert (missing(BASE), missing(LEARNED)) == (base, NOT_INSTALLED)
    monkeypatch.setattr("benchmarks.peers.find_spec", lambda name: object())
    assert missing(LEARNED) is None


# --- what it is asked with ------------------------------------------------------------------


@dataclass
class Asked:
    """In RetrainOpt's place: notes what it is asked with, and retrains at given steps."""

    at: frozenset[int]

    def __post_init__(self) -> None:
        self.seen: dict[int, Features] = {}

    def decide(self, state: Any, *, train_size: int) -> Any:
        given = (state.current_staleness, state.accumulated_staleness)
        self.seen[state.step] = Features(*given, state.time_since_last_retrain)
        return SimpleNamespace(action="retrain" if state.step in self.at else "keep")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what RetrainOpt is told be looked at where it is not installed."""
    names = ("step", "current_staleness", "accumulated_staleness", "time_since_last_retrain")

    def state(*values: Any) -> Any:
        return SimpleNamespace(**dict(zip(names, values, strict=True)))

    monkeypatch.setattr("benchmarks.peers._rival", lambda: SimpleNamespace(OnlineState=state))


def drive(policy: RetrainOptPolicy, losses: Floats, lag: int, latency: int = 0) -> list[int]:
    """Ask a policy at every decision point, with the views that the engine would give it.

    A block's records all have the error that is their block's loss.
    """
    memory, retrains = policy.initial(), list[int]()
    model, since, ready = 0, 0, 0
    for step in range(1, len(losses)):
        if retrains and step >= ready + (latency == 0):
            model, since = retrains[-1], ready
        known = losses[model, since : max(since, step - lag + 1)]
        view = example_view(
            seq=policy.origin + step * BLOCK,
            served=(step - since) * BLOCK + (latency > 0 and since > 0),
            known=len(known) * BLOCK,
            blocks=tuple(known[-256:].tolist()),
            block=BLOCK,
            pending=step < ready,
        )
        decision, memory = policy.decide(view, memory)
        if decision.action == "retrain":
            retrains.append(step)
            ready = step + latency
    return retrains


def seen_at(step: int, losses: Floats, lag: int, retrains: list[int]) -> Features:
    """Return what is to be seen at a step, from the definitions."""
    trained = max((at for at in retrains if at < step), default=0)
    known = [losses[trained, block] for block in range(trained, step - lag + 1)]
    staleness = [float(loss - known[0]) for loss in known]
    return Features(staleness[-1] if known else 0.0, float(sum(staleness)), step - trained)


@pytest.mark.parametrize("lag", [1, 3])
def test_it_is_asked_with_what_is_known(lag: int, stand_in: None) -> None:
    losses, at = drifting(30), [4, 5, 13, 21]
    inner = Asked(frozenset(at))
    policy = RetrainOptPolicy(inner, (), takes_over=0, origin=99, block=BLOCK)
    assert drive(policy, losses, lag) == at
    assert inner.seen == {step: seen_at(step, losses, lag, at) for step in range(1, 30)}
    assert any(one.staleness > 0.3 for one in inner.seen.values()), "a drift shows"


def test_a_champion_that_serves_for_ever_keeps_its_sum(stand_in: None) -> None:
    """The engine remembers 256 blocks; the sum over them all is the policy's own."""
    inner, losses = Asked(frozenset()), drifting(300, every=100)
    drive(RetrainOptPolicy(inner, (), 0, 99, BLOCK), losses, lag=1)
    assert inner.seen[299] == seen_at(299, losses, 1, [])


def test_age_counts_from_the_request_however_long_training_takes(stand_in: None) -> None:
    inner = Asked(frozenset([5]))
    drive(RetrainOptPolicy(inner, (), 0, 99, BLOCK), drifting(20), lag=1, latency=3)
    assert 6 not in inner.seen and inner.seen[9].age == 4


def test_it_wants_nothing_between_decision_points_and_while_a_job_is_pending() -> None:
    policy = RetrainOptPolicy(None, plan=(2,), takes_over=9, origin=99, block=100)

    def asked(**given: Any) -> tuple[str, Any]:
        decision, memory = policy.decide(example_view(**given), None)
        return decision.action, memory

    assert asked(seq=298, served=199) == ("nothing", None)
    assert asked(seq=50) == ("nothing", None)
    assert asked(seq=299, served=200, pending=True)[0] == "nothing"
    assert asked(seq=299, served=200)[0] == "retrain"
    assert policy.heeds_prices


@pytest.mark.parametrize(("seq", "due"), [(10, 99), (98, 99), (99, 199), (100, 199), (198, 199)])
def test_it_wakes_at_the_next_decision_point(seq: int, due: int) -> None:
    policy = RetrainOptPolicy(None, (), takes_over=9, origin=99, block=100)
    assert policy.wake(example_view(seq=seq), None).seq == due


@pytest.mark.parametrize("latency", [0, 15])
def test_the_engine_takes_it_as_a_policy(latency: int, stand_in: None) -> None:
    """However often it is asked and however the stream is cut, it retrains at the same records."""
    batch = plain_batch({"x": [0.0] * 200}, letters(200, every=20))
    done = []
    for every, size in ((1, 1024), (BLOCK, 1024), (1, 7)):
        engine = Engine(
            policy=Never(kind="never"), detectors=(), decide_every=every, block=BLOCK,
            retraining=Retraining(first=30, window=10, latency=latency), labels=Labels(),
        )  # fmt: skip
        inner = Asked(frozenset([9, 10, 14]))
        policy = RetrainOptPolicy(inner, (2, 5), takes_over=7, origin=29, block=BLOCK)
        found = through(batch, engine, policy=policy, size=size)
        done.append((found.kinds("job_started"), inner.seen))
    assert done[0] == done[1] == done[2]
    asked = [29 + step * BLOCK for step in ((2, 5, 9, 10, 14) if not latency else (2, 5, 9, 14))]
    assert [seq for _, seq in done[0][0]] == [29, *asked]
    assert done[0][1][8].age == 3


# --- the package itself ---------------------------------------------------------------------


@installed
def test_its_plan_is_the_cheapest_schedule() -> None:
    past = history(9, alpha=2.0)

    def cost(retrains: tuple[int, ...]) -> float:
        ends = [*retrains, 9]
        total = BLOCK * past.losses[0, : ends[0]].sum() + 2.0 * len(retrains)
        for at, end in itertools.pairwise(ends):
            total += BLOCK * past.losses[at, at:end].sum()
        return float(total)

    schedules = [some for size in range(9) for some in itertools.combinations(range(1, 9), size)]
    assert lessons(past).plan.total_cost == pytest.approx(min(map(cost, schedules)))


@installed
def test_base_retrains_at_the_plans_mean_interval() -> None:
    past = history(40, alpha=10.0)
    policy = tuned(BASE, past, seed=1)
    assert policy.plan == (8, 16, 24, 32) and policy.inner.period == 10
    assert drive(policy, drifting(100), lag=1) == [8, 16, 24, 32, 42, 52, 62, 72, 82, 92]
    alone = tuned(RetrainOptBase(kind="retrainopt_base", meanwhile="never"), past, seed=1)
    assert drive(alone, drifting(100), lag=1) == [40, 50, 60, 70, 80, 90]


@installed
@pytest.mark.parametrize("lag", [1, 2])
def test_it_takes_over_when_the_whole_history_is_known(lag: int) -> None:
    assert tuned(BASE, history(40, lag=lag), seed=1).takes_over == 39 + lag


@installed
def test_learned_answers_a_drift_when_it_shows_not_when_one_was_due() -> None:
    pytest.importorskip("sklearn")
    cuts = [9, 20, 26, 41, 49, 60, 73, 80, 99]
    eras = np.searchsorted(cuts, np.arange(110), side="right")
    noise = np.random.default_rng(2).uniform(0, 0.05, (110, 110))
    losses = np.where(eras[:, None] == eras[None, :], 0.1, 0.5) + noise
    policy = tuned(LEARNED, History(losses[:55, :55], 10.0, BLOCK, 99), seed=1)
    found = drive(policy, losses, lag=1)
    assert found[:5] == cuts[:5], "as planned"
    assert {61, 74, 81, 100} <= set(found) and len(found) <= 10
    assert found == drive(pickle.loads(pickle.dumps(policy)), losses, lag=1)


@installed
@pytest.mark.parametrize("settings", [BASE, LEARNED])
def test_a_plan_without_retrains_makes_a_policy_without(
    settings: RetrainOptBase | RetrainOptLearned,
) -> None:
    if settings is LEARNED:
        pytest.importorskip("sklearn")
    policy = tuned(settings, history(10, alpha=1e6), seed=1)
    assert drive(policy, drifting(40), lag=1) == []
