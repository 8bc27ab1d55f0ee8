"""The logbook: what was answered, and the labels that came later, as JSON lines on disk.

A request only puts its rows on a queue; a thread writes them each second. Each file of answers
begins with a line that names the columns, so that it can be read on its own.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread
from typing import IO, Any

from engine.batch import Schema
from engine.errors import InputError
from engine.events import iso

ANSWERS, LABELS = "answers", "labels"
FILE_BYTES = 64 << 20
"""A file that has grown to so much is followed by another."""
WAITING_MAX = 200_000
"""So many rows wait at most to be written; more are lost, and counted."""
FLUSH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered.

    Parameters
    ----------
    time
        When, microseconds since 1970.
    request
        Its id; a row's is ``<request>-<row>``.
    model, version
        Who answered.
    schema
        The columns.
    rows
        What was asked, row by row.
    labels, scores
        What was answered.
    """

    time: int
    request: str
    model: str
    version: int
    schema: Schema
    rows: Sequence[Mapping[str, Any]]
    labels: Sequence[Any]
    scores: Sequence[float | None]

    def lines(self) -> str:
        """Return a line for each row."""
        head = {"time": iso(self.time), "request": self.request, "version": self.version}
        told = zip(self.rows, self.labels, self.scores, strict=True)
        return "".join(
            json.dumps(
                {"id": f"{self.request}-{at}", **head, "label": label, "score": score,
                 "features": row},
                separators=(",", ":"),
            ) + "\n"
            for at, (row, label, score) in enumerate(told)
        )  # fmt: skip


class Logbook:
    """Writes down what was answered, and the labels that came later.

    Parameters
    ----------
    folder
        Where; made if it is not there.
    file_bytes
        How large a file may grow.
    clock
        Tells the time, nanoseconds since 1970.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        file_bytes: int = FILE_BYTES,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder, self.clock, self.lost = folder, clock, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".write").write_bytes(b"")
            (folder / ".write").unlink()
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", f"--log {folder}") from None
        self._answers: deque[Answered] = deque()
        self._labels: deque[str] = deque()
        self._rows = 0
        self._lock, self._over = Lock(), Flag()
        self._files = {
            kind: RollingFile(folder, kind, file_bytes, clock) for kind in (ANSWERS, LABELS)
        }
        self._schema: Schema | None = None
        self._thread = Thread(target=self._write_on, name="logbook", daemon=True)
        self._thread.start()

    def answered(self, answer: Answered) -> None:
        """Take down what was answered."""
        with self._lock:
            if self._rows + len(answer.rows) > WAITING_MAX:
                self.lost += len(answer.rows)
                return
            self._rows += len(answer.rows)
            self._answers.append(answer)

    def labelled(self, labels: Sequence[tuple[str, str | float]]) -> None:
        """Take down labels, by the ids of the rows that they belong to."""
        now = iso(self.clock() // 1000)
        lines = "".join(
            json.dumps({"time": now, "id": of, "label": label}, separators=(",", ":")) + "\n"
            for of, label in labels
        )
        with self._lock:
            if self._rows + len(labels) > WAITING_MAX:
                self.lost += len(labels)
                return
            self._rows += len(labels)
            self._labels.append(lines)

    def flush(self) -> None:
        """Write what was taken down."""
        with self._lock:
            answers, labels = list(self._answers), list(self._labels)
            self._answers.clear()
            self._labels.clear()
            self._rows = 0
        for answer in answers:
            if answer.schema != self._schema:
                schema = answer.schema
                about = [list(schema.numeric), list(schema.categorical), schema.task]
                self._files[ANSWERS].begin({"model": answer.model, "schema": about})
                self._schema = schema
            self._files[ANSWERS].write(answer.lines())
        for lines in labels:
            self._files[LABELS].write(lines)
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Write what is left, and no more."""
        self._over.set()
        self._thread.join()
        self.flush()
        for file in self._files.values():
            file.close()

    def _write_on(self) -> None:
        while not self._over.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except OSError:  # a full disk: what was taken is lost, the answers go on
                self.lost += 1


class RollingFile:
    """Files of lines, one after the other; none grows beyond its size.

    Parameters
    ----------
    folder, kind
        Where they are, and how their names begin.
    most
        How many bytes a file may have.
    clock
        Tells the time that a file is named after.
    """

    def __init__(self, folder: Path, kind: str, most: int, clock: Callable[[], int]) -> None:
        self.folder, self.kind, self.most, self.clock = folder, kind, most, clock
        self._file: IO[str] | None = None
        self._header = ""

    def begin(self, header: Mapping[str, Any]) -> None:
        """Begin each file from here on with another line."""
        self._header = json.dumps(header, separators=(",", ":")) + "\n"
        self.close()

    def write(self, lines: str) -> None:
        """Append lines."""
        if self._file is None or self._file.tell() >= self.most:
            self.close()
            stamp = iso(self.clock() // 1000).replace(":", "").replace("-", "")
            path = self.folder / f"{self.kind}-{stamp}.jsonl"
            self._file = path.open("a", encoding="utf-8")
            self._file.write(self._header)
        self._file.write(lines)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
