"""From a scenario file to a checked scenario: one sentence with file, line and column if not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from engine.batch import Labels, Schema, table_of
from engine.documents import Document, Location, override, read
from engine.errors import InputError
from engine.policies import build, with_needed
from engine.settings import CatBoostModel, PythonModel
from engine.sources.blocks import Source
from engine.training.fit import check_model, fit, load_factory
from engine.training.jobs import Failed, Job
from engine.validation import validate
from scenarios.checks import check_script, check_source
from scenarios.spec import Scenario
from scenarios.streams import Stream, open_streams

ORIGINS = {
    "file": ("path",),
    "generator": (),
    "synthetic": ("table", "synthesizer"),
    "news": ("path",),
}
"""The settings of each kind of source that name files."""
LABELS_SHOWN = 6
"""How many labels a message lists."""


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

    Nothing is written, and no model fitted but a tiny one for `model.params`, if there are any.

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
        raise placed(error, document, ("source",), ORIGINS[scenario.source.kind]) from None
    source = streams[0].source
    for location, message in chain(problems(loaded, schema, rows), check_source(scenario, source)):
        where = ".".join(str(part) for part in location)
        raise InputError(f"{where}: {message}", document.place(location))
    try_model(loaded, source)
    rehearse(loaded)
    return streams


def try_model(loaded: Loaded, source: Source) -> None:
    """See whether the user's own factory can be imported, and the initial model used.

    Raises
    ------
    InputError
        If not.
    """
    model, document, key = loaded.scenario.model, loaded.document, "factory"
    try:
        if isinstance(model, PythonModel):
            load_factory(model.factory, str(loaded.base))
        if model.initial is not None:
            from engine.training.store import load_initial

            key = "initial"
            path, root = loaded.base / model.initial, str(loaded.base)
            initial = load_initial(path, model, source.schema, root)
            labels = source.classes if initial.classes else None
            if labels is not None and not set(labels) & set(initial.classes):
                answers = ", ".join(map(repr, initial.classes[:LABELS_SHOWN]))
                known = ", ".join(map(repr, labels[:LABELS_SHOWN]))
                message = f"answers {answers}, none of the source's labels {known}"
                raise InputError(f"model.initial: {model.initial} {message}")
    except InputError as error:
        raise InputError(error.message, document.place(("model", key))) from None


def problems(loaded: Loaded, schema: Schema, rows: int) -> Iterator[tuple[Location, str]]:
    """Yield what does not fit, each with its location in the document."""
    scenario = loaded.scenario
    yield from check_script(scenario, schema, rows)
    for key, message in check_model(scenario.model, scenario.labels.task):
        yield (("model", *key.split(".", 1)), message)
    initial = scenario.model.initial
    if initial is not None and not (loaded.base / initial).is_file():
        yield (("model", "initial"), f"there is no file {initial}")
    if scenario.model.initial is None and scenario.retraining.first > rows:
        message = f"first ({scenario.retraining.first}) is more than the source's {rows} rows"
        yield (("retraining", "first"), f"{message}; no model would ever be trained")


def placed(
    error: InputError, document: Document, parent: Location, otherwise: Sequence[str] = ()
) -> InputError:
    """Return an error about a setting with the place where the setting stands.

    An error that names a file but no setting is about one of the settings `otherwise`.
    """
    key: Location = error.key
    if not key and error.place:
        key = tuple(name for name in otherwise if _holds(document.data, (*parent, name)))[:1]
    location = (*parent, *key)
    where = ".".join(str(part) for part in location)
    return InputError(f"{where}: {error}", document.place(location))


def _holds(data: Any, location: Location) -> bool:
    """Return whether a document's data have a value at a location."""
    for part in location:
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def rehearse(loaded: Loaded) -> None:
    """Fit a tiny model with the user's `model.params`, which only CatBoost itself can judge.

    Raises
    ------
    InputError
        If CatBoost refuses them.
    """
    model = loaded.scenario.model
    if not isinstance(model, CatBoostModel) or not model.params:
        return
    table = table_of({"x": [0.0, 1.0, 2.0, 3.0] * 5})
    labels: Labels = np.array(["a", "b", "b", "a"] * 5, dtype=object)
    if loaded.scenario.labels.task == "regression":
        table = replace(table, schema=replace(table.schema, task="regression"))
        labels = np.arange(20, dtype=np.float64)
    outcome = fit(Job(table, labels, model.model_copy(update={"iterations": 2}), seed=0))
    if isinstance(outcome, Failed):
        place = loaded.document.place(("model", "params"))
        raise InputError(f"model.params: CatBoost refuses them: {outcome.reason}", place)
