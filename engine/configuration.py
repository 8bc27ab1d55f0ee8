"""The one configuration of an installation, from files and environment, each value with its origin.

Later sources win: defaults, ``config/settings.yaml`` and ``config/logging.yaml``,
``config/environments/$DRIFTLINE_ENV.yaml``, then environment variables, such as
``DRIFTLINE_S3__BUCKET`` for ``s3.bucket``. It says where things are and how they are told; nothing
in it can change the outcome of a simulation.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field

from engine.documents import Document, Location, parse, read
from engine.errors import InputError
from engine.forms import Count, Settings
from engine.leaks import suspicions
from engine.validation import validate

PREFIX, NESTED = "DRIFTLINE_", "__"
ENVIRONMENT, FOLDER = f"{PREFIX}ENV", f"{PREFIX}CONFIG"
"""The variables that choose the environment, and the configuration folder."""
FILES = {"settings.yaml": (), "logging.yaml": ("logging",)}
"""The files of the folder, and where in the settings each belongs."""
DEFAULT = "default"
ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?")
PASSWORD = re.compile(r"://[^/\s]*:[^/\s]*@")
"""A password in an address."""

Level = Literal["debug", "info", "warning", "error"]


# --- what there is to set -------------------------------------------------------------------


def check_endpoint(address: str) -> str:
    """Return `address` if it can be an endpoint of S3; else raise ValueError.

    Examples
    --------
    >>> check_endpoint("http://127.0.0.1:9000/")
    'http://127.0.0.1:9000'
    """
    if not ADDRESS.fullmatch(address):
        raise ValueError("must be an address such as http://127.0.0.1:9000, without a password")
    return address.rstrip("/")


class Bucket(Settings):
    """The bucket that `driftline sync` copies to and from; any store that speaks S3 will do."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    prefix: str = ""
    endpoint: Annotated[str, AfterValidator(check_endpoint)] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None


class Metrics(Settings):
    """Where `live` and `run` answer Prometheus; without a port they do not."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] | None = None


class Journal(Settings):
    """A log: from which level on, in which form, and when a new file is begun.

    At `max_bytes` a new file is begun, and the last `backups` of them are kept.
    """

    file: Annotated[str, Field(min_length=1)]
    level: Level = "info"
    format: Literal["text", "json"] = "text"
    max_bytes: Annotated[int, Field(ge=1000)] = 5_000_000
    backups: Annotated[int, Field(ge=0, le=1000)] = 5


class SystemJournal(Journal):
    """What the program itself does: starts, ends, troubles."""

    file: Annotated[str, Field(min_length=1)] = "system.log"


class DriftJournal(Journal):
    """What happens to a stream: alarms, decisions, jobs, promotions, alerts."""

    file: Annotated[str, Field(min_length=1)] = "drift.log"
    format: Literal["text", "json"] = "json"


class PerformanceJournal(Journal):
    """How well the models answer: a line for each `every` records of a stream."""

    file: Annotated[str, Field(min_length=1)] = "performance.log"
    format: Literal["text", "json"] = "json"
    every: Count = 1000


class Logging(Settings):
    """The logs of `live` and `serve`, in a folder; a log that is null is not written."""

    folder: Annotated[str, Field(min_length=1)] = "logs/"
    system: SystemJournal | None = SystemJournal()
    drift: DriftJournal | None = DriftJournal()
    performance: PerformanceJournal | None = PerformanceJournal()


class Configuration(Settings):
    """All that can be set about an installation."""

    cache: Annotated[str, Field(min_length=1)] | None = None
    data: Annotated[str, Field(min_length=1)] = "data/"
    runs: Annotated[str, Field(min_length=1)] = "runs/"
    registry: Annotated[str, Field(min_length=1)] | None = None
    s3: Bucket = Bucket()
    metrics: Metrics = Metrics()
    logging: Logging | None = None


FOLDERS = ("cache", "data", "runs", "registry", "logging.folder")
"""The settings that name a folder."""


# --- what is set ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """An effective value, and where it came from.

    Parameters
    ----------
    name
        Its place, such as ``s3.bucket``.
    value
        The value, as JSON would have it.
    origin
        ``default``, ``file:line:column``, or the environment variable.
    """

    name: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Configured:
    """The configuration as it is in force.

    Parameters
    ----------
    settings
        The values.
    folder
        The folder of its files; None if there is none.
    environment
        What ``DRIFTLINE_ENV`` names; None if it names nothing.
    origins
        Where each value came from that is not a default.
    home
        Folders to keep things in if none is set; the user's own.
    unknown
        Variables of the environment that look like settings and are none, each with a hint.
    """

    settings: Configuration = field(default_factory=Configuration)
    folder: Path | None = None
    environment: str | None = None
    origins: Mapping[Location, str] = field(default_factory=dict)
    home: Path = field(default_factory=Path)
    unknown: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> Iterator[Value]:
        """Yield all values, in order of the schema."""
        for location, value in leaves(self.settings.model_dump(mode="json")):
            yield Value(".".join(map(str, location)), value, self.origin(location))

    def origin(self, location: Location) -> str:
        """Return where a value came from; a part of a mapping may come from the whole."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.origins:
                return self.origins[location[:length]]
        return DEFAULT

    def path(self, name: str) -> Path | None:
        """Return the folder that a setting names; None if it is not set, or no folder.

        A relative path in a file starts at the folder that holds ``config/``, one in the
        environment, like a default, where the program was started.

        Parameters
        ----------
        name
            One of `FOLDERS`.
        """
        location = tuple(name.split("."))
        value: Any = self.settings
        for part in location:
            value = getattr(value, part, None)
        if name == "cache" and value is None:
            return self.home / "driftline"
        if value is None or ("://" in value and not value.startswith("file://")):
            return None
        origin = self.origin(location)
        inside = self.folder is not None and origin != DEFAULT and not origin.startswith(PREFIX)
        base = self.folder.parent if inside and self.folder is not None else Path()
        return base / Path(value.removeprefix("file://")).expanduser()

    @property
    def cache(self) -> Path:
        """The folder of what runs share."""
        return self.path("cache") or self.home / "driftline"

    @property
    def registry(self) -> str | None:
        """The registry, as commands take it: a path or an address; None if none is set."""
        path = self.path("registry")
        return self.settings.registry if path is None else str(path)


def load(folder: Path | None, environ: Mapping[str, str]) -> Configured:
    """Read the configuration.

    Parameters
    ----------
    folder
        The folder of its files; None: there are none.
    environ
        The environment variables.

    Raises
    ------
    InputError
        For the first thing wrong, with the file, line and column, or the variable.
    """
    named = environ.get(ENVIRONMENT, "").strip() or None
    layers = [*_files(folder), *_environment_file(folder, named)]
    variables, unknown = _variables(environ)
    merged: dict[str, Any] = {}
    origins: dict[Location, str] = {}
    for document in [*layers, variables]:
        validate(document, Configuration)
        for location, value in leaves(document.data):
            _put(merged, origins, location, value)
            origins[location] = document.place(location)
    whole = replace(variables, data=merged, overridden=tuple(origins.items()))
    settings = validate(whole, Configuration)
    return Configured(settings, folder, named, origins, _home(environ), unknown)


def _home(environ: Mapping[str, str]) -> Path:
    """Return where the user's caches are; a user without a home has them where all may write."""
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"])
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(gettempdir())


def find(environ: Mapping[str, str], here: Path) -> Path | None:
    """Return the configuration folder: ``$DRIFTLINE_CONFIG``, else ``config/`` of `here`, if any.

    Raises
    ------
    InputError
        If the variable names no folder.
    """
    named = environ.get(FOLDER, "").strip()
    if named:
        if not Path(named).is_dir():
            raise InputError(f"there is no folder {named}", FOLDER)
        return Path(named)
    usual = here / "config"
    return usual if any((usual / name).is_file() for name in FILES) else None


def configured() -> Configured:
    """Return the configuration of this process: what its environment and its folder say."""
    return load(find(os.environ, Path()), os.environ)


def leaves(data: Any, location: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Yield what a nested mapping holds, each with its place.

    Examples
    --------
    >>> list(leaves({"s3": {"bucket": "lake"}, "runs": "r"}))
    [(('s3', 'bucket'), 'lake'), (('runs',), 'r')]
    """
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, (*location, key))
    elif location and data != {}:
        yield location, data


def _put(
    merged: dict[str, Any], origins: dict[Location, str], location: Location, value: Any
) -> None:
    """Set a value; what was below it, or was in its way, is gone."""
    for old in [old for old in origins if old[: len(location)] == location]:
        del origins[old]
    inner = merged
    for at, part in enumerate(location[:-1]):
        if not isinstance(inner.get(str(part)), dict):
            inner[str(part)] = {}
            origins.pop(location[: at + 1], None)
        inner = inner[str(part)]
    inner[str(location[-1])] = value


# --- files ----------------------------------------------------------------------------------


def _files(folder: Path | None) -> Iterator[Document]:
    """Yield the files of the folder that are there."""
    for name, location in FILES.items():
        if folder is not None and (folder / name).is_file():
            document = read_settings(folder / name)
            if location:
                validate(document, Logging)
                document = _below(document, *location)
            elif "logging" in document.data:
                message = f"logging: belongs in {folder / 'logging.yaml'}"
                raise InputError(message, document.place(("logging",)))
            yield document


def _environment_file(folder: Path | None, named: str | None) -> Iterator[Document]:
    """Yield the file of the environment that was asked for."""
    if named is None:
        return
    environments = folder / "environments" if folder is not None else Path("config/environments")
    path = environments / f"{named}.yaml"
    if not re.fullmatch(r"[\w-]+", named) or not path.is_file():
        there = ", ".join(sorted(one.stem for one in environments.glob("*.yaml"))) or "none"
        message = f"there is no environment {named!r} in {environments} (there are: {there})"
        raise InputError(message, ENVIRONMENT)
    yield read_settings(path)


def read_settings(path: Path) -> Document:
    """Read a file of settings, which may hold no secret.

    Raises
    ------
    InputError
        If it cannot be read, or a value looks like a secret; the message does not tell it.
    """
    text = path.read_text("utf-8-sig") if path.is_file() else ""
    if path.is_file() and not re.sub(r"(?m)^\s*(#.*|---)?$", "", text).strip():
        return parse("{}", path, "configuration")  # all commented out: nothing is set
    document = read(path, "configuration")
    for location, value in leaves(document.data):
        if isinstance(value, str) and (PASSWORD.search(value) or any(suspicions(value))):
            message = "looks like a secret: put it into the environment (docs/secrets.md)"
            where = ".".join(map(str, location))
            raise InputError(f"{where}: {message}", document.place(location))
    return document


def _below(document: Document, key: str) -> Document:
    """Return a document as the part of another that `key` names; it still knows its lines."""
    places = tuple(
        ((key, *location), document.place(location)) for location, _ in leaves(document.data)
    )
    return replace(document, data={key: document.data}, overridden=places)


# --- environment variables ------------------------------------------------------------------


def fields(schema: type[BaseModel] = Configuration, start: Location = ()) -> dict[Location, Any]:
    """Return the types of all settings that are no group of others, by their place.

    Examples
    --------
    >>> "int" in str(fields()[("metrics", "port")])
    True
    """
    found: dict[Location, Any] = {}
    for name, one in schema.model_fields.items():
        inner = _group(one.annotation)
        found |= fields(inner, (*start, name)) if inner else {(*start, name): one.annotation}
    return found


def _group(annotation: Any) -> type[BaseModel] | None:
    """Return the settings class that a type is, or may be."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def variable(location: Location) -> str:
    """Return the environment variable of a setting.

    Examples
    --------
    >>> variable(("s3", "bucket"))
    'DRIFTLINE_S3__BUCKET'
    """
    return PREFIX + NESTED.join(str(part).upper() for part in location)


def _variables(environ: Mapping[str, str]) -> tuple[Document, dict[str, str]]:
    """Return what environment variables set, and those that look as if they did."""
    known = {variable(location): location for location in fields()}
    short = [name[len(PREFIX) :] for name in known]
    groups = {location[0] for location in known.values() if len(location) > 1}
    merged: dict[str, Any] = {}
    origins: dict[Location, str] = {}
    unknown: dict[str, str] = {}
    for name in sorted(environ):
        text = environ[name].strip()
        if not name.startswith(PREFIX) or name in (ENVIRONMENT, FOLDER) or not text:
            continue  # what is empty is not set: compose files hand on what there is not
        if name not in known:
            near = difflib.get_close_matches(name[len(PREFIX) :], short, 1, 0.8)
            meant = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            hint = f"there is no setting of this name{meant}"
            if name.removeprefix(PREFIX).split(NESTED)[0].lower() in groups and NESTED in name:
                listed = "" if near else f" (there are {', '.join(sorted(known))})"
                raise InputError(f"{hint}{listed}", name)
            unknown[name] = hint
            continue
        _put(merged, origins, known[name], _read(text, fields()[known[name]], name))
        origins[known[name]] = name
    empty = parse("{}", Path("environment"), "environment")
    return replace(empty, data=merged, overridden=tuple(origins.items())), unknown


def _read(text: str, annotation: Any, name: str) -> Any:
    """Return the value of a variable: a text where a text may stand, YAML elsewhere."""
    if "int" not in str(annotation) and "bool" not in str(annotation):
        return text
    try:
        return parse(f"value: {text}", Path(name), "value").data["value"]
    except InputError:
        return text  # which validation refuses
