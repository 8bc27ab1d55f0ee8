"""`driftline bench` as a user runs it: the same bytes for any number of processes and restarts."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.running import check_place
from engine.errors import InputError
from tests.e2e.driving import driftline, start

pytestmark = pytest.mark.xdist_group("bench")  # so that the benchmark is run once

SPEC = """\
name: tiny
seeds: [2]
streams:
  - {kind: generator, name: sea, records: 900, drifts: 2, rate: 1/m}
  - {kind: generator, name: friedman, records: 600, task: regression, scale: 5.0}
  - {scenario: own.yaml}
blocks: 20
window: 3
windows: [2]
alphas: [3, "50%"]
latency: [0, 2]
model: {kind: catboost, iterations: 4, depth: 2}
policies:
  - never
  - {kind: every, blocks: 4}
  - {kind: page_hinkley, cooldown: 100}
  - {kind: cumulative_cost}
  - incremental
"""
OWN = """\
name: own
source: {kind: generator, name: stagger, records: 800, rate: 1/m}
labels: {delay: 30m}
model: {kind: python, factory: "mine_in_bench:make", vectorised: true}
"""
MINE = """\
import numpy as np


class Model:
    def fit(self, frame, labels):
        counts = {}
        for key, label in zip(frame.iloc[:, 0], labels):
            counts.setdefault(key, []).append(label)
        self.best = {key: max(sorted(set(all)), key=all.count) for key, all in counts.items()}
        self.other = sorted(labels)[0]
        return self

    def predict(self, frame):
        return np.array([self.best.get(key, self.other) for key in frame.iloc[:, 0]])


def make():
    return Model()
"""
COLUMNS = (
    "stream,seed,policy,alpha,latency,label_delay,errors,retrains,tuning_trials,reuses,cost,"
    "optimum,regret_ratio,gap_closed,rejected,bound,bound_cost"
)
FILES = ("report.html", "report.md", "results.csv", "summary.json")
SAME = (*FILES, "bench.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.yaml").write_text(SPEC, "utf-8")
    (folder / "own.yaml").write_text(OWN, "utf-8")
    (folder / "mine_in_bench.py").write_text(MINE, "utf-8")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    out = folder / "done"
    answer = driftline("bench", folder / "tiny.yaml", "--out", out, "--jobs", 2)
    assert answer.code == 0, answer.err
    assert "Open " in answer.out
    return out


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_the_report_and_nothing_else(done: Path) -> None:
    assert sorted(path.name for path in done.iterdir()) == sorted(SAME)


def test_every_cell_is_in_the_table(done: Path) -> None:
    assert (done / "results.csv").read_text("utf-8").splitlines()[0] == COLUMNS
    found = rows(done)
    policies = {row["policy"] for row in found}
    assert policies == {
        "never", "every 4 blocks", "page_hinkley cooldown=100", "cumulative_cost",
        "incremental model=hoeffding_adaptive_tree", "tuned periodic",
    } or "incremental" in policies  # fmt: skip
    assert len(policies) == 6
    assert len(found) == 3 * 2 * 2 * 6
    for row in found:
        paid = float(row["errors"]) + float(row["alpha"]) * int(row["retrains"])
        assert float(row["cost"]) == pytest.approx(paid)
        if row["policy"] in ("never", "incremental"):
            assert row["retrains"] == "0"
        if row["policy"] != "incremental":
            assert float(row["regret_ratio"]) >= 1 - 1e-9
        if row["policy"] == "never" and row["gap_closed"]:
            assert float(row["gap_closed"]) == 1
    assert {row["alpha"] for row in found if row["stream"] == "sea"} == {"3", "22.5"}
    assert {row["label_delay"] for row in found} == {"0", "30m"}


def test_the_tuned_period_is_the_best_of_all_periods(done: Path) -> None:
    by_cell: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows(done):
        key = tuple(row[name] for name in ("stream", "seed", "alpha", "latency"))
        by_cell.setdefault(key, {})[row["policy"]] = float(row["cost"])
    for costs in by_cell.values():
        assert costs["tuned periodic"] <= min(costs["never"], costs["every 4 blocks"]) + 1e-9


def test_one_process_comes_to_the_same_bytes(folder: Path, done: Path, tmp_path: Path) -> None:
    words = ("bench", folder / "tiny.yaml", "--out", tmp_path / "out", "--jobs", 1)
    process = start(*words, DRIFTLINE_CACHE=str(tmp_path / "cache"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    for name in SAME:
        assert (tmp_path / "out" / name).read_bytes() == (done / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_what_was_done_is_not_done_again(
    folder: Path, done: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    words = ("bench", folder / "tiny.yaml", "--out", out)
    process = start(*words, "--jobs", 2, DRIFTLINE_CACHE=str(tmp_path / "cache"))
    kept = waited_for(out, 8)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    if code == 130:
        assert said.splitlines()[-1].startswith("stopped by SIGINT; go on with: driftline bench ")
    times = {file: file.stat().st_mtime_ns for file in kept}
    assert driftline(*words).code == 2
    process = start(*words, "--resume", DRIFTLINE_CACHE=str(tmp_path / "cache"))
    while process.poll() is None and not (out / "report.html").exists():
        for file, before in times.items():
            if file.exists():
                assert file.stat().st_mtime_ns == before
        time.sleep(0.01)
    assert process.wait(60) == 0
    for name in SAME:
        assert (out / name).read_bytes() == (done / name).read_bytes(), name


def waited_for(out: Path, count: int) -> list[Path]:
    """Wait for so many answers to be kept."""

    def looks() -> Iterator[list[Path]]:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            yield list(out.glob(".state/done/*.json"))
            time.sleep(0.01)

    return next(found for found in looks() if len(found) >= count)


def test_a_finished_benchmark_is_left_alone(folder: Path, done: Path) -> None:
    before = {name: (done / name).stat().st_mtime_ns for name in SAME}
    again = driftline("bench", folder / "tiny.yaml", "--out", done)
    assert (again.code, "holds a benchmark already" in again.err) == (2, True)
    resumed = driftline("bench", folder / "tiny.yaml", "--out", done, "--resume")
    assert (resumed.code, "finished already" in resumed.err) == (0, True)
    assert before == {name: (done / name).stat().st_mtime_ns for name in SAME}


def test_another_spec_is_not_mixed_in(folder: Path, done: Path, tmp_path: Path) -> None:
    (folder / "other.yaml").write_text(SPEC.replace("alphas: [3,", "alphas: [4,"), "utf-8")
    answer = driftline("bench", folder / "other.yaml", "--out", done, "--resume")
    assert answer.code == 2 and "holds a benchmark with other spec" in answer.err


def test_a_task_that_fails_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    own = OWN.replace("mine_in_bench:", "broken_mine_in_bench:")
    (tmp_path / "own.yaml").write_text(own, "utf-8")
    text = MINE.replace("return self\n", "raise OSError('gone')\n")
    (tmp_path / "broken_mine_in_bench.py").write_text(text, "utf-8")
    spec = SPEC[: SPEC.index("  - {kind: generator")] + SPEC[SPEC.index("  - {scenario") :]
    (tmp_path / "tiny.yaml").write_text(spec, "utf-8")
    answer = driftline("bench", tmp_path / "tiny.yaml", "--out", tmp_path / "out")
    assert answer.code == 1
    line = answer.err.splitlines()[-1]
    assert line.startswith("failed: own: no first model: the model's fit failed with OSError: gone")


def test_the_summary_says_who_won(done: Path) -> None:
    summary = json.loads((done / "summary.json").read_text("utf-8"))
    assert summary["verdict"] in (done / "report.md").read_text("utf-8")


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_damaged_folder_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match="is damaged; give another --out"):
        check_place(tmp_path, {"spec": {}, "sources": [], "versions": {}}, resume=True)
