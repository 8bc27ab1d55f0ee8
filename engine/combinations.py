"""Policies made of policies: any of several, all of several, and what holds one back.

A wish that is held back is gone: the policy inside has spoken, and its memory has advanced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine import settings as s
from engine.views import (
    NOTHING,
    Decision,
    Parts,
    Plain,
    Policy,
    State,
    View,
    Wake,
    earliest,
    outlook,
)


@dataclass(frozen=True, slots=True)
class AnyOf(Plain):
    """Retrain when one of several policies wants to; the first that does gives the reason.

    Its memory is theirs.

    Parameters
    ----------
    members
        The policies.

    Examples
    --------
    >>> from engine.policies import build, example_view
    >>> members = (s.Never(kind="never"), s.Every(kind="every", records=10))
    >>> policy = build(s.AnyOf(kind="any_of", of=members))
    >>> policy.decide(example_view(seq=50, served=51), policy.initial())[0].reason
    'served 51 records, the period is 10'
    """

    members: tuple[Policy, ...]

    @classmethod
    def of(cls, settings: s.AnyOf, parts: Parts) -> AnyOf:
        """Return the policy that the settings describe."""
        return cls(parts.members)

    @property
    def heeds_prices(self) -> bool:
        """Whether its decisions depend on the prices."""
        return any(member.heeds_prices for member in self.members)

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""
        return _missing(self.members, detectors)

    def initial(self) -> State:
        """Return the memory to start with."""
        return tuple(member.initial() for member in self.members)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        answers, memory = _ask(self.members, view, state)
        wanted = [one for one in answers if one.action != "nothing"]
        if not wanted:
            return NOTHING, memory
        return replace(wanted[0], queue=any(one.queue for one in wanted)), memory

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return _wake(self.members, view, state)


@dataclass(frozen=True, slots=True)
class AllOf(Plain):
    """Retrain when every one of several policies has wanted to of late.

    A request and a new champion wipe the wishes. Its memory is (champion's first record, arrival
    and `of_seq` of each member's last wish, the members' memories).

    Parameters
    ----------
    members
        The policies.
    within
        What "of late" means, in records.

    Examples
    --------
    >>> from engine.policies import build, example_view
    >>> members = (s.Every(kind="every", records=10), s.Every(kind="every", records=20))
    >>> policy = build(s.AllOf(kind="all_of", of=members))
    >>> decision, state = policy.decide(example_view(seq=9, served=10), policy.initial())
    >>> decision.action, policy.decide(example_view(seq=19, served=20), state)[0].action
    ('nothing', 'retrain')
    """

    members: tuple[Policy, ...]
    within: int

    @classmethod
    def of(cls, settings: s.AllOf, parts: Parts) -> AllOf:
        """Return the policy that the settings describe."""
        return cls(parts.members, settings.within)

    @property
    def heeds_prices(self) -> bool:
        """Whether its decisions depend on the prices."""
        return any(member.heeds_prices for member in self.members)

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""
        return _missing(self.members, detectors)

    def initial(self) -> State:
        """Return the memory to start with."""
        return None, (None,) * len(self.members), tuple(one.initial() for one in self.members)

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        first, wishes, memory = state
        if first != view.first:
            wishes = (None,) * len(self.members)
        answers, memory = _ask(self.members, view, memory)
        wanted = [one for one in answers if one.action != "nothing"]
        wishes = tuple(
            old if one.action == "nothing" else (view.seq, one.of_seq)
            for one, old in zip(answers, wishes, strict=True)
        )
        late = [wish for wish in wishes if wish is None or view.seq - wish[0] >= self.within]
        if late or not wanted:
            return NOTHING, (view.first, wishes, memory)
        reason = f"all {len(wishes)} policies wanted to within {self.within} records"
        last = "; ".join(one.reason for one in wanted)
        saw = {"wishes": [seq for seq, _ in wishes]} | outlook(view)
        caused = [wish for wish in wishes if wish[1] is not None]
        decision = replace(
            wanted[0],
            reason=f"{reason}, now: {last}",
            saw=saw,
            queue=any(one.queue for one in wanted),
            of_seq=max(caused)[1] if caused else None,
        )
        return decision, (view.first, (None,) * len(wishes), memory)

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return _wake(self.members, view, state[2])


def _missing(
    members: Sequence[Policy], detectors: Sequence[s.AnyDetector]
) -> tuple[s.AnyDetector, ...]:
    found: tuple[s.AnyDetector, ...] = ()
    for member in members:
        found += member.missing((*detectors, *found))
    return found


def _ask(
    members: Sequence[Policy], view: View, memory: Sequence[State]
) -> tuple[list[Decision], tuple[State, ...]]:
    pairs = [one.decide(view, state) for one, state in zip(members, memory, strict=True)]
    return [decision for decision, _ in pairs], tuple(state for _, state in pairs)


def _wake(members: Sequence[Policy], view: View, memory: Sequence[State]) -> Wake:
    soonest = Wake()
    for member, state in zip(members, memory, strict=True):
        soonest = earliest(soonest, member.wake(view, state))
    return soonest


# --- modifiers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Modifier:
    """What holds another policy back; that one's memory advances all the same.

    Parameters
    ----------
    inner
        The policy.
    """

    inner: Policy

    @property
    def needs(self) -> tuple[s.AnyDetector, ...]:
        """The detectors that it cannot do without."""
        return self.inner.needs

    @property
    def heeds_prices(self) -> bool:
        """Whether its decisions depend on the prices."""
        return self.inner.heeds_prices

    def missing(self, detectors: Sequence[s.AnyDetector]) -> tuple[s.AnyDetector, ...]:
        """Return the detectors that it needs beside `detectors`."""
        return self.inner.missing(detectors)


@dataclass(frozen=True, slots=True)
class Settle(Modifier):
    """Pass a wish on `records` records later, so that its window holds what is new.

    A model trained at the alarm mostly learns the world that has just ended. Further wishes in
    the meantime are the same wish; a new champion wipes it. Its memory is (the inner one's, the
    wish as (champion's first record, arrival, action, reason, of_seq)).

    Parameters
    ----------
    inner
        The policy.
    records
        How long a wish waits, in records.

    Examples
    --------
    >>> from engine.policies import build, example_view
    >>> policy = build(s.Every(kind="every", records=10, settle=5))
    >>> decision, state = policy.decide(example_view(seq=9, served=10), policy.initial())
    >>> decision.action, policy.wake(example_view(seq=9, served=10), state).seq
    ('nothing', 14)
    >>> policy.decide(example_view(seq=14, served=15), state)[0].reason
    'served 10 records, the period is 10; then 5 records to settle'
    """

    records: int

    def initial(self) -> State:
        """Return the memory to start with."""
        return self.inner.initial(), None

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        memory, wish = state
        if wish is not None and wish[0] != view.first:
            wish = None
        decision, memory = self.inner.decide(view, memory)
        if wish is None and decision.action != "nothing":
            wish = (view.first, view.seq, decision.action, decision.reason, decision.of_seq)
        if wish is None or view.seq - wish[1] < self.records:
            return NOTHING, (memory, wish)
        reason = f"{wish[3]}; then {view.seq - wish[1]} records to settle"
        saw = {"wish": wish[1]} | outlook(view)
        return Decision(wish[2], reason, saw, of_seq=wish[4]), (memory, None)

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        memory, wish = state
        inner = self.inner.wake(view, memory)
        return inner if wish is None else earliest(inner, Wake(seq=wish[1] + self.records))


@dataclass(frozen=True, slots=True)
class Warmup(Modifier):
    """Let nothing through before the first model has served `records` records.

    Its memory is (the inner one's, first record of the first model).
    """

    records: int

    def initial(self) -> State:
        """Return the memory to start with."""
        return self.inner.initial(), None

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        memory, first = state
        first = view.first if first is None else first
        decision, memory = self.inner.decide(view, memory)
        ready = view.seq - first + 1 >= self.records
        return (decision if ready else NOTHING), (memory, first)

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return self.inner.wake(view, state[0])


@dataclass(frozen=True, slots=True)
class Cooldown(Modifier):
    """Let nothing through for a while after a request that it let through.

    Its memory is (the inner one's, (seq, time) of that request).
    """

    records: int
    micros: int

    def initial(self) -> State:
        """Return the memory to start with."""
        return self.inner.initial(), None

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        memory, last = state
        decision, memory = self.inner.decide(view, memory)
        if decision.action == "nothing":
            return NOTHING, (memory, last)
        if last is not None:
            seq, time = last
            if view.seq - seq < self.records or view.time - time < self.micros:
                return NOTHING, (memory, last)
        return decision, (memory, (view.seq, view.time))

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return self.inner.wake(view, state[0])


@dataclass(frozen=True, slots=True)
class Budget(Modifier):
    """Let nothing through once `retrains` retrains were started; its memory is the inner one's."""

    retrains: int

    def initial(self) -> State:
        """Return the memory to start with."""
        return self.inner.initial()

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        decision, state = self.inner.decide(view, state)
        return (decision if view.started < self.retrains else NOTHING), state

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return Wake() if view.started >= self.retrains else self.inner.wake(view, state)


@dataclass(frozen=True, slots=True)
class Queue(Modifier):
    """Have a request that comes while a job is pending kept; its memory is the inner one's."""

    def initial(self) -> State:
        """Return the memory to start with."""
        return self.inner.initial()

    def decide(self, view: View, state: State) -> tuple[Decision, State]:
        """Return what to do now, and the memory for the next call."""
        decision, state = self.inner.decide(view, state)
        return (decision if decision.action == "nothing" else replace(decision, queue=True)), state

    def wake(self, view: View, state: State) -> Wake:
        """Return how long `decide` need not be called after it left `state` behind."""
        return self.inner.wake(view, state)
