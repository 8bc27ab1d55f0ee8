"""From answered tasks to findings: cells, timelines, and which policy is what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.arms import Bound, Equipped
from benchmarks.findings import TUNED, Cell, Equipment, Findings, Role, Timeline, Track, Truth
from benchmarks.grid import Task
from benchmarks.incremental import Incremental
from benchmarks.loading import Grid, ascending, price_text
from benchmarks.peers import RetrainOptBase, RetrainOptLearned
from benchmarks.spec import AnyArm, label_of


@dataclass(frozen=True, slots=True)
class Answered:
    """A task and its answer."""

    task: Task
    answer: Any


def findings_of(grid: Grid, about: Mapping[str, Any], answered: Sequence[Answered]) -> Findings:
    """Put the answers together."""
    prices = tuple(price_text(price) for price in ascending(grid.bench.alphas))
    labels = [label_of(arm) for arm in grid.arms]
    roles: dict[str, Role] = {
        label: role_of(arm) for label, arm in zip(labels, grid.arms, strict=True)
    }
    lags = [str(lag) for lag in grid.bench.latency]
    share = 1 + len(labels)
    arrived = {
        one.task.case.stream: one.answer["records"] for one in answered if one.task.name == "plan"
    }
    cells: list[Cell] = []
    timelines: list[Timeline] = []
    for at in range(0, len(answered), share):
        planned, *played = answered[at : at + share]
        lag = lags[at // share % len(lags)]
        outcomes = dict(zip(labels, (one.answer for one in played), strict=True))
        outcomes[TUNED] = planned.answer["tuned"]
        cells += cells_of(planned, lag, outcomes, prices, dict(zip(labels, grid.arms, strict=True)))
        timelines.append(timeline_of(planned, lag, outcomes, prices))
    return Findings(
        name=grid.bench.name,
        spec=about["spec"],
        replay=about["replay"],
        versions=about["versions"],
        roles={**roles, TUNED: "tuned"},
        prices=prices,
        streams=tuple(replace(one, records=arrived[one.stream]) for one in grid.streams),
        cells=tuple(cells),
        timelines=tuple(timelines),
        notes=grid.notes,
        equipped=equipment_of(grid.arms),
    )


def role_of(arm: AnyArm) -> Role:
    """Return what a policy of the spec is among the others."""
    if isinstance(arm, Incremental):
        return "control"
    return "peer" if isinstance(arm, RetrainOptBase | RetrainOptLearned) else "policy"


def equipment_of(arms: Sequence[AnyArm]) -> dict[str, Equipment]:
    """Return what arms add to their policies, by label."""
    return {
        label_of(arm): Equipment(
            parts=arm.retraining.parts,
            plain=label_of(arm.policy) if arm.policy in arms else None,
            bound=arm.retraining.bound,
        )
        for arm in arms
        if isinstance(arm, Equipped)
    }


def bound_of(arm: AnyArm | None, plan: Mapping[str, Any], at: int) -> tuple[Bound, float | None]:
    """Return what a cost is held against, and how much that is at the price with number `at`."""
    if isinstance(arm, Incremental):
        return "none", None
    if not isinstance(arm, Equipped):
        return "exact", plan["optimum"][at]["cost"]
    archive, bound = arm.retraining.archive, arm.retraining.bound
    if archive is None or bound == "none":
        return "none", None
    return bound, plan["relaxed"][str(archive.latency)][at]


def cells_of(
    planned: Answered,
    lag: str,
    outcomes: Mapping[str, Any],
    prices: Sequence[str],
    arms: Mapping[str, AnyArm],
) -> Iterator[Cell]:
    """Yield the cells of a case under one latency."""
    case, plan = planned.task.case, planned.answer
    for label, answers in outcomes.items():
        for at, (price, alpha, found, best) in enumerate(
            zip(prices, planned.task.alphas, answers, plan["optimum"], strict=True)
        ):
            bound, least = bound_of(arms.get(label), plan, at)
            paid = found["retrains"] + case.shares.trial * found["trials"]
            paid += case.shares.reuse * len(found["returns"])
            yield Cell(
                stream=case.stream,
                seed=case.seed,
                policy=label,
                price=price,
                alpha=alpha,
                latency=lag,
                label_delay=case.label_delay,
                errors=found["errors"],
                retrains=found["retrains"],
                tuning_trials=found["trials"],
                reuses=len(found["returns"]),
                rejected=len(found["rejected"]),
                cost=found["errors"] + alpha * paid,
                optimum=best["cost"],
                never=plan["never"],
                reaction=found["reaction"],
                bound=bound,
                least=least,
            )


def timeline_of(
    planned: Answered, lag: str, outcomes: Mapping[str, Any], prices: Sequence[str]
) -> Timeline:
    """Return what happened in a case under one latency."""
    case, plan = planned.task.case, planned.answer
    drifts = plan["drifts"]
    return Timeline(
        stream=case.stream,
        seed=case.seed,
        latency=lag,
        label_delay=case.label_delay,
        records=plan["records"],
        starts=tuple(plan["starts"]),
        drifts=None if drifts is None else tuple(Truth(**drift) for drift in drifts),
        tracks={
            label: dict(zip(prices, map(track_of, answers), strict=True))
            for label, answers in outcomes.items()
        },
        optimum=dict(zip(prices, map(track_of, plan["optimum"]), strict=True)),
        periods={blocks: (errors, n) for blocks, errors, n in plan["periods"]},
    )


def track_of(answer: Mapping[str, Any]) -> Track:
    """Return the track in an answer."""
    return Track(
        tuple(answer["asked"]),
        tuple(answer["ready"]),
        tuple(answer["errors_by_block"]),
        tuple((asked, serves) for asked, serves in answer["returns"]),
        tuple(answer["rejected"]),
    )
