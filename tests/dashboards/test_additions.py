"""What the replay makes of tuning, rejection, and earlier models that serve again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dashboards.figures import job_traces
from dashboards.happenings import jobs_of, label_of, returns_of
from dashboards.lanes import figures_at, lanes
from dashboards.looks import PALETTES
from dashboards.panels import duel
from dashboards.reasons import why
from dashboards.runs import Opened, open_run
from tests.e2e.driving import ROOT, driftline

STREAM = "tuned_and_gated-0000"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("additions") / "run"
    scenario = ROOT / "scenarios" / "tuned_and_gated.yaml"
    done = driftline("run", scenario, "--out", out, "--set", "source.records=7000")
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def opened(run: Path) -> Opened:
    return open_run(run)


def places(opened: Opened, kind: str) -> list[int]:
    """Return where events of a kind are."""
    return [at for at, event in enumerate(opened.events(STREAM)) if event["kind"] == kind]


def test_the_end_costs_what_the_summary_says(run: Path, opened: Opened) -> None:
    said = json.loads((run / "summary.json").read_text("utf-8"))["total"]
    made = lanes(opened, STREAM)
    at = figures_at(made, made["records"] - 1)
    cost = said["cost"]
    assert cost["tuning"] > 0 and cost["reuse"] > 0 and said["retrains"]["rejected"] > 0
    assert at["cost"] == cost["total"]
    assert at["spent"] == cost["retrains"] + cost["tuning"] + cost["reuse"]
    assert at["retrains"] == said["retrains"]["started"]
    (back,) = made["returns"]
    before, then = (figures_at(made, back["seq"] + step)["spent"] for step in (-1, 0))
    assert then - before == pytest.approx(4.0)


def test_labels_say_what_was_tuned_rejected_and_reused(opened: Opened) -> None:
    events = opened.events(STREAM)
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event["kind"], []).append(label_of(event))
    assert "model 1 asked for, tuned in 8 trials: served 1500 records" in found["job_started"][1]
    assert ", tuned in 8 trials (0.05 to 0.0475)" in found["job_ready"][1]
    assert "tuned" not in found["job_started"][0] + found["job_ready"][0]
    assert found["rejected"][0].startswith("model 1 rejected: 0.0267 against 0.0267; p = 0.62")
    assert found["reused"][0] == "model 0 serves again instead of model 3: 0.05 against 0.97"


def test_an_earlier_model_is_no_job(opened: Opened) -> None:
    events = opened.events(STREAM)
    jobs, back = jobs_of(events), returns_of(events)
    assert [job["outcome"] for job in jobs] == ["promoted", "rejected", "promoted", "promoted"]
    assert [job.get("trials", 0) for job in jobs] == [0, 8, 8, 8]
    assert [(one["model"], one["replaces"]) for one in back] == [(0, 3)]
    drawn = job_traces(lanes(opened, STREAM), 0, PALETTES["light"])
    assert drawn[-1]["name"] == "return" and drawn[-1]["x"] == [back[0]["seq"]]


def test_a_return_is_told_by_what_led_to_it_and_not_by_its_training(opened: Opened) -> None:
    (place,) = places(opened, "reused")
    told = why(opened, STREAM, place)
    kinds = [one["kind"] for one in told["chain"]]
    assert kinds[0] == "drift" and kinds[-2:] == ["decision", "reused"] and "alarm" in kinds
    assert (told["before"]["model"], told["after"]["model"]) == (3, 0)
    scores = told["scores"]
    assert (scores["judge"], scores["challenger_error"], scores["wins"]) == ("archive", 0.05, 188)
    decision = next(one["i"] for one in told["chain"] if one["kind"] == "decision")
    other = why(opened, STREAM, decision)
    assert [one["i"] for one in other["chain"]] == [one["i"] for one in told["chain"]]
    assert (other["before"]["model"], other["after"]["model"]) == (3, 0)
    text = str(duel(told))
    assert "Earlier model against champion: serves again" in text and "better on 188" in text


def test_the_model_of_before_is_champion_after_its_return(opened: Opened) -> None:
    (place,) = places(opened, "reused")
    events = opened.events(STREAM)
    later = next((at for at in range(place + 1, len(events))), None)
    if later is not None and events[later]["kind"] in ("decision", "alarm"):
        assert why(opened, STREAM, later)["before"]["model"] == 0
    training = next(at for at in places(opened, "promoted") if events[at]["model"] == 0)
    chain = why(opened, STREAM, training)["chain"]
    assert "reused" not in [one["kind"] for one in chain]


def test_a_rejection_is_told_with_its_looks(opened: Opened) -> None:
    told = why(opened, STREAM, places(opened, "rejected")[0])
    kinds = [one["kind"] for one in told["chain"]]
    assert kinds == ["decision", "job_started", "job_ready", "rejected"]
    text = str(duel(told))
    assert "better on 5, worse on 5: p = 0.623" in text and "looked at 3 times" in text
    parameters = {name: (one, other) for name, one, other in told["parameters"]}
    assert parameters["depth"] == (2, 5) and parameters["tuning trials"][1] == 8


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"kind": "rollback", "model": 2, "replaces": 4}, "rollback: model 2 serves again"),
        (
            {"kind": "rejected", "model": 2, "broken": ["size", "collapse"]},
            "model 2 rejected; guarded by size, collapse",
        ),
        (
            {"kind": "job_started", "model": 2, "reason": "so", "tuning": {"trials": 0}},
            "model 2 asked for: so",
        ),
    ],
)
def test_labels_of_what_seldom_happens(event: dict[str, Any], text: str) -> None:
    assert label_of(event).startswith(text)
