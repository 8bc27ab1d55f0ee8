"""What a policy sees, answers and is: `View`, `Decision`, `Wake` and the `Policy` protocol.

The contract of `wake`: whether a policy is asked at every record, or only at what `wake` named,
at alarms and at swaps, its decisions are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from engine import settings as s
from engine.batch import Floats
from engine.events import Alarm

State = Any
"""A policy's memory: None, numbers, texts and tuples of these."""
BLOCKS_MAX = 256
"""How many of the champion's blocks a policy can look back on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """All that a policy may know at one instant.

    Parameters
    ----------
    seq
        Sequence number of the newest arrival.
    time
        Now: the latest event time so far, microseconds since 1970.
    alarms
        Alarms since the last call.
    errors
        The newest errors of the champion that are known, oldest first, at most `RECENT_MAX`.
    reference
        The champion's first known errors, at most `RECENT_MAX`.
    known
        How many errors of the champion are known.
    blocks
        Mean errors of the champion's successive full blocks, newest last, at most `BLOCKS_MAX`.
    block
        Known errors in a block.
    served
        Records since the champion's first one, the current one included.
    since
        Microseconds since the champion's first record.
    labels
        Labels that became known since the champion's training window was taken.
    features
        Number of features that detectors watch.
    started
        Retrains started so far; the first fit does not count.
    pending
        Whether a training job is under way.
    window
        Records in a training window, as configured.
    prices
        What an error and a retrain cost.
    error_max
        The largest error that a record can have: 1 for classification, else infinity.
    """

    seq: int
    time: int
    alarms: tuple[Alarm, ...]
    errors: Floats
    reference: Floats
    known: int
    blocks: tuple[float, ...]
    block: int
    served: int
    since: int
    labels: int
    features: int
    started: int
    pending: bool
    window: int
    prices: s.Prices
    error_max: float = math.inf

    @property
    def first(self) -> int:
        """Sequence number of the champion's first record."""
        return self.seq - self.served + 1

    def error(self, n: int) -> float:
        """Return the mean of the champion's newest `n` known errors; NaN if there are fewer."""
        return _mean(self.errors[-n:], n)

    def reference_error(self, n: int) -> float:
        """Return the mean of the champion's first `n` known errors; NaN if there are fewer."""
        return _mean(self.reference[:n], n)


def _mean(errors: Floats, n: int) -> float:
    return float(np.add.reduce(errors)) / n if len(errors) == n else math.nan


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy wants done.

    Parameters
    ----------
    action
        ``nothing``, ``retrain`` or ``reuse`` (an archived model).
    reason
        Why, as a sentence in numbers.
    saw
        What it looked at, JSON-ready.
    window
        Records to train on; None for the configured window.
    queue
        Keep the request if a job is pending, instead of dropping it.
    of_seq
        The record that caused the newest of the alarms that it follows; None if it follows none.
    tune
        Whether to tune, where tuning is set up at all; None leaves it to the settings.
    """

    action: Literal["nothing", "retrain", "reuse"]
    reason: str
    saw: Mapping[str, Any] = field(default_factory=dict)
    window: int | None = None
    queue: bool = False
    of_seq: int | None = None
    tune: bool | None = None


NOTHING = Decision("nothing", "")


@dataclass(frozen=True, slots=True)
class Wake:
    """The earliest moment at which a policy could want something, alarms and swaps aside.

    Any of the conditions that is not None is enough; all None is "not before an alarm or a swap".

    Parameters
    ----------
    seq
        Sequence number of an arrival.
    time
        Event time, microseconds since 1970.
    errors
        Number of the champion's errors that are known.
    """

    seq: int | None = None
    time: int | None = None
    errors: int | None = None


def earliest(a: Wake, b: Wake) -> Wake:
    """Return what wakes as soon as one of the two does.

    Examples
    --------
    >>> earliest(Wake(seq=10, errors=5), Wake(seq=7))
    Wake(seq=7, time=None, errors=5)
    """

    def least(one: int | None, other: int | None) -> int | None:
        return other if one is None else one if other is None else min(one, other)

    return Wake(least(a.seq, b.seq), least(a.time, b.time), least(a.errors, b.errors))


class Policy(Protocol):
    """When to retrain: frozen, pure, picklable, without clock or chance."""

    @property
    def needs(self) -> tuple[s.AnyDetector, ...]:
        """The detectors that it cannot do without."""

    @property
    def heeds_prices(self) -> bool:
        """Whether its decisions depend on the view's prices."""

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""

    def initial(self) -> State:
        """Return the memory to start with."""

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""


class Plain:
    """What most policies have in common: no needs, no prices, no memory, nothing to wake for."""

    __slots__ = ()

    @property
    def heeds_prices(self) -> bool:
        """Whether its decisions depend on the prices."""
        return False

    @property
    def needs(self) -> tuple[s.AnyDetector, ...]:
        """The detectors that it cannot do without."""
        return self.missing(())

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""
        return ()

    def initial(self) -> State:
        """Return the memory to start with."""
        return None

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return Wake()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a policy is put together from, besides its settings.

    Parameters
    ----------
    detectors
        All detectors of the run.
    members
        The policies inside a combination.
    """

    detectors: tuple[s.AnyDetector, ...] = ()
    members: tuple[Policy, ...] = ()


def outlook(view: View) -> dict[str, Any]:
    """Return what every decision shows: how the champion does and how long it has served.

    Examples
    --------
    >>> outlook(example_view(errors=np.array([0.0, 1.0]), block=2))["recent_error"]
    0.5
    """
    recent, early = view.error(view.block), view.reference_error(view.block)
    return {
        "recent_error": None if math.isnan(recent) else recent,
        "first_error": None if math.isnan(early) else early,
        "served": view.served,
        "labels": view.labels,
        "pending": view.pending,
    }


def example_view(**given: Any) -> View:
    """Return a view for examples and tests: an early champion, save for what is `given`.

    Examples
    --------
    >>> example_view(errors=np.array([0.0, 1.0])).error(2)
    0.5
    """
    errors = np.asarray(given.pop("errors", ()), dtype=np.float64)
    seq = given.get("seq", 0)
    plain: dict[str, Any] = {
        "seq": seq,
        "time": seq * 1_000_000,
        "alarms": (),
        "errors": errors,
        "reference": errors,
        "known": len(errors),
        "blocks": (),
        "block": 100,
        "served": seq + 1,
        "since": seq * 1_000_000,
        "labels": len(errors),
        "features": 1,
        "started": 0,
        "pending": False,
        "window": 1000,
        "prices": s.Prices(),
    }
    return View(**plain | given)
