"""A benchmark folder: what each policy costs at each price, from `results.csv`."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dashboards.schedules import schedules_of
from engine.errors import InputError
from engine.shapes import NUMBER, read_json

Cell = dict[str, Any]
"""A line of `results.csv`."""
TEXTS = ("stream", "policy", "latency", "label_delay")
NUMBERS = ("seed", "alpha", "errors", "retrains", "cost", "optimum")
MAYBE = ("regret_ratio", "gap_closed")
ABOUT = {"name": str, "spec": {"alphas": [NUMBER | str]}, "replay?": str}
ANY = NUMBER | str | None
SUMMARY = {
    "verdict": str,
    "policies": [{"policy": str, "role": str, "regret": NUMBER | None}],
}
ROW = (
    "policy", "role", "regret", "area", "cost", "errors", "retrains", "gap", "reaction", "rank",
    "wins", "chance", "streams",
)  # fmt: skip


def open_bench(path: Path) -> dict[str, Any]:
    """Return a finished benchmark, JSON-ready.

    `name`, `verdict`, `recommended`, `replay`; `prices` as the spec states them, ascending;
    `streams`, `settings` (`latency`, `label_delay`); `curves`: for each policy, from the least
    regret to the most, its `role`, `regret` (cost ÷ optimum, the geometric mean over streams of
    that over each one's seeds and settings) and `cost` (mean, in errors) at each price, None
    where there is none; `by_stream`: stream -> curves; `rows`: the table of `summary.json`;
    `report`: the path of `report.html`, None if it is not there; `schedules`: stream -> when
    each policy retrained, as the report tells it.

    Parameters
    ----------
    path
        The benchmark folder.

    Raises
    ------
    InputError
        If it is none, not finished, or damaged.
    """
    about = read_json(path / "bench.json", ABOUT, "this is no benchmark: it has no bench.json")
    summary = read_json(path / "summary.json", SUMMARY, "this benchmark is not finished")
    cells = read_cells(path / "results.csv")
    prices = priced(cells, about["spec"]["alphas"])
    roles = {one["policy"]: one["role"] for one in summary["policies"]}
    streams = list(dict.fromkeys(cell["stream"] for cell in cells))
    settings = dict.fromkeys((cell["latency"], cell["label_delay"]) for cell in cells)
    report = path / "report.html"
    return {
        "name": about["name"],
        "verdict": summary["verdict"],
        "recommended": summary.get("recommended"),
        "replay": about.get("replay"),
        "prices": prices,
        "streams": streams,
        "settings": [{"latency": one, "label_delay": other} for one, other in settings],
        "curves": curves(cells, roles, prices),
        "by_stream": {
            stream: curves([cell for cell in cells if cell["stream"] == stream], roles, prices)
            for stream in streams
        },
        "rows": [{key: one.get(key) for key in ROW} for one in summary["policies"]],
        "report": str(report) if report.exists() else None,
        "schedules": schedules_of(report),
    }


def read_cells(path: Path) -> list[Cell]:
    """Return the lines of `results.csv`, numbers as numbers and None for what is empty.

    Raises
    ------
    InputError
        If it cannot be read, or a line does not fit.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is damaged (not UTF-8)", str(path)) from None
    cells = []
    for number, line in enumerate(csv.DictReader(io.StringIO(text)), 2):
        try:
            cell: Cell = {name: line[name] for name in TEXTS}
            cell |= {name: float(line[name]) for name in NUMBERS}
            cell |= {name: float(line[name]) if line[name] else None for name in MAYBE}
            if None in line.values():
                raise ValueError("the line is cut short")
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "is damaged (a value is missing or none)", f"{path}:{number}"
            ) from None
        cells.append(cell)
    return cells


def priced(cells: Sequence[Cell], alphas: Sequence[str | float]) -> list[str]:
    """Give each cell its price as the spec states it; return the prices, ascending.

    A price in percent is another number of errors on each stream, but its rank is the same.

    Examples
    --------
    >>> cells = [{"stream": "a", "alpha": 20.0}, {"stream": "a", "alpha": 4.0}]
    >>> priced(cells, ["10%", "2%"]), cells[0]["price"]
    (['2%', '10%'], '10%')
    """
    levels: dict[str, set[float]] = defaultdict(set)
    for cell in cells:
        levels[cell["stream"]].add(cell["alpha"])
    names = sorted((str(one) for one in alphas), key=_amount)
    whole = all(len(mine) == len(names) for mine in levels.values())
    if not whole:
        names = [f"{level:g}" for level in sorted({cell["alpha"] for cell in cells})]
    for cell in cells:
        ranked = sorted(levels[cell["stream"]])
        cell["price"] = names[ranked.index(cell["alpha"])] if whole else f"{cell['alpha']:g}"
    return names


def _amount(price: str) -> float:
    try:
        return float(price.rstrip("%"))
    except ValueError:
        return math.inf


def curves(
    cells: Iterable[Cell], roles: Mapping[str, str], prices: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the cost of each policy at each price, from the least regret to the most.

    Parameters
    ----------
    cells
        Lines of `results.csv`, with their `price`.
    roles
        What each policy is.
    prices
        The prices, ascending.

    Examples
    --------
    >>> cell = {"stream": "a", "policy": "adwin", "price": "2%", "cost": 12.0}
    >>> cells = [{**cell, "regret_ratio": 2.0}, {**cell, "stream": "b", "regret_ratio": 8.0}]
    >>> curves(cells, {"adwin": "policy"}, ["2%"])[0]["regret"]
    [4.0]
    """
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell["policy"], cell["price"]].append(cell)
    found = []
    for policy in dict.fromkeys(policy for policy, _ in groups):
        mine = [groups.get((policy, price), []) for price in prices]
        found.append(
            {
                "policy": policy,
                "role": roles.get(policy, "policy"),
                "prices": list(prices),
                "regret": [_mean(some, "regret_ratio", geometric) for some in mine],
                "cost": [_mean(some, "cost", fmean) for some in mine],
                "overall": _mean(
                    [cell for some in mine for cell in some], "regret_ratio", geometric
                ),
            }
        )
    return sorted(found, key=lambda one: (one["overall"] is None, one["overall"] or 0.0))


def geometric(values: Sequence[float]) -> float:
    """Return the geometric mean of numbers above 0.

    >>> geometric([1.0, 4.0])
    2.0
    """
    return math.exp(fmean(math.log(value) for value in values))


def _mean(cells: Iterable[Cell], name: str, mean: Any) -> float | None:
    """Return the mean over streams of the mean over each one's cells; None without any."""
    values: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        if cell[name] is not None and (mean is fmean or cell[name] > 0):
            values[cell["stream"]].append(cell[name])
    return float(mean([mean(mine) for mine in values.values()])) if values else None
