"""Tables of losses that users bring: read from a file, checked, and made into a problem.

A case names its models in `models`; each has the step `trained_at`, its `train_cost` and, for each
step, its `serve_cost`. The first model serves from step 0 and costs nothing to train. At every
later step the serving model is kept, or one of the models with that `trained_at` is trained.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hindsight import Action, Problem
from engine.batch import Floats
from engine.errors import InputError
from engine.shapes import SAYINGS

COST_MAX = 1e100
"""The largest cost, up or down, so that sums of costs are numbers too."""
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model that can serve: when it is trained, for what, and what it costs at each step.

    Steps at which it cannot serve cost 0, whatever the table says there.
    """

    trained_at: int
    train_cost: float
    serve_cost: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A table of losses, and the latency in steps between asking for a model and its service."""

    id: str | int
    steps: int
    latency: int
    models: tuple[Model, ...]


def read(path: Path, latency: int = 0) -> tuple[Case, ...]:
    """Read the cases of a file: one case, a list of cases, or ``{"steps": n, "cases": [...]}``.

    Parameters
    ----------
    path
        JSON, or JSON compressed by gzip.
    latency
        Steps between asking for a model and its first step of service; costs before that need
        not be in the table.

    Raises
    ------
    InputError
        If it cannot be read, or a case is not as it should be: the first mistake, and where.
    """
    data = _parsed(_text(path), path)
    try:
        found = tuple(cases(data, latency))
    except InputError as error:
        raise InputError(str(error), str(path)) from None
    if not found:
        raise InputError("holds no case", str(path))
    return found


def problem(case: Case) -> Problem:
    """Return a case as a problem for `benchmarks.hindsight.cheapest`.

    The positions are steps, and decision i is that of step i + 1.

    Examples
    --------
    >>> old = {"trained_at": 0, "serve_cost": [1, 1, 9, 9]}
    >>> new = {"trained_at": 2, "train_cost": 3, "serve_cost": [None, None, 1, 1]}
    >>> (case,) = cases({"models": [old, new]})
    >>> problem(case).actions
    ((), (Action(model=1, serves=2, price=3.0, free=2),), ())
    """
    steps, last = case.steps, case.steps - 1
    actions: list[list[Action]] = [[] for _ in range(last)]
    for index, model in enumerate(case.models):
        asked = model.trained_at
        if asked:
            free = min(asked + max(case.latency, 1) - 1, last)
            actions[asked - 1].append(Action(index, asked + case.latency, model.train_cost, free))
    losses = np.zeros((len(case.models), steps + 1))
    for index, model in enumerate(case.models):
        losses[index, 1:] = model.serve_cost.cumsum()
    return Problem(losses, np.arange(1, steps), tuple(map(tuple, actions)), first=0)


# --- reading --------------------------------------------------------------------------------


def _text(path: Path) -> str:
    """Return the text of a file, unpacked."""
    if path.is_dir():
        raise InputError("this is a directory; a table is a JSON file", str(path))
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw.startswith(GZIP) else raw).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("there is no such table file", str(path)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(
            "is damaged: it begins as gzip and cannot be unpacked", str(path)
        ) from None
    except UnicodeDecodeError:
        raise InputError("not a text file; a table is JSON in UTF-8", str(path)) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot be read: {why}", str(path)) from None


def _parsed(text: str, path: Path) -> Any:
    """Return the value that a JSON text stands for."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise InputError(f"no JSON: {error.msg[:1].lower()}{error.msg[1:]}", place) from None
    except InputError as error:
        raise InputError(error.message, str(path)) from None
    except RecursionError:
        raise InputError("nested too deep", str(path)) from None
    except ValueError:  # what Python says of a number with thousands of digits
        raise InputError("a number has too many digits", str(path)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of an object, whose keys may not stand twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"the key {twice!r} stands twice in one object; keep one of them")
    return found


# --- checks ---------------------------------------------------------------------------------


def cases(data: Any, latency: int = 0) -> Iterator[Case]:
    """Yield the cases of a document; its mistakes are told with where they are.

    Raises
    ------
    InputError
        At the first mistake; `place` is where in the document.

    Examples
    --------
    >>> model = {"trained_at": 0, "serve_cost": [1, None]}
    >>> next(cases([{"id": "shop", "models": [model]}]))
    Traceback (most recent call last):
        ...
    engine.errors.InputError: [0].models[0].serve_cost[1]: must be a number, not null
    """
    if latency < 0:
        raise InputError(f"must not be negative, got {latency}", "latency")
    steps = None
    if isinstance(data, list):
        items, where = data, ""
    elif isinstance(data, dict) and "cases" in data:
        items, where, steps = data["cases"], "cases", data.get("steps")
        if not isinstance(items, list):
            raise InputError(f"must be a list of cases, not {_said(items)}", where)
        if steps is not None:
            _whole(steps, "steps", 1)
    else:
        yield _case(data, 0, "", None, latency)
        return
    first: dict[str, int] = {}
    for at, item in enumerate(items):
        case = _case(item, at, f"{where}[{at}]", steps, latency)
        if (other := first.setdefault(str(case.id), at)) != at:
            raise InputError(
                f"{case.id!r} is {where}[{other}] already; ids must differ", f"{where}[{at}].id"
            )
        yield case


def _case(item: Any, at: int, where: str, steps: Any, latency: int) -> Case:
    """Return a case, whose id is its position unless it has one."""
    if not isinstance(item, dict):
        raise InputError(f"must be an object with models, not {_said(item)}", where)
    name = item.get("id")
    if name is not None and (not isinstance(name, str | int) or isinstance(name, bool)):
        message = f"must be a text or a whole number, not {_said(name)}"
        raise InputError(message, _inner(where, "id"))
    models, place = item.get("models"), _inner(where, "models")
    if "models" not in item:
        raise InputError("is missing", place)
    if not isinstance(models, list) or not models:
        given = "is empty" if models == [] else f"not {_said(models)}"
        raise InputError(f"must be a list of one model or more, {given}", place)
    steps = item.get("steps", steps)
    if steps is not None:
        steps = _whole(steps, _inner(where, "steps"), 1)
    found: list[Model] = []
    for index, given in enumerate(models):
        found.append(_model(given, f"{place}[{index}]", steps, None if index == 0 else latency))
        steps = steps or len(found[0].serve_cost)
    if found[0].trained_at:
        message = f"must be 0, for this model serves from step 0, got {found[0].trained_at}"
        raise InputError(message, f"{place}[0].trained_at")
    return Case(at if name is None else name, steps or 0, latency, tuple(found))


def _model(item: Any, where: str, steps: int | None, latency: int | None) -> Model:
    """Return a model; the first has no `latency` and, where no `steps` are given, tells them."""
    if not isinstance(item, dict):
        raise InputError(f"must be an object, not {_said(item)}", where)
    first = latency is None
    for key in ("trained_at", "serve_cost", *(() if first else ("train_cost",))):
        if key not in item:
            raise InputError("is missing", f"{where}.{key}")
    costs, place = item["serve_cost"], f"{where}.serve_cost"
    if not isinstance(costs, list):
        raise InputError(f"must be a list of a cost for each step, not {_said(costs)}", place)
    steps = len(costs) if steps is None else steps
    if len(costs) != steps or not steps:
        raise InputError(f"must be {steps or 'one or more'} costs, one for each step, "
                         f"got {len(costs)}", place)  # fmt: skip
    trained_at = _whole(item["trained_at"], f"{where}.trained_at", 0, steps - 1)
    serves = min(trained_at + (latency or 0), steps)
    for at, value in enumerate(costs):
        if value is not None or at >= serves:
            _number(value, place, at)
    serve_cost = np.array([0.0] * serves + costs[serves:], dtype=np.float64)
    paid = item.get("train_cost")
    train_cost = 0.0 if first and paid is None else _number(paid, f"{where}.train_cost")
    return Model(trained_at, train_cost, serve_cost)


def _inner(where: str, key: str) -> str:
    """Return the place of a key within a place."""
    return f"{where}.{key}" if where else key


def _number(value: Any, where: str, at: int | None = None) -> float:
    """Return a cost; anything else is refused."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= COST_MAX:
            return float(value)
        allowed = f"a number from -{COST_MAX:g} to {COST_MAX:g}"
    else:
        allowed = "a number"
    place = where if at is None else f"{where}[{at}]"
    raise InputError(f"must be {allowed}, not {_said(value)}", place)


def _whole(value: Any, where: str, least: int, most: int | None = None) -> int:
    """Return a whole number within bounds; anything else is refused."""
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    if whole and least <= value and (most is None or value <= most):
        return int(value)
    allowed = f"of {least} or more" if most is None else f"from {least} to {most}"
    raise InputError(f"must be a whole number {allowed}, not {_said(value)}", where)


def _said(value: Any) -> str:
    """Return a value in a few words; NaN and infinity as Python reads them from JSON."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = repr(value)
        return text if len(text) <= 30 else f"{text[:25]}..."
    if isinstance(value, str):
        return f"the text {value[:30]!r}"
    return SAYINGS[type(value)]
