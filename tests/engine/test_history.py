from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import history
from engine.batch import Batch, plain_batch
from engine.history import Extent, History, Moment


def stream(rows: int) -> Batch:
    return plain_batch({"x": [float(at) for at in range(rows)]}, [str(at) for at in range(rows)])


def moment(seq: int) -> Moment:
    return Moment(seq, seq * 1_000_000)


def past_of(batch: Batch, keep: int, trims: Iterable[int] = ()) -> History:
    past = History(keep)
    for first in range(0, len(batch), 7):
        piece = batch[first : first + 7]
        past.add(piece.settled(), piece.times)
    for seq in trims:
        trim(past, seq)
    return past


def trim(past: History, seq: int, pending: Extent | None = None) -> None:
    past.limit = 0  # else it would wait until enough has piled up
    past.trim(moment(seq), pending)


def test_unseen_are_withheld_rows_and_labels_that_came_since_however_old() -> None:
    batch = stream(40)
    batch.late_records[2] = 30
    challenger = Extent(moment(20), first=10, end=18)
    found = past_of(batch, 10).unseen(challenger, moment(33))
    assert found.seqs.tolist() == [2, *range(18, 34)]
    assert past_of(batch, 10).unseen(challenger, moment(31)).seqs.tolist() == [*range(18, 32)]


def test_what_the_champion_was_fitted_on_is_not_unseen() -> None:
    batch = stream(40)
    batch.late_records[15] = 8
    champion, challenger = Extent(moment(19), 8, 17), Extent(moment(20), 2, 12)
    found = past_of(batch, 20).unseen(challenger, moment(25), champion)
    assert found.seqs.tolist() == [15, *range(17, 26)], "15 was not known yet when it was fitted"
    everything = Extent(moment(25), 0, 26)
    assert not len(past_of(batch, 20).unseen(challenger, moment(25), everything))


@pytest.fixture
def no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SLACK_ROWS", 0)
    monkeypatch.setattr(history, "RECENT_ROWS", 5)


@pytest.mark.usefixtures("no_slack")
@given(
    late=st.lists(st.integers(0, 60), min_size=80, max_size=80),
    lost=st.sets(st.integers(0, 79)),
    trims=st.sets(st.integers(0, 40)),
    more=st.sets(st.integers(40, 70)),
)
def test_trimming_takes_nothing_that_is_asked_for_later(
    late: list[int], lost: set[int], trims: set[int], more: set[int]
) -> None:
    batch = stream(80)
    batch.late_records[:] = late
    batch.labels[list(lost)] = None
    whole, trimmed = past_of(batch, 10), past_of(batch, 10, sorted(trims))
    window = whole.window(moment(40), 10)
    assert trimmed.window(moment(40), 10).seqs.tolist() == window.seqs.tolist()
    if not len(window):
        return
    extent = Extent(moment(40), int(window.seqs[0]), int(window.seqs[max(0, len(window) - 3)]))
    for seq in sorted(more):
        trim(trimmed, seq, extent)
    unseen = [past.unseen(extent, moment(70)).seqs.tolist() for past in (whole, trimmed)]
    assert unseen[0] == unseen[1]
    newest = [past.arrived(75).number("x").tolist() for past in (whole, trimmed)]
    assert newest[0] == newest[1]


def test_memory_is_bounded_by_the_window_and_the_labels_to_come() -> None:
    past, held = History(keep=100), []
    for first in range(0, 60_000, 1000):
        batch = stream(1000)
        batch.labels[::7] = None
        batch = Batch(
            first, batch.times + first * 1_000_000, batch.table, batch.labels,
            np.where(np.arange(1000) % 10 == 0, 2000, 0), batch.late_micros,
        )  # fmt: skip
        past.add(batch.settled(), batch.times)
        past.trim(moment(first + 999))
        held.append(past.held)
    assert max(held) < 2 * (history.SLACK_ROWS + 1000)
    assert past.unseen(Extent(moment(59_999), 0, 60_000), moment(62_000)).seqs.tolist() == [
        seq for seq in range(58_000, 60_000) if seq % 10 == 0 and seq % 1000 % 7
    ]
