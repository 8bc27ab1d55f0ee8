"""The work of a benchmark in tasks that any process can do, each with an answer in JSON.

A task is asked for by name: `fit` trains a case's models, `plan` finds the hindsight optimum and
the fixed periods, `play` runs one policy at every price.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arena import Played, play, reaction
from benchmarks.arms import Additions, Equipped
from benchmarks.cases import Case, Planner
from benchmarks.findings import Track
from benchmarks.incremental import Incremental, incremental_errors
from benchmarks.peers import RetrainOptBase, RetrainOptLearned, history_of, known_after
from benchmarks.peers import tuned as learned
from benchmarks.spec import AnyArm
from benchmarks.table import LossTable, Shelf, answer, build
from engine.errors import EngineError
from engine.policies import Policy
from engine.policies import build as build_policy
from engine.settings import AnyPolicy, CatBoostModel, Every, Never, Span
from engine.training.pool import InlineTrainer
from engine.training.store import Store

RESULT_VERSION = 3
"""Raise this when an answer changes its meaning: older ones are then made anew."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done about a case.

    Parameters
    ----------
    name
        ``fit``, ``plan`` or ``play``.
    case
        The case.
    models
        The numbers of the models to fit.
    latency
        How long training takes.
    alphas
        The price ratios, in errors.
    arm
        The policy to play.
    returns
        How long returns to earlier models take, for each a relaxed bound is planned.
    """

    name: str
    case: Case
    models: tuple[int, ...] = ()
    latency: Span = 0
    alphas: tuple[float, ...] = ()
    arm: AnyArm | None = None
    returns: tuple[Span, ...] = ()

    def identity(self, versions: Mapping[str, str]) -> str:
        """Return a hash of all that the answer depends on, besides the stream's own data."""
        case = self.case
        content = {
            "result": RESULT_VERSION,
            "versions": dict(versions),
            "task": [self.name, self.latency, self.alphas, self.returns],
            "arm": self.arm.model_dump(mode="json") if self.arm else None,
            "scenario": case.scenario.model_dump(mode="json"),
            "cut": [case.block, case.window, case.windows],
            "shares": case.shares.model_dump(),
            "detectors": [one.model_dump(mode="json") for one in case.detectors],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Hand:
    """Does tasks, one after another; keeps what the next task about the same case needs.

    Parameters
    ----------
    cache
        Folder of results that runs share.
    private
        Folder of this benchmark: users' own models, whose code may change, stay in there.
    """

    def __init__(self, cache: Path, private: Path) -> None:
        self.cache, self.private = cache, private
        self._open: Opened | None = None

    def do(self, task: Task) -> Any:
        """Do a task and return its answer."""
        if self._open is None or self._open.case != task.case:
            self._open = Opened(task.case, self.cache, self.private)
        if task.name == "fit":
            return fit(self._open, task.models)
        planner = Planner(self._open.table, task.latency)
        if task.name == "plan":
            return plan(self._open, planner, task.alphas, task.returns)
        assert task.arm is not None
        return play_arm(self._open, planner, task.arm, task.alphas)


class Opened:
    """A case whose stream is laid out."""

    def __init__(self, case: Case, cache: Path, private: Path) -> None:
        self.case = case
        shared = isinstance(case.scenario.model, CatBoostModel)
        answers = (cache if shared else private) / "answers"
        self.shelf = Shelf(Store(private / "models", cache / "models"), answers)
        self.recipe = case.recipe(cache)
        self.stream_seed = case.open(cache).seed
        if not self.recipe.fits:
            raise EngineError(f"{case.stream}: too few labels come for a first model")

    @cached_property
    def table(self) -> LossTable:
        """The loss table; what is not there yet is made."""
        table = build(self.recipe, self.shelf)
        if table.answers[0].failure:
            raise EngineError(f"{self.case.stream}: no first model: {table.answers[0].failure}")
        return table


def fit(opened: Opened, models: Sequence[int]) -> int:
    """Train models and ask each about the whole stream; return how many."""
    there = [model for model in models if model < len(opened.recipe.fits)]
    for model in there:
        answer(opened.recipe, opened.recipe.fits[model], opened.shelf)
    return len(there)


def plan(
    opened: Opened, planner: Planner, alphas: Sequence[float], returns: Sequence[Span] = ()
) -> dict[str, Any]:
    """Find the optimum at each price, bounds for arms that return, and what fixed periods cost."""
    tape = opened.recipe.tape
    drifts = opened.case.truth(tape)
    optimum = []
    for alpha in alphas:
        steps = [(step.model, step.serves) for step in planner.optimum(alpha).steps]
        errors, track = planner.track(steps)
        optimum.append({"cost": errors + alpha * len(steps), **told(errors, len(steps), track)})
    never, _ = planner.track([])
    periods: dict[int, tuple[float, int]] = {}
    for blocks in range(1, len(tape.starts) + 1):
        retrains = planner.periodic(blocks)
        if not retrains:
            break
        periods[blocks] = (planner.track(retrains)[0], len(retrains))
    reuse = opened.case.shares.reuse
    return {
        "records": len(tape),
        "starts": tape.starts.tolist(),
        "drifts": None if drifts is None else [asdict(drift) for drift in drifts],
        "never": never,
        "optimum": optimum,
        "relaxed": {
            str(lag): [planner.relaxed(alpha, reuse * alpha, lag) for alpha in alphas]
            for lag in returns
        },
        "periods": [[blocks, *found] for blocks, found in periods.items()],
        "tuned": tuned(opened, planner, periods, never, alphas),
    }


def tuned(
    opened: Opened,
    planner: Planner,
    periods: Mapping[int, tuple[float, int]],
    never: float,
    alphas: Sequence[float],
) -> list[dict[str, Any]]:
    """Play the best fixed period, or never, at each price; the engine must agree with the table.

    Raises
    ------
    EngineError
        If it does not.
    """
    played: dict[int, dict[str, Any]] = {}
    found = []
    for alpha in alphas:
        costs = {blocks: errors + alpha * n for blocks, (errors, n) in periods.items()}
        best = min(costs, key=lambda blocks: (costs[blocks], -blocks), default=0)
        if not best or costs[best] >= never:
            best = 0
        if best not in played:
            policy = Every(kind="every", blocks=best or len(opened.recipe.tape))
            done = one(opened, planner, policy, alpha)
            expected = (periods[best][0], periods[best][1]) if best else (never, 0)
            if abs(done["errors"] - expected[0]) > 1e-6 or done["retrains"] != expected[1]:
                raise EngineError(
                    f"{opened.case.stream}: every {best} blocks came to {done['errors']:g} errors "
                    f"and {done['retrains']} retrains, the table says {expected}"
                )
            played[best] = done | {"period": best}
        found.append(played[best])
    return found


def play_arm(
    opened: Opened, planner: Planner, arm: AnyArm, alphas: Sequence[float]
) -> list[dict[str, Any]]:
    """Play a policy at each price; once for all if it does not look at prices."""
    if isinstance(arm, Incremental):
        return [incremental(opened, planner, arm)] * len(alphas)
    if isinstance(arm, RetrainOptBase | RetrainOptLearned):
        return [peer(opened, planner, arm, alpha) for alpha in alphas]
    policy, additions = (arm.policy, arm.retraining) if isinstance(arm, Equipped) else (arm, None)
    heeds = build_policy(policy).heeds_prices
    found = [
        one(opened, planner, policy, alpha, additions=additions)
        for alpha in (alphas if heeds else alphas[:1])
    ]
    return found if heeds else found * len(alphas)


def peer(
    opened: Opened, planner: Planner, arm: RetrainOptBase | RetrainOptLearned, alpha: float
) -> dict[str, Any]:
    """Let RetrainOpt learn from the beginning of the stream, and play what it has learned."""
    recipe, table, tape = opened.recipe, opened.table, opened.recipe.tape
    mine = [0, *(at for at, one in enumerate(recipe.fits) if at and one.rows == recipe.windows[0])]
    past = history_of(
        table.losses[mine],
        np.array([recipe.fits[at].asked for at in mine]),
        share=arm.history,
        block=tape.block,
        alpha=alpha,
        lag=known_after(tape.known - np.arange(len(tape)), tape.block),
        failed=[at for at, model in enumerate(mine) if table.answers[model].failure],
    )
    return one(opened, planner, Never(kind="never"), alpha, learned(arm, past, seed=recipe.seed))


def one(
    opened: Opened,
    planner: Planner,
    arm: AnyPolicy,
    alpha: float,
    policy: Policy | None = None,
    additions: Additions | None = None,
) -> dict[str, Any]:
    """Play a policy at one price; `policy` is one that no settings describe.

    With additions, models are fitted or taken from the cache and asked anew: the loss table knows
    only what untuned models answer to what comes after them.
    """
    engine = opened.case.engine(arm, planner.latency, alpha, additions)
    done: Played = play(
        engine,
        opened.table,
        opened.shelf,
        seed=opened.stream_seed,
        policy=policy,
        trainer=None if additions is None else InlineTrainer(opened.shelf.store),
    )
    tape = opened.recipe.tape
    answered = reaction(done.track, opened.case.truth(tape), len(tape))
    return told(done.errors, done.retrains, done.track, done.trials) | {"reaction": answered}


def incremental(opened: Opened, planner: Planner, arm: Incremental) -> dict[str, Any]:
    """Let an incremental learner go along; it is scored where the others are."""
    tape, case = opened.recipe.tape, opened.case
    errors = incremental_errors(
        tape.batch,
        tape.now,
        model=arm.model,
        seed=opened.recipe.seed,
        scale=case.scenario.labels.scale,
        first_scored=planner.serves(0),
    )
    return told(float(np.nansum(errors)), 0, Track((), (), tape.block_means(errors)))


def told(errors: float, retrains: int, track: Track, trials: int = 0) -> dict[str, Any]:
    """Return a schedule's outcome, JSON-ready."""
    return {
        "errors": errors,
        "retrains": retrains,
        "trials": trials,
        "reaction": None,
        "asked": track.asked,
        "ready": track.ready,
        "errors_by_block": track.errors,
        "returns": track.returns,
        "rejected": track.rejected,
    }
