"""Signals at any moment: one line, the right exit code, nobody left, the same bytes later."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.driving import ROOT, differences, driftline, start

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

SCENARIO = """\
name: stopped
seed: 3
streams: 8
source: {kind: generator, name: sea, records: 2000, rate: 1/m}
model: {kind: catboost, iterations: 10, depth: 3}
policy: {kind: every, records: 250}
retraining: {first: 300, window: 600, latency: 40}
"""
TABLE = ROOT / "scenarios" / "data" / "bank_marketing.csv.gz"
SYNTHETIC = f"source={{kind: synthetic, table: {TABLE}, label: label, records: 2000, rate: 1/m}}"
"""Without a cache, the time before the first record goes into SDV."""
SECONDS = 5.0
"""How soon a stopped command must be gone."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scenario and the run of it that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "stopped.yaml").write_text(SCENARIO, "utf-8")
    process = start("run", folder / "stopped.yaml", "--out", folder / "out")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return folder


def until(fact: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def listens(pid: int) -> bool:
    """Return whether a process has a handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = file.read_text("utf-8").rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(file.parent.name))
    return found


def at_once(out: Path) -> None:
    """Wait for nothing more."""


def loading(out: Path) -> None:
    """Wait until SDV is at work."""
    time.sleep(1.5)
    assert not out.exists()


def spawning(out: Path) -> None:
    """Wait until training processes start."""
    until((out / "run.json").exists)


def running(out: Path) -> None:
    """Wait until there are records."""
    until(lambda: list(out.glob(".state/parts/*")))
    time.sleep(0.5)


def finishing(out: Path) -> None:
    """Wait until the run is brought into its lasting form."""
    until((out / "outcomes").exists)


def once(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)


def again_and_again(process: subprocess.Popen[str], number: int) -> None:
    """Send signals as an impatient user does, to the command and all that it has started."""
    for _ in range(5):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, once), (signal.SIGINT, again_and_again)]
)
@pytest.mark.parametrize("moment", [at_once, loading, spawning, running, finishing])
def test_a_signal_at_any_moment(
    whole: Path, tmp_path: Path, moment: Callable[..., None], number: int, send: Callable[..., None]
) -> None:
    out = tmp_path / "out here"
    words = ["run", whole / "stopped.yaml", "--out", out]
    words += ["--set", SYNTHETIC] if moment is loading else []
    new = {} if moment is finishing else {"DRIFTLINE_CACHE": str(tmp_path / "cache")}
    process = start(*words, **new)
    until(lambda: listens(process.pid))
    moment(out)
    sent = time.monotonic()
    send(process, number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - sent < SECONDS
    assert process.returncode == 128 + number, said
    (line,) = (told for told in said.splitlines() if not told.startswith(("seed 3", "stopped: ")))
    hint = f"go on with: driftline run {whole / 'stopped.yaml'} --out '{out}' --resume"
    hint = hint if out.exists() else "nothing was written"
    assert line == f"stopped by {signal.Signals(number).name}; {hint}"
    until(lambda: members(process.pid) == [], 1.0)
    if out.exists():
        assert driftline(*words, "--resume").code == 0
        assert differences(out, whole / "out") == []


SLOW = """\
import time
from multiprocessing import parent_process
from pathlib import Path


class Model:
    def fit(self, frame, labels):
        return self

    def predict(self, frame):
        if parent_process() is None:
            Path(__file__).with_name("predicting").touch()
            time.sleep(30)
        return ["a"] * len(frame)


def make(**params):
    return Model()
"""


def test_work_that_does_not_end_by_itself_is_ended(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, "utf-8")
    scenario = shutil.copy(whole / "stopped.yaml", tmp_path)
    model = "model={kind: python, factory: 'slow:make'}"
    process = start("run", scenario, "--set", model, "--out", tmp_path / "out")
    until((tmp_path / "predicting").exists)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, time.monotonic() - sent < SECONDS) == (143, True), said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("stopped by SIGTERM; go on with: driftline run ")


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.02])
def test_a_signal_that_comes_too_late_does_no_harm(whole: Path, seconds: float) -> None:
    process = start("run", whole / "stopped.yaml", "--out", whole / "out", "--resume")
    assert process.stderr is not None
    assert "finished already" in process.stderr.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.partition(";")[0]) in ((0, ""), (143, "stopped by SIGTERM"))
