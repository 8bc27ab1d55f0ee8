"""The cheapest schedule is found: against tables worked out by hand, and against all schedules."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.hindsight import Action, Problem, cheapest, cost, with_returns
from benchmarks.planning import plan
from benchmarks.tables import Case, cases, problem, read
from engine.errors import InputError
from tests.e2e.driving import ROOT, driftline

EXAMPLE = ROOT / "benchmarks" / "examples" / "ice_cream.json"


# --- by hand --------------------------------------------------------------------------------


def model(trained_at: int, train_cost: float, *serve_cost: float | None) -> dict[str, Any]:
    """Return a model as a table has it, with nulls before it exists."""
    costs = [None] * trained_at + list(serve_cost)
    return {"trained_at": trained_at, "train_cost": train_cost, "serve_cost": costs}


SHIFT = {
    "id": "shift",
    "models": [
        model(0, 0, 1, 1, 1, 10, 10, 10),
        model(2, 1, 1, 9, 9, 9),
        model(3, 5, 2, 2, 2),
        model(3, 6.5, 1, 1, 1),
        model(4, 5, 1, 1),
    ],
}
"""The world changes at step 3: 3 steps of the old model for 3, then model 2 for 5 + 6, makes 14;
model 3 for 6.5 + 3 makes 12.5."""
SEASONS = {
    "id": "seasons",
    "models": [
        model(0, 0, 1, 6, 6, 1, 1, 6, 6),
        model(1, 3, 1, 1, 5, 5, 1, 1),
        model(3, 3, 1, 1, 6, 6),
        model(5, 3, 1, 1),
    ],
}
"""To change with each season costs 1, 3 + 2, 3 + 2 and 3 + 2; to keep model 1 over the second
season costs 1, then 3 + 2, 10 and 2; never costs 27."""
DEAR = {"id": 7, "steps": 3, "models": [model(0, 99, 4, 4, 4), model(1, 9, 1, 1)]}
"""A retrain would cost 4 + 9 + 2; the first model's training is free."""


@pytest.mark.parametrize(
    ("table", "latency", "total", "schedule"),
    [
        (SHIFT, 0, 12.5, [(3, 3, 3)]),
        (SHIFT, 1, 3 + 10 + 6.5 + 2, [(3, 3, 4)]),
        (SHIFT, 2, 3 + 20 + 5 + 2, [(3, 2, 5)]),  # for one step the cheap one is enough
        (SHIFT, 3, 33, []),
        (SEASONS, 0, 16, [(1, 1, 1), (3, 2, 3), (5, 3, 5)]),
        (SEASONS, 1, 7 + 3 + 1 + 10 + 2, [(1, 1, 2)]),  # the next season's would come too late
        (SEASONS, 2, 27, []),  # model 1 would make 13 + 3 + 10 + 2
        (DEAR, 0, 12, []),
    ],
)
def test_tables_worked_out_by_hand(
    table: dict[str, Any], latency: int, total: float, schedule: list[tuple[int, int, int]]
) -> None:
    (case,) = cases(table, latency)
    found = plan(case)
    assert [(one["step"], one["model"], one["ready"]) for one in found.retrains] == schedule
    assert found.schedule.total == total


def test_of_equal_choices_keeping_comes_first_then_the_first_action() -> None:
    same = [model(0, 0, 2, 2, 2), model(1, 0, 2, 2), model(2, 0, 2)]
    assert plan(*cases({"models": same})).retrains == []
    better = [model(0, 0, 2, 2, 2), model(1, 1, 1, 2), model(1, 0, 1, 1), model(1, 0, 1, 1)]
    assert [one["model"] for one in plan(*cases({"models": better})).retrains] == [2]


def test_a_job_that_pays_is_taken_even_if_its_model_never_serves() -> None:
    (case,) = cases({"models": [model(0, 0, 1, 1), model(1, -2, 1)]}, latency=5)
    assert plan(case).schedule.total == 0
    assert plan(case).retrains == [{"step": 1, "model": 1, "ready": 6}]


# --- against all schedules ------------------------------------------------------------------


def schedules(posed: Problem, at: int = 0) -> Iterator[list[tuple[int, int]]]:
    """Yield all schedules that the rules allow from a decision on."""
    yield []
    for decision in range(at, len(posed.decisions)):
        for index, action in enumerate(posed.actions[decision]):
            for rest in schedules(posed, action.free):
                yield [(decision, index), *rest]


def random_problem(rng: np.random.Generator) -> Problem:
    """Return a problem with uneven decisions, latencies and label delays; whole costs tie often."""
    models, end, count = rng.integers(2, 6), int(rng.integers(1, 41)), int(rng.integers(0, 9))
    start = int(rng.integers(0, end // 3 + 1))
    places = np.sort(rng.integers(start, end + 1, count))
    world = np.repeat(rng.integers(0, 6, (models, 8)), 5, axis=1)[:, :end]  # turns every fifth
    losses = np.concatenate([np.zeros((models, 1)), world], axis=1)
    actions = []
    for at, place in enumerate(places):
        here = []
        for _ in range(rng.integers(0, 4)):
            serves = int(place + rng.integers(0, 6))
            ready = [k for k in range(at + 1, count) if places[k] >= serves]
            free = int(rng.choice([*ready, count][:2]))
            here.append(Action(int(rng.integers(models)), serves, float(rng.integers(3)), free))
        actions.append(tuple(here))
    first = int(rng.integers(models))
    return Problem(losses.cumsum(axis=1), places, tuple(actions), first, start)


@pytest.mark.parametrize("seed", range(4))
def test_no_schedule_of_a_random_problem_is_cheaper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    acted = 0
    for _ in range(100):
        posed = random_problem(rng)
        found = cheapest(posed)
        assert found.total == min(cost(posed, one) for one in schedules(posed))
        chosen = [(step.decision, step.action) for step in found.steps]
        assert cost(posed, chosen) == found.total
        for step in found.steps:
            action = posed.actions[step.decision][step.action]
            assert (step.model, step.serves) == (action.model, action.serves)
        acted += len(chosen) > 1
    assert acted > 10


def played(table: dict[str, Any], latency: int, wishes: dict[int, int]) -> float | None:
    """Return what wishes (step, model) cost step by step; None if one comes while another runs."""
    serving, awaited, ready, total = 0, None, 0, 0.0
    for step in range(table["steps"]):
        if awaited is not None and step >= ready:
            serving, awaited = awaited, None
        if step in wishes:
            if awaited is not None:
                return None
            awaited, ready = wishes[step], step + latency
            total += table["models"][awaited]["train_cost"]
            if latency == 0:
                serving, awaited = awaited, None
        total += table["models"][serving]["serve_cost"][step]
    return total


def all_wishes(table: dict[str, Any], step: int = 1) -> Iterator[dict[int, int]]:
    """Yield all ways to wish for models, possible or not."""
    if step == table["steps"]:
        yield {}
        return
    for rest in all_wishes(table, step + 1):
        yield rest
        for index, one in enumerate(table["models"]):
            if one["trained_at"] == step:
                yield {step: index, **rest}


def random_table(rng: np.random.Generator, label_delay: int) -> dict[str, Any]:
    """Return a table whose models know the labels of `label_delay` steps ago.

    What a model costs depends on the last step that it knows; sometimes there are two, or none.
    """
    steps = int(rng.integers(1, 8))
    world = rng.integers(0, 3, steps)
    models = [model(0, 0, *rng.integers(0, 9, steps).tolist())]
    for step in range(1, steps):
        known = world[max(step - 1 - label_delay, 0)]
        for _ in range(rng.integers(0, 3)):
            costs = 1.0 + 3.0 * (world[step:] != known) + rng.integers(0, 3, steps - step) / 4
            models.append(model(step, float(rng.integers(0, 4)), *costs.tolist()))
    return {"steps": steps, "models": models}


@pytest.mark.parametrize("latency", range(4))
def test_no_schedule_of_a_random_table_is_cheaper(latency: int) -> None:
    rng = np.random.default_rng([11, latency])
    acted = 0
    for at in range(50):
        table = random_table(rng, label_delay=at % 3)
        (case,) = cases(table, latency)
        costs = [played(table, latency, wishes) for wishes in all_wishes(table)]
        found = plan(case)
        assert found.schedule.total == min(one for one in costs if one is not None)
        assert found.never == played(table, latency, {})
        wishes = {one["step"]: one["model"] for one in found.retrains}
        assert played(table, latency, wishes) == found.schedule.total
        assert all(one["ready"] == one["step"] + latency for one in found.retrains)
        allowed = list(schedules(problem(case)))
        assert len(allowed) == sum(one is not None for one in costs), "the rules are the same"
        acted += bool(wishes)
    assert acted > 5


# --- with returns to earlier models ---------------------------------------------------------


def returning(
    posed: Problem, serves: Sequence[int], free: Sequence[int], price: float, paid_for: bool
) -> float:
    """Return the least cost over all schedules with returns, each tried.

    A return goes to a model that the schedule itself had before, or, if it need not be paid for,
    to any that could have served by then; a retrain's price is then enough, if that is less.
    """
    losses, end, count = posed.losses, posed.end, len(posed.decisions)

    @cache
    def least(at: int, serving: int, since: int, had: frozenset[int]) -> float:
        if at == count:
            return float(losses[serving, end] - losses[serving, since])
        choices = [(one.model, one.serves, one.price, one.free) for one in posed.actions[at]]
        if paid_for:
            back, toll = set(had - {serving}), price
        else:
            early = [one for actions in posed.actions[:at] for one in actions]
            back = {one.model for one in early if one.serves <= posed.decisions[at]}
            back |= {posed.first}
            toll = min([price, *(one.price for one in posed.actions[at])])
        choices += [(model, serves[at], toll, free[at]) for model in back]
        found = [least(at + 1, serving, since, had)]
        for model, begins, costs, then in choices:
            until = min(begins, end)
            served = float(losses[serving, until] - losses[serving, since])
            found.append(served + costs + least(then, model, until, had | {serving, model}))
        return min(found)

    return least(0, posed.first, posed.start, frozenset())


@pytest.mark.parametrize("seed", range(200))
def test_no_schedule_with_returns_is_cheaper_than_the_relaxed_bound(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    posed = random_problem(rng)
    count = len(posed.decisions)
    lag, price = int(rng.integers(0, 4)), float(rng.choice([0.0, 0.5, 1.0, 9.0]))
    serves = [int(place) + lag for place in posed.decisions]
    free = [
        next((k for k in range(at + 1, count) if posed.decisions[k] >= serves[at]), count)
        for at in range(count)
    ]
    bound = cheapest(with_returns(posed, serves, free, price)).total
    assert bound == pytest.approx(returning(posed, serves, free, price, paid_for=False), abs=1e-9)
    real = returning(posed, serves, free, price, paid_for=True)
    assert bound <= real + 1e-9
    assert real <= cheapest(posed).total + 1e-9


def test_what_is_before_the_start_does_not_count() -> None:
    losses = np.array([[0.0, 7, 8, 9], [0, 7, 7, 7]])
    posed = Problem(losses, np.array([2]), ((Action(1, 2, 0.5, 1),),), first=0, start=1)
    assert cost(posed, []) == 2
    assert cheapest(posed).total == 1.5


def test_costs_are_rounded_only_once() -> None:
    losses = np.zeros((2, 12))
    actions = [(Action(1, at, 0.1, at),) for at in range(1, 11)]
    posed = Problem(losses, np.arange(1, 11), tuple(actions), first=0)
    assert cost(posed, [(at, 0) for at in range(10)]) == 1  # one by one it were 0.9999999999999999


# --- what does not fit ----------------------------------------------------------------------

LOSSES = np.zeros((2, 5))


@pytest.mark.parametrize(
    ("decisions", "actions", "first", "start", "said"),
    [
        ([2, 1], ((), ()), 0, 0, "ascend"),
        ([1], ((),), 0, 2, "ascend"),
        ([5], ((),), 0, 0, "ascend"),
        ([1], ((),), 0, -1, "ascend"),
        ([1], (), 0, 0, "1 decisions"),
        ([1], ((),), 2, 0, "no model 2"),
        ([1], ((Action(2, 1, 0, 1),),), 0, 0, "no such model"),
        ([1], ((Action(1, 0, 0, 1),),), 0, 0, "too early"),
        ([1, 2], ((Action(1, 1, 0, 0),), ()), 0, 0, "later decision"),
        ([1, 2], ((Action(1, 1, 0, 3),), ()), 0, 0, "later decision"),
        ([1, 2], ((Action(1, 3, 0, 1),), ()), 0, 0, "awaited"),
    ],
)
def test_problems_that_make_no_sense(
    decisions: list[int], actions: Any, first: int, start: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Problem(LOSSES, np.array(decisions), actions, first, start)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_losses_that_are_no_numbers(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        cheapest(Problem(np.full((1, 3), value), np.array([1]), ((),), first=0))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([(0, 0), (1, 0)], "too early"),
        ([(2, 0), (0, 0)], "too early"),
        ([(0, 0), (0, 0)], "too early"),
        ([(0, 1)], "no action 1"),
        ([(0, -1)], "no action -1"),
        ([(3, 0)], "no decision 3"),
        ([(-1, 0)], "no decision -1"),
    ],
)
def test_schedules_against_the_rules(chosen: list[tuple[int, int]], said: str) -> None:
    actions = ((Action(1, 3, 1, 2),), (Action(1, 4, 1, 3),), (Action(0, 3, 1, 3),))
    posed = Problem(LOSSES, np.array([1, 2, 3]), actions, first=0)
    assert cost(posed, [(0, 0), (2, 0)]) == 2
    with pytest.raises(ValueError, match=said):
        cost(posed, chosen)


# --- the command ----------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Path:
    path = tmp_path / "three.json"
    path.write_text(json.dumps([SHIFT, {"models": SEASONS["models"]}, DEAR]), "utf-8")
    return path


def test_json_lists_each_case(three: Path) -> None:
    answer = driftline("hindsight", three, "--json", "--latency", 1)
    assert answer.code == 0 and not answer.err
    assert json.loads(answer.out) == [
        {"id": "shift", "total": 21.5, "schedule": [{"step": 3, "model": 3, "ready": 4}]},
        {"id": 1, "total": 23.0, "schedule": [{"step": 1, "model": 1, "ready": 2}]},
        {"id": 7, "total": 12.0, "schedule": []},
    ]


def test_a_table_may_be_compressed_and_say_its_steps_once(tmp_path: Path, three: Path) -> None:
    packed = tmp_path / "one.json.gz"
    whole = {"steps": 6, "cases": [{key: SHIFT[key] for key in ("models", "id")}]}
    packed.write_bytes(gzip.compress(json.dumps(whole).encode()))
    (answer,) = json.loads(driftline("hindsight", packed, "--json").out)
    (first, *_) = json.loads(driftline("hindsight", three, "--json").out)
    assert answer == first


def rows_of(text: str) -> list[str]:
    """Return the lines of text, without blank ones and with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_people_get_a_table(three: Path) -> None:
    answer = driftline("hindsight", three)
    assert answer.code == 0
    rows = rows_of(answer.out)
    assert "shift 12.5 33 20.5 1 3 → 3" in rows
    assert "1 16 27 11 3 1 → 1, 3 → 2, 5 → 3" in rows
    assert "7 12 12 0 0 never retrain" in rows


def test_a_case_alone_is_told_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({**SHIFT, "id": "[red]\x1b[31m\ud800"}), "utf-8")
    answer = driftline("hindsight", path, "--latency", 1)
    assert answer.code == 0
    rows = rows_of(answer.out)
    assert r"[red]\x1b[31m\ud800 21.5 33 11.5 1 3 → 3 (from 4)" in rows
    assert rows[-2:] == ["– 0 0 to 3 0 13 13", "3 3 4 to 5 6.5 2 21.5"]


def last_rows(path: Path, table: dict[str, Any], latency: int) -> list[str]:
    """Return the last two lines that people see of a table."""
    path.write_text(json.dumps(table), "utf-8")
    return rows_of(driftline("hindsight", path, "--latency", latency).out)[-2:]


def test_the_first_model_is_free_and_one_may_come_too_late(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    assert last_rows(path, DEAR, 0)[-1] == "– 0 0 to 2 0 12 12"
    paid = {"models": [model(0, 0, 1, 1), model(1, -2, 1)]}
    assert last_rows(path, paid, 5) == ["– 0 0 to 1 0 2 2", "1 1 none -2 0 0"]


def test_the_example_that_ships() -> None:
    said = rows_of((ROOT / "docs" / "hindsight.md").read_text("utf-8"))
    rows = rows_of(driftline("hindsight", EXAMPLE).out)
    assert rows == said[said.index(rows[0]) :][: len(rows)], "as the page says"
    (late,) = read(EXAMPLE, latency=1)
    assert plan(late).schedule.total == 198


def test_costs_before_service_need_not_be_there(tmp_path: Path) -> None:
    models = [model(0, 0, 1, 9, 9), model(1, 1, None, 1)]
    (case,) = cases({"models": models}, latency=1)
    assert plan(case).schedule.total == 1 + 9 + 1 + 1
    with pytest.raises(InputError, match=r"models\[1\].serve_cost\[1\]: must be a number"):
        list(cases({"models": models}))
    models[1]["serve_cost"] = [1e99, 5, 1]  # would drown the 1
    assert plan(*cases({"models": models}, latency=1)).schedule.total == 12


def test_other_models_of_step_0_are_never_asked_for() -> None:
    (case,) = cases({"models": [model(0, 0, 2, 2), model(0, 0, 0, 0)]})
    assert plan(case).schedule.total == 4


def changed(*path: str | int, to: Any) -> str:
    """Return a good file of cases as JSON with one value changed; `...` takes it away."""
    whole = json.loads(json.dumps({"steps": 6, "cases": [SHIFT, {**SHIFT, "id": "two"}]}))
    inner = whole
    for part in path[:-1]:
        inner = inner[part]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return json.dumps(whole)


SECOND = ("cases", 1, "models", 1)
MISTAKES = {
    "no JSON": ("{'steps': 2}", ":1:2: no JSON: expecting property name"),
    "cut off": ('{\n"models": [', ":2:12: no JSON: expecting value"),
    "empty": ("", ":1:1: no JSON: expecting value"),
    "number": ("3", ": must be an object with models, not 3"),
    "no models": ("{}", ": models: is missing"),
    "no cases": ("[]", ": holds no case"),
    "list": ("[[]]", ": [0]: must be an object with models, not a list"),
    "cases": (changed("cases", to={}), ": cases: must be a list of cases, not an object"),
    "twice": ('{"models": [], "models": []}', ": the key 'models' stands twice in one object"),
    "deep": ("[" * 100_000, ": nested too deep"),
    "digits": (f"[{'1' * 5000}]", ": a number has too many digits"),
    "steps": (changed("steps", to=0), ": steps: must be a whole number of 1 or more, not 0"),
    "steps text": (changed("steps", to="6"), ": steps: must be a whole number of 1 or more, not"),
    "other steps": (
        changed("cases", 1, "steps", to=7),
        ": cases[1].models[0].serve_cost: must be 7 costs, one for each step, got 6",
    ),
    "same id": (
        changed("cases", 1, "id", to="shift"),
        ": cases[1].id: 'shift' is cases[0] already; ids must differ",
    ),
    "id": (changed("cases", 1, "id", to=True), ": cases[1].id: must be a text or a whole number"),
    "models": (
        changed("cases", 1, "models", to="none"),
        ": cases[1].models: must be a list of one model or more, not the text 'none'",
    ),
    "empty models": (
        changed("cases", 1, "models", to=[]),
        ": cases[1].models: must be a list of one model or more",
    ),
    "model": (changed(*SECOND, to=None), ": cases[1].models[1]: must be an object, not null"),
    "no costs": (
        changed(*SECOND, "serve_cost", to=...),
        ": cases[1].models[1].serve_cost: is missing",
    ),
    "no train cost": (
        changed(*SECOND, "train_cost", to=...),
        ": cases[1].models[1].train_cost: is missing",
    ),
    "no step": (
        changed(*SECOND, "trained_at", to=...),
        ": cases[1].models[1].trained_at: is missing",
    ),
    "train cost": (
        changed(*SECOND, "train_cost", to=None),
        ": cases[1].models[1].train_cost: must be a number, not null",
    ),
    "costs": (
        changed(*SECOND, "serve_cost", to=5),
        ": cases[1].models[1].serve_cost: must be a list of a cost for each step, not 5",
    ),
    "too few costs": (
        changed(*SECOND, "serve_cost", to=[1, 2]),
        ": cases[1].models[1].serve_cost: must be 6 costs, one for each step, got 2",
    ),
    "no steps": (
        '{"models": [{"trained_at": 0, "serve_cost": []}]}',
        ": models[0].serve_cost: must be one or more costs, one for each step, got 0",
    ),
    "null": (
        changed(*SECOND, "serve_cost", 2, to=None),
        ": cases[1].models[1].serve_cost[2]: must be a number, not null",
    ),
    "text": (
        changed(*SECOND, "serve_cost", 0, to="1"),
        ": cases[1].models[1].serve_cost[0]: must be a number, not the text '1'",
    ),
    "truth": (
        changed(*SECOND, "serve_cost", 3, to=True),
        ": cases[1].models[1].serve_cost[3]: must be a number, not a truth",
    ),
    "nan": (
        changed(*SECOND, "serve_cost", 3, to=float("nan")),
        ": cases[1].models[1].serve_cost[3]: must be a number from -1e+100 to 1e+100, not nan",
    ),
    "infinite": (
        changed(*SECOND, "train_cost", to=float("-inf")),
        ": cases[1].models[1].train_cost: must be a number from -1e+100 to 1e+100, not -inf",
    ),
    "huge": (
        changed(*SECOND, "train_cost", to=10**200),
        ": cases[1].models[1].train_cost: must be a number from -1e+100 to 1e+100, not 1000",
    ),
    "too late": (
        changed(*SECOND, "trained_at", to=6),
        ": cases[1].models[1].trained_at: must be a whole number from 0 to 5, not 6",
    ),
    "too early": (
        changed(*SECOND, "trained_at", to=-1),
        ": cases[1].models[1].trained_at: must be a whole number from 0 to 5, not -1",
    ),
    "half": (
        changed(*SECOND, "trained_at", to=1.5),
        ": cases[1].models[1].trained_at: must be a whole number from 0 to 5, not 1.5",
    ),
    "first": (
        changed("cases", 1, "models", 0, "trained_at", to=1),
        ": cases[1].models[0].trained_at: must be 0, for this model serves from step 0, got 1",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_table_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    text, said = MISTAKES[name]
    path = tmp_path / "table.json"
    path.write_text(text, "utf-8")
    answer = driftline("hindsight", path, "--json")
    assert answer.code == 2 and not answer.out
    assert answer.err.startswith(f"{path}{said}"), answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (gzip.compress(b"[]")[:-8] + bytes(8), "is damaged: it begins as gzip"),
        (gzip.compress(b"[]")[:-9], "is damaged: it begins as gzip"),
        (b"\x1f\x8b\x08 no gzip at all", "is damaged: it begins as gzip"),
        (b"\xff\xfe{}", "not a text file"),
    ],
)
def test_a_file_that_is_no_text(raw: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json.gz"
    path.write_bytes(raw)
    answer = driftline("hindsight", path)
    assert answer.code == 2 and answer.err.startswith(f"{path}: {said}")


def test_what_is_no_file_and_no_latency(tmp_path: Path, three: Path) -> None:
    for path, said in ((tmp_path, "this is a directory"), (tmp_path / "no", "there is no such")):
        answer = driftline("hindsight", path)
        assert answer.code == 2 and answer.err.startswith(f"{path}: {said}")
    for latency in ("-1", "1.5", "soon"):
        answer = driftline("hindsight", three, "--latency", latency)
        assert answer.code == 2 and answer.err.count("\n") == 1 and "--latency" in answer.err
    with pytest.raises(InputError, match="latency: must not be negative"):
        read(three, latency=-1)


def test_a_latency_beyond_the_end_never_retrains(three: Path) -> None:
    answer = driftline("hindsight", three, "--json", "--latency", 10**30)
    assert [one["schedule"] for one in json.loads(answer.out)] == [[], [], []]


def test_cases_keep_what_was_read() -> None:
    (case,) = cases(DEAR)
    assert isinstance(case, Case) and (case.id, case.steps, len(case.models)) == (7, 3, 2)
    assert case.models[1].serve_cost.tolist() == [0, 1, 1]
