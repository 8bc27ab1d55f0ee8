"""A few seeds of the simulator each time, more when there is time, and proof that it bites."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from scenarios.loading import load
from tests.e2e.driving import ROOT
from tests.simulation.__main__ import seeds_of
from tests.simulation.comparing import first_difference
from tests.simulation.planted import PLANTED
from tests.simulation.scenarios import write_scenario

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

SEEDS = (Path(__file__).parent / "seeds.txt").read_text("utf-8")
KEPT = [line.split()[0] for line in SEEDS.splitlines() if line and not line.startswith("#")]
"""Seeds that failed once."""
SHORT = ",".join([*KEPT[:1], "1"])
LONG = ",".join([*KEPT, "1-3", "100-139"])
BITTEN = {"append": "2000-2003", "unlocked": "2000-2019", "deaf": "2000-2019"}
"""For each planted bug, seeds of which one finds it."""


def simulation(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the simulator in a process of its own: it forks, which threads here would not survive."""
    command = [sys.executable, "-m", "tests.simulation", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_faults_change_no_byte() -> None:
    done = simulation("--seeds", SHORT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_many_faults_change_no_byte() -> None:
    done = simulation("--seeds", LONG, "--jobs", "2", "--go-on")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    [name if name == "append" else pytest.param(name, marks=pytest.mark.slow) for name in PLANTED],
)
def test_a_planted_bug_is_found(name: str) -> None:
    done = simulation("--seeds", BITTEN[name], "--planted", name)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = next(line for line in done.stdout.splitlines() if "FAILED" in line)
    seed = failed.split()[1]
    replay = f"replay: .venv/bin/python -m tests.simulation --seed {seed} --planted {name}"
    assert replay in done.stdout.splitlines()


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_makes_the_same_good_scenario(seed: int, tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        path = write_scenario(Random(f"scenario {seed}"), tmp_path / name)
        made.append({file.name: file.read_bytes() for file in path.parent.glob("*.*")})
    assert made[0] == made[1]
    assert load(path).scenario.name == "sim"


def test_differences_are_found(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "events.jsonl").write_text("a\nb\n", "utf-8")
    assert first_difference(one, other) == ""
    (other / "timing.json").touch()
    assert first_difference(one, other) == ""
    (other / "events.jsonl").write_text("a\nc\n", "utf-8")
    assert first_difference(one, other).startswith("events.jsonl differs: line 2:")
    (one / "summary.json").touch()
    (other / "events.jsonl").write_text("a\nb\n", "utf-8")
    assert first_difference(one, other) == "summary.json is missing"
    assert first_difference(other, one) == "summary.json should not be there"


def test_seeds_can_be_listed() -> None:
    assert seeds_of("7,1-3") == [7, 1, 2, 3]
