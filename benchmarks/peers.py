"""RetrainOpt's two online policies as policies of this engine; a rival, not a dependency.

RetrainOpt (Yang and Mathioudakis, ECML PKDD 2026; Apache-2.0) finds the cheapest schedule over a
historical stretch and lets a policy learn from it when to retrain: `Base` retrains every T ÷ R
steps, T the steps and R the retrains of that schedule; `Learned` is a random forest on staleness,
accumulated staleness and age. Its own code plans, learns and decides here, through its public
interface; this module only says what it is told:

- A step is a decision point; the model trained at step t serves block t, the records after it. Its
  loss there is the mean error, its price is alpha errors, all windows have the size of the spec.
- Staleness is as RetrainOpt defines it: the champion's loss now less its loss when it was fresh. No
  other model's loss is needed, so it can be known online.
- RetrainOpt looks at the block that it is about to serve, and so it does in the history that it
  learns from. Online nobody can: there "now" is the champion's newest block whose labels are known,
  one back, or more if labels are late. Before its first block is known its staleness is 0. (To let
  `Learned` learn from blocks known in time, too, made it worse: its plan retrains at a drift's
  first block, when nothing shows yet.)
- RetrainOpt knows no latency: its plan serves at once. Age counts from the request.
- The history is a stretch at the beginning of the stream on which everything is known, every model
  that could have been trained there included. Meanwhile the peer follows the plan made from it,
  the cheapest for this stretch by itself (`meanwhile: plan`; that is hindsight, in its favour), or
  keeps the first model (`never`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from engine.batch import FOREVER, Floats, Ints
from engine.errors import EngineError
from engine.settings import Settings
from engine.views import NOTHING, Decision, Plain, State, View, Wake, outlook

VERSION = "0.4.2"
"""The version of RetrainOpt that this was written for."""
RETRAIN = "retrain"
"""The value of RetrainOpt's `DecisionAction` for that."""
NOT_INSTALLED = f"retrainopt is not installed: pip install 'retrainopt[sklearn]=={VERSION}'"


class _RetrainOpt(Settings):
    """What both policies share: how much of the stream is history, and what to do in it."""

    history: Annotated[float, Field(gt=0, lt=1)] = 0.25
    meanwhile: Literal["plan", "never"] = "plan"


class RetrainOptBase(_RetrainOpt):
    """RetrainOpt's Base: retrain at the mean interval of the historical plan."""

    kind: Literal["retrainopt_base"]


class RetrainOptLearned(_RetrainOpt):
    """RetrainOpt's Learned: a random forest that imitates the historical plan."""

    kind: Literal["retrainopt_learned"]


def missing(settings: RetrainOptBase | RetrainOptLearned) -> str | None:
    """Return why a policy cannot be had here; None if it can.

    Examples
    --------
    >>> missing(RetrainOptBase(kind="retrainopt_base")) in (None, NOT_INSTALLED)
    True
    """
    needed = ["retrainopt"] + ["sklearn"] * (settings.kind == "retrainopt_learned")
    return None if all(find_spec(one) is not None for one in needed) else NOT_INSTALLED


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The stretch of a stream that the peer learns from.

    Parameters
    ----------
    losses
        Shape `(steps, steps)`: mean error of the model trained at step i on block j, for j ≥ i.
    alpha
        Price of a retrain in errors.
    block
        Records in a block.
    origin
        The arrival of step 0, of the first model's training or less than a block before it.
    lag
        How many steps after its beginning the loss of a block is known, see `known_after`.
    """

    losses: Floats
    alpha: float
    block: int
    origin: int
    lag: int = 1

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return len(self.losses)


def history_of(
    losses: Floats,
    asked: Ints,
    *,
    share: float,
    block: int,
    alpha: float,
    lag: int = 1,
    failed: Sequence[int] = (),
) -> History:
    """Return the history that the first `share` of a stream's models makes.

    Parameters
    ----------
    losses
        Cumulative errors, shape `(models, records + 1)`: column k is the sum over the first k
        records. One model a decision point, all with the window that policies use.
    asked
        The arrival at which each model is asked for, from the second on `block` apart.
    share
        How much of the stream is history; at least one whole block is.
    block, alpha, lag
        See `History`.
    failed
        The models that could not be trained: no plan uses them.

    Raises
    ------
    EngineError
        If the stream is too short to have one.

    Examples
    --------
    >>> errors = np.array([[0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0]], dtype=float)
    >>> history_of(errors, np.array([0, 2, 4]), share=0.7, block=2, alpha=5.0).losses.tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    if len(asked) < 2:
        raise EngineError("RetrainOpt needs a history: the stream ends before a second decision")
    steps = max(1, int(share * len(asked)))
    edges = asked[: steps + 1] + 1
    means = np.diff(losses[:steps][:, edges], axis=1) / np.diff(edges)
    means[[model for model in failed if model < steps]] = means.max() + 1.0
    return History(means, alpha, block, int(asked[1]) - block, lag)


def known_after(late: Ints, block: int) -> int:
    """Return how many steps after its beginning the loss of a block is known, in the median.

    Parameters
    ----------
    late
        How many arrivals after its record each label is known; very many if it never comes.
    block
        Records in a block.

    Examples
    --------
    >>> known_after(np.zeros(5, dtype=np.int64), 100), known_after(np.array([150, 150, 999]), 100)
    (1, 3)
    """
    there = late[late < FOREVER]
    return 1 + math.ceil(float(np.median(there)) / block) if len(there) else 1


@dataclass(frozen=True, slots=True)
class Features:
    """What RetrainOpt looks at before it decides: losses, and an age in steps."""

    staleness: float
    accumulated: float
    age: int


def tuned(
    settings: RetrainOptBase | RetrainOptLearned, history: History, seed: int
) -> RetrainOptPolicy:
    """Return the policy that RetrainOpt makes of a history.

    Parameters
    ----------
    settings
        Which of the two.
    history
        What it learns from.
    seed
        Of the random forest.
    """
    rival, taught = _rival(), lessons(history)
    plan = [at for at, one in enumerate(taught.decisions) if one.action == RETRAIN]
    if settings.kind == "retrainopt_base":
        inner = rival.BaseOnlinePolicy.from_plan(taught.plan)
    else:
        inner = rival.LearnedOnlinePolicy(random_seed=seed % 2**32).fit(
            taught.states, taught.decisions
        )
    takes_over = history.steps + history.lag - 1
    followed = tuple(plan) if settings.meanwhile == "plan" else ()
    return RetrainOptPolicy(inner, followed, takes_over, history.origin, history.block)


def lessons(history: History) -> Any:
    """Return RetrainOpt's cheapest schedule over a history, and what it looks at step by step.

    That is a `retrainopt.OnlineTrainingData`.
    """
    rival = _rival()
    weights = {"time_cost_weight": 0.0, "loss_cost_weight": float(history.block)}
    return rival.collect_online_training_data(
        _Timeline(history.steps),
        _Models(history.losses),
        rival.PlannerConfig(n_choices=(1.0,), **weights),
        history_steps=history.steps,
        initial_model=0,
        initial_reference_loss=float(history.losses[0, 0]),
        training_cost_fn=lambda **_: history.alpha,
    )


def _rival() -> Any:
    """Return RetrainOpt's package."""
    import retrainopt  # type: ignore[import-not-found,unused-ignore]

    return retrainopt


@dataclass(frozen=True, slots=True)
class _Timeline:
    """RetrainOpt's view of a history: what it trains on and evaluates on is named by its step."""

    num_steps: int

    def train_size(self, step: int) -> int:
        return 1

    def get_train_block(self, step: int) -> int:
        return step

    def get_eval_block(self, step: int) -> int:
        return step

    def sample_train_block(self, step: int, n_samples: int, *, seed: int) -> int:
        return step


@dataclass(frozen=True, slots=True, eq=False)
class _Models:
    """RetrainOpt's view of models: each is the step at which it was trained."""

    losses: Floats

    def fit(self, train_data: int, *, step: int, n_samples: int, random_seed: int) -> int:
        return train_data

    def evaluate(self, model: int, eval_data: int, *, step: int) -> float:
        return float(self.losses[model, eval_data])


@dataclass(frozen=True, slots=True, eq=False)
class RetrainOptPolicy(Plain):
    """One of RetrainOpt's online policies, asked at each decision point.

    Between decision points it wants nothing, and neither while a job is pending. Its memory is
    (champion's first record, its step, step of the last request, blocks counted, loss of the first
    block, accumulated staleness).

    Parameters
    ----------
    inner
        A `retrainopt.OnlinePolicy`.
    plan
        The steps of the history at which to retrain.
    takes_over
        The first step at which `inner` is asked.
    origin
        The arrival of step 0.
    block
        Records between decision points.

    Examples
    --------
    >>> from engine.views import example_view
    >>> policy = RetrainOptPolicy(None, plan=(2,), takes_over=9, origin=99, block=100)
    >>> policy.wake(example_view(seq=105), None)
    Wake(seq=199, time=None, errors=None)
    >>> policy.decide(example_view(seq=299, served=200), None)[0].reason
    'the historical plan retrains at step 2'
    """

    inner: Any
    plan: tuple[int, ...]
    takes_over: int
    origin: int
    block: int

    @property
    def heeds_prices(self) -> bool:
        """Whether prices change what it does: its plan was made with them."""
        return True

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        step, beside = divmod(view.seq - self.origin, self.block)
        if beside:
            return NOTHING, state
        first, trained, asked, *sums = _remembered(view, state)
        memory = (first, trained, asked, *sums)
        if view.pending:
            return NOTHING, memory
        if step < self.takes_over:
            reason = f"the historical plan retrains at step {step}" if step in self.plan else ""
            saw = outlook(view)
        else:
            seen = self.features(view, memory)
            reason = self._wants(step, seen, view.window)
            saw = {"staleness": seen.staleness, "accumulated": seen.accumulated, "age": seen.age}
            saw |= outlook(view)
        if not reason:
            return NOTHING, memory
        return Decision("retrain", reason, saw), (first, trained, step, *sums)

    def features(self, view: View, memory: State) -> Features:
        """Return what RetrainOpt looks at, given the memory as of now."""
        _, trained, _, counted, reference, accumulated = memory
        staleness = view.blocks[-1] - reference if counted else 0.0
        return Features(staleness, accumulated, (view.seq - self.origin) // self.block - trained)

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        gone = (view.seq - self.origin) // self.block
        return Wake(seq=self.origin + (gone + 1) * self.block)

    def _wants(self, step: int, seen: Features, window: int) -> str:
        """Return why RetrainOpt would retrain; empty if it would not."""
        state = _rival().OnlineState(step, seen.staleness, seen.accumulated, seen.age)
        if self.inner.decide(state, train_size=window).action != RETRAIN:
            return ""
        figures = f"staleness {seen.staleness:.4g}, accumulated {seen.accumulated:.4g}"
        return f"RetrainOpt would at {figures}, age {seen.age}"


def _remembered(view: View, state: State) -> tuple[Any, ...]:
    """Return a policy's memory, brought up to date with the champion's newest blocks."""
    if state is None:
        state = (view.first, 0, 0, 0, 0.0, 0.0)
    first, trained, asked, counted, reference, accumulated = state
    if view.first != first:  # a new champion: the one that was asked for
        first, trained, counted, accumulated = view.first, asked, 0, 0.0
    full = view.known // view.block
    fresh = view.blocks[len(view.blocks) - min(len(view.blocks), full - counted) :]
    if fresh and counted == 0:
        reference = fresh[0]
    for loss in fresh:
        accumulated += loss - reference
    return first, trained, asked, full, reference, accumulated
