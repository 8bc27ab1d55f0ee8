"""A SQLite file that several threads use at once and that no crash harms."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import InputError, MachineError

APPLICATION = 0x44724C65
"""Tells our files from those of other programs."""
WAIT_SECONDS = 30.0
"""How long to wait for a writer in another thread."""


class Database:
    """A file with one schema; each thread gets a connection of its own.

    Parameters
    ----------
    path
        The file.
    schema
        The statements that make it; None opens it for reading only, and it has to be there.
    version
        The version of the schema.

    Raises
    ------
    InputError
        If it cannot be opened, is another program's or another version's, or is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.sqlite"
    >>> database = Database(path, "CREATE TABLE numbers (n INTEGER)", 1)
    >>> with database.transaction() as run:
    ...     _ = run("INSERT INTO numbers VALUES (?)", (7,))
    >>> database.rows("SELECT n FROM numbers")
    [(7,)]
    >>> database.close()
    """

    def __init__(self, path: Path, schema: str | None, version: int) -> None:
        self.path = path
        self._writes = schema is not None
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._closed = False
        try:
            if schema is not None and self._is_empty():
                self._make(schema, version)
            self._check(version)
        except BaseException:
            self.close()
            raise

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return what a query finds."""
        try:
            return self._connection().execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise MachineError(f"{self.path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Do all or nothing of what is run within, and have it on disk after."""
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection.execute
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise MachineError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Close the connections of all threads, for good."""
        self._closed = True
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._local = threading.local()

    def _make(self, schema: str, version: int) -> None:
        with self.transaction() as run:
            for statement in schema.split(";"):
                run(statement)
            run(f"PRAGMA application_id = {APPLICATION}")
            run(f"PRAGMA user_version = {version}")
        settle(self.path.parent)

    def _check(self, expected: int) -> None:
        """Raise InputError if the file is no ledger, another version's, or damaged."""
        place = str(self.path)
        try:
            run = self._connection().execute
            (application,) = run("PRAGMA application_id").fetchone()
            (version,) = run("PRAGMA user_version").fetchone()
            sound = [row[0] for row in run("PRAGMA quick_check(1)")] == ["ok"]
        except sqlite3.OperationalError as error:
            raise InputError(f"the ledger cannot be opened: {error}", place) from None
        except sqlite3.DatabaseError as error:
            foreign = error.sqlite_errorcode == sqlite3.SQLITE_NOTADB
            application, version, sound = 0 if foreign else APPLICATION, expected, False
        if application != APPLICATION:
            raise InputError("this is no ledger of Driftline; set data to another folder", place)
        if version != expected:
            message = f"the ledger has version {version}, not {expected}: another Driftline made it"
            raise InputError(message, place)
        if not sound:
            message = "the ledger is damaged; restore it, or move the data folder out of the way"
            raise InputError(message, place)

    def _is_empty(self) -> bool:
        """Return whether there is no ledger yet, or only the beginnings of one."""
        try:
            run = self._connection().execute
            return bool(run("SELECT count(*) FROM sqlite_master").fetchone() == (0,))
        except sqlite3.DatabaseError:
            return False

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        if self._closed:
            raise sqlite3.ProgrammingError("it is closed")
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            mode = "rwc" if self._writes else "ro"
            found = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode={mode}",
                uri=True, isolation_level=None, timeout=WAIT_SECONDS, check_same_thread=False,
            )  # fmt: skip
            self._open.append(found)
            self._local.connection = found
            if self._writes and self._is_ours(found):
                found.execute("PRAGMA journal_mode = WAL")
                found.execute("PRAGMA synchronous = FULL")
        return found

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Return whether a file may be changed: it is empty or a ledger."""
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError:
            return False
        return bool(application == APPLICATION or tables == 0)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file to last, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    settle(path.parent)


def settle(folder: Path) -> None:
    """Have the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
