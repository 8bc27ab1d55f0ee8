"""Every row of the table in docs/data.md, as it says."""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from engine import flow
from engine.batch import Task
from engine.quantities import moment_micros
from engine.sources import tables as disk
from engine.sources.file import FileSource
from tests.e2e.driving import ROOT, differences, driftline, events, summary
from tests.e2e.tables import (
    COLUMNS,
    DULLARD,
    FORMATS,
    Cells,
    csv_text,
    good_rows,
    write,
    write_scenario,
)

Told = tuple[str, int, int]
TIMED = "time: t"
NAMED = "columns: {x: numeric}"


def documented() -> dict[str, str]:
    """Return the rows of the documented table: what, and how it is told."""
    found = re.findall(r"^\| (.+?) \| .+ \| (.+?) \|$", (ROOT / "docs/data.md").read_text(), re.M)
    return {what: told.replace("`", "") for what, told in found if what != "what"}


@dataclass(frozen=True)
class Case:
    """Odd cells in a good table, and what becomes of them.

    `told` are the anomalies (column, row, so far), `words` stand in what the first one or the
    refusal says, `reads` are cells as the engine has them.
    """

    cells: Cells
    told: list[Told] = field(default_factory=list)
    words: str = ""
    reads: dict[tuple[str, int], Any] = field(default_factory=dict)
    settings: str = ""
    task: Task = "classification"
    rows: int = 300


def several(column: str, rows: range, cell: str) -> Cells:
    return {(column, row): cell for row in rows}


LONG = "a" * 1001
CASES: dict[str, Case] = {
    "an empty cell, or one of blanks only": Case(
        {("x", 9): "", ("x", 10): "  ", ("c", 9): "", ("c", 10): " "},
        reads={("x", 9): None, ("x", 10): None, ("c", 9): None, ("c", 10): None},
    ),
    "`NA`, `N/A`, `NaN`, `NaT`, `null`, `None`, `?`, in any case, where a number or time is "
    "expected": Case(
        {
            **{("x", 9 + at): cell for at, cell in enumerate(["NA", "n/a", "Nan", "NULL", "?"])},
            ("z", 9): "none",
            ("z", 10): "-nan",
        },
        reads={**{("x", 9 + at): None for at in range(5)}, ("z", 9): None, ("z", 10): None},
    ),
    "the same in a categorical column": Case({("c", 9): "NaN"}, reads={("c", 9): "NaN"}),
    "infinity, or a number beyond 64 bits such as `1e400`": Case(
        {("x", 60): "inf", ("x", 61): "-Infinity", ("x", 70): "1e400", ("x", 80): "-1e999"},
        [("x", 60, 1), ("x", 61, 2), ("x", 80, 4)],
        "'inf' is infinite",
        {("x", 60): None, ("x", 80): None, ("x", 81): 4.0},
    ),
    "up to 1% of a column's values are not numbers": Case(
        {("x", 100): "abc", ("x", 200): "1,5", ("x", 201): "0x10"},
        [("x", 100, 1), ("x", 200, 2)],
        "'abc' is not a number",
        {("x", 99): 1.0, ("x", 100): None},
    ),
    "up to half of them are not": Case(
        several("x", range(100, 250), "abc"),
        [("x", 100, 1)],
        "50.0% of the values are not numbers: the column is categorical",
        {("x", 99): "1", ("x", 100): "abc"},
    ),
    "more than half of them are not": Case(
        several("x", range(100, 251), "abc"), reads={("x", 99): "1", ("x", 100): "abc"}
    ),
    "a text in a column that `columns` names numeric": Case(
        several("x", range(100, 104), "abc"),
        [("x", 100, 1), ("x", 101, 2), ("x", 103, 4)],
        "'abc' is not a number",
        {("x", 100): None},
        NAMED,
    ),
    "more than half are texts in a column that `columns` names numeric": Case(
        several("x", range(100, 251), "abc"),
        words="row 100 (the first is row 0), column 'x': 'abc' is not a number, and 151 of 300",
        settings=NAMED,
    ),
    "a category of more than 1,000 characters, or with a NUL byte": Case(
        {("c", 100): LONG, ("c", 101): "a\0b", ("c", 102): LONG[1:]},
        [("c", 100, 1), ("c", 101, 2)],
        "is too long",
        {("c", 100): None, ("c", 101): None, ("c", 102): LONG[1:]},
    ),
    "a column without a single value in a whole block of 1,024 rows": Case(
        {**several("x", range(1000, 2100), ""), **several("c", range(2048), "")},
        [("c", 0, 1), ("c", 1024, 2), ("x", 1024, 1)],
        "no value in 1,024 rows",
        {("x", 1024): None},
        rows=2100,
    ),
    "no label": Case({("y", 9): "", ("y", 200): " "}, reads={("y", 9): None, ("y", 200): None}),
    "labels that differ only in blanks, case or how a number is put: `1` and `1.0`": Case(
        {("y", 5): "1", ("y", 6): "1.0", ("y", 7): "Yes "},
        [("y", 6, 1), ("y", 7, 1)],
        "the label '1.0' is another one than '1'",
        {("y", 6): "1.0", ("y", 7): "Yes "},
    ),
    "a class called `NaN`, `NA`, `?` or the like": Case(
        several("y", range(8, 12), "NaN"), [("y", 8, 1)], "is a class of that name",
        {("y", 8): "NaN"},
    ),
    "a label of more than 1,000 characters, or with a NUL byte": Case(
        {("y", 100): LONG, ("y", 101): "\0"}, [("y", 100, 1), ("y", 101, 2)], "is too long",
        {("y", 100): None, ("y", 101): None},
    ),
    "regression: a label that is no number, or infinite": Case(
        {("z", 100): "inf", ("z", 101): "lots"}, [("z", 100, 1), ("z", 101, 1)], "'inf'",
        {("z", 100): None, ("z", 101): None}, task="regression",
    ),
    "regression: more than half of the labels are no numbers": Case(
        several("z", range(151), "lots"), words="'lots' is not a number", task="regression"
    ),
    "no event time, one that is none, or outside the years 1 to 8999": Case(
        {("t", 0): "", ("t", 100): "soon", ("t", 101): "9999-12-31", ("t", 102): "1e12",
         ("t", 200): "0000-01-01"},
        [("t", 0, 1), ("t", 100, 2), ("t", 102, 4)],
        "the empty cell is not a time",
        {("t", 0): "2024-01-01T01:00", ("t", 102): "2024-01-05T03:00"},
        TIMED,
    ),
    "more than half of the event times are none": Case(
        several("t", range(151), "soon"), words="'soon' is not a time", settings=TIMED
    ),
    "event times that go back": Case(
        {("t", 100): "1999-01-01", ("t", 120): "2023-12-31T10:00"},
        [("t", 100, 1), ("t", 120, 2)],
        "'1999-01-01' is before a time that has passed",
        {("t", 100): "1999-01-01", ("t", 101): "2024-01-05T05:00"},
        TIMED,
    ),
    "an event time further ahead than all before it are apart (from row 100 on)": Case(
        {("t", 50): "2024-02-01", ("t", 200): "2999-01-01"},
        [("t", 51, 1), ("t", 52, 2), ("t", 54, 4), ("t", 58, 8), ("t", 66, 16), ("t", 82, 32),
         ("t", 114, 64), ("t", 178, 128), ("t", 200, 1)],
        "before a time that has passed",
        {("t", 200): "2999-01-01"},
        TIMED,
    ),
    "event times that are all equal": Case(
        several("t", range(300), "2024-01-01"), [("t", 0, 1)], "all times are equal",
        settings=TIMED,
    ),
    "event times with zones, without, and mixed": Case(
        {("t", 1): "2024-01-01T03:00+02:00", ("t", 2): "2024-01-01T02:00Z", ("t", 3): "1704078000"},
        reads={("t", 1): "2024-01-01T01:00", ("t", 2): "2024-01-01T02:00",
               ("t", 3): "2024-01-01T03:00"},
        settings=TIMED,
    ),
}  # fmt: skip
"""What is odd about cells, in any format."""

NEEDS_CSV = csv_text(good_rows(60))
FILES: dict[str, tuple[str, bytes, str]] = {
    "quoted commas and line ends, CRLF, a byte order mark, blank lines": (
        "t.csv",
        b"\xef\xbb\xbf" + csv_text(good_rows(60, {("c", 3): 'a,"b"\nc'})).replace(
            "\n0,", "\n\n0,").replace("\n", "\r\n").encode(),
        "",
    ),
    "a row with too few or too many cells": (
        "t.csv", NEEDS_CSV.encode() + b"1,2,3\n", "row 60 (the first is row 0): Expected 5"),
    "bytes that are not UTF-8": (
        "t.csv", NEEDS_CSV.encode() + b"1,2,\xff,3,no\n", "first is row 0): column 'c'"),
    "two columns of one name": ("t.csv", NEEDS_CSV.replace("z", "x", 1).encode(), "one name, x"),
    "a label column without any feature": ("t.csv", b"y\nno\nyes\n", "no feature columns"),
    "fewer rows than the first model needs": (
        "t.csv", csv_text(good_rows(1)).encode(), "first (50) is more than the source's 1 rows"),
    "a file that ends too soon: a broken `.gz`, a Parquet file without its end": (
        "t.csv.gz", gzip.compress(NEEDS_CSV.encode())[:-20], "cannot be read as CSV"),
}  # fmt: skip
"""What is odd about files: the file's name and bytes, and words of the refusal."""

Special = Callable[[Path, pytest.MonkeyPatch], None]
SPECIAL: dict[str, Special] = {}


def special(*whats: str) -> Callable[[Special], Special]:
    """Let a function stand for rows of the table."""

    def add(function: Special) -> Special:
        SPECIAL.update(dict.fromkeys(whats, function))
        return function

    return add


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the models of other tests' folders."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("dullard", None)


def anomalies(out: Path) -> list[dict[str, Any]]:
    """Return the anomalies of a run that are about its data, in order of records."""
    found = [event for event in events(out) if event["kind"] == "anomaly" and "column" in event]
    return sorted(found, key=lambda event: int(event["n"]))


def refused(path: Path, words: str) -> None:
    """Assert that a scenario is refused in one line, by check and run, and nothing is made."""
    out = path.parent / "out"
    for answer in (driftline("check", path), driftline("run", path, "--out", out)):
        assert answer.code == 2, answer
        assert len(answer.err.splitlines()) == 1 and words in answer.err
    assert not out.exists()


def cell_of(source: FileSource, column: str, row: int) -> Any:
    """Return a cell as the engine has it."""
    *_, block = source.blocks(row // 1024)
    blocks = [one for one in source.blocks(row // 1024) if one.row <= row]
    block, at = blocks[-1], row - blocks[-1].row
    if column == source.time:
        return int(block.times[at])
    if column == source.label:
        value = block.labels[at]
    elif column in source.schema.numeric:
        value = block.table.number(column)[at]
    else:
        value = block.table.texts(column)[at]
    return None if value != value else value


def test_every_row_of_the_table_is_tested() -> None:
    tested = {*CASES, *FILES, *SPECIAL}
    assert tested == set(documented())
    assert len(tested) == len(CASES) + len(FILES) + len(SPECIAL)


@pytest.mark.parametrize("what", CASES)
def test_odd_cells(what: str, tmp_path: Path) -> None:
    case, told = CASES[what], documented()[what]
    found = []
    for file in FORMATS:
        write(tmp_path / file, good_rows(case.rows, case.cells))
        path = write_scenario(tmp_path, file, case.settings, case.task)
        if told == "exit 2":
            refused(path, case.words)
            continue
        source = FileSource(
            tmp_path / file,
            label="y" if case.task == "classification" else "z",
            task=case.task,
            time="t" if case.settings == TIMED else None,
            columns={"x": "numeric"} if case.settings == NAMED else None,
        )
        for (column, row), value in case.reads.items():
            value = moment_micros(value) if column == source.time else value
            assert cell_of(source, column, row) == value, (file, column, row)
        found.append((source.oddities, source.notes))
    if told == "exit 2":
        return
    assert found[1:] == found[:1] * 2
    out = tmp_path / "out"
    answer = driftline("run", path, "--out", out)
    assert answer.code == 0, answer.err
    events_told = [(e["column"], e["row"], e["so_far"]) for e in anomalies(out)]
    assert events_told == case.told
    assert all(event["seq"] == event["row"] for event in anomalies(out))
    assert bool(events_told) == (told == "anomaly") == ("note: " in answer.err)
    if events_told:
        assert case.words in anomalies(out)[0]["what"]
        assert case.words in answer.err


@pytest.mark.parametrize("what", FILES)
def test_odd_files(what: str, tmp_path: Path) -> None:
    name, data, words = FILES[what]
    (tmp_path / name).write_bytes(data)
    path = write_scenario(tmp_path, name)
    if documented()[what] == "exit 2":
        return refused(path, words)
    assert driftline("run", path, "--out", tmp_path / "out").code == 0
    assert summary(tmp_path / "out")["total"]["records"] == 60
    assert cell_of(FileSource(tmp_path / name, label="y"), "c", 3) == 'a,"b"\r\nc'
    return None


@pytest.mark.parametrize("what", SPECIAL)
def test_what_else_is_odd(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SPECIAL[what](tmp_path, monkeypatch)


@special("a row of more than 64 MiB")
def long_rows(folder: Path, patch: pytest.MonkeyPatch) -> None:
    assert disk.CSV_ROW_BYTES_MAX == 64 << 20
    patch.setattr(disk, "CSV_CHUNK_BYTES", 1 << 12)
    patch.setattr(disk, "CSV_ROW_BYTES_MAX", 1 << 16)
    path = write_scenario(folder, "t.csv")
    write(folder / "t.csv", good_rows(60, {("c", 50): "a" * 10_000}))
    assert driftline("check", path).code == 0
    write(folder / "t.csv", good_rows(60, {("c", 50): "a" * 1_000_000}))
    refused(path, "a row is longer than 65,536 bytes")


@special("10,000 columns")
def ten_thousand_columns(folder: Path, patch: pytest.MonkeyPatch) -> None:
    names = [f"x{at}" for at in range(10_000)]
    lines = [",".join([*names, "y"])]
    lines += [",".join([str((at + row) % 9) for at in range(10_000)] + ["no"]) for row in range(60)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    path = write_scenario(folder, "t.csv", more="detectors: [{kind: page_hinkley, on: features}]\n")
    assert driftline("run", path, "--out", folder / "out").code == 0
    assert summary(folder / "out")["total"]["predicted"] == 10


@special("a number beyond 32 bits such as `1e39`", "a label that is none of the champion's classes")
def what_only_a_model_finds_odd(folder: Path, patch: pytest.MonkeyPatch) -> None:
    cells = {("x", 9): "1e39", **several("y", range(200, 205), "maybe")}
    write(folder / "t.csv", good_rows(300, cells))
    model = "model={kind: catboost, iterations: 2, depth: 2}"
    path = write_scenario(folder, "t.csv")
    assert driftline("run", path, "--out", folder / "out", "--set", model).code == 0
    found = [event for event in events(folder / "out") if event["kind"] == "anomaly"]
    assert "numbers too large for 32 bits count as infinite in x" in found[0]["what"]
    assert [(event["seq"], event["of_seq"], event["so_far"]) for event in found[1:]] == [
        (200, 200, 1), (201, 201, 2), (203, 203, 4),
    ]  # fmt: skip
    assert "'maybe' is none of the champion's classes" in found[1]["what"]


def typed(folder: Path, **columns: Any) -> FileSource:
    labels = [["no", "yes"][at % 2] for at in range(60)]
    table = {name: column.take(pa.array([0, 1] * 30)) for name, column in columns.items()}
    parquet.write_table(pa.table({**table, "one": [1.0] * 60, "y": labels}), folder / "t.parquet")
    return FileSource(folder / "t.parquet", label="y")


@special("Parquet: integers, floats, decimals, also as dictionaries")
def numbers_in_parquet(folder: Path, patch: pytest.MonkeyPatch) -> None:
    plain = pa.array([1, 2], pa.int8())
    types = [pa.int64(), pa.uint64(), pa.float32(), pa.float16(), pa.decimal128(9, 2)]
    types += [pa.decimal256(50, 2)]
    columns = {str(kind): plain.cast(kind) for kind in types}
    source = typed(folder, dictionary=plain.dictionary_encode(), nothing=pa.nulls(2), **columns)
    assert source.schema.categorical == ()
    table = next(source.blocks()).table
    assert all(table.number(name)[:2].tolist() == [1, 2] for name in [*columns, "dictionary"])
    assert source.notes == ()


@special("Parquet: booleans, dates, timestamps, times, durations as features")
def moments_in_parquet(folder: Path, patch: pytest.MonkeyPatch) -> None:
    plain = pa.array([1, 2])
    kinds = [pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.time64("us"), pa.duration("s")]
    columns = {str(kind): plain.cast(kind) for kind in kinds}
    columns |= {"date": pa.array([1, 2], pa.date32()), "boolean": pa.array([True, None])}
    source = typed(folder, **columns)
    assert source.schema.numeric == ("one",)
    table = next(source.blocks()).table
    assert table.texts("boolean")[:2].tolist() == ["true", None]
    assert table.texts("date")[:2].tolist() == ["1970-01-02", "1970-01-03"]
    assert source.oddities == ()


@special("Parquet: lists, structs, maps, binary")
def nested_in_parquet(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = write_scenario(folder, "t.parquet")
    for column in (
        pa.array([[1], [2]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([b"ab", b"cd"]),
        pa.array([b"ab", b"cd"], pa.binary(2)),
        pa.array([b"ab", b"cd"], pa.large_binary()),
    ):
        typed(folder, odd=column)
        refused(path, "column 'odd' holds")


@special("only a header, no byte at all, a folder, a pipe")
def no_tables(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "header.csv").write_text(",".join(COLUMNS))
    (folder / "empty.csv").write_bytes(b"")
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "empty.csv.gz").write_bytes(gzip.compress(b""))
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    for name, words in {
        "header.csv": "holds no records",
        "empty.csv": "is empty",
        "empty.parquet": "is empty",
        "empty.csv.gz": "is empty",
        "folder.csv": "is a folder",
        "pipe.csv": "is no ordinary file",
    }.items():
        refused(write_scenario(folder, name), words)


# --- files that do not stay as they are -------------------------------------------------------

CHANGES = {
    "grows": "path.open('a').write('1,1,r,2024-01-01,no\\n')",
    "shrinks": "path.write_bytes(path.read_bytes()[:99_000])",
    "is replaced": "path.with_name('new').write_bytes(path.read_bytes()); "
    "path.with_name('new').replace(path)",
    "is deleted": "path.unlink()",
}
NEWLY = "a file that grows, shrinks, is replaced or deleted "


@special(NEWLY + "before the run begins")
def changed_before(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = write_scenario(folder, "t.csv")
    data = write(folder / "t.csv", good_rows(6000))
    checksum = FileSource.sha256.func  # type: ignore[attr-defined]
    for name, change in CHANGES.items():
        write(data, good_rows(6000))

        def changed(source: FileSource, change: str = change) -> Any:
            exec(change, {"path": data})
            return checksum(source)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(FileSource, "sha256", property(changed))
            answer = driftline("run", path, "--out", folder / "out")
        assert answer.code == 2 and len(answer.err.splitlines()) == 1, (name, answer)
        assert ("is gone" if name == "is deleted" else "has changed") in answer.err
        assert not (folder / "out").exists()


@special(NEWLY + "while it is read")
def changed_while_read(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "CSV_CHUNK_BYTES", 1 << 14)
    patch.setattr(flow, "batch_rows", lambda schema: 100)  # else all is read before the first fit
    for number, (name, change) in enumerate(CHANGES.items()):
        data = write(folder / "t.csv", good_rows(6000))
        path = write_scenario(folder, "t.csv")
        changes = f"def fit(self, frame, labels):\n        path = pathlib.Path({str(data)!r})"
        spoilt = DULLARD.replace("def fit(self, frame, labels):", f"{changes}\n        {change}")
        (folder / "dullard.py").write_text(spoilt)
        out = folder / str(number)
        answer = driftline("run", path, "--out", out, "--batch-size", 100)
        assert answer.code == 1 and "Traceback" not in answer.err, (name, answer)
        *_, last = events(out)
        assert last["kind"] == "stream_failed"
        assert ("is gone" if name == "is deleted" else "has changed") in last["reason"]
        assert 500 <= summary(out)["total"]["records"] < 6000


def test_a_stream_whose_file_changes_lets_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "batch_rows", lambda schema: 100)
    write(tmp_path / "t.csv", good_rows(3000))
    other = write(tmp_path / "other.csv", good_rows(3000))
    script = (
        "streams: 2\nscript:\n  - {kind: concept, at: 2000, to: {path: other.csv}, streams: [1]}\n"
    )
    path = write_scenario(tmp_path, "t.csv", more=script)
    change = f"self.gone = pathlib.Path({str(other)!r}).unlink(missing_ok=True)"
    (tmp_path / "dullard.py").write_text(
        DULLARD.replace("return self", f"{change}\n        return self", 1)
    )
    out = tmp_path / "out"
    assert driftline("run", path, "--out", out, "--batch-size", 100).code == 1
    streams = summary(out)["streams"]
    assert streams["bad-0000"]["records"] == 3000
    assert 1000 < streams["bad-0001"]["records"] < 2049
    (failed,) = [event for event in events(out) if event["kind"] == "stream_failed"]
    assert failed["stream"] == "bad-0001" and "other.csv: is gone" in failed["reason"]


# --- all at once ------------------------------------------------------------------------------

SPOILT: dict[tuple[str, int], str] = {
    **several("x", range(1010, 1030), "inf"),
    **several("x", range(30, 900, 90), "abc"),
    **several("c", range(1100, 1104), LONG),
    **several("t", range(1020, 1030), "soon"),
    **several("t", range(300, 310), "2020-01-01"),
    **several("y", range(700, 710), ""),
    **several("y", range(1200, 1300), "maybe"),
    **several("z", range(600, 610), "?!"),
}
FAULTS = """\
script:
  - {kind: duplicates, at: 0, until: 1500, share: 0.2}
  - {kind: out_of_order, at: 100, until: 1500, share: 0.2, by: 40}
  - {kind: outage, at: 1005, until: 1015}
"""


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_batches_and_formats_change_nothing(task: Task, tmp_path: Path) -> None:
    outs = []
    for file, size in (("t.csv", 1024), ("t.csv", 7), ("t.csv", 1), ("t.csv.gz", 1024),
                       ("t.parquet", 1024)):  # fmt: skip
        write(tmp_path / file, good_rows(1500, SPOILT))
        path = write_scenario(tmp_path, file, TIMED, task, FAULTS)
        outs.append(tmp_path / f"{file}-{size}")
        assert driftline("run", path, "--out", outs[-1], "--batch-size", size).code == 0
    for out in outs[1:]:
        apart = set(differences(outs[0], out))
        assert apart <= ({"run.json"} if "csv-" not in out.name else set())
    found = anomalies(outs[0])
    assert {event["column"] for event in found} == {"x", "z", "c", "t"}
    late = [event["seq"] for event in found]
    assert late == sorted(late) and all(event["seq"] != event["row"] for event in found[3:])


def test_a_changed_source_tells_of_its_rows_too(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", good_rows(300))
    write(tmp_path / "other.csv", good_rows(300, several("x", range(40, 240, 99), "abc")))
    script = "script:\n  - {kind: concept, at: 100, until: 200, to: {path: other.csv}}\n"
    path = write_scenario(tmp_path, "t.csv", more=script)
    assert driftline("run", path, "--out", tmp_path / "out").code == 0
    (found,) = anomalies(tmp_path / "out")
    assert (found["row"], found["script"], found["so_far"]) == (139, 0, 2)


def test_what_is_told_is_bounded(tmp_path: Path) -> None:
    names = [f"x{at}" for at in range(1200)]
    lines = [",".join([*names, "y"]), *(",".join(["1"] * 1200 + ["no"]) for _ in range(59))]
    lines.append(",".join(["inf"] * 1200 + ["no"]))
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    source = FileSource(tmp_path / "t.csv", label="y")
    assert len(source.oddities) == 1000
    assert source.oddities[-1].details["what"].startswith("more is odd: 201 further anomalies")
    assert len(source.notes) == 21 and source.notes[-1] == "and 1,180 more"
