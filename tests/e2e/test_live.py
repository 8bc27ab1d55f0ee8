"""`driftline live` against a NewsAPI on the loopback address: rounds, going on, stops, kills."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scenarios.newsserver import KEY, NewsServer
from tests.e2e.driving import Answer, driftline, events, start, summary

pytestmark = pytest.mark.xdist_group("live")

CONFIG = """\
name: newsroom
newsapi: {{base_url: "{url}", plan: {{requests: 100000, per: 12h}}, backoff: 0s, tries: 2}}
topics:
  - {{name: business, category: business, country: us}}
  - {{name: sports, category: sports, country: us}}
  - {{name: science, category: science, country: us}}
interval: 0s
text: {{columns: 32}}
registry: null
model: {{kind: catboost, iterations: 10, depth: 3}}
detectors: [{{kind: adwin, on: error}}]
policy: {{kind: every, records: 100}}
retraining: {{first: 60, window: 300}}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[NewsServer]:
    with NewsServer(speed=400_000.0, head_start=400_000.0) as running:
        yield running


@pytest.fixture
def config(server: NewsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "newsroom.yaml"
    path.write_text(CONFIG.format(url=server.url), "utf-8")
    monkeypatch.setenv("NEWSAPI_KEY", KEY)
    return path


def rows(folder: Path) -> list[tuple[str, str]]:
    """Return title and url of all processed rows, in order."""
    found = []
    for path in sorted((folder / "data" / "processed").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += [(row["title"], row["url"]) for row in csv.DictReader(file)]
    return found


def live(config: Path, *words: object) -> Answer:
    return driftline("live", config, "--out", config.parent / "run", *words)


def test_rounds_become_a_run_that_goes_on(config: Path) -> None:
    run = config.parent / "run"
    first = live(config, "--polls", 2)
    assert first.code == 0, first.err
    kept = rows(config.parent)
    before = pq.read_table(run / "outcomes" / "newsroom-0000.parquet")
    told = (run / "events.jsonl").read_text("utf-8").splitlines()
    assert len(before) == summary(run)["total"]["records"] == len(kept) == len(set(kept))
    totals = json.loads((run / "ingestion.json").read_text("utf-8"))
    assert totals["articles"] == totals["rows"] + sum(totals["dropped"].values())
    assert totals["rows"] == len(kept)

    again = live(config, "--once")
    assert again.code == 0, again.err
    assert f"going on: {len(kept):,} articles of before" in again.err
    after = pq.read_table(run / "outcomes" / "newsroom-0000.parquet")
    assert len(after) == len(rows(config.parent)) > len(before)
    assert after.slice(0, len(before)).equals(before), "what was told stays as it was"
    lines = (run / "events.jsonl").read_text("utf-8").splitlines()
    assert set(told) <= set(lines)
    assert after["prediction"].drop_null().to_pylist(), "the model of the last round answers"
    assert {event["kind"] for event in events(run)} >= {"job_started", "job_ready", "promoted"}
    assert driftline("show", run).code == 0
    texts = [path.read_bytes() for path in config.parent.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in text for text in texts), "the key is in no file"
    assert KEY not in first.out + first.err + again.out + again.err


@pytest.mark.slow
def test_another_run_over_the_same_data_gets_the_same_history(config: Path) -> None:
    assert live(config, "--polls", 2).code == 0
    other = driftline("live", config, "--out", config.parent / "other", "--once")
    assert other.code == 0, other.err
    first = pq.read_table(config.parent / "run" / "outcomes", columns=["event_time", "label"])
    second = pq.read_table(config.parent / "other" / "outcomes", columns=["event_time", "label"])
    assert second.slice(0, len(first)).equals(first)


def test_what_a_live_run_may_go_on_with(config: Path) -> None:
    assert live(config, "--once").code == 0
    text = config.read_text("utf-8")
    config.write_text(text.replace("interval: 0s", "interval: 1s"), "utf-8")
    assert live(config, "--once").code == 0, "how articles are fetched may change"
    config.write_text(text.replace("records: 100", "records: 50"), "utf-8")
    refused = live(config, "--once")
    assert refused.code == 2 and "holds a live run with another policy" in refused.err


def test_a_run_does_not_go_on_with_another_ledger(config: Path) -> None:
    assert live(config, "--once").code == 0
    data, run = config.parent / "data", config.parent / "run"
    before = (run / "outcomes" / "newsroom-0000.parquet").read_bytes()

    shutil.copytree(data, config.parent / "kept")
    shutil.rmtree(data)
    gone = live(config, "--once")
    assert gone.code == 2 and "the ledger is gone" in gone.err and not data.exists()
    assert driftline("live", config, "--out", config.parent / "other", "--once").code == 0
    another = live(config, "--once")
    assert another.code == 2 and "another ledger" in another.err, another.err
    assert (run / "outcomes" / "newsroom-0000.parquet").read_bytes() == before
    assert (run / "summary.json").exists()

    shutil.rmtree(data)
    shutil.copytree(config.parent / "kept", data)
    assert live(config, "--once").code == 0


def test_without_a_key_nothing_is_made(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEWSAPI_KEY")
    answer = live(config, "--once")
    assert answer.code == 2 and "set NEWSAPI_KEY" in answer.err
    assert [path.name for path in config.parent.iterdir()] == [config.name]


def test_a_refused_key_ends_it_with_a_clear_word(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWSAPI_KEY", "0123456789-wrong")
    answer = live(config)
    assert answer.code == 1 and "NewsAPI refuses the key" in answer.err
    assert "0123456789-wrong" not in answer.err + answer.out
    found = events(config.parent / "run")
    assert [event["what"] for event in found if event["kind"] == "anomaly"] == ["key_refused"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: sports", "name: business", "two topics are called 'business'"),
        ("interval: 0s", "interval: soon", "interval:"),
        ("interval: 0s", "interva: 0s", "interva"),
        ("category: sports", "category: sport", "topics.1"),
        ("requests: 100000", "requests: 0", "newsapi.plan.requests"),
        ("records: 100", "records: 0", "policy"),
        ("depth: 3", "depth: 3, params: {thread_count: 4}", "model.params.thread_count"),
        ("window: 300", "window: 300, latency: 5", "retraining.latency"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line(
    config: Path, old: str, new: str, said: str
) -> None:
    text = config.read_text("utf-8")
    assert old in text
    config.write_text(text.replace(old, new), "utf-8")
    answer = live(config, "--once")
    assert answer.code == 2 and said in answer.err, answer.err
    assert answer.err.startswith(f"{config}:") and answer.err.count("\n") == 1
    assert not (config.parent / "run").exists() and not (config.parent / "data").exists()


def test_two_live_runs_do_not_share_a_data_folder(config: Path) -> None:
    process = start("live", config, "--out", config.parent / "run")
    try:
        await_rows(config.parent, 1)
        answer = driftline("live", config, "--out", config.parent / "other", "--once")
        assert answer.code == 2 and "another live run has this data folder" in answer.err
    finally:
        process.kill()
        process.wait()


def await_rows(folder: Path, count: int) -> None:
    """Wait until so many rows were processed."""
    until = time.monotonic() + 60
    while len(rows(folder)) < count:
        assert time.monotonic() < until, "no rows came"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_flushes_and_exits_with_0(config: Path, number: int) -> None:
    process = start("live", config, "--out", config.parent / "run")
    await_rows(config.parent, 80)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    run = config.parent / "run"
    assert summary(run)["total"]["records"] > 0
    totals = json.loads((run / "ingestion.json").read_text("utf-8"))
    assert totals["articles"] == totals["rows"] + sum(totals["dropped"].values())
    assert "Traceback" not in told


@pytest.mark.slow
def test_kill_at_random_moments_loses_and_doubles_nothing(config: Path) -> None:
    """Rows that were there stay, and none comes twice, in the ledger and in the run."""
    chance, kept = random.Random(6), list[tuple[str, str]]()
    run = config.parent / "run"
    with NewsServer(speed=60_000.0, head_start=400_000.0) as server:
        config.write_text(CONFIG.format(url=server.url), "utf-8")
        for _ in range(8):
            process = start("live", config, "--out", run)
            await_rows(config.parent, len(kept) + 1)
            time.sleep(chance.uniform(0.0, 3.0))
            process.kill()
            process.wait()
            found = rows(config.parent)
            assert found[: len(kept)] == kept
            kept = found
        assert live(config, "--once").code == 0
    found = rows(config.parent)
    assert len(found) == len(set(found)) == summary(run)["total"]["records"]
    assert found[: len(kept)] == kept
