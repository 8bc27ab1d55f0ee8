"""The live configuration: one frozen schema, read from its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from engine.alerts.rules import Notify
from engine.documents import Document, override, read
from engine.errors import InputError
from engine.news.features import TextFeatures
from engine.news.settings import Duration, NewsApi, Topic
from engine.policies import build, with_needed
from engine.registrar import RegistrySettings
from engine.settings import (
    CatBoostModel,
    Engine,
    Model,
    OnAdwin,
    PolicySetting,
    Retraining,
    spell_out,
)
from engine.training.fit import check_model
from engine.validation import validate

INGESTION = ("newsapi", "topics", "interval", "data", "notify", "registry")
"""The settings that say how articles are fetched: a run may go on with others."""


def check_topics(topics: tuple[Topic, ...]) -> tuple[Topic, ...]:
    """Return `topics` if no two have the same name; else raise ValueError."""
    names = [topic.name for topic in topics]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two topics are called {name!r}: each needs a name of its own")
    return topics


class Live(Engine):
    """A live configuration as its file states it, all defaults filled in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    seed: Annotated[int, Field(ge=0)] = 0
    newsapi: NewsApi = NewsApi()
    topics: Annotated[tuple[Topic, ...], Field(min_length=1), AfterValidator(check_topics)]
    interval: Duration = "15m"
    data: Annotated[str, Field(pattern=r"^[^\x00]+$")] = "data/"
    text: TextFeatures = TextFeatures()
    notify: Notify = Notify()
    registry: RegistrySettings | None = RegistrySettings()
    model: Annotated[Model, BeforeValidator(spell_out)] = CatBoostModel(
        iterations=1000, depth=6, learning_rate=0.01, early_stopping=50
    )
    policy: PolicySetting = OnAdwin(kind="adwin", cooldown=200)
    retraining: Retraining = Retraining(first=300, window=3000)

    @property
    def stream(self) -> str:
        """The name of its stream."""
        return f"{self.name}-0000"

    def lasting(self) -> dict[str, Any]:
        """Return what has to stay the same for a run to go on, JSON-ready."""
        return self.model_dump(mode="json", exclude=set(INGESTION))


@dataclass(frozen=True)
class LoadedLive:
    """A live configuration and the document that it came from.

    Parameters
    ----------
    live
        The configuration with all defaults.
    document
        Where its values stand.
    """

    live: Live
    document: Document

    @property
    def base(self) -> Path:
        """The folder that the configuration's paths start from."""
        return self.document.path.parent


def load(path: Path, sets: Sequence[tuple[str, str, str]] = ()) -> LoadedLive:
    """Read and validate a live configuration; its name is the file's unless it states one.

    Parameters
    ----------
    path
        The file.
    sets
        Values to put in, each (option, dotted place, YAML text).

    Raises
    ------
    InputError
        If something about the file is wrong, with the place and the fix.
    """
    document = read(path, "live configuration")
    if "name" not in document.data:
        document = replace(document, data={"name": path.stem, **document.data})
    for option, dotted, value in sets:
        document = override(document, option, dotted, value)
    live = validate(document, Live)
    for key, message in check_model(live.model, "classification"):
        location = ("model", *key.split(".", 1))
        raise InputError(f"{'.'.join(location)}: {message}", document.place(location))
    if live.labels.task != "classification":
        message = "labels.task: topics are classes; take regression out"
        raise InputError(message, document.place(("labels", "task")))
    if "latency" in live.retraining.model_fields_set:
        message = "retraining.latency: live it is measured; take it out"
        raise InputError(message, document.place(("retraining", "latency")))
    detectors = with_needed(live.detectors, build(live.policy))
    return LoadedLive(live.model_copy(update={"detectors": detectors}), document)
