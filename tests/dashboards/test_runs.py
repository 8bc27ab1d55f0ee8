"""Run directories found, judged, opened; grown, killed, begun anew, finished and damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dashboards.catalogue import find, look
from dashboards.lanes import lanes
from dashboards.places import held, key_of
from dashboards.runs import Opened, open_run
from dashboards.verdicts import difference, judge
from engine.errors import InputError
from engine.state import Effects
from tests.dashboards.growing import RECORDS, STREAMS, Growing, about, finished, happened, streams


def lines(events: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(event, separators=(",", ":")) for event in events]


# --- what there is --------------------------------------------------------------------------


def test_runs_are_found_below_folders_and_named_stably(small: Path, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    shutil.copytree(small, deep)
    shutil.copytree(small, tmp_path / "a" / "b" / "c2" / "too" / "deep")
    shutil.copytree(small, tmp_path / "a" / ".hidden")
    (tmp_path / "notes").mkdir()
    found = find([tmp_path, deep, tmp_path / "a" / ".." / "a"])
    assert [one.path for one in found] == [deep], "each once, not too deep, none hidden"
    assert found[0].key == key_of(deep) != key_of(small)
    assert str(deep) not in found[0].key
    assert (found[0].state, found[0].name, found[0].seed, found[0].streams) == (
        "finished", "small", 3, 2
    )  # fmt: skip
    assert found[0].policy.startswith("any_of(page_hinkley, error_threshold(")
    summary = json.loads((small / "summary.json").read_text())
    assert found[0].summary == summary["total"]
    assert found[0].last_change == pytest.approx((deep / "summary.json").stat().st_mtime)


TOTAL: dict[str, Any] = {
    "errors": 10.0,
    "baseline_errors": 40.0,
    "retrains": {"started": 2, "failed": 0, "dropped": 0},
    "drifts": {"true": 3, "found": 3, "missed": 0},
    "cost": {"total": 70.0},
}


@pytest.mark.parametrize(
    ("changes", "failed", "colour", "words"),
    [
        ({}, 0, "green", "10 cheaper than never"),
        ({"cost": {"total": 85.5}}, 0, "amber", "5.5 dearer than never"),
        ({"cost": {"total": 80.0}}, 0, "amber", "as dear as never"),
        ({"drifts": {"true": 3, "missed": 2}}, 0, "amber", "2 of 3 drifts were missed"),
        ({"drifts": {"true": None, "missed": None}}, 0, "green", "cheaper"),
        ({"retrains": {"started": 2, "failed": 0, "dropped": 1}}, 0, "amber", "1 request came"),
        (
            {"retrains": {"started": 2, "failed": 1, "dropped": 1}},
            0,
            "red",
            "1 training job failed",
        ),
        ({}, 2, "red", "2 streams failed"),
        ({"retrains": {"started": 0, "failed": 0, "dropped": 0}}, 0, "grey", "no retrain"),
    ],
)
def test_the_verdict_comes_first(changes: Any, failed: int, colour: str, words: str) -> None:
    got, said = judge({**TOTAL, **changes}, 2.0, failed)
    assert got == colour
    assert words in said


def test_failed_streams_make_a_run_red(small: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small, tmp_path / "run"))
    event = {"kind": "stream_failed", "event_time": "9", "stream": STREAMS[0], "seq": 1, "n": 99}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps({**event, "reason": "no"}, separators=(",", ":")) + "\n")
    assert look(run).verdict == "red"
    assert "1 stream failed" in look(run).verdict_text


# --- damage ---------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def replaced(path: Path) -> Path:
    shutil.rmtree(path)
    return path


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda run: replaced(run).mkdir(), "no run.json"),
    "gone": (lambda run: shutil.rmtree(run), "no such directory"),
    "a file": (lambda run: replaced(run).write_text("x"), "this is a file"),
    "no run.json": (lambda run: (run / "run.json").unlink(), "no run.json"),
    "half a run.json": (lambda run: os.truncate(run / "run.json", 50), "no JSON"),
    "an empty run.json": (lambda run: os.truncate(run / "run.json", 0), "no JSON"),
    "another run.json": (lambda run: (run / "run.json").write_text("[]"), "cannot be a list"),
    "no streams": (
        lambda run: rewrite(run / "run.json", lambda it: it | {"streams": []}),
        "no file name",
    ),
    "a stream that leads elsewhere": (
        lambda run: rewrite(run / "run.json", lambda it: it | {"streams": ["x/../../y"]}),
        "no file name",
    ),
    "half a summary": (lambda run: os.truncate(run / "summary.json", 50), "no JSON"),
    "no events": (lambda run: (run / "events.jsonl").unlink(), "no events.jsonl"),
    "no outcomes": (lambda run: shutil.rmtree(run / "outcomes"), f"no outcomes/{STREAMS[0]}"),
    "torn outcomes": (
        lambda run: os.truncate(run / "outcomes" / f"{STREAMS[1]}.parquet", 500),
        f"{STREAMS[1]}.parquet is torn",
    ),
    "empty outcomes": (
        lambda run: os.truncate(run / "outcomes" / f"{STREAMS[1]}.parquet", 0),
        "is torn",
    ),
    "binary": (lambda run: (run / "run.json").write_bytes(b"\xff\xfe"), "not UTF-8"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_directory_says_what_is_wrong(small: Path, tmp_path: Path, what: str) -> None:
    run = Path(shutil.copytree(small, tmp_path / "run"))
    spoil, words = DAMAGE[what]
    spoil(run)
    (found,) = find([run])
    assert (found.state, found.verdict) == ("damaged", "red")
    assert words in found.problem and "\n" not in found.problem
    with pytest.raises(InputError):
        lanes(open_run(run), STREAMS[1])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.jsonl", b'{"kind": "alarm"}\n'),
        ("events.jsonl", b'{"kind":"alarm","event_time":"","stream":"s","seq":1,"n":0}\n'),
        ("events.jsonl", b"\x00\x01"),
        (f"traces/{STREAMS[0]}.parquet", b"PAR1 no PAR1"),
        (f"outcomes/{STREAMS[0]}.parquet", b"PAR1 no PAR1"),
        (f"samples/{STREAMS[0]}.jsonl", b"{"),
    ],
)
def test_what_is_damaged_inside_is_one_sentence(
    small: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    run = Path(shutil.copytree(small, tmp_path / "run"))
    (run / name).write_bytes(content)
    opened = open_run(run)
    with pytest.raises(InputError, match="damaged"):
        (opened.events(STREAMS[0]), opened.traces(STREAMS[0]), opened.outcomes(STREAMS[0]),
         opened.samples(STREAMS[0]))  # fmt: skip


# --- growing --------------------------------------------------------------------------------


def same(opened: Opened, stream: str, until: int, held_back: int = 0) -> None:
    """Hold what is seen of a run against what was written."""
    whole = streams()[stream]
    events = [event.line() for event in whole.events if event.seq < until]
    assert lines(opened.events(stream)) == events
    columns, rows = opened.outcomes(stream), whole.rows[: max(0, until - held_back)]
    assert np.array_equal(columns.errors, rows.errors, equal_nan=True)
    assert np.array_equal(columns.baselines, rows.baseline_errors, equal_nan=True)
    assert np.array_equal(columns.models, rows.models)
    assert np.array_equal(columns.times, rows.times)
    points = [point.seq for point in whole.traces if point.seq < until]
    traced = opened.traces(stream)
    assert (traced["error"][0].tolist() if traced else []) == points
    assert opened.samples(stream) == [one for one in whole.samples if one["seq"] < until]


def test_a_growing_run_is_followed_to_its_end(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    opened, seen = open_run(run.path), set[str]()
    assert (opened.state, look(run.path).state) == ("growing", "growing")
    for until in (0, 30, 230, 231, 640, 1010, 1011, RECORDS):
        run.grow(until, size=37, held_back=20 if until < RECORDS else 0)
        for stream in STREAMS:
            seen.add(stream + opened.version(stream))
            same(opened, stream, until, held_back=20 if until < RECORDS else 0)
            assert lanes(opened, stream)["records"] <= until
    assert len(seen) == 16, "a version for each look"
    assert opened.version(STREAMS[0]) == opened.version(STREAMS[0])
    last, at_once = lanes(opened, STREAMS[0]), lanes(open_run(run.path), STREAMS[0])
    assert last == at_once, "bit by bit or at once"
    before = opened.rows(STREAMS[0], 590, 640)
    run.finish()
    assert (opened.state, look(run.path).state) == ("finished", "finished")
    for stream in STREAMS:
        same(opened, stream, RECORDS)
    assert opened.rows(STREAMS[0], 590, 640) == before
    done = lanes(opened, STREAMS[0])
    assert done["version"] != last["version"]
    assert {**done, "version": ""} == {**last, "version": ""}


def test_whatever_comes_changes_the_version(tmp_path: Path) -> None:
    run, one = Growing(tmp_path / "run"), streams()[STREAMS[0]]
    opened = open_run(run.path)
    seen = [opened.version(STREAMS[0])]
    for effects in (
        Effects([one.rows[:5]]),
        Effects(events=one.events[:1]),
        Effects(traces=one.traces[:1]),
        Effects(samples=[json.dumps(one.samples[0])]),
    ):
        run.writers[0].write(STREAMS[0], effects)
        run.writers[0].flush()
        seen.append(opened.version(STREAMS[0]))
    assert len(set(seen)) == 5


def test_what_is_torn_waits_for_its_end(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    run.grow(300)
    parts = sorted((run.path / ".state" / "parts").iterdir())
    whole = {part: part.read_bytes() for part in parts}
    run.stop()
    torn = open_run(run.path)
    for share in (0.0, 0.1, 0.4, 0.77, 0.993, 1.0):
        for part, content in whole.items():
            with part.open("r+b") as file:
                cut = content[: int(len(content) * share)]
                file.write(cut)
                file.truncate(len(cut))
        for stream in STREAMS:
            known = lines(torn.events(stream))
            assert known == [event.line() for event in streams()[stream].events[: len(known)]]
            assert len(torn.outcomes(stream)) % 50 == 0
    for stream in STREAMS:
        same(torn, stream, 300)


def test_a_killed_run_is_stopped_and_can_be_looked_at(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    run.grow(700)
    assert held(run.path)
    run.stop()
    assert not held(run.path)
    found = look(run.path)
    assert (found.state, found.verdict) == ("stopped", "amber")
    assert "--resume" in found.verdict_text
    same(open_run(run.path), STREAMS[1], 700)


def test_looking_at_the_lock_leaves_it_alone(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    run.stop()
    lock = run.path / ".state" / "lock"
    before = lock.stat()
    assert look(run.path).state == "stopped"
    assert (lock.stat().st_mtime_ns, lock.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    run.begin()
    assert look(run.path).state == "growing"


def test_a_run_that_begins_anew_is_read_anew(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    run.grow(700, size=30)
    opened = open_run(run.path)
    same(opened, STREAMS[0], 700)
    run.stop()
    run.begin()
    same(opened, STREAMS[0], 0)
    run.grow(900, size=300)
    same(opened, STREAMS[0], 900)


def test_a_run_without_its_first_file_is_just_beginning(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    (run.path / "run.json").unlink()
    assert look(run.path).state == "growing"
    run.stop()
    assert look(run.path).state == "damaged"


def test_a_damaged_part_is_one_sentence(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    with (run.path / ".state" / "parts" / "events-00.jsonl").open("a") as file:
        file.write("{}\n")
    opened = open_run(run.path)
    for _ in range(2):
        with pytest.raises(InputError, match="damaged"):
            opened.events(STREAMS[0])
    assert opened.events(STREAMS[1]) == []


# --- rows and differences -------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), [(0, 0), (95, 105), (1490, 1600), (2000, 2100)])
def test_rows_are_those_of_the_file(
    tmp_path: Path, first: int, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runlog.ROW_GROUP", 100)
    run = finished(tmp_path / "run")
    file = run / "outcomes" / f"{STREAMS[1]}.parquet"
    assert pq.ParquetFile(file).num_row_groups == 15
    found = open_run(run).rows(STREAMS[1], first, last)
    rows = streams()[STREAMS[1]].rows
    assert [row["seq"] for row in found] == list(range(first, min(last + 1, RECORDS)))
    assert [row["label"] for row in found] == rows.labels[first : last + 1].tolist()
    assert [row["event_time"] for row in found] == rows.times[first : last + 1].tolist()


def test_what_two_runs_were_told_differently() -> None:
    one, other = about(), json.loads(json.dumps(about()))
    assert difference(one, json.loads(json.dumps(about()))) == []
    other["scenario"]["policy"]["of"][1]["window"] = 70
    other["scenario"]["seed"] = other["seed"] = 4
    other["name"], other["streams"] = "other", ["other-0000"]
    del other["scenario"]["scoring"]
    other["source"]["sha256"] = "ab"
    assert difference(one, other) == [
        ("policy.of.1.window", 60, 70),
        ("scoring.window", 300, None),
        ("seed", 3, 4),
        ("source.sha256", None, "ab"),
    ]


def test_summary_and_prices_are_the_runs_own(small: Path) -> None:
    opened = open_run(small)
    assert opened.summary == json.loads((small / "summary.json").read_text())
    assert opened.prices["retrain"] == 5.0
    assert opened.truth_known(STREAMS[0])
    assert len(happened(STREAMS[0], "promoted")) == 2


def test_reading_runs_needs_no_pandas(small: Path) -> None:
    """It takes seconds to import, in the middle of the first visit."""
    code = (
        "import sys; from pathlib import Path; from dashboards.lanes import lanes;"
        "from dashboards.runs import open_run; run = open_run(Path(sys.argv[1]));"
        "lanes(run, run.streams[0]); run.rows(run.streams[0], 5, 9); print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(small)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_live_run_that_goes_on_is_growing_again(tmp_path: Path) -> None:
    run = Growing(tmp_path / "news", live=True)
    run.grow(600)
    run.finish()
    opened = open_run(run.path)
    assert (opened.state, len(opened.outcomes(STREAMS[0])), opened.over) == ("finished", 600, False)
    before = opened.version(STREAMS[0])
    run.begin()
    run.grow(300)
    assert (opened.state, opened.summary) == ("growing", None)
    assert opened.version(STREAMS[0]) != before
    assert len(opened.outcomes(STREAMS[0])) == 300
    assert all(event["seq"] < 300 for event in opened.events(STREAMS[0]))
    run.grow()
    run.finish()
    assert (opened.state, len(opened.outcomes(STREAMS[0]))) == ("finished", RECORDS)
