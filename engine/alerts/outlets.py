"""Delivers alerts to people: a log that rotates, a webhook, Amazon SNS.

Delivery never stalls or ends a run: each outlet has a bounded queue and a thread of its own, tries
again a few times, and then gives up with one line. What was delivered is marked in a file, so
that an alert which a run tells again after a restart is not sent twice, and one that was cut off
is sent after all: at least once.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Protocol

from engine.alerts.rules import LogOutlet, Notify, Remote, SnsOutlet, WebhookOutlet
from engine.errors import InputError
from engine.quantities import duration_micros

QUEUE_MAX = 1000
"""Alerts that wait for one outlet; what comes on top is left for the next start."""
WAIT_SECONDS = 1.0
"""How long to wait before the second attempt; twice as long before each further one."""
WAIT_SECONDS_MAX = 60.0
SUBJECT_MAX = 100
"""Characters that SNS allows in a subject, ASCII only and on one line."""
PASSING = {408, 425, 429}
"""Statuses below 500 that are worth another attempt."""

Alert = Mapping[str, Any]
Say = Callable[[str], None]


class NotDelivered(Exception):
    """An alert was not delivered; the text tells why and holds no secret.

    Parameters
    ----------
    reason
        Why, in a few words.
    final
        Whether another attempt is in vain.
    """

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Outlet(Protocol):
    """A way to tell people."""

    attempts: int

    def send(self, alert: Alert) -> None:
        """Deliver one alert, or raise `NotDelivered`."""


# --- the ways -------------------------------------------------------------------------------


class Log:
    """Writes each alert as a line of JSON to a file that rotates."""

    attempts = 3

    def __init__(self, settings: LogOutlet, folder: Path) -> None:
        path = folder / settings.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = _Raising(
            path,
            maxBytes=settings.max_bytes,
            backupCount=settings.backups,
            encoding="utf-8",
            delay=True,
        )

    def send(self, alert: Alert) -> None:
        """Append one line."""
        line = json.dumps(alert, ensure_ascii=False)
        record = logging.LogRecord("alerts", logging.WARNING, "", 0, line, None, None)
        try:
            self._handler.emit(record)
        except OSError as error:
            raise NotDelivered(error.strerror or type(error).__name__) from None


class _Raising(RotatingFileHandler):
    """A log that says so when it cannot write."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


class Webhook:
    """Posts each alert as JSON, with its message as ``text``, which chat services show.

    The address may hold a secret: it is in no error and, as the HTTP library would log it, that
    library's messages below a warning are switched off.
    """

    def __init__(self, settings: WebhookOutlet, url: str) -> None:
        self.attempts = settings.attempts
        self._seconds, self._url = seconds_of(settings), url
        logging.getLogger("urllib3").setLevel(logging.WARNING)

    def send(self, alert: Alert) -> None:
        """Post one alert; any status from 200 to 299 will do."""
        import requests

        try:
            with requests.post(
                self._url,
                json={"text": text_of(alert), **alert},
                timeout=self._seconds,
                allow_redirects=False,
                stream=True,
            ) as answer:
                status = answer.status_code
        except (requests.RequestException, ValueError, OSError) as error:
            raise NotDelivered(type(error).__name__) from None
        if not 200 <= status < 300:
            final = status < 500 and status not in PASSING
            raise NotDelivered(f"HTTP status {status}", final)


class Sns:
    """Publishes each alert to a topic; credentials and endpoint are those of the AWS tools."""

    def __init__(self, settings: SnsOutlet) -> None:
        self.attempts = settings.attempts
        self._settings, self._client = settings, None

    def send(self, alert: Alert) -> None:
        """Publish one alert."""
        from botocore.exceptions import BotoCoreError, ClientError

        fifo = {}
        if self._settings.topic_arn.endswith(".fifo"):
            group = str(alert.get("stream", "alerts"))[:128]
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": dedup_of(alert)}
        try:
            self._connect().publish(
                TopicArn=self._settings.topic_arn,
                Subject=subject_of(alert),
                Message=f"{text_of(alert)}\n\n{json.dumps(alert, indent=2)}",
                **fifo,
            )
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "ClientError"))
            raise NotDelivered(code, final=code in ("NotFound", "InvalidParameter")) from None
        except (BotoCoreError, ValueError, OSError) as error:
            raise NotDelivered(type(error).__name__) from None

    def _connect(self) -> Any:
        """Return the client, made at first use."""
        if self._client is None:
            import boto3
            from botocore.config import Config

            seconds = seconds_of(self._settings)
            once = Config(
                connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 1}
            )
            region = self._settings.region or self._settings.topic_arn.split(":")[3]
            self._client = boto3.client("sns", region_name=region, config=once)
        return self._client


def seconds_of(settings: Remote) -> float:
    """Return the timeout in seconds.

    Examples
    --------
    >>> seconds_of(Remote(timeout="1m"))
    60.0
    """
    return max(0.001, duration_micros(settings.timeout) / 1e6)


def text_of(alert: Alert) -> str:
    """Return an alert as one line for people.

    Examples
    --------
    >>> text_of({"alert": "quota", "state": "raised", "level": "warning", "message": "Spent."})
    '[warning] quota raised: Spent.'
    """
    level, name = alert.get("level", "warning"), alert.get("alert", "alert")
    return f"[{level}] {name} {alert.get('state', '')}: {alert.get('message', '')}"


def subject_of(alert: Alert) -> str:
    r"""Return an alert as a subject that SNS takes.

    Examples
    --------
    >>> subject_of({"alert": "zu\nviel é", "state": "raised", "level": "warning", "message": ""})
    'Driftline [warning] zu viel ? raised:'
    """
    line = " ".join(f"Driftline {text_of(alert)}".split())
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in line)
    return plain if len(plain) <= SUBJECT_MAX else f"{plain[: SUBJECT_MAX - 3]}..."


def dedup_of(alert: Alert) -> str:
    """Return what tells an alert from others, as SNS wants it: letters and digits."""
    from hashlib import sha256

    return sha256(json.dumps(alert, sort_keys=True).encode()).hexdigest()


# --- delivery -------------------------------------------------------------------------------


class Marks:
    """Which alerts each outlet has delivered, in a file that survives any end of the process.

    A line is an outlet and a key; one that was cut off counts as not written.

    Parameters
    ----------
    path
        The file; it is made at the first mark.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        text = path.read_text("utf-8") if path.exists() else ""
        whole, newline, _ = text.rpartition("\n")
        self._torn = bool(text) and not text.endswith("\n")
        self._known = set(whole.split("\n")) if newline else set()

    def __contains__(self, mark: tuple[str, str]) -> bool:
        with self._lock:
            return _mark_line(mark) in self._known

    def add(self, outlet: str, key: str) -> None:
        """Write a mark down for good."""
        line = _mark_line((outlet, key))
        with self._lock:
            self._known.add(line)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n" if self._torn else f"{line}\n")
                self._torn = False
                file.flush()
                os.fsync(file.fileno())


def _mark_line(mark: tuple[str, str]) -> str:
    return json.dumps(mark, ensure_ascii=True)


class Delivery(threading.Thread):
    """Brings alerts to one outlet, one after the other, in a thread that no run waits for."""

    def __init__(self, name: str, outlet: Outlet, marks: Marks, say: Say) -> None:
        super().__init__(name=f"alerts-{name}", daemon=True)
        self._outlet_name, self._outlet, self._marks, self._say = name, outlet, marks, say
        self._waiting: queue.Queue[tuple[str, Alert] | None] = queue.Queue(QUEUE_MAX)
        self._ending = threading.Event()
        self._full = False
        self._taken = self._delivered = 0

    def take(self, key: str, alert: Alert) -> None:
        """Put an alert into the queue, unless it is full."""
        self._taken += 1
        if self.ident is None:
            self.start()
        try:
            self._waiting.put_nowait((key, alert))
            self._full = False
        except queue.Full:
            if not self._full:
                self._say(f"alerts: {self._outlet_name}: too many wait; some are left for later")
            self._full = True

    def run(self) -> None:
        """Deliver until there is no more."""
        while (item := self._waiting.get()) is not None:
            key, alert = item
            reason = self._try(alert)
            if reason is not None:
                self._say(f"alerts: {self._outlet_name}: gave up on one: {reason}")
                continue
            self._delivered += 1
            try:
                self._marks.add(self._outlet_name, key)
            except OSError as error:
                self._say(f"alerts: cannot mark what is delivered: {error.strerror}")

    def _try(self, alert: Alert) -> str | None:
        """Deliver an alert, at last or at once; return why it could not be."""
        reason = "unknown"
        for attempt in range(self._outlet.attempts):
            if attempt:
                self._ending.wait(min(WAIT_SECONDS * 2 ** (attempt - 1), WAIT_SECONDS_MAX))
            try:
                self._outlet.send(alert)
            except NotDelivered as error:
                reason = str(error)
                if error.final or self._ending.is_set():
                    return reason
            except Exception as error:  # whatever it is, the run goes on; its text may be secret
                return type(error).__name__
            else:
                return None
        return reason

    def end(self) -> None:
        """Let the thread end when the queue is empty; a full queue ends with the process."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)

    def finish(self, until: float) -> int:
        """Wait for the queue to empty, at most until a moment; return how many are left.

        In the second half of the time nothing waits for another attempt any more.
        """
        if self.is_alive():
            self.join(max(0.0, until - time.monotonic()) / 2)
            self._ending.set()
            self.join(max(0.0, until - time.monotonic()))
        return self._taken - self._delivered


class Outlets:
    """Delivers the alerts of a run.

    Parameters
    ----------
    notify
        Who is told how.
    folder
        What the log's path is relative to.
    marks
        The file of what is delivered.
    secret
        Returns a secret by name, or None.
    say
        Takes one line when something could not be delivered.

    Raises
    ------
    InputError
        If the webhook has no address, or one that is none.
    """

    def __init__(
        self,
        notify: Notify,
        folder: Path,
        marks: Path,
        secret: Callable[[str], str | None],
        say: Say,
    ) -> None:
        outlets: dict[str, Outlet] = {}
        if notify.log is not None:
            outlets["log"] = Log(notify.log, folder)
        if notify.webhook is not None:
            outlets["webhook"] = Webhook(notify.webhook, address(notify.webhook, secret))
        if notify.sns is not None:
            outlets["sns"] = Sns(notify.sns)
        self._marks, self._say = Marks(marks), say
        self._deliveries = {
            name: Delivery(name, outlet, self._marks, say) for name, outlet in outlets.items()
        }
        self._taken: set[str] = set()

    def deliver(self, line: str, key: str) -> None:
        """Tell people of an alert, unless they have been told; return at once.

        Parameters
        ----------
        line
            The alert event as one line of JSON.
        key
            What is the same whenever the run tells this alert again, such as stream and `n`.
        """
        if key in self._taken:
            return
        self._taken.add(key)
        alert = json.loads(line)
        for name, delivery in self._deliveries.items():
            if (name, key) not in self._marks:
                delivery.take(key, alert)

    def close(self, seconds: float) -> int:
        """Deliver what waits, for at most so long; return how many were not delivered."""
        until = time.monotonic() + seconds
        for one in self._deliveries.values():
            one.end()
        left = {name: one.finish(until) for name, one in self._deliveries.items()}
        for name, count in left.items():
            if count:
                self._say(f"alerts: {name}: {count} not delivered; the next start tries again")
        return sum(left.values())


def address(settings: WebhookOutlet, secret: Callable[[str], str | None]) -> str:
    """Return the address of a webhook, which no message holds."""
    url = secret(settings.url_env)
    where = ("notify", "webhook", "url_env")
    if not url:
        message = f"the webhook has no address: put it into {settings.url_env} of the environment"
        raise InputError(message, key=where)
    if not url.startswith(("http://", "https://")) or len(url.split()) != 1:
        message = f"what {settings.url_env} of the environment holds is no http(s) address"
        raise InputError(message, key=where)
    return url
