"""Figures are pure functions of lanes: looked at without a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboards.charts import costs, distribution, spark
from dashboards.figures import Mode, Shown, ends, peak, replay
from dashboards.lanes import lanes
from dashboards.looks import PALETTES, Theme
from dashboards.reasons import why
from dashboards.runs import open_run


@pytest.fixture(scope="module")
def made(small: Path) -> dict[str, Any]:
    return lanes(open_run(small), "small-0000")


def kinds(figure: dict[str, Any]) -> list[str]:
    return [row["kind"] for row in figure["layout"]["meta"]["rows"]]


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in figure["data"] if one["name"] == name)


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("mode", ["overlaid", "stacked"])
@pytest.mark.parametrize("many", [1, 2, 6])
def test_every_figure_is_one_that_plotly_takes(
    made: dict[str, Any], theme: Theme, mode: Mode, many: int
) -> None:
    figure = replay([Shown(f"run {at}", made) for at in range(many)], mode, theme)
    go.Figure(json.loads(json.dumps(figure, allow_nan=False)))
    rows = figure["layout"]["meta"]["rows"]
    edges = [edge for row in rows for edge in reversed(row["domain"])]
    assert edges == sorted(edges, reverse=True), "lanes do not overlap"
    assert 0.9 < edges[0] <= 1.0 and edges[-1] == pytest.approx(0.0, abs=1e-9)
    axes = {one["yaxis"] for one in figure["data"]}
    assert len(axes) == len(rows), "each lane holds something"


def test_a_run_has_its_lanes_in_order(made: dict[str, Any]) -> None:
    figure = replay([Shown("one", made)])
    assert kinds(figure) == [
        "error", "detector", "drift", "alarms", "training", "champion", "anomalies",
    ]  # fmt: skip
    champion = trace(figure, "champion")
    assert champion["x"] == ends(made) and champion["y"] == made["window_error"]
    assert trace(figure, "if never retrained")["y"] == made["window_baseline"]


def test_several_runs_share_what_is_the_same(made: dict[str, Any]) -> None:
    other = {**made, "window_error": [0.5 for _ in made["window_error"]]}
    overlaid = replay([Shown("a", made), Shown("b", other)])
    assert kinds(overlaid).count("error") == kinds(overlaid).count("drift") == 1
    names = [one["name"] for one in overlaid["data"]]
    assert names.count("if never retrained") == 1 and {"a", "b"} <= set(names)
    stacked = replay([Shown("a", made), Shown("b", other)], "stacked")
    assert kinds(stacked).count("error") == kinds(stacked).count("drift") == 2
    shifted = {**made, "drifts": [{**one, "seq": one["seq"] + 1} for one in made["drifts"]]}
    assert kinds(replay([Shown("a", made), Shown("b", shifted)])).count("drift") == 2


def test_alarms_are_told_apart_by_shape(made: dict[str, Any]) -> None:
    events = [{**one, "false": True} if one["kind"] == "alarm" else one for one in made["events"]]
    alarms = [one for one in made["events"] if one["kind"] == "alarm"]
    figure = replay([Shown("one", made)])
    right = sum(not one["false"] for one in alarms)
    assert len(trace(figure, "alarm")["x"]) == right > 0
    wrong = replay([Shown("one", {**made, "events": events})])
    assert len(trace(wrong, "false alarm")["x"]) == len(alarms)
    assert (
        trace(wrong, "false alarm")["marker"]["symbol"] != trace(wrong, "alarm")["marker"]["symbol"]
    )
    assert trace(figure, "alarm")["customdata"][0] == [0, alarms[0]["i"], alarms[0]["seq"]]


def test_jobs_last_from_asked_to_ready_in_the_colour_of_their_outcome(
    made: dict[str, Any],
) -> None:
    palette = PALETTES["light"]
    job = {
        "model": 1,
        "first": False,
        "asked": 10,
        "ready": 30,
        "outcome": "promoted",
        "reason": "",
    }
    jobs = [
        job,
        {**job, "model": 2, "outcome": "rejected"},
        {**job, "model": 3, "outcome": "failed"},
        {**job, "model": 4, "ready": None, "outcome": "pending"},
    ]
    figure = replay([Shown("one", {**made, "jobs": jobs})])
    bars, verdicts = trace(figure, "training"), trace(figure, "verdict")
    assert bars["base"] == [10] * 4 and bars["x"] == [20, 20, 20, made["records"] - 1 - 10]
    assert bars["marker"]["color"] == [palette.good, palette.bad, palette.bad, palette.pending]
    assert verdicts["x"] == [30, 30, 30] and len(set(verdicts["marker"]["symbol"])) == 3


def test_texts_of_a_run_are_shown_literally(made: dict[str, Any]) -> None:
    events = [{**one, "label": "<a href='x'>y</a>"} for one in made["events"]]
    bad = {**made, "events": events}
    text = json.dumps(replay([Shown("<b>1</b>", bad), Shown("2", made)]))
    assert "<a" not in text and "&lt;a" in text
    assert "<b>" not in json.dumps(replay([Shown("<b>1</b>", bad), Shown("2", made)], "stacked")[
        "layout"])  # fmt: skip


def test_a_run_that_has_just_begun_can_be_drawn() -> None:
    nothing = {
        "records": 0, "bin": 1, "cum_error": [], "window_error": [], "window_baseline": [],
        "scored": [], "threshold": None, "statistics": {}, "events": [], "jobs": [], "drifts": [],
        "faults": [], "model": [], "truth_known": False, "returns": [],
    }  # fmt: skip
    go.Figure(replay([Shown("one", nothing)]))
    assert "svg" in spark(nothing) and peak(nothing) == 1.0


def test_distributions_and_costs_are_figures(small: Path) -> None:
    opened = open_run(small)
    alarm = next(at for at, one in enumerate(opened.events("small-0000")) if one["kind"] == "alarm")
    for feature in why(opened, "small-0000", alarm)["sample"]["features"]:
        figure = distribution(feature)
        go.Figure(figure)
        assert sum(figure["data"][0]["y"]) == pytest.approx(1, abs=1e-3)
        assert len(figure["data"][0]["x"]) == len(figure["data"][1]["y"])
    curves = [{"policy": f"<p{at}>", "prices": ["2%", "10%"], "regret": [1.0, None]}
              for at in range(9)]  # fmt: skip
    figure = costs(curves, "dark")
    go.Figure(figure)
    assert [one["visible"] for one in figure["data"]] == [True] * 8 + ["legendonly"]
    assert figure["data"][0]["name"] == "&lt;p0&gt;"


def test_a_spark_scales_with_its_top(made: dict[str, Any]) -> None:
    assert spark(made, top=1.0) != spark(made, top=2.0)
    assert spark(made, "dark") != spark(made, "light")
