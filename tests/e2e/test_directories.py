"""Run directories that are damaged, in the wrong place, or of another run: one line, no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driving import Answer, driftline, start
from tests.e2e.test_commands import SMALL


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scenario, `small.yaml`, and its finished run, `run`."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "small.yaml").write_text(SMALL, "utf-8")
    process = start("run", folder / "small.yaml", "--out", folder / "run")
    assert process.wait(timeout=120) == 0
    return folder


@pytest.fixture
def out(ready: Path, tmp_path: Path) -> Path:
    """A finished run to be damaged."""
    return Path(shutil.copytree(ready / "run", tmp_path / "run"))


def asked(*words: object) -> Answer:
    """Return what a command answers in a process of its own."""
    process = start(*words)
    said, told = process.communicate(timeout=120)
    return Answer(process.returncode, said, told)


def refused(answer: Answer, *parts: object) -> None:
    """Make sure that bad input was told in one line, with all that it has to say."""
    assert answer.code == 2, answer.err
    *before, line = answer.err.splitlines()
    assert all(said.startswith("seed ") for said in before), answer.err
    assert all(str(part) in line for part in parts), line


def content(folder: Path) -> dict[str, bytes | None]:
    """Return all that a folder holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# --- damage ---------------------------------------------------------------------------------


def altered(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    """Return what changes the value in a JSON file."""

    def alter(raw: bytes) -> bytes:
        value = json.loads(raw)
        change(value)
        return json.dumps(value).encode()

    return alter


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "latin": lambda raw: b'{"a": "\xff"}',
    "list": lambda raw: b"[1, 2]",
    "deep": lambda raw: b"[" * 100_000,
    "bare": lambda raw: b"{}",
}
FILES = ("run.json", "summary.json")


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("name", FILES)
def test_show_of_a_damaged_file(out: Path, name: str, how: str) -> None:
    (out / name).write_bytes(BROKEN[how]((out / name).read_bytes()))
    for words in ((), ("--json",)):
        answer = driftline("show", out, *words)
        refused(answer, out / name, "is damaged", "run the scenario again with another --out")
        assert answer.out == ""


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("run.json", lambda about: about["scenario"]["policy"].pop("kind"), "scenario.policy.kind"),
        ("run.json", lambda about: about["scenario"]["policy"].update(of=[3]), "policy.of.0"),
        ("run.json", lambda about: about.update(scenario=[]), "'scenario' cannot be a list"),
        ("summary.json", lambda found: found["total"].pop("cost"), "'total.cost' is missing"),
        ("summary.json", lambda found: found["total"].update(errors="x"), "cannot be a text"),
        ("summary.json", lambda found: found["total"].update(errors=1e999), "is no number"),
        ("summary.json", lambda found: found.update(streams={"a": None}), "'streams.a'"),
    ],
)
def test_show_of_json_of_another_shape(
    out: Path, name: str, change: Callable[[Any], object], said: str
) -> None:
    (out / name).write_bytes(altered(change)((out / name).read_bytes()))
    refused(driftline("show", out), out / name, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"kind": "al\n', "no JSON"),
        (b"\xff\n", "not UTF-8"),
        (b"3\n", "a number"),
        (b"\n", "no JSON"),
        (b'{"kind": "drift"}\n', "'event_time' is missing"),
        (b'{"kind":"drift","event_time":"","stream":"","seq":0}\n', "'shape' is missing"),
    ],
)
def test_show_of_damaged_events(out: Path, line: bytes, said: str) -> None:
    lines = (out / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = line
    (out / "events.jsonl").write_bytes(b"".join(lines))
    refused(driftline("show", out), f"{out / 'events.jsonl'}:5", said, "another --out")


def test_show_without_events(out: Path) -> None:
    (out / "events.jsonl").unlink()
    refused(driftline("show", out), out / "events.jsonl", "cannot be read")


@pytest.mark.parametrize("how", BROKEN)
def test_resume_of_a_damaged_run(ready: Path, out: Path, how: str) -> None:
    (out / "summary.json").unlink()
    (out / "run.json").write_bytes(BROKEN[how]((out / "run.json").read_bytes()))
    before = content(out)
    answer = driftline("run", ready / "small.yaml", "--out", out, "--resume")
    refused(answer, out / "run.json", "is damaged", "another --out")
    assert content(out) == before


def test_damage_in_processes_of_their_own(ready: Path, out: Path) -> None:
    (out / "run.json").write_text("{", "utf-8")
    refused(asked("show", out), f"{out / 'run.json'}:1:2: is damaged")
    refused(asked("run", ready / "small.yaml", "--out", out, "--resume"), "is damaged")


# --- places ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["file", "file/x", "file/x/y"])
def test_a_file_is_in_the_way(ready: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    words = ["run", ready / "small.yaml", "--out", tmp_path / place]
    for answer in (asked(*words), driftline(*words, "--resume")):
        refused(answer, f"--out {tmp_path / place}", "is a file; name a new directory")
    assert content(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("place", ["/proc/nowhere/x", "/dev/null/x", "/" + "x" * 300])
def test_a_place_that_cannot_be_written(ready: Path, place: str) -> None:
    refused(asked("run", ready / "small.yaml", "--out", place), f"--out {place}")


def test_a_link_to_nowhere(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    refused(asked("run", ready / "small.yaml", "--out", tmp_path / "link"), "link")


def test_resume_in_a_folder_of_other_things(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"x")
    answer = asked("run", ready / "small.yaml", "--out", tmp_path / "photos", "--resume")
    refused(answer, tmp_path / "photos", "holds no run", "another --out")
    assert content(tmp_path / "photos") == {"me.png": b"x"}


def test_resume_in_an_empty_folder_begins(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert driftline("run", ready / "small.yaml", "--out", tmp_path / "empty", "--resume").code == 0


# --- another run ----------------------------------------------------------------------------


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", 8), "another seed;"),
        (("--policy", "never"), "another policy;"),
        (("--seed", 8, "--set", "labels.delay=5"), "another labels and seed;"),
    ],
)
def test_resume_refuses_another_run(
    ready: Path, out: Path, finished: bool, words: tuple[object, ...], said: str
) -> None:
    if not finished:
        (out / "summary.json").unlink()
    before = content(out)
    answer = driftline("run", ready / "small.yaml", *words, "--out", out, "--resume")
    refused(answer, out, said)
    assert content(out) == before


def test_resume_refuses_other_data_under_the_same_name(tmp_path: Path) -> None:
    rows = ["x,y", *(f"{number % 7},{number % 2}" for number in range(400))]
    (tmp_path / "my.csv").write_text("\n".join(rows), "utf-8")
    assert (
        driftline("init", tmp_path / "my.csv", "--label", "y", "--out", tmp_path / "my.yaml").code
        == 0
    )
    words = ["run", tmp_path / "my.yaml", "--out", tmp_path / "run"]
    assert driftline(*words).code == 0
    assert driftline(*words, "--resume").code == 0
    (tmp_path / "my.csv").write_text("\n".join([*rows, "1,1"]), "utf-8")
    refused(driftline(*words, "--resume"), "another source;")


def test_resume_of_a_finished_run_does_nothing(ready: Path, out: Path) -> None:
    before = content(out)
    answer = asked("run", ready / "small.yaml", "--out", out, "--resume")
    assert (answer.code, answer.out, answer.err) == (0, "", f"{out}: finished already\n")
    assert content(out) == before


# --- hints ----------------------------------------------------------------------------------


def test_hints_can_be_pasted_into_a_shell(ready: Path, tmp_path: Path) -> None:
    table, scenario = tmp_path / "my data.csv", tmp_path / "it's mine.yaml"
    rows = ["x,y", *(f"{number % 7},{number % 2}" for number in range(400))]
    table.write_text("\n".join(rows), "utf-8")
    answer = asked("init", table, "--label", "y", "--out", scenario)
    quoted = str(scenario).replace("'", "'\"'\"'")
    assert answer.out == f"wrote {scenario}. Run it with: driftline run '{quoted}'\n"
    assert scenario.read_text("utf-8").splitlines()[0].endswith(f"driftline run '{quoted}'")
    answer = asked("run", scenario, "--out", tmp_path / "a run")
    assert answer.out.endswith(f"Look closer with: driftline show '{tmp_path / 'a run'}'\n")
