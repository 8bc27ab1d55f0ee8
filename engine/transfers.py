"""Bring folders and a bucket into step, one way at a time, and never over what nobody has seen.

For each file three contents count: here, in the bucket, and the one that both had when they were
last in step. What changed on the giving side alone is carried over; what changed on the taking
side alone is left as it is; what changed on both is a conflict, which a person decides.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from engine.agreements import Agreements
from engine.errors import EngineError
from engine.localfiles import (
    CHUNK,
    KEY_MAX,
    Content,
    content,
    left_out,
    released,
    stamp_of,
    target,
    walk,
)
from engine.sync import (
    PART_BYTES,
    Broken,
    Bucket,
    Destination,
    Object,
    Overtaken,
    Stopped,
    part_bytes,
)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to bring into step.

    Parameters
    ----------
    base
        The folder that paths start from.
    folders
        Which folders of it.
    destination
        The other side.
    up
        Into the bucket, or out of it.
    delete
        Remove on the taking side what was in step and is gone on the giving side.
    overwrite
        The giving side wins, whatever was changed on the other.
    dry
        Change nothing.
    jobs
        How many at a time.
    credentials
        Arguments of ``boto3.Session``; empty: it finds its own.
    """

    base: Path
    folders: Sequence[str]
    destination: Destination
    up: bool
    delete: bool = False
    overwrite: bool = False
    dry: bool = False
    jobs: int = 8
    credentials: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What has been done so far; several threads add to it.

    Parameters
    ----------
    total
        Files to look at.
    moved, moved_bytes
        Carried over.
    same
        In step already.
    kept
        Changed on the taking side alone, and left as they are.
    removed
        Removed on the taking side.
    conflicts, failures
        What a person has to look at, a line each.
    """

    total: int = 0
    moved: int = 0
    moved_bytes: int = 0
    same: int = 0
    kept: int = 0
    removed: int = 0
    conflicts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> int:
        """How many files have been looked at."""
        return self.moved + self.same + self.kept + len(self.conflicts) + len(self.failures)

    def add(self, what: str, size: int = 0) -> None:
        """Count a file."""
        with self.guard:
            setattr(self, what, getattr(self, what) + 1)
            self.moved_bytes += size


class Transfer:
    """Carries out an order.

    Parameters
    ----------
    order
        What to do.
    tell
        Takes lines about single files.
    stop
        Ends it early; the same order goes on later.
    """

    def __init__(self, order: Order, tell: Tell, stop: threading.Event) -> None:
        self.order, self.tell, self.stop = order, tell, stop
        self.tally = Tally()
        self._halt = threading.Event()
        self._bucket = Bucket(order.destination, order.credentials, order.jobs, stop)
        self._known: dict[str, Agreements] = {}

    def run(self) -> Tally:
        """Bring everything into step; what fails for one file alone does not end it.

        Raises
        ------
        Broken
            If the bucket cannot be worked with.
        Stopped
            If `stop` was set.
        """
        order = self.order
        there: dict[str, Object] = {}
        for folder in order.folders:
            there.update(self._bucket.list(folder))
        there = {path: each for path, each in there.items() if not self._strange(path)}
        here = [path for folder in order.folders for path in self._walk(folder)]
        with ExitStack() as stack:
            at = f"{order.destination} {order.destination.endpoint or ''}"
            for top in sorted({folder.split("/")[0] for folder in order.folders}):
                known = Agreements(order.base, top, at, write=not order.dry)
                stack.callback(known.close)
                self._known[top] = known
            paths = here if order.up else sorted(there)
            self.tally.total = len(paths)
            step = self._up if order.up else self._down
            self._all(paths, lambda path: step(path, there.get(path)))
            if order.delete:
                self._remove(here, there)
        return self.tally

    def _strange(self, path: str) -> bool:
        """Tell whether an object is none of ours: a folder's mark, or what no sync carries."""
        return path.endswith("/") or left_out(path)

    def _walk(self, folder: str) -> Iterable[str]:
        place = target(self.order.base, folder)
        return walk(self.order.base, folder, self.tell) if place.is_dir() else ()

    def _all(self, paths: Sequence[str], step: Callable[[str], None]) -> None:
        """Take a step for each path, several at a time."""
        broken: list[Broken] = []

        def guarded(path: str) -> None:
            if self.stop.is_set() or self._halt.is_set():
                return
            try:
                step(path)
            except Stopped:
                return
            except Broken as error:
                self._halt.set()
                broken.append(error)
            except Overtaken as error:
                self._conflict(path, str(error))
            except FileNotFoundError:
                self.tally.add("kept")  # it went while we looked: temporary files do
            except (EngineError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self._note(self.tally.failures, f"{path}: {reason}")

        with ThreadPoolExecutor(self.order.jobs, thread_name_prefix="sync") as pool:
            for future in as_completed([pool.submit(guarded, path) for path in paths]):
                future.result()
        if broken:
            raise broken[0]
        if self.stop.is_set():
            raise Stopped

    def _conflict(self, path: str, why: str) -> None:
        self._note(self.tally.conflicts, f"{path}: {why}")

    def _note(self, lines: list[str], line: str) -> None:
        with self.tally.guard:
            lines.append(line)
        self.tell(line)

    def _of(self, path: str) -> Agreements:
        return self._known[path.split("/")[0]]

    # --- both ways --------------------------------------------------------------------------

    def _here(self, path: str) -> tuple[int, str] | None:
        """Return size and SHA-256 of what is here, read only if it may have changed."""
        place = target(self.order.base, path)
        try:
            stamp = stamp_of(place)
        except FileNotFoundError:
            return None
        known = self._of(path).checksum(path, stamp)
        if known is None:
            with content(place) as found:
                known = found.size, found.sha256
            if stamp_of(place) == stamp:
                self._of(path).learn(path, stamp, *known)
        return known

    def _there(self, path: str, found: Object, size: int | None) -> Object:
        """Return an object with its checksum; one without is read, if its size does not tell."""
        known = self._of(path).object_checksum(path, found.etag)
        if known is None:
            looked = self._bucket.look(path)
            if looked is None:
                raise Overtaken("somebody else has just removed it from the bucket")
            found, known = looked, looked.sha256
            if known is None and found.size == size:
                whole = hashlib.sha256()
                for piece in self._bucket.read(path, found.etag):
                    whole.update(piece)
                known = whole.hexdigest()
            if known is not None:
                self._of(path).learn_object(path, found.etag, known)
        return Object(found.size, found.etag, known)

    def _in_step(self, path: str, here: tuple[int, str], there: Object) -> bool:
        if here != (there.size, there.sha256):
            return False
        self._of(path).agree(path, there.sha256)
        self.tally.add("same")
        return True

    # --- up ---------------------------------------------------------------------------------

    def _up(self, path: str, listed: Object | None) -> None:
        """Bring a file into the bucket."""
        _check_key(f"{self.order.destination.prefix}{path}")
        here, known = self._here(path), self._of(path)
        if here is None:
            raise FileNotFoundError(path)
        there = self._there(path, listed, here[0]) if listed else None
        if there is not None:
            if self._in_step(path, here, there):
                return
            if not self.order.overwrite and not known.mine(path, there.sha256):
                if known.agreed(path) == here[1]:
                    self.tell(f"{path}: changed in the bucket alone; left (sync down brings it)")
                    self.tally.add("kept")
                    return
                self._conflict(path, "changed here and in the bucket; neither was touched")
                return
        if self.order.dry:
            self.tell(f"would upload {path} ({here[0]:,} bytes)")
            self.tally.add("moved", here[0])
            return
        with content(target(self.order.base, path)) as found:
            etag = self._send(path, found, there.etag if there else None)
            now = self._bucket.look(path)
            if now is None or (now.etag, now.size, now.sha256) != (etag, found.size, found.sha256):
                raise Overtaken("the bucket does not hold what was just sent; look who wrote it")
            known.learn_object(path, etag, found.sha256)
            known.agree(path, found.sha256)
            self.tally.add("moved", found.size)

    def _send(self, path: str, found: Content, over: str | None) -> str:
        """Send a content whole or in parts; return the ETag of what is there then."""
        self._of(path).going(path, found.sha256)
        try:
            if found.size > PART_BYTES:
                return self._send_parts(path, found, over)
            body = found.file.read(found.size)
            if hashlib.sha256(body).hexdigest() != found.sha256:
                raise EngineError("it changed while it was read; run the same command again")
            return self._bucket.put(path, body, found.sha256, over)
        except Overtaken:
            now = self._bucket.look(path)  # an attempt whose answer was lost may have done it
            if now is None or now.sha256 != found.sha256:
                raise
            return now.etag

    def _send_parts(self, path: str, found: Content, over: str | None) -> str:
        """Send the parts that are missing; an upload of something else is given up first."""
        known, part = self._of(path), part_bytes(found.size)
        begun = known.upload(path)
        if begun is not None and begun[1:] != (found.sha256, part):
            self._bucket.give_up(path, begun[0])
            begun = None
        if begun is None or self._bucket.parts(path, begun[0]) is None:
            begun = self._bucket.begin(path, found.sha256), found.sha256, part
            known.note_upload(path, begun)
        try:
            etag = self._bucket.send(path, begun[0], found, part, over)
        except (Broken, Stopped):
            raise  # the parts that are there serve the next attempt
        except EngineError:
            self._bucket.give_up(path, begun[0])
            known.note_upload(path, None)
            raise
        known.note_upload(path, None)
        return etag

    # --- down -------------------------------------------------------------------------------

    def _down(self, path: str, listed: Object | None) -> None:
        """Bring an object here."""
        assert listed is not None
        place, known = target(self.order.base, path), self._of(path)
        if place.is_dir():
            raise EngineError("there is a folder of this name here")
        here = self._here(path)
        there = self._there(path, listed, here[0] if here else None)
        if here is not None:
            if self._in_step(path, here, there):
                return
            if not self.order.overwrite and known.agreed(path) != here[1]:
                if known.mine(path, there.sha256):
                    self.tell(f"{path}: changed here alone; left (sync up brings it)")
                    self.tally.add("kept")
                else:
                    self._conflict(path, "changed here and in the bucket; neither was touched")
                return
        if self.order.dry:
            self.tell(f"would download {path} ({there.size:,} bytes)")
            self.tally.add("moved", there.size)
            return
        if not released(place):
            raise EngineError("another process has this SQLite database open; end it first")
        known.agree(path, self._fetch(path, place, there))
        known.learn_object(path, there.etag, known.agreed(path) or "")
        self.tally.add("moved", there.size)

    def _fetch(self, path: str, place: Path, there: Object) -> str:
        """Bring an object into a temporary file, on from where it stopped, and check it."""
        place.parent.mkdir(parents=True, exist_ok=True)
        mark = hashlib.sha256(f"{path}\n{there.etag}".encode()).hexdigest()[:16]
        partial = place.parent / f".{mark}.partial"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(partial, flags, 0o666), "r+b") as file:
            whole, size = hashlib.sha256(), 0
            while piece := file.read(CHUNK):
                whole.update(piece)
                size += len(piece)
            if size < there.size:
                for piece in self._bucket.read(path, there.etag, size):
                    file.write(piece)
                    whole.update(piece)
                    size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        sha256 = whole.hexdigest()
        if size != there.size or there.sha256 not in (None, sha256):
            partial.unlink()
            raise EngineError("what came does not match its checksum; run the same command again")
        partial.replace(place)
        return sha256

    # --- removal ----------------------------------------------------------------------------

    def _remove(self, here: Sequence[str], there: dict[str, Object]) -> None:
        """Remove on the taking side what is gone on the giving side, if all else went well."""
        if self.tally.conflicts or self.tally.failures:
            self.tell("nothing was removed, as not everything is in step")
            return
        up = self.order.up
        giving, taking = (set(here), set(there)) if up else (set(there), set(here))
        gone = sorted(taking - giving)
        if gone and not giving:
            where = "here" if up else f"in {self.order.destination}"
            raise EngineError(f"there is nothing {where}: refused to remove {len(gone):,} files")
        self._all(gone, lambda path: self._remove_one(path, there.get(path)))

    def _remove_one(self, path: str, listed: Object | None) -> None:
        known = self._of(path)
        if listed is not None:
            found = self._there(path, listed, None)
            seen = known.mine(path, found.sha256)
        else:
            here = self._here(path)
            seen = here is not None and known.agreed(path) == here[1]
        if not seen and not self.order.overwrite:
            self.tell(f"{path}: was never in step with the other side; not removed")
            self.tally.add("kept")
        elif self.order.dry:
            self.tell(f"would remove {path}")
            self.tally.add("removed")
        else:
            if listed is not None:
                self._bucket.remove(path, listed.etag)
            else:
                target(self.order.base, path).unlink()
            known.agree(path, None)
            self.tally.add("removed")


def _check_key(key: str) -> None:
    """Refuse what cannot be a key: names that are no UTF-8, or too long."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise EngineError("its name is not UTF-8, which S3 asks for; rename it") from None
    if size > KEY_MAX:
        raise EngineError(f"its name is longer than the {KEY_MAX} bytes that S3 allows")
