"""The agent against a real server: what answers mean, whose turn it is, and exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from engine.news.agent import Agent, What
from engine.news.articles import read_rows
from engine.news.client import Answer, Client
from engine.news.ledger import Ledger
from engine.news.settings import NewsApi, Plan, Topic
from tests.engine.news.newsapi import (
    KEY,
    Asked,
    NewsServer,
    Recordings,
    Reply,
    article,
    articles,
    error,
    fast,
    now,
    topics_of,
)

HOUR = 3_600_000_000
NAMES = ("business", "science", "sports")


class Bench:
    """An agent, and all that it needs."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[Asked], Reply],
        topics: Sequence[Topic] = topics_of(("science",)),
        **settings: Any,
    ) -> None:
        self.server = NewsServer(answer)
        self.settings = fast(self.server.url, **settings)
        self.folder, self.topics = folder, topics
        self.lines: list[str] = []
        self.failure = ""

    def run(self, rounds: int | None, stop: threading.Event | None = None) -> dict[str, Any]:
        with Ledger.open(self.folder) as ledger:
            agent = Agent(
                self.settings, tuple(self.topics), 0, ledger, Client(self.settings, KEY), now,
                stop or threading.Event(), self.lines.append,
            )  # fmt: skip
            agent.run(rounds)
            self.failure = agent.failure
            self.entries = ledger.finished(0)
            self.rows = [
                row for one in self.entries if one.rows for row in read_rows(ledger.text(one))
            ]
            notes = [note for entry in self.entries for note in entry.notes]
            self.notes = [note for note in notes if note["what"] in get_args(What)]
            return ledger.totals()


def test_a_round_asks_about_each_topic_once(tmp_path: Path) -> None:
    with (bench := Bench(tmp_path, lambda _: articles([article(1)]), topics_of(NAMES))).server:
        totals = bench.run(1)
        assert [asked.parameters["category"] for asked in bench.server.asked] == [*NAMES]
        assert (totals["articles"], totals["rows"]) == (3, 1)
        assert bench.lines == ["3 articles, 1 new: business 1"]


def test_pages_are_asked_for_while_there_are_more(tmp_path: Path) -> None:
    numbers = [article(number) for number in range(25)]

    def answer(asked: Asked) -> Reply:
        return articles(numbers[(asked.page - 1) * 10 : asked.page * 10], 25)

    with (bench := Bench(tmp_path, answer, page_size=10, pages=9)).server:
        assert bench.run(1)["rows"] == 25
        assert [asked.page for asked in bench.server.asked] == [1, 2, 3]
        assert bench.lines == ["25 articles, 25 new: science 25"]


def test_no_more_pages_than_are_wanted_or_given(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.parameters["category"] == "sports" and asked.page == 2:
            return error(426, "maximumResultsReached")
        return articles([article(asked.page)], 1000)

    topics = (
        Topic(name="science", category="science", pages=3),
        Topic(name="sports", category="sports"),
    )
    with (bench := Bench(tmp_path, answer, topics, page_size=1, pages=9)).server:
        bench.run(1)
        asked = [(one.parameters["category"], one.page) for one in bench.server.asked]
        assert asked == [
            ("science", 1),
            ("science", 2),
            ("science", 3),
            ("sports", 1),
            ("sports", 2),
        ]
        assert bench.notes == [] and bench.failure == ""
        bench.run(1)
        again = [(one.parameters["category"], one.page) for one in bench.server.asked[5:]]
        assert again == [*asked[:3], ("sports", 1)], "a page that was refused is remembered"


def test_everything_is_asked_for_from_where_it_was_left(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return articles([article(asked.page, hour=30 + asked.page)], 2)

    topics = (Topic(name="ml", endpoint="everything", q="ml"),)
    with (bench := Bench(tmp_path, answer, topics, page_size=1, pages=2, overlap="2h")).server:
        bench.run(2)
        assert [asked.parameters.get("from") for asked in bench.server.asked] == [
            None, None, "2024-03-02T06:00:00", "2024-03-02T06:00:00",
        ]  # fmt: skip


def test_a_publish_time_in_the_future_does_not_move_the_start_there(tmp_path: Path) -> None:
    late = article(1, publishedAt="2199-01-01T00:00:00Z")
    topics = (Topic(name="ml", endpoint="everything", q="ml"),)
    with (bench := Bench(tmp_path, lambda _: articles([late]), topics, overlap="0s")).server:
        bench.run(2)
        assert bench.server.asked[1].parameters["from"] < "2199"


def test_a_start_that_newsapi_refuses_is_given_up(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if "from" in asked.parameters and len(bench.server.asked) == 2:
            return error(426, "parameterInvalid", "too far in the past")
        return articles([article(1)])

    topics = (Topic(name="ml", endpoint="everything", q="ml"),)
    with (bench := Bench(tmp_path, answer, topics)).server:
        bench.run(4)
        asked = ["from" in one.parameters for one in bench.server.asked]
        assert asked == [False, True, False, False] and bench.failure == ""


SLOW = error(429, "rateLimited", "Slow.", Retry_After="9")
CUT = Reply(200, articles([article(1)]).body, how="cut")


@pytest.mark.parametrize(
    ("reply", "what", "code", "message", "tries"),
    [
        (Reply(503, b"<html>"), "request_failed", "", "HTTP status 503", 3),
        (Reply(302), "request_failed", "", "HTTP status 302", 1),
        (Reply(404, b"<html>"), "request_failed", "", "HTTP status 404", 1),
        (Reply(how="drop"), "request_failed", "", "the connection failed (ConnectionError)", 3),
        (CUT, "request_failed", "", "the body is cut off (ProtocolError)", 3),
        (Reply(200, b"<html>"), "bad_answer", "html", "the body is HTML, not JSON", 1),
        (Reply(200, b'{"status":'), "bad_answer", "truncated", "the body is cut off", 1),
        (Reply(200, b"{}"), "bad_answer", "no_articles", "the body has no list of articles", 1),
        (error(200, "odd", "Odd."), "bad_answer", "odd", "Odd.", 1),
        (error(500, "unexpectedError", "Us."), "request_failed", "unexpectedError", "Us.", 3),
        (SLOW, "rate_limited", "rateLimited", "Slow.", 1),
        (error(426, "new", f"{KEY} " + 300 * "x"), "topic_refused", "new", "*** " + 196 * "x", 1),
    ],
)  # fmt: skip
def test_a_bad_answer_is_a_note_and_life_goes_on(
    tmp_path: Path, reply: Reply, what: str, code: str, message: str, tries: int
) -> None:
    def answer(asked: Asked) -> Reply:
        bad = asked.parameters["category"] == "business"
        return reply if bad else articles([article(1)])

    with (bench := Bench(tmp_path, answer, topics_of(NAMES))).server:
        totals = bench.run(1)
    assert totals["retried"] == tries - 1
    status = None if reply.how == "drop" else reply.status
    assert bench.notes == [
        {"what": what, "topic": "business", "status": status, "code": code, "message": message,
         "tries": tries}
    ]  # fmt: skip
    assert len(bench.rows) == (0 if what == "rate_limited" else 1) and bench.failure == ""
    kept = [path.read_bytes() for path in sorted((tmp_path / "raw").iterdir())]
    sent = reply.body.replace(KEY.encode(), b"***")
    whole = sent[: len(sent) // 2] if reply.how == "cut" else sent
    assert kept.count(whole) == (tries if whole else 0)


def test_a_refused_key_ends_it(tmp_path: Path) -> None:
    refused = error(401, "apiKeyInvalid", f"Your API key {KEY} is invalid.")
    with (bench := Bench(tmp_path, lambda _: refused, topics_of(NAMES))).server:
        bench.run(None)
        assert len(bench.server.asked) == 1
    assert bench.failure == (
        "NewsAPI refuses the key: key refused (401 apiKeyInvalid): Your API key *** is invalid; "
        "set NEWSAPI_KEY to one that is valid"
    )
    assert bench.notes[0]["what"] == "key_refused"


def test_a_refused_topic_rests_and_when_all_are_refused_it_ends(tmp_path: Path) -> None:
    refusing = {"business"}

    def answer(asked: Asked) -> Reply:
        if len(bench.server.asked) == 7:
            refusing.update(NAMES)
        refused = asked.parameters["category"] in refusing
        return error(400, "parameterInvalid") if refused else articles([article(1)])

    topics = topics_of(NAMES)
    with (bench := Bench(tmp_path, answer, topics, plan=Plan(requests=10**9, per="1h"))).server:
        bench.run(None)
        asked = [one.parameters["category"][:2] for one in bench.server.asked]
    assert asked == ["bu", "sc", "sp", "sc", "sp", "sc", "sp", "sc"]
    assert bench.failure.startswith("NewsAPI refuses all topics, the last one with: topic refused")


def test_nothing_is_asked_while_newsapi_wants_a_rest_after_a_restart_either(tmp_path: Path) -> None:
    limited = error(429, "rateLimited", Retry_After="3600")
    with (bench := Bench(tmp_path, lambda _: limited, plan=Plan(requests=50, per="12h"))).server:
        bench.run(1)
        bench.run(1)
        assert len(bench.server.asked) == 1
    assert bench.lines[-1].startswith("not asked this time: science; the next request may be")


def test_one_round_asks_those_longest_unasked_if_the_plan_is_short(tmp_path: Path) -> None:
    plan = Plan(requests=2, per="1h")
    with (bench := Bench(tmp_path, lambda _: articles([]), topics_of(NAMES), plan=plan)).server:
        bench.run(1)
        assert bench.lines[-1].startswith("not asked this time: sports; the next request may be")
        bench.settings = fast(bench.server.url, plan=Plan(requests=3, per="1h"))
        bench.run(1)
        asked = [asked.parameters["category"] for asked in bench.server.asked]
    assert asked == ["business", "science", "sports"]


@pytest.mark.parametrize("how", ["hang", "whole"])
def test_told_to_stop_it_ends_at_once(tmp_path: Path, how: Any) -> None:
    stop, reply = threading.Event(), Reply(503, how=how)
    slow: dict[str, Any] = {"silence": "9s", "timeout": "9s", "backoff": "9s", "backoff_max": "9s"}
    with (bench := Bench(tmp_path, lambda _: reply, **slow)).server:
        told: list[float] = []

        def tell() -> None:
            while not bench.server.asked:
                time.sleep(0.01)
            time.sleep(0.1)
            told.append(time.monotonic())
            stop.set()

        threading.Thread(target=tell).start()
        totals = bench.run(None, stop)
    assert time.monotonic() - told[0] < 0.5
    assert totals["requests"] == totals["lost"] + totals["retried"] == 1


def test_it_goes_on_where_a_crash_left_it(tmp_path: Path) -> None:
    """Articles that came are read; for want of them, the same page is asked for again."""
    plan = fast("http://127.0.0.1:1").plan
    with Ledger.open(tmp_path) as ledger:
        topic = topics_of(("science",))[0]
        ledger.cursor("science", '["top-headlines", {"category": "science"}]')
        for status, body in (
            (None, b""),
            (503, b"x"),
            (401, b"{}"),
            (200, articles([article(1)], 2).body),
        ):
            request = ledger.ask("science", 1, 1, plan, now())
            assert request is not None
            if status:
                ledger.answered(request, status, body, "")
    second = articles([article(2)], 2)
    with (bench := Bench(tmp_path, lambda _: second, (topic,), page_size=1, pages=2)).server:
        totals = bench.run(1)
        assert [asked.page for asked in bench.server.asked] == [2]
    assert [row.title for row in bench.rows] == ["Title 1", "Title 2"]
    assert (totals["lost"], totals["retried"], totals["requests"]) == (1, 2, 5)


def test_a_full_disk_is_a_failure_in_one_sentence(tmp_path: Path) -> None:
    with (bench := Bench(tmp_path, lambda _: articles([article(1)]))).server:
        (tmp_path / "raw").mkdir()

        def answer(asked: Asked) -> Reply:
            (tmp_path / "raw").rmdir()
            return articles([article(1)])

        bench.server = server = NewsServer(answer)
        with server:
            bench.settings = fast(server.url)
            bench.run(1)
    assert bench.failure.startswith(f"the data folder {tmp_path} cannot be used: ")


# --- the plan over days, with a clock that runs when it is waited for -------------------------


class Clock(threading.Event):
    """Time that passes only by waiting; `is_set` when `end` is reached."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.true = start
        self.end = 0
        self.back = 0

    def __call__(self) -> int:
        return self.true - self.back

    def wait(self, timeout: float | None = None) -> bool:
        self.true += max(1, round((timeout or 0) * 1_000_000))
        return self.is_set()

    def is_set(self) -> bool:
        return self.true >= self.end


class Script(Client):
    """Stands for a NewsAPI that is often out of order, and now and then kills the agent."""

    def __init__(self, settings: NewsApi, clock: Clock, chance: random.Random) -> None:
        super().__init__(settings, KEY, chance.random)
        self.clock, self.draw, self.made = clock, chance, list[tuple[int, str]]()
        self.crashes = 0.0

    def get(self, path: str, parameters: Mapping[str, str], stop: threading.Event) -> Answer:
        self.made.append((self.clock.true, parameters["q"]))
        self.clock.true += self.draw.randrange(3_000_000)
        if self.draw.random() < self.crashes:
            raise KeyboardInterrupt
        status = self.draw.choice([200, 200, 200, 200, 503, 429])
        body = articles([]).body if status == 200 else b"{}"
        return Answer(status, body, retry_after=self.draw.choice([None, 0, 5_000_000, HOUR // 2]))


def simulate(folder: Path, requests: int, topics: int, seed: int, crashes: float) -> Script:
    """Poll so often, with crashes and a clock that is put back; return what was asked."""
    chance = random.Random(seed)
    settings = NewsApi(tries=3, plan=Plan(requests=50, per="12h"))
    asking = [Topic(name=f"t{n}", endpoint="everything", q=f"t{n}") for n in range(topics)]
    clock = Clock(10_000 * HOUR)
    client = Script(settings, clock, chance)
    client.crashes = crashes
    while len(client.made) < requests:
        clock.end = clock.true + chance.randrange(1, 48 * HOUR)
        clock.back += chance.choice([0, 0, 0, 0, 1, HOUR, 20 * HOUR])
        with Ledger.open(folder) as ledger:
            agent = Agent(
                settings, asking, 900_000_000, ledger, client, clock, clock, lambda line: None
            )
            try:
                agent.run(chance.choice([None, None, 1, 2]))
            except KeyboardInterrupt:
                clock.true += chance.randrange(60_000_000)
            assert agent.failure in ("", "ingestion broke off with an unexpected KeyboardInterrupt")
            clock.true += chance.randrange(HOUR)
            if len(client.made) >= requests:
                turns = Counter(
                    dict(
                        ledger._database.rows(
                            "SELECT topic, count(*) FROM requests WHERE state = 'done' GROUP BY 1"
                        )
                    )
                )
                counts = [turns[topic.name] for topic in asking]
                assert max(counts) - min(counts) <= 1, counts
    return client


def worst(made: Sequence[tuple[int, str]]) -> int:
    """Return the most requests within any 12 hours."""
    most, first = 0, 0
    for last, (at, _) in enumerate(made):
        while made[first][0] <= at - 12 * HOUR:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(("topics", "seed"), [(1, 1), (7, 2)])
def test_no_12_hours_hold_more_than_50_requests(tmp_path: Path, topics: int, seed: int) -> None:
    made = simulate(tmp_path, 100, topics, seed, crashes=0.05).made
    assert 40 <= worst(made) <= 50


@pytest.mark.slow
def test_no_12_hours_ever_hold_more_than_50_requests(tmp_path: Path) -> None:
    for seed, topics in enumerate((1, 2, 3, 7, 20)):
        made = simulate(tmp_path / str(seed), 2000, topics, seed, crashes=0.03).made
        assert worst(made) == 50


def test_a_steady_run_spreads_its_requests(tmp_path: Path) -> None:
    clock, plan = Clock(10_000 * HOUR), Plan(requests=50, per="12h")
    settings = NewsApi(plan=plan)
    client = Script(settings, clock, random.Random(1))
    client.draw = random.Random(3)
    client.draw.choice = lambda seq: seq[0]  # type: ignore[method-assign]
    clock.end = clock.true + 12 * HOUR
    topics = [Topic(name=f"t{n}", endpoint="everything", q=f"t{n}") for n in range(7)]
    lines: list[str] = []
    with Ledger.open(tmp_path) as ledger:
        Agent(settings, topics, 900_000_000, ledger, client, clock, clock, lines.append).run(None)
    starts = [at for at, name in client.made if name == "t0"]
    minutes = {round((late - early) / 60e6) for early, late in pairwise(starts)}
    assert minutes == {101} and len(client.made) == 50
    assert lines[0] == "0 articles, 0 new"
    assert lines[1] == "next round at 1971-02-21 17:40:48 UTC; 43 of 50 requests left"


# --- killed at any moment ---------------------------------------------------------------------


def invented() -> dict[str, list[list[Any]]]:
    """Return four recordings of each of three topics, which share articles."""
    chance = random.Random(7)
    return {
        name: [
            [article(chance.randrange(60), author=f"{name} {number}") for _ in range(12)]
            for number in range(4)
        ]
        for name in NAMES
    }


def faults(topic: str, number: int, page: int) -> Sequence[Reply]:
    bad = [CUT, Reply(503), Reply(how="drop"), error(429, "rateLimited", Retry_After="0")]
    at = NAMES.index(topic) + number + page
    return (bad[at % 4],) if at % 3 == 0 else ()


def ingested(folder: Path, kills: int, seed: int) -> list[tuple[Any, ...]]:
    """Have it all ingested by a process that is killed now and then; return the rows."""
    chance, world = random.Random(seed), Recordings(invented(), 5, folder, faults, pause=0.005)
    with NewsServer(world) as server:
        command = [sys.executable, "-m", "tests.engine.news.newsapi", str(folder), server.url]
        command += [",".join(NAMES), "5", "9"]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL)

        agent, until = start(), chance.randrange(1, 6)
        deadline = time.monotonic() + 300
        try:
            while not world.over():
                assert agent.poll() is None and time.monotonic() < deadline
                if kills and len(server.asked) >= until:
                    time.sleep(chance.random() * 0.03)
                    os.kill(agent.pid, signal.SIGKILL)
                    agent.wait()
                    kills, until = kills - 1, len(server.asked) + chance.randrange(1, 3)
                    agent = start()
                time.sleep(0.001)
        finally:
            agent.kill()
            agent.wait()
    assert kills == 0
    with Ledger.open(folder) as ledger:
        rows = [
            row
            for entry in ledger.finished(0, limit=10_000)
            if entry.rows
            for row in read_rows(ledger.text(entry))
        ]
        totals = ledger.totals()
    assert totals["articles"] == totals["rows"] + sum(totals["dropped"].values())
    assert not [
        path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    return [(row.topic, row.author, row.title, row.published) for row in rows]


def test_killed_at_any_moment_it_ends_with_the_same_rows(tmp_path: Path) -> None:
    whole = ingested(tmp_path / "whole", 0, 0)
    recorded = invented()
    titles = {one["title"] for all_of in recorded.values() for some in all_of for one in some}
    assert sorted(row[2] for row in whole) == sorted(titles)
    assert ingested(tmp_path / "killed", 3, 1) == whole


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_with_the_same_rows(tmp_path: Path) -> None:
    whole = ingested(tmp_path / "whole", 0, 0)
    assert ingested(tmp_path / "killed", 20, 2) == whole
