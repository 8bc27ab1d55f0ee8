"""The run directory: finished from its parts into its lasting form, and read again.

While a run grows its parts are under `.state/`. Finished, there is one file per stream (Parquet,
JSON lines for samples) and one `events.jsonl` for all; `summary.json` is written last and says
that it is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.batch import Task
from engine.errors import EngineError, InputError
from engine.parts import TRACES, Parts, by_stream, outcome_schema, read_part
from engine.scoring import Happenings, Tally, summarise, total
from engine.settings import Prices
from engine.shapes import ABOUT, SUMMARY, read_events, read_json

ROW_GROUP = 65_536
"""Rows to a row group of a finished outcome file."""
SMALL_BATCHES_MAX = 256
"""So many batches of a stream are held before they are joined."""
SAME = ("run.json", "events.jsonl", "summary.json")
"""The files of a run that are the same, byte for byte, beside `outcomes/`."""


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
            shutil.rmtree(path / ".state", ignore_errors=True)


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
        self._claim()
        shutil.rmtree(self.parts.folder, ignore_errors=True)
        self.parts.folder.mkdir()

    def _claim(self) -> None:
        """Make sure, with the lock in hand, that the run is still to be written."""
        if (self.path / "summary.json").exists():  # since it was looked for
            self._close()
            raise EngineError(f"{self.path}: another run has just finished this")

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
        shutil.rmtree(self.state, ignore_errors=True)  # a rival may be at it too
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
        if self.about["source"].get("kind") == "newsapi":
            absent = "this live run is under way, or was killed: driftline replay shows it"
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
