"""A case: one stream with one seed and label delay, for which there is one loss table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.arms import Additions, Shares
from benchmarks.findings import Track, Truth
from benchmarks.hindsight import Action, Problem, Schedule, cheapest, with_returns
from benchmarks.table import LossTable, Recipe
from benchmarks.tapes import Tape
from engine.batch import Floats
from engine.pace import Declared
from engine.seeds import derive
from engine.settings import (
    AnyPolicy,
    DetectorSetting,
    Engine,
    Latency,
    Prices,
    Retraining,
    Span,
)
from scenarios.spec import Scenario
from scenarios.streams import Stream, open_streams


@dataclass(frozen=True)
class Case:
    """One stream, seed and label delay.

    Parameters
    ----------
    scenario
        The stream as a scenario, seed and label delay included.
    base
        Folder that its paths start from.
    label_delay
        As the spec states it.
    block
        Records to a block.
    window, windows
        The policies' training window, and those that hindsight chooses from, in blocks.
    detectors
        Detectors that policies listen to besides those that they bring along.
    shares
        What trials and returns cost, as shares of a retrain.
    """

    scenario: Scenario
    base: Path
    label_delay: str
    block: int
    window: int
    windows: tuple[int, ...]
    detectors: tuple[DetectorSetting, ...] = ()
    shares: Shares = field(default_factory=Shares)

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.scenario.name

    @property
    def seed(self) -> int:
        """The seed of the stream and of the models."""
        return self.scenario.seed

    def open(self, cache: Path) -> Stream:
        """Open the stream."""
        return open_streams(self.scenario, self.base, cache)[0]

    def recipe(self, cache: Path) -> Recipe:
        """Lay the stream out, and say how its models are made."""
        stream = self.open(cache)
        tape = Tape.of(stream.batches(8192), block=self.block, first=self.window * self.block)
        windows = tuple(window * self.block for window in self.windows)
        seed, labels = derive(stream.seed, "model"), self.scenario.labels
        root = str(self.base.resolve())
        return Recipe(tape, windows, self.scenario.model, seed, root, labels.scale)

    def engine(
        self, policy: AnyPolicy, latency: Span, alpha: float, additions: Additions | None = None
    ) -> Engine:
        """Return the settings under which a policy is played."""
        return Engine(
            labels=self.scenario.labels,
            model=self.scenario.model,
            detectors=self.detectors,
            policy=policy,
            decide_every=self.block,
            block=self.block,
            retraining=self.retraining(latency, additions),
            prices=Prices(
                error=1.0,
                retrain=alpha,
                trial=alpha * self.shares.trial,
                reuse=alpha * self.shares.reuse,
            ),
            scoring=self.scenario.scoring,
        )

    def retraining(self, latency: Span, additions: Additions | None = None) -> Retraining:
        """Return what a training job is, and what stands before and after it."""
        rows = self.window * self.block
        if additions is None:
            return Retraining(first=rows, window=rows, latency=latency)
        return Retraining(
            first=rows,
            window=rows,
            latency=Latency(fixed=latency, per_trial=additions.per_trial),
            judge=additions.judge,
            tuning=additions.tuning,
            archive=additions.archive,
        )

    def truth(self, tape: Tape) -> tuple[Truth, ...] | None:
        """Return the scripted drifts; None if the truth is unknown."""
        if not self.scenario.truth_known(0):
            return None
        marks = [mark for mark in tape.batch.marks if mark.kind == "drift"]
        found = (
            Truth(one.seq, int(one.details.get("over", 0)), words(one.details)) for one in marks
        )
        return tuple(dict.fromkeys(found))  # where one ends and another begins is one change


def words(details: Mapping[str, object]) -> str:
    """Return what a drift is, in words.

    Examples
    --------
    >>> words({"drift": "concept", "shape": "abrupt", "over": 0})
    'abrupt concept drift'
    """
    kinds = [details.get(name) for name in ("shape", "drift")]
    return " ".join([*(str(one) for one in kinds if one), "drift"])


# --- hindsight ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planner:
    """The schedules that are possible on a loss table under a latency.

    Parameters
    ----------
    table
        The losses.
    latency
        How long training takes: records, or a duration.
    """

    table: LossTable
    latency: Span

    def serves(self, model: int) -> int:
        """Return the first record that a model serves, if it is asked for."""
        tape, asked = self.table.recipe.tape, self.table.recipe.fits[model].asked
        rows = len(tape.window(asked, self.table.recipe.fits[model].rows))
        return tape.reached(Declared(self.latency).ready(0, tape.moment(asked), rows))

    def points(self) -> list[int]:
        """Return the arrivals at which something can be decided: from the first model on."""
        start = self.serves(0)
        return [int(at) for at in self.table.recipe.tape.decisions if at >= start]

    def problem(self, alpha: float) -> Problem:
        """Return the planning problem at a price ratio."""
        start, fits, points = self.serves(0), self.table.recipe.fits, self.points()
        numbers = {at: number for number, at in enumerate(points)}
        actions: list[list[Action]] = [[] for _ in points]
        for model, fit in enumerate(fits[1:], 1):
            if fit.asked in numbers and not self.table.answers[model].failure:
                serves = self.serves(model)
                free = int(np.searchsorted(points, max(serves, fit.asked + 1)))
                actions[numbers[fit.asked]].append(Action(model, serves, alpha, free))
        return Problem(
            losses=self.table.losses,
            decisions=np.array(points, dtype=np.int64) + 1,
            actions=tuple(map(tuple, actions)),
            first=0,
            start=start,
        )

    def optimum(self, alpha: float) -> Schedule:
        """Return the cheapest schedule at a price ratio."""
        return cheapest(self.problem(alpha))

    def relaxed(self, alpha: float, price: float, latency: Span) -> float:
        """Return what no schedule undercuts that may return to models it had before.

        Parameters
        ----------
        alpha, price
            What a retrain and a return cost.
        latency
            How long a return takes.
        """
        tape, points = self.table.recipe.tape, self.points()
        moments = (tape.moment(at) for at in points)
        serves = [tape.reached(Declared(latency).ready(0, moment, 0)) for moment in moments]
        free = [
            int(np.searchsorted(points, max(there, at + 1)))
            for there, at in zip(serves, points, strict=True)
        ]
        return cheapest(with_returns(self.problem(alpha), serves, free, price)).total

    def track(self, retrains: list[tuple[int, int]]) -> tuple[float, Track]:
        """Return the errors of a schedule, and how it went.

        Parameters
        ----------
        retrains
            For each retrain its model, and the first record that it serves.
        """
        table = self.table
        errors: Floats = table.errors(0).copy()
        errors[: self.serves(0)] = np.nan
        served = [one for one in retrains if not table.answers[one[0]].failure]
        ends = [*(serves for _, serves in served[1:]), len(errors)] if served else []
        for (model, serves), end in zip(served, ends, strict=True):
            errors[serves:end] = table.errors(model)[serves:end]
        asked = tuple(table.recipe.fits[model].asked for model, _ in retrains)
        ready = tuple(serves for _, serves in retrains)
        means = table.recipe.tape.block_means(errors)
        return float(np.nansum(errors)), Track(asked, ready, means)

    def periodic(self, blocks: int) -> list[tuple[int, int]]:
        """Return what a fixed period of so many blocks leads to: models, and when they serve.

        It is that of the policy `every`: counted from the champion's first record and from the
        last request, no request while a job is pending.
        """
        recipe = self.table.recipe
        period, first = blocks * recipe.tape.block, self.serves(0)
        size = recipe.windows[0]
        asked: int | None = None
        found: list[tuple[int, int]] = []
        for model, fit in enumerate(recipe.fits[1:], 1):
            if fit.rows != size or fit.asked < first:
                continue
            due = first + period - 1
            if asked is not None:
                due = max(due, asked + period)
            if fit.asked >= due and fit.asked >= (found[-1][1] if found else 0):
                asked, serves = fit.asked, self.serves(model)
                first = first if self.table.answers[model].failure else serves
                found.append((model, serves))
        return found
