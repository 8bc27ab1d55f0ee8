"""The run directory: written while a run grows, finished into its lasting form, read again.

While it grows, outcomes and traces are Arrow streams, events and samples JSON lines, in at most
`SHARDS` parts under `.state/`, each holding the streams whose index falls on it. Finished, there
is one file per stream (Parquet, JSON lines for samples) and one `events.jsonl` for all;
`summary.json` is written last and says that it is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.batch import Ints, Task
from engine.errors import EngineError, InputError
from engine.extras import TracePoint
from engine.ledger import NO_MODEL, UNDATED, Outcomes
from engine.scoring import Happenings, Tally, summarise, total
from engine.settings import Prices
from engine.shapes import ABOUT, SUMMARY, read_events, read_json
from engine.state import Effects

SHARDS = 32
"""At most so many parts while a run grows."""
ROW_GROUP = 65_536
"""Rows to a row group of a finished outcome file."""
SMALL_BATCHES_MAX = 256
"""So many batches of a stream are held before they are joined."""
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


SAME = ("run.json", "events.jsonl", "summary.json")
"""The files of a run that are the same, byte for byte, beside `outcomes/`."""


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

    columns = [
        pa.repeat(pa.scalar(stream), len(rows)),
        pa.array(rows.seqs),
        moments(rows.times),
        moments(rows.label_times),
        pa.array(rows.predictions, value, from_pandas=True),
        pa.array(rows.scores, from_pandas=True),
        pa.array(rows.labels, value, from_pandas=True),
        pa.array(rows.errors, from_pandas=True),
        pa.array(rows.models, mask=rows.models == NO_MODEL),
        pa.array(rows.baseline_errors, from_pandas=True),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def traces_to_arrow(stream: str, points: Sequence[TracePoint]) -> pa.RecordBatch:
    """Return trace points as an Arrow batch; a value that is not there stays NaN."""
    rows = [
        (stream, point.seq, point.time, series, value)
        for point in points
        for series, value in point.values.items()
    ]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    columns[2] = columns[2].cast(MOMENT)
    return pa.RecordBatch.from_arrays(columns, schema=TRACE_PARTS)


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
        self._rows = pa.OSFile(str(folder / f"outcomes-{shard:02d}.arrows"), "wb")
        self._outcomes = pa.ipc.new_stream(self._rows, schema)
        self._points = pa.OSFile(str(folder / f"traces-{shard:02d}.arrows"), "wb")
        self._traces = pa.ipc.new_stream(self._points, TRACE_PARTS)

    def write(self, stream: str, effects: Effects) -> None:
        """Append what came of a call to the stream's loop."""
        for rows in effects.outcomes:
            self._outcomes.write_batch(to_arrow(stream, rows, self.schema))
        if effects.traces:
            self._traces.write_batch(traces_to_arrow(stream, effects.traces))
        self._events.writelines(event.line() + "\n" for event in effects.events)
        for found in effects.samples:
            line = json.dumps(found, separators=(",", ":"), allow_nan=False)
            self._samples.write(f"{stream}\t{line}\n")

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        for file in (self._events, self._samples, self._rows, self._points):
            file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._outcomes.close()
        self._traces.close()
        for file in (self._events, self._samples, self._rows, self._points):
            file.close()


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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for people and programs, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def locked(path: Path) -> IO[str]:
    """Take the lock of a run directory, which is made if it is not there; closing it lets go.

    Raises
    ------
    InputError
        If it cannot be made.
    EngineError
        If another process holds it.
    """
    state = path / ".state"
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", f"--out {path}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise EngineError(f"{path}: another run is writing to this directory") from None
    return lock


def tidy(path: Path) -> None:
    """Remove what is left of a run that ended between its summary and its last step."""
    if (path / ".state").exists() and (path / "summary.json").exists():
        with locked(path):
            shutil.rmtree(path / ".state")


class RunDirectory:
    """A run directory in the hands of the run that writes it.

    Parameters
    ----------
    path
        The directory.
    task
        What the labels are.

    Raises
    ------
    InputError
        If it cannot be made.
    EngineError
        If another process is writing to it.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.schema = path, outcome_schema(task)
        self.state = path / ".state"
        self.parts = Parts(self.state / "parts", self.schema)
        self._lock = locked(path)
        if (path / "summary.json").exists():  # since it was looked for
            self._close()
            raise EngineError(f"{path}: another run has just finished this")
        shutil.rmtree(self.parts.folder, ignore_errors=True)
        self.parts.folder.mkdir()

    def finish(
        self, streams: Sequence[str], truth_known: Sequence[bool], prices: Prices, window: int
    ) -> dict[str, Any]:
        """Bring the run into its lasting form and return its summary, see `compact`."""
        summary = self.compact(streams, truth_known, prices, window)
        self.seal(summary)
        return summary

    def compact(
        self, streams: Sequence[str], truth_known: Sequence[bool], prices: Prices, window: int
    ) -> dict[str, Any]:
        """Write all lasting files but `summary.json`, whose content is returned.

        Parameters
        ----------
        streams
            Names of all streams, in order.
        truth_known
            For each, whether its drifts are scripted.
        prices
            What an error and a retrain cost.
        window
            How late an alarm may come and still have found a drift, in records.
        """
        tallies = self._compact(streams)
        self._compact_traces(streams)
        self._split_samples(streams)
        happenings = self._merge(streams)
        entries = {
            name: summarise(
                tallies[name], happenings[name], prices, window=window, truth_known=known
            )
            for name, known in zip(streams, truth_known, strict=True)
        }
        return {"streams": entries, "total": total(entries.values())}

    def seal(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`: the run is whole."""
        write_json(self.path / "summary.json", summary)
        self._close()

    def _close(self) -> None:
        shutil.rmtree(self.state)
        self._lock.close()

    def _compact(self, streams: Sequence[str]) -> dict[str, Tally]:
        """Turn the outcome parts into one Parquet file per stream."""
        folder = self.path / "outcomes"
        files = {name: OutcomeFile(folder / f"{name}.parquet", self.schema) for name in streams}
        self._fill(files, "outcomes-*.arrows")
        return {name: file.tally for name, file in files.items()}

    def _compact_traces(self, streams: Sequence[str]) -> None:
        """Turn the trace parts into one Parquet file per stream."""
        folder = self.path / "traces"
        files = {name: StreamFile(folder / f"{name}.parquet", TRACES) for name in streams}
        self._fill(files, "traces-*.arrows")

    def _fill(self, files: Mapping[str, StreamFile], parts: str) -> None:
        """Write the rows of all parts to the files of their streams."""
        for part in sorted(self.parts.folder.glob(parts)):
            for batch in read_part(part):
                for name, rows in by_stream(batch):
                    files[name].write(rows)
            for file in files.values():
                file.flush()
        for file in files.values():
            file.close()

    def _split_samples(self, streams: Sequence[str]) -> None:
        """Split the sample parts into one file per stream."""
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        for name in streams:
            (folder / f"{name}.jsonl").write_text("", encoding="utf-8")
        for part in sorted(self.parts.folder.glob("samples-*.jsonl")):
            with part.open(encoding="utf-8") as file:
                for line in file:
                    name, found = line.split("\t", 1)
                    with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as out:
                        out.write(found)

    def _merge(self, streams: Sequence[str]) -> dict[str, Happenings]:
        """Merge the event parts, ordered by (event_time, stream, seq, n)."""
        lines = []
        happenings = {name: Happenings() for name in streams}
        for part in sorted(self.parts.folder.glob("events-*.jsonl")):
            with part.open(encoding="utf-8") as file:
                for line in file:
                    event = json.loads(line)
                    happenings[event["stream"]].add(event)
                    key = (event["event_time"], event["stream"], event["seq"], event["n"])
                    lines.append((key, line))
        lines.sort()
        partial = self.path / ".events.jsonl.partial"
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(line for _, line in lines)
        partial.replace(self.path / "events.jsonl")
        return happenings


class StreamFile:
    """One stream's Parquet file in the making, in row groups of a fixed size.

    Parameters
    ----------
    path
        The file; its folder is made if it is not there.
    schema
        Its columns; others of what is written are left out.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(exist_ok=True)
        self.path, self.schema = path, schema
        self._partial = path.with_name(f".{path.name}.partial")
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._whole = False

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows."""
        self._waiting.append(rows.select(self.schema.names))
        if len(self._waiting) >= SMALL_BATCHES_MAX:  # each costs kilobytes, however few its rows
            whole = pa.Table.from_batches(self._waiting, self.schema).combine_chunks()
            self._waiting = whole.to_batches()
        self._rows += len(rows)
        if self._rows >= ROW_GROUP:
            self._write_groups(whole_only=True)

    def flush(self) -> None:
        """Write everything out if anything came: the stream's part has been read to its end."""
        if self._rows or self._writer is not None:
            self._complete()

    def close(self) -> None:
        """Finish the file, empty if no row came."""
        if not self._whole:
            self._complete()

    def _complete(self) -> None:
        self._write_groups(whole_only=False).close()
        self._writer, self._whole = None, True
        self._partial.replace(self.path)

    def _write_groups(self, *, whole_only: bool) -> pq.ParquetWriter:
        writer = self._writer or pq.ParquetWriter(self._partial, self.schema, compression="zstd")
        table = pa.Table.from_batches(self._waiting, self.schema)
        end = len(table) - len(table) % ROW_GROUP if whole_only else len(table)
        for start in range(0, end, ROW_GROUP):
            group = table.slice(start, min(ROW_GROUP, end - start)).combine_chunks()
            writer.write_table(group, row_group_size=ROW_GROUP)
            self._count(group)
        rest = table.slice(end)
        self._waiting, self._rows, self._writer = rest.to_batches(), len(rest), writer
        return writer

    def _count(self, group: pa.Table) -> None:
        """Take note of a row group."""


class OutcomeFile(StreamFile):
    """A file of outcomes, and its sums."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema)
        self.tally = Tally()

    def _count(self, group: pa.Table) -> None:
        """Add a row group to the sums; group by group, so that the order of addition is fixed."""
        scored = pc.is_valid(group["error"])
        tally = self.tally
        tally.records += len(group)
        tally.predicted += len(group) - group["prediction"].null_count
        tally.scored += len(group) - group["error"].null_count
        tally.errors += _sum(group["error"])
        tally.baseline_errors += _sum(group["baseline_error"].filter(scored))


def _sum(column: pa.ChunkedArray) -> float:
    """Return the sum of a column without its nulls."""
    return float(np.sum(column.drop_null().to_numpy()))


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


class Run:
    """A finished run, to be read.

    Parameters
    ----------
    path
        The run directory.

    Raises
    ------
    InputError
        If it is none, not finished, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        absent = "this is no run directory: it has no run.json"
        self.about = read_json(path / "run.json", ABOUT, absent)
        absent = "this run is not finished; finish it with --resume"
        self.summary = read_json(path / "summary.json", SUMMARY, absent)

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events in order."""
        return read_events(self.path / "events.jsonl")

    def outcomes(self, stream: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a stream's outcome rows."""
        return pq.read_table(self.path / "outcomes" / f"{stream}.parquet", columns=columns)

    def traces(self, stream: str) -> pa.Table:
        """Return how a stream's error detectors stood over time, columns as in `TRACES`."""
        return pq.read_table(self.path / "traces" / f"{stream}.parquet")

    def samples(self, stream: str) -> list[dict[str, Any]]:
        """Return what a stream looked like around its first alarms."""
        with (self.path / "samples" / f"{stream}.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
