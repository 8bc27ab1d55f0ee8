"""Where runs are: a directory's key, how far its run is, and whether its files are whole."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from engine.errors import InputError
from engine.shapes import ABOUT, NUMBER, read_json

KEY = 10
"""Digits of a key."""
WHOLE = b"PAR1"
"""What a Parquet file ends with."""
State = Literal["finished", "growing", "stopped", "damaged"]
RUN = {**ABOUT, "name": str, "seed": int, "streams": [str], "replay?": str}
RUN["scenario"] = {
    **ABOUT["scenario"],
    "prices": {"error": NUMBER, "retrain": NUMBER},
    "scoring": {"window": int},
}
"""What this app needs of `run.json`."""


def key_of(path: Path) -> str:
    """Return the key of a directory.

    Examples
    --------
    >>> key_of(Path("runs/demo")) == key_of(Path("runs/../runs/demo")), len(key_of(Path(".")))
    (True, 10)
    """
    return hashlib.sha256(str(path.resolve()).encode("utf-8", "replace")).hexdigest()[:KEY]


def read_about(path: Path) -> dict[str, Any]:
    """Return the content of `run.json`.

    Raises
    ------
    InputError
        If it is not there or damaged.
    """
    about = read_json(path / "run.json", RUN, "this is no run directory: it has no run.json")
    names = about["streams"]
    if not names or any("/" in name or "\0" in name or name.startswith(".") for name in names):
        raise InputError("is damaged (a stream's name is no file name)", str(path / "run.json"))
    return about


def check_whole(path: Path, streams: Sequence[str]) -> None:
    """Make sure that a finished run has its files, and that none is cut short.

    Raises
    ------
    InputError
        If one is missing or torn.
    """
    if not (path / "events.jsonl").exists():
        raise InputError("it has no events.jsonl")
    for name in streams:
        file = path / "outcomes" / f"{name}.parquet"
        try:
            with file.open("rb") as raw:
                raw.seek(-len(WHOLE), 2)
                torn = raw.read() != WHOLE
        except FileNotFoundError:
            raise InputError(f"it has no outcomes/{name}.parquet") from None
        except OSError:
            torn = True  # shorter than its end
        if torn:
            raise InputError(f"outcomes/{name}.parquet is torn")


def state_of(path: Path) -> State:
    """Return how far a run is; a summary says that it is whole."""
    if (path / "summary.json").exists():
        return "finished"
    return "growing" if held(path) else "stopped"


def held(path: Path) -> bool:
    """Return whether a process holds the lock of a directory; it notices nothing.

    Where the system lists its locks the lock itself is not touched.
    """
    file = path / ".state" / "lock"
    try:
        inode = str(file.stat().st_ino)
        locks = Path("/proc/locks")
        if locks.exists():
            rows = [line.split() for line in locks.read_text("utf-8").splitlines()]
            return any(row[1] == "FLOCK" and row[-3].endswith(f":{inode}") for row in rows)
        with file.open("rb") as probe:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, IndexError):
        return False
    return False
