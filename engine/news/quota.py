"""How many requests the plan still allows, and when: pure functions of when others were made.

The limit holds over every period, wherever it begins, so it is a window that slides over the
times of past requests. The clock may be put back in between: a request is never stamped earlier
than the one before it, and one that seems to lie in the future goes on counting. If the clock was
far ahead and is right now, such a request counts until a period has passed by the right clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.events import iso
from engine.news.settings import Plan


@dataclass(frozen=True, slots=True)
class Spent:
    """A request that was made.

    Parameters
    ----------
    stamp
        When, by a clock that never goes back; microseconds since 1970.
    lowest
        The lowest that the real clock was since then.
    """

    stamp: int
    lowest: int


def counts(spent: Spent, per: int, now: int) -> bool:
    """Return whether a request may lie within the period that ends now.

    Examples
    --------
    >>> [counts(Spent(100, 100), per=10, now=now) for now in (90, 109, 110)]
    [True, True, False]
    >>> [counts(Spent(100, lowest=5), per=10, now=now) for now in (14, 15)]  # put back by 95
    [True, False]
    """
    return now < _free_at(spent, per, now)


def still(spent: Iterable[Spent], plan: Plan, now: int) -> list[Spent]:
    """Return the requests that the plan holds against us now; others never count again."""
    per = plan.per_micros
    seen = (Spent(one.stamp, min(one.lowest, now)) for one in spent)
    return [one for one in seen if counts(one, per, now)]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a plan still allows.

    Parameters
    ----------
    used, left
        How many requests count, and how many may be made at once.
    next_at
        The earliest time at which a request may be made.
    """

    used: int
    left: int
    next_at: int

    def described(self, plan: Plan) -> dict[str, Any]:
        """Return it with the plan, JSON-ready."""
        given = {"requests": plan.requests, "per": plan.per}
        return {**given, "used": self.used, "left": self.left, "next_at": iso(self.next_at)}


def budget_of(spent: Iterable[Spent], plan: Plan, now: int) -> Budget:
    """Return what a plan allows after requests, some of which may count no more.

    Examples
    --------
    >>> plan = Plan(requests=2, per="10us")
    >>> budget_of([Spent(1, 1)], plan, now=5)
    Budget(used=1, left=1, next_at=5)
    >>> budget_of([Spent(1, 1), Spent(4, 4)], plan, now=5)
    Budget(used=2, left=0, next_at=11)
    """
    per = plan.per_micros
    ends = sorted(_free_at(one, per, now) for one in spent)
    held = [end for end in ends if end > now]
    left = max(0, plan.requests - len(held))
    return Budget(len(held), left, now if left else held[len(held) - plan.requests])


def spend(spent: Sequence[Spent], now: int) -> Spent:
    """Return the request that is made now, after others."""
    return Spent(max((now, *(one.stamp for one in spent))), now)


def round_micros(requests: int, plan: Plan, interval: int) -> int:
    """Return how long a round of so many requests must take, so that the budget lasts.

    Examples
    --------
    >>> round_micros(7, Plan(), interval=15 * 60_000_000) // 60_000_000  # minutes
    100
    >>> round_micros(2, Plan(), interval=3600 * 1_000_000) // 60_000_000
    60
    """
    return max(interval, -(-requests * plan.per_micros // plan.requests))


def _free_at(spent: Spent, per: int, now: int) -> int:
    """Return when, by the real clock, a request stops counting."""
    by_right_clock = spent.lowest + per
    return by_right_clock if max(now, by_right_clock) < spent.stamp else spent.stamp + per
