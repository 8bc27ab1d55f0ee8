"""The runs that the app was started on: found, listed, and kept open while they are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from dashboards.catalogue import Found, find
from dashboards.charts import picture, spark
from dashboards.figures import Shown, peak
from dashboards.lanes import Lanes, lanes
from dashboards.looks import Theme
from dashboards.runs import Opened, open_run
from dashboards.verdicts import judge
from engine.errors import EngineError, InputError

OPEN_MAX = 12
"""So many runs are kept open."""
LANES_MAX = 24
"""The lanes of so many streams are kept."""
WARM_MAX = 6
"""The lanes of so many runs are made before anyone asks for them."""


class Shelf:
    """Runs and benchmarks below some paths, by key; may be used by several threads.

    Parameters
    ----------
    paths
        Run directories, benchmark folders, and folders that hold some.

    Examples
    --------
    >>> [found.state for found in Shelf([Path("/nowhere/at/all")]).look()]
    ['damaged']
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._found: dict[str, Found] = {}
        self._open: dict[str, Opened] = {}
        self._lanes: dict[tuple[str, str, int], tuple[str, Lanes]] = {}
        self._busy: dict[tuple[str, str, int], Lock] = {}
        self._lock = Lock()

    def look(self) -> list[Found]:
        """Look for runs, and return what there is now."""
        found = find(self.paths)
        self._found = {one.key: one for one in found}
        return found

    def found(self, key: str) -> Found:
        """Return what is known of one run.

        Raises
        ------
        InputError
            If there is none of that key.
        """
        if key not in self._found:
            self.look()
        if key not in self._found:
            raise InputError("there is no such run here; the overview lists those that are")
        return self._found[key]

    def opened(self, key: str) -> Opened:
        """Return a run, opened.

        Raises
        ------
        InputError
            If it is damaged, or none.
        """
        with self._lock:
            if key not in self._open:
                found = self.found(key)
                if found.kind == "bench":
                    raise InputError("this is a benchmark, not a run")
                while len(self._open) >= OPEN_MAX:
                    self._open.pop(next(iter(self._open)))
                self._open[key] = open_run(found.path)
            return self._open[key]

    def stream(self, key: str, name: str | None) -> str:
        """Return the stream of a run that a reader asked for: that one, its like, or the first.

        Runs of the same scenario under another name number their streams alike.
        """
        streams = self.opened(key).streams
        if name in streams:
            return str(name)
        number = str(name or "").rpartition("-")[2]
        return next((one for one in streams if one.rpartition("-")[2] == number), streams[0])

    def lanes(self, key: str, name: str | None, bins: int = 2000) -> tuple[str, Lanes]:
        """Return the version and the lanes of a stream; read anew only if it has grown."""
        opened, stream = self.opened(key), self.stream(key, name)
        place = (key, stream, bins)
        with self._lock:
            busy = self._busy.setdefault(place, Lock())
        with busy:  # who asks while they are made waits for them
            version = opened.version(stream)
            known = self._lanes.get(place)
            if known is None or known[0] != version:
                known = (version, lanes(opened, stream, bins))
                with self._lock:
                    while len(self._lanes) >= max(LANES_MAX, 2 * len(opened.streams)):
                        self._lanes.pop(next(iter(self._lanes)))
                    self._lanes[place] = known
        return known

    def hasten(self, keys: Sequence[str], name: str | None) -> None:
        """Make the lanes that are about to be asked for, while the browser is still loading."""

        def make() -> None:
            with suppress(EngineError):
                for key in keys:
                    self.lanes(key, name)

        Thread(target=make, daemon=True).start()

    def warm(self) -> None:
        """Make the lanes of the runs that changed last, before anyone asks for them."""

        def make() -> None:
            found = [one for one in self.look() if one.kind == "run" and one.state == "finished"]
            for one in sorted(found, key=lambda one: -one.last_change)[:WARM_MAX]:
                with suppress(EngineError, OSError):
                    self.lanes(one.key, None)

        Thread(target=make, daemon=True).start()

    def version(self, keys: Sequence[str], name: str | None) -> str:
        """Return a text that changes whenever there is more to see of some runs."""
        return " ".join(self.opened(key).version(self.stream(key, name)) for key in keys)

    def over(self, keys: Sequence[str]) -> bool:
        """Return whether nothing will come any more of some runs."""
        return all(self.opened(key).over for key in keys)

    def shown(self, keys: Sequence[str], name: str | None) -> list[Shown]:
        """Return runs as the figure shows them."""
        names = labels([self.found(key) for key in keys])
        return [
            Shown(label, self.lanes(key, name)[1]) for key, label in zip(keys, names, strict=True)
        ]


def labels(found: Sequence[Found]) -> list[str]:
    """Return short names that tell runs apart: name, policy, seed, or folder, whatever differs."""
    for parts in (["name"], ["policy"], ["name", "policy"], ["name", "policy", "seed"]):
        made = [" · ".join(_short(getattr(one, part), part) for part in parts) for one in found]
        if len(set(made)) == len(made) and (len(made) > 1 or parts == ["name"]):
            return made
    return [one.label for one in found]


def _short(value: Any, part: str) -> str:
    return f"seed {value}" if part == "seed" else str(value)


def row_of(found: Found) -> dict[str, Any]:
    """Return a run as a row of the overview."""
    row: dict[str, Any] = {
        "key": found.key,
        "kind": found.kind,
        "name": found.name or found.label,
        "policy": found.policy,
        "streams": found.streams,
        "seed": found.seed,
        "state": found.state,
        "verdict": found.verdict,
        "verdict_text": found.verdict_text or found.problem,
        "path": found.label,
    }
    total = found.summary
    if not total:
        return row
    cost = total["cost"]["total"]
    scored, errors = total["scored"], total["errors"]
    spent = total["cost"]["errors"]
    never = total["baseline_errors"] * (spent / errors) if errors else None
    drifts = total["drifts"]
    return row | {
        "records": total["records"],
        "cost": cost,
        "error": total["error_rate"],
        "never": total["baseline_errors"] / scored if scored else None,
        "against": cost / never - 1 if never else None,
        "retrains": total["retrains"]["started"],
        "drifts": None if drifts["true"] is None else f"{drifts['found']} of {drifts['true']}",
        "false": total["alarms"]["false"],
    }


def cells_of(
    drawn: Sequence[tuple[str, Lanes]],
    summary: Mapping[str, Any] | None,
    error_price: float,
    theme: Theme,
) -> list[dict[str, Any]]:
    """Return the streams of a run as small pictures, with what became of each.

    Parameters
    ----------
    drawn
        Name and lanes, in few bins, of each stream.
    summary
        Of the run; None if it is not finished.
    error_price
        What an error costs.
    theme
        Whose colours.
    """
    top = max((peak(one) for _, one in drawn), default=1.0)
    cells = []
    for name, one in drawn:
        verdict, told = "grey", "still growing"
        if summary:
            verdict, told = judge(summary["streams"][name], error_price)
        scored = one["scored"][-1] if one["scored"] else 0
        error, never = (
            one[key][-1] / scored if scored else None for key in ("cum_error", "cum_baseline")
        )
        share = ".1%" if one["task"] == "classification" else ".3g"
        cells.append(
            {
                "stream": name,
                "short": name.rpartition("-")[2],
                "verdict": verdict,
                "told": told,
                "picture": picture(spark(one, theme, top)),
                "error": "–" if error is None else format(error, share),
                "never": "–" if never is None else format(never, share),
                "rank": {
                    "error": error or 0.0,
                    "gain": (error or 0.0) - (never or 0.0),
                },
            }
        )
    return cells
