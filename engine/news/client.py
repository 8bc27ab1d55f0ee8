"""One request to NewsAPI over HTTP: bounded in time and size, and the key only in its header.

A request runs in a thread of its own, because nothing else bounds all of it: the name look-up, a
header that comes letter by letter, a body that never ends. Who waits is free after `timeout`, or
as soon as it is told to stop; the thread ends with its connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from random import random
from threading import Event as Flag
from threading import Thread

from engine.errors import InputError
from engine.news.settings import NewsApi
from engine.quantities import duration_micros
from engine.secrets import MASK, SHORTEST, masked

PIECE = 65_536
"""A body is read in pieces of at most so many bytes, with a look at the clock after each."""
LOOK_SECONDS = 0.05
"""How long it takes at most to notice that one is to stop."""
TRANSIENT = (500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
RATE_LIMITED = 429
MICROS = 1_000_000
AGENT = "driftline"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one try.

    Parameters
    ----------
    status
        The HTTP status; 0 if there was none.
    body
        The body, or what there was of it; without the key, should it ever be in there.
    problem
        Why this is not a whole answer, in a few words; empty if it is one.
    retry_after
        For how many microseconds NewsAPI wants no other request; None if it does not say.
    stopped
        Whether we were told to stop before it came.
    """

    status: int
    body: bytes = b""
    problem: str = ""
    retry_after: int | None = None
    stopped: bool = False

    @property
    def transient(self) -> bool:
        """Whether the same request may well succeed soon."""
        return bool(self.problem) or self.status in (*TRANSIENT, RATE_LIMITED)


class Client:
    """Asks NewsAPI.

    Parameters
    ----------
    settings
        Its address, and how patient to be.
    key
        The key.
    chance
        Returns numbers from 0 to 1, for the length of pauses; as a rule no two clients draw the
        same, or they would all come back at once.

    Raises
    ------
    InputError
        If the key can be none; the message does not tell it.

    Examples
    --------
    >>> client = Client(NewsApi(), "0123456789abcdef", chance=lambda: 0.5)
    >>> client.pause(Answer(503), tries=1), client.pause(Answer(200, b"{}"), tries=1)
    (500000, None)
    """

    def __init__(self, settings: NewsApi, key: str, chance: Callable[[], float] = random) -> None:
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                "NEWSAPI_KEY is no key of NewsAPI: it is letters and digits, without blanks"
            )
        self._settings, self._key, self._chance = settings, key, chance

    def get(self, path: str, parameters: Mapping[str, str], stop: Flag) -> Answer:
        """Make one try; whatever comes of it is an answer.

        Parameters
        ----------
        path
            The endpoint below the base URL.
        parameters
            What goes into the URL.
        stop
            Tells not to wait any longer.
        """
        box: SimpleQueue[Answer | Exception] = SimpleQueue()
        seconds = duration_micros(self._settings.timeout) / MICROS
        until = time.monotonic() + seconds

        def work() -> None:
            try:
                box.put(self._get(path, parameters, until))
            except Exception as error:  # raised again below
                box.put(error)

        Thread(target=work, name="newsapi-request", daemon=True).start()
        while (left := until - time.monotonic()) > 0 and not stop.is_set():
            try:
                found = box.get(timeout=min(left, LOOK_SECONDS))
            except Empty:
                continue
            if isinstance(found, Exception):
                raise found
            return found
        if stop.is_set():
            return Answer(0, problem="told to stop", stopped=True)
        return Answer(0, problem=f"no whole answer within {seconds:g} s")

    def pause(self, answer: Answer, tries: int) -> int | None:
        """Return for how many microseconds to wait before another try; None: make none.

        It is drawn evenly between nothing and a bound that doubles with each try, and at least
        what NewsAPI asked for.
        """
        longest = duration_micros(self._settings.backoff_max)
        wanted = answer.retry_after or 0
        if answer.stopped or not answer.transient or tries >= self._settings.tries:
            return None
        if wanted > longest:
            return None
        bound = min(longest, duration_micros(self._settings.backoff) * 2 ** (tries - 1))
        return max(wanted, int(bound * self._chance()))

    def clean(self, text: str) -> str:
        """Return a text without the key."""
        return masked(text, [self._key])

    def _get(self, path: str, parameters: Mapping[str, str], until: float) -> Answer:
        import requests
        from urllib3.exceptions import HTTPError

        body, status, wanted = bytearray(), 0, None
        micros = duration_micros(self._settings.connect), duration_micros(self._settings.silence)
        problem = ""
        try:
            with (
                requests.Session() as session,
                session.get(
                    f"{self._settings.base_url}/{path}",
                    params=dict(parameters),
                    headers={
                        "X-Api-Key": self._key,
                        "User-Agent": AGENT,
                        "Accept-Encoding": "identity",
                    },
                    timeout=(micros[0] / MICROS, micros[1] / MICROS),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                status = response.status_code
                wanted = retry_after(response.headers.get("Retry-After"), time.time())
                while piece := response.raw.read1(PIECE, decode_content=True):  # what is there
                    body += piece
                    if len(body) > self._settings.bytes_max:
                        problem = f"the body is longer than {self._settings.bytes_max} bytes"
                    elif time.monotonic() > until:
                        problem = "the body took too long"
                    if problem:
                        break
        except (requests.RequestException, HTTPError, OSError) as error:
            problem = reason(error, status)
        return Answer(status, self._without_key(bytes(body)), problem, wanted)

    def _without_key(self, body: bytes) -> bytes:
        return (
            body if len(self._key) < SHORTEST else body.replace(self._key.encode(), MASK.encode())
        )


def reason(error: Exception, status: int) -> str:
    """Say what went wrong in a few words of our own: texts of libraries quote what they hold.

    Examples
    --------
    >>> reason(ConnectionResetError(104, "reset by 10.0.0.1"), 0)
    'the connection failed (ConnectionResetError)'
    """
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the time"
    if isinstance(error, requests.Timeout):
        return "no answer within the time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the connection is not safe (its certificate is not valid)"
    kind = type(error).__name__
    return f"the body is cut off ({kind})" if status else f"the connection failed ({kind})"


def retry_after(header: str | None, now: float) -> int | None:
    """Return the microseconds that a ``Retry-After`` asks for; None if it is none.

    Parameters
    ----------
    header
        A number of seconds or an HTTP date.
    now
        Seconds since 1970.

    Examples
    --------
    >>> retry_after("30", 0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 0.0)
    (30000000, 60000000)
    >>> retry_after("soon", 0.0) is None
    True
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:12]), 10**9) * MICROS
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        wanted = moment - datetime.fromtimestamp(now, UTC)
    except OverflowError:
        return None
    return max(0, wanted // timedelta(microseconds=1))
