"""Lanes against plain loops over the same rows, events and summary."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboards.happenings import shown, told
from dashboards.lanes import Lanes, bin_width, binned, figures_at, lanes, stretches, threshold
from dashboards.runs import open_run
from dashboards.tails import Columns
from engine.scoring import Happenings
from tests.dashboards.growing import RECORDS, STREAMS, WINDOW, happened, streams


@pytest.fixture(scope="module", params=STREAMS)
def stream(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def drawn(small: Path, stream: str, bins: int = 2000) -> Lanes:
    found = lanes(open_run(small), stream, bins)
    assert json.loads(json.dumps(found, allow_nan=False)) == found, "JSON, and no more"
    return found


def entry(small: Path, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((small / "summary.json").read_text())["streams"][stream]
    return found


def mean(values: list[float]) -> float | None:
    return round(math.fsum(values) / len(values), 6) if values else None


@pytest.mark.parametrize("bins", [1, 7, 40, 1499, 2000])
def test_bins_are_what_a_plain_loop_makes_of_them(small: Path, stream: str, bins: int) -> None:
    found, rows = drawn(small, stream, bins), streams()[stream].rows
    width = found["bin"]
    assert math.ceil(RECORDS / width) == len(found["error"]) == len(found["time"]) <= bins
    errors = [None if math.isnan(one) else one for one in rows.errors.tolist()]
    never = rows.baseline_errors.tolist()
    for at in range(len(found["error"])):
        end = min(RECORDS, (at + 1) * width)
        inside = [one for one in errors[at * width : end] if one is not None]
        so_far = [k for k in range(end) if errors[k] is not None]
        assert found["error"][at] == mean(inside)
        assert found["scored"][at] == len(so_far)
        assert found["cum_error"][at] == sum(float(errors[k] or 0) for k in so_far)
        assert found["cum_baseline"][at] == sum(never[k] for k in so_far)
        assert found["window_error"][at] == mean([float(errors[k] or 0) for k in so_far[-500:]])
        assert found["window_baseline"][at] == mean([never[k] for k in so_far[-500:]])


def test_the_ends_are_what_the_summary_says(small: Path, stream: str) -> None:
    found, said = drawn(small, stream), entry(small, stream)
    assert found["records"] == found["rows"] == said["records"]
    assert found["scored"][-1] == said["scored"]
    assert found["cum_error"][-1] == said["errors"]
    assert found["cum_baseline"][-1] == said["baseline_errors"]
    false = found["false_alarms"][-1][1] if found["false_alarms"] else 0
    assert false == said["alarms"]["false"]
    assert sum(event.get("false", False) for event in found["events"]) == false
    assert len(found["found"]) == said["drifts"]["found"]
    delays = [alarm - start for start, alarm in found["found"]]
    assert sum(delays) / len(delays) == said["drifts"]["delay_mean"]
    assert len(found["drifts"]) == said["drifts"]["true"]
    assert len(found["jobs"]) - 1 == said["retrains"]["started"], "the first fit is free"


def test_time_never_falls_however_records_come() -> None:
    nothing = np.zeros(4)
    times = np.array([5, 9, 7, 12]) * 1_000_000
    found = binned(Columns(times, nothing, nothing, np.zeros(4, np.int64)), 4, 1)
    assert [time[17:19] for time in found["time"]] == ["05", "09", "09", "12"]


def test_the_baseline_counts_where_the_champion_does() -> None:
    errors, never = np.array([np.nan, 1.0, 0.0]), np.array([1.0, 1.0, np.nan])
    found = binned(Columns(np.arange(3), errors, never, np.zeros(3, np.int64)), 3, 3)
    assert found["cum_baseline"] == [1.0]


def test_bins_are_round_and_never_too_many() -> None:
    for records in [*range(0, 9000, 7), 10**6, 10**7 + 1]:
        width = bin_width(records, 2000)
        assert math.ceil(records / width) <= 2000
        assert width == 1 or records / width > 1000, "but nearly so many"


def test_the_strip_of_versions_is_what_answered(small: Path, stream: str) -> None:
    found = drawn(small, stream)["model"]
    swaps = [[event.seq, event.details["model"]] for event in happened(stream, "promoted")]
    assert found == swaps
    models = streams()[stream].rows.models
    assert all(models[start] == number for start, number in found)
    assert stretches(Columns.joined([])) == []
    nothing, models = np.zeros(5), np.array([-1, 0, 2, 0, 0])
    back = stretches(Columns(np.arange(5), nothing, nothing, models))
    assert back == [[1, 0], [2, 2], [3, 0]], "an older one may come back"


def test_traces_are_what_was_traced(small: Path, stream: str) -> None:
    found = drawn(small, stream)
    points = streams()[stream].traces
    detector = found["statistics"]["page_hinkley"]
    assert detector["seq"] == [point.seq for point in points] == found["known_error"]["seq"]
    expected = [point.values["page_hinkley"] for point in points]
    assert detector["value"] == [None if math.isnan(v) else round(v, 6) for v in expected]
    assert list(found["statistics"]) == ["page_hinkley"]


def test_the_threshold_is_what_the_policy_decided_by(small: Path) -> None:
    found = drawn(small, STREAMS[0])["threshold"]
    reason = happened(STREAMS[0], "decision")[0].details["reason"]
    assert reason == f"error 0.15 over the newest 60 labels exceeds {found['value'][0]:.4g}"
    rows = streams()[STREAMS[0]].rows
    first = [k for k in range(RECORDS) if rows.models[k] == 0 and rows.errors[k] == rows.errors[k]]
    assert found["seq"][0] == first[59]
    assert found["value"].count(None) == 1, "a gap between two champions"
    columns = Columns(rows.times, rows.errors, rows.baseline_errors, rows.models)
    fixed = threshold(columns, {"kind": "error_threshold", "above": 0.3}, RECORDS)
    assert fixed == {"seq": [0, RECORDS - 1], "value": [0.3, 0.3]}


def test_events_lead_back_to_the_streams_own(small: Path, stream: str) -> None:
    found = drawn(small, stream)
    events = open_run(small).events(stream)
    assert [event["i"] for event in found["events"]] == list(range(len(events)))
    for shown_ in found["events"]:
        event = events[shown_["i"]]
        assert (shown_["seq"], shown_["kind"]) == (event["seq"], event["kind"])
        assert shown_["time"] == event["event_time"]
        assert shown_["label"] and shown_.get("of_seq") == event.get("of_seq")
    assert found["left_out"] == 0
    assert sum(found["counts"].values()) == len(events)


def test_alarms_are_judged_by_their_cause(small: Path) -> None:
    judged = {
        event["seq"]: (event["false"], event["drift"])
        for event in drawn(small, STREAMS[1])["events"]
        if event["kind"] == "alarm"
    }
    assert judged == {
        353: (True, None),
        414: (True, None),
        631: (False, 600),
        1004: (False, None),  # a fault
        1104: (False, None),
        1407: (False, 1300),
    }
    assert drawn(small, STREAMS[1])["false_alarms"] == [[353, 1], [414, 2]]
    assert drawn(small, STREAMS[1])["found"] == [[600, 631], [600, 631], [1300, 1407]]


def test_the_first_alarm_finds_a_drift() -> None:
    alarm = {"kind": "alarm", "event_time": "", "detector": "d", "on": "error"}
    drift = {"kind": "drift", "event_time": "", "seq": 5, "over": 0, "drift": "concept"}
    events = [drift | {"shape": "abrupt", "phase": "start"}]
    events += [alarm | {"seq": seq, "of_seq": seq} for seq in (8, 9, 30, 30, 31)]
    found = told(events, known=True, window=10)
    assert found["found"] == [[5, 8]]
    assert found["false_alarms"] == [[30, 2], [31, 3]]


def test_where_the_truth_is_unknown_no_alarm_is_false(small: Path) -> None:
    found = told(open_run(small).events(STREAMS[1]), known=False, window=WINDOW)
    assert found["false_alarms"] == found["found"] == []
    assert not any("false" in event for event in found["events"])


def test_jobs_faults_and_drifts_are_told_whole(small: Path) -> None:
    found = drawn(small, STREAMS[1])
    assert [(job["asked"], job["ready"], job["outcome"]) for job in found["jobs"]] == [
        (219, 259, "promoted"), (631, 671, "promoted"), (1407, 1447, "rejected")
    ]  # fmt: skip
    (fault,) = found["faults"]
    assert (fault["seq"], fault["until"], fault["text"]) == (1000, 1100, "missing (x)")
    assert [drift["found"] for drift in found["drifts"]] == [631, 631, 1407]


def test_too_many_events_are_thinned_and_decisions_kept() -> None:
    alarm = {"kind": "alarm", "event_time": "", "of_seq": 1, "detector": "d", "on": "error"}
    chosen = {"kind": "decision", "event_time": "", "action": "retrain", "reason": "r"}
    events = [{**(chosen if k % 10 == 9 else alarm), "seq": k} for k in range(1000)]
    found = shown(events, Happenings(), {}, most=300)
    kinds = [event["kind"] for event in found["events"]]
    assert (kinds.count("decision"), kinds.count("alarm"), found["left_out"]) == (100, 200, 700)
    seqs = [event["seq"] for event in found["events"]]
    alarms = [event["seq"] for event in found["events"] if event["kind"] == "alarm"]
    assert seqs == sorted(seqs) and alarms[0] < 10 and alarms[-1] > 980, "evenly spread"
    assert len(shown(events, Happenings(), {}, most=50)["events"]) == 50


@pytest.mark.parametrize("bins", [30, 2000])
def test_the_figures_at_the_playhead_know_only_what_was(
    small: Path, stream: str, bins: int
) -> None:
    found = drawn(small, stream, bins)
    rows, width = streams()[stream].rows, found["bin"]
    alarms = [(event.seq, event.details["of_seq"]) for event in happened(stream, "alarm")]
    for seq in (0, 40, 258, 259, 599, 600, 620, 640, 1000, 1299, 1305, 1410, 1499):
        at = figures_at(found, seq)
        end = RECORDS if seq == RECORDS - 1 else (seq + 1) // width * width
        scored = [k for k in range(end) if not math.isnan(rows.errors[k])]
        assert at["errors"] == sum(rows.errors[k] for k in scored)
        assert at["error_now"] == mean([rows.errors[k] for k in scored[-500:]])
        paid = [job for job in happened(stream, "job_started") if job.seq <= seq][1:]
        assert (at["retrains"], at["spent"]) == (len(paid), 5.0 * len(paid))
        assert at["cost"] == 2.0 * at["errors"] + at["spent"]
        false = [alarm for alarm, _ in alarms if alarm in (353, 414) and alarm <= seq]
        assert at["false_alarms"] == len(false)
        start = 1300 if seq >= 1300 else 600 if seq >= 600 else None
        assert at["drift"] == start
        if start is None:
            assert at["delay"] is at["detection"] is at["lost"] is None
            continue
        in_time = [raised for raised, of_seq in alarms if start <= of_seq < start + 100]
        first = min((raised for raised in in_time if raised <= seq), default=None)
        assert at["delay"] == (seq if first is None else first) - start
        late = seq > start + WINDOW
        assert at["detection"] == ("found" if first else "missed" if late else "open")
        before = [k for k in range(start // width * width) if not math.isnan(rows.errors[k])]
        rate = mean([rows.errors[k] for k in before[-500:]])
        since = [k for k in scored if k >= start // width * width]
        lost = sum(rows.errors[k] for k in since) - (rate or 0) * len(since)
        assert at["lost"] == pytest.approx(lost, abs=1e-3)


def test_the_end_costs_what_the_summary_says(small: Path, stream: str) -> None:
    at, said = figures_at(drawn(small, stream), RECORDS - 1), entry(small, stream)
    assert at["cost"] == said["cost"]["total"]
    assert at["spent"] == said["cost"]["retrains"]
    assert at["false_alarms"] == said["alarms"]["false"]


def test_a_run_without_records_has_empty_lanes() -> None:
    found = told([], known=True, window=5)
    assert found["events"] == found["jobs"] == found["false_alarms"] == []
