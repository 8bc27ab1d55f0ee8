"""Changes of counts: found when they are there, told once, over in the end, rarely imagined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from engine.news import mixes
from engine.news.mixes import KINDS_MAX, Mix, Shift, Volume

HOUR = 3_600_000_000


def told(shifts: list[Shift | None]) -> list[tuple[int, bool]]:
    return [(at, shift.begins) for at, shift in enumerate(shifts) if shift]


def test_a_change_of_the_mix_is_told_when_it_begins_and_when_it_is_over() -> None:
    usual, other = {"a": 20, "b": 20}, {"a": 2, "b": 38}
    mix = Mix(least=0.2)
    assert told([mix.see(other if 10 <= at < 15 else usual) for at in range(30)]) == [
        (10, True),
        (15, False),
    ]


def test_a_change_that_stays_becomes_usual() -> None:
    mix = Mix(least=0.2)
    shifts = [mix.see({"a": 40} if at < 10 else {"b": 40}) for at in range(60)]
    over = 10 + mixes.SETTLE_BLOCKS
    assert told(shifts) == [(10, True), (over, False)]
    last = shifts[over]
    assert last and last.evidence["settled"]


def test_only_a_rise_of_the_named_kind_is_told() -> None:
    for rises, expected in (("null", 0), ("there", 1)):
        mix = Mix(0.1, rises)
        shifts = [mix.see({"null": 20 if at < 10 else 0, "there": 20}) for at in range(14)]
        assert sum(begins for _, begins in told(shifts)) == expected


def test_a_small_change_is_not_worth_telling_however_certain() -> None:
    mix = Mix(least=0.2)
    many = [{"a": 5000, "b": 5000}] * 10 + [{"a": 5500, "b": 4500}] * 5
    assert not any(mix.see(counts) for counts in many)


def test_few_entries_are_gathered_until_they_show_something() -> None:
    mix = Mix(least=0.2)
    for _ in range(60):
        assert mix.see({"a": 5}) is None
    assert told([mix.see({"b": 5}) for _ in range(6)]) == [(5, True)]


def test_kinds_are_bounded() -> None:
    mix = Mix(least=0.2)
    for at in range(50):
        mix.see({f"kind {at * 40 + place}": 1 for place in range(40)})
    assert len(mix.usual) <= KINDS_MAX + 1


def test_false_alarms_are_rare_even_where_counts_vary_more_than_chance() -> None:
    rng = np.random.default_rng(1)
    begun = 0
    for _ in range(10):
        mix = Mix(least=0.15)
        for _ in range(200):
            share = rng.beta(6, 14)
            null = int(rng.binomial(40, share))
            shift = mix.see({"null": null, "there": 40 - null})
            begun += bool(shift and shift.begins)
    assert begun <= 6, "of 2,000 blocks"


@pytest.mark.parametrize(("rate", "polls"), [(3, 20), (10, 8), (60, 4)])
def test_a_drop_of_volume_is_found_and_is_over(rate: int, polls: int) -> None:
    rng = np.random.default_rng(rate)
    volume = Volume()
    rates = [rate] * 60 + [rate / 5] * 30 + [rate] * 30
    found = told(
        [volume.see(at * HOUR, int(rng.poisson(mean))) for at, mean in enumerate(rates)],
    )
    (begun, begins), (over, ends) = found
    assert begins and not ends
    assert 60 <= begun < 60 + polls and 90 <= over < 90 + polls


def test_false_drops_are_rare_over_quiet_nights_once_a_day_is_known() -> None:
    rng = np.random.default_rng(2)
    volume, first, later = Volume(), 0, 0
    for at in range(96 * 20):
        mean = 10 * (1 + 0.8 * math.sin(2 * math.pi * at / 96))
        shift = volume.see(at * HOUR // 4, int(rng.poisson(mean)))
        if shift and shift.begins:
            first, later = first + (at < 192), later + (at >= 192)
    assert first <= 2 and later <= 2


def test_a_poll_that_comes_early_counts_towards_the_next() -> None:
    volume = Volume()
    for at in range(40):
        assert volume.see(at * HOUR, 10) is None
        assert volume.see(at * HOUR + HOUR // 10, 20) is None
    assert 25 < volume.mean <= 30


def test_a_drop_that_stays_becomes_usual() -> None:
    volume = Volume()
    shifts = [volume.see(at * HOUR, 30 if at < 40 else 2) for at in range(200)]
    begun, over = told(shifts)
    assert begun == (41, True) and not over[1]
    last = shifts[over[0]]
    assert last and last.evidence["settled"]


@pytest.mark.parametrize("cut", [0, 7, 19, 33])
def test_memory_survives_as_json(cut: int) -> None:
    def shifts(cut: int | None) -> list[Shift | None]:
        mix, volume, found = Mix(0.2), Volume(), []
        for at in range(50):
            if at == cut:
                mix = Mix.of(json.loads(json.dumps(mix.state())))
                volume = Volume.of(json.loads(json.dumps(volume.state())))
            low = 30 <= at < 40
            found.append(mix.see({"a": 5, "b": 40} if low else {"a": 30, "b": 10 + at % 3}))
            found.append(volume.see(at * HOUR, 3 if low else 28 + at % 5))
        return found

    whole = shifts(None)
    assert len(told(whole)) == 4
    assert shifts(cut) == whole
