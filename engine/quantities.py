"""Spans, rates and moments as people write them: ``48``, ``24h``, ``1/30m``, ``1996-05-07``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

UNITS_MICROS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h|d|w))+")
PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")
RATE = re.compile(r"(\d+)/(\d*(?:\.\d+)?)(us|ms|s|m|h|d|w)")
HINT = "a whole number of records, or a duration such as 30m, 24h or 7d"


def duration_micros(text: str) -> int:
    """Return a duration in microseconds.

    Raises
    ------
    ValueError
        If the text is no duration.

    Examples
    --------
    >>> duration_micros("24h") // 3_600_000_000, duration_micros("1h30m") // 60_000_000
    (24, 90)
    """
    if not DURATION.fullmatch(text):
        raise ValueError(f"must be {HINT}")
    parts = (Fraction(number) * UNITS_MICROS[unit] for number, unit in PART.findall(text))
    return int(sum(parts, Fraction(0)))


def records_and_micros(span: int | str) -> tuple[int, int]:
    """Split a span into (records, microseconds), one of which is 0.

    Examples
    --------
    >>> records_and_micros(48), records_and_micros("2s")
    ((48, 0), (0, 2000000))
    """
    return (span, 0) if isinstance(span, int) else (0, duration_micros(span))


def interval_micros(rate: str) -> Fraction:
    """Return the microseconds between two records at a rate of `records/time`.

    Raises
    ------
    ValueError
        If the text is no rate, or the rate is zero.

    Examples
    --------
    >>> interval_micros("1/30m") == 30 * 60 * 1_000_000, interval_micros("4/s")
    (True, Fraction(250000, 1))
    """
    found = RATE.fullmatch(rate)
    if not found or int(found[1]) == 0 or Fraction(found[2] or 1) == 0:
        raise ValueError("must be a rate such as 1/30m (one record each half hour) or 10/s")
    return Fraction(found[2] or 1) * UNITS_MICROS[found[3]] / int(found[1])


def moment_micros(text: str) -> int:
    """Return an ISO 8601 moment in microseconds since 1970; without a zone it is UTC.

    Raises
    ------
    ValueError
        If the text is no moment.

    Examples
    --------
    >>> moment_micros("1970-01-02"), moment_micros("1970-01-01T01:00:00+01:00")
    (86400000000, 0)
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a moment such as 1996-05-07 or 1996-05-07T12:30:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
