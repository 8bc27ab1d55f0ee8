"""Every scenario that ships: runs, twice, to the same bytes, and keeps the contracts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.events import KINDS
from tests.e2e.driving import ROOT, SCENARIOS, differences, driftline, events, summary

COLUMNS = "stream seq event_time label_time prediction score label error model baseline_error"
SUMMARY = "records predicted scored errors error_rate baseline_errors retrains drifts alarms cost"


def test_at_least_ten_scenarios_ship() -> None:
    assert len(SCENARIOS) >= 10
    for path in SCENARIOS:
        text = path.read_text("utf-8")
        assert text.startswith("#") and "Watch:" in text, f"{path.name} says what to watch"


LONG = ("friedman_regression",)
"""Scenarios that `make test-all` runs."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG))
        for path in SCENARIOS
    ],
)
def test_a_shipped_scenario_runs_twice_to_the_same_bytes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    name = path.relative_to(ROOT)
    one = driftline("run", name, "--out", tmp_path / "one")
    assert one.code == 0, one.err
    assert "retrain" in one.out
    other = driftline("run", name, "--out", tmp_path / "two", "--batch-size", 333, "--workers", 2)
    assert other.code == 0, other.err
    assert differences(tmp_path / "one", tmp_path / "two") == []
    keeps_contracts(tmp_path / "one")


def keeps_contracts(run: Path) -> None:
    """Assert what DESIGN promises of every run directory."""
    found = events(run)
    order = [(event["event_time"], event["stream"], event["seq"], event["n"]) for event in found]
    assert order == sorted(order)
    assert {event["kind"] for event in found} <= set(KINDS)
    assert [list(event)[:5] for event in found] == [
        ["kind", "event_time", "stream", "seq", "n"]
    ] * len(found)
    assert sorted(path.name for path in run.iterdir()) == [
        "events.jsonl", "outcomes", "run.json", "samples", "summary.json", "timing.json", "traces"
    ]  # fmt: skip
    entries = summary(run)
    for name, entry in entries["streams"].items():
        assert list(entry) == SUMMARY.split()
        table = pq.read_table(run / "outcomes" / f"{name}.parquet")
        assert table.column_names == COLUMNS.split()
        assert table["seq"].to_pylist() == list(range(entry["records"]))
        assert sum(table["error"].drop_null().to_pylist()) == pytest.approx(entry["errors"])
        swaps = [event["seq"] for event in found if event["kind"] in ("promoted", "reused")]
        models = table["model"].to_pylist()
        changes = [at + 1 for at, (a, b) in enumerate(pairwise(models)) if a != b]
        assert set(changes) <= set(swaps), (
            "a model changes only where one was promoted or came back"
        )
    cost = entries["total"]["cost"]
    parts = (cost["errors"], cost["retrains"], cost["tuning"], cost["reuse"])
    assert cost["total"] == pytest.approx(sum(parts))
