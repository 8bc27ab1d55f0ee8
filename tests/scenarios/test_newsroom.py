from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.events import iso
from engine.quantities import moment_micros
from engine.sources.news import NewsSource
from scenarios import newsroom
from scenarios.newsroom import (
    DAY,
    DESK,
    SOURCES,
    START,
    TOPICS,
    WEEKDAYS,
    WORDS,
    Item,
    NewSource,
    NewWords,
    Script,
    Story,
    Volume,
    articles,
    desk,
    read_words,
    vocabulary,
)
from scenarios.newstape import (
    PER_WEEK,
    RECORDING,
    SCRIPT,
    SEED,
    WEEKS,
    latest_start,
    read_responses,
    write_responses,
)

KNOWN = read_words(WORDS.read_text("utf-8"))


def desk_again(source: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of the desk over and over, as SDV would sample them: without waiting for it."""
    rows = [line.split(",") for line in DESK.read_text().splitlines()]
    names = rows[0]
    numbers = ("hour", "title_words", "description_words")
    for at in range(source.rows):
        row: dict[str, Any] = dict(zip(names, rows[1 + at % (len(rows) - 1)], strict=True))
        yield {name: float(row[name]) if name in numbers else row[name] for name in names}


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(newsroom, "desk_rows", desk_again)

    def written(script: Script = (), seed: int = 5, weeks: int = 2, per_week: int = 400) -> Any:
        return list(articles(seed, script, cache_dir=tmp_path, weeks=weeks, per_week=per_week))

    return written


# --- words ----------------------------------------------------------------------------------


def test_there_are_plain_words_enough_and_none_under_two_topics() -> None:
    assert set(KNOWN.now) == set(KNOWN.later) == set(TOPICS) == set(newsroom.TOPICS)
    for topic in TOPICS:
        assert 150 <= len(KNOWN.now[topic]) + len(KNOWN.later[topic]) <= 300
    parts = [*KNOWN.now.values(), *KNOWN.later.values(), KNOWN.shared, KNOWN.function]
    counts = Counter(word for part in parts for word in part)
    assert [word for word, count in counts.items() if count > 1] == []
    assert all(word.isalpha() and word.isascii() and word.islower() for word in counts)


def test_a_topic_moves_on_by_its_most_frequent_words() -> None:
    before, words = KNOWN.now["health"], len(KNOWN.now["health"])
    script = [NewWords(3, "health", 0.5), NewWords(9, "health", 0.1, of="science")]
    assert vocabulary(KNOWN, script, "health", 2.9) == before
    moved = vocabulary(KNOWN, script, "health", 3)
    half = round(words / 2)
    assert moved[:half] == KNOWN.later["health"][:half] and moved[half:] == before[half:]
    last = vocabulary(KNOWN, script, "health", 9)
    tenth = round(words / 10)
    assert last[:tenth] == KNOWN.now["science"][:tenth] and last[tenth:] == moved[tenth:]


def test_words_may_come_little_by_little_and_never_twice() -> None:
    script = [NewWords(0, "sports", 0.3, over=10), NewWords(20, "sports", 0.2)]
    fresh = [len({*vocabulary(KNOWN, script, "sports", day)} - {*KNOWN.now["sports"]})
             for day in (0, 5, 10, 15)]  # fmt: skip
    assert fresh == [0, *(round(share * len(KNOWN.now["sports"])) for share in (0.15, 0.3, 0.3))]
    third = round(0.3 * len(KNOWN.now["sports"]))
    assert vocabulary(KNOWN, script, "sports", 20)[0] == KNOWN.later["sports"][third]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (NewWords(1, "weather", 0.1), "no topic 'weather', only business"),
        (NewWords(1, "health", 0.1, of="weather"), "no topic 'weather'"),
        (NewWords(1, "health", 0.9), "words are to be new, only"),
        (NewWords(1, "health", 1.1, of="science"), "share must be between 0 and 1"),
        (Volume(1, "weather", 2.0), "no topic 'weather'"),
        (Volume(1, "health", -1.0), "times must not be negative"),
        (NewSource(1, "The Times", "Ours"), "no source 'The Times', only Harbour Post"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused(write: Any, item: Item, message: str) -> None:
    with pytest.raises(InputError) as caught:
        write([item])
    assert message in str(caught.value)


# --- articles -------------------------------------------------------------------------------


def test_articles_are_as_newsapi_returns_them(write: Any) -> None:
    stories: list[Story] = write()
    assert len(stories) == 800
    for story in stories:
        entry = story.entry
        assert list(entry) == [
            "source", "author", "title", "description", "url", "urlToImage", "publishedAt",
            "content",
        ]  # fmt: skip
        name = entry["source"]["name"]
        assert entry["source"] == {"id": SOURCES[name], "name": name}
        assert entry["title"].endswith(f" - {name}")
        assert 5 <= len(entry["title"].removesuffix(f" - {name}").split()) <= 16
        assert entry["description"] is None or 8 <= len(entry["description"].split()) <= 30
        assert entry["url"].startswith("https://") and ".example/" in entry["url"]
        assert entry["content"].endswith(" chars]") and "… [+" in entry["content"]
        assert entry["publishedAt"] == iso(story.published)[:19] + "Z"
        assert story.also != story.topic
    assert len({story.entry["url"] for story in stories}) == 800
    share = {
        "no author": (0.17, [story.entry["author"] is None for story in stories]),
        "no id": (0.5, [story.entry["source"]["id"] is None for story in stories]),
        "no description": (0.02, [story.entry["description"] is None for story in stories]),
        "two topics": (0.04, [story.also is not None for story in stories]),
    }
    for what, (expected, found) in share.items():
        assert sum(found) / len(found) == pytest.approx(expected, abs=0.06), what
        assert any(found), what


def test_articles_come_in_order_and_as_the_desk_says(write: Any) -> None:
    stories: list[Story] = write()
    times = [story.published for story in stories]
    assert times == sorted(times) and times[0] >= START and times[-1] < START + 14 * DAY
    days = Counter((time - START) // DAY % 7 for time in times)
    rows = Counter(line.split(",")[2] for line in DESK.read_text().splitlines()[1:])
    assert [days[day] for day in range(7)] == [2 * rows[name] for name in WEEKDAYS]


def test_the_same_seed_gives_the_same_articles_and_another_one_others(write: Any) -> None:
    assert write() == write()
    titles = [{story.entry["title"] for story in write(seed=seed)} for seed in (5, 6)]
    assert not titles[0] & titles[1]


def test_a_script_changes_nothing_before_it_nor_beside_it(write: Any) -> None:
    plain = {story.entry["url"].rpartition("-")[2]: story for story in write()}
    moved = {
        story.entry["url"].rpartition("-")[2]: story
        for story in write([NewWords(7, "health", 0.4), NewSource(7, "Harbour Post", "Ours")])
    }
    assert set(plain) == set(moved)
    changed = [moved[number] for number in plain if plain[number] != moved[number]]
    assert min(story.published for story in changed) >= START + 7 * DAY
    renamed = [story for story in changed if story.entry["source"]["name"] == "Ours"]
    assert renamed and all(story.entry["source"]["id"] is None for story in renamed)
    after = [story for story in moved.values() if story.published >= START + 7 * DAY]
    assert not [story for story in after if story.entry["source"]["name"] == "Harbour Post"]
    fresh = {*KNOWN.later["health"]}
    used = [bool(fresh & {*(story.entry["title"].lower().split())}) for story in after
            if story.topic == "health"]  # fmt: skip
    assert sum(used) > 0.6 * len(used)


def test_topics_appear_vanish_and_grow(write: Any) -> None:
    stories = write([Volume(0, "science", 0), Volume(7, "science", 1), Volume(7, "sports", 0),
                     Volume(7, "health", 3.0)])  # fmt: skip
    first = Counter(story.topic for story in stories if story.published < START + 7 * DAY)
    later = Counter(story.topic for story in stories if story.published >= START + 7 * DAY)
    assert first["science"] == 0 and first["sports"] > 30
    assert later["science"] > 10 and later["sports"] == 0
    assert later["health"] > 2 * first["health"]
    assert later["general"] == pytest.approx(first["general"], rel=0.5)


# --- what ships -----------------------------------------------------------------------------


def test_the_desk_that_ships_is_the_one_that_is_made() -> None:
    assert DESK.read_text("utf-8") == desk()


def test_a_recording_is_read_as_it_was_written(write: Any) -> None:
    stories: list[Story] = write()
    recording = write_responses(stories)
    assert recording == write_responses(stories)
    found = list(read_responses(recording))
    assert [story.published for story in found] == [story.published for story in stories]
    by_url = {story.entry["url"]: story for story in stories}
    for story in found:
        first = by_url[story.entry["url"]]
        assert story.entry == first.entry
        assert {story.topic, story.also} == {first.topic, first.also}
    later = list(read_responses(recording, START + 7 * DAY))
    assert [story.published - 7 * DAY for story in later] == [story.published for story in found]
    assert later[0].entry["publishedAt"] == iso(later[0].published)[:19] + "Z"


def test_a_shifted_recording_is_over_when_it_is_played() -> None:
    now = moment_micros("2026-03-05T10:00:00Z")
    start = latest_start(now)
    assert (start - START) % (7 * DAY) == 0
    assert now - 7 * DAY < start + 7 * DAY * WEEKS <= now


def test_the_recording_that_ships_is_small_and_can_be_replayed() -> None:
    assert RECORDING.stat().st_size < 400_000
    lines = [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]
    assert len(lines) == len(TOPICS) * 7 * WEEKS
    source = NewsSource(RECORDING)
    assert 2500 <= source.rows <= 6000
    assert set(source.classes) == set(TOPICS)


@pytest.mark.slow
def test_the_recording_that_ships_is_the_one_that_is_made(tmp_path: Path) -> None:
    made = articles(SEED, SCRIPT, cache_dir=tmp_path, weeks=WEEKS, per_week=PER_WEEK)
    assert write_responses(made) == RECORDING.read_bytes()


@pytest.mark.slow
def test_articles_are_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hashlib import sha256\n"
        "from scenarios.newsroom import articles\n"
        "made = articles(9, cache_dir=Path(sys.argv[1]), weeks=1, per_week=60)\n"
        "print(sha256(repr(list(made)).encode()).hexdigest())"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
        ).stdout
        for name in ("one", "other")
    ]  # fmt: skip
    assert said[0] == said[1] and len(said[0]) == 65
