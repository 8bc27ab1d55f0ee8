"""The parts that a run is written in while it grows, by one process or several.

Outcomes and traces are Arrow streams, events and samples JSON lines, in at most `SHARDS` parts of
each, each holding the streams whose index falls on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from engine.batch import Ints, Task
from engine.extras import TracePoint
from engine.ledger import NO_MODEL, UNDATED, Coded, Outcomes, join
from engine.state import Effects

SHARDS = 32
"""At most so many parts while a run grows."""
HELD_ROWS = 8192
"""So many outcomes are gathered before they are written: a batch has its price, however small."""
BUFFER_BYTES = 1 << 20
"""What is written goes to the operating system in pieces of this size."""
MOMENT = pa.timestamp("us", tz="UTC")
TRACES = pa.schema(
    [
        ("seq", pa.int64()),
        ("event_time", MOMENT),
        ("series", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Columns of a stream's traces: a row for each arrival at the stride and each series."""
TRACE_PARTS = TRACES.insert(0, pa.field("stream", pa.string()))


def shards_of(streams: int) -> int:
    """Return in how many parts a run of so many streams is written while it grows."""
    return min(SHARDS, streams)


def shard_of(index: int, streams: int) -> int:
    """Return the part that stream `index` of so many streams is written to.

    Examples
    --------
    >>> shard_of(3, streams=20), shard_of(35, streams=1000)
    (3, 3)
    """
    return index % shards_of(streams)


def outcome_schema(task: Task) -> pa.Schema:
    """Return the columns of outcomes: texts for classes, numbers for regression."""
    value = pa.string() if task == "classification" else pa.float64()
    return pa.schema(
        [
            ("stream", pa.string()),
            ("seq", pa.int64()),
            ("event_time", MOMENT),
            ("label_time", MOMENT),
            ("prediction", value),
            ("score", pa.float64()),
            ("label", value),
            ("error", pa.float64()),
            ("model", pa.int64()),
            ("baseline_error", pa.float64()),
        ]
    )


def to_arrow(stream: str, rows: Outcomes, schema: pa.Schema) -> pa.RecordBatch:
    """Return outcome rows as an Arrow batch, with nulls for what is undefined."""
    value = schema.field("label").type

    def moments(micros: Ints) -> pa.Array:
        undated = micros == UNDATED
        values = pa.array(micros, pa.int64(), mask=undated if undated.any() else None)
        return values.view(MOMENT)

    predictions, labels = (
        values_of(rows, value) if rows.coded is None else texts_of(rows, rows.coded)
    )
    columns = [
        pa.repeat(pa.scalar(stream), len(rows)),
        pa.array(rows.seqs),
        moments(rows.times),
        moments(rows.label_times),
        predictions,
        pa.array(rows.scores, from_pandas=True),
        labels,
        pa.array(rows.errors, from_pandas=True),
        pa.array(rows.models, mask=rows.models == NO_MODEL),
        pa.array(rows.baseline_errors, from_pandas=True),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def values_of(rows: Outcomes, kind: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """Return predictions and labels, with nulls for what is not there."""
    return (
        pa.array(rows.predictions, kind, from_pandas=True),
        pa.array(rows.labels, kind, from_pandas=True),
    )


def texts_of(rows: Outcomes, coded: Coded) -> tuple[pa.Array, pa.Array]:
    """Return what `values_of` does; where the prediction is right it is the label, too."""
    levels = pa.array(coded.levels, pa.string())
    other = np.flatnonzero(rows.errors != 0)  # NaN, where there is no label, included
    codes = coded.codes.copy()
    codes[other] = np.arange(len(levels), len(levels) + len(other))
    others = pa.array(rows.labels[other], pa.string(), from_pandas=True)
    labels = pa.concat_arrays([levels, others]).take(pa.array(codes))
    return levels.take(pa.array(coded.codes)), labels


def traces_to_arrow(stream: str, points: Sequence[TracePoint]) -> pa.RecordBatch:
    """Return trace points as an Arrow batch; a value that is not there stays NaN."""
    rows = [
        (stream, point.seq, point.time, series, value)
        for point in points
        for series, value in point.values.items()
    ]
    columns = zip(zip(*rows, strict=True), TRACE_PARTS.types, strict=True)
    arrays = [pa.array(column, kind) for column, kind in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=TRACE_PARTS)


class PartWriter:
    """Appends what came of the streams of one shard.

    Parameters
    ----------
    folder
        The run's folder of parts.
    shard
        Number of the shard.
    schema
        Columns of the outcomes.
    """

    def __init__(self, folder: Path, shard: int, schema: pa.Schema) -> None:
        self.schema = schema
        self._events: IO[str] = (folder / f"events-{shard:02d}.jsonl").open("w", encoding="utf-8")
        self._samples: IO[str] = (folder / f"samples-{shard:02d}.jsonl").open("w", encoding="utf-8")
        self._rows = _arrow_file(folder / f"outcomes-{shard:02d}.arrows")
        self._outcomes = pa.ipc.new_stream(self._rows, schema)
        self._points = _arrow_file(folder / f"traces-{shard:02d}.arrows")
        self._traces = pa.ipc.new_stream(self._points, TRACE_PARTS)
        self._held: dict[str, Effects] = {}
        self._held_rows = 0

    def write(self, stream: str, effects: Effects) -> None:
        """Append what came of a call to the stream's loop."""
        held = self._held.setdefault(stream, Effects())
        held.outcomes += effects.outcomes
        held.traces += effects.traces
        self._held_rows += sum(len(rows) for rows in effects.outcomes)
        if self._held_rows >= HELD_ROWS:
            self._release()
        self._events.writelines(event.line() + "\n" for event in effects.events)
        self._samples.writelines(f"{stream}\t{line}\n" for line in effects.samples)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._release()
        for file in (self._events, self._samples, self._rows, self._points):
            file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._release()
        self._outcomes.close()
        self._traces.close()
        for file in (self._events, self._samples, self._rows, self._points):
            file.close()

    def _release(self) -> None:
        """Write the outcomes and trace points that were gathered."""
        for stream, held in self._held.items():
            if held.outcomes:
                rows = join(held.outcomes)
                self._outcomes.write_batch(to_arrow(stream, rows, self.schema))
            if held.traces:
                self._traces.write_batch(traces_to_arrow(stream, held.traces))
        self._held, self._held_rows = {}, 0


def _arrow_file(path: Path) -> pa.NativeFile:
    """Open a file for an Arrow stream, which is written in many small steps."""
    return pa.output_stream(str(path), compression=None, buffer_size=BUFFER_BYTES)


@dataclass(frozen=True)
class Parts:
    """Where a growing run is written to, by one process or several.

    Parameters
    ----------
    folder
        The run's folder of parts.
    schema
        Columns of the outcomes.
    """

    folder: Path
    schema: pa.Schema

    def writer(self, shard: int) -> PartWriter:
        """Return a writer for a shard's part, which begins anew."""
        return PartWriter(self.folder, shard, self.schema)


def read_part(part: Path) -> Iterator[pa.RecordBatch]:
    """Yield the whole batches of an Arrow part, also of one that is still growing or torn."""
    if part.stat().st_size == 0:
        return
    with pa.OSFile(str(part), "rb") as file:
        try:
            reader = pa.ipc.open_stream(file)
            while True:
                yield reader.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):
            return


def by_stream(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Split a batch by stream (a batch is written for one stream, so it is one)."""
    if len(batch):
        yield batch.column("stream")[0].as_py(), batch
