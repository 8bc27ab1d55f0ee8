from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from engine.batch import concat_tables
from engine.errors import InputError
from engine.sources import tables
from engine.sources.blocks import BLOCK, Block, Source
from engine.sources.file import FileSource

DATA = Path(__file__).parents[3] / "scenarios" / "data"


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


def all_of(source: FileSource) -> Block:
    blocks = list(source.blocks())
    return Block(
        0,
        np.concatenate([block.times for block in blocks]),
        concat_tables([block.table for block in blocks]),
        np.concatenate([block.labels for block in blocks]),
    )


def same(one: Block, other: Block) -> bool:
    return (
        one.row == other.row
        and one.times.tolist() == other.times.tolist()
        and np.array_equal(one.table.numbers, other.table.numbers, equal_nan=True)
        and one.table.codes.tolist() == other.table.codes.tolist()
        and one.table.levels == other.table.levels
        and one.labels.tolist() == other.labels.tolist()
    )


def numbered(rows: int) -> str:
    return "i,c,y\n" + "".join(f"{i},{'ab'[i % 2]},{i % 3}\n" for i in range(rows))


# --- what is read -----------------------------------------------------------------------------


def test_columns_kinds_missing_values_and_labels(tmp_path: Path) -> None:
    text = (
        "n,c,b,y\n1,red,true,1.0\nNA,unknown,false,\n ?,,true,01\n-inf,NA,true,a b\n+2.5e1,x,,1\n"
    )
    source = FileSource(written(tmp_path, text), label="y")
    block = all_of(source)
    assert source.schema.numeric == ("n",)
    assert source.schema.categorical == ("c", "b")
    numbers = block.table.number("n")
    assert np.array_equal(numbers, [1, np.nan, np.nan, np.nan, 25], equal_nan=True)
    assert block.table.texts("c").tolist() == ["red", "unknown", None, "NA", "x"]
    assert block.table.texts("b").tolist() == ["true", "false", "true", "true", None]
    assert block.labels.tolist() == ["1.0", None, "01", "a b", "1"]
    assert source.rows == 5


@pytest.mark.parametrize(("texts", "kind"), [(30, "numeric"), (31, "categorical")])
def test_a_column_is_numeric_up_to_one_text_in_a_hundred(
    tmp_path: Path, texts: int, kind: str
) -> None:
    path = written(tmp_path, numbered(2970) + "x,a,1\n" * texts + ",,\n" * 500)
    source = FileSource(path, label="y")
    assert "i" in getattr(source.schema, kind)
    limited = FileSource(path, label="y", limit=10)
    assert limited.schema == source.schema
    assert limited.rows == 10 and limited.oddities == ()
    assert source.oddities[0].seq == 2970 and len(source.oddities) == (5 if texts == 30 else 1)


def test_overrides_win(tmp_path: Path) -> None:
    path = written(tmp_path, "n,c,y\n01,a,0\n1,b,1\n")
    source = FileSource(path, label="y", columns={"n": "categorical"})
    assert source.schema.numeric == ()
    assert all_of(source).table.texts("n").tolist() == ["01", "1"]


def test_quotes_newlines_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    text = '\ufeffa,"b\nc",y\n1,"two\nlines, one cell",x\n\n2,"say ""hi""","1,5"\n'
    block = all_of(FileSource(written(tmp_path, text), label="y"))
    assert block.table.texts("b\nc").tolist() == ["two\nlines, one cell", 'say "hi"']
    assert block.labels.tolist() == ["x", "1,5"]


def test_cells_with_newlines_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CSV_CHUNK_BYTES", 64)
    path = written(tmp_path, "c,y\n" + "".join(f'"a\nb\n{i}",x\n' for i in range(200)))
    block = all_of(FileSource(path, label="y"))
    assert block.table.texts("c").tolist() == [f"a\nb\n{i}" for i in range(200)]


def test_gzip_and_plain_are_the_same(tmp_path: Path) -> None:
    plain = FileSource(written(tmp_path, numbered(2500)), label="y")
    packed = FileSource(written(tmp_path, numbered(2500), "t.csv.gz"), label="y")
    assert all(map(same, plain.blocks(), packed.blocks()))
    assert [len(block) for block in packed.blocks()] == [BLOCK, BLOCK, 2500 - 2 * BLOCK]


def test_parquet_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None, 3]),
            "f": pa.array([0.5, float("inf"), None]),
            "b": pa.array([True, False, None]),
            "s": pa.array(["x", "", None]).dictionary_encode(),
            "digits": pa.array(["1", "2", "NA"]),
            "y": pa.array([1.0, 2.5, None]),
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    source = FileSource(tmp_path / "t.parquet", label="y")
    block = all_of(source)
    assert source.schema.numeric == ("i", "f", "digits")
    assert source.schema.categorical == ("b", "s")
    expected = [[1, 0.5, 1], [np.nan, np.nan, 2], [3, np.nan, np.nan]]
    assert np.array_equal(block.table.numbers, expected, equal_nan=True)
    assert block.table.texts("b").tolist() == ["true", "false", None]
    assert block.table.texts("s").tolist() == ["x", None, None]
    assert block.labels.tolist() == ["1", "2.5", None]


@pytest.mark.parametrize(
    ("labels", "texts"), [([1, 2, None], ["1", "2", None]), ([True, False], ["true", "false"])]
)
def test_parquet_labels_are_texts(tmp_path: Path, labels: list[Any], texts: list[Any]) -> None:
    parquet.write_table(pa.table({"x": [0.0] * len(labels), "y": labels}), tmp_path / "t.parquet")
    assert all_of(FileSource(tmp_path / "t.parquet", label="y")).labels.tolist() == texts


def test_regression_labels_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n1,2\n2,\n3,-1e3\n")
    source = FileSource(path, label="y", task="regression")
    labels = all_of(source).labels
    assert labels.dtype == np.float64
    assert np.array_equal(labels, [2, np.nan, -1000], equal_nan=True)
    assert source.schema.task == "regression"


DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("cells", "micros"),
    [
        (["1970-01-02", "1970-01-03"], [DAY, 2 * DAY]),
        (["1970-01-02T00:00:00Z", "1970-01-02T01:00:00+01:00"], [DAY, DAY]),
        (["1970-01-02 00:00:00.000001", "1970-01-02"], [DAY + 1, DAY]),
        (["1970-01-02T00:00:00Z", "1970-01-02", "86400.5"], [DAY, DAY, DAY + 500_000]),
        (["0", "-1.5"], [0, -1_500_000]),
        (["16.000064"], [16_000_064]),
        (["1700000000.123456"], [1_700_000_000_123_456]),
    ],
)
def test_time_column(tmp_path: Path, cells: list[str], micros: list[int]) -> None:
    path = written(tmp_path, "x,t,y\n" + "".join(f"1,{cell},a\n" for cell in cells))
    source = FileSource(path, label="y", time="t")
    assert source.schema.features == ("x",)
    assert all_of(source).times.tolist() == micros


@pytest.mark.parametrize(
    "column",
    [
        pa.array([DAY], pa.timestamp("us")),
        pa.array([DAY // 1000], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([1], pa.date32()),
        pa.array([86_400]),
        pa.array([86_400.0]),
    ],
)
def test_parquet_time_column(tmp_path: Path, column: Any) -> None:
    parquet.write_table(pa.table({"x": [1.0], "t": column, "y": ["a"]}), tmp_path / "t.parquet")
    source = FileSource(tmp_path / "t.parquet", label="y", time="t")
    assert all_of(source).times.tolist() == [DAY]


def test_made_times_go_on_from_block_to_block(tmp_path: Path) -> None:
    path = written(tmp_path, numbered(2000))
    source = FileSource(path, label="y", start=50, interval=Fraction(5, 2))
    (block,) = source.blocks(1)
    assert block.times[0] == 50 + BLOCK * 5 // 2


def test_shipped_tables() -> None:
    elec = FileSource(DATA / "elec2.csv.gz", label="label", ignore=["date"], shown="elec2.csv.gz")
    assert elec.rows == 45312
    assert elec.schema.categorical == ()
    assert "date" not in elec.schema.numeric
    data = (DATA / "elec2.csv.gz").read_bytes()
    assert elec.facts == {
        "path": "elec2.csv.gz",
        "sha256": hashlib.sha256(data).hexdigest(),
        "rows": 45312,
    }
    bank = FileSource(DATA / "bank_marketing.csv.gz", label="label", limit=2000)
    assert len(bank.schema.numeric) == len(bank.schema.categorical) == 10
    assert set(all_of(bank).labels) == {"yes", "no"}
    assert "unknown" in next(bank.blocks()).table.texts("default")


# --- blocks -----------------------------------------------------------------------------------


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.integers(1, 5 * BLOCK),
    start=st.integers(0, 6),
    limit=st.none() | st.integers(1, 5 * BLOCK),
    kind=st.sampled_from(["csv", "parquet"]),
    chunk=st.sampled_from([100, 1000, 5000]),
)
def test_blocks_from_anywhere_are_the_same(
    tmp_path: Path, rows: int, start: int, limit: int | None, kind: str, chunk: int
) -> None:
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        written(tmp_path, numbered(rows))
    else:
        columns = {"i": range(rows), "c": ["ab"[i % 2] for i in range(rows)], "y": ["k"] * rows}
        parquet.write_table(pa.table(columns), path, row_group_size=chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CSV_CHUNK_BYTES", chunk * 5)
        patch.setattr(tables, "PARQUET_CHUNK_ROWS", chunk)
        source = FileSource(path, label="y", limit=limit)
        whole = list(source.blocks())
        rest = list(source.blocks(start))
    used = rows if limit is None else min(rows, limit)
    assert source.rows == used == sum(map(len, whole))
    assert [block.row for block in whole] == list(range(0, used, BLOCK))
    assert all(len(block) == BLOCK for block in whole[:-1])
    values = np.concatenate([block.table.number("i") for block in whole])
    assert values.tolist() == list(range(used))
    assert len(rest) == len(whole[start:])
    assert all(map(same, rest, whole[start:]))


def test_only_chunks_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, numbered(20_000))
    monkeypatch.setattr(tables, "CSV_CHUNK_BYTES", 4096)
    source = FileSource(path, label="y")
    sizes = []
    read = tables.read_pieces

    def watched(*args: Any) -> Any:
        for row, piece in read(*args):
            sizes.append(len(piece))
            yield row, piece

    monkeypatch.setattr(tables, "read_pieces", watched)
    blocks = source.blocks()
    assert source.rows == 20_000
    before = len(sizes)
    next(blocks)
    assert sum(sizes[before:]) < 2 * BLOCK


# --- variants and draws -----------------------------------------------------------------------


def test_variant_is_another_file(tmp_path: Path) -> None:
    first = written(tmp_path, "n,c,y\n1,a,0\n2,b,1\n")
    written(tmp_path, "c,n,y\nz,7,0\n", "other.csv")
    source = FileSource(first, label="y", resolve=lambda name: tmp_path / name)
    other = source.variant({"path": "other.csv"})
    assert other.schema == source.schema
    assert other.facts["path"] == "other.csv"
    assert all_of(other).table.number("n").tolist() == [7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n,c,y\nx,a,0\n", "'x' is not a number"),
        ("n,y\n1,0\n", "no column 'c'"),
        ("n,c,d,y\n1,a,1,0\n", "same columns as t.csv, but it has d too"),
    ],
)
def test_variant_must_have_the_same_columns(tmp_path: Path, text: str, message: str) -> None:
    first = written(tmp_path, "n,c,y\n1,a,0\n2,b,1\n")
    written(tmp_path, text, "other.csv")
    source = FileSource(first, label="y", shown="t.csv", resolve=lambda name: tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        source.variant({"path": "other.csv"})
    assert caught.value.place == "other.csv"


@pytest.mark.parametrize("changes", [{}, {"path": 3}, {"path": "a.csv", "rows": [1, 2]}])
def test_variant_changes_the_path_only(tmp_path: Path, changes: dict[str, Any]) -> None:
    source = FileSource(written(tmp_path, numbered(3)), label="y")
    with pytest.raises(InputError, match="path only"):
        source.variant(changes)


def test_a_file_makes_no_records(tmp_path: Path) -> None:
    source: Source = FileSource(written(tmp_path, numbered(3)), label="y")
    assert source.pool(["0"], others=True) is None


# --- errors -----------------------------------------------------------------------------------


def opened(path: Path, **settings: Any) -> None:
    source = FileSource(path, **{"label": "y", "shown": "shown.csv", **settings})
    for _ in source.blocks():
        pass


def refused(path: Path, message: str, **settings: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        opened(path, **settings)
    assert caught.value.place == "shown.csv"
    assert "\n" not in str(caught.value)


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.csv", "no such file"),
    "folder": (lambda folder: folder, "is a folder"),
    "suffix": (lambda folder: written(folder, "x", "t.txt"), "must end in .csv or .csv.gz"),
    "empty": (lambda folder: written(folder, ""), "is empty"),
    "blank": (lambda folder: written(folder, "\n\n"), "is empty"),
    "empty gz": (lambda folder: written(folder, "", "t.csv.gz"), "is empty"),
    "header only": (lambda folder: written(folder, "x,y\n"), "holds no records"),
    "header, no newline": (lambda folder: written(folder, "x,y"), "holds no records"),
    "short row": (lambda folder: written(folder, "x,y\n1,2\n3\n"), "cannot be read as CSV"),
    "no gzip": (
        lambda folder: written(folder, "x,y\n1,2\n").rename(folder / "t.csv.gz"),
        "cannot be read as CSV",
    ),
    "no parquet": (lambda folder: written(folder, "x,y\n", "t.parquet"), "read as Parquet"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_cannot_be_read(tmp_path: Path, case: str) -> None:
    make, message = FILES[case]
    refused(make(tmp_path), message)


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00\x01\x02" * 50,
        bytes(range(256)),
        b"x,y\n1,\xff\xfe\n",
        gzip.compress(b"x", mtime=0)[:15],
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_binary_junk(tmp_path: Path, junk: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(junk)
    refused(tmp_path / name, "cannot be read as")


def test_truncated_gzip(tmp_path: Path) -> None:
    path = written(tmp_path, numbered(5000), "t.csv.gz")
    path.write_bytes(path.read_bytes()[:-500])
    refused(path, "cannot be read as CSV")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "lable"}, "label: there is no column 'lable', only .*mean 'label'"),
        ({"label": "label", "ignore": ["zzz"]}, "ignore: there is no column 'zzz'"),
        ({"label": "label", "time": "when"}, "time: there is no column 'when'"),
        ({"label": "label", "columns": {"f99": "numeric"}}, "columns: .* 'f99'"),
        ({"label": "label", "time": "label"}, "cannot be time or ignored"),
        ({"label": "label", "ignore": ["label"]}, "cannot be time or ignored"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    names = [f"f{i}" for i in range(20)]
    path = written(tmp_path, ",".join([*names, "label"]) + "\n" + ",".join(["1"] * 21) + "\n")
    refused(path, message, **settings)
    if "cannot" not in message:
        refused(path, "f11 and 9 more", **settings)


def test_other_columns_at_fault(tmp_path: Path) -> None:
    refused(written(tmp_path, "x,x,y\n1,2,3\n"), "columns of one name, x: rename")
    refused(written(tmp_path, "x,y\n1,3\n"), "no feature columns are left", ignore=["x"])
    refused(written(tmp_path, "y\n1\n"), "no feature columns are left")
    refused(written(tmp_path, "x;y\n1;3\n"), "separate columns by commas")
    parquet.write_table(pa.table({"x": [[1], [2]], "y": [1, 2]}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "column 'x' holds list")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"x": "numeric"}}, "row 1 .*, column 'x': 'a{10}.*\\.\\.\\. is not a num"),
        ({"label": "x", "task": "regression"}, "column 'x': 'aaa.*, and 2 of 3 values are none"),
        ({"time": "t"}, "row 1 .*, column 't': 'soon' is not a time, and 2 of 3 values are none"),
        ({"time": "u"}, "row 1 .*, column 'u': the empty cell is not a time"),
    ],
)
def test_columns_that_are_mostly_odd(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    good, odd = "1,1970-01-01,1,a\n" * 2, f"{'a' * 200},soon,,a\n" * 2
    opened(written(tmp_path, f"x,t,u,y\n{good}{odd}"), **settings)  # half of them may be
    refused(written(tmp_path, f"x,t,u,y\n{good[:17]}{odd}"), message, **settings)


def test_bytes_that_are_not_utf8_are_told_by_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b,c,y\n1,2,3,4\n1,2,\xff,4\n")
    refused(path, "row 1 .*: column 'c': invalid UTF8", ignore=["a"])
    path.write_bytes(b"a,\xff,c,y\n1,2,3,4\n")
    refused(path, "cannot be read as CSV")
