"""ADWIN and Page-Hinkley compiled by numba, with River's arithmetic in River's order.

Imported late, by `engine.compiled`, which also says what the arrays hold and checks what is here
against River. Each kernel feeds values to a detector, changes its arrays in place, writes where
alarms were raised into `found` and returns how many there were. Those that are given `stops`, in
ascending order, write down the detector's state before each of these positions into `states`.
They let other threads run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import float64, int64, njit, types

from engine.batch import Floats, Ints

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
GIVEN = types.Array(float64, 1, "C", readonly=True)
TABLE = types.Array(float64, 2, "A", readonly=True)
ROW, ROWS, CUBE = float64[::1], float64[:, ::1], float64[:, :, ::1]
COUNTS, PAIRS = int64[::1], int64[:, ::1]
TICK_MAX = 2**31 - 1
"""River's ADWIN counts values in 32 bits, and from here on backwards."""


def compiled(signature: Any = None) -> Callable[[AnyFunction], AnyFunction]:
    """Return a decorator that compiles a function; with a signature at once, kept on disk.

    Where nothing can be kept (no folder of this package or of the user can be written) it is
    compiled anew in each process.
    """

    def decorate(function: AnyFunction) -> AnyFunction:
        options: Any = {"nogil": True, "error_model": "numpy"}
        if signature is None:
            return cast(AnyFunction, njit(**options)(function))
        try:
            return cast(AnyFunction, njit(signature, cache=True, **options)(function))
        except (RuntimeError, OSError):
            return cast(AnyFunction, njit(signature, **options)(function))

    return decorate


# --- Page-Hinkley ---------------------------------------------------------------------------


@compiled()
def follow(values: Floats, zeros: int, rule: Floats, state: Floats, found: Ints, base: int) -> int:
    """Feed Page-Hinkley with `zeros` zeros, then with what is not NaN in `values`."""
    least, delta, alpha, up, down = rule
    n, mean, rise, lowest, fall, highest, fired = state
    count = 0
    for at in range(-zeros, len(values)):
        value = values[at] if at >= 0 else 0.0
        if value != value:
            continue
        if fired:
            n, mean, rise, lowest, fall, highest, fired = 0.0, 0.0, 0.0, np.inf, 0.0, -1.0, 0.0
        n += 1.0
        mean += (1.0 / n) * (value - mean)
        deviation = value - mean
        rise = alpha * rise + deviation - delta
        fall = alpha * fall + deviation + delta
        lowest = rise if rise < lowest else lowest
        highest = fall if fall > highest else highest
        if (rise - lowest > up or highest - fall > down) and n >= least:
            fired = 1.0
            found[count] = base + at
            count += 1
    state[0], state[1], state[2], state[3] = n, mean, rise, lowest
    state[4], state[5], state[6] = fall, highest, fired
    return count


@compiled(int64(GIVEN, ROW, ROW, COUNTS, COUNTS, ROWS))
def page_hinkley(
    values: Floats, rule: Floats, state: Floats, found: Ints, stops: Ints, states: Floats
) -> int:
    """Feed Page-Hinkley with values that are all there."""
    count, start = 0, 0
    for at in range(len(stops)):
        count += follow(values[start : stops[at]], 0, rule, state, found[count:], start)
        states[at] = state
        start = stops[at]
    return count + follow(values[start:], 0, rule, state, found[count:], start)


@compiled(int64(TABLE, PAIRS, ROWS, ROWS, ROWS, COUNTS, float64, COUNTS))
def page_hinkley_pack(
    numbers: Floats,
    inputs: Ints,
    scales: Floats,
    rules: Floats,
    states: Floats,
    zeros: Ints,
    clip: float,
    found: Ints,
) -> int:
    """Feed many Page-Hinkley detectors, each with a column of `numbers`, standardised.

    An alarm of detector j at row i is written as ``j * len(numbers) + i``. A detector whose
    `zeros` are not negative has been given nothing but so many zeros, and gets them only before
    something else.
    """
    count, rows = 0, len(numbers)
    values = np.empty(rows)
    for j in range(len(inputs)):
        column, indicator = inputs[j]
        mean, scale = scales[j]
        idle, there = True, 0
        for i in range(rows):
            value = numbers[i, column]
            if indicator:
                value = 1.0 if value != value else 0.0
            value = (value - mean) / scale
            value = clip if value > clip else value
            value = -clip if value < -clip else value
            values[i] = value
            there += value == value
            idle &= value == 0.0 or value != value
        if zeros[j] >= 0 and idle:
            zeros[j] += there
            continue
        lead = max(zeros[j], 0)
        zeros[j] = -1
        count += follow(values, lead, rules[j], states[j], found[count:], j * rows)
    return count


# --- ADWIN ----------------------------------------------------------------------------------


@compiled()
def insert(values: Floats, counts: Ints, buckets: Floats, levels: int, capacity: int) -> int:
    """Put values into the first level; a level that is full hands its oldest on, two by two.

    Nobody looks at the levels between two checks, so that many values may go in at once.
    """
    totals, spreads = buckets
    for at in range(len(values)):
        totals[0, counts[0] + at], spreads[0, counts[0] + at] = values[at], 0.0
    counts[0] += len(values)
    level, size, share = 0, 1.0, 1.0  # sizes are powers of 2: times the share is division, exact
    while counts[level] >= capacity:
        pairs, end = (counts[level] - capacity) // 2 + 1, counts[level + 1]
        for at in range(pairs):
            first, second = totals[level, 2 * at], totals[level, 2 * at + 1]
            gap = first * share - second * share
            spread = spreads[level, 2 * at] + spreads[level, 2 * at + 1]
            totals[level + 1, end + at] = first + second
            spreads[level + 1, end + at] = spread + size * 0.5 * gap * gap
        counts[level + 1] += pairs
        counts[level] -= 2 * pairs
        for at in range(counts[level]):
            totals[level, at] = totals[level, at + 2 * pairs]
            spreads[level, at] = spreads[level, at + 2 * pairs]
        level, size, share = level + 1, size * 2.0, share * 0.5
    return max(levels, level + 1)


@compiled()
def differs(
    total: float,
    variance: float,
    width: float,
    levels: int,
    counts: Ints,
    totals: Floats,
    delta: float,
    least: float,
) -> bool:
    """Return whether any cut of the window leaves two parts with different means."""
    chance = np.log(2.0 * np.log(width) / delta)
    spread, chance_share = variance / width, 2.0 / 3.0 * chance
    older, newer, older_total, newer_total = 0.0, width, 0.0, total
    for level in range(levels - 1, -1, -1):
        size = float(1 << level)
        for at in range(counts[level]):
            older += size
            newer -= size
            older_total += totals[level, at]
            newer_total -= totals[level, at]
            if newer < least or newer < 1.0:
                return False
            if older < least:
                continue
            gap = abs(older_total / older - newer_total / newer)
            weight = 1.0 / (older - least + 1.0) + 1.0 / (newer - least + 1.0)
            if gap > np.sqrt(2.0 * weight * spread * chance) + chance_share * weight:
                return True
    return False


@compiled()
def shrink(
    total: float,
    variance: float,
    width: float,
    levels: int,
    counts: Ints,
    buckets: Floats,
    delta: float,
    least: float,
) -> tuple[float, float, float, int]:
    """Drop the oldest buckets until no two parts of the window differ; return what is left."""
    totals, spreads = buckets
    while differs(total, variance, width, levels, counts, totals, delta, least):
        last = levels - 1
        size = float(1 << last)
        dropped, mean = totals[last, 0], totals[last, 0] / size
        width -= size
        total -= dropped
        gap = mean - total / width
        variance -= spreads[last, 0] + size * width * gap * gap / (size + width)
        counts[last] -= 1
        for at in range(counts[last]):
            totals[last, at] = totals[last, at + 1]
            spreads[last, at] = spreads[last, at + 1]
        levels -= counts[last] == 0
    return total, variance, width, levels


@compiled()
def widen(
    values: Floats,
    rule: Floats,
    state: Floats,
    counts: Ints,
    buckets: Floats,
    found: Ints,
    base: int,
) -> int:
    """Feed ADWIN with values, the first of which is at position `base`."""
    delta, least, grace, direction = rule[0], rule[2], rule[3], rule[4]
    total, variance, width = state[0], state[1], state[2]
    clock, tick, levels, fired = int(rule[1]), int(state[3]), int(state[4]), state[5] > 0
    capacity = int(rule[5])
    wait, room = clock - tick % clock, buckets.shape[2] - capacity
    at, count = 0, 0
    while at < len(values):
        if fired:
            total, variance, width, tick, wait, fired = 0.0, 0.0, 0.0, 0, clock, False
            counts[:levels] = 0
            levels = 1
        part = values[at : at + min(wait, room, TICK_MAX + 1 - tick)]
        for value in part:
            width += 1.0
            if width > 1.0:
                gap = value - total / (width - 1.0)
                variance += (width - 1.0) * gap * gap / width
            total += value
        levels = insert(part, counts, buckets, levels, capacity)
        at, tick, wait = at + len(part), tick + len(part), wait - len(part)
        if tick > TICK_MAX:
            tick = -TICK_MAX - 1
            wait = -tick % clock
        if wait > 0:
            continue
        wait = clock
        if width <= grace:
            continue
        whole_total, whole = total, width
        total, variance, width, levels = shrink(
            total, variance, width, levels, counts, buckets, delta, least
        )
        fired = width < whole
        if fired:
            kept, gone = total / width, (whole_total - total) / (whole - width)
            if direction == 0 or (kept > gone if direction > 0 else kept < gone):
                found[count] = base + at - 1
                count += 1
    state[0], state[1], state[2] = total, variance, width
    state[3], state[4], state[5] = tick, levels, 1.0 if fired else 0.0
    return count


@compiled(int64(GIVEN, ROW, ROW, COUNTS, CUBE, COUNTS, COUNTS, ROWS))
def adwin(
    values: Floats,
    rule: Floats,
    state: Floats,
    counts: Ints,
    buckets: Floats,
    found: Ints,
    stops: Ints,
    states: Floats,
) -> int:
    """Feed ADWIN; its arrays have room for the levels that so many values may need."""
    count, start = 0, 0
    for at in range(len(stops)):
        part = values[start : stops[at]]
        count += widen(part, rule, state, counts, buckets, found[count:], start)
        states[at] = state
        start = stops[at]
    return count + widen(values[start:], rule, state, counts, buckets, found[count:], start)
