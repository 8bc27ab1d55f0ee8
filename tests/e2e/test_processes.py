"""Several processes: the same bytes, whoever dies, and the true reason if a run fails."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.driving import COMMAND, differences, start

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

SCENARIO = """\
name: shared
seed: 3
streams: 5
source: {kind: generator, name: sea, records: 6000, rate: 1/m}
model: {kind: catboost, iterations: 10, depth: 3}
policy: {kind: every, records: 500}
retraining: {first: 300, window: 600, latency: 40}
"""
PYTHON = "model={kind: python, factory: 'models:Model'}"
MODELS = """\
import os
class Model:
    def fit(self, X, y):
        self.pid = os.getpid()
        return self
    def predict(self, X):
        if os.getpid() != self.pid:
            os._exit(3)
        return ["0"] * len(X)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scenario and the run of it by one process."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "shared.yaml").write_text(SCENARIO, "utf-8")
    (folder / "models.py").write_text(MODELS, "utf-8")
    assert ended(start("run", folder / "shared.yaml", "--out", folder / "out"))[0] == 0
    return folder


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; return its exit code and what it said."""
    _, said = process.communicate(timeout=120)
    assert "Traceback" not in said, said
    return process.returncode, said


def workers(pid: int) -> list[int]:
    """Return the processes that a supervisor has started for shares of the streams."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text("utf-8").split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(child)
    return sorted(found)


def moments(process: subprocess.Popen[str], out: Path, fact: Callable[[], bool]) -> Iterator[None]:
    """Wait for a fact while a command is at work."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if fact():
            yield
        time.sleep(0.005)


def grown(out: Path) -> int:
    """Return how many parts of a run hold something."""
    return sum(part.stat().st_size > 10_000 for part in out.glob(".state/parts/outcomes-*"))


@pytest.mark.parametrize("words", [(4, "--workers", 2, "--batch-size", 99)])
def test_the_number_of_processes_changes_nothing(
    whole: Path, tmp_path: Path, words: tuple[object, ...]
) -> None:
    out = tmp_path / "out"
    words = ("run", whole / "shared.yaml", "--out", out, "--processes", *words)
    assert ended(start(*words))[0] == 0
    assert differences(whole / "out", out) == []


def test_a_process_that_is_killed_is_started_again(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("run", whole / "shared.yaml", "--out", out, "--processes", 2, "--batch-size", 20)
    process = start(*words)
    killed: list[int] = []
    for _ in moments(process, out, lambda: grown(out) >= 2):
        killed = workers(process.pid)[-1:]
        os.kill(killed[0], signal.SIGKILL)
        break
    assert ended(process)[0] == 0
    assert killed
    assert differences(whole / "out", out) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_all_go_when_the_supervisor_goes(
    whole: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    words = ("run", whole / "shared.yaml", "--out", out, "--processes", 2, "--batch-size", 20)
    process = start(*words)
    left: list[int] = []
    for _ in moments(process, out, lambda: grown(out) >= 1):
        left = workers(process.pid)
        process.send_signal(number)
        break
    began = time.monotonic()
    assert ended(process)[0] == code
    assert time.monotonic() - began < 5
    assert len(left) == 2
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() - began < 10, "a process was left"
        time.sleep(0.05)
    again = ("run", whole / "shared.yaml", "--out", out, "--resume", "--processes", 3)
    assert ended(start(*again))[0] == 0
    assert differences(whole / "out", out) == []


@pytest.mark.slow
def test_a_process_that_dies_again_and_again_fails_the_run(whole: Path, tmp_path: Path) -> None:
    words = ("run", whole / "shared.yaml", "--out", tmp_path / "out", "--processes", 2)
    code, said = ended(start(*words, "--set", PYTHON))
    assert code == 1
    assert "failed: a process died 3 times, at last with code 3" in said


@pytest.mark.slow
def test_what_breaks_in_a_process_is_reported(whole: Path, tmp_path: Path) -> None:
    words = ("run", whole / "shared.yaml", "--out", tmp_path / "out", "--processes", 2)

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    process = subprocess.Popen(
        [str(COMMAND), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=small_files_only,
    )
    code, said = ended(process)
    assert code == 1
    assert "File too large" in said
    assert ended(start(*words, "--resume"))[0] == 0
    assert differences(whole / "out", tmp_path / "out") == []


# --- a second run that must be the same -----------------------------------------------------

UNSTEADY = """\
import time
class Model:
    def fit(self, X, y):
        return self
    def predict(self, X):
        return [str(time.time_ns() // 1000 % 2) for _ in range(len(X))]
"""


def test_verify_runs_again_and_compares(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", whole / "shared.yaml", "--out", out, "--verify")
    told, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "verified: a second run with batches of 333, workers 2, processes 2" in told
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert differences(whole / "out", out) == []


def test_verify_tells_what_differs_and_keeps_it(whole: Path, tmp_path: Path) -> None:
    (whole / "unsteady.py").write_text(UNSTEADY, "utf-8")
    model = "model={kind: python, factory: 'unsteady:Model'}"
    words = ("run", whole / "shared.yaml", "--out", tmp_path / "out", "--set", "streams=1")
    code, said = ended(start(*words, "--set", model, "--verify"))
    assert code == 1
    assert "the second run differs in " in said and "outcomes/shared-0000.parquet" in said
    assert "summary.json from line" in said
    kept = Path(said.rsplit("see ", 1)[1].strip())
    assert (kept / "summary.json").is_file()
