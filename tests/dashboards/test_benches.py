"""A benchmark folder read back: curves that agree with its summary, and damage said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.findings import Cell, Findings, StreamFacts, Timeline, Track, Truth
from benchmarks.report import csv, html
from benchmarks.statistics import summarise
from dashboards.benches import open_bench
from dashboards.catalogue import find
from dashboards.charts import schedules
from engine.errors import InputError

PRICES = ("2%", "10%", "200%")
BLOCKS = {"sea": 100, "elec2": 250}


def cells() -> list[Cell]:
    """Return made-up costs: of two streams, two seeds and two latencies at three prices."""
    found = []
    for stream, block in BLOCKS.items():
        for seed in (1, 2):
            for latency in ("0", "2"):
                for at, policy in ((2, "never"), (0, "adwin"), (1, "every 5 blocks")):
                    for price in PRICES:
                        alpha = float(price.rstrip("%")) / 100 * block
                        cost = 100.0 + 7 * at + seed + alpha * (at + 1) + 3 * int(latency)
                        found.append(
                            Cell(
                                stream=stream, seed=seed, policy=policy, price=price, alpha=alpha,
                                latency=latency, label_delay="0", errors=cost - alpha, retrains=1,
                                cost=cost, optimum=90.0 + alpha / 2, never=200.0,
                            )
                        )  # fmt: skip
    return found


def timeline(stream: str) -> Timeline:
    """Return when two policies and the optimum retrained; adwin does not look at prices."""
    blocks = 10
    errors = tuple(0.25 for _ in range(blocks))
    track, none = Track((300, 700), (350, 750), errors), Track((), (), errors)
    return Timeline(
        stream=stream, seed=1, latency="0", label_delay="0", records=1000,
        starts=tuple(range(0, 1000, 100)), drifts=(Truth(280, 10, "concept"),),
        tracks={"adwin": dict.fromkeys(PRICES, track), "never": dict.fromkeys(PRICES, none)},
        optimum={"2%": Track((290, 600), (291, 601), errors), "10%": track, "200%": none},
        periods={},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a finished benchmark folder."""
    return written(tmp_path)


def written(tmp_path: Path) -> Path:
    """Write a finished benchmark folder, and return it."""
    lines = tuple(timeline(name) for name in BLOCKS)
    findings = Findings(
        name="tiny", spec={}, replay="", versions={}, prices=PRICES, timelines=lines,
        roles={"adwin": "policy", "never": "policy", "every 5 blocks": "policy"},
        cells=tuple(cells()),
        streams=tuple(
            StreamFacts(stream=name, kind="file", records=1000, block=block, features=3, classes=2)
            for name, block in BLOCKS.items()
        ),
    )  # fmt: skip
    about = {"name": "tiny", "replay": "driftline bench tiny.yaml"}
    spec = {"alphas": ["200%", "2%", "10%"], "streams": [{}, {}]}
    (tmp_path / "bench.json").write_text(json.dumps(about | {"spec": spec}))
    (tmp_path / "results.csv").write_text(csv(findings))
    summary = summarise(findings)
    (tmp_path / "summary.json").write_text(json.dumps(summary.as_json()))
    (tmp_path / "report.html").write_text(html(findings, summary), "utf-8")
    return tmp_path


def test_curves_are_what_the_summary_says(folder: Path) -> None:
    found = open_bench(folder)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    summary = json.loads((folder / "summary.json").read_text())
    by_name = {one["policy"]: one for one in summary["policies"]}
    assert found["prices"] == list(PRICES)
    assert found["verdict"] == summary["verdict"] and found["recommended"] == "adwin"
    assert {curve["policy"] for curve in found["curves"]} == set(by_name)
    for curve in found["curves"]:
        said = by_name[curve["policy"]]
        assert curve["regret"] == pytest.approx(list(said["by_price"].values()))
        assert curve["overall"] == pytest.approx(said["regret"])
    overall = [curve["overall"] for curve in found["curves"]]
    assert overall == sorted(overall)
    for stream in BLOCKS:
        for curve in found["by_stream"][stream]:
            said = by_name[curve["policy"]]["by_stream"][stream]
            assert curve["overall"] == pytest.approx(said)
    assert [row["policy"] for row in found["rows"]] == [
        one["policy"] for one in summary["policies"]
    ]
    assert found["settings"] == [
        {"latency": "0", "label_delay": "0"}, {"latency": "2", "label_delay": "0"}
    ]  # fmt: skip
    assert found["report"] == str(folder / "report.html")


def test_schedules_are_those_of_the_report(folder: Path) -> None:
    found = open_bench(folder)["schedules"]
    assert list(found) == list(BLOCKS)
    one = found["sea"]
    assert one["about"] == "sea, seed 1, latency 0, label delay 0"
    assert (one["records"], one["drifts"]) == (1000, [[280, 290]])
    assert one["policies"] == ["optimum", "adwin", "never"]
    asked = {(t["policy"], *t["prices"]): (t["asked"], t["ready"]) for t in one["tracks"]}
    assert asked == {
        ("optimum", "2%"): ([290, 600], [291, 601]),
        ("optimum", "10%"): ([300, 700], [350, 750]),
        ("optimum", "200%"): ([], []),
        ("adwin", *PRICES): ([300, 700], [350, 750]),
        ("never", *PRICES): ([], []),
    }
    figure = schedules(one, "2%", {"adwin": "#123456"})
    drawn = {t["name"]: t["x"] for t in figure["data"] if t["mode"] == "markers"}
    assert drawn == {"optimum": [290, 600], "adwin": [300, 700], "never": []}
    (folder / "report.html").write_text("<p>another report</p>")
    assert open_bench(folder)["schedules"] == {}


def test_costs_are_means_of_the_table(folder: Path) -> None:
    curve = next(one for one in open_bench(folder)["curves"] if one["policy"] == "never")
    for price, cost in zip(PRICES, curve["cost"], strict=True):
        mine = [cell.cost for cell in cells() if (cell.policy, cell.price) == ("never", price)]
        assert cost == pytest.approx(sum(mine) / len(mine))


def test_a_stream_that_lacks_a_price_is_told_by_its_errors(folder: Path) -> None:
    lines = (folder / "results.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[::3][:2] != ["sea", "200"]]
    assert len(kept) < len(lines)
    (folder / "results.csv").write_text("\n".join(kept) + "\n")
    assert open_bench(folder)["prices"] == ["2", "5", "10", "25", "500"]


def test_the_overview_shows_a_benchmark(folder: Path) -> None:
    (found,) = find([folder])
    assert (found.kind, found.state, found.name, found.streams) == ("bench", "finished", "tiny", 2)
    assert found.verdict_text.startswith("Use adwin")
    (folder / "summary.json").unlink()
    (found,) = find([folder])
    assert (found.kind, found.state) == ("bench", "stopped")
    with pytest.raises(InputError, match="not finished"):
        open_bench(folder)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bench.json": (lambda at: os.truncate(at / "bench.json", 9), "no JSON"),
    "no results": (lambda at: (at / "results.csv").unlink(), "cannot be read"),
    "half a line": (lambda at: os.truncate(at / "results.csv", 300), "is damaged"),
    "other columns": (lambda at: (at / "results.csv").write_text("a,b\n1,2\n"), "is damaged"),
    "binary": (lambda at: (at / "results.csv").write_bytes(b"\xff\xff"), "not UTF-8"),
    "half a summary": (lambda at: os.truncate(at / "summary.json", 99), "no JSON"),
    "another summary": (lambda at: (at / "summary.json").write_text("{}"), "is missing"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_one_sentence(folder: Path, what: str) -> None:
    spoil, words = DAMAGE[what]
    spoil(folder)
    with pytest.raises(InputError, match=words):
        open_bench(folder)
    assert len(find([folder])) == 1
