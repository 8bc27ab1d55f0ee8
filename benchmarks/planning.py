"""What `driftline hindsight` answers: the cheapest schedule of each case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.hindsight import Schedule, cheapest, cost
from benchmarks.tables import Case, problem


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The cheapest schedule of a case, and what never retraining would have cost."""

    case: Case
    schedule: Schedule
    never: float

    @property
    def retrains(self) -> list[dict[str, int]]:
        """Each retrain: the step it is asked for, the model, and the first step it serves."""
        return [
            {"step": step.decision + 1, "model": step.model, "ready": step.serves}
            for step in self.schedule.steps
        ]


def plan(case: Case) -> Plan:
    """Return the cheapest schedule of a case.

    Examples
    --------
    >>> from benchmarks.tables import cases
    >>> old = {"trained_at": 0, "serve_cost": [1, 1, 9, 9]}
    >>> new = {"trained_at": 2, "train_cost": 3, "serve_cost": [None, None, 1, 1]}
    >>> (case,) = cases({"models": [old, new]})
    >>> plan(case).schedule.total, plan(case).never, plan(case).retrains
    (7.0, 20.0, [{'step': 2, 'model': 1, 'ready': 2}])
    """
    posed = problem(case)
    return Plan(case, cheapest(posed), cost(posed, []))


def listed(plans: Iterable[Plan]) -> list[dict[str, Any]]:
    """Return plans as JSON data: id, total and schedule of each."""
    return [
        {"id": one.case.id, "total": one.schedule.total, "schedule": one.retrains} for one in plans
    ]


def print_plans(plans: Sequence[Plan], console: Console) -> None:
    """Print plans as a table; the only one also step by step."""
    console.print(_overview(plans))
    if len(plans) == 1:
        console.print()
        console.print(_stretches(plans[0]))


def _overview(plans: Sequence[Plan]) -> Table:
    """Return a table with a line for each case."""
    table = Table(header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD)
    table.add_column("case", overflow="fold")
    for heading in ("total", "if never", "saved", "retrains"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("schedule: step → model")
    for one in plans:
        total = one.schedule.total
        told = ", ".join(_retrain(step) for step in one.retrains)
        table.add_row(
            _shown(one.case.id),
            _figure(total),
            _figure(one.never),
            _figure(one.never - total),
            str(len(one.retrains)),
            told or "never retrain",
        )
    return table


def _stretches(plan: Plan) -> Table:
    """Return a table with a line for each model that serves, and the total."""
    case = plan.case
    table = Table(header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD)
    for heading in ("asked at", "model", "serves steps", "to train", "to serve", "so far"):
        table.add_column(heading, justify="right")
    starts = [0, *(one["ready"] for one in plan.retrains), case.steps]
    asked = ["–", *(str(one["step"]) for one in plan.retrains)]
    total = 0.0
    for at, index in enumerate([0, *(one["model"] for one in plan.retrains)]):
        start, end = (min(step, case.steps) for step in starts[at : at + 2])
        train = case.models[index].train_cost if at else 0.0
        serve = float(case.models[index].serve_cost[start:end].sum())
        total += train + serve
        steps = f"{start} to {end - 1}" if end > start else "none"
        figures = (_figure(train), _figure(serve), _figure(total))
        table.add_row(asked[at], str(index), steps, *figures)
    return table


def _retrain(one: dict[str, int]) -> str:
    """Return a retrain in a few words."""
    late = f" (from {one['ready']})" if one["ready"] > one["step"] else ""
    return f"{one['step']} → {one['model']}{late}"


def _figure(value: float) -> str:
    """Return a cost as people read it.

    Examples
    --------
    >>> _figure(12345.678), _figure(0.0735004), _figure(-0.0)
    ('12,345.7', '0.0735004', '0')
    """
    return f"{value + 0.0:,.6g}"


def _shown(name: str | int) -> Text:
    """Return an id as a terminal can be given it."""
    return Text("".join(one if one.isprintable() else repr(one)[1:-1] for one in str(name)))
