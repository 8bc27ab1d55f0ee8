"""What a report is made of, and how it writes numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNDEFINED = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of words; the first column names the row, and `strong` holds (row, column) of the best.

    Examples
    --------
    >>> Table(caption="Cost", head=["policy", "cost"], rows=[["adwin", "1.21"]]).strong
    frozenset()
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A Plotly figure as plain data, with a caption, and in words for who cannot see it."""

    caption: str
    words: str
    plot: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A price to choose, at which the figures that know prices are drawn."""

    label: str
    options: Sequence[str]
    chosen: str


Part = str | Table | Figure | Code | Choice
"""A string is a paragraph."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the story; level 3 stands below the level 2 before it."""

    title: str
    parts: Sequence[Part]
    level: int = 2


def number(value: float | None, digits: int = 2) -> str:
    """Write a number.

    >>> number(1234.567, 1), number(None), number(-0.001)
    ('1,234.6', '–', '0.00')
    """
    if value is None:
        return UNDEFINED
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """Write a share.

    >>> percent(0.123), percent(None)
    ('12%', '–')
    """
    return UNDEFINED if value is None else f"{number(100 * value, digits)}%"


def chance(value: float | None) -> str:
    """Write a p-value.

    >>> chance(0.0312), chance(1e-9), chance(None)
    ('0.031', '< 0.001', 'too few to tell')
    """
    if value is None:
        return "too few to tell"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(amount: int, noun: str) -> str:
    """Write how many there are.

    >>> count(1, "stream"), count(3, "pair of stream and seed")
    ('1 stream', '3 pairs of stream and seed')
    """
    first, _, rest = noun.partition(" ")
    plural = first if amount == 1 else f"{first}s"
    return f"{amount:,} {plural} {rest}".rstrip()
