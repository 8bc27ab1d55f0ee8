"""The logs: what goes where, when a new file begins, and that no disk ends a stream."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import journals
from engine.configuration import (
    Configured,
    DriftJournal,
    Logging,
    PerformanceJournal,
    SystemJournal,
    load,
)
from engine.events import Event, Kind
from engine.journals import Blocks, Journals, Pages
from engine.ledger import Outcomes
from engine.state import Effects
from tests.config.keeping import KEY, ROOT


def outcomes(start: int, errors: list[float], model: int = 0) -> Outcomes:
    """Return outcome rows from `start` on; an error of -1 is none that is known."""
    count = len(errors)
    numbers = np.arange(start, start + count)
    lost = np.array([np.nan if one < 0 else one for one in errors])
    nothing: Any = np.full(count, None)
    return Outcomes(
        numbers, numbers * 1_000_000, nothing, lost, nothing, lost, np.full(count, model),
        np.where(np.isnan(lost), np.nan, 0.0), numbers, numbers, numbers,
    )  # fmt: skip


def event(kind: Kind, seq: int, **details: Any) -> Event:
    return Event(kind, "s-0000", seq * 1_000_000, seq, seq, details)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


ALL = Logging(performance=PerformanceJournal(every=4))
HAPPENED: list[tuple[Event, str]] = [
    (event("alarm", 3, of_seq=2, detector="adwin", on="error"), "warning"),
    (event("decision", 3, action="retrain"), "info"),
    (event("job_started", 3, model=1), "info"),
    (event("job_failed", 5, model=1, reason="one class"), "error"),
    (event("promoted", 6, model=2), "info"),
    (event("anomaly", 6, what="no_news"), "warning"),
    (event("anomaly", 6, what="no_news_over"), "info"),
    (event("alert", 7, alert="quota", level="critical", message="Spent."), "critical"),
    (event("alert", 7, alert="quota", level="info", message="Over."), "info"),
    (event("stream_failed", 8, reason="gone"), "error"),
]


@pytest.fixture(autouse=True)
def loggers_are_given_back() -> Iterator[None]:
    yield
    for name in ("system", "drift", "performance"):
        logger = logging.getLogger(f"driftline.{name}")
        for handler in [one for one in logger.handlers if isinstance(one, Pages)]:
            logger.removeHandler(handler)


def test_each_log_gets_its_own(tmp_path: Path) -> None:
    effects = Effects([outcomes(0, [0, 1, 1, -1, 0, 0])], [one for one, _ in HAPPENED])
    with Journals(ALL, tmp_path) as logs:
        logs.say("begins")
        logs.say("a disk is\nfull \x1b[31m", "warning")
        logs.listen("s-0000", effects)
    lines = (tmp_path / "system.log").read_text("utf-8").splitlines()
    assert [line[28:] for line in lines] == [
        "info    begins", "warning a disk is\\nfull \\x1b[31m",
    ]  # fmt: skip
    found = entries(tmp_path / "drift.log")
    assert [(one["kind"], one["level"]) for one in found if one["kind"] != "alert"] == [
        (one.kind, level) for one, level in HAPPENED if one.kind != "alert"
    ]
    assert found[0] | {"time": ""} == {
        "time": "", "level": "warning", "kind": "alarm", "stream": "s-0000", "seq": 3, "n": 3,
        "event_time": "1970-01-01T00:00:03.000000Z", "of_seq": 2, "detector": "adwin",
        "on": "error",
    }  # fmt: skip
    (block,) = entries(tmp_path / "performance.log")
    assert block | {"time": ""} == {
        "time": "", "level": "info", "stream": "s-0000", "seq": 3, "records": 4, "predicted": 4,
        "event_time": "1970-01-01T00:00:03.000000Z", "scored": 3, "error_rate": 0.666667,
        "baseline_error_rate": 0.0, "model": 0,
    }  # fmt: skip


def test_an_alert_is_as_grave_as_it_says(tmp_path: Path) -> None:
    with Journals(ALL, tmp_path) as logs:
        logs.listen("s-0000", Effects(events=[one for one, _ in HAPPENED[7:9]]))
    assert [one["message"] for one in entries(tmp_path / "drift.log")] == ["Spent.", "Over."]


def test_forms_and_levels_are_as_set(tmp_path: Path) -> None:
    settings = Logging(
        system=SystemJournal(format="json", level="error"),
        drift=DriftJournal(format="text", level="warning"),
        performance=PerformanceJournal(format="text", every=2),
    )
    with Journals(settings, tmp_path) as logs:
        logs.say("quiet")
        logs.say("loud", "error")
        effects = Effects([outcomes(0, [0, 1]), outcomes(2, [-1, -1], -1)], [HAPPENED[0][0]])
        effects.events.append(HAPPENED[1][0])
        logs.listen("s-0000", effects)
    assert [one["message"] for one in entries(tmp_path / "system.log")] == ["loud"]
    (line,) = (tmp_path / "drift.log").read_text().splitlines()
    assert line.endswith("Z warning s-0000 alarm at record 3: adwin on error")
    one, other = (tmp_path / "performance.log").read_text().splitlines()
    assert one.endswith("s-0000 to record 1, error 0.5000, first model 0.0000, model 0")
    assert other.endswith("s-0000 to record 3, no error known, model None")


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_blocks_lie_where_they_lie_however_rows_come(size: int) -> None:
    errors = [float(at % 5 == 0) for at in range(100)]
    whole = Blocks(10).take(outcomes(0, errors))
    blocks, found = Blocks(10), []
    for start in range(0, 100, size):
        found += blocks.take(outcomes(start, errors[start : start + size]))
    assert found == whole and len(whole) == 10 and whole[0]["error_rate"] == 0.2


def test_what_was_before_is_not_told_again(tmp_path: Path) -> None:
    effects = Effects([outcomes(0, [0.0] * 12)], [one for one, _ in HAPPENED])
    with Journals(ALL, tmp_path, since=6) as logs:
        logs.listen("s-0000", effects)
    assert [one["seq"] for one in entries(tmp_path / "drift.log")] == [6, 6, 6, 7, 7, 8]
    assert [one["seq"] for one in entries(tmp_path / "performance.log")] == [7, 11]


def test_no_line_holds_a_secret(tmp_path: Path) -> None:
    with Journals(ALL, tmp_path, secrets=[KEY, None]) as logs:
        logs.say(f"refused: {KEY}")
        logs.listen("s", Effects(events=[event("anomaly", 1, what="x", url=f"?k={KEY}")]))
    for name in ("system.log", "drift.log"):
        text = (tmp_path / name).read_text("utf-8")
        assert KEY not in text and "***" in text


def test_without_settings_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for logs in (Journals(None, tmp_path), Journals.of(Configured(), print)):
        with logs:
            logs.say("x")
            logs.listen("s", Effects([outcomes(0, [1.0] * 2000)], [HAPPENED[0][0]]))
    only = Logging(system=None, drift=None, performance=None)
    with Journals(only, tmp_path) as logs:
        logs.say("x")
        logs.listen("s", Effects([outcomes(0, [1.0] * 2000)], [HAPPENED[0][0]]))
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_says_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "logging.yaml").write_text("folder: deep/logs\n")
    with Journals.of(load(tmp_path / "config", {}), print) as logs:
        logs.say("x")
    assert (tmp_path / "deep" / "logs" / "system.log").exists()


def test_a_program_takes_over_from_one_before(tmp_path: Path) -> None:
    first = Journals(ALL, tmp_path / "a")
    with Journals(ALL, tmp_path / "b") as second:
        second.say("x")
        logging.getLogger("driftline.system").info("from elsewhere in the program")
    first.close()
    assert not (tmp_path / "a").exists()
    assert len((tmp_path / "b" / "system.log").read_text().splitlines()) == 2
    handlers = logging.getLogger("driftline.system").handlers
    assert not [one for one in handlers if isinstance(one, Pages)]


# --- files ----------------------------------------------------------------------------------


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None)


def test_a_full_file_makes_room_and_only_so_many_are_kept(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "x.log", 40, 2, pytest.fail)
    for at in range(10):
        pages.emit(record(f"{at}" * 19))
    kept = {path.name: path.read_text().split() for path in tmp_path.glob("x*")}
    assert kept == {
        name: [f"{at}" * 19, f"{at + 1}" * 19]
        for name, at in (("x.log", 8), ("x.log.1", 6), ("x.log.2", 4))
    }
    pages = Pages(tmp_path / "y.log", 40, 0, pytest.fail)
    for at in range(5):
        pages.emit(record(f"{at}" * 19))
    assert [path.name for path in tmp_path.glob("y*")] == ["y.log"]
    assert (tmp_path / "y.log").read_text() == "4" * 19 + "\n"


def test_a_line_longer_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "x.log", 10, 1, pytest.fail)
    for at in range(3):
        pages.emit(record(f"{at}" * 50))
    assert (tmp_path / "x.log").read_text() == "2" * 50 + "\n"
    assert (tmp_path / "x.log.1").read_text() == "1" * 50 + "\n"


WRITER = """
import sys
from pathlib import Path
from engine.journals import Pages
import logging
pages = Pages(Path(sys.argv[1]), 5000, 1000, sys.exit)
for at in range(400):
    text = f"{sys.argv[2]}-{at:03} " + "x" * 40
    pages.emit(logging.LogRecord("x", 20, "", 0, text, None, None))
"""


def test_processes_and_threads_share_a_file_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    others = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT)
        for name in ("a", "b")
    ]
    pages = Pages(path, 5000, 1000, pytest.fail)

    def write(name: str) -> None:
        for at in range(400):
            pages.handle(record(f"{name}-{at:03} " + "x" * 40))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait() for other in others] == [0, 0]
    files = list(tmp_path.glob("x.log*"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(
        f"{name}-{at:03} " + "x" * 40 for name in "abcd" for at in range(400)
    )
    assert all(file.stat().st_size <= 5000 for file in files)


def test_a_disk_that_fails_is_told_once_and_the_stream_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    now = [0.0]
    (tmp_path / "logs").write_text("a file in the way")
    pages = Pages(tmp_path / "logs" / "x.log", 1000, 1, told.append, lambda: now[0])
    for _ in range(5):
        pages.emit(record("lost"))
    assert len(told) == 1 and "x.log cannot be written (" in told[0]
    (tmp_path / "logs").unlink()
    pages.emit(record("still left alone"))
    now[0] = 31.0
    pages.emit(record("found"))
    assert "is written again; 6 lines of it are lost" in told[1] and len(told) == 2
    assert (tmp_path / "logs" / "x.log").read_text() == "found\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "system.log").symlink_to("/dev/full")
    with Journals(ALL, tmp_path, told.append) as logs:
        for _ in range(3):
            logs.say("lost")
        logs.listen("s-0000", Effects(events=[HAPPENED[0][0]]))
    assert len(told) == 1 and "No space left" in told[0]
    assert len(entries(tmp_path / "drift.log")) == 1


def test_a_process_that_holds_the_lock_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "LOCK_SECONDS", 0.05)
    told: list[str] = []
    with (tmp_path / journals.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Journals(ALL, tmp_path, told.append) as written:
            written.say("lost")
    assert len(told) == 1 and "another process holds its lock" in told[0]


def test_who_is_told_may_write_to_the_same_log(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "logs").touch()

    def tell(line: str) -> None:
        told.append(line)
        written.say(line)

    with Journals(ALL, tmp_path / "logs", tell) as written:
        written.say("lost")
    assert len(told) == 1


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    pages = Pages(tmp_path / "x.log", 1000, 1, told.append)
    pages.emit(record("whole"))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:2]))
    pages.emit(record("torn"))
    assert (tmp_path / "x.log").read_text() == "whole\n" and len(told) == 1


def test_whatever_goes_wrong_goes_no_further(tmp_path: Path) -> None:
    def gone(line: str) -> None:
        raise BrokenPipeError

    pages = Pages(tmp_path / "x.log", 1000, 1, gone)
    pages.emit(logging.LogRecord("x", 20, "", 0, "%d", ("no number",), None))
    assert pages.lost == 1
