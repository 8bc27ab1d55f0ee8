"""Drives the command line as a user does, and compares run directories."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from engine.cli import main
from engine.signals import STOPPING

ROOT = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).parent / "driftline"
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
SAME = ("run.json", "events.jsonl", "summary.json")
"""The files of a run directory that are the same, byte for byte, beside `outcomes/`."""


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str


def driftline(*words: object) -> Answer:
    """Run a command in this process, which hears signals as before when it is done."""
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    try:
        done = CliRunner().invoke(main, [str(word) for word in words])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Answer(done.exit_code, done.stdout, done.stderr)


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    """Start a command in a process, and a process group, of its own."""
    return subprocess.Popen(
        [str(COMMAND), *(str(word) for word in words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of files that should be the same and are not."""
    names = [*SAME, *(f"outcomes/{path.name}" for path in sorted((one / "outcomes").iterdir()))]
    assert len(names) > len(SAME), "there are outcomes"
    return [name for name in names if not filecmp.cmp(one / name, other / name, shallow=False)]


def events(run: Path) -> list[dict[str, Any]]:
    """Return the events of a run."""
    return [json.loads(line) for line in (run / "events.jsonl").read_text("utf-8").splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """Return the summary of a run."""
    found: dict[str, Any] = json.loads((run / "summary.json").read_text("utf-8"))
    return found
