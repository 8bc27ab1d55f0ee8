"""Arms with a gate, tuning or an archive: what they cost, what bounds them, the same bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.arena import Played, play, reaction
from benchmarks.arms import Additions, Equipped, Shares
from benchmarks.cases import Case, Planner
from benchmarks.findings import Cell, Track, Truth
from benchmarks.grid import Opened, play_arm
from benchmarks.loading import load_grid
from benchmarks.spec import label_of
from benchmarks.twins import twins
from engine import settings as s
from engine.documents import parse
from engine.training.pool import InlineTrainer
from engine.validation import validate
from scenarios.spec import Scenario
from tests.benchmarks.inventions import invent
from tests.e2e.driving import driftline

pytestmark = pytest.mark.xdist_group("arms")

BLOCK = 50
WORLD = """\
name: s
seed: 3
model: {kind: catboost, iterations: 8, depth: 3}
source: {kind: generator, name: sine, records: 2400, rate: 1/m}
script: [{kind: concept, at: 600, shape: recurring, period: 600, to: {classification_function: 1}}]
"""
SEARCH = s.Tuning(trials=3, folds=2, space=s.Space(iterations=(4, 12), depth=(2, 4)))
OFTEN = s.Every(kind="every", blocks=2)


@pytest.fixture(scope="module", params=["labels: {}", "labels: {delay: 70}"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("arms")
    document = parse(WORLD + request.param, Path("s.yaml"), "scenario")
    shares = Shares(trial=0.05, reuse=0.25)
    case = Case(validate(document, Scenario), folder, "0", BLOCK, 4, (4,), shares=shares)
    return Opened(case, folder / "cache", folder / "private")


def played(opened: Opened, policy: s.AnyPolicy, latency: s.Span, added: Additions | None) -> Played:
    """Play a policy with models that are fitted and asked anew."""
    return play(
        opened.case.engine(policy, latency, 7.0, added),
        opened.table,
        opened.shelf,
        seed=opened.stream_seed,
        trainer=InlineTrainer(opened.shelf.store),
    )


@pytest.mark.parametrize("latency", [0, 77])
def test_models_that_are_asked_anew_answer_as_the_table_says(opened: Opened, latency: int) -> None:
    for policy in (OFTEN, s.OnPageHinkley(kind="page_hinkley"), s.Never(kind="never")):
        engine = opened.case.engine(policy, latency, 7.0)
        told = play(engine, opened.table, opened.shelf, seed=opened.stream_seed)
        assert played(opened, policy, latency, None) == told


@pytest.mark.parametrize("lag", [0, 120])
def test_no_archive_undercuts_the_relaxed_bound(opened: Opened, lag: int) -> None:
    archive = s.Archive(keep=20, window=50, slack=0.2, alpha=0.2, latency=lag)
    returned = 0
    for latency, policy in ((0, OFTEN), (77, s.Every(kind="every", blocks=1))):
        planner = Planner(opened.table, latency)
        done = played(opened, policy, latency, Additions(archive=archive))
        returned += len(done.track.returns)
        for alpha, price in ((2.0, 0.5), (40.0, 10.0), (10.0, 30.0)):
            bound = planner.relaxed(alpha, price, lag)
            paid = done.errors + alpha * done.retrains + price * len(done.track.returns)
            assert bound <= paid + 1e-9
            assert bound <= planner.optimum(alpha).total + 1e-9
    assert returned > 1


def test_where_a_return_costs_as_much_as_a_retrain_the_bound_is_still_there(
    opened: Opened,
) -> None:
    planner = Planner(opened.table, 0)
    bounds = [planner.relaxed(10.0, price, 0) for price in (0.0, 1.0, 10.0, 99.0)]
    assert bounds == sorted(bounds)
    assert planner.relaxed(10.0, 1.0, 120) != bounds[1]
    assert bounds[-1] == bounds[-2] <= planner.optimum(10.0).total


def test_an_archive_brings_back_what_was_there(opened: Opened) -> None:
    rule = Additions(archive=s.Archive(keep=20, window=50, slack=0.2, alpha=0.2))
    done = played(opened, OFTEN, 0, rule)
    plain = played(opened, OFTEN, 0, None)
    assert done.track.returns and done.retrains < plain.retrains
    assert all(serves == asked + 1 for asked, serves in done.track.returns)
    assert not done.track.rejected and done.trials == 0


def test_a_gate_keeps_models_out(opened: Opened) -> None:
    gates: tuple[s.Gate, ...] = (s.Holdout(holdout=40, test="mcnemar"), s.Shadow(shadow=30))
    for gate in gates:
        done = played(opened, OFTEN, 0, Additions.model_validate({"judge": gate}))
        assert 0 < len(done.track.rejected) < done.retrains
        by_asked = dict(zip(done.track.asked, done.track.ready, strict=True))
        assert {by_asked[at] for at in done.track.rejected} == {len(opened.recipe.tape)}


def test_guards_see_scores(opened: Opened) -> None:
    """The loss table knows labels only; a judge of calibration asks for probabilities."""
    planner = Planner(opened.table, 0)
    for guards in ({}, {"calibration": 0.0}, {"size": 1}):
        judge = {"holdout": 40, "margin": -1.0, "guards": guards}
        arm = Equipped(policy=OFTEN, retraining=Additions.model_validate({"judge": judge}))
        (found,) = play_arm(opened, planner, arm, (7.0,))
        assert bool(found["rejected"]) == bool(guards), guards


def test_tuning_costs_trials_and_time(opened: Opened) -> None:
    done = played(opened, OFTEN, 0, Additions(tuning=SEARCH, per_trial=7))
    plain = played(opened, OFTEN, 0, None)
    assert done.trials == 3 * done.retrains
    waits = {
        ready - asked
        for asked, ready in zip(done.track.asked, done.track.ready, strict=True)
        if ready < len(opened.recipe.tape)
    }
    assert waits == {21} and plain.trials == 0
    assert done.errors != plain.errors


def test_an_arm_that_does_not_look_at_prices_is_played_once(opened: Opened) -> None:
    planner = Planner(opened.table, 0)
    for policy, count in ((OFTEN, 1), (s.Forecast(kind="forecast"), 3)):
        arm = Equipped(policy=policy, retraining=Additions(archive=s.Archive(window=50)))
        found = play_arm(opened, planner, arm, (1.0, 5.0, 80.0))
        assert len({id(one) for one in found}) == count and len(found) == 3


def test_a_return_answers_a_drift() -> None:
    track = Track((95,), (130,), (), returns=((97, 99),))
    assert reaction(track, [Truth(90, 0, "concept")], 1000) == 9


# --- specs ----------------------------------------------------------------------------------

SPEC = """\
name: tiny
seeds: [2]
streams:
  - kind: generator
    name: sine
    records: 1600
    script:
      - {kind: concept, at: 400, shape: recurring, period: 400, to: {classification_function: 1}}
blocks: 40
window: 4
alphas: [4, "50%"]
latency: [0, 1]
model: {kind: catboost, iterations: 6, depth: 3}
prices: {trial: 0.05, reuse: 0.25}
policies:
  - adwin
  - {kind: every, blocks: 2}
  - {policy: {kind: every, blocks: 2}, retraining: {archive: {keep: 20, window: 40, slack: 0.2}}}
  - {policy: {kind: every, blocks: 2}, retraining: {judge: {holdout: 40, test: mcnemar}}}
  - policy: {kind: every, blocks: 2}
    name: all of it
    retraining:
      archive: {keep: 20, window: 40, slack: 0.2, latency: 10}
      judge: {shadow: 20}
      tuning: {trials: 3, folds: 2, space: {iterations: [4, 12], depth: [2, 4]}}
      per_trial: 2
  - {policy: page_hinkley, retraining: {archive: {window: 40, latency: 5}}}
  - incremental
"""
ARCHIVE, GATE = "every 2 blocks + archive", "every 2 blocks + gate"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench_arms")
    (folder / "tiny.yaml").write_text(SPEC, "utf-8")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTLINE_CACHE", str(folder / "cache"))
        answer = driftline("bench", folder / "tiny.yaml", "--out", folder / "done", "--jobs", 2)
        assert answer.code == 0, answer.err
        yield folder / "done"


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("cache", [pytest.param("cache", marks=pytest.mark.slow), "other"])
def test_one_process_and_any_cache_come_to_the_same_bytes(
    cache: str, folder: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_CACHE", str(folder / cache))
    out = tmp_path / "out"
    assert driftline("bench", folder / "tiny.yaml", "--out", out, "--jobs", 1).code == 0
    for name in ("results.csv", "report.md", "report.html", "summary.json", "bench.json"):
        assert (out / name).read_bytes() == (done / name).read_bytes(), name


def test_everything_is_paid_for_at_its_price(done: Path) -> None:
    found = lines(done)
    seen = {"tuning_trials": 0, "reuses": 0, "rejected": 0}
    for row in found:
        share = 0.05 * int(row["tuning_trials"]) + 0.25 * int(row["reuses"])
        paid = float(row["errors"]) + float(row["alpha"]) * (int(row["retrains"]) + share)
        assert float(row["cost"]) == pytest.approx(paid)
        for name in seen:
            seen[name] += int(row[name])
        added = {"tuning_trials": "all", "reuses": ("all", ARCHIVE, "page"), "rejected": GATE}
        if not row["policy"].startswith((*added["reuses"], GATE)):
            assert all(row[name] == "0" for name in seen)
    assert all(seen.values()), seen


def test_each_cost_says_what_it_is_held_against(done: Path) -> None:
    kinds: dict[str, set[str]] = {}
    for row in lines(done):
        kinds.setdefault(row["policy"], set()).add(row["bound"])
        if row["bound"] == "exact":
            assert row["bound_cost"] == row["optimum"]
        elif row["bound"] == "relaxed":
            least = float(row["bound_cost"])
            assert least <= float(row["optimum"]) and least <= float(row["cost"])
        else:
            assert row["bound_cost"] == ""
    assert kinds == {
        "adwin": {"exact"}, "every 2 blocks": {"exact"}, "tuned periodic": {"exact"},
        ARCHIVE: {"relaxed"}, "page_hinkley + archive": {"relaxed"},
        GATE: {"none"}, "all of it": {"none"}, "incremental": {"none"},
    }  # fmt: skip


def test_the_report_shows_each_arm_beside_its_policy(done: Path) -> None:
    text = (done / "report.md").read_text("utf-8")
    part = text[text.index("## Gate, tuning and archive") : text.index("## Ranks")]
    assert "a trial of tuning 5.0% of it and a return 25.0%" in part
    listed = [line.split(" | ")[0].strip("| ") for line in part.splitlines() if line[:2] == "| "]
    first = ["arm", "---", "every 2 blocks", ARCHIVE, GATE, "all of it", "page\\_hinkley + archive"]
    assert [one.replace("\\", "") for one in listed[:7]] == [one.replace("\\", "") for one in first]
    summary = json.loads((done / "summary.json").read_text("utf-8"))
    by_policy = {one["policy"]: one for one in summary["additions"]}
    assert list(by_policy) == [ARCHIVE, GATE, "all of it", "page_hinkley + archive"]
    assert by_policy["page_hinkley + archive"]["plain"] is None
    costs: dict[str, float] = {}
    for row in lines(done):
        if (row["alpha"], row["latency"]) == ("4", "0"):
            costs[row["policy"]] = float(row["cost"])
    assert by_policy[ARCHIVE]["by_price"].keys() == {"4", "50%"}
    assert by_policy[ARCHIVE]["bounded"] >= 1 and by_policy[GATE]["bounded"] is None
    assert costs[ARCHIVE] < costs["every 2 blocks"] and by_policy[ARCHIVE]["ratio"] < 1
    assert by_policy["all of it"]["tuning_trials"] > 0


def test_labels(folder: Path) -> None:
    bench = load_grid(folder / "tiny.yaml", folder / "cache").bench
    assert [label_of(arm) for arm in bench.policies] == [
        "adwin", "every 2 blocks", ARCHIVE, GATE, "all of it", "page_hinkley + archive",
        "incremental",
    ]  # fmt: skip


def test_arms_are_held_against_the_same_case() -> None:
    findings = invent()
    assert twins(findings) == ()
    cells: tuple[Cell, ...] = findings.cells
    assert all(cell.bound == "exact" for cell in cells)
