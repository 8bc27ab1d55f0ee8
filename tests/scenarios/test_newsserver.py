from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from ruamel.yaml import YAML

from engine.alerts.rules import Notify
from engine.errors import InputError
from engine.events import iso
from engine.news.articles import read_body, sort_out
from engine.news.features import TextFeatures
from engine.news.live import Live, load
from engine.news.settings import NewsApi
from scenarios import newsserver
from scenarios.newsroom import DAY, START, TOPICS, Story
from scenarios.newsserver import FAULTS, KEY, SOME_FAULTS, NewsServer, demo_server
from scenarios.newstape import latest_start

HOUR = DAY // 24
ROOT = Path(__file__).parents[2]


def news(count: int = 300) -> Iterator[Story]:
    """An article each hour, in turn of each topic; each tenth is listed under general too."""
    topics = list(TOPICS)
    for at in range(count):
        published = START + at * HOUR
        topic = topics[at % len(topics)]
        entry = {
            "source": {"id": "a-post" if at % 2 else None, "name": "A Post"},
            "author": None,
            "title": f"Number {at} of {topic}",
            "description": "Solar power falls" if at % 3 else "Nothing new",
            "url": f"https://{'a' if at % 2 else 'b'}.example/{at}",
            "urlToImage": None,
            "publishedAt": f"{iso(published)[:19]}Z",
            "content": "… [+400 chars]",
        }
        yield Story(
            topic, "general" if at % 10 == 0 and topic != "general" else None, published, entry
        )


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[NewsServer]:
    """All 300 hours of news have passed; a second is an hour."""
    with NewsServer(news(), speed=3600, head_start=300 * 3600, clock=clock) as made:
        yield made


def ask(server: NewsServer, endpoint: str, key: str | None = KEY, **asked: Any) -> tuple[int, Any]:
    headers = {} if key is None else {"X-Api-Key": key}
    url = f"{server.url}/{endpoint}"
    answer = requests.get(url, {k: str(v) for k, v in asked.items()}, headers=headers, timeout=5)
    return answer.status_code, answer.json()


def numbers(body: Mapping[str, Any]) -> list[int]:
    return [int(entry["title"].split()[1]) for entry in body["articles"]]


# --- headlines ------------------------------------------------------------------------------


def test_headlines_are_the_newest_of_a_category_and_of_those_listed_twice(
    server: NewsServer,
) -> None:
    status, body = ask(server, "top-headlines", country="us", category="general", pageSize=100)
    topics = list(TOPICS)
    expected = [at for at in range(299, -1, -1) if topics[at % 7] == "general" or at % 10 == 0]
    assert (status, body["status"], body["totalResults"]) == (200, "ok", len(expected))
    assert numbers(body) == expected


def test_pages_are_of_twenty_unless_asked_otherwise_and_end_at_a_hundred(
    server: NewsServer,
) -> None:
    _, body = ask(server, "top-headlines", country="us")
    assert body["totalResults"] == 100 and numbers(body) == list(range(299, 279, -1))
    _, body = ask(server, "top-headlines", country="us", page=3, pageSize=30)
    assert numbers(body) == list(range(239, 209, -1))
    status, body = ask(server, "top-headlines", country="us", page=2, pageSize=100)
    assert (status, body["code"]) == (426, "maximumResultsReached")
    assert "results 100 to 200" in body["message"]


def test_news_appear_as_the_clock_goes_on(clock: Clock) -> None:
    with NewsServer(news(), speed=3600, head_start=3600, clock=clock) as server:
        asked: dict[str, Any] = {"country": "us", "pageSize": 100}
        assert numbers(ask(server, "top-headlines", **asked)[1]) == [1, 0]
        clock.seconds += 3.5
        assert numbers(ask(server, "top-headlines", **asked)[1]) == [4, 3, 2, 1, 0]
        clock.seconds += 1e9
        body = ask(server, "top-headlines", **asked)[1]
        assert numbers(body)[0] == 299 and body["totalResults"] == 100


def test_news_may_come_by_the_request(clock: Clock) -> None:
    with NewsServer(news(), speed=0, step=1800, head_start=0, clock=clock) as server:
        found = []
        for _ in range(4):
            clock.seconds += 1e6
            found.append(numbers(ask(server, "top-headlines", country="us")[1])[0])
        assert found == [0, 1, 1, 2]


def test_headlines_of_other_countries_are_none(server: NewsServer) -> None:
    status, body = ask(server, "top-headlines", country="fr")
    assert (status, body) == (200, {"status": "ok", "totalResults": 0, "articles": []})


def test_headlines_by_word_and_source(server: NewsServer) -> None:
    _, body = ask(server, "top-headlines", q="number 42 of", pageSize=100)
    assert numbers(body) == [242, 142, 42], "all the words must be there"
    _, body = ask(server, "top-headlines", q='"number 42 of"')
    assert numbers(body) == [42]
    _, body = ask(server, "top-headlines", sources="a-post,c-post", pageSize=100)
    assert numbers(body) == list(range(299, 99, -2))


# --- everything -----------------------------------------------------------------------------


def test_everything_finds_words_phrases_and_alternatives(server: NewsServer) -> None:
    _, body = ask(server, "everything", q="SOLAR AND power", pageSize=100)
    assert body["totalResults"] == 200 and numbers(body)[:4] == [299, 298, 296, 295]
    _, body = ask(server, "everything", q='"power solar"')
    assert body["totalResults"] == 0
    _, body = ask(server, "everything", q='"number 7 of" OR "number 9 of"')
    assert numbers(body) == [9, 7]
    _, body = ask(server, "everything", q="solar", searchIn="title")
    assert body["totalResults"] == 0
    _, body = ask(server, "everything", domains="b.example", pageSize=3)
    assert numbers(body) == [298, 296, 294]
    _, body = ask(server, "everything", q="solar", language="de")
    assert body["totalResults"] == 0


def test_everything_keeps_to_from_and_to(server: NewsServer) -> None:
    since, until = iso(START + 10 * HOUR)[:19], iso(START + 13 * HOUR)
    _, body = ask(server, "everything", q="number", **{"from": since, "to": until})
    assert numbers(body) == [13, 12, 11, 10]


def test_everything_goes_back_a_month(clock: Clock) -> None:
    with NewsServer(news(), head_start=40 * 86_400, clock=clock) as server:
        status, body = ask(server, "everything", q="number", **{"from": iso(START + 9 * DAY)[:10]})
        assert (status, body["code"]) == (426, "parameterInvalid")
        assert "as far back as 2024-01-11" in body["message"]
        status, body = ask(server, "everything", q="number", **{"from": iso(START + 10 * DAY)[:10]})
        assert (status, body["totalResults"]) == (200, 60)
        assert ask(server, "everything", q="number")[1]["totalResults"] == 60


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "asked", "status", "code"),
    [
        ("top-headlines", {}, 400, "parametersMissing"),
        ("everything", {"language": "en"}, 400, "parametersMissing"),
        ("top-headlines", {"sources": "a-post", "country": "us"}, 400, "parameterInvalid"),
        ("top-headlines", {"category": "weather"}, 400, "parameterInvalid"),
        ("top-headlines", {"country": "us", "pageSize": 101}, 400, "parameterInvalid"),
        ("top-headlines", {"country": "us", "pageSize": 0}, 400, "parameterInvalid"),
        ("top-headlines", {"country": "us", "page": "two"}, 400, "parameterInvalid"),
        ("everything", {"q": "a", "from": "yesterday"}, 400, "parameterInvalid"),
        ("everything", {"q": "a", "sortBy": "age"}, 400, "parameterInvalid"),
        ("nothing", {"q": "a"}, 404, "notFound"),
    ],
)
def test_questions_that_are_wrong_are_refused(
    server: NewsServer, endpoint: str, asked: dict[str, Any], status: int, code: str
) -> None:
    found, body = ask(server, endpoint, **asked)
    assert (found, body["status"], body["code"]) == (status, "error", code)
    assert body["message"]


def test_only_the_right_key_is_answered(server: NewsServer) -> None:
    for key, code in ((None, "apiKeyMissing"), ("", "apiKeyMissing"), ("no", "apiKeyInvalid")):
        status, body = ask(server, "top-headlines", key, country="us")
        assert (status, body["code"]) == (401, code)
        assert list(body) == ["status", "code", "message"]
    assert ask(server, "top-headlines", None, country="us", apiKey=KEY)[0] == 200
    assert all(KEY not in repr(asked) for asked in server.asked)


def test_a_quota_is_spent_by_answers_alone(clock: Clock) -> None:
    with NewsServer(news(), quota=2, clock=clock) as server:
        codes = [
            ask(server, "top-headlines", key, country="us")[0] for key in ("no", KEY, KEY, KEY)
        ]
        assert codes == [401, 200, 200, 429]
        assert ask(server, "top-headlines", country="us")[1]["code"] == "rateLimited"


# --- faults ---------------------------------------------------------------------------------


@pytest.fixture
def faulty(clock: Clock) -> Iterator[NewsServer]:
    """A server whose request number n has fault number n, and none after that."""
    plan = dict(enumerate(FAULTS))
    with NewsServer(news(), head_start=1e6, clock=clock, plan=plan, slow_seconds=1.0) as made:
        yield made


def raw(server: NewsServer, timeout: float = 5.0) -> requests.Response:
    url, headers = f"{server.url}/top-headlines?country=us", {"X-Api-Key": KEY}
    return requests.get(url, headers=headers, timeout=timeout)


def test_each_fault_is_what_it_says(faulty: NewsServer) -> None:
    found: dict[str, Any] = {}
    for name in FAULTS:
        try:
            answer = raw(faulty, 0.3)
            reading = read_body(answer.content)
            kept = sort_out(reading, "science", START, lambda key: False)
            found[name] = (answer.status_code, reading.code or reading.status, dict(kept.dropped))
        except requests.RequestException as error:
            found[name] = type(error).__name__
    assert found == {
        "rate_limited": (429, "rateLimited", {}),
        "server_error": (500, "unexpectedError", {}),
        "gateway_error": (502, "html", {}),
        "html": (200, "html", {}),
        "empty": (200, "no_articles", {}),
        "error_in_ok": (200, "unexpectedError", {}),
        "slow": "ReadTimeout",
        "dropped": "ConnectionError",
        "truncated": "ChunkedEncodingError",
        "cut": (200, "truncated", {}),
        "nulls": (200, "ok", {"no_title": 3}),
        "removed": (200, "ok", {"removed": 3}),
        "missing_keys": (200, "ok", {"no_description": 3}),
        "old_dates": (200, "ok", {}),
        "strangers": (200, "ok", {"not_an_article": 3}),
    }
    assert raw(faulty).json()["totalResults"] == 100
    assert [asked.fault for asked in faulty.asked] == [*FAULTS, None]


def test_a_rate_limit_says_when_to_come_back(clock: Clock) -> None:
    with NewsServer(news(), clock=clock, plan={0: "rate_limited"}) as server:
        assert raw(server).headers["Retry-After"] == "1"


def test_old_dates_are_of_1970(clock: Clock) -> None:
    with NewsServer(news(), head_start=1e6, clock=clock, plan={0: "old_dates"}) as server:
        dates = Counter(entry["publishedAt"][:4] for entry in raw(server).json()["articles"])
        assert dates == {"2024": 17, "1970": 3}


def test_chance_faults_are_the_same_for_the_same_seed(clock: Clock) -> None:
    def faults(seed: int) -> list[str | None]:
        with NewsServer(news(), seed=seed, faults=SOME_FAULTS, clock=clock) as server:
            for _ in range(400):
                server.respond("/v2/top-headlines?country=us", KEY)
            return [asked.fault for asked in server.asked]

    one = faults(1)
    assert one == faults(1) != faults(2)
    assert sum(fault is not None for fault in one) == pytest.approx(
        400 * sum(SOME_FAULTS.values()), rel=0.35
    )
    assert len(set(one) - {None}) >= 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faults": {"hail": 0.1}}, "no fault 'hail': there are rate_limited"),
        ({"plan": {3: "hail"}}, "no fault 'hail'"),
        ({"faults": {"html": 0.6, "slow": 0.6}}, "not be negative, nor more than 1 together"),
        ({"faults": {"html": -0.1}}, "not be negative"),
        ({"speed": 0.0}, "time would stand still"),
        ({"speed": -1.0, "step": 2.0}, "must not be negative"),
        ({"step": -1.0}, "must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        NewsServer(news(), **settings)
    assert message in str(caught.value)


# --- life -----------------------------------------------------------------------------------


def test_it_stops_at_once_though_somebody_waits_and_somebody_is_connected(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    with NewsServer(news(), clock=clock, plan={0: "slow"}, slow_seconds=60) as server:
        failed = threading.Event()

        def wait() -> None:
            try:
                raw(server, 20)
            except requests.RequestException:
                failed.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not server.asked:
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    waiting.join(2)
    assert failed.is_set()
    with pytest.raises(requests.ConnectionError):
        raw(server)
    assert capfd.readouterr() == ("", ""), "it is quiet"


def test_it_says_nothing_of_clients_that_hang_up(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    done = threading.Event()
    with NewsServer(news(), head_start=1e6, clock=clock, plan={0: "slow"}, slow_seconds=0.1,
                    log=lambda line: done.set()) as server:  # fmt: skip
        host, port = server.url.removeprefix("http://").removesuffix("/v2").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(
                f"GET /v2/top-headlines?apiKey={KEY}&country=us HTTP/1.1\r\n\r\n".encode()
            )
            assert done.wait(5)
        time.sleep(0.3)
        assert raw(server).status_code == 200
    assert capfd.readouterr() == ("", "")


def test_it_tells_each_question_if_somebody_listens(clock: Clock) -> None:
    lines: list[str] = []
    with NewsServer(news(), clock=clock, plan={1: "html"}, log=lines.append) as server:
        ask(server, "top-headlines", None, category="science", apiKey=KEY)
        raw(server)
    assert lines == ["top-headlines category=science: 200", "top-headlines country=us: 200 html"]


def test_many_ask_at_once(server: NewsServer) -> None:
    found: list[int] = []

    def several() -> None:
        found.extend(raw(server).json()["totalResults"] for _ in range(5))

    threads = [threading.Thread(target=several) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [100] * 20
    assert sorted(asked.number for asked in server.asked) == list(range(20))


def test_the_demo_plays_the_news_that_ship_as_of_late() -> None:
    with demo_server() as server:
        now = time.time_ns() // 1000
        assert server.start == latest_start(now) and server.faults == SOME_FAULTS
        assert server.start < server.now < server.start + 7 * DAY
        said = [ask(server, "top-headlines", country="us") for _ in range(3)]
        dates = [entry["publishedAt"] for status, body in said if status == 200
                 for entry in body["articles"]]  # fmt: skip
        assert len(dates) >= 10
        server.stand.open_until(now)
        assert len(server.stand.stories) > 3000
        assert server.start <= server.stand.stories[0].published
        assert now - 8 * DAY < server.stand.stories[-1].published <= now


@pytest.mark.slow
def test_with_a_seed_it_makes_its_own_news(tmp_path: Path) -> None:
    with NewsServer(seed=1, cache_dir=tmp_path, head_start=7 * 86_400) as server:
        _, body = ask(server, "top-headlines", country="us", category="health", pageSize=100)
        assert 30 < body["totalResults"] <= 100
    assert list(tmp_path.rglob("*.parquet")), "SDV's samples are kept"


# --- live configurations --------------------------------------------------------------------


def test_the_demo_asks_for_all_topics_once() -> None:
    live = load(ROOT / "scenarios" / "data" / "live_demo.yaml").live
    assert [topic.name for topic in live.topics] == list(TOPICS)
    assert all(topic.category == topic.name and topic.country == "us" for topic in live.topics)
    with NewsServer(news(), head_start=1e6) as server:
        for topic in live.topics:
            assert ask(server, topic.endpoint, **topic.parameters())[0] == 200


def test_the_live_configuration_that_ships_has_the_defaults_and_examples_that_work(
    tmp_path: Path,
) -> None:
    text = (ROOT / "config" / "live.yaml").read_text("utf-8")
    live = load(ROOT / "config" / "live.yaml").live
    assert live.newsapi == NewsApi() and live.interval == "15m" and live.text == TextFeatures()
    defaults = Live(name="a", topics=live.topics)
    assert live.model == defaults.model and live.retraining.first == defaults.retraining.first
    assert [topic.category for topic in live.topics] == list(TOPICS)
    (tmp_path / "live.yaml").write_text(text.replace("  # - {name", "  - {name"), "utf-8")
    assert [topic.name for topic in load(tmp_path / "live.yaml").live.topics] == [*TOPICS, "solar"]
    example = "\n".join(re.findall(r"^# (notify:|  \w+: .*)$", text, flags=re.MULTILINE))
    assert set(YAML(typ="safe").load(example)["notify"]) == set(Notify.model_fields)
    Notify.model_validate(YAML(typ="safe").load(example)["notify"])


def test_it_runs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Interrupted:
        def wait(self) -> None:
            asked.append("wait")
            raise KeyboardInterrupt

    monkeypatch.setattr(newsserver, "forever", Interrupted().wait)
    done = CliRunner().invoke(newsserver.main, ["--port", "0", "--no-faults"])
    lines = done.output.splitlines()
    assert done.exit_code == 0 and asked == ["wait"]
    assert lines[0].startswith("base_url: http://127.0.0.1:")
    assert lines[1:] == [f"NEWSAPI_KEY={KEY}", "stopped"]
    done = CliRunner().invoke(newsserver.main, ["--speed", "fast"])
    assert done.exit_code != 0 and "must be" in done.output
