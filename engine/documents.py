"""YAML documents that know where each of their values stands.

YAML 1.2 is read (`on` is a word, `12:30` a text), and keys may not stand twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.errors import InputError

Location = tuple[str | int, ...]
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
