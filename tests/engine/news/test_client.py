"""The client against a real server that does all that servers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import InputError
from engine.news.client import Answer, Client, retry_after
from engine.news.settings import NewsApi
from tests.engine.news.newsapi import KEY, Asked, NewsServer, Reply, article, articles, fast

BODY = articles([article(1), article(2)]).body


class Door:
    """What the server is to answer with next."""

    reply = Reply(200, BODY)

    def __call__(self, asked: Asked) -> Reply:
        return self.reply


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def server(door: Door) -> Iterator[NewsServer]:
    with NewsServer(door) as server:
        yield server


def get(server: NewsServer, **settings: Any) -> Answer:
    client = Client(fast(server.url, **settings), KEY)
    return client.get("top-headlines", {"category": "science"}, threading.Event())


@pytest.mark.parametrize("how", ["whole", "chunks", "close", "gzip"])
def test_a_whole_body_comes_as_it_is(server: NewsServer, door: Door, how: Any) -> None:
    door.reply = Reply(200, BODY, how=how)
    assert get(server) == Answer(200, BODY)


@pytest.mark.parametrize("how", ["cut", "chunks_cut"])
def test_a_body_that_is_cut_off_is_noticed_and_what_came_is_kept(
    server: NewsServer, door: Door, how: Any
) -> None:
    door.reply = Reply(200, BODY, how=how)
    answer = get(server)
    assert answer.problem.startswith("the body is cut off") and answer.transient
    assert answer.body == BODY[: len(BODY) // 2]


@pytest.mark.parametrize("how", ["drop", "hang", "drip"])
def test_no_server_holds_us_up(server: NewsServer, door: Door, how: Any) -> None:
    door.reply, start = Reply(200, BODY, how=how), time.monotonic()
    answer = get(server, silence="200ms", timeout="300ms")
    assert answer.problem and answer.transient
    assert time.monotonic() - start < 1


def test_nobody_there() -> None:
    client = Client(fast("http://127.0.0.1:1/v2"), KEY)
    answer = client.get("everything", {}, threading.Event())
    assert answer.status == 0 and answer.problem == "the connection failed (ConnectionError)"


def test_a_body_that_is_too_long_is_not_read_to_its_end(server: NewsServer, door: Door) -> None:
    door.reply = Reply(200, b"x" * 1_000_000)
    answer = get(server, bytes_max=5_000)
    assert answer.problem == "the body is longer than 5000 bytes"
    assert len(answer.body) < 200_000


def test_told_to_stop_it_waits_no_longer(server: NewsServer, door: Door) -> None:
    door.reply, stop, start = Reply(how="hang"), threading.Event(), time.monotonic()
    threading.Timer(0.05, stop.set).start()
    answer = Client(fast(server.url, silence="5s", timeout="5s"), KEY).get("everything", {}, stop)
    assert answer.stopped and time.monotonic() - start < 0.25


def test_the_key_travels_in_its_header_and_nowhere_else(server: NewsServer, door: Door) -> None:
    get(server)
    (asked,) = server.asked
    assert asked.headers["X-Api-Key"] == KEY
    assert KEY not in asked.path and KEY not in str(asked.parameters)
    assert asked.parameters == {"category": "science"} and asked.path == "/v2/top-headlines"


def test_a_redirect_is_not_followed(server: NewsServer, door: Door) -> None:
    with NewsServer(lambda asked: Reply(200, BODY)) as elsewhere:
        door.reply = Reply(302, b"", {"Location": f"{elsewhere.url}/top-headlines"})
        assert get(server) == Answer(302)
        assert elsewhere.asked == []


def test_a_key_that_comes_back_in_a_body_is_masked(server: NewsServer, door: Door) -> None:
    door.reply = Reply(400, f'{{"you sent": "{KEY}"}}'.encode())
    assert get(server).body == b'{"you sent": "***"}'


@pytest.mark.parametrize("key", ["", "secret\nkey", "secret key", "sécret"])
def test_a_key_that_cannot_be_one_is_refused_without_telling_it(key: str) -> None:
    with pytest.raises(InputError, match="NEWSAPI_KEY is no key of NewsAPI") as caught:
        Client(NewsApi(), key)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    client = Client(NewsApi(tries=3), KEY, chance=lambda: 1.0)
    pauses = [client.pause(Answer(status), tries) for tries in (1, 2, 3)]
    assert pauses == [1_000_000, 2_000_000, None]


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 426])
def test_what_will_not_pass_is_not(status: int) -> None:
    assert Client(NewsApi(), KEY).pause(Answer(status), 1) is None


def test_pauses_are_drawn_from_nothing_to_a_bound_that_grows_up_to_a_limit() -> None:
    drawn = iter([0.0, 0.5, 1.0])
    client = Client(NewsApi(tries=10, backoff_max="3s"), KEY, chance=lambda: next(drawn))
    assert [client.pause(Answer(503), tries) for tries in (1, 2, 9)] == [0, 1_000_000, 3_000_000]


def test_newsapi_says_when_to_come_back() -> None:
    client = Client(NewsApi(), KEY, chance=lambda: 0.0)
    assert client.pause(Answer(429, retry_after=30_000_000), 1) == 30_000_000
    assert client.pause(Answer(429, retry_after=3600_000_000), 1) is None  # not in this turn


def test_retry_after_is_read_from_the_answer(server: NewsServer, door: Door) -> None:
    door.reply = Reply(429, b"{}", {"Retry-After": "7"})
    assert get(server).retry_after == 7_000_000


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("-1", None), ("1.5", None), ("²", None), ("0", 0),
        ("9" * 400, 1_000_000_000), ("Thu, 01 Jan 1970 00:00:10 GMT", 10),
        ("Thu, 01 Jan 1970 00:00:10", 10), ("Thu, 01 Jan 1960 00:00:00 GMT", 0),
        ("Thu, 99 Foo", None),
    ],
)  # fmt: skip
def test_retry_after_in_all_its_forms(header: str | None, seconds: int | None) -> None:
    assert retry_after(header, 0.0) == (None if seconds is None else seconds * 1_000_000)
