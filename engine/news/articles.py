"""What a response of NewsAPI holds: its articles, each kept as a row or dropped for one reason.

Nothing in a response is trusted: not that it is JSON, nor that its fields are there, nor their
types. Whatever comes in, every entry ends as one `Article` or under one of `REASONS`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from engine.errors import InputError
from engine.events import EPOCH, iso
from engine.quantities import moment_micros

REASONS = (
    "not_an_article",
    "removed",
    "no_title",
    "no_description",
    "no_url",
    "too_long",
    "bad_url",
    "bad_published",
    "duplicate",
)
"""Why an entry is dropped, in the order in which it is asked; the first that holds counts."""
COLUMNS = (
    "topic", "fetched_at", "author", "title", "description", "url", "urlToImage", "published_at",
    "published_year", "published_month", "published_day", "published_weekday",
    "title_word_count", "description_word_count",
)  # fmt: skip
"""The columns of processed rows; what is after `published_at` follows from what is before."""
Needed = Literal["title", "description", "url"]
"""The texts that an article must have."""
GIVEN = 8
"""So many of the columns are read back."""
REMOVED = "[Removed]"
"""What NewsAPI puts in place of the texts of an article that was withdrawn."""
REMOVED_HOST = "removed.com"
TEXT_MAX = 100_000
"""No text of an article is longer, so that any CSV reader takes it."""
MESSAGE_MAX = 300
TIME_MIN, TIME_MAX = moment_micros("0001-01-01"), moment_micros("9000-01-01")
SURROGATE = re.compile("[\ud800-\udfff]")
"""Halves of characters: JSON can spell them, UTF-8 cannot."""
UNSAFE = re.compile(r"[\x00-\x1f\x7f]|^[^:/?#]+://[^/?#]*\s")
"""What no web address has in it: control characters, and blanks in the host."""


@dataclass(frozen=True, slots=True)
class Article:
    """An article as a processed row.

    Parameters
    ----------
    topic
        The topic that it was asked under: the label.
    fetched
        When it was fetched, microseconds since 1970.
    author
        Its author; empty where there is none.
    title, description
        Its texts as they came.
    url
        Its address, http or https.
    image
        The address of its picture; empty where there is none.
    published
        When it was published, microseconds since 1970.

    Examples
    --------
    >>> article = Article("sport", 0, "", "Rain stops play", "Again.", "https://a.example", "", 0)
    >>> article.title_word_count, article.published_year, article.published_weekday
    (3, 1970, 3)
    """

    topic: str
    fetched: int
    author: str
    title: str
    description: str
    url: str
    image: str
    published: int

    @property
    def key(self) -> bytes:
        """What tells it from others: see `key_of`."""
        return key_of(self.title, self.url)

    @property
    def published_year(self) -> int:
        """Year in which it was published (UTC)."""
        return self._published.year

    @property
    def published_month(self) -> int:
        """Month in which it was published, 1 to 12 (UTC)."""
        return self._published.month

    @property
    def published_day(self) -> int:
        """Day of the month on which it was published (UTC)."""
        return self._published.day

    @property
    def published_weekday(self) -> int:
        """Day of the week on which it was published, 0 is Monday (UTC)."""
        return self._published.weekday()

    @property
    def title_word_count(self) -> int:
        """Number of words in the title, as blanks separate them."""
        return len(self.title.split())

    @property
    def description_word_count(self) -> int:
        """Number of words in the description, as blanks separate them."""
        return len(self.description.split())

    @property
    def _published(self) -> datetime:
        return EPOCH + timedelta(microseconds=self.published)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the body of a response holds.

    Parameters
    ----------
    status
        ``ok``; ``error``: NewsAPI says what is wrong; ``unusable``: it is no answer of NewsAPI.
    code
        NewsAPI's code of an error. Of an unusable body: ``empty``, ``html``, ``truncated``,
        ``not_json`` or ``no_articles``.
    message
        NewsAPI's message, or what is wrong; never the body.
    entries
        The articles as they came; ``{}`` for one that is no object.
    total
        How many articles NewsAPI says it has; None if it does not.
    """

    status: Literal["ok", "error", "unusable"]
    code: str
    message: str
    entries: tuple[Mapping[str, Any], ...]
    total: int | None


@dataclass(frozen=True, slots=True)
class Sorted:
    """The entries of a response: rows, and how many were dropped why.

    Parameters
    ----------
    articles
        The rows, in order.
    keys
        The key of each article.
    dropped
        Reason to number of entries, without zeros, in the order of `REASONS`.
    """

    articles: tuple[Article, ...]
    keys: tuple[bytes, ...]
    dropped: Mapping[str, int]


def key_of(title: str, url: str) -> bytes:
    """Return the 16 bytes that two articles share if they have the same title and url.

    Examples
    --------
    >>> key_of("A", "https://a.example") == key_of("A", "https://b.example")
    False
    """
    return hashlib.blake2b(f"{title}\0{url}".encode("utf-8", "replace"), digest_size=16).digest()


def read_body(body: bytes) -> Reading:
    """Read the body of a response; no body makes it fail.

    Examples
    --------
    >>> read_body(b'{"status": "ok", "totalResults": 1, "articles": [{"title": "A"}]}').entries
    ({'title': 'A'},)
    >>> read_body(b'{"status": "error", "code": "rateLimited", "message": "Too many."}').code
    'rateLimited'
    >>> read_body(b"<html>").message
    'the body is HTML, not JSON'
    """
    try:
        answer = json.loads(body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return _not_json(body)
    return read_answer(answer)


def read_answer(answer: Any) -> Reading:
    """Read the body of a response that was JSON: the same for what is parsed already.

    Examples
    --------
    >>> read_answer({"articles": []}).status, read_answer([]).code
    ('ok', 'no_articles')
    """
    if not isinstance(answer, dict):
        return _unusable("no_articles", "the body is no JSON object")
    if answer.get("status") == "error":
        code, message = (_said(answer.get(name)) for name in ("code", "message"))
        return Reading("error", code or "unknown", message, (), None)
    articles, total = answer.get("articles"), answer.get("totalResults")
    if not isinstance(articles, list):
        return _unusable("no_articles", "the body has no list of articles")
    entries = tuple(entry if isinstance(entry, dict) else {} for entry in articles)
    counted = isinstance(total, int) and not isinstance(total, bool) and 0 <= total < 2**53
    return Reading("ok", "", "", entries, total if counted else None)


def sort_out(reading: Reading, topic: str, fetched: int, seen: Callable[[bytes], bool]) -> Sorted:
    """Make rows of the entries that are complete, valid and new, and count the others by reason.

    Parameters
    ----------
    reading
        The response.
    topic
        What was asked for.
    fetched
        When it was fetched, microseconds since 1970.
    seen
        Whether an article with this key came before, in another response.

    Examples
    --------
    >>> body = b'''{"articles": [{"title": "A", "description": "B", "url": "https://a.example",
    ...     "publishedAt": "2024-02-29T12:00:00Z"}, {"title": "A", "description": null}, 7]}'''
    >>> found = sort_out(read_body(body), "science", fetched=0, seen=lambda key: False)
    >>> found.articles[0].published_day, dict(found.dropped)
    (29, {'not_an_article': 1, 'no_description': 1})
    """
    rows: dict[bytes, Article] = {}
    dropped: Counter[str] = Counter()
    for entry in reading.entries:
        found = article_of(entry, topic, fetched)
        if isinstance(found, str):
            dropped[found] += 1
        elif (key := found.key) in rows or seen(key):
            dropped["duplicate"] += 1
        else:
            rows[key] = found
    return Sorted(tuple(rows.values()), tuple(rows), ordered(dropped))


def article_of(entry: Mapping[str, Any], topic: str, fetched: int) -> Article | str:
    """Return an entry as a row, or the reason why it is none.

    Examples
    --------
    >>> article_of({"title": "[Removed]", "url": "https://removed.com"}, "science", 0)
    'removed'
    """
    if not entry:
        return "not_an_article"
    title, description = _text(entry.get("title")), _text(entry.get("description"))
    url = _text(entry.get("url")).strip()
    author, image = _text(entry.get("author")), _text(entry.get("urlToImage"))
    host = _host(url)
    if REMOVED in (title.strip(), description.strip()) or host == REMOVED_HOST:
        return "removed"
    for reason, text in (("no_title", title), ("no_description", description), ("no_url", url)):
        if not text:
            return reason
    if max(map(len, (title, description, url, author, image))) > TEXT_MAX:
        return "too_long"
    if not host:
        return "bad_url"
    published = _moment(entry.get("publishedAt"))
    if published is None:
        return "bad_published"
    return Article(topic, fetched, author, title, description, url, image, published)


def ordered(dropped: Mapping[str, int]) -> dict[str, int]:
    """Return counts by reason without zeros, in the order of `REASONS`.

    Examples
    --------
    >>> ordered({"duplicate": 2, "no_url": 0, "removed": 1})
    {'removed': 1, 'duplicate': 2}
    """
    return {reason: dropped[reason] for reason in REASONS if dropped.get(reason)}


def write_rows(articles: Iterable[Article]) -> str:
    r"""Return rows as the text of a CSV file; texts are quoted, lines end in ``\n``.

    Examples
    --------
    >>> article = Article("sport", 0, "", 'So "it" is', "A\nB", "https://a.example", "", 0)
    >>> read_rows(write_rows([article])) == [article]
    True
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in articles:
        writer.writerow(
            [one.topic, iso(one.fetched), one.author, one.title, one.description, one.url]
            + [one.image, iso(one.published)]
            + [getattr(one, name) for name in COLUMNS[GIVEN:]]
        )
    return text.getvalue()


def read_rows(text: str) -> list[Article]:
    """Return the rows of a CSV text that `write_rows` made.

    Raises
    ------
    InputError
        If it is something else; the message names the line.
    """
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    articles = []
    try:
        header = next(rows, [])
        if tuple(header) != COLUMNS:
            raise InputError(f"the first line must name the columns {', '.join(COLUMNS)}")
        for row in rows:
            topic, fetched, author, title, description, url, image, published = row[:GIVEN]
            times = moment_micros(fetched), moment_micros(published)
            if len(row) != len(COLUMNS):
                raise ValueError(f"{len(row)} cells, not {len(COLUMNS)}")
            articles.append(
                Article(topic, times[0], author, title, description, url, image, times[1])
            )
    except (csv.Error, ValueError) as error:
        raise InputError(f"line {rows.line_num}: no processed article: {error}") from None
    return articles


def _not_json(body: bytes) -> Reading:
    """Say in what way a body is no JSON."""
    text = body.strip()
    if not text:
        return _unusable("empty", "the body is empty")
    if text.startswith(b"<"):
        return _unusable("html", "the body is HTML, not JSON")
    if text.startswith(b"{") and not text.endswith(b"}"):
        return _unusable("truncated", "the body is cut off")
    return _unusable("not_json", "the body is not JSON")


def _unusable(code: str, message: str) -> Reading:
    return Reading("unusable", code, message, (), None)


def _said(text: Any) -> str:
    """Return a text of NewsAPI on one line, of a bearable length."""
    return " ".join(_text(text).split())[:MESSAGE_MAX]


def _text(value: Any) -> str:
    """Return a text as UTF-8 can hold it; empty if it is blank or none at all."""
    if not isinstance(value, str) or not value or value.isspace():
        return ""
    return value if value.isascii() else SURROGATE.sub("\ufffd", value)


def _host(url: str) -> str:
    """Return the host of a web address; empty if it is none."""
    if UNSAFE.search(url):
        return ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return ""
    named = host is not None and any(map(str.isalnum, host))
    return host or "" if named and parts.scheme in ("http", "https") else ""


def _moment(value: Any) -> int | None:
    """Return an ISO 8601 moment in microseconds since 1970; None if it is none."""
    if not isinstance(value, str):
        return None
    try:
        micros = moment_micros(value.strip())
    except (ValueError, OverflowError):
        return None
    return micros if TIME_MIN <= micros < TIME_MAX else None
