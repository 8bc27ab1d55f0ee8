"""What a sync remembers between two runs: checksums, and what both sides last agreed on.

One file of JSON lines for each top folder and destination, `data/.sync-<id>.jsonl`; it is only
appended to, so that `kill -9` costs a line at most, and made compact when it is opened. Without it
nothing is lost: files are read again, and where both sides differ a person is asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import IO, Any

from engine.errors import EngineError
from engine.localfiles import Stamp

SETTLED_NANOSECONDS = 100_000_000
"""A file that changed less long ago may change again without its time telling."""
MINE_MAX = 8
"""So many of the newest contents that were on their way are remembered."""


class Agreements:
    """The memory of one top folder and one destination.

    Parameters
    ----------
    base
        The folder that paths start from.
    top
        The top folder, such as ``data``.
    destination
        Names bucket, prefix and endpoint.
    write
        Whether to keep anything; without it nothing is touched.
    """

    def __init__(self, base: Path, top: str, destination: str, write: bool = True) -> None:
        name = hashlib.sha256(destination.encode()).hexdigest()[:12]
        self.path = base / top / f".sync-{name}.jsonl"
        self._lines: dict[tuple[str, str], Any] = {}
        self._guard = threading.Lock()
        self._file: IO[str] | None = None
        self._top = top
        if write:
            self._open()
        self._read()
        if write:
            self._compact()

    def close(self) -> None:
        """Bring it to the disk, and let others have it."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def checksum(self, path: str, stamp: Stamp) -> tuple[int, str] | None:
        """Return size and SHA-256 of the content that a file had when it bore this stamp."""
        found = self._lines.get(("file", path))
        return (found[1], found[2]) if found and tuple(found[0]) == stamp else None

    def learn(self, path: str, stamp: Stamp, size: int, sha256: str) -> None:
        """Remember a file's checksum, if the file has rested long enough for it to be sure."""
        if time.time_ns() - max(stamp[1], stamp[-1] if len(stamp) > 4 else 0) > SETTLED_NANOSECONDS:
            self._put("file", path, [list(stamp), size, sha256])

    def object_checksum(self, path: str, etag: str) -> str | None:
        """Return the SHA-256 of an object, if it is the one that was looked at before."""
        found = self._lines.get(("object", path))
        return found[1] if found and found[0] == etag else None

    def learn_object(self, path: str, etag: str, sha256: str) -> None:
        """Remember an object's checksum."""
        self._put("object", path, [etag, sha256])

    def agreed(self, path: str) -> str | None:
        """Return the SHA-256 that both sides had after the last sync."""
        found = self._lines.get(("agreed", path))
        return None if found is None else str(found)

    def agree(self, path: str, sha256: str | None) -> None:
        """Remember that both sides have this content; None: that both have none."""
        if self._lines.get(("agreed", path)) != sha256:
            self._put("agreed", path, sha256)
        if self._lines.get(("mine", path)):
            self._put("mine", path, None)

    def going(self, path: str, sha256: str) -> None:
        """Remember, before it goes, that a content of ours is on its way into the bucket."""
        sent = [one for one in self._lines.get(("mine", path)) or [] if one != sha256]
        self._put("mine", path, [*sent, sha256][-MINE_MAX:])

    def mine(self, path: str, sha256: str | None) -> bool:
        """Tell whether a content in the bucket is one that this side has seen or sent there."""
        if sha256 is None:
            return False
        return sha256 == self.agreed(path) or sha256 in (self._lines.get(("mine", path)) or [])

    def upload(self, path: str) -> tuple[str, str, int] | None:
        """Return the upload in parts that was begun: its id, SHA-256 and bytes of a part."""
        found = self._lines.get(("upload", path))
        return (found[0], found[1], found[2]) if found else None

    def note_upload(self, path: str, upload: tuple[str, str, int] | None) -> None:
        """Remember an upload in parts; None: that it is over."""
        self._put("upload", path, list(upload) if upload else None)

    def _put(self, kind: str, path: str, value: Any) -> None:
        with self._guard:
            self._lines[kind, path] = value
            if self._file is not None:
                self._file.write(json.dumps([kind, path, value]) + "\n")
                self._file.flush()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            raise EngineError(f"{self.path} is a symbolic link; remove it")
        self._file = self.path.open("a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._file.fileno()).st_ino != self.path.stat().st_ino:
                raise OSError  # somebody has just made it compact, and is at work
        except OSError:
            self._file.close()
            raise EngineError(f"another sync is at work on {self._top}/; wait for it") from None

    def _read(self) -> None:
        """Read what is there; a line that was cut off counts as not written."""
        try:
            text = self.path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            try:
                kind, path, value = json.loads(line)
                self._lines[str(kind), str(path)] = value
            except (ValueError, TypeError):
                continue

    def _compact(self) -> None:
        """Write it anew, with what is out of date and what was cut off left out."""
        assert self._file is not None
        lines = [
            json.dumps([*key, value]) for key, value in self._lines.items() if value is not None
        ]
        text = "".join(f"{line}\n" for line in lines)
        if self.path.stat().st_size == len(text.encode()):
            return
        rest = self.path.with_name(f"{self.path.name}.partial")
        rest.write_text(text, "utf-8")
        new = rest.open("a", encoding="utf-8")
        fcntl.flock(new, fcntl.LOCK_EX)
        rest.replace(self.path)
        self._file.close()
        self._file = new
