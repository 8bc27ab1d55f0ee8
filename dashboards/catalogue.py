"""The run directories and benchmark folders that there are, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dashboards.places import State, check_whole, held, key_of, read_about, state_of
from dashboards.tails import Growth
from dashboards.verdicts import Colour, judge, policy_text
from engine.errors import InputError
from engine.shapes import SUMMARY, read_json

DEPTH = 3
"""How many folders deep runs are looked for."""
FAILED = b'"kind":"stream_failed"'
STOPPED = "stopped before its end; driftline run with --resume completes it"
BENCH = {"name": str, "spec": {}}
"""What it needs of `bench.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A run directory or a benchmark folder, as the overview lists it.

    Parameters
    ----------
    key
        Short and stable: names it in a URL without its path.
    path
        Where it is.
    label
        The path as the user would write it, from the folder that was given.
    kind
        ``run`` or ``bench``.
    state
        ``finished``, ``growing`` (a process is writing to it), ``stopped`` (none is, and it is
        not finished) or ``damaged``.
    problem
        What is wrong, in one sentence; empty if nothing is.
    name, seed, policy, streams
        What ran; the policy as a text.
    started, last_change
        Seconds since 1970, by the files' times.
    summary
        The total entry of `summary.json`; None if it is not finished.
    verdict, verdict_text
        A colour, and why, in one sentence.
    """

    key: str
    path: Path
    label: str
    kind: Literal["run", "bench"]
    state: State
    problem: str = ""
    name: str = ""
    seed: int | None = None
    policy: str = ""
    streams: int = 0
    started: float = 0.0
    last_change: float = 0.0
    summary: Mapping[str, Any] | None = None
    verdict: Colour = "grey"
    verdict_text: str = ""


def find(paths: Iterable[Path]) -> list[Found]:
    """Return the runs and benchmarks at some paths, each once, in order.

    Parameters
    ----------
    paths
        Run directories, benchmark folders, or folders that hold some, at most `DEPTH` deep.

    Examples
    --------
    >>> [(one.state, one.problem) for one in find([Path("/nowhere/at/all")])]
    [('damaged', 'there is no such directory')]
    """
    found: dict[str, Found] = {}
    for path in paths:
        places = list(_places(path, DEPTH))
        for place in places or [path]:
            one = look(place, label=str(place))
            found.setdefault(one.key, one)
    return list(found.values())


def _places(path: Path, depth: int) -> Iterator[Path]:
    """Yield the directories at or below `path` that look like a run or a benchmark."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        return
    if names & {"run.json", "bench.json", ".state"} or {"summary.json", "outcomes"} <= names:
        yield path
    elif depth:
        for name in sorted(names):
            if not name.startswith(".") and (path / name).is_dir():
                yield from _places(path / name, depth - 1)


def look(path: Path, label: str = "") -> Found:
    """Return what a directory holds; one that cannot be read is damaged, with the reason."""
    common: dict[str, Any] = {"key": key_of(path), "path": path, "label": label or str(path)}
    kind: Literal["run", "bench"] = "bench" if (path / "bench.json").exists() else "run"
    try:
        return _bench(path, common) if kind == "bench" else _run(path, common)
    except InputError as error:
        problem = error.message
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    return Found(
        **common,
        kind=kind,
        state="damaged",
        problem=problem,
        name=path.name,
        last_change=_time(path),
        verdict="red",
        verdict_text=f"damaged: {problem}",
    )


def _time(*paths: Path) -> float:
    """Return when the newest of some files was changed; 0 if none is there."""
    times = [0.0]
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _run(path: Path, common: dict[str, Any]) -> Found:
    if not path.is_dir():
        raise InputError("this is a file" if path.exists() else "there is no such directory")
    if not (path / "run.json").exists() and held(path):
        text = "a run is just beginning"
        return Found(**common, kind="run", state="growing", name=path.name, verdict_text=text)
    about = read_about(path)
    state = state_of(path)
    facts: dict[str, Any] = {
        **common,
        "kind": "run",
        "state": state,
        "name": about["name"],
        "seed": about["seed"],
        "policy": policy_text(about["scenario"]["policy"]),
        "streams": len(about["streams"]),
        "started": _time(path / "run.json"),
    }
    if state != "finished":
        growth = Growth(path, about["streams"])
        colour: Colour = "grey" if state == "growing" else "amber"
        text = "still growing" if state == "growing" else STOPPED
        changed = max(_time(path / "run.json"), growth.changed())
        return Found(**facts, last_change=changed, verdict=colour, verdict_text=text)
    summary = read_json(path / "summary.json", SUMMARY, "this run is not finished")
    check_whole(path, about["streams"])
    failed = (path / "events.jsonl").read_bytes().count(FAILED)
    colour, text = judge(summary["total"], about["scenario"]["prices"]["error"], failed)
    return Found(
        **facts,
        last_change=_time(path / "summary.json"),
        summary=summary["total"],
        verdict=colour,
        verdict_text=text,
    )


def _bench(path: Path, common: dict[str, Any]) -> Found:
    about = read_json(path / "bench.json", BENCH, "it has no bench.json")
    facts: dict[str, Any] = {
        **common,
        "kind": "bench",
        "name": about["name"],
        "policy": "a comparison",
        "streams": len(about["spec"].get("streams") or ()),
        "started": _time(path / "bench.json"),
    }
    if not (path / "summary.json").exists():
        state: State = "growing" if held(path) else "stopped"
        changed = _time(path / "bench.json", path / ".state" / "done")
        text = "still growing" if state == "growing" else "stopped before its end"
        return Found(**facts, state=state, last_change=changed, verdict_text=text)
    summary = read_json(path / "summary.json", {"verdict": str}, "")
    if not (path / "results.csv").exists():
        raise InputError("it has no results.csv")
    changed = _time(path / "summary.json")
    text = summary["verdict"]
    return Found(**facts, state="finished", last_change=changed, verdict_text=text)
