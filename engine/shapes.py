"""What a run directory holds in JSON, read back: of the shape that was written, or one sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import InputError

NUMBER = int | float
EACH = "*"
"""Stands in a shape for every key; a key that ends in `?` may be missing."""
POLICY: dict[str, Any] = {"kind": str}
POLICY["of?"] = [POLICY]
ABOUT = {
    "scenario": {"policy": POLICY, "prices": {"error": NUMBER}, "labels": {"task": str}},
    "source": {},
}
"""What readers need of `run.json`."""
ENTRY = {
    **dict.fromkeys(("records", "scored", "errors", "baseline_errors"), NUMBER),
    "retrains": dict.fromkeys(("started", "rejected", "failed", "dropped"), NUMBER),
    "drifts": dict.fromkeys(("true", "found", "missed", "delay_mean"), NUMBER | None),
    "alarms": {"false": NUMBER | None},
    "cost": dict.fromkeys(("retrains", "tuning", "reuse", "total"), NUMBER),
}
SUMMARY = {"streams": {EACH: ENTRY}, "total": ENTRY}
"""What readers need of `summary.json`."""
EVENT = {"kind": str, "event_time": str, "stream": str, "seq": int}
VERDICT = dict.fromkeys(("champion_error?", "challenger_error?"), NUMBER | None)
DETAILS: dict[str, dict[str, Any]] = {
    "drift": {"shape": str, "drift": str, "phase": str},
    "fault": {"fault": str, "phase": str},
    "promoted": {"model": int, **VERDICT},
    "rejected": {"model": int, **VERDICT},
}
"""What readers need of some kinds of event, beside what all have."""

SAYINGS = {dict: "an object", list: "a list", str: "a text", bool: "a truth", type(None): "null"}


def read_json(path: Path, shape: Any, absent: str) -> dict[str, Any]:
    """Return the object that a file holds; `absent` is what to say if there is none.

    Raises
    ------
    InputError
        If it cannot be read, or holds something else.
    """
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(absent, str(path.parent)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    return _parsed(raw, shape, path, 1, str(path))


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file, one from each line.

    Raises
    ------
    InputError
        At a line that is no event, or if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                place = f"{path}:{number}"
                event = _parsed(raw.rstrip(b"\n"), EVENT, path, number, place)
                if wrong := misfit(event, DETAILS.get(event["kind"], {})):
                    raise _damaged(wrong, place)
                yield event
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None


def misfit(value: Any, shape: Any, where: str = "") -> str:
    """Return what about a value is not of a shape; empty if it is.

    Examples
    --------
    >>> shape = {"errors": NUMBER, "of?": [{"kind": str}]}
    >>> misfit({"errors": 1.5}, shape)
    ''
    >>> misfit({"errors": None}, shape), misfit({}, shape), misfit([], shape)
    ("'errors' cannot be null", "'errors' is missing", 'this cannot be a list')
    >>> misfit({"errors": 1, "of": [{"kind": "adwin"}, {}]}, shape)
    "'of.1.kind' is missing"
    """
    if isinstance(shape, list) and isinstance(value, list):
        shape, value = {EACH: shape[0]}, dict(enumerate(value))
    if isinstance(shape, dict) and isinstance(value, dict):
        wrong = ""
        for key, inner in shape.items():
            name = key.removesuffix("?")
            for at in value if key == EACH else [name]:
                place = f"{where}.{at}" if where else str(at)
                if at in value:
                    wrong = wrong or misfit(value[at], inner, place)
                elif key == name:
                    wrong = wrong or f"{place!r} is missing"
        return wrong
    place = repr(where) if where else "this"
    if isinstance(shape, dict | list) or not isinstance(value, shape) or isinstance(value, bool):
        return f"{place} cannot be {SAYINGS.get(type(value), 'a number')}"
    if isinstance(value, NUMBER) and not abs(value) <= sys.float_info.max:
        return f"{place} is no number"
    return ""


def _parsed(raw: bytes, shape: Any, path: Path, line: int, place: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(raw.decode("utf-8"))
        wrong = misfit(value, shape)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}:{error.colno}"
        wrong = f"no JSON: {error.msg}"
    except UnicodeDecodeError:
        wrong = "not UTF-8"
    except (ValueError, RecursionError):
        wrong = "no JSON"
    if wrong:
        raise _damaged(wrong, place)
    return value


def _damaged(why: str, place: str) -> InputError:
    return InputError(f"is damaged ({why}); run the scenario again with another --out", place)
