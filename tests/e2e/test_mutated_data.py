"""Good tables, spoilt by chance: an answer in one line or a whole run, never anything else."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.driving import driftline, events, summary
from tests.e2e.tables import FORMATS, good_rows, write, write_scenario

SECONDS_MAX = 60
CELLS = (
    "", " ", "NaN", "inf", "-1e400", "1e39", "abc", "1,5", '"', "'", "0x10", "\0", "é", "\u2028",
    "a" * 2000, "9999-12-31", "2024-13-45", "99999999999999999999", "-", "true", "[]", "=1+1", "1e",
)  # fmt: skip
JUNK = (b"\0", b"\xff\xfe", b'"', b"\r", b"\n", b",", b"\x1f\x8b", b"PAR1", b"," * 99, b"\n" * 99)
Mutation = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, chance: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(JUNK) + data[at:]


def cut_out(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randint(1, 64) :]


def repeat(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    size = chance.randint(1, 512)
    return data[: at + size] + data[at:]


BYTES: tuple[Mutation, ...] = (flip, truncate, insert, cut_out, repeat)


def spoil_rows(rows: list[list[str]], chance: random.Random) -> list[list[str]]:
    """Return rows with odd cells, cells swapped, rows twice, or rows gone."""
    for _ in range(chance.randint(1, 12)):
        at, other = chance.randrange(len(rows)), chance.randrange(len(rows))
        column = chance.randrange(5)
        match chance.randrange(5):
            case 0:
                rows[at][column], rows[at][column - 1] = rows[at][column - 1], rows[at][column]
            case 1:
                rows.insert(at, list(rows[other]))
            case 2:
                rows.pop(at)
            case _:
                rows[at][column] = chance.choice(CELLS)
    return rows


@contextmanager
def alarmed(what: str) -> Iterator[None]:
    """Fail where something hangs."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"{what}: no answer within {SECONDS_MAX} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS_MAX)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def spoilt(folder: Path, file: str, seed: int) -> tuple[Path, Path]:
    """Write a good table, spoil it by chance, and return it and a scenario on it."""
    chance = random.Random(f"{file} {seed}")
    rows = good_rows(120)
    if seed % 2:
        rows = spoil_rows(rows, chance)
    path = write(folder / file, rows)
    if not seed % 2 or chance.random() < 0.2:
        path.write_bytes(chance.choice(BYTES)(path.read_bytes(), chance))
    settings = chance.choice(["", "time: t", "columns: {x: numeric}", "ignore: [c, t]"])
    task = chance.choice(["classification", "regression"])
    return path, write_scenario(folder, file, settings, task)


def end(folder: Path, file: str, seed: int, *, runs: bool) -> int:
    """Check a spoilt table, perhaps run it; return the exit code, which is proven to be right."""
    _, scenario = spoilt(folder, file, seed)
    out = folder / f"out-{seed}"
    what = f"{file}, seed {seed}"
    with alarmed(what):  # an exception that is no refusal is raised here
        checked = driftline("check", scenario)
        answer = driftline("run", scenario, "--out", out) if runs else checked
    assert answer.code in ((0, 1, 2) if runs else (0, 2)), (what, answer)
    assert "Traceback" not in answer.err, (what, answer)
    if checked.code == 2:
        assert len(checked.err.splitlines()) == 1 and checked.err[:-1].isprintable(), (what, answer)
        assert answer.code == 2 and not out.exists(), what
    elif runs:
        assert summary(out)["total"]["records"] > 0, what
        failed = [event for event in events(out) if event["kind"] == "stream_failed"]
        assert bool(failed) == (answer.code == 1), (what, answer)
    return answer.code


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the models of other tests' folders."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("dullard", None)


@pytest.mark.parametrize("file", FORMATS)
def test_no_mutation_of_a_table_ends_in_a_traceback(file: str, tmp_path: Path) -> None:
    codes = {end(tmp_path, file, seed, runs=seed % 6 == 1) for seed in range(60)}
    assert codes == {0, 2}, "some mutations do no harm, some do"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("file", FORMATS)
def test_no_mutation_of_many_does_either(file: str, part: int, tmp_path: Path) -> None:
    for seed in range(1000 + 100 * part, 1100 + 100 * part):
        end(tmp_path, file, seed, runs=seed % 4 == 1)
