"""What NewsAPI would answer: articles that have appeared, and its rules for asking for them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.events import iso
from engine.quantities import moment_micros
from scenarios.newsroom import DAY, TOPICS, Story

KEPT = 50_000
"""How many articles a newsstand holds; older ones are forgotten."""
RESULTS_MAX = 100
"""How many results the free plan shows of one question, and the largest page."""
PAGE_SIZE = 20
BACK_DAYS = 30
"""How far back the free plan reaches."""
COUNTRY, LANGUAGE = "us", "en"
"""The one country and the one language that this newsroom writes for."""
SORTS = ("relevancy", "popularity", "publishedAt")


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """What NewsAPI says instead of articles.

    Parameters
    ----------
    status
        The HTTP status.
    code, message
        NewsAPI's own.
    """

    status: int
    code: str
    message: str

    def body(self) -> dict[str, Any]:
        """Return the body that NewsAPI sends."""
        return {"status": "error", "code": self.code, "message": self.message}


class Newsstand:
    """The articles that have appeared so far, in the order in which they did.

    Parameters
    ----------
    stories
        All that will ever appear, in order; taken one by one as time goes on.

    Examples
    --------
    >>> story = Story("science", None, 60_000_000, {"title": "Moon found"})
    >>> stand = Newsstand([story])
    >>> stand.open_until(59_000_000), stand.open_until(60_000_000)
    (0, 1)
    """

    def __init__(self, stories: Iterable[Story]) -> None:
        self._coming: Iterator[Story] = iter(stories)
        self._next = next(self._coming, None)
        self.stories: list[Story] = []

    def open_until(self, now: int) -> int:
        """Let appear what has by `now`, microseconds since 1970; return how many have so far."""
        while self._next is not None and self._next.published <= now:
            self.stories.append(self._next)
            self._next = next(self._coming, None)
        if len(self.stories) > 2 * KEPT:
            del self.stories[:-KEPT]
        return len(self.stories)

    def newest(self, now: int) -> Iterator[Story]:
        """Yield what has appeared by `now`, the newest first."""
        count = bisect_right(self.stories, now, key=lambda story: story.published)
        return reversed(self.stories[:count])


def answer(stand: Newsstand, endpoint: str, asked: Mapping[str, str], now: int) -> dict[str, Any]:
    """Return the body that answers a question.

    Parameters
    ----------
    stand
        Where articles come from.
    endpoint
        ``top-headlines`` or ``everything``.
    asked
        The parameters of the question.
    now
        The time of the news, microseconds since 1970.

    Raises
    ------
    Refusal
        If NewsAPI would refuse the question.

    Examples
    --------
    >>> stand = Newsstand([])
    >>> answer(stand, "top-headlines", {"category": "science"}, now=0)["totalResults"]
    0
    """
    stand.open_until(now)
    if endpoint == "top-headlines":
        found = headlines(stand, asked, now)
    elif endpoint == "everything":
        found = search(stand, asked, now)
    else:
        raise Refusal(404, "notFound", "There is no such endpoint.")
    low, high = page(asked)
    articles = [dict(story.entry) for story in found[low:high]]
    return {"status": "ok", "totalResults": len(found), "articles": articles}


def headlines(stand: Newsstand, asked: Mapping[str, str], now: int) -> list[Story]:
    """Return what ``/v2/top-headlines`` lists, the newest first, `RESULTS_MAX` at most."""
    given = [
        name for name in ("sources", "q", "language", "country", "category") if asked.get(name)
    ]
    if not given:
        raise Refusal(
            400,
            "parametersMissing",
            "Required parameters are missing. Please set any of the following parameters and try "
            "again: sources, q, language, country, category.",
        )
    category = asked.get("category")
    if asked.get("sources") and (category or asked.get("country")):
        raise invalid("You cannot mix the sources parameter with the country or category ones.")
    if category and category not in TOPICS:
        raise invalid(f"The category must be one of {', '.join(TOPICS)}.")
    if not at_home(asked):
        return []
    found: list[Story] = []
    for story in stand.newest(now):
        if (not category or category in (story.topic, story.also)) and matches(story, asked):
            found.append(story)
        if len(found) == RESULTS_MAX:
            break
    return found


def search(stand: Newsstand, asked: Mapping[str, str], now: int) -> list[Story]:
    """Return what ``/v2/everything`` finds, the newest first whatever `sortBy` says."""
    if not any(asked.get(name) for name in ("q", "sources", "domains")):
        raise Refusal(
            400,
            "parametersMissing",
            "Required parameters are missing, the scope of your search is too broad. Please set "
            "any of the following required parameters and try again: q, qInTitle, sources, "
            "domains.",
        )
    if asked.get("sortBy", "publishedAt") not in SORTS:
        raise invalid(f"sortBy must be one of {', '.join(SORTS)}.")
    earliest = now - BACK_DAYS * DAY
    since, until = moment(asked, "from", earliest), moment(asked, "to", now)
    if since < earliest // DAY * DAY:
        raise Refusal(
            426,
            "parameterInvalid",
            "You are trying to request results too far in the past. Your plan permits you to "
            f"request articles as far back as {iso(earliest)[:10]}, but you have requested "
            f"{iso(since)[:10]}. You may need to upgrade to a paid plan.",
        )
    if not at_home(asked):
        return []
    newest = stand.newest(min(until, now))
    return [story for story in newest if story.published >= since and matches(story, asked)]


def page(asked: Mapping[str, str]) -> tuple[int, int]:
    """Return the slice of the results that a page is.

    Examples
    --------
    >>> page({"pageSize": "10", "page": "3"})
    (20, 30)
    """
    size, number = whole(asked, "pageSize", PAGE_SIZE), whole(asked, "page", 1)
    if size > RESULTS_MAX:
        raise invalid(f"The pageSize parameter must be between 1 and {RESULTS_MAX}.")
    low, high = (number - 1) * size, number * size
    if high > RESULTS_MAX:
        raise Refusal(
            426,
            "maximumResultsReached",
            "You have requested too many results. Developer accounts are limited to a max of "
            f"{RESULTS_MAX} results. You are trying to request results {low} to {high}. Please "
            "upgrade to a paid plan if you need more results.",
        )
    return low, high


def matches(story: Story, asked: Mapping[str, str]) -> bool:
    """Return whether an article is of the sources, domains and words that are asked for.

    Words and quoted phrases must all be there, unless ``OR`` stands between them.
    """
    entry = story.entry
    names = (asked.get("sources") or "").lower().split(",")
    if names != [""] and entry["source"]["id"] not in names:
        return False
    domains = (asked.get("domains") or "").lower().split(",")
    if domains != [""] and entry["url"].split("/")[2] not in domains:
        return False
    fields = (asked.get("searchIn") or "title,description,content").split(",")
    text = " ".join(str(entry.get(field) or "") for field in fields).lower()
    wanted = (asked.get("q") or "").lower().replace(" and ", " ")
    either = [re.findall(r'"([^"]+)"|([^\s"]+)', part) for part in wanted.split(" or ")]
    return any(all((phrase or word) in text for phrase, word in part) for part in either)


def at_home(asked: Mapping[str, str]) -> bool:
    """Return whether the country and the language asked for are those of this newsroom."""
    return asked.get("country", COUNTRY) == COUNTRY and asked.get("language", LANGUAGE) == LANGUAGE


def whole(asked: Mapping[str, str], name: str, default: int) -> int:
    """Return a parameter that is a number from 1 on."""
    text = asked.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise invalid(f"The {name} parameter must be a whole number from 1 on.")
    return int(text)


def moment(asked: Mapping[str, str], name: str, default: int) -> int:
    """Return a parameter that is a moment, microseconds since 1970."""
    text = asked.get(name)
    if not text:
        return default
    try:
        return moment_micros(text)
    except ValueError:
        raise invalid(f"The {name} parameter must be a date such as 2024-01-31.") from None


def invalid(message: str) -> Refusal:
    """Return the refusal of a parameter's value."""
    return Refusal(400, "parameterInvalid", message)
