"""The engine and the loss table agree, to the last error, on what a schedule costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arena import play, spans
from benchmarks.cases import Case, Planner
from benchmarks.grid import Opened
from benchmarks.hindsight import cost
from engine import settings as s
from engine.batch import plain_batch, table_of
from engine.documents import parse
from engine.validation import validate
from scenarios.spec import Scenario

BLOCK = 50
MODEL = "model: {kind: catboost, iterations: 5, depth: 2}\nname: s\nseed: 3\n"
SEA = "source: {kind: generator, name: sea, records: 1200, rate: 1/m}\n"
SCRIPTS = {
    "plain": SEA + "script: [{kind: concept, at: 600, to: {variant: 2}}]",
    "late": SEA + "labels: {delay: 70}",
    "hours": SEA + "labels: {delay: 45m}",
    "faults": SEA
    + """\
labels: {delay: 20}
script:
  - {kind: missing_labels, at: 300, until: 700, share: 0.5}
  - {kind: late_labels, at: 100, until: 900, delay: 130, share: 0.3}
  - {kind: duplicates, at: 200, until: 400, share: 0.2}
""",
    "regression": """\
source: {kind: generator, name: friedman, records: 1200, rate: 1/m}
labels: {task: regression, scale: 5.0, delay: 10}
""",
}
LATENCIES: list[int | str] = [0, 1, BLOCK, 77, "3h"]


@pytest.fixture(scope="module", params=SCRIPTS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("arena")
    document = parse(MODEL + SCRIPTS[request.param], Path("s.yaml"), "scenario")
    case = Case(validate(document, Scenario), folder, "0", BLOCK, 4, (4, 2))
    return Opened(case, folder / "cache", folder / "private")


def policies() -> list[s.AnyPolicy]:
    """Policies that retrain often, seldom, in odd places and never."""
    return [
        s.Never(kind="never"),
        *(s.Every(kind="every", blocks=blocks) for blocks in (1, 2, 3, 7)),
        s.OnPageHinkley(kind="page_hinkley"),
        s.ErrorThreshold(kind="error_threshold", window=60, rise=0.02),
    ]


def as_actions(planner: Planner, asked: Sequence[int]) -> list[tuple[int, int]]:
    """Return a schedule as pairs of decision and action: those of the policies' own window."""
    points = (planner.problem(1.0).decisions - 1).tolist()
    return [(points.index(at), 0) for at in asked]


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_schedule_costs_the_same_in_the_engine_and_in_the_table(
    opened: Opened, latency: int | str
) -> None:
    planner = Planner(opened.table, latency)
    optimum = {alpha: planner.optimum(alpha).total for alpha in (0.5, 7.0, 40.0)}
    retrains = set()
    for policy in policies():
        engine = opened.case.engine(policy, latency, 7.0)
        done = play(engine, opened.table, opened.shelf, seed=opened.stream_seed)
        actions = as_actions(planner, done.track.asked)
        for alpha, least in optimum.items():
            paid = done.errors + alpha * done.retrains
            assert cost(planner.problem(alpha), actions) == pytest.approx(paid, abs=1e-9)
            assert least <= paid + 1e-9
        retrains.add(done.retrains)
        if isinstance(policy, s.Every) and policy.blocks:
            found = planner.periodic(policy.blocks)
            errors, track = planner.track(found)
            assert errors == pytest.approx(done.errors, abs=1e-9)
            assert len(found) == done.retrains
            assert track == done.track
    assert len(retrains) >= 3, "the policies differ"


def test_the_optimum_is_what_its_own_schedule_costs(opened: Opened) -> None:
    for latency in LATENCIES:
        planner = Planner(opened.table, latency)
        for alpha in (0.0, 5.0, 1e9):
            best = planner.optimum(alpha)
            errors, track = planner.track([(step.model, step.serves) for step in best.steps])
            assert best.total == pytest.approx(errors + alpha * len(best.steps), abs=1e-9)
            assert alpha < 1e9 or not track.asked


def test_a_policys_models_are_those_of_the_table(opened: Opened) -> None:
    """No policy with the shared window makes a model of its own."""
    files = sum(1 for _ in opened.shelf.folder.rglob("*.npz"))
    engine = opened.case.engine(s.Every(kind="every", blocks=1), 0, 1.0)
    assert play(engine, opened.table, opened.shelf, seed=opened.stream_seed).retrains > 5
    assert sum(1 for _ in opened.shelf.folder.rglob("*.npz")) == files
    assert len(set(opened.table.by_job)) == len(opened.table.answers) == files


def test_the_tape_knows_when_labels_come(opened: Opened) -> None:
    tape = opened.recipe.tape
    for arrival in tape.decisions[3::7].tolist():
        rows = tape.window(arrival, 10**9)
        assert rows.seqs.tolist() == np.flatnonzero(tape.known <= arrival).tolist()


def test_slices_of_the_tape_are_found_and_others_are_not(opened: Opened) -> None:
    tape = opened.recipe.tape
    table = tape.batch.table
    assert [tape.find(table[start:end]) for start, end in spans(tape)] == [
        start for start, _ in spans(tape)
    ]
    assert tape.find(table[np.arange(5)]) is None
    assert tape.find(table[::2]) is None
    other = plain_batch({"x": [1.0]}, ["a"]).table
    assert tape.find(other) is None
    assert tape.find(table_of({"x": [1.0]})) is None
