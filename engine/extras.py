"""Bounded extras for looking: how the detectors stood at a stride, and records around alarms.

They change no outcome, and are the same for every batch size, trainer and restart, as alarms are.
Only error detectors are traced: what each feature detector makes of each column would cost more
than the detection itself. Features are looked at around alarms instead, in samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from engine.batch import Table
from engine.events import Alarm

STRIDE_MIN = 100
"""No trace is denser than a point in so many records."""
POINTS_MAX = 2000
"""No trace has more points than this, give or take one, however long the stream is."""
ERRORS = 500
"""How many of the champion's newest errors the series `error` is the mean of."""
SAMPLES_MAX = 100
"""How many alarms of a stream get a sample: the first."""
RECORDS = 20
"""How many records a sample shows."""
FEATURES_MAX = 10
"""How many features a sample has histograms of."""
LEVELS = 9
"""How many levels of a categorical feature have a bin of their own."""
TEXTS_MAX = 4096
"""Of so many bins the text is kept: it is the same in each sample of a champion."""
ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


# --- traces ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TracePoint:
    """What the error detectors had come to at one arrival.

    Parameters
    ----------
    seq
        The arrival.
    time
        Its event time, microseconds since 1970.
    values
        Statistic of each detector by name, and ``error``: the mean of the champion's newest
        `ERRORS` errors known then. NaN where there is none yet.
    """

    seq: int
    time: int
    values: Mapping[str, float]


def stride_of(rows: int) -> int:
    """Return how many records lie between two trace points of a stream of `rows` source rows.

    Examples
    --------
    >>> stride_of(45_312), stride_of(10_000_000)
    (100, 5000)
    """
    return max(STRIDE_MIN, math.ceil(rows / POINTS_MAX))


# --- histograms -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one feature, from a training window, and the shares that fell into them.

    Parameters
    ----------
    edges
        Numeric: what separates the bins, ascending; a bin includes its upper edge.
    levels
        Categorical: the levels that have a bin, most frequent first. None for numeric.
    shares
        Share of the window in each bin; the last is that of missing values.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> table = table_of({"x": [1.0, 2.0, 2.0, np.nan], "c": ["b", "a", None, "a"]}, ["c"])
    >>> bins = Bins.of(table, "x")
    >>> bins.names(), bins.shares
    ([[None, 1.0], [1.0, 2.0], [2.0, None], 'missing'], (0.25, 0.5, 0.0, 0.25))
    >>> bins = Bins.of(table, "c")
    >>> bins.names(), bins.shares_of(table[:1], "c")
    (['a', 'b', 'other', 'missing'], (0.0, 1.0, 0.0, 0.0))
    """

    edges: tuple[float, ...]
    levels: tuple[str, ...] | None
    shares: tuple[float, ...]

    @classmethod
    def of(cls, table: Table, name: str) -> Bins:
        """Return the bins that suit a feature of a training window: its deciles, or top levels."""
        edges: tuple[float, ...] = ()
        levels = None
        if name in table.schema.number_at:
            values = table.number(name)
            there = values[np.isfinite(values)]
            if len(there):
                places = [(len(there) - 1) * tenth // 10 for tenth in range(1, 10)]
                deciles = np.partition(there, places)[places] + 0.0  # of 0 and -0.0 only 0
                edges = tuple(dict.fromkeys(deciles.tolist()))
        else:
            counts = _count_levels(table, name)
            del counts[None]
            ranked = sorted((-count, str(level)) for level, count in counts.items() if count)
            levels = tuple(level for _, level in ranked[:LEVELS])
        bare = cls(edges, levels, ())
        return cls(edges, levels, bare.shares_of(table, name))

    def names(self) -> list[Any]:
        """Return what each bin holds, JSON-ready: [above, up to], a level, or a word."""
        if self.levels is not None:
            return [*self.levels, "other", "missing"]
        ends = [None, *self.edges, None]
        return [*([low, high] for low, high in pairwise(ends)), "missing"]

    def shares_of(self, table: Table, name: str) -> tuple[float, ...]:
        """Return the share of a table's rows in each bin."""
        if self.levels is not None:
            counts = _count_levels(table, name)
            missing = counts.pop(None)
            tops = [counts.pop(level, 0) for level in self.levels]
            return _shares([*tops, sum(counts.values()), missing])
        values = table.number(name)
        bins = np.array(self.edges).searchsorted(values, side="left")
        counts = np.bincount(bins, minlength=len(self.edges) + 2).tolist()
        counts[-1] = int(np.count_nonzero(values != values))  # NaN is sorted behind all edges
        counts[-2] -= counts[-1]
        return _shares(counts)

    def text(self) -> str:
        """Return the part of a sample's JSON that says what the bins are."""
        return ENCODE({"bins": self.names(), "reference": self.shares})[1:-1]


def _count_levels(table: Table, name: str) -> dict[str | None, int]:
    """Return how often each level of a categorical column occurs; None stands for missing."""
    at = table.schema.code_at[name]
    levels = table.levels[at]
    counts = np.bincount(table.codes[:, at] + 1, minlength=len(levels) + 1)
    return dict(zip((None, *levels), counts.tolist(), strict=True))


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    whole = max(1, sum(counts))
    return tuple([round(count / whole * 1e6) / 1e6 for count in counts])


def profile(table: Table) -> dict[str, Bins]:
    """Return the bins of all features of a training window, for a champion to carry along."""
    return {name: Bins.of(table, name) for name in table.schema.features}


# --- samples --------------------------------------------------------------------------------


def sample(alarm: Alarm, n: int, arrived: Table, reference: Mapping[str, Bins]) -> str:
    """Return what the stream looked like at an alarm, as a line of JSON without the newline.

    Parameters
    ----------
    alarm
        The alarm.
    n
        Number of its event.
    arrived
        The newest records that had arrived by then, the last being that of the alarm's arrival.
    reference
        The `profile` of the champion's training window; empty if there is none.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> table = table_of({"x": [0.0, 1.0]})
    >>> found = json.loads(sample(Alarm(7, 5, "adwin", "error"), 3, table, profile(table)))
    >>> found["records"]
    [{'seq': 6, 'features': {'x': 0.0}}, {'seq': 7, 'features': {'x': 1.0}}]
    >>> found["features"]["x"]["recent"]
    [0.5, 0.5, 0.0]
    """
    schema = arrived.schema
    order = dict.fromkeys([alarm.feature, *schema.features] if alarm.feature else schema.features)
    wanted = [name for name in order if name in reference][:FEATURES_MAX]
    head = {
        "seq": alarm.seq,
        "of_seq": alarm.of_seq,
        "n": n,
        "detector": alarm.detector,
        "on": alarm.on,
        "feature": alarm.feature,
        "records": _records(arrived[-RECORDS:], alarm.seq),
    }
    figures = []
    for name in wanted:
        recent = ENCODE(reference[name].shares_of(arrived, name))
        figures.append(f'{ENCODE(name)}:{{{_text_of(reference[name])},"recent":{recent}}}')
    return f'{ENCODE(head)[:-1]},"features":{{{",".join(figures)}}}}}'


_text_of = lru_cache(TEXTS_MAX)(Bins.text)


def _records(table: Table, last: int) -> list[dict[str, Any]]:
    """Return records, the last of which is number `last`, with null for what is no number."""
    numbers: list[list[Any]] = table.numbers.tolist()
    for row, at in np.argwhere(~np.isfinite(table.numbers)).tolist():
        numbers[row][at] = None
    columns = [table.texts(name).tolist() for name in table.schema.categorical]
    texts = list(zip(*columns, strict=True)) or [()] * len(table)
    rows = zip(numbers, texts, strict=True)
    return [
        {"seq": seq, "features": dict(zip(table.schema.features, (*values, *words), strict=True))}
        for seq, (values, words) in enumerate(rows, start=last - len(table) + 1)
    ]
