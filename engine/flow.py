"""The dataflow: streams through Bytewax, one loop per stream, outcomes to their shard.

    source (a partition per stream) → exchange by stream → loop (stateful) → shards of the run

The only Bytewax import. A stream whose loop waits for a job holds back at its source, so that
others run on; nothing about when this happens reaches an outcome.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.run import cli_main

from engine.batch import Batch, Schema, batch_rows, gathered
from engine.errors import EngineError, MachineError
from engine.events import Note
from engine.loop import Loop
from engine.pace import Pace
from engine.parts import Parts, PartWriter, shard_of
from engine.progress import Progress
from engine.settings import Engine
from engine.state import Effects
from engine.training.jobs import Predictor, Trainer

AHEAD = 4
"""How many batches a source may be ahead of its loop."""
PAUSE = timedelta(milliseconds=5)
"""How soon a source or loop that waits looks again."""
LULL = timedelta(milliseconds=100)
"""How soon a source that had nothing new looks again."""
EPOCH = timedelta(milliseconds=500)


class Feed(Protocol):
    """A stream of records, as the dataflow needs it."""

    @property
    def name(self) -> str:
        """The stream's name."""
        ...

    @property
    def index(self) -> int:
        """Its number among the run's streams."""
        ...

    @property
    def seed(self) -> int:
        """Where its chance comes from."""
        ...

    @property
    def schema(self) -> Schema:
        """Its columns."""
        ...

    @property
    def rows(self) -> int:
        """How many rows its source has."""
        ...

    def batches(self, size: int) -> Iterator[Batch | Note | None]:
        """Yield all records in batches of at most `size`, and what befell the stream.

        None says that there is nothing more yet.
        """
        ...


@dataclass(frozen=True, slots=True)
class End:
    """The end of a stream; `failure` says why if it came too soon."""

    failure: str = ""


Item = Batch | Note | End


@dataclass(slots=True)
class Gate:
    """How far the loop of a stream has come, seen from its source."""

    sent: int = 0
    handled: int = 0
    over: bool = False


@dataclass(slots=True)
class Flow:
    """All that the parts of one run's dataflow share.

    Parameters
    ----------
    engine
        The settings.
    feeds
        The streams.
    streams
        How many streams the whole run has, if other processes handle some of them.
    parts
        Where outcomes go.
    trainer
        Who fits models.
    initial
        A model in production to start from, if any.
    code_root
        Where a user's model factory may be imported from.
    batch_size
        Records to a batch; changes no outcome.
    progress
        Whom to tell how far it is.
    stop
        Ends the dataflow when it is set.
    pace
        Who says when jobs are ready, if it is not the latency that the settings declare.
    listen
        Told, for each stream, what is about to be written.
    epoch
        How often parts are flushed; changes no outcome.
    """

    engine: Engine
    feeds: Sequence[Feed]
    streams: int
    parts: Parts
    trainer: Trainer
    initial: Predictor | None
    code_root: str
    batch_size: int
    progress: Progress
    stop: Flag = field(default_factory=Flag)
    pace: Pace | None = None
    listen: Callable[[str, Effects], None] | None = None
    epoch: timedelta = EPOCH
    gates: dict[str, Gate] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    broken: str = ""

    def breaks(self) -> None:
        """Note the exception at hand and stop: out of a callback, Bytewax would panic over it."""
        error = sys.exc_info()[1]
        known = isinstance(error, OSError | EngineError)
        self.broken = self.broken or (str(error) if known else traceback.format_exc())
        self.stop.set()

    def feed(self, name: str) -> Feed:
        """Return the stream called `name`."""
        return next(feed for feed in self.feeds if feed.name == name)

    def loop(self, feed: Feed) -> Loop:
        """Return a fresh loop for a stream."""
        engine, trainer = self.engine, self.trainer
        return Loop(
            engine,
            feed.name,
            feed.schema,
            trainer,
            feed.seed,
            self.initial,
            self.code_root,
            feed.rows,
            pace=self.pace,
        )


def run(flow: Flow, workers: int) -> None:
    """Run the dataflow to its end, or until `flow.stop` is set.

    Raises
    ------
    MachineError
        If the machinery failed; streams that failed are in `flow.failures`.
    """
    dataflow = Dataflow("driftline")
    items = op.input("source", dataflow, Source(flow))
    done = op.stateful_batch("loop", items, lambda _state: Logic(flow))
    op.output("run", done, Sink(flow))
    start: Any = cli_main
    try:
        start(dataflow, workers_per_process=workers, epoch_interval=flow.epoch)
    except BytewaxRuntimeError as error:
        raise MachineError(flow.broken or str(error.__cause__ or error)) from error
    if flow.broken:
        raise MachineError(flow.broken)


# --- source ---------------------------------------------------------------------------------


class SourcePartition(StatefulSourcePartition[Any, None]):
    """One stream's batches, then its end."""

    def __init__(self, flow: Flow, name: str) -> None:
        self.flow, self.name = flow, name
        self.gate = flow.gates.setdefault(name, Gate())
        feed = flow.feed(name)
        rows = batch_rows(feed.schema) if flow.pace is None else 0  # live, nothing is held back
        self.batches = gathered(feed.batches(flow.batch_size), rows)
        self.ended = False
        self.pause: datetime | None = None

    def next_batch(self) -> Iterable[Any]:
        """Return the next batch, or nothing while the loop is not ready for it."""
        self.pause = None
        if self.flow.stop.is_set() or self.gate.over:
            raise StopIteration
        if self.ended or self.gate.sent - self.gate.handled >= AHEAD:
            self.pause = datetime.now(UTC) + PAUSE
            return []
        item = self._next()
        if item is None:
            self.pause = datetime.now(UTC) + LULL
            return []
        self.gate.sent += 1
        return [(self.name, (self.name, item))]

    def _next(self) -> Item | None:
        try:
            return next(self.batches)
        except StopIteration:
            self.ended = True
            return End()
        except EngineError as error:
            self.ended = True
            return End(str(error))
        except Exception:
            self.flow.breaks()
            raise StopIteration from None

    def next_awake(self) -> datetime | None:
        """Return when to look again."""
        return self.pause

    def snapshot(self) -> None:
        """Keep nothing: a simulation is resumed from its start, its fits from the cache."""


class Source(FixedPartitionedSource[Any, None]):
    """A partition per stream."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def list_parts(self) -> list[str]:
        """Return the names of all streams."""
        return [feed.name for feed in self.flow.feeds]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SourcePartition:
        """Open a stream."""
        return SourcePartition(self.flow, for_part)


# --- loop -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """What a loop hands to the run directory."""

    stream: str
    effects: Effects


class Logic(op.StatefulBatchLogic[Any, Written, None]):
    """Drives the loop of one stream."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.inner: Loop | None = None
        self.end: End | None = None
        self.gate = Gate()
        self.received = 0

    def on_batch(self, values: list[tuple[str, Item]]) -> tuple[Iterable[Written], bool]:
        """Feed batches to the loop, and see how far it gets."""
        try:
            return ([], True) if self.flow.broken else self._take(values)
        except Exception:
            self.flow.breaks()
            return [], True

    def on_notify(self) -> tuple[Iterable[Written], bool]:
        """Look whether the loop can go on."""
        return self.on_batch([])

    def notify_at(self) -> datetime | None:
        """Return when to look again, if the loop waits."""
        waits = self.inner is not None and self.inner.waiting
        return datetime.now(UTC) + PAUSE if waits else None

    def snapshot(self) -> None:
        """Keep nothing: a simulation is resumed from its start, its fits from the cache."""

    def _take(self, values: list[tuple[str, Item]]) -> tuple[Iterable[Written], bool]:
        if self.inner is None:
            name = values[0][0]
            self.gate = self.flow.gates.setdefault(name, Gate())
            if self.gate.over:  # what was under way when the stream failed
                return [], True
            self.inner = self.flow.loop(self.flow.feed(name))
        loop = self.inner
        for _, item in values:
            self.received += 1
            if isinstance(item, End):
                self.end = item
            else:
                loop.feed(item)
        try:
            effects = loop.advance()
        except MachineError:
            raise
        except EngineError as error:
            effects, self.end = loop.abandon(), End(str(error))
        over = self.end is not None and not loop.waiting
        if not loop.waiting:
            self.gate.handled = self.received
        if over and self.end is not None:
            effects += loop.finish(self.end.failure)
            if self.end.failure:
                self.flow.failures[loop.desk.stream] = self.end.failure
            self.gate.over = True
        self._tell(loop)
        return [Written(loop.desk.stream, effects)] if effects else [], over

    def _tell(self, loop: Loop) -> None:
        """Keep the onlookers up to date."""
        state, progress, name = loop.state, self.flow.progress, loop.desk.stream
        progress.records[name] = state.seq
        progress.champions[name] = state.champion.number if state.champion else None
        progress.started[name] = state.jobs


# --- sink -----------------------------------------------------------------------------------


class SinkPartition(StatefulSinkPartition[Written, None]):
    """The streams of one shard."""

    def __init__(self, flow: Flow, shard: int) -> None:
        self.flow = flow
        self.writer: PartWriter | None = None
        with self._guarded():
            self.writer = flow.parts.writer(shard)

    def write_batch(self, values: list[Written]) -> None:
        """Append to the shard's part."""
        with self._guarded():
            if self.writer:
                for written in values:
                    if self.flow.listen is not None:
                        self.flow.listen(written.stream, written.effects)
                    self.writer.write(written.stream, written.effects)

    def snapshot(self) -> None:
        """Hand what was written to the operating system."""
        with self._guarded():
            if self.writer:
                self.writer.flush()

    def close(self) -> None:
        """Close the part."""
        with self._guarded():
            if self.writer:
                self.writer.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.flow.breaks()


class Sink(FixedPartitionedSink[Written, None]):
    """A partition per shard."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.shard_of = {feed.name: shard_of(feed.index, flow.streams) for feed in flow.feeds}
        self.shards = sorted(set(self.shard_of.values()))

    def list_parts(self) -> list[str]:
        """Return the shards' names."""
        return [f"{shard:02d}" for shard in self.shards]

    def part_fn(self, item_key: str) -> int:
        """Return the shard of a stream."""
        return self.shards.index(self.shard_of[item_key])

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SinkPartition:
        """Open a shard."""
        return SinkPartition(self.flow, int(for_part))
