"""The figures of a run over HTTP, for Prometheus: `--metrics-port` of `run` and `live`.

A server of its own, in threads of its own, reads what others count; it changes no outcome, and a
run without it does nothing for it.
"""

from __future__ import annotations

import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from engine import __version__
from engine.errors import EngineError, InputError
from engine.news.quota import round_micros
from engine.quantities import duration_micros
from engine.tallies import (
    FIGURES,
    MICROS,
    OTHER,
    VALUES_MAX,
    Clock,
    Key,
    Listener,
    Readings,
    Tallies,
    joined,
)

if TYPE_CHECKING:
    from prometheus_client import Metric

    from engine.news.ledger import Ledger
    from engine.news.live import Live
    from engine.progress import Progress
    from engine.training.pool import ProcessTrainer

PREFIX = "driftline_"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEPT = "kept"
"""The fate of an article that became a row."""
FRESH_SECONDS = 1.0
"""What the ledger says is asked for at most so often."""
ASK_SECONDS = 10.0
"""How long a client may take to ask, and an answer to be made."""
ANOMALIES = (
    "key_refused", "topic_refused", "rate_limited", "bad_answer", "request_failed", "volume_drop",
    "empty_poll", "null_rate_jump", "duplicate_burst", "published_in_future", "published_long_ago",
    "source_mix_change", "language_change", "schema_change",
)  # fmt: skip
"""What may be odd about ingestion: counted from 0 on in a live run."""

Source = Callable[[], Readings]


class Metrics:
    """Serves the readings of its sources until it is closed.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.

    Raises
    ------
    InputError
        If it cannot listen there.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> with Metrics("127.0.0.1", 0) as metrics:
    ...     metrics.show(lambda: {("jobs_pending",): 2.0})
    ...     page = urlopen(metrics.url).read().decode()
    >>> [line for line in page.splitlines() if line.startswith("driftline_jobs")]
    ['driftline_jobs_pending 2.0']
    """

    def __init__(self, host: str, port: int) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._sources: list[Source] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._server = _Server(host, port, self._answer)
        # One thread makes all pages: each thread that asks a ledger holds it open.
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the figures are."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/metrics"

    def show(self, source: Source) -> None:
        """Show the readings of a source too, from now on."""
        self._sources.append(source)

    def hide(self, source: Source) -> None:
        """Show a source no more; it is read no more when this returns."""
        self._sources.remove(source)
        self._maker.submit(bool).result()  # after the page that may be in the making

    def collect(self) -> Iterator[Metric]:
        """Yield all figures that there are now; Prometheus' client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        readings: dict[Key, float] = {}
        for source in list(self._sources):
            readings.update(source())
        families: dict[str, Any] = {}
        for key, value in readings.items():
            name, *values = key
            figure = FIGURES[name]
            if name not in families:
                family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
                families[name] = family(PREFIX + name, figure.meaning, labels=figure.labels)
            families[name].add_metric(values, value)
        yield from families.values()

    def close(self) -> None:
        """Stop listening; a page in the making is waited for, as others close what it reads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._maker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self) -> bytes:
        """Return the page."""
        from prometheus_client import generate_latest

        return self._maker.submit(generate_latest, self._registry).result(ASK_SECONDS)


# --- the server -----------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    """Listens at one address."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, answer: Callable[[], bytes]) -> None:
        self.host, self.answer = host, answer
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            why = error.strerror or str(error)
            message = f"metrics cannot be served at {host} ({why}); give another --metrics-port"
            raise InputError(message, f"--metrics-port {port}") from None

    def server_bind(self) -> None:
        """Take the address, without asking name servers what it is called."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    server: _Server
    timeout = ASK_SECONDS

    def do_GET(self) -> None:
        """Answer with the page, or with what is wrong."""
        asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if self.server.host in LOOPBACK and asked not in (*LOOPBACK, None):
            self._send(403, b"these figures are for this machine only\n")
        elif urlsplit(self.path).path != "/metrics":
            self._send(404, b"the figures are at /metrics\n")
        else:
            try:
                page = self.server.answer()
            except (TimeoutError, RuntimeError):
                self._send(503, b"no figures at the moment\n")
            else:
                self._send(200, page, "text/plain; version=0.0.4; charset=utf-8")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet about requests."""

    def _send(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def opened(host: str, port: int | None, tell: Callable[[str], None]) -> Iterator[Metrics | None]:
    """Serve metrics while the block runs; without a port there are none.

    Raises
    ------
    InputError
        If it cannot listen there.
    """
    if port is None:
        yield None
        return
    with Metrics(host, port) as metrics:
        tell(f"metrics: {metrics.url}")
        yield metrics


# --- sources --------------------------------------------------------------------------------


def of_run(mode: str, about: Mapping[str, Any], progress: Progress) -> Source:
    """Return the source of what all processes of a run have counted.

    Parameters
    ----------
    mode
        ``run`` or ``live``.
    about
        The content of `run.json`.
    progress
        How far the run is, with the tallies of its processes.
    """
    policy = about["scenario"]["policy"]
    kind = policy["kind"] if isinstance(policy, Mapping) else str(policy)
    known: dict[Key, float] = {
        ("build_info", __version__, platform.python_version()): 1.0,
        ("run_info", mode, str(about["name"]), str(about["seed"]), kind): 1.0,
        ("source_rows",): float(progress.rows),
    }

    def read() -> Readings:
        return known | joined(one.readings() for one in list(progress.tallies.values()))

    return read


def of_ledger(ledger: Ledger, live: Live, newest: Callable[[], int | None], clock: Clock) -> Source:
    """Return the source of what only live mode knows.

    Parameters
    ----------
    ledger
        What was ingested.
    live
        The settings.
    newest
        Returns when the newest article came, microseconds since 1970; None: none came yet.
    clock
        Returns the microseconds since 1970.
    """
    began, last, asked = clock(), dict[Key, float](), -FRESH_SECONDS

    def read() -> Readings:
        nonlocal last, asked
        moment = time.monotonic()
        if moment - asked >= FRESH_SECONDS:
            try:
                last = {**_ingested(ledger), **_planned(ledger, live, clock()), ("ledger_up",): 1.0}
            except EngineError:
                last = {**last, ("ledger_up",): 0.0}
            asked = moment
        since = newest()
        lag = max(0, clock() - (began if since is None else since))
        return {**last, ("lag_seconds",): lag / MICROS}

    return read


@contextmanager
def measured(
    metrics: Metrics | None,
    about: Mapping[str, Any],
    live: Live,
    ledger: Ledger,
    trainer: ProcessTrainer,
    progress: Progress,
    past: int,
    newest: Callable[[], int | None],
    clock: Clock,
) -> Iterator[Listener | None]:
    """Show the figures of a live run while the block runs, and give the listener that counts.

    Parameters
    ----------
    metrics
        Where; None: nowhere, and there is no listener.
    about
        The content of `run.json`.
    live, ledger, trainer, progress
        The parts of the run.
    past
        How many records were there before.
    newest, clock
        As `of_ledger` has them.
    """
    if metrics is None:
        yield None
        return
    streams, pool = {live.stream: 0}, lambda: trainer.stats
    tallies = Tallies(live, streams, progress, past, clock(), clock, pool, ANOMALIES)
    progress.tallies[live.stream] = tallies
    ingestion = of_ledger(ledger, live, newest, clock)
    metrics.show(of_run("live", about, progress))
    metrics.show(ingestion)
    try:
        yield tallies.listen
    finally:
        metrics.hide(ingestion)


def _planned(ledger: Ledger, live: Live, now: int) -> dict[Key, float]:
    """Return how much of the plan is spent, and when the next round may begin."""
    plan = live.newsapi.plan
    budget = ledger.budget(plan, now)
    begun = ledger.recall("round") or {"at": now, "after": ledger.last()}
    requests = max(len(live.topics), ledger.last() - begun["after"])
    due = begun["at"] + round_micros(requests, plan, duration_micros(live.interval))
    return {
        ("quota_used",): float(budget.used),
        ("quota_limit",): float(plan.requests),
        ("next_poll_timestamp_seconds",): max(due, budget.next_at) / MICROS,
    }


def _ingested(ledger: Ledger) -> dict[Key, float]:
    """Return what came of requests so far; topics of which there are too many are one."""
    totals = ledger.totals()
    found: dict[Key, float] = {
        ("newsapi_retried_total",): float(totals["retried"]),
        ("newsapi_lost_total",): float(totals["lost"]),
    }
    for at, (topic, one) in enumerate(sorted(totals["topics"].items())):
        label = topic if at < VALUES_MAX else OTHER
        counts: dict[Key, int] = {("newsapi_requests_total", label): one["requests"]}
        for fate, entries in {KEPT: one["rows"], **one["dropped"]}.items():
            counts["articles_total", label, fate] = entries
        for key, value in counts.items():
            found[key] = found.get(key, 0.0) + float(value)
    return found
