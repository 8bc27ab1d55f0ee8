"""Live pace: a model goes in when it is done, and at the same arrival when all is done again."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from engine.batch import Batch, plain_batch
from engine.events import Note
from engine.ledger import join
from engine.loop import Loop
from engine.pace import Measured
from engine.settings import Engine
from engine.state import Effects
from tests.engine.doubles import NewestTrainer, letters

ROWS = 60
SETTINGS = Engine.model_validate(
    {
        "detectors": (),
        "policy": {"kind": "every", "records": 7},
        "retraining": {"first": 5, "window": 10},
    }
)


@dataclass
class Told:
    """What came of a stream: its events, its models, and where they went in."""

    events: list[str] = field(default_factory=list)
    models: list[int] = field(default_factory=list)
    arrivals: dict[int, int] = field(default_factory=dict)


def live(batch: Batch, sizes: list[int], slowness: int, past: dict[int, int], since: int) -> Told:
    """Send a batch through a live loop in pieces, with a note after each tenth record."""
    told = Told(arrivals=dict(past))
    pace = Measured(told.arrivals.__setitem__, past, since)
    trainer = NewestTrainer(slowness=slowness)
    loop = Loop(SETTINGS, "s-0000", batch.table.schema, trainer, seed=1, pace=pace)
    effects, start, turn = Effects(), 0, 0
    while start < len(batch):
        end = min(start + sizes[turn % len(sizes)], start + 10 - start % 10, len(batch))
        loop.feed(batch[start:end])
        if end % 10 == 0:
            loop.feed(Note(end * 1_000_000, "anomaly", {"what": f"after {end}"}))
        effects += loop.advance()
        while loop.waiting:
            effects += loop.advance()
        start, turn = end, turn + 1
    effects += loop.finish()
    told.events = [event.line() for event in effects.events]
    told.models = join(effects.outcomes).models.tolist()
    return told


def news(rows: int = ROWS) -> Batch:
    return plain_batch({"x": [float(at) for at in range(rows)]}, letters(rows))


def test_a_model_goes_in_when_it_is_done_and_the_stream_does_not_wait() -> None:
    prompt = live(news(), [1], 0, {}, 0)
    slow = live(news(), [1], 9, {}, 0)
    assert prompt.arrivals[0] == 5
    assert slow.arrivals[0] == 14, "asked nine times, once at each arrival, before it was there"
    assert slow.models[:15] == [-1] * 14 + [0]


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4)


@given(sizes, st.integers(0, 12), sizes, st.integers(0, 3))
def test_what_is_done_again_leads_to_the_same(
    first: list[int], slowness: int, again: list[int], then: int
) -> None:
    once = live(news(), first, slowness, {}, 0)
    twice = live(news(), again, then, once.arrivals, ROWS)
    assert once.events == twice.events
    assert once.models == twice.models


@given(sizes, st.integers(0, 12), st.integers(6, ROWS - 1), sizes)
def test_nothing_that_was_told_changes_when_a_stream_goes_on(
    first: list[int], slowness: int, stop: int, again: list[int]
) -> None:
    """The jobs that were not done when it stopped may only go in where nothing was told yet."""
    before = live(news(stop), first, slowness, {}, 0)
    after = live(news(), again, 0, before.arrivals, stop)
    assert after.models[:stop] == before.models
    assert after.events[: len(before.events)] == before.events


def test_what_befalls_a_stream_stands_after_the_record_before_it() -> None:
    told = live(news(30), [7], 0, {}, 0)
    notes = [line for line in told.events if '"anomaly"' in line and "after" in line]
    assert len(notes) == 3
    assert '"event_time":"1970-01-01T00:00:10.000000Z","stream":"s-0000","seq":9' in notes[0]
