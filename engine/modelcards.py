"""The registry in the terminal: models, versions, comparisons, as tables and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.champions import Move, moves_of
from engine.errors import InputError
from engine.events import iso
from engine.places import Place, Version
from engine.printing import DASH
from engine.registry import Registry

HOMES = ("registry", "data/registry")
"""Where a registry is looked for if nobody says where: of a run, of live mode."""
VARIABLE = "DRIFTLINE_REGISTRY"
SHOWN = 30
"""So many versions of a model are listed."""


def place(given: str | None) -> Place:
    """Return the registry that is meant: given, of the environment, or where one usually is.

    Raises
    ------
    InputError
        If there is none.
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        return Place.of(named)
    for home in HOMES:
        if Place.of(home).there:
            return Place.of(home)
    said = f"there is none at {' or '.join(f'{home}/' for home in HOMES)}: name a folder or an URI"
    raise InputError(f"{said}, or set {VARIABLE}", "--registry")


def pick(text: str) -> tuple[str, str | int]:
    """Return name and version of ``NAME``, ``NAME@alias`` or ``NAME/version``.

    Raises
    ------
    InputError
        If the version is no number.

    Examples
    --------
    >>> pick("elec2-0000"), pick("elec2-0000@previous"), pick("elec2-0000/3")
    (('elec2-0000', 'champion'), ('elec2-0000', 'previous'), ('elec2-0000', 3))
    """
    if "@" in text:
        name, _, alias = text.partition("@")
        return name, alias
    if "/" in text:
        name, _, number = text.partition("/")
        return name, number_of(number)
    return text, "champion"


def number_of(text: str) -> int:
    """Return the number of a version, also of ``v3``.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> number_of("3"), number_of("v3")
    (3, 3)
    """
    digits = text.removeprefix("v")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise InputError("a version is a whole number, such as 3", text)
    return int(digits)


def entry(version: Version) -> dict[str, Any]:
    """Return a version JSON-ready."""
    tags = {key.removeprefix("driftline."): text for key, text in version.tags.items()}
    figures = tags.pop("figures", None)
    return {
        "name": version.name,
        "version": version.number,
        "aliases": list(version.aliases),
        "registered": iso(int(version.created * 1_000_000)),
        "verdict": tags.pop("verdict", None),
        "figures": json.loads(figures) if figures and figures.endswith("}") else None,
        "mlflow_run": version.run_id,
        **{key: tags[key] for key in sorted(tags) if key != "key"},
    }


def model_entry(registry: Registry, name: str) -> dict[str, Any]:
    """Return a model JSON-ready: its aliases and versions, newest first."""
    versions = registry.versions(name)
    aliases = {alias: one.number for one in versions for alias in one.aliases}
    return {
        "name": name,
        "aliases": dict(sorted(aliases.items())),
        "versions": [entry(one) for one in versions],
    }


def detail(registry: Registry, version: Version) -> dict[str, Any]:
    """Return all there is to say about a version, JSON-ready."""
    params, metrics = registry.run_of(version)
    moves = [move.entry() for move in moves_of(registry, version.name)]
    return {**entry(version), "params": params, "metrics": metrics, "moves": moves}


# --- tables ---------------------------------------------------------------------------------


def print_models(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a line for each model."""
    table = made("model", "champion", "previous", "challenger", "versions", "newest")
    for one in entries:
        named = [one["aliases"].get(alias) for alias in ("champion", "previous", "challenger")]
        newest = one["versions"][0]["registered"] if one["versions"] else None
        table.add_row(
            one["name"],
            *(DASH if number is None else str(number) for number in named),
            str(len(one["versions"])),
            moment(newest),
        )
    console.print(table)
    if not entries:
        console.print("no models yet: driftline run SCENARIO --registry DIR", highlight=False)


def print_model(one: Mapping[str, Any], console: Console) -> None:
    """Print the versions of a model."""
    table = made("version", "alias", "verdict", "window", "error", "run", "reason")
    for version in one["versions"][:SHOWN]:
        table.add_row(
            str(version["version"]),
            ", ".join(version["aliases"]),
            version["verdict"] or DASH,
            version.get("window", DASH),
            errors(version["figures"] or {}),
            version.get("run", DASH),
            version.get("reason", ""),
        )
    console.print(table)
    if len(one["versions"]) > SHOWN:
        console.print(f"… and {len(one['versions']) - SHOWN} older ones", highlight=False)


def errors(figures: Mapping[str, Any]) -> str:
    """Return the errors of a verdict: the champion's then, and the version's own.

    Examples
    --------
    >>> errors({"champion_error": 0.25, "challenger_error": 0.125}), errors({})
    ('0.125 against 0.25', '–')
    """
    pair = figures.get("challenger_error"), figures.get("champion_error")
    return DASH if None in pair else f"{pair[0]:.3g} against {pair[1]:.3g}"


def print_detail(one: Mapping[str, Any], console: Console) -> None:
    """Print all there is to say about a version."""
    table = made("", "")
    table.show_header = False
    for key, value in one.items():
        if key in ("params", "metrics", "figures"):
            for name, inner in (value or {}).items():
                table.add_row(f"{key}: {name}", told(inner))
        elif key == "moves":
            for move in value[-5:]:
                table.add_row("champion moved", moved(Move(**move)))
        elif value not in (None, "", []):
            table.add_row(key, told(value))
    console.print(table)


def print_comparison(one: Mapping[str, Any], other: Mapping[str, Any], console: Console) -> None:
    """Print where two versions differ, side by side, and how alike they are else."""
    names = [f"{each['name']}/{each['version']}" for each in (one, other)]
    table, same = made("", *names), 0
    rows = [(key, one.get(key), other.get(key)) for key in ("aliases", "verdict", "registered")]
    rows += [(key, one.get(key), other.get(key)) for key in ("run", "stream", "job", "reason")]
    for part in ("params", "metrics", "figures"):
        pair = one[part] or {}, other[part] or {}
        rows += [
            (f"{part}: {key}", pair[0].get(key), pair[1].get(key))
            for key in sorted(pair[0].keys() | pair[1].keys())
        ]
    for key, left, right in rows:
        same += left == right
        if left != right:
            table.add_row(key, told(left), told(right))
    console.print(table)
    console.print(f"alike in {same} of {len(rows)} entries", highlight=False)


def made(*headings: str) -> Table:
    """Return an empty table."""
    table = Table(header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def told(value: Any) -> str:
    """Return a value as people read it.

    Examples
    --------
    >>> told(0.25), told(300.0), told(["champion"]), told(None)
    ('0.25', '300', 'champion', '–')
    """
    if value is None or value == []:
        return DASH
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def moment(text: str | None) -> str:
    """Return a time as people read it.

    Examples
    --------
    >>> moment("2026-01-02T03:04:05.000000Z")
    '2026-01-02 03:04:05'
    """
    return DASH if text is None else text[:19].replace("T", " ")


def moved(move: Move) -> str:
    """Return a change of champion in one line.

    Examples
    --------
    >>> moved(Move("2026-01-02T03:04:05.000000Z", 2, 3, "hand"))
    '2026-01-02 03:04:05: version 2 → 3, by hand'
    """
    was = DASH if move.was is None else str(move.was)
    half = "" if move.done else " (interrupted)"
    return f"{moment(move.at)}: version {was} → {move.to}, by {move.by}{half}"


def register_run(place: Place, out: Path, cache: Path) -> str:
    """Register whatever of a run directory is missing, and return what came of it.

    Raises
    ------
    InputError
        If it is no run directory.
    EngineError
        If the registry cannot be reached, or models are not there any more.
    """
    from engine.errors import EngineError
    from engine.registering import read_about, reconcile

    read_about(out)
    registry = Registry(place, make=True)
    found = reconcile(registry, out, cache)
    lines = [f"{found.registered} of {found.jobs} jobs were new to {place.shown}"]
    for name in found.names[:SHOWN]:
        if name in registry.names():
            champion = registry.aliases(name).get("champion")
            lines.append(f"{name}: champion is version {DASH if champion is None else champion}")
    if found.problems:
        raise EngineError("; ".join([*lines, *found.problems[:5]]))
    return "\n".join(lines)
