"""Reads the deployment files as the tests want them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click import Context, Group
from ruamel.yaml import YAML

from engine.cli import main
from tests.e2e.driving import ROOT

DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
OVERLAYS = sorted((DEPLOY / "kubernetes" / "overlays").iterdir())
COMPOSE = [ROOT / "compose.yaml", ROOT / "compose.dev.yaml"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = Path(__file__).parent / "schemas"
ALL = sorted(
    path
    for path in [*DEPLOY.rglob("*"), *COMPOSE, *WORKFLOWS, *ROOT.glob("Dockerfile*")]
    if path.is_file()
)
"""All files that say how Driftline is deployed."""
PORTS = {"live": 9464, "serve": 8000, "replay": 8050, "mlflow": 5000}
"""Where each part listens, as its command's default or its arguments have it."""


def documents(path: Path) -> list[Any]:
    """Return all documents of a YAML file; a merge key is resolved."""
    reader = YAML(typ="safe", pure=True)
    reader.allow_duplicate_keys = False
    return [one for one in reader.load_all(path.read_text("utf-8")) if one is not None]


def plain(data: Any) -> Any:
    """Return data as JSON has it."""
    return json.loads(json.dumps(data))


def base() -> list[dict[str, Any]]:
    """Return all Kubernetes objects of the base, in the order of its kustomization."""
    names = documents(BASE / "kustomization.yaml")[0]["resources"]
    return [one for name in names for one in documents(BASE / name)]


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each Kubernetes object that makes pods, with its pods' template."""
    for one in base():
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield one, one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield one, one["spec"]["jobTemplate"]["spec"]["template"]


def docker(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile: (word, rest), continued lines joined."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line]


def wrong_call(words: list[str]) -> str:
    """Return what is wrong about a call of `driftline`, without carrying it out; empty if nothing.

    Every word that a command takes is checked as click would, its values included.
    """
    command: Any = main
    context = Context(main, info_name="driftline")
    left = list(words)
    try:
        while isinstance(command, Group) and left and left[0] in command.commands:
            command = command.commands[left.pop(0)]
            context = Context(command, parent=context, info_name=command.name)
        if isinstance(command, Group) and (left and not left[0].startswith("-")):
            return f"there is no command {left[0]}"
        command.parse_args(context, left)
    except Exception as error:  # click's own, each a sentence
        return str(error) or type(error).__name__
    return ""


def calls(text: str) -> Iterator[list[str]]:
    """Yield the calls of `driftline` in a shell script, with variables made words."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||;|\||>", line):
            try:
                words = shlex.split(re.sub(r"\$\{?\w+\}?", "1", part), comments=True)
            except ValueError:  # a quotation that was cut apart
                continue
            at = [n for n, word in enumerate(words) if word.rsplit("/", 1)[-1] == "driftline"]
            if at and all("=" in word for word in words[: at[0]]):
                yield words[at[0] + 1 :]
