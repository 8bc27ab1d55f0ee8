"""A NewsAPI on the loopback that answers as it is told, badly too, and an agent to kill."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from engine.news.agent import Agent
from engine.news.client import Client
from engine.news.ledger import Ledger
from engine.news.settings import NewsApi, Plan, Topic

KEY = "0123456789abcdef0123456789abcdef"
How = Literal["whole", "cut", "chunks", "chunks_cut", "close", "drop", "hang", "drip", "gzip"]


@dataclass(frozen=True)
class Asked:
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def page(self) -> int:
        return int(self.parameters.get("page", "1"))


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    how: How = "whole"


def error(status: int, code: str, message: str = "No.", **headers: str) -> Reply:
    body = {"status": "error", "code": code, "message": message}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), named)


def article(number: int, hour: int = 0, **other: Any) -> dict[str, Any]:
    return {
        "source": {"id": None, "name": "Paper"},
        "author": None,
        "title": f"Title {number}",
        "description": f"About {number}, at length",
        "url": f"https://paper.example/{number}",
        "urlToImage": None,
        "publishedAt": f"2024-03-{1 + hour // 24:02}T{hour % 24:02}:00:00Z",
        "content": "Text [+99 chars]",
        **other,
    }


def articles(entries: Sequence[Any], total: int | None = None) -> Reply:
    count = len(entries) if total is None else total
    body = {"status": "ok", "totalResults": count, "articles": list(entries)}
    return Reply(200, json.dumps(body).encode())


class NewsServer:
    """Calls `answer` for each request; `asked` keeps them."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.asked: list[Asked] = []
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(parts.path, dict(parse_qsl(parts.query)), dict(self.headers))
                server.asked.append(asked)
                server.send(self, answer(asked))

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v2"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()

    def send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.close_connection = True
        how, body = reply.how, reply.body
        if how == "drop":
            return
        if how == "hang":
            self.over.wait(60)
            return
        if how == "gzip":
            import gzip

            body = gzip.compress(body)
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if how == "gzip":
            handler.send_header("Content-Encoding", "gzip")
        if how.startswith("chunks"):
            handler.send_header("Transfer-Encoding", "chunked")
        elif how != "close":
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        write = handler.wfile.write
        try:
            if how == "drip":
                for byte in body:
                    write(bytes([byte]))
                    if self.over.wait(0.05):
                        return
            elif how.startswith("chunks"):
                half = body[: len(body) // 2] if how == "chunks_cut" else body
                write(b"%x\r\n%s\r\n" % (len(half), half))
                if how == "chunks":
                    write(b"0\r\n\r\n")
            else:
                write(body[: len(body) // 2] if how == "cut" else body)
        except OSError:
            pass


class Recordings:
    """Serves each topic's recorded articles in turn, a page at a time.

    The world moves on with what the ledger has finished: the recording after the one whose last
    page is done is served next. So a request that was lost finds what it would have found.
    Now and then an answer goes wrong first, as `faults` says by topic, recording and page.
    """

    def __init__(
        self,
        recorded: Mapping[str, Sequence[Sequence[Any]]],
        page_size: int,
        folder: Path,
        faults: Callable[[str, int, int], Sequence[Reply]] = lambda topic, number, page: (),
        pause: float = 0.0,
    ) -> None:
        self.recorded, self.size, self.folder = recorded, page_size, folder
        self.faults, self.pause = faults, pause
        self.asks: Counter[tuple[str, int, int]] = Counter()
        self.bad: Counter[str] = Counter()
        self._ledger: Ledger | None = None

    def pages(self, topic: str, number: int) -> int:
        return max(1, -(-len(self.recorded[topic][number]) // self.size))

    def number(self, topic: str) -> int:
        """Return which recording of a topic is on."""
        if self._ledger is None:
            self._ledger = Ledger.read(self.folder)
        rows = self._ledger._database.rows(
            "SELECT page FROM requests WHERE topic = ? AND state = 'done' AND entries > 0"
            " ORDER BY id",
            topic,
        )
        number = 0
        for (page,) in rows:
            if number < len(self.recorded[topic]) and page == self.pages(topic, number):
                number += 1
        return number

    def over(self) -> bool:
        return bool(self.asks) and all(
            self.number(topic) == len(self.recorded[topic]) for topic in self.recorded
        )

    def __call__(self, asked: Asked) -> Reply:
        if asked.headers.get("X-Api-Key") != KEY:
            return error(401, "apiKeyInvalid", "Your API key is invalid or incorrect.")
        topic, page = asked.parameters["category"], asked.page
        number = self.number(topic)  # who asks has made a ledger
        if number == len(self.recorded[topic]):
            return articles([])
        time.sleep(self.pause)
        at = topic, number, page
        faults = self.faults(*at)
        self.asks[at] += 1
        if self.asks[at] <= len(faults):
            fault = faults[self.asks[at] - 1]
            self.bad[f"{fault.status} {fault.how}"] += 1
            return fault
        found = self.recorded[topic][number]
        return articles(found[(page - 1) * self.size : page * self.size], len(found))


def fast(url: str, **other: Any) -> NewsApi:
    """Return settings that wait for nothing long."""
    given = {
        "plan": Plan(requests=1_000_000, per="1s"),
        "connect": "2s", "silence": "400ms", "timeout": "800ms",
        "backoff": "2ms", "backoff_max": "1s",
    }  # fmt: skip
    return NewsApi(base_url=url, **{**given, **other})


def topics_of(names: Sequence[str]) -> tuple[Topic, ...]:
    return tuple(Topic.model_validate({"name": name, "category": name}) for name in names)


def now() -> int:
    return time.time_ns() // 1000


def ingest(folder: str, url: str, names: str, page_size: str, pages: str) -> None:
    """Run an agent until it is killed, or ends because nothing can work."""
    patient = {"silence": "20s", "timeout": "20s"}  # machines under test may be slow
    settings = fast(url, page_size=int(page_size), pages=int(pages), **patient)
    with Ledger.open(Path(folder)) as ledger:
        client = Client(settings, KEY)
        agent = Agent(
            settings, topics_of(names.split(",")), 0, ledger, client, now, threading.Event(), print
        )  # fmt: skip
        agent.run(None)
        sys.exit(agent.failure)


if __name__ == "__main__":
    ingest(*sys.argv[1:])
