"""Policies: when to retrain, as pure functions of what is known at one instant.

A policy is a small frozen object. `decide` looks at a `View` and at its own small memory and
answers with a `Decision` and its next memory; `wake` says how long it need not be asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import TypeAdapter, ValidationError

from engine import settings as s
from engine.combinations import AllOf, AnyOf, Budget, Cooldown, Queue, Settle, Warmup
from engine.costs import CostThreshold, CumulativeCost
from engine.events import Alarm
from engine.forecasts import Forecast
from engine.quantities import duration_micros, records_and_micros
from engine.views import (
    BLOCKS_MAX,
    NOTHING,
    Decision,
    Parts,
    Plain,
    Policy,
    State,
    View,
    Wake,
    earliest,
    example_view,
    outlook,
)

__all__ = [
    "BLOCKS_MAX",
    "NOTHING",
    "POLICIES",
    "Decision",
    "Policy",
    "State",
    "View",
    "Wake",
    "build",
    "earliest",
    "example_view",
    "with_needed",
]

SAW_MAX = 20
"""How many alarms a decision lists."""


# --- policies -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Never(Plain):
    """Keep the first model for ever: what every other policy is measured against.

    Examples
    --------
    >>> build(s.Never(kind="never")).wake(example_view(), None)
    Wake(seq=None, time=None, errors=None)
    """

    @classmethod
    def of(cls, settings: s.Never, parts: Parts) -> Never:
        """Return the policy that the settings describe."""
        return cls()

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        return NOTHING, state


@dataclass(frozen=True, slots=True)
class Every(Plain):
    """Retrain on a schedule, counted from the champion's first record and from the last request.

    It does not ask while a job is pending. Its memory is (seq, time) of its last request.

    Parameters
    ----------
    records, blocks, micros
        The period, in one of the three; without any it is the training window's records.

    Examples
    --------
    >>> policy = build(s.Every(kind="every", records=100))
    >>> policy.wake(example_view(seq=40, served=41), None)
    Wake(seq=99, time=None, errors=None)
    >>> policy.decide(example_view(seq=99, served=100), None)[0].reason
    'served 100 records, the period is 100'
    """

    records: int | None = None
    blocks: int | None = None
    micros: int | None = None

    @classmethod
    def of(cls, settings: s.Every, parts: Parts) -> Every:
        """Return the policy that the settings describe."""
        micros = None if settings.time is None else duration_micros(settings.time)
        return cls(settings.records, settings.blocks, micros)

    def _period(self, view: View) -> int:
        if self.blocks is not None:
            return self.blocks * view.block
        return self.records or view.window

    def _due(self, view: View, state: State) -> Wake:
        """Return when the schedule is due."""
        if self.micros is not None:
            born = view.time - view.since
            return Wake(time=(born if state is None else max(born, state[1])) + self.micros)
        period = self._period(view)
        due = view.first + period - 1
        return Wake(seq=due if state is None else max(due, state[0] + period))

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        if view.pending or not _reached(self._due(view, state), view):
            return NOTHING, state
        if self.micros is not None:
            reason = f"served {view.since / 1e6:g} s, the period is {self.micros / 1e6:g} s"
        else:
            reason = f"served {view.served} records, the period is {self._period(view)}"
        return Decision("retrain", reason, outlook(view)), (view.seq, view.time)

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        due = self._due(view, state)
        return Wake(seq=view.seq + 1) if _reached(due, view) else due


@dataclass(frozen=True, slots=True)
class ErrorThreshold(Plain):
    """Retrain when the newest errors are clearly worse than the champion's first ones.

    It does not ask while a job is pending, and after a request not before `window` further errors
    are known. Its memory is (champion's first record, errors known) of its last request.

    Parameters
    ----------
    rise
        How far the error may rise above the reference.
    above
        A fixed limit instead.
    window
        How many errors are averaged, the newest and the first.

    Examples
    --------
    >>> view = example_view(errors=np.array([0.0, 0.0, 1.0, 1.0]), error_max=1.0)
    >>> policy = build(s.ErrorThreshold(kind="error_threshold", window=2))
    >>> policy.decide(view, None)[0].reason
    'error 1 over the newest 2 labels exceeds 0.07'
    """

    rise: float
    above: float | None
    window: int

    @classmethod
    def of(cls, settings: s.ErrorThreshold, parts: Parts) -> ErrorThreshold:
        """Return the policy that the settings describe."""
        return cls(settings.rise, settings.above, settings.window)

    def _limit(self, view: View) -> float:
        if self.above is not None:
            return self.above
        return view.reference_error(self.window) + self.rise

    def _from(self, view: View, state: State) -> int:
        """Return how many errors must be known before it may ask."""
        asked = 0 if state is None or state[0] != view.first else state[1]
        return self.window + int(asked)

    def _exceeded(self, view: View, state: State) -> bool:
        enough = view.known >= self._from(view, state)
        return enough and view.error(self.window) > self._limit(view)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        if view.pending or not self._exceeded(view, state):
            return NOTHING, state
        error, limit = view.error(self.window), self._limit(view)
        reason = f"error {error:.4g} over the newest {self.window} labels exceeds {limit:.4g}"
        saw = {"error": error, "limit": limit}
        if self.above is None:
            saw["reference"] = view.reference_error(self.window)
        return Decision("retrain", reason, saw | outlook(view)), (view.first, view.known)

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        if self._exceeded(view, state):  # a job is pending, and may be rejected at any record
            return Wake(seq=view.seq + 1)
        soonest = max(self._from(view, state), view.known + 1)
        if view.known < self.window or math.isinf(view.error_max):
            return Wake(errors=soonest)
        newest = view.errors[-self.window :]
        left = np.add.reduce(newest) - np.add.accumulate(newest)
        most = left + view.error_max * np.arange(1, self.window + 1)
        reachable = np.flatnonzero(most > (self._limit(view) - 1e-9) * self.window)
        steps = int(reachable[0]) + 1 if len(reachable) else self.window
        return Wake(errors=max(soonest, view.known + steps))


@dataclass(frozen=True, slots=True)
class OnAlarm(Plain):
    """Retrain on every alarm of one detector, even while a job is pending.

    An alarm from before the champion served tells of another model and is ignored.

    Parameters
    ----------
    detector
        The detector's name, or the kind of those that are meant.
    on
        What the detector watches.
    names
        The names that alarms are listened for.

    Examples
    --------
    >>> alarm = Alarm(seq=70, of_seq=22, detector="adwin", on="error")
    >>> decision, _ = build(s.OnAdwin(kind="adwin")).decide(example_view(alarms=(alarm,)), None)
    >>> decision.action, decision.reason
    ('retrain', '1 alarm of adwin on error, the last from record 22')
    """

    detector: str
    on: Literal["error", "features"]
    names: tuple[str, ...]

    @classmethod
    def of(cls, settings: s.OnAlarm | s.OnAdwin | s.OnPageHinkley, parts: Parts) -> OnAlarm:
        """Return the policy that the settings describe, listening to the detectors they mean."""
        if isinstance(settings, s.OnAlarm):
            detector, on = settings.detector, settings.on
        else:
            detector, on = settings.kind, "error"
        heard = tuple(dict.fromkeys(_name(one) for one in _meant(detector, on, parts.detectors)))
        return cls(detector, on, heard or (detector,))

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""
        if _meant(self.detector, self.on, detectors):
            return ()
        try:  # a kind by name brings its defaults along; a name of its own must be there
            setting = {"kind": self.detector, "on": self.on}
            one: s.AnyDetector = TypeAdapter(s.DetectorSetting).validate_python(setting)
        except ValidationError:
            return ()
        return (one,)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        heard = [
            alarm
            for alarm in view.alarms
            if alarm.on == self.on and alarm.detector in self.names and alarm.seq >= view.first
        ]
        if not heard:
            return NOTHING, state
        count = f"{len(heard)} alarm{'s' if len(heard) > 1 else ''}"
        last = heard[-1].of_seq
        reason = f"{count} of {self.detector} on {self.on}, the last from record {last}"
        saw = _alarms(heard) | outlook(view)
        return Decision("retrain", reason, saw, of_seq=last), state


class OnAdwin(OnAlarm):
    """Retrain on an ADWIN alarm on the error; see `OnAlarm`."""

    __slots__ = ()


class OnPageHinkley(OnAlarm):
    """Retrain on a Page-Hinkley alarm on the error; see `OnAlarm`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DataDrift(Plain):
    """Retrain when enough different features have alarmed of late.

    It does not ask while a job is pending; a request and a new champion wipe its memory, which is
    (champion's first record, each feature with the arrival of its newest alarm).

    Parameters
    ----------
    share
        Share of the watched features.
    within
        What "of late" means, in records.

    Examples
    --------
    >>> alarm = Alarm(seq=70, of_seq=70, detector="kswin", on="features", feature="x")
    >>> view = example_view(seq=71, alarms=(alarm,), features=2)
    >>> build(s.DataDrift(kind="data_drift", share=0.5)).decide(view, None)[0].reason
    '1 of 2 features alarmed within 1000 records'
    """

    share: float
    within: int

    @classmethod
    def of(cls, settings: s.DataDrift, parts: Parts) -> DataDrift:
        """Return the policy that the settings describe."""
        return cls(settings.share, settings.within)

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""
        if any(one.on == "features" for one in detectors):
            return ()
        return (s.PageHinkley(kind="page_hinkley", on="features"),)

    def _recent(self, view: View, state: State) -> dict[str, int]:
        """Return the features that alarmed of late, each with its newest arrival."""
        if state is None or state[0] != view.first:
            return {}
        return {feature: seq for feature, seq in state[1] if view.seq - seq < self.within}

    def _enough(self, view: View, recent: Mapping[str, int]) -> bool:
        return bool(recent) and len(recent) >= self.share * view.features

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        recent = self._recent(view, state)
        for alarm in view.alarms:
            if alarm.feature is None or alarm.seq < view.first:
                continue
            if view.seq - alarm.seq < self.within:
                recent[alarm.feature] = max(alarm.seq, recent.get(alarm.feature, alarm.seq))
        if view.pending or not self._enough(view, recent):
            return NOTHING, (view.first, tuple(sorted(recent.items())))
        of = f"{len(recent)} of {view.features} features"
        saw = {"features": sorted(recent), "watched": view.features} | outlook(view)
        reason = f"{of} alarmed within {self.within} records"
        cause = max(recent.values())  # features are judged at their own arrival
        return Decision("retrain", reason, saw, of_seq=cause), (view.first, ())

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        enough = self._enough(view, self._recent(view, state))
        return Wake(seq=view.seq + 1) if enough else Wake()


class Maker(Protocol):
    """A policy's class, which makes the policy from its settings."""

    def of(self, settings: Any, parts: Parts) -> Policy:
        """Return the policy that the settings describe."""


POLICIES: dict[str, Maker] = {
    "never": Never,
    "every": Every,
    "error_threshold": ErrorThreshold,
    "alarm": OnAlarm,
    "adwin": OnAdwin,
    "page_hinkley": OnPageHinkley,
    "data_drift": DataDrift,
    "cumulative_cost": CumulativeCost,
    "cost_threshold": CostThreshold,
    "forecast": Forecast,
    "any_of": AnyOf,
    "all_of": AllOf,
}
"""The class of each `kind` of policy settings."""


# --- making them ----------------------------------------------------------------------------


def build(settings: s.AnyPolicy, detectors: Sequence[s.AnyDetector] = ()) -> Policy:
    """Return the policy that the settings describe, with its modifiers around it.

    Parameters
    ----------
    settings
        The policy's settings.
    detectors
        All detectors of the run: a policy that names a kind listens to those of that kind.

    Examples
    --------
    >>> build(s.Every(kind="every", records=10, budget=2))
    Budget(inner=Every(records=10, blocks=None, micros=None), retrains=2)
    """
    inner = settings.of if isinstance(settings, s.AnyOf | s.AllOf) else ()
    members = tuple(build(one, detectors) for one in inner)
    policy = POLICIES[settings.kind].of(settings, Parts(tuple(detectors), members))
    if settings.settle:
        policy = Settle(policy, settings.settle)
    if settings.warmup is not None:
        policy = Warmup(policy, settings.warmup)
    if settings.cooldown is not None:
        policy = Cooldown(policy, *records_and_micros(settings.cooldown))
    if settings.budget is not None:
        policy = Budget(policy, settings.budget)
    return Queue(policy) if settings.queue else policy


def with_needed(detectors: Sequence[s.AnyDetector], policy: Policy) -> tuple[s.AnyDetector, ...]:
    """Return the detectors, completed with those that the policy needs and that are not there.

    Examples
    --------
    >>> policy = build(s.OnPageHinkley(kind="page_hinkley"))
    >>> [one.kind for one in with_needed([s.Adwin(kind="adwin")], policy)]
    ['adwin', 'page_hinkley']
    """
    return (*detectors, *policy.missing(detectors))


def _name(detector: s.AnyDetector) -> str:
    return detector.name or detector.kind


def _meant(detector: str, on: str, detectors: Sequence[s.AnyDetector]) -> list[s.AnyDetector]:
    """Return the detectors of that name, or if there are none those of that kind."""
    there = [one for one in detectors if one.on == on]
    return [one for one in there if _name(one) == detector] or [
        one for one in there if one.kind == detector
    ]


def _reached(wake: Wake, view: View) -> bool:
    return (wake.seq is not None and view.seq >= wake.seq) or (
        wake.time is not None and view.time >= wake.time
    )


def _alarms(alarms: Sequence[Alarm]) -> dict[str, Any]:
    return {"alarms": [{"seq": one.seq, **one.details()} for one in alarms[:SAW_MAX]]}
