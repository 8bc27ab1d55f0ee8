"""When a job is ready: at a declared virtual time, or live, when it is done.

A live stream has no declared latency. When a model goes in is noted down before it answers for
the first time; a stream that starts again lets it in at the same arrival. So what a live run did
is a function of its records and of these notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from engine.batch import FOREVER
from engine.history import Moment
from engine.ledger import UNDATED
from engine.quantities import records_and_micros
from engine.settings import Latency, Span

OPEN = Moment(FOREVER, UNDATED)
"""Nobody knows yet when."""


class Pace(Protocol):
    """Whoever says when jobs are ready."""

    @property
    def open_ended(self) -> bool:
        """Whether a stream that stops may go on later."""
        ...

    def ready(self, number: int, asked: Moment, rows: int, trials: int = 0) -> Moment:
        """Return when the job for model `number` is ready, asked for at `asked`; or `OPEN`.

        It is made of `rows` rows, and tuned in so many `trials`.
        """
        ...

    def arrive(self, number: int, arrival: int) -> Moment | None:
        """Let a finished job in at `arrival`, if that may be: the moment that it is ready."""
        ...


@dataclass(frozen=True, slots=True)
class Declared:
    """A simulation's pace: the latency is stated, and the stream waits for the job.

    Parameters
    ----------
    latency
        As the settings state it.

    Examples
    --------
    >>> Declared(Latency(per_1000_rows=50)).ready(1, Moment(9, 0), 1500)
    Moment(seq=84, now=0)
    """

    latency: Span | Latency
    open_ended: bool = field(default=False, init=False)

    def ready(self, number: int, asked: Moment, rows: int, trials: int = 0) -> Moment:
        """Return when a job of `rows` rows asked for at `asked` is ready: no sooner than the next.

        Examples
        --------
        >>> Declared(0).ready(1, Moment(9, 0), 100)
        Moment(seq=10, now=0)
        >>> Declared(Latency(fixed=50, per_trial=3)).ready(1, Moment(9, 0), 100, trials=20)
        Moment(seq=119, now=0)
        """
        latency = self.latency
        if not isinstance(latency, Latency):
            latency = Latency(fixed=latency)
        records, micros = records_and_micros(latency.fixed)
        more_records, more_micros = records_and_micros(latency.per_1000_rows)
        records += math.ceil(more_records * rows / 1000)
        micros += math.ceil(more_micros * rows / 1000)
        more_records, more_micros = records_and_micros(latency.per_trial)
        records += more_records * trials
        micros += more_micros * trials
        return Moment(asked.seq + max(1, records), asked.now + micros)

    def arrive(self, number: int, arrival: int) -> Moment | None:
        """Return None: jobs come in when they are due."""
        return None


@dataclass(slots=True)
class Measured:
    """A live stream's pace: a model goes in when it is done, and always there from then on.

    Parameters
    ----------
    note
        Called with a model's number and the arrival at which it goes in; what it writes down has
        to last before it returns.
    past
        The arrivals of models that went in earlier, by number.
    since
        The first arrival that is new: before it nothing else may happen than what did.

    Examples
    --------
    >>> pace = Measured(lambda number, arrival: None, {0: 40}, since=100)
    >>> pace.ready(0, Moment(30, 0), 10).seq, pace.ready(1, Moment(90, 0), 10) == OPEN
    (40, True)
    >>> pace.arrive(1, 99), pace.arrive(1, 120).seq
    (None, 120)
    """

    note: Callable[[int, int], None]
    past: Mapping[int, int] = field(default_factory=dict)
    since: int = 0
    open_ended: bool = field(default=True, init=False)

    def ready(self, number: int, asked: Moment, rows: int, trials: int = 0) -> Moment:
        """Return the arrival that is on record for model `number`, or `OPEN`."""
        arrival = self.past.get(number)
        return OPEN if arrival is None else Moment(arrival, UNDATED)

    def arrive(self, number: int, arrival: int) -> Moment | None:
        """Write down that model `number` goes in at `arrival`, unless that is the past."""
        if arrival < self.since:
            return None
        self.note(number, arrival)
        return Moment(arrival, UNDATED)
