"""Frozen nouns of what happens to a stream, and how they are written.

An event is one JSON object a line. Its first five fields are always the same; `seq` and
`event_time` are those of the arrival at which it happened, `of_seq` (where there is one) the
record whose label or features caused it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

Kind = Literal[
    "drift",
    "fault",
    "alarm",
    "decision",
    "request_dropped",
    "job_started",
    "job_ready",
    "job_failed",
    "promoted",
    "rejected",
    "reused",
    "rollback",
    "anomaly",
    "alert",
    "stream_failed",
]
KINDS: tuple[str, ...] = get_args(Kind)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(micros: int) -> str:
    """Return a time in microseconds since 1970 as fixed-width UTC text, which sorts as time does.

    Examples
    --------
    >>> iso(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    moment = EPOCH + timedelta(microseconds=int(micros))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one stream.

    Parameters
    ----------
    kind
        One of `KINDS`.
    stream
        The stream's name.
    event_time
        Time of the arrival at which it happened, microseconds since 1970.
    seq
        Sequence number of that arrival.
    n
        Counts the events of the stream from 0.
    details
        The kind's own fields, JSON-ready, in writing order.

    Examples
    --------
    >>> Event("alarm", "s-0000", 0, 3, 0, {"detector": "adwin"}).line()
    '{"kind":"alarm","event_time":"1970-01-01T00:00:00.000000Z","stream":"s-0000","seq":3,"n":0,"detector":"adwin"}'
    """

    kind: Kind
    stream: str
    event_time: int
    seq: int
    n: int
    details: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the event as one line of JSON, without the newline."""
        head = {
            "kind": self.kind,
            "event_time": iso(self.event_time),
            "stream": self.stream,
            "seq": self.seq,
            "n": self.n,
        }
        return json.dumps({**head, **self.details}, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that befell a stream between two records: it has a time, but no arrival.

    Parameters
    ----------
    time
        When, microseconds since 1970.
    kind
        What event it becomes, at the arrival before it; ``tick``: none, only alerts look at it.
    details
        What goes into the event, JSON-ready and in this order.
    """

    time: int
    kind: Literal["anomaly", "tick"]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A detector's signal.

    Parameters
    ----------
    seq
        The arrival at which it was raised.
    of_seq
        The record whose label or features raised it.
    detector
        Name of the detector, its kind unless the scenario names it.
    on
        ``error`` or ``features``.
    feature
        The feature, for ``features``.
    aspect
        ``value``, ``frequency`` or ``missing``, for ``features``.
    """

    seq: int
    of_seq: int
    detector: str
    on: Literal["error", "features"]
    feature: str | None = None
    aspect: Literal["value", "frequency", "missing"] | None = None

    def details(self) -> dict[str, Any]:
        """Return the event's own fields, JSON-ready."""
        found: dict[str, Any] = {"of_seq": self.of_seq, "detector": self.detector, "on": self.on}
        if self.feature is not None:
            found |= {"feature": self.feature, "aspect": self.aspect}
        return found
