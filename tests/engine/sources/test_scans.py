from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from engine.batch import Floats, Ints
from engine.errors import InputError
from engine.sources.blocks import BLOCK
from engine.sources.file import FileSource
from engine.sources.oddities import WHATS, Clock, Tally

DAY = 86_400_000_000


def source_of(folder: Path, header: str, rows: list[str], **settings: Any) -> FileSource:
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return FileSource(path, **{"label": "y", **settings})


def told(source: FileSource) -> list[tuple[str, int, int]]:
    return [(m.details["column"], m.seq, m.details["so_far"]) for m in source.oddities]


@pytest.mark.parametrize("sizes", [[1], [3, 4], [1] * 40, [40], [0, 17, 0, 23]])
def test_a_tally_does_not_depend_on_how_cells_are_cut(sizes: list[int]) -> None:
    odd = np.arange(sum(sizes) + 5) % 3 != 0
    tally, start = Tally("x", "number"), 0
    for size in sizes:
        tally.add(odd[start : start + size], start, lambda at: "cell")
        start += size
    rows = np.flatnonzero(odd[:start]).tolist()
    assert tally.count == len(rows)
    doubled = [1 << power for power in range(8) if 1 << power <= len(rows)]
    assert [(row, count) for row, count, _ in tally.told] == [(rows[n - 1], n) for n in doubled]


def test_times_are_carried_from_block_to_block(tmp_path: Path) -> None:
    rows = [f"1,{row + 1000},a" for row in range(3 * BLOCK)]
    for row in (0, 1, *range(BLOCK - 2, BLOCK + 3), *range(2 * BLOCK, 2 * BLOCK + 2)):
        rows[row] = "1,soon,a"
    source = source_of(tmp_path, "x,t,y", rows, time="t")
    seconds: Ints = np.concatenate([block.times for block in source.blocks()]) // 1_000_000
    assert seconds[:3].tolist() == [1002, 1002, 1002]
    assert seconds[BLOCK - 3 : BLOCK + 4].tolist() == [BLOCK + 997] * 6 + [BLOCK + 1003]
    for number in (1, 2):
        (first, *_) = source.blocks(number)
        assert first.times[0] // 1_000_000 == seconds[number * BLOCK]
    assert {column for column, _, _ in told(source)} == {"t"}


def test_no_time_in_whole_blocks(tmp_path: Path) -> None:
    rows = ["1,,a"] * BLOCK + ["1,5,a"] * (2 * BLOCK) + ["1,,a"] * 10
    source = source_of(tmp_path, "x,t,y", rows, time="t")
    assert all((block.times == 5_000_000).all() for block in source.blocks())
    (last,) = source.blocks(3)
    assert (last.times == 5_000_000).all()


def test_the_clock_goes_on_where_it_was() -> None:
    whole, parts = Clock(), Clock()
    times = np.array([5, 6, 4, 7, 99, 8, 300])
    back, jump = whole.follow(times, row=200)
    found = [parts.follow(times[at : at + 2], row=200 + at) for at in range(0, 7, 2)]
    assert np.concatenate([one for one, _ in found]).tolist() == back.tolist()
    assert np.concatenate([other for _, other in found]).tolist() == jump.tolist()
    assert np.flatnonzero(back).tolist() == [2, 5] and np.flatnonzero(jump).tolist() == [4, 6]
    assert whole.moved and parts.moved


def test_a_text_among_numbers_is_found_whatever_stands_beside_it(tmp_path: Path) -> None:
    cells = ["1", "+2", " 3", "nan(1)", "4.", ".5", "1e400", "one", "NaN", "+nan", "1_000"]
    alone: list[Floats] = []
    for cell in cells:
        source = source_of(tmp_path, "x,y", [f"{cell},a"], columns={"x": "numeric"})
        try:
            alone.append(next(source.blocks()).table.number("x"))
        except InputError:
            alone.append(np.array([np.nan]))
    rows = [f"{cell},a" for cell in [*cells, *["7"] * 300]]
    together = next(source_of(tmp_path, "x,y", rows, columns={"x": "numeric"}).blocks())
    assert np.array_equal(
        together.table.number("x")[: len(cells)], np.concatenate(alone), equal_nan=True
    )
    assert np.isnan(together.table.number("x")).tolist()[:8] == [False] * 3 + [
        True, False, False, True, True,
    ]  # fmt: skip
    odd = [m for m in source_of(tmp_path, "x,y", rows).oddities if "not a number" in str(m.details)]
    assert [(mark.seq, mark.details["so_far"]) for mark in odd] == [(3, 1), (7, 2)]


def test_timestamps_beyond_what_can_be_written(tmp_path: Path) -> None:
    for unit, far in (("s", 10**15), ("ms", 10**16), ("us", 9 * 10**17), ("ns", 1)):
        column = pa.array([DAY // 10**6, DAY // 10**6, far], pa.timestamp(unit))
        path = tmp_path / "t.parquet"
        parquet.write_table(pa.table({"x": [1.0] * 3, "t": column, "y": ["a"] * 3}), path)
        (block,) = FileSource(path, label="y", time="t").blocks()
        assert len(set(block.times.tolist())) == (2 if unit == "ns" else 1), unit


def test_a_text_of_ten_megabytes(tmp_path: Path) -> None:
    rows = ["1,a,a"] * 200
    rows[150] = f"1,{'b' * 10_000_000},a"
    source = source_of(tmp_path, "x,c,y", rows)
    assert told(source) == [("c", 150, 1)] and len(source.notes[0]) < 200
    assert next(source.blocks()).table.levels == (("a",),)


def test_every_kind_of_oddity_can_be_told() -> None:
    words = {"other": "'d'", "percent": "3.0%"}
    for kind in WHATS:
        tally = Tally("x", kind, 1, [(0, 1, "{odd}")], words)
        assert tally.note.startswith("row 0: column 'x': ")
