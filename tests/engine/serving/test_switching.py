"""The command itself: 100 changes of champion under steady requests, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

from engine.champions import promote, rollback
from engine.places import Place
from engine.registry import Registry
from tests.e2e.driving import start
from tests.engine.registered import Client, Registered

pytestmark = [pytest.mark.xdist_group("registry"), pytest.mark.slow]
CHANGES = 100
LOADING_SECONDS = 2.0
"""What a version that is not loaded yet may take on a busy machine, beside a poll."""


def serve(*words: object) -> tuple[subprocess.Popen[str], Client]:
    """Start the command and wait until it listens."""
    process = start("serve", "--port", "0", *words)
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert " answers with " in line, process.stderr.read()
    return process, Client(int(line.split("/")[2].rsplit(":", 1)[1]))


def own(registered: Registered, folder: Path) -> Registry:
    """Return a copy of the registry, to be changed at will."""
    assert registered.registry.place.folder is not None
    shutil.copytree(registered.registry.place.folder, folder / "registry")
    return Registry(Place.of(folder / "registry"))


class Asker(Thread):
    """A client that asks steadily, and writes down when it asked and who answered."""

    def __init__(self, port: int, row: dict[str, Any]) -> None:
        super().__init__()
        self.connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self.body = json.dumps({"rows": [row] * 3}).encode()
        self.seen: list[tuple[float, float, int, int]] = []
        self.over, self.problem = Flag(), ""

    def run(self) -> None:
        """Ask until told otherwise."""
        while not self.over.wait(0.005):
            began = time.time()
            try:
                self.connection.request("POST", "/predict", self.body)
                answer = self.connection.getresponse()
                found = json.loads(answer.read())
            except Exception as error:
                self.problem = repr(error)
                return
            version = int(found.get("version", 0))
            self.seen.append((began, time.time(), answer.status, version))


def test_a_hundred_changes_fail_no_request(registered: Registered, tmp_path: Path) -> None:
    registry, name, every = own(registered, tmp_path), registered.name, 0.1
    numbers = [one.number for one in registry.versions(name)]
    words = ("--registry", tmp_path / "registry", "--every", every)
    process, client = serve(*words)
    changes = [(time.time(), time.time(), registry.aliases(name)["champion"])]
    askers = [Asker(client.connection.port, registered.rows()[0]) for _ in range(2)]
    for asker in askers:
        asker.start()
    time.sleep(0.5)
    for at in range(CHANGES):
        began = time.time()
        if at % 3 == 2:
            move = rollback(registry, name)
        else:
            others = [one for one in numbers if one != changes[-1][2]]
            move = promote(registry, name, others[at % len(others)])
        changes.append((began, time.time(), move.to))
        time.sleep(0.15)
    time.sleep(1.0)
    for asker in askers:
        asker.over.set()
        asker.join()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not any(asker.problem for asker in askers), [asker.problem for asker in askers]
    seen = [one for asker in askers for one in asker.seen]
    assert len(seen) > 500 and {code for _, _, code, _ in seen} == {200}
    for asker in askers:
        check_versions(asker.seen, changes, every + LOADING_SECONDS)
        versions = [version for _, _, _, version in asker.seen]
        assert versions[-1] == changes[-1][2]
    switches = sum(a[3] != b[3] for a, b in zip(askers[0].seen, askers[0].seen[1:], strict=False))
    print(f"{len(seen)} requests, {switches} switches seen of {CHANGES}")
    assert switches >= CHANGES // 3


def check_versions(
    seen: list[tuple[float, float, int, int]],
    changes: list[tuple[float, float, int]],
    late: float,
) -> None:
    """Make sure that each answer's version was champion then, and that none came back unbidden."""
    at = 0
    for began, ended, _, version in seen:
        while changes[at][2] != version:  # switches are seen in the order in which they were made
            at += 1
            assert at < len(changes), f"version {version} answered at {began}, out of turn"
        assert changes[at][0] <= ended, f"version {version} answered before it was champion"
        gone = changes[at + 1][1] if at + 1 < len(changes) else float("inf")
        if began > gone + late:  # or it is a later term of the same version
            later = [k for k in range(at + 1, len(changes)) if changes[k][2] == version]
            assert later, f"version {version} answered {began - gone:.2f} s after it was replaced"
            at = later[0]


def test_the_check_of_versions_can_fail() -> None:
    changes = [(0.0, 0.0, 1), (10.0, 10.0, 2), (20.0, 20.0, 3)]
    good = [(1.0, 1.1, 200, 1), (10.3, 10.4, 200, 1), (10.6, 10.7, 200, 2), (21.0, 21.1, 200, 3)]
    check_versions(good, changes, 0.5)
    for bad in ((11.0, 11.1, 200, 1), (5.0, 5.1, 200, 2), (30.0, 30.1, 200, 4)):
        with pytest.raises(AssertionError):
            check_versions([good[0], bad], changes, 0.5)
    with pytest.raises(AssertionError):
        check_versions([*good, (21.2, 21.3, 200, 2)], changes, 0.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_once_requests_are_answered(
    registered: Registered, number: signal.Signals
) -> None:
    words = ("--registry", registered.registry.place.folder, "--model", registered.name)
    process, client = serve(*words)
    assert client.ask("POST", "/predict", {"rows": []})[0] == 200
    big = json.dumps({"rows": registered.rows() * 10}).encode()
    answers: list[tuple[int, Any]] = []
    thread = Thread(target=lambda: answers.append(client.ask("POST", "/predict", big)))
    thread.start()
    time.sleep(0.2)  # it is at work
    process.send_signal(number)
    thread.join()
    assert process.wait(20) == 0
    out, err = process.communicate()
    assert (out, err) == ("", "")
    assert answers[0][0] == 200 and len(answers[0][1]["predictions"]) == 9000


def test_bad_input_is_a_line_and_exit_code_2(registered: Registered, tmp_path: Path) -> None:
    folder = registered.registry.place.folder
    cases = [
        ("--registry", tmp_path / "none"),
        ("--registry", folder, "--model", "a/b"),
        ("--registry", folder, "--port", "1", "--host", "203.0.113.1"),
        ("--registry", folder, "--log", "/proc/nowhere"),
    ]
    for words in cases:
        process = start("serve", *words)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, len(err.strip().splitlines())) == (2, "", 1), (words, err)
    assert sys.executable
