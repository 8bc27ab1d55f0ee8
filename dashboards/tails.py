"""The parts of a growing run, read as they grow: each look reads only what is new.

A torn tail is left for the next look. When another process begins the run anew, so does the
reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.batch import Floats, Ints
from engine.errors import InputError
from engine.parts import by_stream, shard_of, shards_of
from engine.shapes import DETAILS, EVENT, misfit

SEEN = ["event_time", "error", "baseline_error", "model"]
"""Columns of outcomes that lanes are made from."""
NO_MODEL = -1
"""Stands for a record that no model answered."""
NEEDS: dict[str, dict[str, Any]] = {
    **DETAILS,
    "alarm": {"of_seq": int, "detector": str, "on": str},
    "decision": {"policy": str, "action": str, "reason": str},
    "drift": {**DETAILS["drift"], "over": int},
    "fault": {**DETAILS["fault"], "script": int},
    "job_started": {"model": int, "reason": str},
    "job_ready": {"model": int, "asked": int},
    "job_failed": {"model": int, "reason": str},
}
"""What this app needs of some kinds of event, beside what all have."""
NUMBERS = {np.int64: pa.int64(), np.float64: pa.float64()}
"""What Arrow calls them."""
Series = dict[str, tuple[Ints, Floats]]
"""For each name of a trace, the records and the values there."""


def misfit_of(event: Mapping[str, Any]) -> str:
    """Return what is wrong with an event for this app; empty if nothing is.

    Examples
    --------
    >>> misfit_of({"kind": "alarm", "n": 0, "of_seq": 3, "detector": "adwin"})
    "'on' is missing"
    """
    wrong = misfit(event, {"n": int}) or misfit(event, NEEDS.get(event["kind"], {}))
    if event["kind"] == "job_started" and not wrong and not isinstance(event.get("first"), bool):
        return "'first' is missing"
    return wrong


@dataclass(frozen=True, slots=True)
class Columns:
    """Outcomes as arrays of shape `(records,)`; record `k` is at place `k`.

    Parameters
    ----------
    times
        Event times, microseconds since 1970.
    errors, baselines
        What the champion and model 0 lost; NaN where it is undefined.
    models
        Number of the model that answered, `NO_MODEL` before there was one.
    """

    times: Ints
    errors: Floats
    baselines: Floats
    models: Ints

    def __len__(self) -> int:
        return len(self.times)

    @staticmethod
    def of(rows: pa.Table | pa.RecordBatch) -> Columns:
        """Return outcome rows as arrays of their own.

        Examples
        --------
        >>> rows = {"event_time": [5, 6], "error": [None, 1.0], "model": [None, 0]}
        >>> found = Columns.of(pa.table({**rows, "baseline_error": [None, 0.0]}))
        >>> found.models.tolist(), found.errors.tolist()
        ([-1, 0], [nan, 1.0])
        """
        models = _array(rows.column("model"), np.float64)
        return Columns(
            _array(rows.column("event_time"), np.int64),
            _array(rows.column("error"), np.float64),
            _array(rows.column("baseline_error"), np.float64),
            np.nan_to_num(models, nan=NO_MODEL).astype(np.int64),
        )

    @staticmethod
    def joined(parts: list[Columns]) -> Columns:
        """Return consecutive columns as one."""
        empty = Columns(*(np.empty(0, kind) for kind in (np.int64, float, float, np.int64)))
        every = parts or [empty]
        return Columns(
            np.concatenate([part.times for part in every]),
            np.concatenate([part.errors for part in every]),
            np.concatenate([part.baselines for part in every]),
            np.concatenate([part.models for part in every]),
        )


def _array(column: pa.Array | pa.ChunkedArray, kind: type[np.int64 | np.float64]) -> Any:
    """Return a column of whole or of real numbers as an array of its own, NaN for null.

    From its buffers: the conversions that Arrow has import pandas, which takes a second and more.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [np.empty(0, kind)]
    for chunk in chunks:
        if not len(chunk):
            continue
        cast = chunk.cast(NUMBERS[kind])
        valid, raw = cast.buffers()
        start, end = cast.offset, cast.offset + len(chunk)
        values = np.frombuffer(raw, parts[0].dtype, end)[start:]
        if cast.null_count:
            bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
            values = np.where(bits[start:end], values, np.nan)
        parts.append(values)
    return np.concatenate(parts)


def dated(rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return outcome rows with times as microseconds since 1970."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
    for at, field_ in enumerate(table.schema):
        if pa.types.is_timestamp(field_.type):
            table = table.set_column(at, field_.name, table.column(at).cast(pa.int64()))
    return table


def series_of(rows: pa.Table | pa.RecordBatch) -> Series:
    """Return trace rows by series.

    Examples
    --------
    >>> rows = pa.table({"seq": [100, 100], "series": ["adwin", "error"], "value": [0.5, 0.25]})
    >>> {name: values.tolist() for name, (_, values) in series_of(rows).items()}
    {'adwin': [0.5], 'error': [0.25]}
    """
    seqs, values = (
        _array(rows.column("seq"), np.int64),
        _array(rows.column("value"), np.float64),
    )
    names = np.array(rows.column("series").to_pylist(), dtype=object)
    return {
        str(name): (seqs[names == name], values[names == name]) for name in dict.fromkeys(names)
    }


class LineTail:
    """The whole lines of a text that grows.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def read(self) -> list[bytes]:
        """Return the lines that were completed since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                new = file.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.splitlines()


class ArrowTail:
    """The whole batches of an Arrow stream that grows.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self.schema: pa.Schema | None = None

    def read(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the batches that were completed since the last call, and where each begins."""
        try:
            with pa.OSFile(str(self.path), "rb") as file:
                size = file.size()
                while self.offset < size:
                    file.seek(self.offset)
                    message = pa.ipc.read_message(file)
                    begin, self.offset = self.offset, file.tell()
                    if message.type == "schema":
                        self.schema = pa.ipc.read_schema(message)
                    elif self.schema is not None:
                        yield begin, pa.ipc.read_record_batch(message, self.schema)
        except (EOFError, OSError, pa.ArrowInvalid):
            return  # torn, or not there: wait

    def at(self, offset: int) -> pa.RecordBatch:
        """Return the batch that begins at a place that `read` gave."""
        with pa.OSFile(str(self.path), "rb") as file:
            file.seek(offset)
            return pa.ipc.read_record_batch(pa.ipc.read_message(file), self.schema)


@dataclass
class Grown:
    """What is known so far of one stream of a growing run."""

    events: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[Columns] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    traces: list[Series] = field(default_factory=list)
    rows: int = 0
    points: int = 0

    def columns(self) -> Columns:
        """Return the outcomes so far."""
        self.outcomes = [Columns.joined(self.outcomes)]
        return self.outcomes[0]

    def series(self) -> Series:
        """Return the traces so far."""
        names = dict.fromkeys(name for part in self.traces for name in part)
        return {
            name: (
                np.concatenate([part[name][0] for part in self.traces if name in part]),
                np.concatenate([part[name][1] for part in self.traces if name in part]),
            )
            for name in names
        }


class Shard:
    """One part of each kind of a growing run, and what was read from them by stream.

    Parameters
    ----------
    folder
        The run's folder of parts.
    number
        The shard's number.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.streams: dict[str, Grown] = {}
        self.problem = ""
        self._events = LineTail(folder / f"events-{number:02d}.jsonl")
        self._samples = LineTail(folder / f"samples-{number:02d}.jsonl")
        self._outcomes = ArrowTail(folder / f"outcomes-{number:02d}.arrows")
        self._traces = ArrowTail(folder / f"traces-{number:02d}.arrows")

    def of(self, stream: str) -> Grown:
        """Return what is known of a stream."""
        return self.streams.setdefault(stream, Grown())

    def read(self) -> None:
        """Take in what is new.

        Raises
        ------
        InputError
            If an event is none.
        """
        outcomes, traces = dict[str, list[pa.RecordBatch]](), dict[str, list[pa.RecordBatch]]()
        for begin, batch in self._outcomes.read():
            for name, rows in by_stream(batch):
                self.of(name).places.append((self.of(name).rows, begin))
                self.of(name).rows += len(rows)
                outcomes.setdefault(name, []).append(rows)
        for _, batch in self._traces.read():
            for name, rows in by_stream(batch):
                self.of(name).points += len(rows)
                traces.setdefault(name, []).append(rows)
        for name, batches in outcomes.items():  # converted together: many are small
            self.of(name).outcomes.append(Columns.of(pa.Table.from_batches(batches)))
        for name, batches in traces.items():
            self.of(name).traces.append(series_of(pa.Table.from_batches(batches)))
        for line in self._events.read():
            event = _parsed(line)
            self.problem = self.problem or misfit(event, EVENT) or misfit_of(event)
            if not self.problem:
                self.of(event["stream"]).events.append(event)
        for line in self._samples.read():
            stream, _, sample = line.partition(b"\t")
            self.of(stream.decode("utf-8", "replace")).samples.append(_parsed(sample))
        if self.problem:
            raise InputError(f"is damaged ({self.problem})", str(self._events.path))

    def rows(self, stream: str, first: int, last: int) -> list[dict[str, Any]]:
        """Return the outcome rows from record `first` to record `last`."""
        found: list[dict[str, Any]] = []
        places = self.of(stream).places
        for at, (start, offset) in enumerate(places):
            end = places[at + 1][0] if at + 1 < len(places) else self.of(stream).rows
            if start <= last and end > first:
                batch = self._outcomes.at(offset)
                low, high = max(first - start, 0), min(last + 1, end) - start
                found += dated(batch.slice(low, high - low)).to_pylist()
        return found


def _parsed(line: bytes) -> Any:
    """Return what a line of JSON holds; None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Growth:
    """A growing run's parts.

    Parameters
    ----------
    path
        The run directory.
    streams
        Names of its streams, in order.
    """

    def __init__(self, path: Path, streams: list[str]) -> None:
        self.state, self.streams = path / ".state", streams
        self.begun: tuple[int, int] | None = None
        self.shards: dict[int, Shard] = {}

    def shard(self, stream: str) -> Shard:
        """Return the shard of a stream, without what is new."""
        number = shard_of(self.streams.index(stream), len(self.streams))
        if number not in self.shards:
            self.shards[number] = Shard(self.state / "parts", number)
        return self.shards[number]

    def look(self, stream: str) -> Grown:
        """Return what is known of a stream by now."""
        self._notice()
        shard = self.shard(stream)
        shard.read()
        return shard.of(stream)

    def _notice(self) -> None:
        """Forget everything if a process has begun the run anew: then its parts are new ones."""
        try:
            folder = (self.state / "parts").stat()  # changes when parts are made, not as they grow
        except OSError:
            return
        begun = (folder.st_ino, folder.st_mtime_ns)
        if begun != self.begun:
            self.begun, self.shards = begun, {}

    def changed(self) -> float:
        """Return when the parts last changed, seconds since 1970; 0 if there are none."""
        found = 0.0
        for number in range(shards_of(len(self.streams))):
            for name in (f"outcomes-{number:02d}.arrows", f"events-{number:02d}.jsonl"):
                try:
                    found = max(found, (self.state / "parts" / name).stat().st_mtime)
                except OSError:
                    continue
        return found
