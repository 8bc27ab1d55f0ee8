"""Validation that points at the place to mend: one sentence with what is wrong and allowed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from engine.documents import Document, Location
from engine.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, schema: type[Model]) -> Model:
    """Return the document as settings.

    Raises
    ------
    InputError
        For the first error, with its place and what is allowed there.
    """
    try:
        return schema.model_validate(document.data)
    except ValidationError as error:
        errors = _telling(document, error)
        first = min(errors, key=lambda item: (_order(document, item["loc"]), _rank(item["type"])))
        here = _said_place(document, first)
        where = ".".join(str(part) for part in here)
        there = [item for item in errors if _said_place(document, item) == here]
        if all(item["type"] in SAYINGS and item["type"] not in ALONE for item in there):
            kinds = list(
                dict.fromkeys(SAYINGS[item["type"]].removeprefix("must be ") for item in there)
            )
            said = f"must be {' or '.join(kinds)}, got {shorten(first['input'])}"
        else:
            said = explain(first, _allowed(schema, first["loc"]))
        places = {_said_place(document, item) for item in errors}
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        message = f"{where}: {said}{more}" if where else f"{said}{more}"
        raise InputError(message, document.place(first["loc"])) from None


def _said_place(document: Document, item: Mapping[str, Any]) -> Location:
    """Return the place of an error as a user would say it, what is missing there included."""
    location = item["loc"]
    if item["type"] == "missing":
        return (*spoken(document.data, location[:-1]), location[-1])
    return spoken(document.data, location)


def _telling(document: Document, error: ValidationError) -> list[Any]:
    """Return the errors without those that only follow from others.

    A key is missing because it is misspelt; a list is too short, or a value of the wrong type
    for one member of a union, because of what is inside.
    """
    found = error.errors(include_url=False)
    found = [item for item in found if item["type"] != "default_factory_not_called"]
    odd = {item["loc"][:-1] for item in found if item["type"] == "extra_forbidden"}
    places = {_said_place(document, item) for item in found}

    def follows(item: Any) -> bool:
        if item["type"] == "missing":
            return item["loc"][:-1] in odd
        here = _said_place(document, item)
        deeper = any(len(place) > len(here) and place[: len(here)] == here for place in places)
        return deeper and item["type"].endswith(("_type", "too_short"))

    return [item for item in found if not follows(item)] or found


def spoken(data: Any, location: Sequence[str | int]) -> Location:
    """Return a pydantic location without the tags of unions, as a user would say it.

    Examples
    --------
    >>> spoken({"policy": {"kind": "every", "records": 0}}, ("policy", "every", "records"))
    ('policy', 'records')
    """
    said: list[str | int] = []
    for at, part in enumerate(location):
        if isinstance(data, Mapping) and part in data:
            data = data[str(part)]
        elif isinstance(data, tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif at + 1 < len(location) or _is_tag(data, str(part)):
            continue
        said.append(part)
    return tuple(said)


def _is_tag(data: Any, part: str) -> bool:
    """Return whether the last part of a location was put in by pydantic."""
    if not isinstance(data, Mapping) or data.get("kind") == part:
        return True
    return "[" in part or part in ("int", "str", "float", "bool") or part[:1].isupper()


def _order(document: Document, location: Sequence[str | int]) -> tuple[int, int]:
    """Return where an error stands in the file, for choosing the first."""
    found = re.search(r":(\d+):(\d+)$", document.place(location))
    return (int(found[1]), int(found[2])) if found else (-1, -1)


def _rank(kind: str) -> int:
    """Prefer telling messages where a union failed in several ways."""
    ranks = {"value_error": 0, "finite_number": 0, "extra_forbidden": 1, "missing": 2}
    return {**ranks, "model_type": 9}.get(kind, 5)


SAYINGS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "finite_number": "must be a finite number",
    "union_tag_not_found": "needs a kind",
}
ALONE = ("missing", "finite_number", "union_tag_not_found")
"""Errors that are not one member's of a union."""


def explain(error: Mapping[str, Any], allowed: Sequence[str]) -> str:
    """Return what is wrong and what is allowed, in a clause.

    Parameters
    ----------
    error
        An entry of `ValidationError.errors()`.
    allowed
        The keys that may stand at the error's parent.
    """
    kind, context, given = str(error["type"]), error.get("ctx", {}), error.get("input")
    got = f", got {shorten(given)}"
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), allowed)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}{got}"
    if kind == "union_tag_invalid":
        tags = str(context["expected_tags"])
        near = difflib.get_close_matches(str(context["tag"]), tags.replace("'", "").split(", "), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown kind {context['tag']!r}{hint} (one of {tags})"
    if kind in SAYINGS:
        return SAYINGS[kind] + ("" if kind in ("missing", "union_tag_not_found") else got)
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}{got}"
    message = str(error["msg"])
    for old, new in (
        ("Input should be", "must be"),
        ("Tuple should have", "must have"),
        (" after validation", ""),
    ):
        message = message.replace(old, new)
    return f"{message[0].lower()}{message[1:]}{got}"


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """Return what to say of an unknown key.

    Examples
    --------
    >>> unknown_key("polcy", ["policy", "seed"])
    "unknown key; did you mean 'policy'? (allowed: policy, seed)"
    """
    near = difflib.get_close_matches(key, allowed, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key{hint} (allowed: {', '.join(allowed)})"


def shorten(value: Any, limit: int = 60) -> str:
    """Return a value as short JSON for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _allowed(schema: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand beside the last part of a location."""
    whole = schema.model_json_schema()
    names: set[str] = set()
    nodes: Iterable[Mapping[str, Any]] = [whole]
    for part in location[:-1]:
        nodes = [after for node in nodes for after in _step(whole, node, part)]
    for node in nodes:
        for leaf in _unfold(whole, node):
            names |= set(leaf.get("properties", ()))
    return sorted(names)


def _unfold(whole: Mapping[str, Any], node: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yield the plain schemas that a node stands for."""
    if "$ref" in node:
        yield from _unfold(whole, whole["$defs"][node["$ref"].rsplit("/", 1)[1]])
        return
    for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _unfold(whole, option)
    yield node


def _step(
    whole: Mapping[str, Any], node: Mapping[str, Any], part: str | int
) -> Iterable[Mapping[str, Any]]:
    """Yield the schemas that a part of a location leads to; a union's tag narrows it."""
    leaves = list(_unfold(whole, node))
    inner = [leaf["properties"][part] for leaf in leaves if part in leaf.get("properties", ())]
    if isinstance(part, int):
        inner += [leaf["items"] for leaf in leaves if isinstance(leaf.get("items"), dict)]
    if inner:
        return inner
    tagged = [
        leaf
        for leaf in leaves
        if part in (leaf.get("title"), leaf.get("properties", {}).get("kind", {}).get("const"))
    ]
    return tagged or [
        leaf["additionalProperties"]
        for leaf in leaves
        if isinstance(leaf.get("additionalProperties"), dict)
    ]
