from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError
from engine.events import iso
from engine.news.articles import Article, read_body, sort_out, write_rows
from engine.news.features import TextFeatures, schema_of
from engine.sources.blocks import BLOCK, Block, Source
from engine.sources.news import NewsSource
from engine.sources.recordings import Layout, topic_in

SMALL = TextFeatures(columns=8)
DAY = 86_400_000_000
TOPICS = {"sports": "Team wins again", "health": "Doctors advise sleep", "science": "Comet seen"}


def entry(number: int, topic: str = "sports", **more: Any) -> dict[str, Any]:
    """Return an invented article, published on day `number` of 1970."""
    return {
        "title": f"{TOPICS.get(topic, topic)} {number}",
        "description": f"An invented story about {topic}.",
        "url": f"https://news.example/{topic}/{number}",
        "publishedAt": iso(number * DAY),
        **more,
    }


def answer(*entries: Any) -> str:
    return json.dumps({"status": "ok", "totalResults": len(entries), "articles": entries})


def envelope(request: str, body: Any) -> str:
    return json.dumps({"fetched_at": "1970-02-01T00:00:00Z", "request": request, "body": body})


def laid_out(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") and data else data)
    return folder


def opened(path: Path, **layout: Any) -> NewsSource:
    return NewsSource(path, text=SMALL, layout=Layout(**layout), shown="news")


def told(source: NewsSource) -> list[tuple[int, str]]:
    """Return day and topic of each record."""
    found: list[tuple[int, str]] = []
    for block in source.blocks():
        found += zip((block.times // DAY).tolist(), block.labels.tolist(), strict=True)
    return found


def same(one: Block, other: Block) -> bool:
    return (one.row, one.times.tolist(), one.labels.tolist()) == (
        other.row,
        other.times.tolist(),
        other.labels.tolist(),
    ) and one.table.numbers.tobytes() == other.table.numbers.tobytes()


def dump(*rows: tuple[Any, ...], header: str = "topic,title,description,url,published_at") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


ROWS = [("sports", "A", "B", "https://a.example", "1970-01-05"),
        ("health", "C", "D", "https://c.example", "1970-01-03")]  # fmt: skip
TWO = {"sports.json": answer(entry(2)), "health.json": answer(entry(1, "health"))}


# --- what is read -----------------------------------------------------------------------------


def test_a_recording_is_replayed_in_order_of_publication(tmp_path: Path) -> None:
    files = {
        "b/sports.json": answer(entry(4), entry(1)),
        "a/health.json": answer(entry(4, "health"), entry(2, "health")),
        "a/health_2.json": answer(entry(3, "health")),
    }
    source = opened(laid_out(tmp_path, files))
    protocol: Source = source
    assert told(source) == [
        (1, "sports"),
        (2, "health"),
        (3, "health"),
        (4, "health"),
        (4, "sports"),
    ]
    assert source.classes == ("sports", "health")
    assert source.schema == schema_of(SMALL)
    assert (source.rows, protocol.pool((), True), source.oddities) == (5, None, ())
    first = next(source.blocks()).table
    assert first.number("published_day").tolist() == [2, 3, 4, 5, 5]
    assert first.number("title_word_count").tolist() == [4, 4, 4, 4, 4]


KINDS: dict[str, Callable[[], Mapping[str, str | bytes]]] = {
    "responses": lambda: TWO,
    "zipped": lambda: {f"{name}.gz": text for name, text in TWO.items()},
    "upper": lambda: {"SPORTS.JSON.GZ": TWO["sports.json"], "health.Json": TWO["health.json"]},
    "lines": lambda: {"sports.jsonl": f"{TWO['sports.json']}\n\n",
                      "health.jsonl": TWO["health.json"]},
    "envelopes": lambda: {"all.jsonl.gz": "\n".join([
        envelope("v2/top-headlines/category/sports/in.json", TWO["sports.json"]),
        envelope("https://a.example/v2/x?country=us&category=health", TWO["health.json"]),
    ])},
    "parsed": lambda: {"all.jsonl": "\n".join([
        envelope("/everything?q=sports&language=en", json.loads(TWO["sports.json"])),
        envelope("health", json.loads(TWO["health.json"])),
    ])},
    "one envelope each": lambda: {f"{at}.json": envelope(name, text) for at, (name, text) in
                                  enumerate(TWO.items())},
    "csv": lambda: {"all.csv": dump(*(
        (topic, e["title"], e["description"], e["url"], e["publishedAt"])
        for topic, e in (("sports", entry(2)), ("health", entry(1, "health")))))},
    "csvs": lambda: {f"{topic}.csv.gz": "\ufeff" + dump(
        (e["title"], e["description"], e["url"], e["publishedAt"]),
        header="title,description,url,publishedAt")
        for topic, e in (("sports", entry(2)), ("health", entry(1, "health")))},
    "processed": lambda: {f"newsapi_{at}.csv": write_rows(sort_out(
        read_body(text.encode()), name.removesuffix(".json"), 9, lambda key: False).articles)
        for at, (name, text) in enumerate(TWO.items())},
    "live": lambda: {"ledger.sqlite": "", "raw/newsapi_0.json": answer(entry(7)), **{
        f"processed/{name}": text for name, text in KINDS["processed"]().items()}},
    "mixed": lambda: {"sports.json": TWO["sports.json"], "d/health.csv.gz": KINDS["csvs"]()[
        "health.csv.gz"], "d/.health.json": "{", "notes.txt": "x", ".git/x.json": "{"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_recordings_hold_the_same(kind: str, tmp_path: Path) -> None:
    source = opened(laid_out(tmp_path / "n", KINDS[kind]()))
    plain = opened(laid_out(tmp_path / "plain", TWO))
    assert told(source) == [(1, "health"), (2, "sports")]
    assert same(next(source.blocks()), next(plain.blocks()))
    assert source.notes == () and "notes" not in source.facts


def test_a_single_file_is_a_recording(tmp_path: Path) -> None:
    laid_out(tmp_path, {"n.csv": dump(*ROWS)})
    source = opened(tmp_path / "n.csv")
    assert told(source) == [(2, "health"), (4, "sports")]
    facts = dict(source.facts)
    assert len(facts.pop("sha256")) == 64
    assert facts == {"path": "news", "rows": 2, "files": 1, "entries": 2, "dropped": {}}


def test_columns_may_be_called_otherwise(tmp_path: Path) -> None:
    header = "id,section,head,lead,link,day,topic,published"
    rows = [(n, "xy"[n % 2], "A", "B", f"https://a.example/{n}", f"1970-01-0{n}", "z", "soon")
            for n in (3, 2)]  # fmt: skip
    laid_out(tmp_path, {"n.csv": dump(*rows, header=header)})
    columns = {"title": "head", "description": "lead", "url": "link"}
    source = opened(tmp_path, label="section", time="day", columns=columns)
    assert told(source) == [(1, "x"), (2, "y")]


def test_topics_may_be_given_by_pattern(tmp_path: Path) -> None:
    files = {
        "ml/1.json": answer(entry(1)),
        "ml/sports.json": answer(entry(2)),
        "x.jsonl": "\n".join([envelope("de/data.json", answer(entry(3))), answer(entry(4, "x"))]),
    }
    topics = {"ml/*": "learning", "de/*": "german", "*": "else"}
    source = opened(laid_out(tmp_path, files), topics=topics)
    assert told(source) == [(1, "learning"), (2, "learning"), (3, "german"), (4, "else")]


@pytest.mark.parametrize(("path", "topic"), [
    ("business.json", "business"), ("Top_US_Health-3.json", "health"), ("healthy.json", ""),
    ("science/2024/a.json", "science"), ("science/sports/a.json", "sports"),
    ("science/health-or-sports.json", "science"), ("health-or-sports.json", ""), ("", ""),
    ("/v2/top-headlines?category=science&q=x", "science"), ("/v2/everything?q=%20a+b%20", "a b"),
    ("/v2/everything?q=&sources=cnn", ""), ("http://[?category=x", ""),
])  # fmt: skip
def test_the_topic_is_found_in_a_path(path: str, topic: str) -> None:
    assert topic_in(path) == topic


# --- what is dropped --------------------------------------------------------------------------


def test_what_is_dropped_is_counted_and_told(tmp_path: Path) -> None:
    bodies = [
        answer(entry(1), entry(1), entry(2, title=None), 7, entry(3, title="[Removed]")),
        answer(entry(1, description="again"), entry(4, url="x"), entry(5, publishedAt="soon")),
        "{}", "", "<html>", '{"status": "error", "code": "rateLimited", "message": "No."}',
    ]  # fmt: skip
    files = {
        "sports.jsonl": "\n".join(envelope("sports", body) for body in bodies) + "\nnot json\n",
        "health.csv": dump(*ROWS, ("", "E", "F", "https://e.example", "1970-01-09"), *ROWS[:1]),
    }
    source = opened(laid_out(tmp_path, files))
    assert told(source) == [(1, "sports"), (2, "health"), (4, "sports")]
    assert source.facts["responses"] == {
        "empty": 1, "html": 1, "no_articles": 1, "not_json": 1, "ok": 2, "rateLimited": 1,
    }  # fmt: skip
    assert source.facts["dropped"] == {
        "no_topic": 1, "not_an_article": 1, "removed": 1, "no_title": 1, "bad_url": 1,
        "bad_published": 1, "duplicate": 3,
    }  # fmt: skip
    dropped = source.facts["dropped"]
    assert source.facts["entries"] == source.rows + sum(dropped.values()) == 12
    assert source.notes == (
        "5 of 7 responses hold no articles: empty 1, html 1, no_articles 1, not_json 1, "
        "rateLimited 1",
        "9 of 12 articles were dropped: duplicate 3, no_topic 1, not_an_article 1, removed 1, "
        "no_title 1, bad_url 1, bad_published 1",
    )
    assert list(source.facts["notes"]) == list(source.notes)


def test_the_first_of_two_alike_counts(tmp_path: Path) -> None:
    story = entry(1)
    files = {"sports.json": answer(story), "health.json": answer(story, entry(2, "health"))}
    more = {**files, "z/sports.json": answer(entry(3))}
    assert told(opened(laid_out(tmp_path, more))) == [(1, "health"), (2, "health"), (3, "sports")]


def test_at_one_time_the_order_of_reading_counts(tmp_path: Path) -> None:
    rows = [("sports", f"T{n}", "D", f"https://a.example/{n}", f"1970-01-0{1 + n % 2}")
            for n in range(300)]  # fmt: skip
    rows.append(("health", "last", "D", "https://b.example", "1970-01-09"))
    source = opened(laid_out(tmp_path, {"n.csv": dump(*rows)}))
    titles = [title for _, title, _ in source.recording.rows(0, 300)]
    assert titles == [f"T{n}" for n in [*range(0, 300, 2), *range(1, 300, 2)]]


# --- blocks -----------------------------------------------------------------------------------


def many(folder: Path, rows: int) -> NewsSource:
    """Return a source of so many articles, last published first."""
    names = list(TOPICS)
    files = {
        f"{name}.json": answer(*(entry(n, name) for n in range(rows, 0, -1) if n % 3 == at))
        for at, name in enumerate(names)
    }
    return opened(laid_out(folder, files))


def test_blocks_can_begin_anywhere(tmp_path: Path) -> None:
    source = many(tmp_path, 2 * BLOCK + 5)
    blocks = list(source.blocks())
    assert [len(block) for block in blocks] == [BLOCK, BLOCK, 5]
    assert [block.row for block in blocks] == [0, BLOCK, 2 * BLOCK]
    for start in range(4):
        later = list(source.blocks(start))
        assert len(later) == len(blocks[start:])
        assert all(same(a, b) for a, b in zip(later, blocks[start:], strict=True))
    times = np.concatenate([block.times for block in blocks])
    assert (np.diff(times) == DAY).all()
    assert told(source) == [(n, list(TOPICS)[n % 3]) for n in range(1, 2 * BLOCK + 6)]


@pytest.mark.parametrize("limit", [1, BLOCK, BLOCK + 1, 9999])
def test_a_limit_keeps_what_was_published_first(limit: int, tmp_path: Path) -> None:
    whole = many(tmp_path, BLOCK + 5)
    source = NewsSource(tmp_path, text=SMALL, limit=limit)
    assert source.rows == min(limit, whole.rows) == sum(len(block) for block in source.blocks())
    assert told(source) == told(whole)[:limit]
    assert len(source.classes) == min(limit, 3)


def test_a_variant_is_another_recording(tmp_path: Path) -> None:
    laid_out(tmp_path, {"a/all.csv": dump(*ROWS), "b/all.csv": dump(*ROWS[::-1], (
        "sports", "Z", "B", "https://z.example", "1970-01-09"))})  # fmt: skip
    source = NewsSource(tmp_path / "a", text=SMALL, resolve=tmp_path.joinpath)
    other = source.variant({"path": "b"})
    assert (other.rows, other.schema, other.facts["path"]) == (3, source.schema, "b")
    assert source.variant({"path": "b"}) is other
    for changes in ({"limit": 3}, {"path": 3}, {}, {"path": "b", "text": {}}):
        with pytest.raises(InputError, match="can change their path only"):
            source.variant(changes)


def test_the_checksum_is_that_of_what_is_read(tmp_path: Path) -> None:
    sums = [
        opened(laid_out(tmp_path / name, files)).facts["sha256"]
        for name, files in {
            "a": TWO,
            "b": {**TWO, "notes.txt": "not read"},
            "c": {**TWO, "x/sports.json": TWO["sports.json"]},
            "d": {**TWO, "sports.json": TWO["sports.json"] + " "},
        }.items()
    ]
    assert sums[0] == sums[1] and len(set(sums)) == 3


# --- what cannot be used ----------------------------------------------------------------------

WRONG: dict[str, tuple[Mapping[str, str | bytes], str]] = {
    "empty folder": ({"notes.txt": "x"}, "news: is a folder without recordings: no file in it"),
    "hidden": ({".sports.json": answer(entry(1))}, "news: is a folder without recordings"),
    "no topic": ({"ml/x.json": answer(entry(1))},
                 'news/ml/x.json: does not say which topic was asked for: give topics, such as '
                 '{"ml/*": "sports"}'),
    "raw": ({"newsapi_20240101.json": answer(entry(1))},
            "sports\"}; live mode keeps topics in its folder processed"),
    "line": ({"a.jsonl": f"{{}}\n{answer(entry(1))}\n"}, "news/a.jsonl:2: does not say which"),
    "request": ({"a.jsonl": envelope("de/data.json?apiKey=secret", answer(entry(1)))},
                'a.jsonl:1: does not say which topic was asked for: give topics, such as '
                '{"de/data.json": "sports"}'),
    "one topic": ({"sports.json": answer(entry(1))}, "news: all its articles have the topic"),
    "nothing": ({"a.csv": "", "b.json": "", "c.json.gz": b""}, "news: holds no article that can"),
    "garbage": ({"a.json": "\0\1", "b.jsonl": "x\ny\n", "c.json": "[1, 2]"},
                "used: 4 of 4 responses hold no articles: not_json 3, no_articles 1"),
    "all dropped": ({"sports.json": answer(entry(1, url="x"), 5)},
                    "used: 2 of 2 articles were dropped: not_an_article 1, bad_url 1"),
    "no zip": ({"a.json.gzip": "", "b.csv.gz": "", "sports.json": "x"}, "no article that can"),
    "binary csv": ({"a.csv": dump(*ROWS).encode() + b"x,\xff,1,2,3\n"}, "news/a.csv:4: is not UTF"),
    "ragged": ({"a.csv": dump(*ROWS, ("x", "y"))}, "news/a.csv:4: has 2 cells, the header 5"),
    "quotes": ({"a.csv": dump(*ROWS) + 'x,"A"B,C,D,E\n'}, "news/a.csv:4: is no CSV"),
    "open quote": ({"a.csv": dump(*ROWS) + 'x,"A'}, "news/a.csv:4: is no CSV"),
    "no columns": ({"a.csv": "a,b\n1,2\n"}, "has no column 'published_at' or 'publishedAt' or"),
    "near": ({"a.csv": dump(*ROWS, header="topic,titel,description,url,published_at")},
             "only topic, titel, description, url, published_at; did you mean 'titel'?"),
    "no label": ({"a.csv": dump(ROWS[0][1:], header="title,description,url,published_at")},
                 "news/a.csv: does not say which topic"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_told_in_a_sentence(case: str, tmp_path: Path) -> None:
    files, said = WRONG[case]
    with pytest.raises(InputError) as caught:
        assert opened(laid_out(tmp_path, files)).rows
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_named_column_that_is_missing_is_told_with_its_setting(tmp_path: Path) -> None:
    laid_out(tmp_path, {"a.csv": dump(*ROWS)})
    for layout, key in (
        ({"label": "topics"}, ("label",)),
        ({"time": "published"}, ("time",)),
        ({"columns": {"url": "link"}}, ("columns", "url")),
    ):
        with pytest.raises(InputError, match=r"news/a\.csv: has no column") as caught:
            assert opened(tmp_path, **layout).rows
        assert caught.value.key == key


def test_damaged_zips_and_odd_files_are_told(tmp_path: Path) -> None:
    whole = gzip.compress(dump(*ROWS * 50).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[:-20])
    (tmp_path / "b.csv.gz").write_bytes(b"plain")
    (tmp_path / "c.csv.gz").write_bytes(whole[:60] + b"\0\1\2\3" + whole[64:])
    os.mkfifo(tmp_path / "d.csv")
    for name in ("a.csv.gz", "b.csv.gz", "c.csv.gz", "d.csv", "e.csv", "f.txt", "a.csv.gz/x.csv"):
        with pytest.raises(InputError, match=r"^news: ") as caught:
            assert opened(tmp_path / name).rows
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="there is no such file or folder"):
        assert opened(tmp_path / "e.csv").rows
    with pytest.raises(InputError, match="is no path"):
        assert opened(Path("a\0b.csv")).rows


def test_articles_are_those_of_live_mode(tmp_path: Path) -> None:
    article = Article("sports", 5, "", "A\r\nB", 'C "D", E', "https://a.example", "", 3 * DAY)
    rows = [article, Article("health", 5, "", "\ufeffX", "\0", "https://b.example", "", DAY)]
    source = opened(laid_out(tmp_path, {"newsapi_1.csv": write_rows(rows)}))
    assert [text for _, *text in source.recording.rows(0, 2)] == [
        ["\ufeffX", "\0"],
        ["A\r\nB", 'C "D", E'],
    ]
