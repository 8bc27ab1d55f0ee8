"""What was asked of NewsAPI and what came of it: the one truth of live mode, safe at any moment.

A data folder holds ``raw/`` (each body as it came), ``processed/`` (the rows that came of it) and
``ledger.sqlite``. A request goes through these steps, and a crash between any two loses nothing
and doubles nothing:

1. it is entered as asked, and so counts against the plan, whatever happens to it;
2. its answer's status is entered, and its body becomes a file;
3. its rows become a file;
4. one transaction enters keys, counts, notes and cursors, and the request as done.

Who starts again finds the requests that are asked but not done: with a body they go on at 3,
without they are lost, and the same page is asked for again.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from engine.errors import InputError
from engine.events import iso
from engine.news.articles import Article, ordered, write_rows
from engine.news.database import Database, settle, write_whole
from engine.news.quota import Budget, Spent, budget_of, spend, still
from engine.news.settings import Plan

FILE = "ledger.sqlite"
LOCK = "ledger.lock"
FOLDERS = ("raw", "processed")
VERSION = 1
SCHEMA = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, topic TEXT NOT NULL,
    page INTEGER NOT NULL, attempt INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL, status INTEGER, problem TEXT NOT NULL DEFAULT '',
    entries INTEGER NOT NULL DEFAULT 0, rows INTEGER NOT NULL DEFAULT 0, notes TEXT
);
CREATE INDEX requests_open ON requests (id) WHERE state = 'asked';
CREATE INDEX requests_news ON requests (id) WHERE notes IS NOT NULL;
CREATE TABLE spent (place INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, lowest INTEGER NOT NULL);
CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE dropped (
    topic TEXT NOT NULL, reason TEXT NOT NULL, entries INTEGER NOT NULL,
    PRIMARY KEY (topic, reason)
);
CREATE TABLE topics (
    topic TEXT PRIMARY KEY, question TEXT NOT NULL, turn INTEGER NOT NULL, page INTEGER NOT NULL,
    since INTEGER, newest INTEGER
);
CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
"""`notes` is set where there is something to see: rows or notes."""
SPENT = "SELECT stamp, lowest FROM spent ORDER BY place"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is entered before it is made.

    Parameters
    ----------
    id
        Counts all requests, from 1.
    at
        When, microseconds since 1970: the event time of its articles.
    topic, page
        What is asked for.
    attempt
        Counts the tries for the same page, from 1.
    name
        What its files are called, without their endings.
    status
        The answer's HTTP status; None as long as there is no answer.
    problem
        Why the answer is not whole; empty if it is.
    """

    id: int
    at: int
    topic: str
    page: int
    attempt: int
    name: str
    status: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a topic was read.

    Parameters
    ----------
    page
        The page that comes next, from 1.
    since
        Articles are asked for from this time on; None: from any.
    newest
        The newest publish time that was seen.
    """

    page: int = 1
    since: int | None = None
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    Parameters
    ----------
    cursor
        How far its topic is read now.
    over
        Whether the topic's turn is over.
    entries
        How many articles came.
    articles, keys
        Those that became rows.
    dropped
        How many of the others were dropped, by reason.
    notes
        What was unusual.
    memory
        What else to remember, by name; JSON-ready.
    """

    cursor: Cursor
    over: bool
    entries: int = 0
    articles: tuple[Article, ...] = ()
    keys: tuple[bytes, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Mapping[str, Any], ...] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that is done and left something to see.

    Parameters
    ----------
    id, at, topic
        As of its `Request`.
    rows
        How many rows it has.
    processed
        The name of the file that holds them; None if there are none.
    notes
        What was unusual: ``{"what": ..., "topic": ...}`` and evidence.
    """

    id: int
    at: int
    topic: str
    rows: int
    processed: str | None
    notes: tuple[dict[str, Any], ...]


class Ledger:
    """The ledger of a data folder; see `open` and `read`.

    Each thread gets a connection of its own, so one may read while another writes.
    """

    def __init__(self, folder: Path, database: Database, lock: IO[str] | None) -> None:
        self.folder, self._database, self._lock = folder, database, lock

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open the ledger of a data folder for writing; both are made if they are not there.

        Raises
        ------
        InputError
            If another process has it, it cannot be written, or the file is no ledger.
        """
        lock = _locked(folder)
        try:
            for half in (path for name in FOLDERS for path in (folder / name).glob(".*.partial")):
                half.unlink()  # what a crash has left half-written
            return cls(folder, Database(folder / FILE, SCHEMA, VERSION), lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Open the ledger of a data folder for reading, whoever is writing to it.

        Raises
        ------
        InputError
            If there is none, or the file is no ledger.
        """
        if not (folder / FILE).is_file():
            raise InputError("there is no ledger here; driftline live makes one", str(folder))
        return cls(folder, Database(folder / FILE, None, VERSION), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and let go of the folder."""
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    # --- the steps of a request -------------------------------------------------------------

    def ask(self, topic: str, page: int, attempt: int, plan: Plan, now: int) -> Request | None:
        """Enter a request that is about to be made; None if the plan does not allow one now."""
        with self._database.transaction() as run:
            held = still(self._spent(run(SPENT)), plan, now)
            if len(held) >= plan.requests:
                return None
            name = self._name(now)
            run(
                "INSERT INTO requests (at, topic, page, attempt, name, state)"
                " VALUES (?, ?, ?, ?, ?, 'asked')",
                (now, topic, page, attempt, name),
            )
            (number,) = run("SELECT max(id) FROM requests").fetchone()
            held.append(spend(held, now))
            self._hold(run, held)
            budget = budget_of(held, plan, now).described(plan)
            self._remember(run, {"quota": {**budget, "as_of": iso(now)}})
        return Request(number, now, topic, page, attempt, name)

    def answered(self, request: Request, status: int, body: bytes, problem: str) -> None:
        """Enter that there is an answer, and keep its body, if there is one."""
        with self._database.transaction() as run:
            run(
                "UPDATE requests SET status = ?, problem = ? WHERE id = ?",
                (status, problem, request.id),
            )
        if body:
            write_whole(self._raw(request), body)

    def finish(self, request: Request, result: Result) -> None:
        """Enter what came of a request: all of it or, after a crash, nothing yet."""
        if result.articles:
            path = self.folder / "processed" / f"{request.name}.csv"
            write_whole(path, write_rows(result.articles).encode())
        news = json.dumps(result.notes) if result.articles or result.notes else None
        cursor = result.cursor
        with self._database.transaction() as run:
            for key in result.keys:
                run("INSERT INTO keys VALUES (?)", (key,))
            for reason, entries in result.dropped.items():
                run(
                    "INSERT INTO dropped VALUES (?, ?, ?) ON CONFLICT (topic, reason)"
                    " DO UPDATE SET entries = entries + excluded.entries",
                    (request.topic, reason, entries),
                )
            run(
                "UPDATE topics SET page = ?, since = ?, newest = ? WHERE topic = ?",
                (cursor.page, cursor.since, cursor.newest, request.topic),
            )
            if result.over:
                run("UPDATE topics SET turn = ? WHERE topic = ?", (request.id, request.topic))
            self._remember(run, result.memory)
            run(
                "UPDATE requests SET state = 'done', entries = ?, rows = ?, notes = ? WHERE id = ?",
                (result.entries, len(result.articles), news, request.id),
            )

    def drop(self, request: Request, state: Literal["lost", "retried"]) -> None:
        """Close a request of which nothing came but another try."""
        with self._database.transaction() as run:
            run("UPDATE requests SET state = ? WHERE id = ?", (state, request.id))

    def unfinished(self) -> list[Request]:
        """Return the requests that were asked but are not done, in order."""
        rows = self._database.rows(
            "SELECT id, at, topic, page, attempt, name, status, problem FROM requests"
            " WHERE state = 'asked' ORDER BY id"
        )
        return [Request(*row) for row in rows]

    def body(self, request: Request) -> bytes | None:
        """Return the body that came for a request; None if none was kept."""
        path = self._raw(request)
        return path.read_bytes() if path.exists() else None

    # --- what the next request depends on ---------------------------------------------------

    def seen(self, key: bytes) -> bool:
        """Return whether an article with this key is among the rows."""
        return bool(self._database.rows("SELECT 1 FROM keys WHERE key = ?", key))

    def cursor(self, topic: str, question: str) -> Cursor:
        """Return how far a topic was read; not at all if it asks another question now."""
        rows = self._database.rows(
            "SELECT page, since, newest FROM topics WHERE topic = ? AND question = ?",
            topic, question,
        )  # fmt: skip
        if rows:
            return Cursor(*rows[0])
        with self._database.transaction() as run:
            run(
                "INSERT INTO topics VALUES (?, ?, 0, 1, NULL, NULL) ON CONFLICT (topic)"
                " DO UPDATE SET question = excluded.question, page = 1, since = NULL,"
                " newest = NULL",
                (topic, question),
            )
        return Cursor()

    def turns(self) -> dict[str, int]:
        """Return the request that ended each topic's last turn; 0 if there was none."""
        return dict(self._database.rows("SELECT topic, turn FROM topics"))

    def last(self) -> int:
        """Return the number of requests so far, which is the id of the newest."""
        return int(self._database.rows("SELECT coalesce(max(id), 0) FROM requests")[0][0])

    def budget(self, plan: Plan, now: int) -> Budget:
        """Return what the plan still allows; what the clock tells of requests is kept."""
        spent = self._spent(self._database.rows(SPENT))
        held = still(spent, plan, now)
        if held != spent:
            with self._database.transaction() as run:  # read anew: another may have asked since
                held = still(self._spent(run(SPENT).fetchall()), plan, now)
                self._hold(run, held)
        return budget_of(held, plan, now)

    def recall(self, name: str) -> Any:
        """Return what was remembered under a name; None if nothing was."""
        rows = self._database.rows("SELECT value FROM memory WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else None

    def identity(self, now: int) -> str:
        """Return what tells this ledger from all others: when it was first asked for this."""
        if self.recall("identity") is None:
            self.remember({"identity": iso(now)})
        return str(self.recall("identity"))

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Remember things by name; JSON-ready."""
        with self._database.transaction() as run:
            self._remember(run, memory)

    # --- what was ingested ------------------------------------------------------------------

    def finished(self, after_id: int, limit: int = 100) -> list[Entry]:
        """Return the next requests that left rows or notes, in order.

        Parameters
        ----------
        after_id
            The last one that is known; 0 to begin with.
        limit
            At most so many.
        """
        rows = self._database.rows(
            "SELECT id, at, topic, rows, name, notes FROM requests"
            " WHERE notes IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
            after_id, limit,
        )  # fmt: skip
        return [
            Entry(number, at, topic, count, f"{name}.csv" if count else None, _notes(notes))
            for number, at, topic, count, name, notes in rows
        ]

    def place(self, entry: Entry) -> Path:
        """Return the file that holds an entry's rows."""
        return self.folder / "processed" / str(entry.processed)

    def text(self, entry: Entry) -> str:
        """Return the text of the file that holds an entry's rows.

        Raises
        ------
        InputError
            If it is gone.
        """
        path = self.place(entry)
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            message = "the ledger names this file, but it cannot be read; restore it"
            raise InputError(message, str(path)) from None

    def totals(self) -> dict[str, Any]:
        """Return what was ingested so far, JSON-ready."""
        topics: dict[str, dict[str, Any]] = {}
        for topic, requests, entries, rows in self._database.rows(
            "SELECT topic, count(*), sum(entries), sum(rows) FROM requests GROUP BY topic"
        ):
            topics[topic] = {"requests": requests, "articles": entries, "rows": rows}
        reasons: dict[str, dict[str, int]] = {topic: {} for topic in topics}
        dropped: dict[str, int] = {}
        for topic, reason, entries in self._database.rows(
            "SELECT topic, reason, entries FROM dropped"
        ):
            reasons[topic][reason] = entries
            dropped[reason] = dropped.get(reason, 0) + entries
        for topic, found in topics.items():
            found["dropped"] = ordered(reasons[topic])
        states = dict(self._database.rows("SELECT state, count(*) FROM requests GROUP BY state"))
        return {
            **{
                name: sum(found[name] for found in topics.values())
                for name in ("requests", "articles", "rows")
            },
            "dropped": ordered(dropped),
            "retried": states.get("retried", 0),
            "lost": states.get("lost", 0),
            "topics": topics,
            "quota": self.recall("quota"),
        }

    # ----------------------------------------------------------------------------------------

    def _raw(self, request: Request) -> Path:
        return self.folder / "raw" / f"{request.name}.json"

    def _name(self, now: int) -> str:
        """Return a name for the files of a request made now that no others have."""
        moment = iso(now).replace("-", "").replace(":", "")
        name = first = f"newsapi_{moment}"
        count = 0
        while (
            self._database.rows("SELECT 1 FROM requests WHERE name = ?", name)
            or (self.folder / "raw" / f"{name}.json").exists()
            or (self.folder / "processed" / f"{name}.csv").exists()
        ):
            count += 1
            name = f"{first}_{count}"
        return name

    @staticmethod
    def _spent(rows: Iterable[Sequence[int]]) -> list[Spent]:
        return [Spent(stamp, lowest) for stamp, lowest in rows]

    @staticmethod
    def _hold(run: Any, spent: Sequence[Spent]) -> None:
        """Keep these as the requests that count, instead of those of before."""
        run("DELETE FROM spent")
        for place, one in enumerate(spent):
            run("INSERT INTO spent VALUES (?, ?, ?)", (place, one.stamp, one.lowest))

    @staticmethod
    def _remember(run: Any, memory: Mapping[str, Any]) -> None:
        for name, value in memory.items():
            run("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, json.dumps(value)))


def _notes(text: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(text))


def _locked(folder: Path) -> IO[str]:
    """Make a data folder if it is not there and take it for this process."""
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        settle(folder)
        settle(folder.resolve().parent)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        message = f"the data folder cannot be written: {error.strerror}"
        raise InputError(message, str(folder)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        message = "another live run has this data folder; stop it, or set data to another"
        raise InputError(message, str(folder)) from None
    return lock
