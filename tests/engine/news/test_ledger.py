"""The ledger: all or nothing, one writer, any number of readers, and honest about damage."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InputError, MachineError
from engine.news.articles import read_body, read_rows, sort_out
from engine.news.database import APPLICATION
from engine.news.ledger import FILE, Cursor, Entry, Ledger, Request, Result
from engine.news.settings import Plan
from tests.engine.news.newsapi import article, articles

PLAN = Plan(requests=1000, per="12h")
NOW = 1_700_000_000_000_000


def ask(ledger: Ledger, now: int = NOW, topic: str = "science") -> Request:
    ledger.cursor(topic, "")
    request = ledger.ask(topic, 1, 1, PLAN, now)
    assert request is not None
    return request


def result_of(ledger: Ledger, request: Request, *numbers: int) -> Result:
    body = articles([article(number) for number in numbers]).body
    found = sort_out(read_body(body), request.topic, request.at, ledger.seen)
    return Result(Cursor(), True, len(numbers), found.articles, found.keys, found.dropped)


def ingest(ledger: Ledger, *numbers: int, now: int = NOW) -> Request:
    request = ask(ledger, now)
    ledger.answered(request, 200, b"{}", "")
    ledger.finish(request, result_of(ledger, request, *numbers))
    return request


def test_a_request_from_asking_to_reading(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "data") as ledger:
        request = ask(ledger)
        assert ledger.unfinished() == [request] and ledger.body(request) is None
        ledger.answered(request, 200, b"{...}", "")
        assert ledger.unfinished() == [replace(request, status=200)]
        assert ledger.body(request) == b"{...}"
        assert ledger.finished(0) == []
        note = {"what": "odd", "topic": "science"}
        result = result_of(ledger, request, 1, 2, 1)
        ledger.finish(request, replace(result, notes=(note,), memory={"watch": [1]}))
        (entry,) = ledger.finished(0)
        name = "newsapi_20231114T221320.000000Z"
        assert entry == Entry(1, NOW, "science", 2, f"{name}.csv", (note,))
        assert [row.title for row in read_rows(ledger.text(entry))] == ["Title 1", "Title 2"]
        assert ledger.unfinished() == [] and ledger.recall("watch") == [1]
        assert (tmp_path / "data" / "raw" / f"{name}.json").read_bytes() == b"{...}"
        assert ledger.turns() == {"science": 1}
        assert ledger.seen(result.keys[0]) and not ledger.seen(b"x" * 16)


def test_totals_count_everything_once(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 1, 2, 2)
        ingest(ledger, 2, 3, now=NOW + 1)
        ledger.drop(ask(ledger, NOW + 2, "art"), "lost")
        totals = ledger.totals()
        assert (totals["requests"], totals["articles"], totals["rows"]) == (3, 5, 3)
        assert totals["dropped"] == {"duplicate": 2} and totals["lost"] == 1
        assert totals["topics"]["art"]["rows"] == 0
        assert totals["quota"]["used"] == 3 and totals["quota"]["left"] == 997


def test_what_left_nothing_to_see_is_passed_over_and_lists_are_bounded(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for number in range(5):
            ingest(ledger, number, number, now=NOW + number)
        ingest(ledger, 1, now=NOW + 9)
        assert [entry.id for entry in ledger.finished(0)] == [1, 2, 3, 4, 5]
        assert [entry.id for entry in ledger.finished(1, limit=2)] == [2, 3]


def test_a_result_is_entered_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        request = ask(ledger)
        result = result_of(ledger, request, 1)
        twice = replace(result, keys=result.keys * 2, dropped={"no_url": 1})
        with pytest.raises(MachineError, match="UNIQUE"):
            ledger.finish(request, twice)
        assert not ledger.seen(result.keys[0]) and ledger.totals()["dropped"] == {}
        assert ledger.unfinished() == [request]
        ledger.finish(request, result)
        assert ledger.totals()["rows"] == 1


def test_no_name_is_used_twice(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "newsapi_20231114T221320.000000Z.json").write_text("of before")
    with Ledger.open(tmp_path) as ledger:
        names = [ask(ledger, now).name for now in (NOW, NOW, NOW + 1, NOW)]
        assert [name[31:] for name in names] == ["_1", "_2", "", "_3"] and len(set(names)) == 4


def test_a_plan_that_is_spent_gives_no_request_after_a_restart_either(tmp_path: Path) -> None:
    plan = Plan(requests=2, per="12h")
    for _ in range(2):
        with Ledger.open(tmp_path) as ledger:
            assert ledger.ask("science", 1, 1, plan, NOW) is not None
    with Ledger.open(tmp_path) as ledger:
        assert ledger.ask("science", 1, 1, plan, NOW) is None
        assert ledger.budget(plan, NOW).next_at == NOW + plan.per_micros
        assert ledger.last() == 2


def test_a_request_entered_while_another_thread_looks_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, later = Plan(requests=3, per="1h"), NOW + 2 * 3_600_000_000
    with Ledger.open(tmp_path) as ledger:
        assert ledger.ask("science", 1, 1, plan, NOW) is not None
        rows = ledger._database.rows

        def interrupted(query: str, *values: object) -> list[object]:
            found = rows(query, *values)
            monkeypatch.undo()
            assert ledger.ask("science", 1, 1, plan, later) is not None
            return found

        monkeypatch.setattr(ledger._database, "rows", interrupted)
        assert ledger.budget(plan, later).used == 1
        assert ledger.budget(plan, later).used == 1, "and is not forgotten"


def test_a_clock_that_was_ahead_is_remembered_to_have_been_put_right(tmp_path: Path) -> None:
    plan = Plan(requests=1, per="12h")
    with Ledger.open(tmp_path) as ledger:
        assert ledger.ask("science", 1, 1, plan, NOW * 2) is not None
        told = ledger.budget(plan, NOW).next_at
        assert ledger.budget(plan, NOW + 60_000_000).next_at == told == NOW + plan.per_micros


def test_a_topic_that_asks_something_else_begins_anew(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        request = ask(ledger)
        ledger.finish(request, Result(Cursor(2, 5, 7), False))
        assert ledger.cursor("science", "") == Cursor(2, 5, 7)
        assert ledger.turns() == {"science": 0}
        assert ledger.cursor("science", "another") == Cursor()
        assert ledger.cursor("science", "another") == Cursor()


def test_half_files_are_swept_up(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 1)
    halves = [tmp_path / folder / ".newsapi_x.partial" for folder in ("raw", "processed")]
    for half in halves:
        half.write_text("half")
    with Ledger.open(tmp_path):
        assert not any(half.exists() for half in halves)
        assert len(list((tmp_path / "raw").iterdir())) == 1


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Ledger.open(tmp_path):
        with pytest.raises(InputError, match="another live run has this data folder; stop it"):
            Ledger.open(tmp_path)
        script = "import sys; from pathlib import Path; from engine.news.ledger import Ledger\n"
        script += "Ledger.open(Path(sys.argv[1]))"
        done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True)
        assert b"InputError" in done.stderr and b"another live run" in done.stderr
    Ledger.open(tmp_path).close()


def test_others_read_while_one_writes(tmp_path: Path) -> None:
    found: list[int] = []
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 0)

        def follow(own: Ledger) -> None:
            after = 0
            while after < 40:
                for entry in own.finished(after):
                    assert len(read_rows(own.text(entry))) == 1
                    after = entry.id
            found.append(after)

        with Ledger.read(tmp_path) as outside:
            readers = [threading.Thread(target=follow, args=(one,)) for one in (ledger, outside)]
            for reader in readers:
                reader.start()
            for number in range(1, 40):
                ingest(ledger, number, now=NOW + number)
            for reader in readers:
                reader.join(20)
            with pytest.raises(MachineError, match="readonly"):
                outside.remember({"a": 1})
    assert found == [40, 40]


def test_a_closed_ledger_is_closed_for_all_threads(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 1)
    with pytest.raises(MachineError, match="closed"):
        ledger.totals()
    with pytest.raises(MachineError, match="closed"):
        ask(ledger)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no ledger here"):
        Ledger.read(tmp_path)


def test_a_file_of_rows_that_is_gone_is_named(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 1)
        (entry,) = ledger.finished(0)
        (tmp_path / "processed" / str(entry.processed)).unlink()
        with pytest.raises(InputError, match=r"newsapi_.*\.csv: the ledger names this file"):
            ledger.text(entry)


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE somebodys (x)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute(f"PRAGMA application_id = {APPLICATION}")
        other.execute("PRAGMA user_version = 99")
        other.execute("CREATE TABLE requests (x)")


def damaged(path: Path) -> None:
    with Ledger.open(path.parent) as ledger:
        for number in range(50):
            ingest(ledger, number)
    content = bytearray(path.read_bytes())
    content[4096:-4096] = bytes(len(content) - 8192)
    path.write_bytes(content)


def beheaded(path: Path) -> None:
    path.write_bytes(b"no SQLite file at all" * 100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (foreign, "this is no ledger of Driftline"),
        (beheaded, "this is no ledger of Driftline"),
        (newer, "the ledger has version 99, not 1"),
        (damaged, "the ledger is damaged; restore it"),
        (Path.mkdir, "the ledger cannot be opened"),
    ],
)
def test_a_file_that_is_no_sound_ledger_is_left_as_it_is(
    tmp_path: Path, make: object, message: str
) -> None:
    path = tmp_path / FILE
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    for look in (Ledger.open, Ledger.read) if before else (Ledger.open,):
        with pytest.raises(InputError, match=message):
            look(tmp_path)
    assert (path.read_bytes() if before else None) == before


def test_the_beginnings_of_a_ledger_are_gone_on_with(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as beginnings:
        beginnings.execute("PRAGMA journal_mode = WAL")
        beginnings.execute("CREATE TABLE x (y)")
        beginnings.execute("DROP TABLE x")
    beginnings.close()
    with Ledger.open(tmp_path) as ledger:
        assert ledger.totals()["requests"] == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match="data: the data folder cannot be written"):
        Ledger.open(tmp_path / "data")
