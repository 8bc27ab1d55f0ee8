"""Recordings of news: files and folders read into articles in order of publication."""

from __future__ import annotations

import csv
import difflib
import fnmatch
import gzip
import hashlib
import json
import os
import re
import stat
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, get_args
from urllib.parse import parse_qs, urlsplit

import numpy as np

from engine.batch import Codes, Ints
from engine.errors import InputError
from engine.news.articles import Needed, Reading, article_of, ordered, read_answer, read_body
from engine.sources.file import listed

ENDINGS = (".json", ".jsonl", ".csv")
"""Files that are read; each may end in ``.gz`` too."""
CATEGORIES = (
    "business", "entertainment", "general", "health", "science", "sports", "technology",
)  # fmt: skip
"""The categories of NewsAPI: where one stands in a path, it is the topic."""
LABELS = ("topic", "label", "category")
TIMES = ("published_at", "publishedAt", "published")
"""The columns of a CSV that hold the topic and the time unless the scenario names others."""
LEDGER, PROCESSED = "ledger.sqlite", "processed"
"""What a data folder of live mode has in it, and where its rows are."""
FAILURES = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in the files of a recording things stand.

    Parameters
    ----------
    label, time
        The columns of a CSV that hold the topic and the time of publication; None: found out.
    columns
        The columns of a CSV that hold ``title``, ``description`` and ``url`` under another name.
    topics
        Pattern to topic: of the paths within a recording, or of the requests noted in it, for
        responses. The first that fits counts.
    """

    label: str | None = None
    time: str | None = None
    columns: Mapping[Needed, str] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)


USUAL = Layout()
"""Everything where it usually is."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The articles of a recording that can be used, in order of publication.

    Parameters
    ----------
    times
        When each was published, microseconds since 1970.
    topics
        The topic of each, an index into `names`.
    names
        The topics.
    texts, ends
        UTF-8 of all titles and descriptions in order of reading, and where each of them ends.
    order
        The place in the order of reading of each article.
    sha256
        SHA-256 of the file; of a folder, over the names and hashes of its files.
    facts
        Files, responses and entries read, and entries dropped by reason.
    notes
        What is not used, a line each.
    """

    times: Ints
    topics: Codes
    names: tuple[str, ...]
    texts: bytes
    ends: Ints
    order: Ints
    sha256: str
    facts: Mapping[str, Any]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)

    def rows(self, start: int, stop: int) -> Iterator[tuple[int, str, str]]:
        """Yield time, title and description of the articles `start` to before `stop`."""
        places = self.order[start:stop].tolist()
        for time, place in zip(self.times[start:stop].tolist(), places, strict=True):
            begin, middle, end = self.ends[2 * place : 2 * place + 3].tolist()
            yield time, self.texts[begin:middle].decode(), self.texts[middle:end].decode()


def read_recording(path: Path, shown: str, layout: Layout) -> Recording:
    """Read a recording.

    Raises
    ------
    InputError
        If it cannot be read, tells of no topic, or holds no article that can be used.
    """
    files = files_of(path, shown)
    gathered = _Gathered()
    hashes = []
    for file, name, place in files:
        with _clearly(place), file.open("rb") as raw:
            hashes.append((name, hashlib.file_digest(raw, "sha256").hexdigest()))
            raw.seek(0)
            kind, zipped = _kind_of(file.name)
            stream: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            _read_file(stream, kind, _Place(name, place, layout), gathered)
    return gathered.recording(shown, hashes)


def files_of(path: Path, shown: str) -> list[tuple[Path, str, str]]:
    """Return the files of a recording in order: each with its name within it and for messages.

    Raises
    ------
    InputError
        If there are none.
    """
    with _clearly(shown):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            message = "there is no such file or folder (paths start at the file that names them)"
            raise InputError(message, shown) from None
        except ValueError as error:
            raise InputError(f"is no path: {error}", shown) from None
    endings = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} (or one of these with .gz)"
    if not stat.S_ISDIR(mode):
        if _kind_of(path.name)[0] is None:
            raise InputError(f"must be a folder, or a file that ends in {endings}", shown)
        if not stat.S_ISREG(mode):
            raise InputError("is no ordinary file", shown)
        return [(path, path.name, shown)]
    if (path / LEDGER).is_file() and (path / PROCESSED).is_dir():
        path, shown = path / PROCESSED, f"{shown.rstrip('/')}/{PROCESSED}"
    found = sorted(_walked(path, shown))
    if not found:
        raise InputError(f"is a folder without recordings: no file in it ends in {endings}", shown)
    return [(path / name, name, f"{shown.rstrip('/')}/{name}") for name in found]


def topic_in(request: str) -> str:
    """Return the topic that a request or a path names; empty if it names none.

    That is its ``category`` or ``q``, or else the innermost folder or name with one category in it.

    Examples
    --------
    >>> topic_in("/v2/everything?q=solar+power"), topic_in("top-headlines/category/health/in.json")
    ('solar power', 'health')
    >>> topic_in("2024/sports-us.json"), topic_in("2024/us.json")
    ('sports', '')
    """
    try:
        parts = urlsplit(request)
        asked = parse_qs(parts.query)
    except ValueError:
        return ""
    for name in ("category", "q"):
        if asked.get(name, [""])[0].strip():
            return asked[name][0].strip()
    for segment in reversed(parts.path.split("/")):
        words = set(re.split(r"[^a-z]+", segment.lower())) & set(CATEGORIES)
        if len(words) == 1:
            return words.pop()
    return ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a recording one is: a file's name within it and in messages, and the layout."""

    name: str
    shown: str
    layout: Layout

    def topic(self, request: str, line: int) -> str:
        """Return under which topic the articles of a response were asked."""
        for asked in filter(None, (request, self.name)):
            for pattern, topic in self.layout.topics.items():
                if fnmatch.fnmatchcase(asked, pattern):
                    return topic
        found = topic_in(request) or topic_in(self.name)
        if found:
            return found
        about = request.split("?")[0] or self.name
        folder = "" if request else about.rpartition("/")[0]
        such = json.dumps({f"{folder}/*" if folder else about: "sports"})
        message = f"does not say which topic was asked for: give topics, such as {such}"
        if self.name.startswith("newsapi_") and not request:
            message += "; live mode keeps topics in its folder processed"
        raise InputError(message, f"{self.shown}:{line}" if line else self.shown)


class _Gathered:
    """Takes entries in order of reading, keeps those that can be used and counts the others."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.topics, self.times, self.ends = array("i"), array("q"), array("q", [0])
        self.texts = bytearray()
        self.keys: set[bytes] = set()
        self.entries = 0
        self.dropped: Counter[str] = Counter()
        self.responses: Counter[str] = Counter()

    def take(self, entries: Iterable[Mapping[str, Any]], topic: str) -> None:
        """Take entries of one topic; without topic they are dropped."""
        for entry in entries:
            self.entries += 1
            found = article_of(entry, topic, 0) if topic else "no_topic"
            if isinstance(found, str):
                self.dropped[found] += 1
            elif (key := found.key) in self.keys:
                self.dropped["duplicate"] += 1
            else:
                self.keys.add(key)
                self.topics.append(self.names.setdefault(topic, len(self.names)))
                self.times.append(found.published)
                for text in (found.title, found.description):
                    self.texts += text.encode()
                    self.ends.append(len(self.texts))

    def count(self, reading: Reading) -> None:
        """Count a response."""
        self.responses[reading.code or reading.status] += 1

    def recording(self, shown: str, hashes: list[tuple[str, str]]) -> Recording:
        """Return what was taken, in order of publication.

        Raises
        ------
        InputError
            If nothing can be learned from it.
        """
        dropped = {"no_topic": self.dropped["no_topic"]} if self.dropped["no_topic"] else {}
        dropped |= ordered(self.dropped)
        notes = tuple(self._notes(dropped))
        if not self.times:
            reasons = f": {'; '.join(notes)}" if notes else ": it is empty"
            raise InputError(f"holds no article that can be used{reasons}", shown)
        if len(self.names) == 1:
            message = f"all its articles have the topic {next(iter(self.names))!r}, so there is"
            raise InputError(f"{message} nothing to predict: name more topics", shown)
        times = np.frombuffer(self.times, dtype=np.int64)
        order = np.argsort(times, kind="stable")
        joined = "".join(f"{digest}  {name}\n" for name, digest in hashes)
        digest = hashes[0][1] if len(hashes) == 1 else hashlib.sha256(joined.encode()).hexdigest()
        facts: dict[str, Any] = {"files": len(hashes)}
        if self.responses:
            facts["responses"] = dict(sorted(self.responses.items()))
        return Recording(
            times[order],
            np.frombuffer(self.topics, dtype=np.int32)[order],
            tuple(self.names),
            bytes(self.texts),
            np.frombuffer(self.ends, dtype=np.int64),
            order,
            digest,
            {**facts, "entries": self.entries, "dropped": dropped},
            notes,
        )

    def _notes(self, dropped: Mapping[str, int]) -> Iterator[str]:
        """Yield in a line each what is not used."""
        useless = {code: n for code, n in sorted(self.responses.items()) if code != "ok"}
        if useless:
            most = f"{sum(useless.values()):,} of {self.responses.total():,}"
            yield f"{most} responses hold no articles: {counted(useless)}"
        if dropped:
            most = f"{sum(dropped.values()):,} of {self.entries:,}"
            yield f"{most} articles were dropped: {counted(dropped)}"


def _read_file(stream: IO[bytes], kind: str | None, place: _Place, gathered: _Gathered) -> None:
    """Read one file."""
    if kind == ".csv":
        _read_table(stream, place, gathered)
    elif kind == ".json":
        _read_answer(stream.read(), 0, place, gathered)
    else:
        for number, line in enumerate(stream, 1):
            if not line.isspace():
                _read_answer(line, number, place, gathered)


def _read_answer(text: bytes, line: int, place: _Place, gathered: _Gathered) -> None:
    """Read a response, bare or in an envelope that says what was asked."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    request = ""
    if isinstance(answer, dict) and "body" in answer and "articles" not in answer:
        said = answer.get("request")
        request, body = said if isinstance(said, str) else "", answer["body"]
        whole = isinstance(body, str)
        reading = read_body(body.encode("utf-8", "replace")) if whole else read_answer(body)
    else:
        reading = read_body(text) if answer is None else read_answer(answer)
    gathered.count(reading)
    if reading.entries:
        gathered.take(reading.entries, place.topic(request, line))


def _read_table(stream: IO[bytes], place: _Place, gathered: _Gathered) -> None:
    """Read a CSV of articles."""
    rows = csv.reader(_decoded(stream), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        at = _columns(header, place)
        topic = place.topic("", 0) if at["topic"] is None else ""
        for row in rows:
            if len(row) != len(header):
                message = f"has {len(row)} cells, the header {len(header)}"
                raise InputError(message, f"{place.shown}:{rows.line_num}")
            entry = {name: row[column] for name, column in at.items() if column is not None}
            gathered.take([entry], topic or entry.get("topic", "").strip())
    except UnicodeDecodeError:
        raise InputError("is not UTF-8", f"{place.shown}:{rows.line_num + 1}") from None
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", f"{place.shown}:{rows.line_num}") from None


def _decoded(stream: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a file as texts, without the mark that some programs put first."""
    mark = "\ufeff"
    for line in stream:
        yield line.decode().removeprefix(mark)
        mark = ""


def _columns(header: list[str], place: _Place) -> dict[str, int | None]:
    """Return where in the rows of a CSV the fields of an article stand."""
    layout = place.layout
    asked: list[tuple[str, tuple[str | int, ...], str | None, tuple[str, ...]]] = [
        ("topic", ("label",), layout.label, LABELS),
        ("publishedAt", ("time",), layout.time, TIMES),
    ]
    for needed in get_args(Needed):
        asked.append((needed, ("columns", needed), layout.columns.get(needed), (needed,)))
    found: dict[str, int | None] = {}
    for name, setting, given, usual in asked:
        names = (given,) if given is not None else usual
        column = next((one for one in names if one in header), None)
        if column is None and (given is not None or name != "topic"):
            near = difflib.get_close_matches(names[0], header, n=1)
            wanted, has = " or ".join(map(repr, names)), listed(header)
            fix = f"name it under {'.'.join(map(str, setting))}" if given is None else ""
            fix = f"did you mean {near[0]!r}?" if near else fix
            message = f"has no column {wanted}, only {has}{f'; {fix}' if fix else ''}"
            raise InputError(message, place.shown, () if given is None else setting)
        found[name] = None if column is None else header.index(column)
    return found


def _walked(path: Path, shown: str) -> Iterator[str]:
    """Yield the names of the files to read below a folder; hidden ones are left out."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", shown)

    for folder, inner, names in os.walk(path, onerror=refuse):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if not name.startswith(".") and _kind_of(name)[0] and file.is_file():
                yield file.relative_to(path).as_posix()


def _kind_of(name: str) -> tuple[str | None, bool]:
    """Return the ending of a file that says what is in it, None if there is none, and if zipped."""
    lowered = name.lower()
    plain = lowered.removesuffix(".gz")
    return next((end for end in ENDINGS if plain.endswith(end)), None), plain != lowered


def counted(counts: Mapping[str, int]) -> str:
    """Return counts in a line, the highest first.

    Examples
    --------
    >>> counted({"removed": 2, "duplicate": 1_000})
    'duplicate 1,000, removed 2'
    """
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count:,}" for name, count in ranked)


@contextmanager
def _clearly(shown: str) -> Iterator[None]:
    """Turn what goes wrong in reading a file into a sentence about it."""
    try:
        yield
    except FAILURES as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot be read: {said}", shown) from None
