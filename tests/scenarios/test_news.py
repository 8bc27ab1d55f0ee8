from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.batch import Batch, concat
from engine.errors import InputError
from engine.sources.blocks import BLOCK
from scenarios.loading import load, prepare
from scenarios.streams import Position, Stream
from tests.e2e.driving import driftline

ROWS = 2 * BLOCK + 60
WORDS = {"sports": "team goal coach", "health": "doctor sleep heart", "science": "comet atom cell"}
HEAD = "name: n\nsource: {kind: news, path: PATH, text: {columns: 8}}\n"
MODEL = "model: {kind: catboost, iterations: 20, depth: 2}\nretraining: {first: 200, window: 300}\n"
EVERY = "policy: {kind: every, records: 300}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of invented articles, a few of them unusable."""
    folder = tmp_path_factory.mktemp("news")
    lines = ["published_at,title,description,url,label"]
    for row in range(ROWS):
        topic = list(WORDS)[row * row % 3 if row % 5 else row % 3]
        word = WORDS[topic].split()[row % 3]
        minute = f"2024-03-{1 + row // 1440:02}T{row // 60 % 24:02}:{row % 60:02}:00Z"
        lines.append(f"{minute},The {word} {row},Of {topic},https://news.example/{row},{topic}")
        lines += [lines[-1], f"{minute},,No title,https://news.example,{topic}"] if row == 7 else []
    (folder / "all.csv").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "other.csv").write_text("\n".join(lines).replace("The ", "One "), "utf-8")
    return folder


def streams_of(folder: Path, text: str, path: str = "all.csv") -> list[Stream]:
    file = folder / "s.yaml"
    file.write_text(HEAD.replace("PATH", path) + text, "utf-8")
    return prepare(load(file), folder / "cache")


def whole(stream: Stream) -> Batch:
    return concat(list(stream.batches(500)))


def test_the_stream_is_the_articles(folder: Path) -> None:
    first, second = streams_of(folder, "streams: 2\n")
    batch = whole(first)
    assert first.source is second.source
    assert len(batch) == ROWS and np.diff(batch.times).min() == 60_000_000
    assert set(batch.labels) == set(WORDS)
    assert first.notes == ("2 of 2,110 articles were dropped: no_title 1, duplicate 1",)


DRIFTS: dict[str, dict[str, Any]] = {
    "covariate": {"kind": "covariate", "at": 100, "columns": {"title_word_count": {"offset": 5}}},
    "prior": {"kind": "prior", "at": 1100, "mix": {"sports": 0.9}},
    "concept": {"kind": "concept", "at": 100, "relabel": {"sports": "health"}},
    "to": {"kind": "concept", "at": 100, "to": {"path": "other.csv"}},
    "missing": {
        "kind": "missing",
        "at": 100,
        "until": 200,
        "columns": ["words_0", "published_day"],
    },
    "outage": {"kind": "outage", "at": 100, "until": 200},
    "out_of_order": {"kind": "out_of_order", "at": 100, "until": 1500, "share": 0.5, "by": 50},
    "late_labels": {"kind": "late_labels", "at": 100, "until": 200, "delay": "2h"},
}


@pytest.mark.parametrize("kind", DRIFTS)
def test_scripts_work_on_news(kind: str, folder: Path) -> None:
    (plain,) = streams_of(folder, "")
    (stream,) = streams_of(folder, f"script: [{json.dumps(DRIFTS[kind])}]\n")
    batch, before = whole(stream), whole(plain)
    assert any(mark.kind in ("drift", "fault") for mark in batch.marks)
    same = (
        batch.table.numbers.tobytes() == before.table.numbers.tobytes()
        and batch.labels.tolist() == before.labels.tolist()
        and batch.late_micros.tolist() == before.late_micros.tolist()
    )
    assert not same
    if kind == "covariate":
        counts, usual = (one.table.number("title_word_count") for one in (batch, before))
        assert (counts - usual).tolist() == [0.0] * 100 + [5.0] * (ROWS - 100)


def test_batches_and_restarts_change_nothing(folder: Path) -> None:
    (stream,) = streams_of(folder, f"script: [{json.dumps(DRIFTS['out_of_order'])}]\n")
    one = whole(stream)
    parts, position = [], Position()
    while position.next_seq < len(one):
        batch, position = next(stream.walk(333, position))
        parts.append(batch)
    again = concat(parts)
    assert again.table.numbers.tobytes() == one.table.numbers.tobytes()
    assert (again.times.tolist(), again.labels.tolist()) == (
        one.times.tolist(),
        one.labels.tolist(),
    )


WRONG = [
    ("", "none.csv", "s.yaml:2:22: source.path: none.csv: there is no such file or folder"),
    ("", "cache", "s.yaml:2:22: source.path: cache: is a folder without recordings"),
    ("script: [{kind: outage, at: 9999, until: 10000}]", "all.csv", "source has 2108 rows"),
    ("script: [{kind: prior, at: 9, mix: {sport: 0.5}}]", "all.csv", "there is no label 'sport'"),
    ("script: [{kind: concept, at: 9, to: {limit: 5}}]", "all.csv", "can change their path only"),
    ("script: [{kind: concept, at: 9, to: {path: no.csv}}]", "all.csv", "script.0.to: no.csv: the"),
    ("labels: {task: regression}", "all.csv", "must be classification"),
    ("detectors: [{kind: adwin, on: features, columns: [words_9]}]", "all.csv", "words_"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "said"), WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_is_told_with_its_place(
    text: str, path: str, said: str, folder: Path
) -> None:
    (folder / "cache").mkdir(exist_ok=True)
    with pytest.raises(InputError) as caught:
        streams_of(folder, text, path)
    assert said in str(caught.value) and str(folder) in str(caught.value).split(":")[0]


@pytest.mark.parametrize(("setting", "place"), [
    ("{label: topics}", "odd.yaml:3:3: source.label: all.csv: has no column 'topics'"),
    ("{columns: {url: link}}", "source.columns.url: all.csv: has no column 'link'"),
    ("{columns: {body: x}}", "source.news.columns.body"),
    ("{topics: {'*': ' '}}", "source.news.topics.*"),
    ("{rate: 1/s}", "source.news.rate"),
    ("{limit: 0}", "source.news.limit"),
])  # fmt: skip
def test_settings_are_held_against_the_recording(
    setting: str, place: str, folder: Path, tmp_path: Path
) -> None:
    inner = setting[1:-1]
    file = folder / "odd.yaml"
    file.write_text(f"source:\n  kind: news\n  {inner}\n  path: all.csv\n", "utf-8")
    with pytest.raises(InputError) as caught:
        prepare(load(file), tmp_path)
    assert place.replace("source.news.", "source.") in str(caught.value), str(caught.value)


def test_a_run_learns_the_topics(folder: Path, tmp_path: Path) -> None:
    script = "script: [{kind: concept, at: 1000, relabel: {sports: health, health: sports}}]\n"
    file = folder / "run.yaml"
    file.write_text(HEAD.replace("PATH", "all.csv") + MODEL + EVERY + script, "utf-8")
    checked = driftline("check", file)
    assert checked.code == 0 and "1 stream of 2,108 rows" in checked.out
    for out in ("a", "b"):
        answer = driftline("run", file, "--out", tmp_path / out)
        assert answer.code == 0, answer.err
    about = json.loads((tmp_path / "a" / "run.json").read_text("utf-8"))
    assert about["source"]["dropped"] == {"no_title": 1, "duplicate": 1}
    assert about["source"]["path"] == "all.csv" and about["source"]["notes"]
    total = json.loads((tmp_path / "a" / "summary.json").read_text("utf-8"))["total"]
    assert total["retrains"]["promoted"] >= 5 and 0.0 < total["error_rate"] < 0.5
    for name in ("run.json", "events.jsonl", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    broken = driftline("check", file, "--set", "source.path=x.csv")
    assert broken.code != 0
