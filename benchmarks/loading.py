"""From a benchmark file to cases: one sentence with file, line and column if that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.arms import Equipped
from benchmarks.cases import Case
from benchmarks.findings import StreamFacts
from benchmarks.peers import RetrainOptBase, RetrainOptLearned, missing
from benchmarks.spec import AnyArm, AnyEntry, Bench, GeneratorEntry, ScenarioEntry
from engine.documents import Document, read
from engine.errors import InputError
from engine.settings import AllOf, AnyOf, Latency, Never, OnAlarm, Retraining, Settings
from engine.sources.blocks import Source as OpenSource
from engine.validation import validate
from scenarios.checks import Loc, check_policy, check_script
from scenarios.loading import Loaded, load, prepare
from scenarios.spec import FileSource, GeneratorSource, Scenario, SyntheticSource
from scenarios.streams import Stream

BLOCK_MIN = 5
"""Fewer records to a block say nothing."""
SHARED = ("model", "detectors")
"""What streams do not say themselves, unless they are scenarios."""
Peer = RetrainOptBase | RetrainOptLearned
SOURCES: tuple[type[FileSource] | type[GeneratorSource] | type[SyntheticSource], ...] = (
    FileSource,
    GeneratorSource,
    SyntheticSource,
)


@dataclass(frozen=True)
class Grid:
    """A benchmark, ready to run.

    Parameters
    ----------
    bench
        The spec.
    document
        Where its values stand.
    cases
        A case for each stream, seed and label delay, in this order.
    streams
        The streams in figures.
    sources
        For each stream what its data are, hashes included.
    arms
        The policies that can be had here.
    notes
        What is odd about the streams, and what cannot be had, a sentence each.
    """

    bench: Bench
    document: Document
    cases: tuple[Case, ...]
    streams: tuple[StreamFacts, ...]
    sources: tuple[Mapping[str, Any], ...]
    arms: tuple[AnyArm, ...]
    notes: tuple[str, ...]

    @property
    def facts(self) -> tuple[StreamFacts, ...]:
        """The figures of each case's stream."""
        by_name = {facts.stream: facts for facts in self.streams}
        return tuple(by_name[case.stream] for case in self.cases)


def load_grid(path: Path, cache: Path) -> Grid:
    """Read a benchmark file and open its streams.

    Parameters
    ----------
    path
        The file.
    cache
        Folder of results that runs share.

    Raises
    ------
    InputError
        If something about the file is wrong, with the place and the fix.
    """
    document = read(path, "benchmark")
    if "name" not in document.data:
        document = replace(document, data={"name": path.stem, **document.data})
    bench = validate(document, Bench)
    cases: list[Case] = []
    facts: list[StreamFacts] = []
    sources: list[Mapping[str, Any]] = []
    notes: list[str] = []
    for at, entry in enumerate(bench.streams):
        with said_of(at, entry, document):
            loaded = scenario_of(bench, entry, document, at)
        taken = next((n for n, one in enumerate(facts) if one.stream == loaded.scenario.name), None)
        if taken is not None:
            message = f"streams.{at}: is called {facts[taken].stream}, as streams.{taken} is"
            raise InputError(f"{message}; give one of them an id", document.place(("streams", at)))
        with said_of(at, entry, document):
            stream = prepare(loaded, cache)[0]
        block = stream.rows // bench.blocks
        if block < BLOCK_MIN:
            message = (
                f"streams.{at}: has {stream.rows:,} records, {block} to each of {bench.blocks}"
            )
            raise InputError(f"{message} blocks; lower blocks", document.place(("streams", at)))
        for number, problem in policy_problems(bench, loaded.scenario):
            place = document.place(("policies", number))
            raise InputError(f"policies.{number}: {problem}", place)
        for number, where, problem in addition_problems(bench, loaded.scenario, stream, block):
            loc = ("policies", number, *where)
            raise InputError(f"{'.'.join(map(str, loc))}: {problem}", document.place(loc))
        facts.append(facts_of(loaded.scenario, stream.source, block))
        sources.append(stream.facts)
        notes += [f"{loaded.scenario.name}: {note}" for note in stream.notes]
        made = list(cases_of(bench, loaded, entry.seeds or bench.seeds, block))
        for case in made:
            delay = case.scenario.labels.delay
            if isinstance(delay, int) and delay + case.window * block >= stream.rows:
                message = f"streams.{at}: labels that come {case.label_delay} late leave no first"
                message += f" model in {stream.rows:,} records; lower label_delay or window"
                raise InputError(message, document.place(("streams", at)))
        cases += made
    absent = [missing(arm) if isinstance(arm, Peer) else None for arm in bench.policies]
    arms = [arm for arm, why in zip(bench.policies, absent, strict=True) if why is None]
    notes += dict.fromkeys(why for why in absent if why is not None)
    return Grid(
        bench, document, tuple(cases), tuple(facts), tuple(sources), tuple(arms), tuple(notes)
    )


@contextmanager
def said_of(at: int, entry: AnyEntry, document: Document) -> Iterator[None]:
    """Say what is wrong with a stream of the benchmark in the benchmark's own words."""
    try:
        yield
    except InputError as error:
        if isinstance(entry, ScenarioEntry):
            raise
        where, colon, rest = error.message.partition(": ")
        parts = where.split(".")
        if parts[0] in SHARED:
            raise InputError(error.message, document.place(parts)) from None
        where = ".".join(part for part in parts if part not in ("source", "labels"))
        where = f"streams.{at}.{where}" if where else f"streams.{at}"
        raise InputError(f"{where}{colon}{rest}", error.place) from None


def scenario_of(bench: Bench, entry: AnyEntry, document: Document, at: int) -> Loaded:
    """Return a stream of the benchmark as a scenario that never retrains."""
    place = document.place(("streams", at, "scenario"))
    base, part = document.path.parent, inside(document, at)
    if isinstance(entry, ScenarioEntry):
        path = base / entry.scenario
        if not path.is_file():
            raise InputError(f"streams.{at}.scenario: there is no file {entry.scenario}", place)
        loaded = load(path)
        if loaded.scenario.model.initial is not None:
            message = f"{entry.scenario} begins with model.initial, a benchmark with a first fit"
            raise InputError(f"streams.{at}.scenario: {message}", place)
        own: dict[str, Any] = {"name": entry.id or loaded.scenario.name, "streams": 1}
        own |= {"policy": Never(kind="never"), "retraining": Retraining(first=1)}
        own |= {"detectors": bench.detectors, "decide_every": 1}
        scenario = loaded.scenario.model_copy(update=own)
        return Loaded(scenario, loaded.document)
    data = {
        "name": entry.id or default_id(entry),
        "source": source_of(entry),
        "script": (*(entry.changes if isinstance(entry, GeneratorEntry) else ()), *entry.script),
        "labels": {"task": entry.task, "scale": entry.scale},
        "model": bench.model,
        "detectors": bench.detectors,
        "policy": "never",
        "retraining": {"first": 1},
    }
    return Loaded(validate(replace(part, data=data), Scenario), replace(part, data=data))


def inside(document: Document, at: int) -> Document:
    """Return the part of a document that is about stream `at`, which knows its places."""
    streams = next(value for key, value in document.node.value if key.value == "streams")
    return replace(document, node=streams.value[at], data=document.data["streams"][at])


def default_id(entry: FileSource | GeneratorSource | SyntheticSource) -> str:
    """Return a stream's name where none is given: that of its file or generator.

    Examples
    --------
    >>> default_id(FileSource(kind="file", path="data/my table.csv.gz", label="y"))
    'my_table'
    """
    if isinstance(entry, GeneratorSource):
        return entry.name
    for name in ("path", "table", "synthesizer"):
        if getattr(entry, name, None):
            stem = Path(getattr(entry, name)).name.split(".")[0]
            return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).lstrip("_-") or "data"
    raise AssertionError("each stream is made from something")


def source_of(entry: AnyEntry) -> Settings:
    """Return an entry's source, without what the benchmark adds to it."""
    kind = next(kind for kind in SOURCES if isinstance(entry, kind))
    given = {name: getattr(entry, name) for name in kind.model_fields}
    return kind.model_validate(given)


def policy_problems(bench: Bench, scenario: Scenario) -> Iterator[tuple[int, str]]:
    """Yield why policies cannot be played, by their number."""
    for number, arm in enumerate(bench.policies):
        if queues(arm):
            yield number, "queue starts jobs between the decision points; leave it out"
        policy = arm.policy if isinstance(arm, Equipped) else arm
        if isinstance(policy, OnAlarm | AnyOf | AllOf):
            for _, message in check_policy(policy, scenario.detectors, ()):
                yield number, message


def addition_problems(
    bench: Bench, scenario: Scenario, stream: Stream, block: int
) -> Iterator[tuple[int, Loc, str]]:
    """Yield why a gate, tuning or archive does not fit a stream: the policy's number, where, why.

    A window is so many blocks, so what fits one stream may not fit another.
    """
    rows = bench.window * block
    for number, arm in enumerate(bench.policies):
        if not isinstance(arm, Equipped):
            continue
        given = arm.retraining
        latency = Latency(per_trial=given.per_trial)
        own = {"first": 1, "window": rows, "latency": latency}
        own |= {"judge": given.judge, "tuning": given.tuning, "archive": given.archive}
        try:
            rules = Retraining.model_validate(own)
        except ValidationError as error:
            said = str(error.errors()[0]["ctx"]["error"])
            yield number, ("retraining",), f"{said}, {bench.window} blocks of {scenario.name}"
            continue
        posed = scenario.model_copy(update={"retraining": rules})
        for loc, message in check_script(posed, stream.source.schema, stream.rows):
            if loc[0] == "retraining":
                where = loc if loc[1] != "latency" else ("retraining", "per_trial")
                yield number, where, f"{message} (stream {scenario.name})"


def queues(arm: AnyArm) -> bool:
    """Return whether a policy, or one inside it, keeps requests for later."""
    inner = (arm.policy,) if isinstance(arm, Equipped) else getattr(arm, "of", ())
    return bool(getattr(arm, "queue", False)) or any(map(queues, inner))


def facts_of(scenario: Scenario, source: OpenSource, block: int) -> StreamFacts:
    """Return a stream in figures."""
    classes = source.classes if scenario.labels.task == "classification" else None
    return StreamFacts(
        stream=scenario.name,
        kind=scenario.source.kind,
        records=source.rows,
        block=block,
        features=len(source.schema.features),
        classes=len(classes) if classes is not None else None,
    )


def cases_of(bench: Bench, loaded: Loaded, seeds: Sequence[int], block: int) -> Iterator[Case]:
    """Yield a stream's cases: each seed, each label delay."""
    scenario = loaded.scenario
    own = (scenario.labels.delay,)
    for seed in seeds:
        for delay in own if bench.label_delay is None else bench.label_delay:
            lag = delay if bench.label_delay is None else span_of(delay, block)
            labels = scenario.labels.model_copy(update={"delay": lag})
            yield Case(
                scenario=scenario.model_copy(update={"seed": seed, "labels": labels}),
                base=loaded.base,
                label_delay=str(delay),
                block=block,
                window=bench.window,
                windows=tuple(dict.fromkeys((bench.window, *bench.windows))),
                detectors=bench.detectors,
                shares=bench.prices,
            )


def span_of(lag: float | str, block: int) -> int | str:
    """Return a lag in blocks as records; a duration stays one.

    Examples
    --------
    >>> span_of(0.5, 100), span_of("24h", 100)
    (50, '24h')
    """
    return lag if isinstance(lag, str) else round(lag * block)


def alpha_of(price: float | str, block: int) -> float:
    """Return a price ratio in errors.

    Examples
    --------
    >>> alpha_of("10%", 450), alpha_of(50.0, 450)
    (45.0, 50.0)
    """
    if isinstance(price, str):
        return float(price.removesuffix("%")) / 100 * block
    return float(price)


def price_text(price: float | str) -> str:
    """Return a price ratio as reports state it.

    Examples
    --------
    >>> price_text("10%"), price_text(50.0)
    ('10%', '50')
    """
    return price if isinstance(price, str) else f"{price:g}"


def ascending(prices: Sequence[float | str]) -> tuple[float | str, ...]:
    """Return price ratios from cheap to dear; shares of a block as if it had 100 records."""
    return tuple(sorted(prices, key=lambda price: (alpha_of(price, 100), str(price))))
