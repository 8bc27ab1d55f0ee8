"""A NewsAPI on the loopback address: the synthetic newsroom behind a real HTTP server.

Its clock runs faster than ours, so that months of news pass in a minute. It can be made to fail in
the ways that the real one does, and in some more. To try a live configuration by hand::

    python -m scenarios.newsserver --port 8900
"""

from __future__ import annotations

import hmac
import json
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click

from engine.errors import InputError
from engine.quantities import duration_micros
from engine.seeds import generator
from scenarios.newsroom import START, TOPICS, Script, Story, articles
from scenarios.newsstand import Newsstand, Refusal, answer
from scenarios.newstape import RECORDING, latest_start, read_responses

KEY = "demo-key-of-the-newsroom"
"""The key that this server takes unless told otherwise; it opens nothing else."""
ASKED_MAX = 10_000
"""How many of the newest questions are remembered."""
EVERY = 7
"""Faults of articles hit each seventh article of a response."""


# --- faults ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back over the wire.

    Parameters
    ----------
    status
        The HTTP status.
    body
        The bytes of the body.
    headers
        More headers than the usual ones.
    slow
        Whether it is sent only after a long time.
    sent
        How many bytes of the body are sent before the connection is dropped; None is all of
        them, -1 is not even a status.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    sent: int | None = None


def written(status: int, content: Any) -> Response:
    """Return a response of JSON."""
    return Response(status, json.dumps(content, ensure_ascii=False).encode())


def refused(status: int, code: str, message: str) -> Response:
    """Return a response in which NewsAPI says no."""
    return written(status, Refusal(status, code, message).body())


def rate_limited(_: Response) -> Response:
    """Answer 429, and say to come back in a second."""
    message = "You have made too many requests recently. Please upgrade to a paid plan."
    return replace(refused(429, "rateLimited", message), headers={"Retry-After": "1"})


def server_error(_: Response) -> Response:
    """Answer 500 as NewsAPI does."""
    message = "Something went wrong on our side. Please try again later."
    return refused(500, "unexpectedError", message)


def gateway_error(_: Response) -> Response:
    """Answer 502 with the page of a proxy."""
    return Response(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>")


def html(_: Response) -> Response:
    """Answer 200 with a page that is no JSON."""
    return Response(200, b"<!DOCTYPE html><html><body>Please log in.</body></html>")


def empty(_: Response) -> Response:
    """Answer 200 with an empty object."""
    return Response(200, b"{}")


def error_in_ok(_: Response) -> Response:
    """Answer 200 with the body of an error."""
    return refused(200, "unexpectedError", "Something went wrong on our side.")


def slow(response: Response) -> Response:
    """Answer after a long time."""
    return replace(response, slow=True)


def dropped(response: Response) -> Response:
    """Drop the connection without an answer."""
    return replace(response, sent=-1)


def truncated(response: Response) -> Response:
    """Drop the connection in the middle of the body."""
    return replace(response, sent=len(response.body) // 2)


def cut(response: Response) -> Response:
    """Send half of the body as if it were all."""
    return replace(response, body=response.body[: len(response.body) // 2])


def with_articles(response: Response, change: Callable[[dict[str, Any]], Any]) -> Response:
    """Return a response in which each `EVERY`-th article is changed; errors stay as they are."""
    content = json.loads(response.body)
    if "articles" not in content:
        return response
    content["articles"] = [
        change(entry) if at % EVERY == EVERY // 2 else entry
        for at, entry in enumerate(content["articles"])
    ]
    return written(response.status, content)


def nulls(response: Response) -> Response:
    """Let all fields of some articles be null."""
    return with_articles(response, lambda entry: dict.fromkeys(entry))


def removed(response: Response) -> Response:
    """Let some articles be withdrawn, as NewsAPI writes it."""
    gone: dict[str, Any] = dict.fromkeys(("title", "description", "content"), "[Removed]")
    gone |= {"source": {"id": None, "name": "[Removed]"}, "author": None, "urlToImage": None}
    gone |= {"url": "https://removed.com", "publishedAt": "1970-01-01T00:00:00Z"}
    return with_articles(response, lambda entry: gone)


def missing_keys(response: Response) -> Response:
    """Let some articles lack description and url."""
    lacking = ("description", "url")
    return with_articles(
        response, lambda entry: {name: entry[name] for name in entry if name not in lacking}
    )


def old_dates(response: Response) -> Response:
    """Let some articles be of 1970."""
    return with_articles(response, lambda entry: {**entry, "publishedAt": "1970-01-01T00:00:00Z"})


def strangers(response: Response) -> Response:
    """Let some articles be no objects."""
    return with_articles(response, lambda entry: entry["title"])


FAULTS: dict[str, Callable[[Response], Response]] = {
    fault.__name__: fault
    for fault in (
        rate_limited, server_error, gateway_error, html, empty, error_in_ok, slow, dropped,
        truncated, cut, nulls, removed, missing_keys, old_dates, strangers,
    )
}  # fmt: skip
"""What can go wrong with a response, by name."""
SOME_FAULTS: Mapping[str, float] = {
    "rate_limited": 0.01, "server_error": 0.02, "html": 0.01, "empty": 0.01, "dropped": 0.01,
    "truncated": 0.01, "nulls": 0.02, "removed": 0.02, "missing_keys": 0.01,
}  # fmt: skip
"""The chances of faults in the demo: about one response in eight."""
SPEED = 2 * 86_400.0
"""Two days of news a second: the recording's twelve weeks pass in 42 seconds."""
DEMO_STEP = 2 * 86_400.0 / len(TOPICS)
"""In the demo two days of news pass in a round over the topics, however long it takes."""
DEMO_ROUNDS = 44
"""After so many rounds of the demo all its news have come."""


# --- the server -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that the server was asked, without its key.

    Parameters
    ----------
    number
        Counts the questions from 0.
    path
        The endpoint.
    parameters
        What was asked for.
    status
        The HTTP status of the answer.
    fault
        The fault that was put in, if any.
    """

    number: int
    path: str
    parameters: Mapping[str, str]
    status: int
    fault: str | None


class NewsServer:
    """Serve synthetic news over HTTP, as NewsAPI would, while the `with` block lasts.

    Parameters
    ----------
    stories
        The news, in order; None: the recording that ships, or with a `seed` articles that are
        made for it.
    seed
        Seed of articles that are made, and of the faults.
    script
        The drifts of articles that are made.
    key
        The key to ask with.
    speed
        How many seconds of news pass in one second.
    step
        How many seconds of news pass with each request, beside that.
    head_start
        Seconds of news that have passed when the server starts.
    start
        When the news begins, microseconds since 1970; the recording's own times unless given.
    faults
        The chance of each fault of `FAULTS`, per request; together at most 1.
    plan
        What goes wrong with which request, counted from 0: `{3: "html"}`.
    quota
        How many requests are answered before 429; None is without end.
    cache_dir
        Folder for what SDV fits and samples; None: a folder that is deleted again.
    slow_seconds
        How long a slow answer takes.
    port
        The port; 0 takes a free one.
    clock
        Returns seconds that pass; only differences count.
    log
        Is told each question in a line; None: nobody is.

    Examples
    --------
    >>> story = Story("science", None, START, {"title": "Moon found", "url": "https://a.example"})
    >>> with NewsServer([story]) as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        stories: Iterable[Story] | None = None,
        *,
        seed: int | None = None,
        script: Script = (),
        key: str = KEY,
        speed: float = SPEED,
        step: float = 0.0,
        head_start: float = 86_400.0,
        start: int | None = None,
        faults: Mapping[str, float] | None = None,
        plan: Mapping[int, str] | None = None,
        quota: int | None = None,
        cache_dir: Path | None = None,
        slow_seconds: float = 30.0,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.faults, self.plan = dict(faults or {}), dict(plan or {})
        unknown = sorted({*self.faults, *self.plan.values()} - set(FAULTS))
        if unknown:
            raise InputError(f"no fault {unknown[0]!r}: there are {', '.join(FAULTS)}")
        if min(self.faults.values(), default=0) < 0 or sum(self.faults.values()) > 1:
            raise InputError("the chances of faults must not be negative, nor more than 1 together")
        if speed < 0 or step < 0 or speed + step == 0:
            raise InputError(
                "speed and step must not be negative, nor both 0: time would stand still"
            )
        self._folder = tempfile.TemporaryDirectory() if cache_dir is None else None
        self.key, self.speed, self.step = key, speed, step
        self.quota, self.log = quota, log
        self.head_start, self.clock, self.seed = head_start, clock, seed or 0
        self.slow_seconds = slow_seconds
        self.start = START if start is None else start
        if stories is None and seed is None:
            stories = read_responses(RECORDING.read_bytes(), self.start)
        elif stories is None:
            folder = cache_dir or Path(self._folder.name if self._folder else "")
            stories = articles(self.seed, script, cache_dir=folder, start=self.start)
        self.stand = Newsstand(stories)
        self.stand.open_until(self.start)
        self.asked: deque[Asked] = deque(maxlen=ASKED_MAX)
        self.counts: Counter[str] = Counter()
        self._number, self._lock, self._over = 0, threading.Lock(), threading.Event()
        self._http = Http(("127.0.0.1", port), handler_of(self))
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._began = clock()

    @property
    def url(self) -> str:
        """What a configuration has as its `base_url`."""
        return f"http://127.0.0.1:{self._http.server_port}/v2"

    @property
    def now(self) -> int:
        """The time of the news, microseconds since 1970."""
        passed = self.head_start + (self.clock() - self._began) * self.speed
        passed += self._number * self.step
        return self.start + round(passed * 1_000_000)

    def __enter__(self) -> NewsServer:
        self._began = self.clock()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving, at once; slow answers are not waited for."""
        self._over.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        if self._folder is not None:
            self._folder.cleanup()

    def respond(self, target: str, key: str | None) -> Response:
        """Return what goes back for a request, its fault included.

        Parameters
        ----------
        target
            Path and query as in the request's first line.
        key
            The key that came in a header, if one did.
        """
        parts = urlsplit(target)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        key = asked.pop("apiKey", None) if key is None else key
        path = parts.path.removeprefix("/v2/")
        with self._lock:
            number, self._number = self._number, self._number + 1
            try:
                self._admit(key)
                response = written(200, answer(self.stand, path, asked, self.now))
            except Refusal as refusal:
                response = written(refusal.status, refusal.body())
            fault = self._fault(number)
            response = FAULTS[fault](response) if fault else response
            self.asked.append(Asked(number, path, asked, response.status, fault))
            self.counts[fault or str(response.status)] += 1
        if self.log is not None:
            shown = " ".join(f"{name}={value}" for name, value in asked.items())
            self.log(f"{path} {shown}: {response.status} {fault or ''}".rstrip())
        return response

    def wait(self) -> bool:
        """Wait as long as slow answers take; return whether the server is still there."""
        return not self._over.wait(self.slow_seconds)

    def _admit(self, key: str | None) -> None:
        """Raise Refusal unless the key is right and the quota is not spent."""
        if not key:
            message = "Your API key is missing. Append this to the URL with the apiKey param, or"
            raise Refusal(401, "apiKeyMissing", f"{message} use the x-api-key HTTP header.")
        if not hmac.compare_digest(key.encode(), self.key.encode()):
            message = "Your API key is invalid or incorrect. Check your key, or go to"
            message = f"{message} https://newsapi.org to create a free API key."
            raise Refusal(401, "apiKeyInvalid", message)
        if self.quota is not None and self.quota <= 0:
            message = "You have made too many requests recently. Developer accounts are limited."
            raise Refusal(429, "rateLimited", message)
        self.quota = None if self.quota is None else self.quota - 1

    def _fault(self, number: int) -> str | None:
        """Return what goes wrong with a request: as planned, or by chance."""
        if number in self.plan:
            return self.plan[number]
        chance = float(generator(self.seed, "fault", number).random())
        for name, share in self.faults.items():
            chance -= share
            if chance < 0:
                return name
        return None


class Http(ThreadingHTTPServer):
    """An HTTP server that waits for nobody when it closes, and is silent about lost clients."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hung up."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def handler_of(server: NewsServer) -> type[BaseHTTPRequestHandler]:
    """Return the handler of the requests to a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            self.close_connection = True
            response = server.respond(self.path, self.headers.get("X-Api-Key"))
            if response.slow and not server.wait():
                return
            if response.sent is not None and response.sent < 0:
                return
            self.send_response(response.status)
            page = response.body.startswith(b"<")
            self.send_header("Content-Type", "text/html" if page else "application/json")
            self.send_header("Content-Length", str(len(response.body)))
            self.send_header("Connection", "close")
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body[: response.sent])

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


# --- for people -----------------------------------------------------------------------------


def demo_server() -> NewsServer:
    """Return the server of the demo: the recording that ships, over by today, with faults."""
    start = latest_start(time.time_ns() // 1000)
    return NewsServer(speed=0, step=DEMO_STEP, start=start, faults=SOME_FAULTS)


def forever() -> None:
    """Wait until somebody interrupts."""
    threading.Event().wait()


@click.command()
@click.option("--port", default=8900, show_default=True, help="The port; 0 takes a free one.")
@click.option("--speed", default="2d", show_default=True, help="News that pass in a second.")
@click.option("--seed", type=int, help="Make new articles instead of playing those that ship.")
@click.option("--faults/--no-faults", default=True, show_default=True, help="Fail now and then.")
def main(port: int, speed: str, seed: int | None, faults: bool) -> None:
    """Serve synthetic news as NewsAPI would, until Ctrl-C."""
    try:
        server = NewsServer(
            seed=seed,
            speed=duration_micros(speed) / 1_000_000,
            start=latest_start(time.time_ns() // 1000),
            faults=SOME_FAULTS if faults else {},
            port=port,
            log=click.echo,
        )
    except (InputError, ValueError, OverflowError, OSError) as error:
        raise click.ClickException(str(error)) from None
    with server:
        click.echo(f"base_url: {server.url}\nNEWSAPI_KEY={server.key}")
        try:
            forever()
        except KeyboardInterrupt:
            click.echo("stopped")


if __name__ == "__main__":
    main()
