"""Why: what belongs to an event, the models and shares before and after, the single records."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dashboards.panels import models
from dashboards.reasons import alarm_samples, chain_of, records, why
from dashboards.runs import open_run
from engine.errors import InputError
from tests.dashboards.growing import RECORDS, STREAMS, Growing, streams


def place(stream: str, kind: str, seq: int) -> int:
    """Return the place of an event among the stream's."""
    events = streams()[stream].events
    return next(at for at, one in enumerate(events) if (one.kind, one.seq) == (kind, seq))


def told(small: Path, stream: str, kind: str, seq: int) -> dict[str, Any]:
    found = why(open_run(small), stream, place(stream, kind, seq))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["event"]["kind"], found["event"]["seq"]) == (kind, seq)
    return found


def chained(found: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one["kind"], one["seq"]) for one in found["chain"]]


WHOLE = [
    ("drift", 1300), ("alarm", 1407), ("decision", 1407), ("job_started", 1407),
    ("job_ready", 1447), ("rejected", 1447),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "seq"), WHOLE)
def test_from_drift_to_verdict_each_event_leads_to_all(small: Path, kind: str, seq: int) -> None:
    found = told(small, STREAMS[1], kind, seq)
    assert chained(found) == WHOLE
    assert found["policy"] == "any_of"
    assert (
        found["saw"]
        == streams()[STREAMS[1]].events[place(STREAMS[1], "decision", 1407)].details["saw"]
    )
    assert found["window"]["rows"] == 300
    scores = found["scores"]
    assert (scores["champion_error"], scores["challenger_error"]) == (
        pytest.approx(11 / 89), pytest.approx(78 / 89)
    )  # fmt: skip
    assert found["before"]["model"] == 1 and found["before"]["since"] == 671
    assert found["after"]["model"] == 2 and found["after"]["outcome"] == "rejected"
    assert found["after"]["rows"] == 250, "the holdout is not trained on"


def test_a_decision_without_alarms_and_a_first_model(small: Path) -> None:
    found = told(small, STREAMS[0], "decision", 625)
    assert [kind for kind, _ in chained(found)] == [
        "decision", "job_started", "job_ready", "promoted"
    ]  # fmt: skip
    assert found["sample"] is None
    assert (found["before"]["model"], found["after"]["model"]) == (0, 1)
    first = told(small, STREAMS[0], "promoted", 259)
    assert chained(first) == [("job_started", 219), ("job_ready", 259), ("promoted", 259)]
    assert first["before"] is first["saw"] is None
    assert first["scores"]["champion_error"] is None


def test_what_is_dropped_leads_to_its_decision() -> None:
    decision = {"kind": "decision", "action": "retrain", "reason": "r", "seq": 7}
    asked = {"kind": "job_started", "model": 1, "seq": 5, "reason": "another"}
    dropped = {"kind": "request_dropped", "seq": 7, "pending": 1}
    later = {**asked, "model": 2, "seq": 9, "reason": "r"}
    assert chain_of([asked, decision, dropped], 2) == chain_of([asked, decision, dropped], 1)
    assert chain_of([asked, decision, dropped], 2) == [1, 2]
    assert chain_of([asked, decision, later], 2) == [1, 2], "one that was queued"
    assert chain_of([asked, decision, later], 1) == [1, 2]
    assert chain_of([asked, decision], 0) == [0]


@pytest.mark.parametrize(
    ("stream", "seq", "words"),
    [
        (STREAMS[1], 353, "False: no drift"),
        (STREAMS[1], 1004, "a scripted fault caused it"),
        (STREAMS[1], 1407, "Belongs to the drift at 1,300, which began 107 records before"),
        (STREAMS[0], 629, "record 629 by record 609, whose label"),
    ],
)
def test_an_alarm_says_whose_it_is(small: Path, stream: str, seq: int, words: str) -> None:
    assert words in " ".join(told(small, stream, "alarm", seq)["sentences"])


def test_a_drift_says_when_it_was_found(small: Path) -> None:
    assert "after 31 records" in told(small, STREAMS[1], "drift", 600)["sentences"][0]
    missed = told(small, STREAMS[0], "drift", 1300)
    assert "No alarm found it" in missed["sentences"][0]
    assert chained(missed) == [("drift", 1300)]


def test_the_sample_shows_what_moved(small: Path) -> None:
    found = told(small, STREAMS[1], "alarm", 353)["sample"]
    x, y = found["features"]
    assert (x["name"], x["alarmed"], y["name"], y["alarmed"]) == ("x", True, "y", False)
    assert x["bins"][-2].startswith("> ") and x["bins"][-1] == "missing"
    for one in (x, y):
        assert len(one["bins"]) == len(one["reference"]) == len(one["recent"])
        assert sum(one["reference"]) == pytest.approx(1, abs=1e-4)
        moved = [abs(a - b) for a, b in zip(one["reference"], one["recent"], strict=True)]
        assert one["shift"] == pytest.approx(sum(moved) / 2, abs=1e-6)
    assert len(found["records"]) == 20 and found["records"][-1]["seq"] == 353
    from_decision = told(small, STREAMS[1], "decision", 1407)["sample"]
    assert from_decision["seq"] == 1407


def test_a_sample_that_is_none_is_passed_over(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    run.grow(500)
    with (run.path / ".state" / "parts" / "samples-01.jsonl").open("a") as file:
        file.write(f'{STREAMS[1]}\t{{"n": 3}}\n{STREAMS[1]}\tnothing\n')
    opened = open_run(run.path)
    assert len(opened.samples(STREAMS[1])) == 4
    assert [one["seq"] for one in alarm_samples(opened, STREAMS[1])] == [353, 414]


def test_errors_before_and_after_are_the_champions(small: Path) -> None:
    found = told(small, STREAMS[1], "promoted", 671)["errors"]
    errors = streams()[STREAMS[1]].rows.errors.tolist()
    for name, part in (("before", errors[171:671]), ("after", errors[671:1171])):
        known = [one for one in part if not math.isnan(one)]
        assert found[name] == pytest.approx(sum(known) / len(known), abs=1e-6)
    assert told(small, STREAMS[1], "job_started", 219)["errors"]["before"] is None


def test_records_are_rows_around_one(small: Path) -> None:
    opened = open_run(small)
    found = records(opened, STREAMS[1], 350, before=2, after=4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [row["seq"] for row in found] == [348, 349, 350, 351, 352, 353, 354]
    assert found[0]["event_time"] == "1970-01-01T00:05:48.000000Z"
    assert found[0]["label_time"] == "1970-01-01T00:06:08.000000Z"
    sample = alarm_samples(opened, STREAMS[1])[0]["records"]
    assert found[0]["features"] == next(r["features"] for r in sample if r["seq"] == 348)
    assert found[-1]["features"] is None, "not in a sample"
    assert [row["seq"] for row in records(opened, STREAMS[1], 1, 5, 1)] == [0, 1, 2]
    assert [row["seq"] for row in records(opened, STREAMS[1], RECORDS, 2, 9)] == [1498, 1499]
    assert len(records(opened, STREAMS[1], 700, 10**9, 10**9)) == 1001


@pytest.mark.parametrize("at", [-1, 10**6])
def test_an_event_that_is_none_is_refused(small: Path, at: int) -> None:
    with pytest.raises(InputError, match="has no event"):
        why(open_run(small), STREAMS[0], at)


def test_every_event_of_a_growing_run_can_be_explained(tmp_path: Path) -> None:
    run = Growing(tmp_path / "run")
    run.grow(1420, held_back=20)
    opened = open_run(run.path)
    for stream in STREAMS:
        for at, event in enumerate(opened.events(stream)):
            found = why(opened, stream, at)
            assert found["event"] == event
            assert at in [one["i"] for one in found["chain"]]
    pending = why(opened, STREAMS[1], place(STREAMS[1], "decision", 1407))
    assert pending["after"]["outcome"] == "pending" and pending["scores"] is None


def test_parameters_are_told_of_both_models_and_marked_where_they_differ(small: Path) -> None:
    found = told(small, STREAMS[1], "promoted", 671)
    depth = next(row for row in found["parameters"] if row[0] == "depth")
    assert depth == ["depth", 6, 6]
    found["parameters"] = [*found["parameters"], ["l2 leaf reg", 3.0, 9.0]]
    rows = {}
    for row in models(found)[1].children[1].children:
        name, *cells = row.children
        rows[name.children] = (row.className, [cell.children.children for cell in cells])
    assert rows["depth"] == ("", ["6", "6"])
    assert rows["l2 leaf reg"] == ("differs", ["3", "9"])
    assert rows["asked at"][0] == "differs" and rows["rows fitted"][1][0] != "–"
