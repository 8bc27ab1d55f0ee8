"""The logs of a running program: system, drift, performance; a disk that fails ends no stream.

Each is a logger of the standard library, ``driftline.system`` and so on, with a file that rotates.
Several processes may write to the same file: each line goes in whole, and only one rotates it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from engine.configuration import Configured, Journal, Logging
from engine.events import Event, iso
from engine.ledger import Outcomes
from engine.secrets import masked
from engine.state import Effects

LEVELS = {
    "alarm": logging.WARNING,
    "anomaly": logging.WARNING,
    "alert": logging.WARNING,
    "request_dropped": logging.WARNING,
    "rollback": logging.WARNING,
    "job_failed": logging.ERROR,
    "stream_failed": logging.ERROR,
}
"""How grave a kind of event is; all others are information."""
ALERTS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
RETRY_SECONDS = 30.0
"""How long a log that could not be written is left alone."""
LOCK = ".journals.lock"
LOCK_SECONDS = 2.0
"""How long to wait for another process that writes, which as a rule takes no time at all."""
FIELDS = "fields"
"""Attribute of a log record that holds the line's fields."""


class Text(logging.Formatter):
    """Formats a line for people: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what cannot be printed is spelt out."""
        said = "".join(one if one.isprintable() else repr(one)[1:-1] for one in record.getMessage())
        return f"{iso(int(record.created * 1e6))} {record.levelname.lower():7} {said}"


class Json(logging.Formatter):
    """Formats a line for programs: an object with time, level, and its fields or message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        head = {"time": iso(int(record.created * 1e6)), "level": record.levelname.lower()}
        fields: Mapping[str, Any] | None = getattr(record, FIELDS, None)
        body = {"message": record.getMessage()} if fields is None else fields
        return json.dumps({**head, **body}, ensure_ascii=False, default=str)


class Pages(logging.Handler):
    """Appends lines to a file, and begins a new one when it is full.

    Parameters
    ----------
    path
        The file.
    max_bytes
        How large it may get; the old one is then called ``.1``, the one before it ``.2``.
    backups
        How many old ones are kept.
    tell
        Takes one line when the disk fails, and one when it works again.
    clock
        Returns seconds that never go back.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        backups: int,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.path, self.max_bytes, self.backups = path, max_bytes, backups
        self._tell, self._clock = tell, clock
        self._again = 0.0
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or lose it: what runs goes on in any case."""
        if self.lost and self._clock() < self._again:
            self.lost += 1
            return
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
            self._write(line)
        except Exception as error:
            first, self.lost = not self.lost, self.lost + 1
            self._again = self._clock() + RETRY_SECONDS
            if first:  # who is told may well write it to this very log
                reason = error.strerror if isinstance(error, OSError) else type(error).__name__
                self._say(f"{self.path} cannot be written ({reason}); the stream goes on without")
        else:
            lost, self.lost = self.lost, 0
            if lost:
                self._say(f"{self.path} is written again; {lost} lines of it are lost")

    def _say(self, line: str) -> None:
        with suppress(Exception):  # a terminal that is gone ends no stream either
            self._tell(line)

    def _write(self, line: bytes) -> None:
        """Append a line as a whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(self.path.parent / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            _take(lock)
            self._rotate(len(line))
            file = os.open(self.path, flags, 0o640)
            try:
                size = os.fstat(file).st_size
                if os.write(file, line) != len(line):
                    os.ftruncate(file, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)
        finally:
            os.close(lock)

    def _rotate(self, more: int) -> None:
        """Begin a new file if the line would make this one too long."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if not size or size + more <= self.max_bytes:
            return
        old = [self.path, *(Path(f"{self.path}.{n}") for n in range(1, self.backups + 1))]
        for source, target in reversed(list(pairwise(old))):
            if source.exists():
                source.replace(target)
        if not self.backups:
            self.path.unlink()


def _take(lock: int) -> None:
    """Lock a file, or raise OSError if another process will not let go of it."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise OSError(errno.EBUSY, "another process holds its lock") from None
            time.sleep(0.001)


class Blocks:
    """Cuts a stream's outcomes into blocks of records and sums each up.

    Parameters
    ----------
    every
        Records to a block. Blocks lie where they lie, however the rows come in.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._begin()

    def _begin(self) -> None:
        self._predicted = self._scored = self._baseline = 0
        self._errors = self._baseline_errors = 0.0
        self._model = -1

    def take(self, rows: Outcomes) -> list[dict[str, Any]]:
        """Take rows in order of seq; return the figures of each block that is complete."""
        found = []
        cuts = np.flatnonzero((rows.seqs + 1) % self.every == 0) + 1
        start = 0
        for end in [*cuts.tolist(), len(rows)]:
            self._add(rows.models[start:end], rows.errors[start:end])
            known = rows.baseline_errors[start:end]
            known = known[~np.isnan(known)]
            self._baseline += len(known)
            self._baseline_errors += float(known.sum())
            if end > start and (int(rows.seqs[end - 1]) + 1) % self.every == 0:
                found.append(self._figures(int(rows.seqs[end - 1]), int(rows.times[end - 1])))
                self._begin()
            start = end
        return found

    def _add(self, models: Any, errors: Any) -> None:
        known = errors[~np.isnan(errors)]
        self._predicted += int((models >= 0).sum())
        self._scored += len(known)
        self._errors += float(known.sum())
        self._model = int(models[-1]) if len(models) else self._model

    def _figures(self, seq: int, moment: int) -> dict[str, Any]:
        return {
            "event_time": iso(moment),
            "seq": seq,
            "records": self.every,
            "predicted": self._predicted,
            "scored": self._scored,
            "error_rate": _rate(self._errors, self._scored),
            "baseline_error_rate": _rate(self._baseline_errors, self._baseline),
            "model": self._model if self._model >= 0 else None,
        }


def _rate(errors: float, count: int) -> float | None:
    return round(errors / count, 6) if count else None


class Journals:
    """The logs of one program; without settings it writes none.

    Parameters
    ----------
    settings
        Which logs there are.
    folder
        Where they are.
    tell
        Takes a line when a log cannot be written.
    secrets
        What no line may hold.
    since
        The first arrival that is news: a live run that goes on tells what was before again.

    Examples
    --------
    >>> with Journals(None, Path("logs")) as journals:
    ...     journals.say("nobody hears this")
    """

    def __init__(
        self,
        settings: Logging | None,
        folder: Path,
        tell: Callable[[str], None] = lambda line: None,
        secrets: Iterable[str | None] = (),
        since: int = 0,
    ) -> None:
        self.since, self._tell = since, tell
        self._secrets = tuple(secrets)
        self._blocks: dict[str, Blocks] = {}
        self._handlers: dict[str, logging.Handler] = {}
        self._every = 0
        if settings is not None:
            for name in ("system", "drift", "performance"):
                self._add(name, getattr(settings, name), folder)
            if settings.performance is not None:
                self._every = settings.performance.every

    @staticmethod
    def of(
        configured: Configured,
        tell: Callable[[str], None],
        secrets: Iterable[str | None] = (),
        since: int = 0,
    ) -> Journals:
        """Return the logs that a configuration asks for."""
        folder = configured.path("logging.folder") or Path("logs")
        return Journals(configured.settings.logging, folder, tell, secrets, since)

    def _add(self, name: str, journal: Journal | None, folder: Path) -> None:
        """Have a logger write to its file, instead of to that of a program before."""
        logger = logging.getLogger(f"driftline.{name}")
        for old in [old for old in logger.handlers if isinstance(old, Pages)]:
            logger.removeHandler(old)
        if journal is None:
            return
        handler = Pages(folder / journal.file, journal.max_bytes, journal.backups, self._tell)
        handler.setFormatter(Text() if journal.format == "text" else Json())
        logger.addHandler(handler)
        logger.setLevel(journal.level.upper())
        logger.propagate = False
        self._handlers[name] = handler

    def say(self, line: str, level: str = "info") -> None:
        """Write a line to the system log."""
        self._log("system", logging.getLevelNamesMapping()[level.upper()], line)

    def listen(self, stream: str, effects: Effects) -> None:
        """Write what happened to a stream: events to the drift log, figures to the other."""
        for event in effects.events:
            if event.seq >= self.since:
                self._happened(event)
        if self._every and "performance" in self._handlers:
            blocks = self._blocks.setdefault(stream, Blocks(self._every))
            for rows in effects.outcomes:
                for figures in blocks.take(rows):
                    if figures["seq"] >= self.since:
                        self._perform(stream, figures)

    def _happened(self, event: Event) -> None:
        from engine.printing import gist

        if "drift" not in self._handlers:
            return
        level = LEVELS.get(event.kind, logging.INFO)
        if event.kind == "alert":
            level = ALERTS.get(str(event.details.get("level")), level)
        if str(event.details.get("what", "")).endswith("_over"):
            level = logging.INFO
        fields = json.loads(event.line())
        said = f"{event.stream} {event.kind} at record {event.seq}: {gist(fields)}"
        self._log("drift", level, said.removesuffix(": "), fields)

    def _perform(self, stream: str, figures: Mapping[str, Any]) -> None:
        rate, baseline = figures["error_rate"], figures["baseline_error_rate"]
        told = [
            f"{stream} to record {figures['seq']}",
            "no error known" if rate is None else f"error {rate:.4f}",
            *(() if baseline is None else (f"first model {baseline:.4f}",)),
            f"model {figures['model']}",
        ]
        self._log("performance", logging.INFO, ", ".join(told), {"stream": stream, **figures})

    def _log(
        self, name: str, level: int, line: str, fields: Mapping[str, Any] | None = None
    ) -> None:
        if name not in self._handlers:
            return
        line = masked(line, self._secrets)
        if fields is not None and self._secrets:
            fields = json.loads(masked(json.dumps(fields), self._secrets))
        extra = None if fields is None else {FIELDS: fields}
        logging.getLogger(f"driftline.{name}").log(level, "%s", line, extra=extra)

    def close(self) -> None:
        """Let go of the loggers."""
        for name, handler in self._handlers.items():
            logging.getLogger(f"driftline.{name}").removeHandler(handler)
        self._handlers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
