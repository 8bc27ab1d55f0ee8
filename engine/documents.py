"""YAML documents with their line numbers, and validation that points at the place to mend.

YAML 1.2 is read (`on` is a word, `12:30` a text), keys may not stand twice, and a pydantic
error is walked back to the line and column that caused it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.errors import InputError

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
DEPTH_MAX = 40
"""How deep a document may be nested."""
NODES_MAX = 100_000
"""How many values a document may hold, each alias counted with all that it stands for."""


@dataclass(frozen=True)
class Document:
    """A YAML file as data, which still knows where each value stands.

    Parameters
    ----------
    path
        The file as the user named it.
    data
        Its content; sequences are tuples, dates ISO texts.
    node
        The root of the parsed tree, for line numbers.
    overridden
        For values that came from the command line: where they stand in `data`, and the option.
    """

    path: Path
    data: Any
    node: Node
    overridden: tuple[tuple[Location, str], ...] = ()

    def place(self, location: Sequence[str | int]) -> str:
        """Return ``file:line:column`` (from 1) of a location, or of its nearest parent.

        Parts of the location that the document does not hold (the tags that pydantic puts in)
        are skipped.
        """
        for start, option in self.overridden:
            shared = min(len(start), len(location))
            if shared and tuple(location[:shared]) == start[:shared]:
                return option
        node, mark = self.node, self.node.start_mark
        for part in location:
            if isinstance(node, MappingNode):
                for key, value in node.value:
                    if key_text(key) == str(part):
                        node, mark = value, key.start_mark
                        break
            elif isinstance(node, SequenceNode) and isinstance(part, int):
                node = node.value[min(part, len(node.value) - 1)] if node.value else node
                mark = node.start_mark
        return f"{self.path}:{mark.line + 1}:{mark.column + 1}"


def read(path: Path, what: str) -> Document:
    """Read a YAML file; `what` names it in messages, such as ``scenario``.

    Raises
    ------
    InputError
        If there is no such file, or it is no YAML mapping.
    """
    place = f"{path}:1:1"
    if path.is_dir():
        raise InputError(f"this is a directory; a {what} is a YAML file", place)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no such {what} file", place) from None
    except UnicodeDecodeError:
        raise InputError(f"not a text file; a {what} is YAML in UTF-8", place) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place) from None
    return parse(text, path, what)


def parse(text: str, path: Path, what: str) -> Document:
    """Parse the text of a YAML file; see `read`."""
    node: Node | None = None
    try:
        node = YAML(typ="safe", pure=True).compose(text)
        if node is not None:
            _measure(node, path)
        data = YAML(typ="safe", pure=True).load(text)
    except RecursionError:
        raise InputError("nested too deep", f"{path}:1:1") from None
    except DuplicateKeyError as error:
        mark = error.problem_mark
        key = str(error.problem).split('"')[1] if '"' in str(error.problem) else "a key"
        message = f"the key {key!r} stands here a second time; keep one of them"
        raise InputError(message, _at(path, mark)) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context).split())
        raise InputError(f"not valid YAML: {problem}", _at(path, mark)) from None
    except (YAMLError, ValueError, TypeError, ArithmeticError) as error:
        if node is None:
            raise InputError(f"not a text file; a {what} is YAML", f"{path}:1:1") from None
        why = "too many digits" if "digits" in str(error) else error
        raise InputError(f"no number or date: {why}", _at(path, _culprit(node))) from None
    if node is None or data is None:
        raise InputError(f"the file is empty; a {what} needs at least a source", f"{path}:1:1")
    if not isinstance(data, dict):
        raise InputError(f"a {what} is a mapping of keys to values", f"{path}:1:1")
    return Document(path, plain(data), node)


def key_text(key: Node) -> str:
    """Return a key as `plain` does."""
    return str(key.value).lower() if str(key.tag).endswith(":bool") else str(key.value)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _measure(root: Node, path: Path) -> None:
    """Refuse what is too deep or too large to read, and keys that are no texts."""
    found: dict[int, tuple[int, int]] = {}

    def measure(node: Node, depth: int) -> tuple[int, int]:
        if id(node) in found:
            return found[id(node)]
        if depth > DEPTH_MAX:
            message = f"nested more than {DEPTH_MAX} deep, or an alias that holds itself"
            raise InputError(message, _at(path, node.start_mark))
        for key, _ in node.value if isinstance(node, MappingNode) else ():
            if not isinstance(key, ScalarNode) or str(key.tag).endswith(":null"):
                raise InputError("a key must be a text", _at(path, key.start_mark))
        below = [measure(child, depth + 1) for child in _children(node)]
        size = 1 + sum(size for size, _ in below)
        height = 1 + max((height for _, height in below), default=0)
        if size > NODES_MAX or height > DEPTH_MAX:
            message = f"its aliases stand for more than {NODES_MAX} values or {DEPTH_MAX} levels"
            raise InputError(message, _at(path, node.start_mark))
        found[id(node)] = size, height
        return size, height

    measure(root, 1)


def _culprit(node: Node) -> Any:
    """Return where the first scalar stands that looks like a value and is none."""
    if isinstance(node, ScalarNode) and node.style is None:
        try:
            YAML(typ="safe", pure=True).load(node.value)
        except (YAMLError, ValueError, TypeError, ArithmeticError):
            return node.start_mark
    marks = (_culprit(child) for child in _children(node))
    return next((mark for mark in marks if mark is not None), None)


def _at(path: Path, mark: Any) -> str:
    """Return ``file:line:column`` of a YAML mark."""
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else f"{path}:1:1"


def plain(data: Any) -> Any:
    """Return YAML data with tuples for sequences and ISO texts for dates.

    Examples
    --------
    >>> plain({"a": [1, date(2020, 1, 2)]})
    {'a': (1, '2020-01-02')}
    """
    if isinstance(data, Mapping):
        return {
            str(key).lower() if isinstance(key, bool) else str(key): plain(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return tuple(plain(value) for value in data)
    return data.isoformat() if isinstance(data, date) else data


def override(document: Document, option: str, dotted: str, value: str) -> Document:
    """Return the document with one value set from the command line.

    Parameters
    ----------
    document
        The document.
    option
        The option, for messages.
    dotted
        Where: keys and list indices joined by dots, such as ``labels.delay``.
    value
        YAML text.

    Raises
    ------
    InputError
        If the value is no YAML, or the place leads through something that has no keys.
    """
    shown = f"{option} {dotted}={value}" if option == "--set" else f"{option} {value}"
    try:  # as the value of a key, so that all that is checked of a file is checked of it too
        inner = parse("value:\n" + "".join(f" {line}\n" for line in value.split("\n")), Path(), "")
    except InputError as error:
        message = error.message if "not a text" not in error.message else "not valid YAML"
        raise InputError(message, shown) from None
    if set(inner.data) != {"value"}:
        raise InputError("not valid YAML for one value", shown)
    parsed = inner.data["value"]
    location: Location = tuple(
        int(part) if re.fullmatch("[0-9]{1,6}", part) else part for part in dotted.split(".")
    )
    data = _with(document.data, location, parsed, shown)
    kept = tuple(item for item in document.overridden if item[0] != location)
    return Document(document.path, data, document.node, ((location, shown), *kept))


def _with(data: Any, location: Location, value: Any, shown: str) -> Any:
    """Return `data` with the value at `location` replaced or added."""
    if not location:
        return value
    head, rest = location[0], location[1:]
    if isinstance(data, str):  # a bare name stands for a mapping with that kind
        data = {"kind": data}
    if data is None:
        data = {}
    if isinstance(data, tuple) and isinstance(head, int) and head <= len(data):
        inner = _with(data[head] if head < len(data) else None, rest, value, shown)
        return (*data[:head], inner, *data[head + 1 :])
    if isinstance(data, dict):
        return {**data, str(head): _with(data.get(str(head)), rest, value, shown)}
    raise InputError(f"there is nothing called {head!r} to set", shown)


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
