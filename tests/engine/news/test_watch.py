"""The watch over what comes in: each planted fault is found, told once, and over in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from engine.news.articles import read_body, sort_out
from engine.news.languages import SMALL_WORDS
from engine.news.watch import TOPICS_MAX, Watch

HOUR = 3_600_000_000
START = 1_700_000_000_000_000
ANSWERS, BEGINS, ENDS, ENTRIES = 60, 30, 40, 40
SOURCES = ("Daily Mail", "The Post", "Tribune", "Herald", "Courier", "Observer")

Body = dict[str, Any]
Fault = Callable[[Body], None]


def answer(number: int, rng: np.random.Generator) -> Body:
    """Return a response such as NewsAPI's, of articles that no other response holds."""
    words = sorted(SMALL_WORDS["english"])
    published = "2023-11-14T22:00:00Z"
    articles = []
    for place in range(ENTRIES + int(rng.integers(-4, 5))):
        name = SOURCES[int(rng.integers(len(SOURCES)))]
        text = " ".join(str(word) for word in rng.choice(words, size=9))
        articles.append(
            {
                "source": {"id": name.lower() if rng.random() < 0.5 else None, "name": name},
                "author": "A. Writer" if rng.random() < 0.8 else None,
                "title": f"{text} {number} {place}",
                "description": text if rng.random() < 0.95 else None,
                "url": f"https://example.org/{number}/{place}",
                "urlToImage": f"https://example.org/{place}.png",
                "publishedAt": published,
                "content": text,
            }
        )
    return {"status": "ok", "totalResults": len(articles), "articles": articles}


def drop(body: Body) -> None:
    del body["articles"][8:]


def empty(body: Body) -> None:
    body["articles"] = []


def null(body: Body) -> None:
    for article in body["articles"][::2]:
        article["description"] = None


def twice(body: Body) -> None:
    body["articles"] = [body["articles"][at // 2] for at in range(ENTRIES)]


def foreign(body: Body) -> None:
    for article in body["articles"]:
        article["title"] = "Die Lage ist ernst und wird nicht besser " + article["url"]
        article["description"] = "Was der Rat mit dem Geld vorhat"


def cyrillic(body: Body) -> None:
    for article in body["articles"]:
        article["title"] = article["description"] = "Новости дня " + article["url"][-6:]


def sources(body: Body) -> None:
    for at, article in enumerate(body["articles"]):
        article["source"]["name"] = f"Other {at % 20}"


def rename(body: Body) -> None:
    for article in body["articles"]:
        article["image"] = article.pop("urlToImage")


def retype(body: Body) -> None:
    for article in body["articles"]:
        article["publishedAt"] = 1_700_000_000


def future(body: Body) -> None:
    body["articles"][0]["publishedAt"] = "2031-01-01T00:00:00Z"


def past(body: Body) -> None:
    body["articles"][0]["publishedAt"] = "1970-01-01T00:00:00Z"


@cache
def replay(fault: Fault | None, cut: int | None = None) -> list[list[dict[str, Any]]]:
    """Return the notes on each answer; the fault is in answers `BEGINS` to `ENDS` - 1.

    The watch is put away and taken out again before answer `cut`.
    """
    rng, watch, seen, notes = np.random.default_rng(7), Watch(), set[bytes](), []
    for number in range(ANSWERS):
        body, at = answer(number, rng), START + number * HOUR
        if fault and BEGINS <= number < ENDS:
            fault(body)
        if number == cut:
            watch = Watch.of(json.loads(json.dumps(watch.state())))
        reading = read_body(json.dumps(body).encode())
        rows = sort_out(reading, "world", at, seen.__contains__)
        seen.update(rows.keys)
        notes.append(watch.see("world", at, reading, rows))
    return notes


def places(notes: list[list[dict[str, Any]]], what: str) -> list[int]:
    return [at for at, found in enumerate(notes) for note in found if note["what"] == what]


def test_nothing_is_told_of_usual_answers() -> None:
    assert not any(replay(None))


@pytest.mark.parametrize(
    ("fault", "what", "polls"),
    [
        (drop, "volume_drop", 2),
        (empty, "volume_drop", 2),
        (null, "null_rate_jump", 1),
        (twice, "duplicate_burst", 1),
        (foreign, "language_change", 1),
        (cyrillic, "language_change", 1),
        (sources, "source_mix_change", 1),
        (rename, "schema_change", 1),
        (retype, "schema_change", 1),
        (future, "published_in_future", 1),
        (past, "published_long_ago", 1),
    ],
)
def test_a_planted_fault_is_told_once_and_is_over(fault: Fault, what: str, polls: int) -> None:
    notes = replay(fault)
    begun, over = places(notes, what), places(notes, f"{what}_over")
    assert begun and BEGINS <= begun[0] < BEGINS + polls
    assert max(begun) < BEGINS + 3, "it is told when it begins, not at every answer"
    assert len(over) == len(begun) and min(over) >= ENDS and max(over) < ENDS + 4
    assert all(note["topic"] == "world" for found in notes for note in found)
    json.dumps(notes, allow_nan=False)


def test_notes_hold_their_evidence() -> None:
    (note,) = (note for note in replay(null)[BEGINS] if note["what"] == "null_rate_jump")
    assert note["field"] == "description"
    before, now = note["shares"]["null"]
    assert before < 0.1 < 0.4 < now and note["entries"] > 30 and note["p_value"] < 1e-4
    (note,) = replay(rename)[BEGINS][-1:]
    assert note["vanished"] == ["urlToImage"] and note["appeared"] == ["image"]
    (note,) = replay(retype)[BEGINS][-1:]
    assert note["appeared"] == ["publishedAt: number"] and note["vanished"] == []


def test_an_empty_answer_is_told_at_once_and_again_as_a_run() -> None:
    notes = replay(empty)
    assert places(notes, "empty_poll") == [BEGINS, BEGINS + 2]
    assert places(notes, "empty_poll_over") == [ENDS]
    runs = [note["run"] for found in notes for note in found if note["what"] == "empty_poll"]
    assert runs == [1, 3]


def test_answers_that_repeat_the_last_one_are_told_as_duplicates() -> None:
    kept: list[Any] = []

    def stuck(body: Body) -> None:
        kept[:] = kept or body["articles"]
        body["articles"] = list(kept)

    notes = replay(stuck)
    (found,) = places(notes, "duplicate_burst")
    assert found in (BEGINS + 1, BEGINS + 2)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": "error", "code": "rateLimited"}'])
def test_an_answer_without_a_list_of_articles_says_nothing_about_them(body: bytes) -> None:
    watch, reading = Watch(), read_body(body)
    assert watch.see("a", START, reading, sort_out(reading, "a", START, lambda _: False)) == []
    assert watch.state() == {"topics": {}}


def test_entries_of_any_shape_are_watched_without_complaint() -> None:
    odd: list[Any] = [
        1,
        None,
        {},
        {"title": 3, "source": "x", "publishedAt": "soon"},
        {"url": ["a"]},
    ]
    odd += [{"publishedAt": "0001-01-01T00:00:00+14:00", "title": "\ud800", "source": {"name": 1}}]
    reading = read_body(json.dumps({"status": "ok", "articles": odd * 20}).encode())
    watch = Watch()
    for at in range(20):
        rows = sort_out(reading, "a", START, lambda _: False)
        json.dumps(watch.see("a", START + at * HOUR, reading, rows))
    json.dumps(watch.state())


@pytest.mark.parametrize("cut", [15, BEGINS + 1])
@pytest.mark.parametrize("fault", [drop, null, rename])
def test_the_memory_survives_being_put_away(fault: Fault, cut: int) -> None:
    assert replay(fault, cut) == replay(fault)


def test_the_memory_is_small_and_bounded() -> None:
    watch, rng, empty_seen = Watch(), np.random.default_rng(1), lambda _: False
    for number in range(TOPICS_MAX + 60):
        body = answer(number, rng)
        for at, article in enumerate(body["articles"]):
            article[f"key {number} {at}"] = article["source"]["name"] = f"{number} {at}"
        reading = read_body(json.dumps(body).encode())
        name = "one" if number < 40 else f"topic {number}"
        rows = sort_out(reading, name, START, empty_seen)
        watch.see(name, START + number * HOUR, reading, rows)
        if number == 39:
            assert len(json.dumps(watch.state())) < 20_000
    assert len(watch.state()["topics"]) == TOPICS_MAX


@pytest.mark.parametrize("stored", [False, True])
def test_an_article_that_stays_listed_counts_once(stored: bool) -> None:
    body = answer(0, np.random.default_rng(1))
    body["articles"] = body["articles"][:20]
    watch, reading = Watch(), read_body(json.dumps(body).encode())
    for at in range(4):
        watch.see("a", START + at * HOUR, reading, sort_out(reading, "a", START, lambda _: True))
        watch = Watch.of(watch.state()) if stored else watch
    mixes = watch.state()["topics"]["a"]["mixes"]
    assert sum(mixes["null author"]["recent"].values()) == 20
    assert sum(mixes["sources"]["recent"].values()) == 20
