"""From a scenario file to a checked scenario: one sentence with file, line and column if not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from engine.batch import Schema
from engine.documents import Document, Location, override, read, validate
from engine.errors import InputError
from engine.policies import build, with_needed
from engine.training.fit import check_model
from scenarios.checks import check_classes, check_script, check_variants
from scenarios.spec import Scenario
from scenarios.streams import Stream, open_streams


@dataclass(frozen=True)
class Loaded:
    """A scenario and the document that it came from.

    Parameters
    ----------
    scenario
        The scenario with all defaults.
    document
        Where its values stand.
    """

    scenario: Scenario
    document: Document

    @property
    def base(self) -> Path:
        """The folder that the scenario's paths start from."""
        return self.document.path.parent


def load(path: Path, sets: Sequence[tuple[str, str, str]] = ()) -> Loaded:
    """Read and validate a scenario file.

    Parameters
    ----------
    path
        The file; its name without ending is the scenario's name unless it states one.
    sets
        Values from the command line, each (option, dotted place, YAML text).

    Raises
    ------
    InputError
        If something about the file is wrong, with the place and the fix.
    """
    document = read(path, "scenario")
    if "name" not in document.data:
        document = replace(document, data={"name": path.stem, **document.data})
    for option, dotted, value in sets:
        document = override(document, option, dotted, value)
    scenario = validate(document, Scenario)
    detectors = with_needed(scenario.detectors, build(scenario.policy))
    return Loaded(scenario.model_copy(update={"detectors": detectors}), document)


def parse_set(text: str) -> tuple[str, str, str]:
    """Split the value of a ``--set`` option.

    Raises
    ------
    InputError
        If it is not ``a.b=value``.

    Examples
    --------
    >>> parse_set("labels.delay=24h")
    ('--set', 'labels.delay', '24h')
    """
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise InputError(
            "give --set as place=value, such as --set labels.delay=48", f"--set {text}"
        )
    return ("--set", dotted, value)


def prepare(loaded: Loaded, cache: Path) -> list[Stream]:
    """Open the streams of a scenario and hold the scenario against them.

    Nothing is fitted and nothing is written.

    Parameters
    ----------
    loaded
        The scenario.
    cache
        Folder of results that runs share.

    Raises
    ------
    InputError
        For the first setting that does not fit the source, with its place.
    """
    scenario, document = loaded.scenario, loaded.document
    try:
        streams = open_streams(scenario, loaded.base, cache)
        schema, rows = streams[0].schema, streams[0].rows
    except InputError as error:
        raise placed(error, document, ("source",)) from None
    source = streams[0].source
    found = chain(
        problems(loaded, schema, rows),
        check_classes(scenario, source),
        check_variants(scenario, source),
    )
    for location, message in found:
        where = ".".join(str(part) for part in location)
        raise InputError(f"{where}: {message}", document.place(location))
    return streams


def problems(loaded: Loaded, schema: Schema, rows: int) -> Iterator[tuple[Location, str]]:
    """Yield what does not fit, each with its location in the document."""
    scenario = loaded.scenario
    yield from check_script(scenario, schema, rows)
    for key, message in check_model(scenario.model, scenario.labels.task):
        yield (("model", key), message)
    initial = scenario.model.initial
    if initial is not None and not (loaded.base / initial).is_file():
        yield (("model", "initial"), f"there is no file {initial}")
    if scenario.model.initial is None and scenario.retraining.first > rows:
        message = f"first ({scenario.retraining.first}) is more than the source's {rows} rows"
        yield (("retraining", "first"), f"{message}; no model would ever be trained")


def placed(error: InputError, document: Document, parent: Location) -> InputError:
    """Return an error about a setting with the place where the setting stands."""
    if error.place:
        return error
    location = (*parent, *error.key)
    where = ".".join(str(part) for part in location)
    return InputError(f"{where}: {error.message}", document.place(location))
