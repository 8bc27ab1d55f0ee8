"""The recording of the synthetic newsroom that ships: written once, read by whoever plays it.

It is made again, the same, by::

    python -m scenarios.newstape
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from engine.events import iso
from engine.quantities import moment_micros
from scenarios.newsroom import (
    DATA,
    DAY,
    START,
    TOPICS,
    NewSource,
    NewWords,
    Story,
    Volume,
    articles,
)

RECORDING = DATA / "newsroom.jsonl.gz"
SEED = 42
WEEKS, PER_WEEK = 12, 250
WEEK = 7 * DAY
SCRIPT = (
    NewWords(at=35, topic="technology", share=0.5, of="business"),
    NewWords(at=35, topic="business", share=0.5),
    NewWords(at=35, topic="health", share=0.5),
    NewWords(at=35, topic="general", share=0.5),
    Volume(at=49, topic="general", times=1.6),
    NewSource(at=49, source="Tidewater News", to="The Corner Desk"),
    NewWords(at=61, topic="sports", share=0.55, over=3),
    NewWords(at=61, topic="entertainment", share=0.5, over=3),
    NewWords(at=61, topic="science", share=0.5, over=3),
)
"""What happens to its news: days count from 1 January 2024."""


def write_responses(stories: Iterable[Story]) -> bytes:
    """Return stories as a recording: a line for each day and topic, as `.jsonl.gz`.

    Each line holds a response of ``/v2/top-headlines`` as it was at the end of a day, with that
    day's articles.
    """
    lines = []
    for day, group in groupby(stories, key=lambda story: story.published // DAY):
        found = list(group)
        for topic in TOPICS:
            entries = [story.entry for story in found if topic in (story.topic, story.also)]
            body = {"status": "ok", "totalResults": len(entries), "articles": entries[::-1]}
            line = {
                "fetched_at": iso((day + 1) * DAY),
                "request": f"/v2/top-headlines?country=us&category={topic}",
                "body": body,
            }
            lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), 9, mtime=0)


def read_responses(recording: bytes, start: int = START) -> Iterator[Story]:
    """Yield the stories of a recording in the order in which they appear.

    Parameters
    ----------
    recording
        What `write_responses` returned.
    start
        When the news is to begin instead of at `START`; all its times move by as much.
    """
    lines = map(json.loads, gzip.decompress(recording).decode().splitlines())
    for _, group in groupby(lines, key=lambda line: str(line["fetched_at"])):
        listed: dict[str, tuple[list[str], dict[str, Any]]] = {}
        for line in group:
            topic = line["request"].rpartition("=")[2]
            for entry in line["body"]["articles"]:
                listed.setdefault(entry["url"], ([], entry))[0].append(topic)
        for topics, entry in sorted(listed.values(), key=lambda each: str(each[1]["publishedAt"])):
            published = moment_micros(entry["publishedAt"]) + start - START
            also = topics[1] if len(topics) > 1 else None
            moved = {**entry, "publishedAt": f"{iso(published)[:19]}Z"}
            yield Story(topics[0], also, published, moved)


def latest_start(now: int, weeks: int = WEEKS) -> int:
    """Return the last Monday from which so many weeks of news are over by `now`.

    Examples
    --------
    >>> iso(latest_start(moment_micros("2024-03-01"), weeks=1))
    '2024-02-19T00:00:00.000000Z'
    """
    return START + (now - START) // WEEK * WEEK - weeks * WEEK


def main() -> None:
    """Write the recording anew."""
    with tempfile.TemporaryDirectory() as folder:
        stories = articles(SEED, SCRIPT, cache_dir=Path(folder), weeks=WEEKS, per_week=PER_WEEK)
        RECORDING.write_bytes(write_responses(stories))


if __name__ == "__main__":
    main()
