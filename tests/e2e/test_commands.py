"""The commands as people use them: help, exit codes, clear refusals, stopping and going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.driving import COMMAND, ROOT, differences, driftline, events, start, summary

SMALL = """\
name: small
seed: 3
source: {kind: generator, name: sea, records: 3000, rate: 1/m}
model: {kind: catboost, iterations: 10, depth: 3}
policy: {kind: every, records: 500}
retraining: {first: 300, window: 600, latency: 40}
labels: {delay: 10}
script:
  - {kind: concept, at: 1500, to: {variant: 3}}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, "utf-8")
    return path


def test_help_is_there_for_every_command_with_an_example() -> None:
    for command in ("run", "init", "check", "show"):
        answer = driftline(command, "--help")
        assert answer.code == 0
        assert f"Example: driftline {command}" in answer.out


def imported(*words: str) -> set[str]:
    """Return what a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND, *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "pyarrow", "river", "sdv", "catboost", "bytewax", "pydantic"}
    assert not imported("--help") & heavy


@pytest.mark.parametrize("name", ["elec2", "sdv_gradual", "sea_literature"])
def test_check_imports_neither_sdv_nor_catboost(name: str) -> None:
    assert not imported("check", str(ROOT / "scenarios" / f"{name}.yaml")) & {
        "sdv", "catboost", "mlflow", "torch", "bytewax"
    }  # fmt: skip


def test_run_show_and_json_agree(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ran = driftline("run", small, "--out", out)
    assert ran.code == 0, ran.err
    shown = driftline("show", out)
    assert ran.out.splitlines()[1] in shown.out.splitlines()
    assert json.loads(driftline("show", out, "--json").out) == summary(out)


def test_the_first_fit_is_free_and_each_later_one_has_its_price(
    small: Path, tmp_path: Path
) -> None:
    assert driftline("run", small, "--out", tmp_path / "run").code == 0
    total = summary(tmp_path / "run")["total"]
    started = [event for event in events(tmp_path / "run") if event["kind"] == "job_started"]
    assert started[0]["first"] and len(started) == total["retrains"]["started"] + 1
    assert total["cost"]["retrains"] == 50 * total["retrains"]["started"] > 0


def test_options_override_the_file(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--policy", "never", "--seed", "9", "--set", "labels.delay=1h", "--set"]
    answer = driftline("run", small, *words, "model.depth=2", "--out", out)
    assert answer.code == 0, answer.err
    about = json.loads((out / "run.json").read_text("utf-8"))
    assert about["seed"] == 9
    assert about["scenario"]["policy"]["kind"] == "never"
    assert about["scenario"]["labels"]["delay"] == "1h"
    assert summary(out)["total"]["retrains"]["started"] == 0


def test_the_replay_command_gives_the_same_run(small: Path, tmp_path: Path) -> None:
    import shlex

    one, two = tmp_path / "one", tmp_path / "two"
    options = ["--policy", "{kind: every, records: 700}", "--set", "retraining.latency=5"]
    assert driftline("run", small, *options, "--out", one).code == 0
    words = shlex.split(json.loads((one / "run.json").read_text("utf-8"))["replay"])
    assert words[0] == "driftline"
    assert driftline(*words[1:], "--out", two).code == 0
    assert differences(one, two) == []


def test_a_policy_brings_the_detector_that_it_needs(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert driftline("run", small, "--policy", "page_hinkley", "--out", out).code == 0
    about = json.loads((out / "run.json").read_text("utf-8"))
    assert "page_hinkley" in [one["kind"] for one in about["scenario"]["detectors"]]


# --- what is in the way ---------------------------------------------------------------------


def test_a_directory_that_holds_a_run_is_not_touched(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert driftline("run", small, "--out", out).code == 0
    before = (out / "summary.json").stat().st_mtime_ns
    again = driftline("run", small, "--out", out)
    assert again.code == 2
    assert "--resume" in again.err
    assert driftline("run", small, "--out", out, "--resume").code == 0
    assert (out / "summary.json").stat().st_mtime_ns == before


def test_a_directory_with_other_things_is_not_touched(small: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"x")
    answer = driftline("run", small, "--out", tmp_path / "photos")
    assert answer.code == 2
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["me.png"]


def test_show_of_something_else_is_refused(tmp_path: Path) -> None:
    assert driftline("show", tmp_path).code == 2
    assert driftline("show", tmp_path / "nowhere").code == 2


@pytest.mark.parametrize("params", ["{rsm: hello}", "{bootstrap_type: Nope}", "{rsm: 7.5}"])
def test_model_params_that_catboost_refuses(small: Path, tmp_path: Path, params: str) -> None:
    out = tmp_path / "run"
    answer = driftline("run", small, "--set", f"model.params={params}", "--out", out)
    assert (answer.code, out.exists()) == (2, False)
    assert "CatBoost refuses them" in answer.err and len(answer.err.splitlines()) == 1


def test_resume_refuses_another_scenario(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert driftline("run", small, "--out", out).code == 0
    (out / "summary.json").unlink()
    answer = driftline("run", small, "--seed", 8, "--out", out, "--resume")
    assert answer.code == 2
    assert "another" in answer.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    small: Path, tmp_path: Path, number: int, code: int
) -> None:
    words = ["run", small, "--set", "source.records=40000", "--set", "policy.records=200"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = start(*words, "--out", stopped)
    deadline = time.monotonic() + 60
    while not list(stopped.glob(".state/parts/*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said
    assert not (stopped / "summary.json").exists()
    if number != signal.SIGKILL:
        assert "--resume" in said
    assert driftline(*words, "--out", stopped, "--resume").code == 0
    assert driftline(*words, "--out", whole).code == 0
    assert differences(stopped, whole) == []


# --- a stream that fails --------------------------------------------------------------------

MODEL = """\
class Model:
    def fit(self, frame, labels):
        self.answer = labels[0]
        return self

    def predict(self, frame):
        if (frame["x0"] > 9.99).any():
            raise ValueError("x0 is too large for me")
        return [self.answer] * len(frame)


def make(**params):
    return Model()
"""


def test_a_failing_stream_is_reported_at_its_record_for_any_batch(
    small: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MODEL, "utf-8")
    words = ["run", small, "--set", "model={kind: python, factory: 'mine:make', vectorised: true}"]
    runs = [tmp_path / f"run-{size}" for size in (1, 50, 4096)]
    for run, size in zip(runs, (1, 50, 4096), strict=True):
        answer = driftline(*words, "--out", run, "--batch-size", size)
        assert answer.code == 1
        assert "x0 is too large for me" in answer.err
    assert differences(runs[0], runs[1]) == differences(runs[0], runs[2]) == []
    assert events(runs[0])[-1]["kind"] == "stream_failed"
