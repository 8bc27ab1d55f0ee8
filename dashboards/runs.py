"""One run opened: finished, growing or stopped; some of it is read as it grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dashboards.places import State, check_whole, key_of, read_about, state_of
from dashboards.tails import SEEN, Columns, Growth, Series, dated, misfit_of, series_of
from engine.errors import InputError
from engine.runlog import Run
from engine.shapes import read_events

LIVE = "newsapi"
"""The source of live runs."""


def open_run(path: Path) -> Opened:
    """Open a run directory, whether it is finished or not.

    Raises
    ------
    InputError
        If it is none, or damaged.
    """
    return Opened(path)


class Opened:
    """A run to look at, which may still grow; may be used by several threads.

    While it grows each question reads only what is new. Once it is finished its lasting files are
    read. A live run that goes on is growing again, from its beginning: then all is forgotten.

    Parameters
    ----------
    path
        The run directory.

    Raises
    ------
    InputError
        If it is none, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.key = path, key_of(path)
        self._lock = RLock()
        self._begin()

    def _begin(self) -> None:
        """Read what it is, and forget all that is known."""
        self.about = read_about(self.path)
        self.streams: list[str] = self.about["streams"]
        self._growth = Growth(self.path, self.streams)
        self._run: Run | None = None
        self._summary = 0
        self._events: dict[str, list[dict[str, Any]]] = {}

    @property
    def state(self) -> State:
        """How far it is now."""
        return state_of(self.path)

    @property
    def over(self) -> bool:
        """Whether nothing will come any more: a live run may go on, a simulation does not."""
        return self.state == "finished" and self.about["source"].get("kind") != LIVE

    @property
    def prices(self) -> dict[str, float]:
        """What an error and a retrain cost."""
        return dict(self.about["scenario"]["prices"])

    @property
    def summary(self) -> dict[str, Any] | None:
        """The content of `summary.json`; None while it is not finished."""
        with self._lock:
            run = self._finished()
            return run.summary if run else None

    def truth_known(self, stream: str) -> bool:
        """Return whether the drifts of a stream are known.

        While a run grows they are where its script touches the stream.
        """
        if summary := self.summary:
            entry = summary["streams"].get(stream, summary["total"])
            return entry["drifts"]["true"] is not None
        index = self.streams.index(stream)
        items = self.about["scenario"].get("script") or ()
        return any(item.get("streams") is None or index in item["streams"] for item in items)

    def version(self, stream: str) -> str:
        """Return a text that changes whenever there is more to see of a stream."""
        with self._lock:
            if self._finished():
                return f"done-{self._summary:x}"
            grown, begun = self._growth.look(stream), self._growth.begun
            counts = (grown.rows, len(grown.events), grown.points, len(grown.samples))
            return "-".join(["at", f"{begun[1] if begun else 0:x}", *map(str, counts)])

    def events(self, stream: str) -> list[dict[str, Any]]:
        """Return the events of a stream so far, in the order in which they happened.

        Raises
        ------
        InputError
            If they are damaged.
        """
        with self._lock:
            if self._finished():
                return self._final_events().get(stream, [])
            return self._growth.look(stream).events

    def outcomes(self, stream: str) -> Columns:
        """Return the outcomes of a stream so far, as arrays.

        Raises
        ------
        InputError
            If they are damaged.
        """
        with self._lock:
            if self._finished():
                file = self.path / "outcomes" / f"{stream}.parquet"
                return _read(lambda: Columns.of(_table(file, SEEN)), stream)
            return self._growth.look(stream).columns()

    def traces(self, stream: str) -> Series:
        """Return how the error detectors of a stream stood so far, by series."""
        with self._lock:
            if self._finished():
                file = self.path / "traces" / f"{stream}.parquet"
                return _read(lambda: series_of(_table(file)), stream)
            return self._growth.look(stream).series()

    def samples(self, stream: str) -> list[dict[str, Any]]:
        """Return what a stream looked like around its first alarms."""
        with self._lock:
            if run := self._finished():
                return _read(lambda: run.samples(stream), stream)
            return self._growth.look(stream).samples

    def rows(self, stream: str, first: int, last: int) -> list[dict[str, Any]]:
        """Return the outcome rows from record `first` to `last`, times in microseconds."""
        with self._lock:
            if self._finished():
                file = self.path / "outcomes" / f"{stream}.parquet"
                return _read(lambda: _between(file, first, last), stream)
            self._growth.look(stream)
            return self._growth.shard(stream).rows(stream, first, last)

    def _finished(self) -> Run | None:
        """Return the finished run, once it is and as long as it is."""
        try:
            written = (self.path / "summary.json").stat().st_mtime_ns
        except OSError:
            written = 0
        if self._run is not None and written != self._summary:
            self._begin()
        if self._run is None and written:
            run = Run(self.path)
            check_whole(self.path, self.streams)
            self._run, self._summary = run, written
        return self._run

    def _final_events(self) -> dict[str, list[dict[str, Any]]]:
        if not self._events:
            for event in read_events(self.path / "events.jsonl"):
                if wrong := misfit_of(event):
                    raise InputError(f"is damaged ({wrong})", str(self.path / "events.jsonl"))
                self._events.setdefault(event["stream"], []).append(event)
            for events in self._events.values():
                events.sort(key=lambda event: int(event["n"]))
        return self._events


Answer = TypeVar("Answer")


def _read(read: Callable[[], Answer], stream: str) -> Answer:
    """Return what `read` returns; say in a sentence what is wrong if it cannot."""
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"the files of {stream} are damaged ({first})") from None


def _table(file: Path, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file's rows; `read_table` would import pandas, a second and a half."""
    with pq.ParquetFile(file) as parquet:
        return parquet.read(columns=columns)


def _between(file: Path, first: int, last: int) -> list[dict[str, Any]]:
    """Return the rows `first` to `last` of a Parquet file, reading only the groups they are in."""
    found: list[dict[str, Any]] = []
    with pq.ParquetFile(file) as parquet:
        start = 0
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            if start <= last and end > first:
                low, high = max(first, start) - start, min(last + 1, end) - start
                found += dated(parquet.read_row_group(group).slice(low, high - low)).to_pylist()
            start = end
    return found
