"""The local side of a sync: which files there are, their content as one moment saw it, names.

What is not synced: a run's `.state/` (parts that only a process at work makes sense of), temporary
files (`*.partial`), locks, SQLite's companions (`-wal`, `-shm`, `-journal`), and what is no file.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.errors import EngineError, InputError

CHUNK = 1 << 20
"""Bytes that are read at a time."""
SQLITE = b"SQLite format 3\0"
COMPANIONS = ("-wal", "-shm", "-journal")
KEY_MAX = 1024
"""Bytes that S3 allows in a key."""
Stamp = tuple[int, ...]
"""What tells whether a file is still the one that was read."""


def left_out(path: str) -> bool:
    """Tell whether a path is one that no sync carries.

    Examples
    --------
    >>> [left_out(path) for path in ("runs/a/.state/lock", "data/.x.csv.partial", "data/a.csv")]
    [True, True, False]
    """
    *folders, name = path.split("/")
    return (
        ".state" in folders
        or name.endswith((".partial", ".lock", *COMPANIONS))
        or name == "lock"
        or (name.startswith(".sync-") and name.endswith(".jsonl"))
    )


def folder_name(text: str) -> str:
    """Return a folder as the user named it in its plain form, such as ``runs/elec2-7``.

    Raises
    ------
    InputError
        If it is not a relative path below this folder.

    Examples
    --------
    >>> folder_name("./runs//elec2-7/")
    'runs/elec2-7'
    >>> folder_name("../data")
    Traceback (most recent call last):
    engine.errors.InputError: ../data: name folders below this one, such as data or runs/elec2-7
    """
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or text.startswith(("/", "~")) or "\0" in text:
        raise InputError("name folders below this one, such as data or runs/elec2-7", text)
    return "/".join(parts)


def walk(base: Path, folder: str, tell: Callable[[str], None]) -> Iterator[str]:
    """Yield the files of a folder, as paths from `base` on, and tell what is no file."""
    with os.scandir(base / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{folder}/{entry.name}"
        if entry.is_symlink():
            tell(f"{path}: a symbolic link; left out")
        elif entry.is_dir():
            if entry.name != ".state":
                yield from walk(base, path, tell)
        elif left_out(path):
            continue
        elif entry.is_file():
            yield path
        else:
            tell(f"{path}: neither a file nor a folder; left out")


def stamp_of(path: Path) -> Stamp:
    """Return what changes when a file does: its own figures, and those of SQLite's log."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise EngineError("this is no file any more")
    stamp: Stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    try:
        log = Path(f"{path}-wal").lstat()
    except OSError:
        return stamp
    return (*stamp, log.st_size, log.st_mtime_ns) if log.st_size else stamp


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held at one moment.

    Parameters
    ----------
    file
        Open for reading, at its start; what has been added behind `size` is none of it.
    size, sha256
        Of the content.
    """

    file: IO[bytes]
    size: int
    sha256: str


@contextmanager
def content(path: Path) -> Iterator[Content]:
    """Open a file: a SQLite database as a whole snapshot, any other as long as it is now."""
    with path.open("rb") as file:
        if file.read(len(SQLITE)) != SQLITE:
            size = os.fstat(file.fileno()).st_size
            yield Content(file, size, digest(file, size))
            return
    with tempfile.TemporaryDirectory(prefix="driftline-sync-") as folder:
        copy = Path(folder) / "snapshot"
        snapshot(path, copy)
        with copy.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield Content(file, size, digest(file, size))


def digest(file: IO[bytes], size: int) -> str:
    """Return the SHA-256 of a file's first `size` bytes, and go back to its start."""
    file.seek(0)
    found, left = hashlib.sha256(), size
    while left and (piece := file.read(min(CHUNK, left))):
        found.update(piece)
        left -= len(piece)
    if left:
        raise EngineError("it became shorter while it was read; run the same command again")
    file.seek(0)
    return found.hexdigest()


def snapshot(path: Path, copy: Path) -> None:
    """Copy a SQLite database as its last commit left it, also while others write to it."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=30)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise EngineError(f"this SQLite database cannot be copied: {error}") from None


def released(path: Path) -> bool:
    """Tell whether nobody has a SQLite database open; its log is folded into it on the way."""
    if not any(Path(f"{path}{end}").exists() for end in COMPANIONS):
        return True
    try:
        with closing(sqlite3.connect(path, timeout=0)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error:
        return False
    return not any(Path(f"{path}{end}").exists() for end in COMPANIONS)


def target(base: Path, path: str) -> Path:
    """Return where a path of the bucket belongs here.

    Raises
    ------
    EngineError
        If that would be outside `base`, or behind a symbolic link.

    Examples
    --------
    >>> target(Path("/srv"), "data/../../etc/passwd")
    Traceback (most recent call last):
    engine.errors.EngineError: its name leads out of this folder; refused
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise EngineError("its name leads out of this folder; refused")
    place = base
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise EngineError(f"{place.relative_to(base)} is a symbolic link here; refused")
    return place
