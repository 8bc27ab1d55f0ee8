"""Asks NewsAPI about each topic in turn and enters what comes into the ledger.

A *round* is one *turn* of each topic; a turn is one request, or more where a topic has pages. The
topic whose last turn is longest ago comes next, across restarts too, so all get the same share.
A round takes at least the interval, and as long as it takes for the plan's budget to last.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from engine.errors import MachineError
from engine.events import iso
from engine.news.articles import Reading, Sorted, read_body, sort_out
from engine.news.client import RATE_LIMITED, Answer, Client
from engine.news.ledger import Cursor, Ledger, Request, Result
from engine.news.quota import Budget, round_micros
from engine.news.settings import NewsApi, Topic
from engine.news.watch import Watch
from engine.quantities import duration_micros

MESSAGE_MAX = 200
"""So much of NewsAPI's messages is kept."""
SLICE_SECONDS = 60.0
"""So often a long wait looks at the clock, which may have been put right."""
MICROS = 1_000_000
NOTABLE_MICROS = 10 * MICROS
"""A round that begins sooner than this is not announced."""
END_OF_PAGES = "maximumResultsReached"
LIMIT_MICROS = 24 * 3600 * MICROS
"""How long a limit on pages is taken for granted."""
REFUSED = (400, 426)
What = Literal[
    "articles", "key_refused", "topic_refused", "rate_limited", "bad_answer", "request_failed"
]


def meaning(answer: Answer, reading: Reading) -> What:
    """Return what an answer means for us.

    Examples
    --------
    >>> meaning(Answer(401), Reading("error", "apiKeyInvalid", "", (), None))
    'key_refused'
    >>> meaning(Answer(200), Reading("unusable", "html", "", (), None))
    'bad_answer'
    """
    if answer.problem or not answer.status:
        return "request_failed"
    if answer.status == 200:
        return "articles" if reading.status == "ok" else "bad_answer"
    if answer.status == RATE_LIMITED:
        return "rate_limited"
    if answer.status == 401:
        return "key_refused"
    told = reading.status == "error" and 400 <= answer.status < 500
    return "topic_refused" if told or answer.status in REFUSED else "request_failed"


@dataclass(frozen=True, slots=True)
class Round:
    """A round over all topics.

    Parameters
    ----------
    at
        When it began, microseconds since 1970.
    after
        The last request before it.
    """

    at: int
    after: int


class Agent:
    """Ingests articles; made to `run` in a thread of its own, which may end at any moment.

    Parameters
    ----------
    settings
        How to ask NewsAPI.
    topics
        What to ask.
    interval_micros
        The least time from round to round.
    ledger
        Where it all goes.
    client
        Makes the requests.
    clock
        Returns the microseconds since 1970.
    stop
        Ends the run, at once, when it is set: a request that is under way is given up.
    tell
        Called with each line that people should see.
    """

    def __init__(
        self,
        settings: NewsApi,
        topics: Sequence[Topic],
        interval_micros: int,
        ledger: Ledger,
        client: Client,
        clock: Callable[[], int],
        stop: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        self.failure = ""
        """Why nothing can work any more, in one sentence; empty as long as it may."""
        self._settings, self._topics, self._interval = settings, tuple(topics), interval_micros
        self._ledger, self._client, self._clock = ledger, client, clock
        self._stop, self._tell = stop, tell
        self._watch = Watch.of(ledger.recall("watch") or {})
        self._rest: int = ledger.recall("rest") or 0
        self._limits: dict[str, list[int]] = ledger.recall("limits") or {}
        self._refused: dict[str, int] = {}
        self._round: Round | None = None
        self._came: dict[str, tuple[int, int]] = {}  # articles, and new ones, not told of yet

    def run(self, rounds: int | None) -> None:
        """Ingest until stopped, or for so many rounds; see `failure` then.

        One round alone does not wait for anything: it asks about as many topics as the plan
        allows at once, those that are longest unasked first.
        """
        try:
            self._take_up()
            begun = self._ledger.recall("round") if rounds is None else None
            self._round = Round(**begun) if begun else self._begin()
            done = 0
            while self._complete(patient=rounds != 1):
                done += 1
                if done == rounds or not self._wait(self._next_round()):
                    return
                self._round = self._begin()
        except (OSError, MachineError) as error:
            if not self._stop.is_set():  # then the ledger may be closed already
                self.failure = f"the data folder {self._ledger.folder} cannot be used: {error}"
        except BaseException as error:
            self.failure = f"ingestion broke off with an unexpected {type(error).__name__}"
            raise

    # --- rounds -----------------------------------------------------------------------------

    def _begin(self) -> Round:
        new = Round(self._clock(), self._ledger.last())
        self._ledger.remember({"round": {"at": new.at, "after": new.after}})
        return new

    def _complete(self, patient: bool) -> bool:
        """Give each topic its turn that did not have it in this round; return whether all had."""
        assert self._round is not None
        while not self._stop.is_set() and not self.failure:
            waiting = self._waiting(self._round)
            if not waiting:
                self._sum_up()
                return True
            free = self._free()
            if free <= self._clock():
                self._turn(waiting[0])
            elif patient:
                self._sum_up()
                self._tell(f"waiting until {shown(free)}; {self._left()}")
                self._wait(self._free)
            else:
                self._sum_up()
                self._tell(
                    f"not asked this time: {', '.join(topic.name for topic in waiting)}; "
                    f"the next request may be made at {shown(free)}"
                )
                return False
        self._sum_up()
        return False

    def _sum_up(self) -> None:
        """Tell what came since this was told last, topic by topic."""
        if self._came:
            articles = sum(articles for articles, _ in self._came.values())
            new = sum(new for _, new in self._came.values())
            each = ", ".join(f"{topic} {new:,}" for topic, (_, new) in self._came.items() if new)
            told = f"{articles:,} article{'s' * (articles != 1)}, {new:,} new"
            self._tell(f"{told}: {each}" if each else told)
            self._came = {}

    def _waiting(self, current: Round) -> list[Topic]:
        """Return the topics that have their turn in a round still before them, in order."""
        turns, now, per = self._ledger.turns(), self._clock(), self._settings.plan.per_micros
        refused = {name for name, at in self._refused.items() if 0 <= now - at < per}
        waiting = [
            topic
            for topic in self._topics
            if topic.name not in refused and turns.get(topic.name, 0) <= current.after
        ]
        return sorted(waiting, key=lambda topic: turns.get(topic.name, 0))

    def _free(self) -> int:
        """Return when the next request may be made, as the clock is."""
        now = self._clock()
        self._rest = min(self._rest, now + self._settings.plan.per_micros)
        return max(self._rest, self._ledger.budget(self._settings.plan, now).next_at)

    def _next_round(self) -> Callable[[], int]:
        """Return when, as the clock is, the next round may begin."""
        assert self._round is not None
        requests = max(len(self._topics), self._ledger.last() - self._round.after)
        length = round_micros(requests, self._settings.plan, self._interval)
        began = self._round.at

        def due() -> int:
            nonlocal began
            began = min(began, self._clock())  # which may have been put back
            return began + length

        if due() > self._clock() + NOTABLE_MICROS:
            self._tell(f"next round at {shown(due())}; {self._left()}")
        return due

    def _wait(self, until: Callable[[], int]) -> bool:
        """Wait for a moment that may move; return False if we are to stop."""
        while not self._stop.is_set():
            left = until() - self._clock()
            if left <= 0:
                return True
            self._stop.wait(min(left / MICROS, SLICE_SECONDS))
        return False

    # --- a turn -----------------------------------------------------------------------------

    def _turn(self, topic: Topic) -> None:
        """Ask about a topic, page by page, until there is no more or something is wrong."""
        question = json.dumps([topic.endpoint, topic.parameters()])
        articles, new = 0, 0
        while True:
            cursor = self._ledger.cursor(topic.name, question)
            found = self._ask(topic, cursor)
            if found is None:
                return
            result, problem = self._digest(*found, cursor)
            articles, new = articles + result.entries, new + len(result.articles)
            if not result.over and self._budget().left and not self._stop.is_set():
                continue
            if articles or not problem:
                self._came[topic.name] = articles, new
            if problem:
                self._tell(f"{topic.name}: {problem}")
            return

    def _ask(self, topic: Topic, cursor: Cursor) -> tuple[Request, Answer] | None:
        """Make a request, and again if it may help; return None if there is no answer to digest.

        Each try is entered, and counts against the plan, before it is made.
        """
        plan, parameters = self._settings.plan, self._parameters(topic, cursor)
        last: tuple[Request, Answer] | None = None
        while True:
            attempt = last[0].attempt + 1 if last else 1
            request = self._ledger.ask(topic.name, cursor.page, attempt, plan, self._clock())
            if request is None:
                return last
            if last:
                self._ledger.drop(last[0], "retried")
            answer = self._client.get(topic.endpoint, parameters, self._stop)
            if answer.stopped:
                self._ledger.drop(request, "lost")
                return None
            self._ledger.answered(request, answer.status, answer.body, answer.problem)
            last = request, answer
            pause = self._client.pause(answer, attempt)
            if pause is None:
                return last
            if self._stop.wait(pause / MICROS):
                self._ledger.drop(request, "retried")
                return None

    def _parameters(self, topic: Topic, cursor: Cursor) -> dict[str, str]:
        """Return what goes into the URL."""
        found = topic.parameters() | {"pageSize": str(self._settings.page_size)}
        if cursor.page > 1:
            found["page"] = str(cursor.page)
        if cursor.since is not None:
            found["from"] = iso(cursor.since)[:19]
        return found

    def _take_up(self) -> None:
        """Go on with requests that a crash interrupted."""
        known = {topic.name: topic for topic in self._topics}
        for request in self._ledger.unfinished():
            body, topic = self._ledger.body(request), known.get(request.topic)
            if body is None or request.status is None or topic is None:
                self._ledger.drop(request, "lost")
                continue
            answer = Answer(request.status, body, request.problem)
            if meaning(answer, read_body(body)) != "articles":
                self._ledger.drop(request, "retried")  # what was wrong may be right by now
                continue
            question = json.dumps([topic.endpoint, topic.parameters()])
            self._digest(request, answer, self._ledger.cursor(topic.name, question))

    # --- what an answer means ---------------------------------------------------------------

    def _digest(self, request: Request, answer: Answer, cursor: Cursor) -> tuple[Result, str]:
        """Enter what came of a request; return it, and what went wrong for people."""
        topic = next(one for one in self._topics if one.name == request.topic)
        reading = read_body(answer.body)
        what = meaning(answer, reading)
        if what == "articles":
            found = sort_out(reading, topic.name, request.at, self._ledger.seen)
            result = self._articles(topic, request, reading, found, cursor)
            self._ledger.finish(request, result)
            return result, ""
        ended = request.page > 1 and reading.code == END_OF_PAGES
        note = self._note(what, request, answer, reading)
        memory: dict[str, Any] = {}
        after = replace(cursor, page=1)
        if what == "rate_limited":
            self._rest = self._clock() + self._pause_for(answer)
            memory["rest"] = self._rest
        elif what == "topic_refused" and request.page == 1:
            if cursor.since is None:
                self._refused[topic.name] = self._clock()
            after = Cursor()  # perhaps it was too far back
        if ended:
            after = self._read_to_the_end(topic, request, after)
            self._limits[topic.name] = [request.page - 1, request.at]
            memory["limits"] = self._limits
        result = Result(after, True, notes=() if ended else (note,), memory=memory)
        self._ledger.finish(request, result)
        said = "" if ended else sentence(note)
        if what == "key_refused":
            self.failure = f"NewsAPI refuses the key: {said}; set NEWSAPI_KEY to one that is valid"
        elif len(self._refused) == len(self._topics):
            self.failure = f"NewsAPI refuses all topics, the last one with: {said}"
        return result, said

    def _articles(
        self, topic: Topic, request: Request, reading: Reading, found: Sorted, cursor: Cursor
    ) -> Result:
        """Return what came of a request that brought articles."""
        notes = self._watch.see(topic.name, request.at, reading, found)
        self._refused.pop(topic.name, None)
        pages = min(topic.pages or self._settings.pages, self._allowed(topic, request.at))
        more = (reading.total or 0) > request.page * self._settings.page_size
        over = not (more and reading.entries and request.page < pages)
        times = [article.published for article in found.articles]
        newest = max((*times, *([] if cursor.newest is None else [cursor.newest])), default=None)
        after = Cursor(request.page + 1, cursor.since, newest)
        return Result(
            self._read_to_the_end(topic, request, after) if over else after,
            over,
            len(reading.entries),
            found.articles,
            found.keys,
            found.dropped,
            tuple(notes),
            {"watch": self._watch.state()},
        )

    def _allowed(self, topic: Topic, now: int) -> float:
        """Return how many pages NewsAPI let us have lately, so that none is asked for in vain."""
        pages, at = self._limits.get(topic.name, (math.inf, now))
        return pages if 0 <= now - at < LIMIT_MICROS else math.inf

    def _read_to_the_end(self, topic: Topic, request: Request, cursor: Cursor) -> Cursor:
        """Return where the topic's next turn begins, when there is no more to read in this one."""
        if topic.endpoint != "everything" or cursor.newest is None:
            return replace(cursor, page=1, since=None)
        overlap = duration_micros(self._settings.overlap)
        return replace(cursor, page=1, since=min(cursor.newest, request.at) - overlap)

    def _pause_for(self, answer: Answer) -> int:
        """Return how long to rest after NewsAPI said that it is too much."""
        plan = self._settings.plan
        if answer.retry_after is not None:
            return min(answer.retry_after, plan.per_micros)
        return min(round_micros(len(self._topics), plan, 0), plan.per_micros)

    def _note(
        self, what: What, request: Request, answer: Answer, reading: Reading
    ) -> Mapping[str, Any]:
        told = reading.status == "error" or answer.status == 200
        message = answer.problem or (reading.message if told else f"HTTP status {answer.status}")
        return {
            "what": what,
            "topic": request.topic,
            "status": answer.status or None,
            "code": reading.code if told and not answer.problem else "",
            "message": self._client.clean(message)[:MESSAGE_MAX],
            "tries": request.attempt,
        }

    def _budget(self) -> Budget:
        return self._ledger.budget(self._settings.plan, self._clock())

    def _left(self) -> str:
        return f"{self._budget().left:,} of {self._settings.plan.requests:,} requests left"


def sentence(note: Mapping[str, Any]) -> str:
    """Say in one line what a note says.

    Examples
    --------
    >>> sentence({"what": "request_failed", "message": "the connection failed", "tries": 3})
    'request failed: the connection failed, in 3 tries'
    """
    code = " ".join(str(part) for part in (note.get("status"), note.get("code")) if part)
    tries = f", in {note['tries']} tries" if note["tries"] > 1 else ""
    told = f" ({code})" if code else ""
    return f"{note['what'].replace('_', ' ')}{told}: {note['message'].rstrip('.')}{tries}"


def shown(micros: int) -> str:
    """Return a time for people.

    Examples
    --------
    >>> shown(0)
    '1970-01-01 00:00:00 UTC'
    """
    return f"{iso(micros)[:19].replace('T', ' ')} UTC"
