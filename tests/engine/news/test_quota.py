"""The plan is never exceeded, whatever the clock does, and no request is held back for ever."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.news.quota import Budget, Spent, budget_of, round_micros, spend, still
from engine.news.settings import Plan

HOUR = 3_600_000_000
PLAN = Plan(requests=3, per="12h")


class Book:
    """Requests as the ledger keeps them."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.held = plan, list[Spent]()

    def look(self, now: int) -> Budget:
        self.held = still(self.held, self.plan, now)
        return budget_of(self.held, self.plan, now)

    def ask(self, now: int) -> bool:
        if not self.look(now).left:
            return False
        self.held.append(spend(self.held, now))
        return True


def test_a_window_slides() -> None:
    book = Book(PLAN)
    assert [book.ask(hour * HOUR) for hour in (0, 1, 2, 3, 11)] == [True] * 3 + [False] * 2
    assert book.look(11 * HOUR) == Budget(used=3, left=0, next_at=12 * HOUR)
    assert [book.ask(hour * HOUR) for hour in (12, 12, 13)] == [True, False, True]


def test_a_smaller_plan_waits_until_enough_have_passed() -> None:
    spent = [Spent(hour * HOUR, hour * HOUR) for hour in (0, 1, 2)]
    smaller = Plan(requests=1, per="12h")
    assert budget_of(spent, smaller, 3 * HOUR) == Budget(used=3, left=0, next_at=14 * HOUR)


def test_a_clock_that_is_put_back_and_right_again_frees_nothing() -> None:
    book = Book(PLAN)
    assert [book.ask(100 * HOUR) for _ in range(3)] == [True] * 3
    assert not book.ask(50 * HOUR)  # a machine that wakes up without the time
    assert not book.ask(101 * HOUR)
    assert book.ask(112 * HOUR)


def test_what_is_asked_while_the_clock_is_put_back_counts_when_it_is_right_again() -> None:
    book = Book(PLAN)
    assert [book.ask(hour * HOUR) for hour in (100, 50, 50, 101)] == [True, True, True, False]
    assert book.look(101 * HOUR).next_at == 112 * HOUR


def test_a_clock_that_was_years_ahead_holds_nothing_back_for_years() -> None:
    book = Book(PLAN)
    assert [book.ask(100_000 * HOUR) for _ in range(3)] == [True] * 3
    assert not book.ask(100 * HOUR)
    assert book.look(111 * HOUR) == Budget(used=3, left=0, next_at=112 * HOUR)
    assert book.ask(112 * HOUR)
    assert book.look(113 * HOUR) == Budget(used=1, left=2, next_at=113 * HOUR)


steps = st.lists(
    st.tuples(
        st.integers(0, 8 * HOUR),  # how much time passes
        st.sampled_from([0, 0, 0, 0, 1, HOUR, 11 * HOUR, 13 * HOUR, 1000 * HOUR]),  # put back
        st.integers(1, 4),  # how many requests are wanted
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps, st.integers(1, 6))
def test_no_period_ever_holds_more_than_the_plan(
    steps: list[tuple[int, int, int]], requests: int
) -> None:
    book, true, clock, made = Book(Plan(requests=requests, per="12h")), 0, 5000 * HOUR, list[int]()
    for passes, back, wanted in steps:
        true, clock = true + passes, clock + passes - back
        made += [true for _ in range(wanted) if book.ask(clock)]
        assert len(book.held) <= requests
    for start in made:
        assert sum(start <= at < start + 12 * HOUR for at in made) <= requests


@settings(max_examples=60)
@given(steps, st.integers(1, 6))
def test_who_waits_for_a_period_by_a_steady_clock_may_ask(
    steps: list[tuple[int, int, int]], requests: int
) -> None:
    book, clock = Book(Plan(requests=requests, per="12h")), 5000 * HOUR
    for passes, back, wanted in steps:
        clock += passes - back
        for _ in range(wanted):
            book.ask(clock)
    book.look(clock)
    told = book.look(clock).next_at
    assert clock <= told <= max(clock, *(one.stamp for one in book.held), clock) + 12 * HOUR
    assert book.ask(told)


def test_rounds_are_stretched_so_that_the_budget_lasts() -> None:
    plan = Plan(requests=50, per="12h")
    minutes = [round_micros(requests, plan, HOUR // 4) / 60e6 for requests in (1, 7, 14)]
    assert minutes == [15, 100.8, 201.6]
    assert round_micros(1000, Plan(requests=3, per="1s"), 0) == 333_333_334
