"""Where a registry is, what it holds, and how it fails; nothing here needs MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError, InputError

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"


class RegistryGone(EngineError):
    """The registry cannot be reached, or does not work; it may be back later."""


class Refused(EngineError):
    """The registry says no: there is no such thing, or there is one already."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry is.

    Parameters
    ----------
    uri
        MLflow's tracking URI.
    folder
        The folder, if it is one.
    shown
        As the user wrote it, for messages.

    Examples
    --------
    >>> Place.of("http://127.0.0.1:5000").folder is None
    True
    >>> Place.of("data/registry", Path("/srv")).uri
    'sqlite:////srv/data/registry/mlflow.db'
    """

    uri: str
    folder: Path | None
    shown: str

    @staticmethod
    def of(text: str | Path, base: Path | None = None) -> Place:
        """Return the place that a folder (from `base` on) or a URI names."""
        shown = str(text)
        if "://" in shown and not shown.startswith("file:"):
            return Place(shown, None, shown)
        folder = (base or Path()).joinpath(shown.removeprefix("file://")).expanduser().absolute()
        return Place(f"sqlite:///{folder / DATABASE}", folder, shown)

    @property
    def lock(self) -> Path | None:
        """The file that is locked while champions change; None if other machines take part."""
        if self.folder is not None:
            return self.folder / ".lock"
        if self.uri.startswith("sqlite:///") and len(self.uri) > len("sqlite:///"):
            return Path(self.uri.removeprefix("sqlite:///") + ".lock")
        return None

    @property
    def there(self) -> bool:
        """Whether a folder holds a registry; of a URI nobody knows before it is asked."""
        return self.folder is None or (self.folder / DATABASE).exists()


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model.

    Parameters
    ----------
    name, number
        The model's name, and the version's number, from 1.
    aliases
        Of ``champion``, ``challenger``, ``previous`` and others those that point at it.
    created
        When it was registered, seconds since 1970.
    run_id
        The MLflow run that it came of.
    tags
        What is said about it.
    """

    name: str
    number: int
    aliases: tuple[str, ...]
    created: float
    run_id: str
    tags: Mapping[str, str]


def check_name(name: str) -> str:
    """Return a model's name if a registry can have it.

    Raises
    ------
    InputError
        If it cannot.

    Examples
    --------
    >>> check_name("elec2-0000")
    'elec2-0000'
    >>> check_name("a/b")
    Traceback (most recent call last):
    engine.errors.InputError: a/b: a model's name holds none of / : . % " '
    """
    if not name or any(letter in "/:.%\"'`" for letter in name):
        raise InputError("a model's name holds none of / : . % \" '", name)
    return name


def version_of(found: Any, aliases: Sequence[str]) -> Version:
    """Return a version of MLflow's as one of ours."""
    return Version(
        found.name,
        int(found.version),
        tuple(sorted(aliases)),
        found.creation_timestamp / 1000,
        str(found.run_id),
        dict(found.tags),
    )
