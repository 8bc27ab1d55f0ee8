"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Figures:
    """The server's figures.

    Examples
    --------
    >>> figures = Figures()
    >>> figures.count("/predict", 200, 0.001, rows=2)
    >>> "driftline_rows_total 2.0" in figures.text().decode()
    True
    """

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        self._requests = Counter(
            "driftline_requests", "Requests, by path and answer.", ("path", "code"),
            registry=self._all,
        )  # fmt: skip
        self._rows = Counter("driftline_rows", "Rows answered.", registry=self._all)
        self._errors = Counter(
            "driftline_errors", "Requests refused (input) or failed.", ("kind",), registry=self._all
        )
        self._seconds = Histogram(
            "driftline_request_seconds", "Time to answer /predict.", buckets=BUCKETS,
            registry=self._all,
        )  # fmt: skip
        for kind in ("input", "failure"):
            self._errors.labels(kind)

    def count(self, path: str, code: int, seconds: float, rows: int = 0) -> None:
        """Count a request."""
        self._requests.labels(path, str(code)).inc()
        if rows:
            self._rows.inc(rows)
        if code >= 400:
            self._errors.labels("failure" if code >= 500 else "input").inc()
        if path == "/predict":
            self._seconds.observe(seconds)

    def follow(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Have a figure read whenever somebody asks."""
        Gauge(f"driftline_{name}", meaning, registry=self._all).set_function(value)

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        found: bytes = generate_latest(self._all)
        return found
