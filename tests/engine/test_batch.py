"""Batches that are joined: the same records, whatever stands between them, and errors last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from engine.batch import Batch, Mark, concat, gathered, plain_batch
from engine.errors import EngineError

WHOLE = plain_batch(
    {"x": [0.5 * at for at in range(20)], "c": [None, "a", "b", "c"] * 5},
    ["yes", None] * 10,
    categorical=["c"],
    late_records=3,
)


def cut(*sizes: int) -> list[Batch]:
    """Return the first records in batches of these sizes."""
    ends = np.cumsum([0, *sizes])
    return [WHOLE[start:end] for start, end in pairwise(ends)]


def same(one: Batch, other: Batch) -> bool:
    columns = ("times", "labels", "late_records", "late_micros")
    return (
        one.first == other.first
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
        and np.array_equal(one.table.numbers, other.table.numbers)
        and one.table.texts("c").tolist() == other.table.texts("c").tolist()
        and one.marks == other.marks
    )


@pytest.mark.parametrize("rows", [0, 1, 3, 7, 100])
def test_joined_batches_hold_the_same_records(rows: int) -> None:
    found = list(gathered(cut(1, 2, 3, 4, 10), rows))
    assert same(concat(found), WHOLE)
    assert all(len(batch) >= rows for batch in found[:-1])


def test_a_batch_that_is_large_enough_is_not_copied() -> None:
    batches = cut(10, 10)
    assert [a is b for a, b in zip(gathered(batches, 10), batches, strict=True)] == [True, True]


def test_what_is_no_batch_comes_in_its_place() -> None:
    one, two, three = cut(2, 3, 4)
    found = list(gathered([None, one, two, "note", None, three], 100))
    assert [len(item) if isinstance(item, Batch) else item for item in found] == [
        None, 5, "note", None, 4
    ]  # fmt: skip


def test_an_error_comes_after_the_records_before_it() -> None:
    def failing() -> Iterator[Batch]:
        yield from cut(2, 3)
        raise EngineError("the file has vanished")

    found = gathered(failing(), 100)
    assert len(next(found)) == 5
    with pytest.raises(EngineError, match="vanished"):
        next(found)


def test_nothing_is_fetched_before_it_is_asked_for() -> None:
    fetched = []

    def source() -> Iterator[Batch]:
        for batch in cut(4, 4, 4, 4):
            fetched.append(batch.first)
            yield batch

    found = gathered(source(), 8)
    next(found)
    assert fetched == [0, 4]


def test_marks_stay_with_their_records() -> None:
    marked = [
        Batch(b.first, b.times, b.table, b.labels, b.late_records, b.late_micros,
              (Mark(b.first, "drift", {}),))
        for b in cut(2, 3)
    ]  # fmt: skip
    (found,) = gathered(marked, 100)
    assert [mark.seq for mark in found.marks] == [0, 2]
