"""Whether two run directories are the same, and where they first differ."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import pyarrow.parquet as pq

NOT_COMPARED = ("timing.json", ".timing.json.partial", ".state/")
"""How a run went, and what a crash at its very end may leave: no parts of its result."""


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, by their path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def first_difference(whole: Path, other: Path) -> str:
    """Return where a finished run first differs from the uninterrupted one; empty if nowhere."""
    wanted, found = content(whole), content(other)
    for name in sorted({*wanted, *found}):
        if name.startswith(NOT_COMPARED):
            continue
        if name not in wanted:
            return f"{name} should not be there"
        if name not in found:
            return f"{name} is missing"
        if wanted[name] != found[name]:
            parquet = name.endswith(".parquet")
            where = first_row(whole / name, other / name) if parquet else ""
            return f"{name} differs: {where or first_line(wanted[name], found[name])}"
    return ""


def first_line(wanted: bytes, found: bytes) -> str:
    """Return the first line in which two texts differ."""
    pairs = zip_longest(wanted.splitlines(), found.splitlines())
    for number, (one, other) in enumerate(pairs, 1):
        if one != other:
            return f"line {number}:\n  should be {shown(one)}\n  but is    {shown(other)}"
    return "the ends of lines"


def first_row(wanted: Path, found: Path) -> str:
    """Return the first row in which two Parquet files differ; empty if only their form does."""
    try:
        tables = [pq.read_table(path) for path in (wanted, found)]
    except (OSError, ValueError) as error:
        return f"it cannot be read: {error}"
    rows = [table.to_pylist() for table in tables]
    for number, (one, other) in enumerate(zip_longest(*rows)):
        if repr(one) != repr(other):
            return f"row {number}:\n  should be {one}\n  but is    {other}"
    return ""


def shown(line: bytes | None) -> str:
    """Return a line as text, not endlessly long."""
    return "(not there)" if line is None else line.decode("utf-8", "replace")[:300]
