"""A synthetic newsroom: articles as NewsAPI returns them, whose words and topics drift by script.

When an article appears, where, how long it is and what it is about is sampled by SDV from a small
table, the desk. Its words come from a vocabulary for each topic. All of it is invented.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.events import iso
from engine.quantities import moment_micros
from engine.seeds import derive, generator
from scenarios.samples import Origin
from scenarios.synthesis import SyntheticSource

DATA = Path(__file__).parent / "data"
DESK, WORDS = DATA / "newsroom_desk.csv", DATA / "newsroom_words.txt"
DAY = 86_400_000_000
START = moment_micros("2024-01-01")
"""When the news begins unless told otherwise: a Monday."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TOPICS: Mapping[str, float] = {
    "business": 0.17, "entertainment": 0.17, "general": 0.16, "health": 0.12, "science": 0.10,
    "sports": 0.16, "technology": 0.12,
}  # fmt: skip
"""The topics and their shares at the desk; they are NewsAPI's categories."""
SOURCES: Mapping[str, str | None] = {
    "Harbour Post": "harbour-post", "Daily Lantern": None, "Meridian Wire": "meridian-wire",
    "Northgate Times": "northgate-times", "Upland Record": None, "Kettle and Crown": None,
    "Signal Hill": "signal-hill", "The Slow Reader": None, "Brightwater": "brightwater",
    "Almanac Weekly": None, "Tidewater News": None, "Morning Parcel": "morning-parcel",
}  # fmt: skip
"""The publishers and the id that NewsAPI knows them by, which half of them lack."""
FIRST_NAMES = (
    "Ada", "Bram", "Carys", "Dilip", "Edda", "Farid", "Greta", "Hollis", "Imke", "Jonas", "Keiko",
    "Lior", "Mabel", "Nuno",
)  # fmt: skip
LAST_NAMES = (
    "Ashdown", "Bellweather", "Corr", "Dunmore", "Eastley", "Fenwright", "Garrow", "Holm", "Ilves",
)  # fmt: skip
TEXT_CHARS = 200
"""Where NewsAPI cuts the content of an article."""
SECOND_LISTING = 0.04
"""The share of the articles that are listed under a second topic."""
NO_DESCRIPTION = 0.02
STRAY, SHARED = 0.12, 0.25
"""How much of the text, function words aside, is of another topic and of no topic."""


# --- the script -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewWords:
    """A topic's news moves on: new words take the place of its most frequent ones.

    Parameters
    ----------
    at
        When, in days from the start.
    topic
        The topic.
    share
        The share of its words that are replaced, 0 to 1.
    of
        The topic whose first words it takes; None: words that nobody has used before.
    over
        How many days it takes; the most frequent words go first.
    """

    at: float
    topic: str
    share: float
    of: str | None = None
    over: float = 0.0


@dataclass(frozen=True, slots=True)
class Volume:
    """From day `at` on a topic brings `times` as many articles; 0 lets it vanish."""

    at: float
    topic: str
    times: float


@dataclass(frozen=True, slots=True)
class NewSource:
    """From day `at` on what `source` would have published is published by `to`."""

    at: float
    source: str
    to: str


Item = NewWords | Volume | NewSource
Script = Sequence[Item]


# --- the words ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Words:
    """The words that articles are made of.

    Parameters
    ----------
    now, later
        Of each topic, the most frequent first: those it starts with, and those that may follow.
    shared, function
        The words that all topics share, and the small ones between them.
    """

    now: Mapping[str, tuple[str, ...]]
    later: Mapping[str, tuple[str, ...]]
    shared: tuple[str, ...]
    function: tuple[str, ...]


def read_words(text: str) -> Words:
    """Read words from sections such as ``[business now]``, ``[shared]`` and ``[function]``.

    Examples
    --------
    >>> found = read_words("[art now]\\nink oil\\n[art later]\\nclay\\n[shared]\\n[function]\\nof")
    >>> found.now, found.function
    ({'art': ('ink', 'oil')}, ('of',))
    """
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    parts = re.split(r"^\[(.+)\]$", plain, flags=re.MULTILINE)[1:]
    found = {name: tuple(part.split()) for name, part in zip(parts[::2], parts[1::2], strict=True)}
    topics = [name.removesuffix(" now") for name in found if name.endswith(" now")]
    return Words(
        now={topic: found[f"{topic} now"] for topic in topics},
        later={topic: found[f"{topic} later"] for topic in topics},
        shared=found["shared"],
        function=found["function"],
    )


def vocabulary(words: Words, script: Script, topic: str, day: float) -> tuple[str, ...]:
    """Return what a topic writes with on a day, the most frequent word first.

    Raises
    ------
    InputError
        If the script asks for more new words than there are.

    Examples
    --------
    >>> words = Words({"art": ("ink", "oil")}, {"art": ("clay",)}, (), ())
    >>> vocabulary(words, [NewWords(3, "art", 0.5)], "art", day=2)
    ('ink', 'oil')
    >>> vocabulary(words, [NewWords(3, "art", 0.5)], "art", day=4)
    ('clay', 'oil')
    """
    current = list(words.now[topic])
    used = 0
    for item in script:
        if not isinstance(item, NewWords) or item.topic != topic or day < item.at:
            continue
        progress = 1.0 if item.over == 0 else min(1.0, (day - item.at) / item.over)
        wanted = round(item.share * len(current))
        fresh = words.later[topic][used:] if item.of is None else words.now[item.of]
        if wanted > len(fresh):
            message = f"{item}: {wanted} words are to be new, only {len(fresh)} are there"
            raise InputError(f"{message}: give a smaller share")
        used += wanted if item.of is None else 0
        count = round(progress * wanted)
        current[:count] = fresh[:count]
    return tuple(current)


@cache
def zipf(count: int) -> list[float]:
    """Return the cumulative shares of `count` words whose frequency falls as 1 ÷ (rank + 6)."""
    weights = list(accumulate(1 / (rank + 6) for rank in range(count)))
    return [weight / weights[-1] for weight in weights]


def pick(words: Sequence[str], chance: float) -> str:
    """Return the word that a number in [0, 1) stands for, by Zipf's law."""
    return words[bisect_right(zipf(len(words)), chance)]


# --- the desk -------------------------------------------------------------------------------


def desk(rows: int = 400, seed: int = 1) -> str:
    """Return the table that SDV is fitted on, as CSV: invented articles without their words.

    Examples
    --------
    >>> print(desk(2))
    topic,source,weekday,hour,title_words,description_words,author
    ...
    """
    chance = generator(seed, "desk")
    topics, shares = list(TOPICS), list(TOPICS.values())
    lines = ["topic,source,weekday,hour,title_words,description_words,author"]
    weekdays = np.array([17, 17, 17, 17, 16, 8, 8]) / 100
    for _ in range(rows):
        topic = str(chance.choice(topics, p=shares))
        source = str(chance.choice(list(SOURCES)))
        weekend = topic in ("sports", "entertainment")
        weekday = chance.choice(WEEKDAYS, p=np.full(7, 1 / 7) if weekend else weekdays)
        hour = float(np.clip(chance.normal(19 if topic == "sports" else 13, 4.5), 0, 23.9))
        title = int(np.clip(chance.normal(9 if weekend else 11, 2), 5, 16))
        body = int(np.clip(chance.normal(25 if topic in ("health", "science") else 19, 5), 8, 30))
        author = str(chance.choice(["nobody", "agency", "person"], p=[0.17, 0.13, 0.70]))
        lines.append(f"{topic},{source},{weekday},{hour:.1f},{title},{body},{author}")
    return "\n".join(lines) + "\n"


# --- the articles ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Story:
    """An article and what NewsAPI does not say of it.

    Parameters
    ----------
    topic
        What it is about.
    also
        A second topic that it is listed under, if there is one.
    published
        When it appeared, microseconds since 1970 UTC.
    entry
        The article as NewsAPI returns it.
    """

    topic: str
    also: str | None
    published: int
    entry: Mapping[str, Any]


def articles(
    seed: int,
    script: Script = (),
    *,
    cache_dir: Path,
    start: int = START,
    weeks: int = 26,
    per_week: int = 700,
) -> Iterator[Story]:
    """Yield synthetic articles in the order in which they appear; the same for the same arguments.

    Parameters
    ----------
    seed
        Seed of all that chance decides.
    script
        The drifts.
    cache_dir
        Folder for what SDV fitted and sampled.
    start
        When the first week begins, microseconds since 1970 UTC; a Monday.
    weeks
        How many weeks of news there are.
    per_week
        How many articles a week brings, as long as no script changes it.

    Raises
    ------
    InputError
        If the script names what is not there.
    """
    words = read_words(WORDS.read_text("utf-8"))
    check_script(script, words)
    most = busiest(script)
    candidates = round(per_week * most)
    source = SyntheticSource(
        records=weeks * candidates,
        origin=Origin("topic", table=DESK.name, columns={"hour": "numeric"}),
        cache_dir=cache_dir,
        seed=derive(seed, "newsroom"),
        resolve=lambda name: DATA / name,
    )
    rows = desk_rows(source)
    for week in range(weeks):
        chances = generator(seed, "thinning", week).random((candidates, 3))
        found = []
        for number in range(candidates):
            row = next(rows)
            day = 7 * week + WEEKDAYS.index(row["weekday"]) + row["hour"] / 24
            day += chances[number, 0] / 240
            if chances[number, 1] * most < volume(script, row["topic"], day):
                found.append((start + int(day * DAY) // 1_000_000 * 1_000_000, number, day, row))
        for published, number, day, row in sorted(found, key=lambda each: each[:2]):
            fate = generator(seed, "story", week, number)
            yield write_story(fate, row, f"{week}{number:05d}", published, day, words, script)


def desk_rows(source: SyntheticSource) -> Iterator[dict[str, Any]]:
    """Yield the sampled rows of the desk."""
    for block in source.blocks():
        columns: dict[str, Any] = {"topic": block.labels}
        columns |= {name: block.table.number(name) for name in source.schema.numeric}
        columns |= {name: block.table.texts(name) for name in source.schema.categorical}
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def check_script(script: Script, words: Words) -> None:
    """Raise InputError if a script cannot be played."""
    for item in script:
        topics = [] if isinstance(item, NewSource) else [item.topic]
        topics += [item.of] if isinstance(item, NewWords) and item.of is not None else []
        for topic in topics:
            if topic not in words.now:
                raise InputError(f"{item}: no topic {topic!r}, only {', '.join(words.now)}")
        if isinstance(item, NewSource) and item.source not in SOURCES:
            raise InputError(f"{item}: no source {item.source!r}, only {', '.join(SOURCES)}")
        if isinstance(item, Volume) and item.times < 0:
            raise InputError(f"{item}: times must not be negative")
        if isinstance(item, NewWords) and not 0 <= item.share <= 1:
            raise InputError(f"{item}: share must be between 0 and 1")
    for topic in words.now:
        vocabulary(words, script, topic, float("inf"))


def volume(script: Script, topic: str, day: float) -> float:
    """Return how many times its usual number of articles a topic brings on a day.

    Examples
    --------
    >>> volume([Volume(at=5, topic="health", times=2.0)], "health", day=6)
    2.0
    """
    times = [
        item.times
        for item in script
        if isinstance(item, Volume) and item.topic == topic and item.at <= day
    ]
    return times[-1] if times else 1.0


def busiest(script: Script) -> float:
    """Return the most that `volume` ever returns, at least 1."""
    return max([1.0, *(item.times for item in script if isinstance(item, Volume))])


def write_story(
    chance: np.random.Generator,
    row: Mapping[str, Any],
    number: str,
    published: int,
    day: float,
    words: Words,
    script: Script,
) -> Story:
    """Return the article that a row of the desk describes."""
    topic, source = str(row["topic"]), str(row["source"])
    ident = SOURCES[source]
    for item in script:
        if isinstance(item, NewSource) and item.source == source and day >= item.at:
            source, ident = item.to, None
    own = vocabulary(words, script, topic, day)
    others = [each for each in words.now if each != topic]
    stray = vocabulary(words, script, others[int(chance.integers(len(others)))], day)
    titled = sentence(chance, int(row["title_words"]), 0.22, own, stray, words)
    body = sentence(chance, int(row["description_words"]), 0.40, own, stray, words)
    headline = " ".join(one if one in words.function else one.capitalize() for one in titled)
    title = f"{headline[0].upper()}{headline[1:]} - {source}"
    text = " ".join(body).capitalize() + "."
    people = f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"
    described, second, length = chance.random(), chance.random(), int(chance.integers(400, 9000))
    site = re.sub(r"\W", "", source.lower())
    place = f"{titled[0]}-{number}"
    entry = {
        "source": {"id": ident, "name": source},
        "author": {"nobody": None, "agency": source, "person": people}[str(row["author"])],
        "title": title,
        "description": text if described >= NO_DESCRIPTION else None,
        "url": f"https://{site}.example/{place}",
        "urlToImage": f"https://{site}.example/{place}.jpg",
        "publishedAt": f"{iso(published)[:19]}Z",
        "content": f"{text[:TEXT_CHARS]}… [+{length} chars]",
    }
    also = others[int(second / SECOND_LISTING * len(others))] if second < SECOND_LISTING else None
    return Story(topic, also, published, entry)


def sentence(
    chance: np.random.Generator,
    length: int,
    small: float,
    own: Sequence[str],
    stray: Sequence[str],
    words: Words,
) -> list[str]:
    """Return words in a row: topic words, strays and shared ones, with small words in between."""
    made: list[str] = []
    between = False
    for at, (joint, kind, picked) in enumerate(chance.random((length, 3)).tolist()):
        between = joint < small and not between and 0 < at < length - 1
        pool = stray if kind < STRAY else words.shared if kind < STRAY + SHARED else own
        made.append(pick(words.function if between else pool, picked))
    return made
