"""Notice, online, what is odd about what comes in: anomalies of ingestion and missing data.

A `Watch` sees each answer once and tells, in notes with their evidence, when something begins and
when it is over (``..._over``), never in between:

- ``volume_drop``: far fewer new articles than usual (`engine.news.mixes.Volume`)
- ``empty_poll``: an answer without articles; again when it has become a run
- ``null_rate_jump``: a `field` is null far more often than usual
- ``duplicate_burst``: far more of an answer than usual was there before, or (`within`) is there
  twice in one answer
- ``published_in_future``, ``published_long_ago``: publish times that cannot be right
- ``source_mix_change``, ``language_change``: other sources, another language than usual
- ``schema_change``: keys of articles vanish, appear, or hold values of another type

Topics are watched apart, since none is like another. Only articles that were not in the topic's
recent answers count for nulls, sources and languages, because headlines are listed for hours. A
change that lasts is told as over with ``settled`` once it is what is usual. What languages can be
told apart is in `engine.news.languages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Self

from engine.events import iso
from engine.news.articles import TIME_MAX, TIME_MIN, Reading, Sorted
from engine.news.languages import language_of
from engine.news.mixes import BLOCK_ENTRIES, Mix, Shift, Volume
from engine.quantities import UNITS_MICROS, moment_micros

TOPICS_MAX = 100
"""Topics watched; those not asked about for longest are forgotten."""
RECENT_MAX = 300
"""Entries of a topic that are remembered in order to tell new ones."""
EMPTY_RUN = 3
"""Answers without articles in a row that are told once more, as a run."""
FIELDS = ("author", "description", "urlToImage", "content", "source.id")
"""Fields whose share of nulls is watched."""
NULL_RISE = 0.15
"""Least rise of a share of nulls worth telling."""
REPEAT_RISE = 0.15
"""Least rise of a share of duplicates worth telling."""
SOURCES_CHANGE = 0.3
"""Least change of the mix of sources worth telling, as total variation distance."""
LANGUAGES_CHANGE = 0.25
"""Least change of the mix of languages worth telling, as total variation distance."""
FUTURE_MICROS = 15 * UNITS_MICROS["m"]
"""How far a publish time may lie after the moment it was fetched: clocks differ."""
LONG_AGO_MICROS = 365 * UNITS_MICROS["d"]
"""Older articles are not news; dates of 1970 stand for withdrawn ones."""
CALM_POLLS = 3
"""Answers in a row without a finding before it is told as over."""
KEY_ENTRIES = BLOCK_ENTRIES
"""Entries before keys can be usual."""
KEY_MEMORY = 500
"""Entries that the usual keys are averaged over."""
KEY_USUAL = 0.9
"""Share of entries that a usual key is in."""
KEY_STRANGE = 0.01
"""Share of entries that a strange key is in, at most."""
KEY_NOW = 0.5
"""Share of an answer's entries that must lack a usual key, or have a strange one."""
KEYS_MAX = 60
"""Keys that are remembered."""
NAMES_MAX = 10
"""Keys that a note names."""

TYPES: dict[type, str] = {str: "text", bool: "flag", int: "number", float: "number"}


class Watch:
    """Watches all topics.

    Parameters
    ----------
    topics
        What is remembered of each topic; empty at first.

    Examples
    --------
    >>> watch, nothing = Watch(), Reading("ok", "", "", (), 0)
    >>> [watch.see("art", at, nothing, Sorted((), (), {})) for at in (0, 9)]
    [[{'what': 'empty_poll', 'topic': 'art', 'run': 1, 'total': 0}], []]
    >>> again = Watch.of(watch.state())
    >>> again.see("art", 18, nothing, Sorted((), (), {}))[0]["run"]
    3
    """

    def __init__(self, topics: dict[str, TopicWatch] | None = None) -> None:
        self._topics = topics or {}

    def see(self, topic: str, at: int, reading: Reading, sorted: Sorted) -> list[dict[str, Any]]:
        """Take a finished request; return what begins or is over.

        Parameters
        ----------
        topic
            What was asked about.
        at
            When it was asked, microseconds since 1970.
        reading
            The response. One that holds no articles because of an error says nothing about them
            and is passed over.
        sorted
            What became of its entries.
        """
        if reading.status != "ok":
            return []
        watched = self._topics.pop(topic, None) or TopicWatch()
        self._topics[topic] = watched
        for forgotten in list(self._topics)[:-TOPICS_MAX]:
            del self._topics[forgotten]
        notes = watched.see(at, reading, sorted)
        return [{"what": note.pop("what"), "topic": topic, **note} for note in notes]

    def state(self) -> dict[str, Any]:
        """Return the memory, JSON-ready, a few kilobytes a topic."""
        return {"topics": {name: topic.state() for name, topic in self._topics.items()}}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the watch that remembers `state`; an empty one remembers nothing."""
        topics = state.get("topics", {})
        return cls({name: TopicWatch.of(topic) for name, topic in topics.items()})


class TopicWatch:
    """Watches one topic."""

    def __init__(self) -> None:
        self.volume = Volume()
        self.mixes: dict[str, Mix] = {
            **{f"null {name}": Mix(NULL_RISE, "null") for name in FIELDS},
            "seen": Mix(REPEAT_RISE, "seen"),
            "within": Mix(REPEAT_RISE, "within"),
            "sources": Mix(SOURCES_CHANGE),
            "strangers": Mix(SOURCES_CHANGE, "strange"),
            "languages": Mix(LANGUAGES_CHANGE),
        }
        self.keys = Keys()
        self.empty = 0
        self.odd: dict[str, int] = {}
        self.recent: list[str] = []

    def see(self, at: int, reading: Reading, sorted: Sorted) -> list[dict[str, Any]]:
        """Take an answer; return what begins or is over."""
        entries = reading.entries
        early = self.volume.early(at)
        notes = self._empty(len(entries), reading.total)
        volume = self.volume.see(at, len(sorted.articles))
        notes += told("volume_drop", volume, {"entries": len(entries)})
        marks = [mark_of(entry) for entry in entries]
        known = frozenset(self.recent)
        fresh = {mark: place for place, mark in enumerate(marks) if mark not in known}
        notes += self._repeats(len(entries), len(set(marks)), sorted, early)
        notes += self._compare([entries[place] for place in fresh.values()])
        notes += self._dates(at, entries)
        if entries:
            notes += self.keys.see(entries)
        newest = dict.fromkeys(mark for mark in self.recent if mark not in set(marks))
        self.recent = [*newest, *dict.fromkeys(marks)][-RECENT_MAX:]
        return notes

    def _empty(self, entries: int, total: int | None) -> list[dict[str, Any]]:
        """Return notes on answers without articles."""
        if entries:
            run, self.empty = self.empty, 0
            return [{"what": "empty_poll_over", "run": run}] if run else []
        self.empty += 1
        if self.empty in (1, EMPTY_RUN):
            return [{"what": "empty_poll", "run": self.empty, "total": total}]
        return []

    def _repeats(
        self, entries: int, different: int, sorted: Sorted, early: bool
    ) -> list[dict[str, Any]]:
        """Return notes on entries that were there before, or twice in this answer."""
        twice = entries - different
        within = self.mixes["within"].see({"within": twice, "once": different})
        notes = told("duplicate_burst", within, {"within": True})
        if not early:
            seen = min(sorted.dropped.get("duplicate", 0), entries)
            shift = self.mixes["seen"].see({"seen": seen, "new": entries - seen})
            notes += told("duplicate_burst", shift, {"within": False})
        return notes

    def _compare(self, fresh: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return notes on nulls, sources and languages of entries that are new here."""
        notes = []
        for name in FIELDS:
            null = sum(is_null(entry, name) for entry in fresh)
            shift = self.mixes[f"null {name}"].see({"null": null, "there": len(fresh) - null})
            notes += told("null_rate_jump", shift, {"field": name})
        notes += self._sources(counted(source_of(entry) for entry in fresh))
        languages = self.mixes["languages"].see(counted(language_of(text_of(e)) for e in fresh))
        return notes + told("language_change", languages, {})

    def _sources(self, counts: dict[str, int]) -> list[dict[str, Any]]:
        """Return notes on where articles come from: usual sources, and strangers among them."""
        mix, notes = self.mixes["sources"], []
        if mix.warm:
            strange = sum(count for name, count in counts.items() if name not in mix.usual)
            known = sum(counts.values()) - strange
            shift = self.mixes["strangers"].see({"strange": strange, "known": known})
            notes += told("source_mix_change", shift, {"strangers": True})
        return notes + told("source_mix_change", mix.see(counts), {"strangers": False})

    def _dates(self, at: int, entries: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
        """Return notes on publish times that cannot be right."""
        times = [time for time in map(published_of, entries) if time is not None]
        wrong = {
            "published_in_future": [time for time in times if time > at + FUTURE_MICROS],
            "published_long_ago": [time for time in times if time < at - LONG_AGO_MICROS],
        }
        notes: list[dict[str, Any]] = []
        for what, found in wrong.items():
            standing = self.odd.get(what, 0)
            if found and not standing:
                worst = max(found) if what == "published_in_future" else min(found)
                evidence = {"entries": len(found), "of": len(entries), "worst": iso(worst)}
                notes.append({"what": what, **evidence})
            if standing == 1 and not found:
                notes.append({"what": f"{what}_over"})
            if found:
                self.odd[what] = CALM_POLLS
            elif standing:
                self.odd[what] = standing - 1
        return notes

    def state(self) -> dict[str, Any]:
        """Return the memory, JSON-ready."""
        return {
            "volume": self.volume.state(),
            "mixes": {name: mix.state() for name, mix in self.mixes.items()},
            "keys": self.keys.state(),
            "empty": self.empty,
            "odd": self.odd,
            "recent": self.recent,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the topic's watch that remembers `state`."""
        topic = cls()
        topic.volume = Volume.of(state["volume"])
        topic.mixes |= {name: Mix.of(mix) for name, mix in state["mixes"].items()}
        topic.keys = Keys(**state["keys"])
        topic.empty, topic.odd = state["empty"], dict(state["odd"])
        topic.recent = list(state["recent"])
        return topic


class Keys:
    """Notices keys that vanish from the entries, appear in them, or hold another type.

    Parameters
    ----------
    shares
        Share of the entries that each key was in, decayed.
    entries
        How many entries those are, at most `KEY_MEMORY`.
    standing
        Keys that have changed, and for how many entries.

    Examples
    --------
    >>> keys = Keys()
    >>> keys.see([{"title": "a", "url": "b"}] * 40), keys.see([{"headline": "a", "url": "b"}])
    ([], [{'what': 'schema_change', 'vanished': ['title'], 'appeared': ['headline']}])
    """

    def __init__(
        self,
        shares: dict[str, float] | None = None,
        entries: int = 0,
        standing: dict[str, int] | None = None,
    ) -> None:
        self.shares, self.entries, self.standing = shares or {}, entries, standing or {}

    def see(self, entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Take the entries of an answer, at least one; return what begins or is over."""
        listed = [keys_of(entry) for entry in entries]
        counts = counted(key for keys in listed for key in keys)
        now = {key: count / len(listed) for key, count in counts.items()}
        notes: list[dict[str, Any]] = []
        if self.entries >= KEY_ENTRIES:
            vanished, appeared = self._changed(now)
            if new := (vanished | appeared) - set(self.standing):
                evidence = {
                    "vanished": sorted(vanished & new)[:NAMES_MAX],
                    "appeared": sorted(appeared & new)[:NAMES_MAX],
                }
                notes.append({"what": "schema_change", **evidence})
            still = {key: self.standing.get(key, 0) for key in sorted(vanished | appeared)}
            settled = {key for key, age in still.items() if age >= KEY_MEMORY}
            if over := (set(self.standing) - set(still)) | settled:
                note = {"what": "schema_change_over", "keys": sorted(over)[:NAMES_MAX]}
                notes.append({**note, "settled": True} if settled else note)
            self.shares |= {key: now.get(key, 0.0) for key in settled}
            kept = [key for key in still if key not in settled][:KEYS_MAX]
            self.standing = {key: still[key] + len(listed) for key in kept}
        self._learn(now, len(listed))
        return notes

    def _changed(self, now: Mapping[str, float]) -> tuple[set[str], set[str]]:
        """Return the usual keys that are missing and the strange ones that are there."""
        vanished = {
            key
            for key, usual in self.shares.items()
            if usual >= KEY_USUAL and now.get(key, 0.0) <= 1 - KEY_NOW and ":" not in key
        }
        strange = {
            key
            for key, share in now.items()
            if share >= KEY_NOW and self.shares.get(key, 0.0) <= KEY_STRANGE
        }
        return vanished, {key for key in strange if key.split(":")[0] not in strange - {key}}

    def _learn(self, now: Mapping[str, float], entries: int) -> None:
        """Let what did not change count as usual."""
        self.entries = min(self.entries + entries, KEY_MEMORY)
        weight = min(1.0, entries / self.entries)
        learned = {
            key: share + (0 if key in self.standing else weight * (now.get(key, 0.0) - share))
            for key, share in {**dict.fromkeys(now, 0.0), **self.shares}.items()
        }
        ranked = sorted(learned, key=lambda key: (key not in self.standing, -learned[key], key))
        self.shares = {key: learned[key] for key in ranked[:KEYS_MAX]}

    def state(self) -> dict[str, Any]:
        """Return the memory, JSON-ready."""
        return {"shares": self.shares, "entries": self.entries, "standing": self.standing}


def told(what: str, shift: Shift | None, evidence: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the note on a shift, if there is one."""
    if shift is None:
        return []
    return [{"what": what if shift.begins else f"{what}_over", **evidence, **shift.evidence}]


def counted(kinds: Iterable[str]) -> dict[str, int]:
    """Return how often each kind comes, in order of first coming.

    Examples
    --------
    >>> counted("abba")
    {'a': 2, 'b': 2}
    """
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def mark_of(entry: Mapping[str, Any]) -> str:
    """Return eight characters that tell an entry from others by title and url."""
    named = f"{entry.get('title')}\0{entry.get('url')}".encode("utf-8", "replace")
    return blake2b(named, digest_size=4).hexdigest()


def value_at(entry: Mapping[str, Any], name: str) -> Any:
    """Return a field of an entry, such as ``source.id``; None where it is not there.

    Examples
    --------
    >>> value_at({"source": {"id": "cnn"}}, "source.id"), value_at({"source": 1}, "source.id")
    ('cnn', None)
    """
    found: Any = entry
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def is_null(entry: Mapping[str, Any], name: str) -> bool:
    """Return whether a field is null, empty or not there."""
    value = value_at(entry, name)
    return value is None or value == ""


def source_of(entry: Mapping[str, Any]) -> str:
    """Return the name of an entry's source; ``(none)`` without one."""
    name = value_at(entry, "source.name")
    return name[:80] if isinstance(name, str) and name else "(none)"


def text_of(entry: Mapping[str, Any]) -> str:
    """Return title and description of an entry, as far as they are texts."""
    parts = (entry.get("title"), entry.get("description"))
    return " ".join(part[:500] for part in parts if isinstance(part, str))


def published_of(entry: Mapping[str, Any]) -> int | None:
    """Return when an entry was published, microseconds since 1970; None if nobody can tell."""
    text = entry.get("publishedAt")
    if not isinstance(text, str):
        return None
    try:
        micros = moment_micros(text)
    except (ValueError, OverflowError):
        return None
    return micros if TIME_MIN <= micros < TIME_MAX else None


def keys_of(entry: Mapping[str, Any]) -> set[str]:
    """Return the keys of an entry, those of its source, and the types of what they hold.

    Examples
    --------
    >>> sorted(keys_of({"title": "a", "source": {"id": None}}))
    ['source', 'source.id', 'source: object', 'title', 'title: text']
    """
    found = set()
    source = entry.get("source")
    nested = source.items() if isinstance(source, Mapping) else ()
    for key, value in [*entry.items(), *((f"source.{key}", value) for key, value in nested)]:
        name = str(key)[:60].replace(":", ".")
        found.add(name)
        if value is not None:
            kind = "object" if isinstance(value, Mapping) else TYPES.get(type(value), "list")
            found.add(f"{name}: {kind}")
    return found
