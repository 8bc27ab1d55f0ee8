"""The run directories that there are, and one of them opened: finished, growing or stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dashboards.places import State, check_whole, held, key_of, read_about, state_of
from dashboards.tails import SEEN, Columns, Growth, Series, dated, misfit_of, series_of
from engine.errors import InputError
from engine.runlog import Run
from engine.shapes import SUMMARY, read_events, read_json

DEPTH = 3
"""How many folders deep runs are looked for."""
FAILED = b'"kind":"stream_failed"'

Colour = Literal["green", "amber", "red", "grey"]

BENCH = {"name": str, "spec": {}}
"""What it needs of `bench.json`."""


# --- what there is --------------------------------------------------------------------------


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


STOPPED = "stopped before its end; driftline run with --resume completes it"


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


def policy_text(policy: Mapping[str, Any]) -> str:
    """Return a policy and its settings in a few words.

    Examples
    --------
    >>> data_drift = {"kind": "data_drift", "share": 0.5, "queue": False}
    >>> policy_text({"kind": "any_of", "cooldown": 3000, "of": [{"kind": "adwin"}, data_drift]})
    'any_of(adwin, data_drift(share 0.5), cooldown 3000)'
    """
    inner = [policy_text(one) for one in policy.get("of", ())]
    for name, value in policy.items():
        if name not in ("kind", "of") and value is not None and value is not False:
            inner.append(f"{name} {value}")
    return f"{policy['kind']}({', '.join(inner)})" if inner else str(policy["kind"])


def judge(total: Mapping[str, Any], error_price: float, failed: int = 0) -> tuple[Colour, str]:
    """Return the colour of a finished run, and why.

    Parameters
    ----------
    total
        The total entry of its summary.
    error_price
        What an error costs.
    failed
        How many streams failed.

    Examples
    --------
    >>> total = {
    ...     "errors": 10.0, "baseline_errors": 40.0, "cost": {"total": 20.0},
    ...     "retrains": {"started": 2, "failed": 0, "dropped": 0},
    ...     "drifts": {"missed": 0, "true": 1, "found": 1},
    ... }
    >>> judge(total, 1.0)
    ('green', '20 cheaper than never retraining')
    >>> judge({**total, "drifts": {"missed": 1, "true": 3, "found": 2}}, 1.0)
    ('amber', '20 cheaper than never retraining, but 1 of 3 drifts was missed')
    """
    retrains, drifts = total["retrains"], total["drifts"]
    saved = total["baseline_errors"] * error_price - total["cost"]["total"]
    if not retrains["started"]:
        worth = "no retrain was started"
    elif abs(saved) < 0.05:
        worth = "as dear as never retraining"
    else:
        worth = f"{_number(abs(saved))} {'cheaper' if saved > 0 else 'dearer'}"
        worth += " than never retraining"
    bad = [f"{_counted(failed, 'stream')} failed"] if failed else []
    bad += [f"{_counted(retrains['failed'], 'training job')} failed"] if retrains["failed"] else []
    if bad:
        return "red", f"{' and '.join(bad)}; {worth}"
    odd = []
    if missed := drifts["missed"]:
        odd.append(f"{missed} of {drifts['true']} drifts {'was' if missed == 1 else 'were'} missed")
    if retrains["dropped"]:
        odd.append(f"{_counted(retrains['dropped'], 'request')} came while a job was pending")
    if odd:
        return "amber", f"{worth}, but {' and '.join(odd)}"
    if not retrains["started"]:
        return "grey", worth
    return ("green" if saved > 0 else "amber"), worth


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"


def difference(
    about_a: Mapping[str, Any], about_b: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Return what differs between two runs: (dotted key, value of a, value of b).

    Parameters
    ----------
    about_a, about_b
        The content of their `run.json`. What one does not have is None.

    Examples
    --------
    >>> one = {"scenario": {"seed": 1, "policy": {"kind": "never"}}}
    >>> difference(one, {"scenario": {"seed": 1, "policy": {"kind": "adwin", "budget": 3}}})
    [('policy.kind', 'never', 'adwin'), ('policy.budget', None, 3)]
    """
    a, b = dict(_settings(about_a)), dict(_settings(about_b))
    keys = dict.fromkeys([*a, *b])
    return [(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]


def _settings(about: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from _flat("", about["scenario"])
    yield from _flat("source", about.get("source", {}))
    yield from _flat("versions", about.get("versions", {}))


def _flat(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested settings."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        inner = enumerate(value)
    else:
        yield place, value
    for key, part in inner:
        yield from _flat(f"{place}.{key}" if place else str(key), part)


# --- one of them ----------------------------------------------------------------------------


def open_run(path: Path) -> Opened:
    """Open a run directory, whether it is finished or not.

    Raises
    ------
    InputError
        If it is none, or damaged.
    """
    return Opened(path)


class Opened:
    """A run to look at, which may still grow; may be used by several threads.

    While it grows each question reads only what is new. Once it is finished its lasting files are
    read; nothing that was known is forgotten in between.

    Parameters
    ----------
    path
        The run directory.

    Raises
    ------
    InputError
        If it is none, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.key = path, key_of(path)
        self.about = read_about(path)
        self.streams: list[str] = self.about["streams"]
        self._lock = RLock()
        self._growth = Growth(path, self.streams)
        self._run: Run | None = None
        self._events: dict[str, list[dict[str, Any]]] = {}

    @property
    def state(self) -> State:
        """How far it is now."""
        return state_of(self.path)

    @property
    def prices(self) -> dict[str, float]:
        """What an error and a retrain cost."""
        return dict(self.about["scenario"]["prices"])

    @property
    def summary(self) -> dict[str, Any] | None:
        """The content of `summary.json`; None while it is not finished."""
        run = self._finished()
        return run.summary if run else None

    def truth_known(self, stream: str) -> bool:
        """Return whether the drifts of a stream are known.

        While a run grows they are where its script touches the stream.
        """
        if summary := self.summary:
            entry = summary["streams"].get(stream, summary["total"])
            return entry["drifts"]["true"] is not None
        index = self.streams.index(stream)
        items = self.about["scenario"].get("script") or ()
        return any(item.get("streams") is None or index in item["streams"] for item in items)

    def version(self, stream: str) -> str:
        """Return a text that changes whenever there is more to see of a stream."""
        with self._lock:
            if self._finished():
                files = [self.path / "summary.json", self.path / "events.jsonl"]
                return "-".join(["done", *(f"{file.stat().st_mtime_ns:x}" for file in files)])
            grown, begun = self._growth.look(stream), self._growth.begun
            counts = (grown.rows, len(grown.events), grown.points, len(grown.samples))
            return "-".join(["at", f"{begun[1] if begun else 0:x}", *map(str, counts)])

    def events(self, stream: str) -> list[dict[str, Any]]:
        """Return the events of a stream so far, in the order in which they happened.

        Raises
        ------
        InputError
            If they are damaged.
        """
        with self._lock:
            if self._finished():
                return self._final_events().get(stream, [])
            return self._growth.look(stream).events

    def outcomes(self, stream: str) -> Columns:
        """Return the outcomes of a stream so far, as arrays.

        Raises
        ------
        InputError
            If they are damaged.
        """
        with self._lock:
            if self._finished():
                file = self.path / "outcomes" / f"{stream}.parquet"
                return _read(lambda: Columns.of(_table(file, SEEN)), stream)
            return self._growth.look(stream).columns()

    def traces(self, stream: str) -> Series:
        """Return how the error detectors of a stream stood so far, by series."""
        with self._lock:
            if self._finished():
                file = self.path / "traces" / f"{stream}.parquet"
                return _read(lambda: series_of(_table(file)), stream)
            return self._growth.look(stream).series()

    def samples(self, stream: str) -> list[dict[str, Any]]:
        """Return what a stream looked like around its first alarms."""
        with self._lock:
            if run := self._finished():
                return _read(lambda: run.samples(stream), stream)
            return self._growth.look(stream).samples

    def rows(self, stream: str, first: int, last: int) -> list[dict[str, Any]]:
        """Return the outcome rows from record `first` to `last`, times in microseconds."""
        with self._lock:
            if self._finished():
                file = self.path / "outcomes" / f"{stream}.parquet"
                return _read(lambda: _between(file, first, last), stream)
            self._growth.look(stream)
            return self._growth.shard(stream).rows(stream, first, last)

    def _finished(self) -> Run | None:
        """Return the finished run, once it is."""
        if self._run is None and (self.path / "summary.json").exists():
            run = Run(self.path)
            check_whole(self.path, self.streams)
            self._run = run
        return self._run

    def _final_events(self) -> dict[str, list[dict[str, Any]]]:
        if not self._events:
            for event in read_events(self.path / "events.jsonl"):
                if wrong := misfit_of(event):
                    raise InputError(f"is damaged ({wrong})", str(self.path / "events.jsonl"))
                self._events.setdefault(event["stream"], []).append(event)
            for events in self._events.values():
                events.sort(key=lambda event: int(event["n"]))
        return self._events


Answer = TypeVar("Answer")


def _read(read: Callable[[], Answer], stream: str) -> Answer:
    """Return what `read` returns; say in a sentence what is wrong if it cannot."""
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"the files of {stream} are damaged ({first})") from None


def _table(file: Path, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file's rows; `read_table` would import pandas, a second and a half."""
    with pq.ParquetFile(file) as parquet:
        return parquet.read(columns=columns)


def _between(file: Path, first: int, last: int) -> list[dict[str, Any]]:
    """Return the rows `first` to `last` of a Parquet file, reading only the groups they are in."""
    found: list[dict[str, Any]] = []
    with pq.ParquetFile(file) as parquet:
        start = 0
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            if start <= last and end > first:
                low, high = max(first, start) - start, min(last + 1, end) - start
                found += dated(parquet.read_row_group(group).slice(low, high - low)).to_pylist()
            start = end
    return found
