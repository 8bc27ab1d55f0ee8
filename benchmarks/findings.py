"""What a benchmark found: one `Cell` per line of `results.csv`, one `Timeline` per stream.

Plain data between the grid, which makes them, and statistics and report, which read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.arms import Bound

Role = Literal["policy", "tuned", "control", "peer"]
"""A policy of ours; the best fixed period in hindsight; what never retrains; a rival's policy."""
TUNED = "tuned periodic"
"""The policy that retrains on the period which, for this stream, seed and price, was the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one policy cost on one stream.

    Parameters
    ----------
    stream, seed
        The stream, and the seed of its chance and of the models'.
    policy
        The policy's label.
    price
        The price ratio as the spec states it, such as ``10%`` (of a block's records).
    alpha
        The price of a retrain in errors.
    latency, label_delay
        As the spec states them: blocks, or a duration.
    errors
        Sum of the errors of all records that have one.
    retrains
        Jobs started; the first fit is free.
    tuning_trials, reuses
        What else was paid for.
    rejected
        Retrains whose model the gate did not let in.
    cost
        errors + alpha × retrains (and tuning and reuse at their prices).
    optimum
        The least that any schedule costs over the same decision points; schedules retrain only.
    reaction
        Mean records from a true drift to the first record that a model asked for after it
        serves; None where the truth is unknown or no drift was answered.
    bound, least
        What the cost is held against, and how much that is: the optimum, or a relaxed bound for
        an arm that may return to earlier models; None where there is none.
    """

    stream: str
    seed: int
    policy: str
    price: str
    alpha: float
    latency: str
    label_delay: str
    errors: float
    retrains: int
    tuning_trials: int = 0
    reuses: int = 0
    rejected: int = 0
    cost: float
    optimum: float
    never: float
    reaction: float | None = None
    bound: Bound = "exact"
    least: float | None = None

    @property
    def regret_ratio(self) -> float | None:
        """Cost ÷ optimum; None if the optimum is free."""
        return self.cost / self.optimum if self.optimum > 0 else None

    @property
    def gap(self) -> float | None:
        """(cost − optimum) ÷ (cost of never − optimum): 0 is the optimum, 1 is never."""
        gap = self.never - self.optimum
        return (self.cost - self.optimum) / gap if gap > 0 else None


@dataclass(frozen=True, slots=True)
class Track:
    """How one schedule went.

    Parameters
    ----------
    asked, ready
        For each retrain the record at which it was asked for, and the first that it served.
    errors
        Mean error of each block, None where a block has no error.
    returns
        For each return to an earlier model, when it was asked for, and the first record served.
    rejected
        When those retrains were asked for whose model was not let in.
    """

    asked: tuple[int, ...]
    ready: tuple[int, ...]
    errors: tuple[float | None, ...]
    returns: tuple[tuple[int, int], ...] = ()
    rejected: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """A scripted drift: first record, records until it is complete, and what it is in words."""

    seq: int
    over: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What happened on one stream, with one seed, latency and label delay.

    Parameters
    ----------
    records
        Length of the stream.
    starts
        First record of each block; the decision is made at the record before it.
    drifts
        The scripted truth; empty if none, None if unknown.
    tracks
        For each policy its track at each price; a policy that does not look at prices has the
        same track at each.
    optimum
        The optimal schedule's track at each price.
    periods
        For each fixed period in blocks, (errors, retrains).
    """

    stream: str
    seed: int
    latency: str
    label_delay: str
    records: int
    starts: tuple[int, ...]
    drifts: tuple[Truth, ...] | None
    tracks: Mapping[str, Mapping[str, Track]]
    optimum: Mapping[str, Track]
    periods: Mapping[int, tuple[float, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """A stream in figures: what it is made from, its records, records to a block, features."""

    stream: str
    kind: str
    records: int
    block: int
    features: int
    classes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What an arm adds to a policy.

    Parameters
    ----------
    parts
        What is added: ``archive``, ``tuning``, ``gate``.
    plain
        The label of the policy without, if it ran as well.
    bound
        What its cost can be held against.
    """

    parts: tuple[str, ...]
    plain: str | None
    bound: Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a benchmark found.

    Parameters
    ----------
    name
        The spec's name.
    spec
        The spec with all defaults, JSON-ready.
    replay
        The command that makes the same report again.
    versions
        Of the libraries that results depend on.
    roles
        What each policy is; the order is that of the spec.
    prices
        The price ratios as the spec states them, ascending.
    streams
        The streams, in the spec's order.
    cells, timelines
        The findings; cells ordered by stream, seed, latency, label delay, policy, price.
    notes
        What is odd, each a sentence (a stream too short, a peer that is not installed, ...).
    equipped
        The policies with a gate, tuning or an archive, by label.
    """

    name: str
    spec: Mapping[str, Any]
    replay: str
    versions: Mapping[str, str]
    roles: Mapping[str, Role]
    prices: tuple[str, ...]
    streams: tuple[StreamFacts, ...]
    cells: tuple[Cell, ...]
    timelines: tuple[Timeline, ...]
    notes: tuple[str, ...] = field(default=())
    equipped: Mapping[str, Equipment] = field(default_factory=dict)
