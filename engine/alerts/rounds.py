"""The rounds of the sentinel: which alerts follow from what happens to a stream.

Pure and in event time: the same events lead to the same alerts, in whatever pieces they come, and
with the sentinel put away and taken out again in between.

A rule watches either a *condition* (too old a model), which stands until it is over, or
*happenings* (an alarm). A condition is told when it begins to stand, again once `every` has passed
and it is met again, and when it is over. Happenings are told at most once in `every`; how many
were held back in between, the next alert says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.alerts import rules as r
from engine.alerts.rules import AnyRule, name_of
from engine.events import Event, iso
from engine.quantities import duration_micros, records_and_micros

SUBJECTS_MAX = 200
"""Subjects that a rule remembers; those not heard of for longest are forgotten."""
RECOVERY = 0.9
"""An error or a quota has recovered at this part of its limit, so that it does not flap."""
OVER = "_over"
"""What the name of an anomaly ends in when it is over."""
SUBJECT_KEYS = ("topic", "field", "column", "within")
"""Details that tell anomalies of one kind apart."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What only live mode knows; None where it does not apply.

    Parameters
    ----------
    data_since
        When the newest article came, or the run began, microseconds since 1970.
    quota
        Share of the requests that the plan allows that is spent, 0 to 1.
    """

    data_since: int | None = None
    quota: float | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """What a rule makes of something that happened.

    Parameters
    ----------
    met
        Whether its condition is met, or is over.
    message
        One sentence for people.
    evidence
        Figures, JSON-ready.
    subject
        What it is about, where a rule is about several things.
    lasts
        Whether it is a condition that lasts; else it just happened.
    """

    met: bool
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    lasts: bool = True


@dataclass(slots=True)
class Post:
    """What is remembered of one subject of a rule."""

    told: int | None = None
    standing: bool = False
    announced: bool = False
    since: int = 0
    held_back: int = 0


@dataclass(slots=True)
class Guard:
    """One rule, and what is remembered about it."""

    rule: AnyRule
    posts: dict[str, Post] = field(default_factory=dict)

    def weigh(self, sign: Sign, now: int) -> dict[str, Any] | None:
        """Return the details of the alert to be raised because of a sign, if one is due."""
        post = self.posts.pop(sign.subject, None)
        if post is None:
            if not sign.met:
                return None
            post = Post()
        self.posts[sign.subject] = post
        for forgotten in list(self.posts)[:-SUBJECTS_MAX]:
            del self.posts[forgotten]
        if not sign.met:
            return self._recover(post, sign)
        if not post.standing:
            post.since = now
        post.standing = sign.lasts
        if post.told is not None and now - post.told < duration_micros(self.rule.every):
            post.held_back += 1
            return None
        held_back, post.held_back = post.held_back, 0
        post.told, post.announced = now, sign.lasts
        evidence = dict(sign.evidence)
        if sign.lasts and post.since < now:
            evidence["since"] = iso(post.since)
        if held_back and not sign.lasts:
            evidence["held_back"] = held_back
        return self._details("raised", sign.message, evidence)

    def _recover(self, post: Post, sign: Sign) -> dict[str, Any] | None:
        """Return the details of the notice that a condition is over, if it was told."""
        told, post.standing, post.announced, post.held_back = post.announced, False, False, 0
        return self._details("recovered", sign.message, sign.evidence) if told else None

    def _details(self, state: str, message: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
        head = {"alert": name_of(self.rule), "when": self.rule.when, "state": state}
        return {**head, "level": self.rule.level, "message": message, **evidence}


@dataclass(slots=True)
class Sentinel:
    """Watches over one stream; picklable between any two calls.

    Parameters
    ----------
    guards
        The rules, each with what is remembered about it. `sentinel_of` makes them.

    Examples
    --------
    >>> sentinel = sentinel_of([r.Rejected(when="rejected", times=2)])
    >>> no = [Event("rejected", "s", at, at, at, {"model": at}) for at in range(3)]
    >>> [alert["message"] for event in no for alert in sentinel.see(event)]
    ['2 challengers in a row were rejected.']
    """

    guards: tuple[Guard, ...]
    now: int = -(2**62)
    seq: int = 0
    rejected: int = 0
    born: tuple[int, int] | None = None

    def see(self, event: Event) -> list[dict[str, Any]]:
        """Take an event; return the details of the alerts to be raised right after it."""
        if event.kind == "alert":
            return []
        self._advance(event.seq, event.event_time)
        if event.kind == "rejected":
            self.rejected += 1
        elif event.kind in ("promoted", "reused", "rollback"):
            self.rejected = 0
            self.born = (self.seq, self.now)
        return self._weigh(lambda rule: self._signs_of_event(rule, event))

    def look(self, seq: int, time: int, error: float) -> list[dict[str, Any]]:
        """Take a trace point; return the details of the alerts to be raised because of it.

        Parameters
        ----------
        seq, time
            The arrival and its event time.
        error
            The mean of the champion's newest errors; NaN where there is none yet.
        """
        self._advance(seq, time)
        return self._weigh(lambda rule: self._signs_of_error(rule, error))

    def tick(self, time: int, facts: Facts) -> list[dict[str, Any]]:
        """Take what only live mode knows at `time`; return the details of alerts."""
        self._advance(self.seq, time)
        return self._weigh(lambda rule: self._signs_of_facts(rule, facts))

    def _advance(self, seq: int, time: int) -> None:
        self.seq, self.now = max(self.seq, seq), max(self.now, time)

    def _weigh(self, signs: Callable[[AnyRule], Iterator[Sign]]) -> list[dict[str, Any]]:
        found = []
        for guard in self.guards:
            for sign in signs(guard.rule):
                alert = guard.weigh(sign, self.now)
                if alert is not None:
                    found.append(alert)
        return found

    def _signs_of_event(self, rule: AnyRule, event: Event) -> Iterator[Sign]:
        """Yield what a rule makes of an event."""
        kind, details = event.kind, event.details
        if isinstance(rule, r.RetrainFailed):
            yield from retrain_signs(event)
        elif isinstance(rule, r.Rejected):
            if kind in ("rejected", "promoted", "reused", "rollback"):
                yield rejection_sign(rule, self.rejected)
        elif isinstance(rule, r.OnAlarm) and kind == "alarm":
            yield from alarm_signs(rule, details)
        elif isinstance(rule, r.OnAnomaly) and kind == "anomaly":
            yield from anomaly_signs(rule, details)
        elif isinstance(rule, r.StreamFailed) and kind == "stream_failed":
            reason = str(details.get("reason", "no reason given"))
            message = f"Stream {event.stream} ended before its time: {reason}"
            yield Sign(True, message, lasts=False)
        elif isinstance(rule, r.RolledBack) and kind == "rollback":
            yield Sign(True, "An older model was put back.", dict(details), lasts=False)
        elif isinstance(rule, r.ModelAge):
            yield from self._age(rule)

    def _signs_of_error(self, rule: AnyRule, error: float) -> Iterator[Sign]:
        """Yield what a rule makes of a trace point."""
        if isinstance(rule, r.ModelAge):
            yield from self._age(rule)
        if isinstance(rule, r.ErrorAbove) and not math.isnan(error):
            yield from above(rule.limit, error, "The error of the newest records", "error")

    def _signs_of_facts(self, rule: AnyRule, facts: Facts) -> Iterator[Sign]:
        """Yield what a rule makes of what live mode knows."""
        if isinstance(rule, r.ModelAge):
            yield from self._age(rule)
        if isinstance(rule, r.Quota) and facts.quota is not None:
            yield from above(rule.above, facts.quota, "The spent share of the quota", "quota")
        if isinstance(rule, r.NoData) and facts.data_since is not None:
            late = self.now - facts.data_since > duration_micros(rule.longest)
            evidence = {"last": iso(facts.data_since)}
            message = f"No new article for {rule.longest}." if late else "New articles came."
            yield Sign(late, message, evidence)

    def _age(self, rule: r.ModelAge) -> Iterator[Sign]:
        """Yield whether the champion is too old."""
        if self.born is None:
            return
        records, micros = records_and_micros(rule.above)
        seq, time = self.born
        old = self.seq - seq > records if records else self.now - time > micros
        unit = " records" if records else ""
        message = f"The model is older than {rule.above}{unit}." if old else "A new model serves."
        yield Sign(old, message, {"model_since": iso(time), "model_records": self.seq - seq})


def sentinel_of(rules: Sequence[AnyRule]) -> Sentinel | None:
    """Return who watches for the rules; None if there are none, so that nothing is paid.

    Examples
    --------
    >>> sentinel_of([]) is None
    True
    """
    return Sentinel(tuple(Guard(rule) for rule in rules)) if rules else None


def above(limit: float, value: float, what: str, key: str) -> Iterator[Sign]:
    """Yield whether a value is above its limit, or has recovered; nothing in between.

    Examples
    --------
    >>> [list(above(1.0, value, "It", "it")) == [] for value in (1.2, 0.95, 0.8)]
    [False, True, False]
    """
    evidence = {key: round(value, 6), "limit": limit}
    if value > limit:
        yield Sign(True, f"{what} is {value:.3g}, above {limit:g}.", evidence)
    elif value <= limit * RECOVERY:
        yield Sign(False, f"{what} is {value:.3g} again.", evidence)


def retrain_signs(event: Event) -> Iterator[Sign]:
    """Yield whether a training job failed or, after one that did, one is ready."""
    model = {"model": event.details.get("model")}
    if event.kind == "job_failed":
        reason = str(event.details.get("reason", "no reason given"))
        yield Sign(True, f"A training job failed: {reason}", model)
    elif event.kind == "job_ready":
        yield Sign(False, "A training job is ready again.", model)


def rejection_sign(rule: r.Rejected, times: int) -> Sign:
    """Return whether enough challengers in a row were rejected."""
    if times >= rule.times:
        challengers = "challenger" if times == 1 else "challengers in a row"
        was = "was" if times == 1 else "were"
        return Sign(True, f"{times} {challengers} {was} rejected.", {"times": times})
    return Sign(False, "A model was promoted again.")


def alarm_signs(rule: r.OnAlarm, details: Mapping[str, Any]) -> Iterator[Sign]:
    """Yield an alarm that the rule is about."""
    detector, on = details.get("detector"), details.get("on")
    if rule.detector not in (None, detector) or rule.on not in (None, on):
        return
    evidence = {"detector": detector, "on": on}
    about = ""
    if details.get("feature") is not None:
        evidence["feature"] = details["feature"]
        about = f" {details['feature']}"
    yield Sign(True, f"{detector} raised an alarm on {on}{about}.", evidence, lasts=False)


def anomaly_signs(rule: r.OnAnomaly, details: Mapping[str, Any]) -> Iterator[Sign]:
    """Yield an anomaly that the rule is about, or that one is over."""
    said = str(details.get("what"))
    what = said.removesuffix(OVER)
    if rule.what is not None and what not in rule.what and said not in rule.what:
        return
    told_apart = [f"{key} {details[key]}" for key in SUBJECT_KEYS if key in details]
    subject = ", ".join([what, *told_apart])
    evidence = {"what": said, **{key: details[key] for key in SUBJECT_KEYS if key in details}}
    over = said.endswith(OVER)
    message = f"It is over: {subject}." if over else f"Something is odd: {subject}."
    yield Sign(not over, message, evidence, subject)
