"""What is wrong with a script once its source is known: columns, rows, kinds, streams.

The schema of the scenario file knows what a script may say; these checks know what it is about.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from engine.batch import Schema
from engine.errors import InputError
from engine.quantities import interval_micros, moment_micros, records_and_micros
from engine.settings import AllOf, AnyDetector, AnyOf, AnyPolicy, CatBoostModel, Latency, OnAlarm
from engine.sources.blocks import Source
from scenarios import spec

Loc = tuple[str | int, ...]
"""Where in the scenario document: keys and positions, from the root."""
Problem = tuple[Loc, str]

BINARY_DETECTORS = ("ddm", "eddm", "hddm_a", "hddm_w")
"""Detectors of a rate of 0/1 errors, which regression does not have."""
NAMES_MAX = 12
"""How many names a message lists."""
TIME_MAX = moment_micros("9999-12-31")
SPAN_MAX = 100 * 366 * 86_400_000_000
RECORDS_MAX = 10**12


def check_script(scenario: spec.Scenario, schema: Schema, rows: int) -> Iterator[Problem]:
    """Yield what does not fit between a scenario and its source.

    Parameters
    ----------
    scenario
        The scenario, itself valid.
    schema
        The columns that its source has.
    rows
        How many rows its source has.

    Yields
    ------
    tuple
        The location in the scenario's document, and what is wrong there and what is allowed.

    Examples
    --------
    >>> outage = spec.Outage(kind="outage", at=50, until=90)
    >>> source = spec.GeneratorSource(kind="generator", name="sea", records=40)
    >>> scenario = spec.Scenario(name="sea", source=source, script=(outage,))
    >>> for loc, message in check_script(scenario, Schema(("x",), ()), rows=40):
    ...     print(loc, message)
    ('script', 0, 'at') at 50 is after the end: the source has 40 rows
    ('script', 0, 'until') until 90 is after the end: the source has 40 rows
    """
    if schema.task != scenario.labels.task:
        yield ("labels", "task"), f"must be {schema.task}: that is what the source's labels are for"
    for number, item in enumerate(scenario.script):
        loc: Loc = ("script", number)
        yield from _check_rows(item, rows, loc)
        yield from _check_streams(item, scenario.count, loc)
        if isinstance(item, spec.CovariateDrift):
            yield from _check_covariate(item, schema, loc)
        elif isinstance(item, spec.PriorDrift):
            if schema.task == "regression":
                yield (*loc, "kind"), "a prior drift needs classes, the task is regression"
        elif isinstance(item, spec.ConceptDrift):
            yield from _check_concept(item, schema, loc)
        elif isinstance(item, spec.Missing | spec.Stuck | spec.Swapped):
            yield from _check_columns(item.columns, schema, (*loc, "columns"))
            if isinstance(item, spec.Swapped):
                yield from _check_pair(item.columns, schema, (*loc, "columns"))
    yield from _check_detectors(scenario, schema)
    yield from check_policy(scenario.policy, scenario.detectors, ("policy",))
    yield from _check_retraining(scenario)
    yield from _check_times(scenario, rows)


def check_source(scenario: spec.Scenario, source: Source) -> Iterator[Problem]:
    """Yield what a script asks of a source that it does not have: classes, changes to itself.

    This makes each changed source, which may take a while: a synthesizer is fitted again.

    Parameters
    ----------
    scenario
        The scenario, itself valid.
    source
        The source that it names.

    Yields
    ------
    tuple
        As `check_script` does.

    Examples
    --------
    >>> source = spec.GeneratorSource(kind="generator", name="sea", records=40)
    >>> scenario = spec.Scenario(name="sea", source=source)
    >>> list(check_source(scenario, source=None))  # its script is empty
    []
    """
    yield from _check_classes(scenario, source)
    yield from _check_variants(scenario, source)


def _check_classes(scenario: spec.Scenario, source: Source) -> Iterator[Problem]:
    """Check that the source has the classes that a script changes."""
    touched = [
        (("script", number, place), name)
        for number, item in enumerate(scenario.script)
        for place in ("mix", "relabel")
        for name in getattr(item, place, None) or ()
    ]
    brings = any(isinstance(item, spec.ConceptDrift) and item.to for item in scenario.script)
    if not touched or brings or scenario.labels.task == "regression":
        return
    classes = source.classes
    for loc, name in touched:
        if classes is not None and name not in classes:
            yield (*loc, name), f"there is no label {name!r}; there are {', '.join(classes)}"


def _check_variants(scenario: spec.Scenario, source: Source) -> Iterator[Problem]:
    """Check that the changed sources which a script asks for can be made."""
    for number, item in enumerate(scenario.script):
        if not isinstance(item, spec.ConceptDrift) or item.to is None:
            continue
        loc: Loc = ("script", number, "to")
        if not item.to:
            yield loc, "is empty: say what becomes different about the source"
            continue
        try:
            changed = source.variant(item.to)
        except InputError as error:
            yield loc, str(error)
            continue
        needed = source.rows
        if item.until is not None:
            needed = min(needed, item.until + item.over)
        if changed.rows < needed:
            yield (
                loc,
                f"the changed source has {changed.rows} rows, the drift needs {needed}: "
                "give it as many rows, or the drift an earlier until",
            )


def _check_times(scenario: spec.Scenario, rows: int) -> Iterator[Problem]:
    """Check that nothing leads beyond the year 9999, where event times end, or beyond 64 bits."""
    source = scenario.source
    if isinstance(source, spec.Timed) and getattr(source, "time", None) is None:
        end = int(moment_micros(source.start) + rows * interval_micros(source.rate))
        if end > TIME_MAX:
            yield (
                ("source", "rate"),
                f"{rows} rows at {source.rate} from {source.start} on end after the year 9999",
            )
    latency = scenario.retraining.latency
    spans: list[tuple[Loc, int | str]] = [(("labels", "delay"), scenario.labels.delay)]
    if isinstance(latency, Latency):
        spans += [
            (("retraining", "latency", name), getattr(latency, name))
            for name in ("fixed", "per_1000_rows", "per_trial")
        ]
    else:
        spans.append((("retraining", "latency"), latency))
    if scenario.retraining.archive is not None:
        spans.append((("retraining", "archive", "latency"), scenario.retraining.archive.latency))
    spans += [
        (("script", number, "delay"), item.delay)
        for number, item in enumerate(scenario.script)
        if isinstance(item, spec.LateLabels)
    ]
    for loc, span in spans:
        records, micros = records_and_micros(span)
        if micros > SPAN_MAX or records > RECORDS_MAX:
            yield loc, f"{str(span)[:30]} is too long: at most 100 years or {RECORDS_MAX:,} records"


def _check_rows(item: spec.Item, rows: int, loc: Loc) -> Iterator[Problem]:
    """Check that an item begins and ends within the source."""
    if item.at >= rows:
        yield (*loc, "at"), f"at {item.at} is after the end: the source has {rows} rows"
    if item.until is not None and item.until > rows:
        yield (*loc, "until"), f"until {item.until} is after the end: the source has {rows} rows"


def _check_streams(item: spec.Item, count: int, loc: Loc) -> Iterator[Problem]:
    """Check that the streams which an item touches exist."""
    for at, index in enumerate(item.streams or ()):
        if index >= count:
            known = "only 0" if count == 1 else f"0 to {count - 1}"
            yield (*loc, "streams", at), f"there is no stream {index}: there is {known}"


def _check_covariate(item: spec.CovariateDrift, schema: Schema, loc: Loc) -> Iterator[Problem]:
    """Check the columns of a covariate drift and how each of them changes."""
    for name, shift in item.columns.items():
        here = (*loc, "columns", name)
        if name not in schema.features:
            yield here, _unknown(name, schema.features)
        elif shift.mix is not None and name in schema.numeric:
            yield (*here, "mix"), f"{name} is numeric: give scale or offset; mix is for categories"
        elif shift.mix is None and name in schema.categorical:
            given = "scale" if "scale" in shift.model_fields_set else "offset"
            yield (*here, given), f"{name} is categorical: give mix; {given} is for numbers"
        if shift.mix is not None and sum(shift.mix.values()) > 1 + 1e-9:
            total = sum(shift.mix.values())
            yield (*here, "mix"), f"mix adds up to {total:g}, more than 1"
    if item.correlation is not None:
        pair, here = item.correlation.columns, (*loc, "correlation", "columns")
        for at, name in enumerate(pair):
            yield from _check_numeric(name, schema, (*here, at))
        if pair[0] == pair[1]:
            yield (*here, 1), f"two different columns are needed, not {pair[0]} twice"


def _check_concept(item: spec.ConceptDrift, schema: Schema, loc: Loc) -> Iterator[Problem]:
    """Check that a concept drift fits the task, and its region the columns."""
    if item.relabel is not None and schema.task == "regression":
        yield (*loc, "relabel"), "relabel needs classes, the task is regression: use shift"
    if item.shift is not None and schema.task == "classification":
        yield (*loc, "shift"), "shift needs numbers, the task is classification: use relabel"
    if item.by is not None:
        yield from _check_numeric(item.by, schema, (*loc, "by"))
    if item.where is None:
        return
    here, name = (*loc, "where"), item.where.column
    if name not in schema.features:
        yield (*here, "column"), _unknown(name, schema.features)
    elif item.where.levels is not None and name in schema.numeric:
        yield (*here, "levels"), f"{name} is numeric: give above and/or below, not levels"
    elif item.where.levels is None and name in schema.categorical:
        given = "above" if item.where.above is not None else "below"
        yield (*here, given), f"{name} is categorical: give levels, not {given}"


def _check_detectors(scenario: spec.Scenario, schema: Schema) -> Iterator[Problem]:
    """Check that the detectors' columns exist and that their kinds fit the task."""
    for number, detector in enumerate(scenario.detectors):
        loc: Loc = ("detectors", number)
        columns = getattr(detector, "columns", None) or ()
        yield from _check_columns(columns, schema, (*loc, "columns"))
        if detector.kind in BINARY_DETECTORS and schema.task == "regression":
            yield (
                (*loc, "kind"),
                f"{detector.kind} counts wrong classes, the task is regression: "
                "use adwin, page_hinkley or kswin",
            )


def _check_retraining(scenario: spec.Scenario) -> Iterator[Problem]:
    """Check that tuning and guard rails suit the model and the task."""
    rules, model = scenario.retraining, scenario.model
    here: Loc = ("retraining", "tuning")
    if rules.tuning is not None and not isinstance(model, CatBoostModel):
        yield here, "tuning searches CatBoost's settings; a python model tunes itself in its fit"
    if rules.tuning is not None and rules.tuning.timeout is not None:
        yield (
            (*here, "timeout"),
            "timeout ends a search by the clock, so a run could not be repeated: "
            "leave it out, trials is the bound",
        )
    if rules.tuning is not None and not any(dict(rules.tuning.space).values()):
        yield (*here, "space"), "nothing is left to search: give bounds for at least one setting"
    guards = getattr(rules.judge, "guards", None)
    if guards is None:
        return
    here = ("retraining", "judge", "guards")
    for name in ("collapse", "calibration"):
        if getattr(guards, name) is not None and scenario.labels.task == "regression":
            yield (*here, name), f"{name} is about classes, the task is regression"
    if guards.size is not None and not isinstance(model, CatBoostModel):
        yield (*here, "size"), "size counts CatBoost's trees; a python model has none"


def check_policy(
    policy: AnyPolicy, detectors: Sequence[AnyDetector], loc: Loc
) -> Iterator[Problem]:
    """Check that the detectors exist which policies listen to, those inside others too."""
    if isinstance(policy, AnyOf | AllOf):
        for number, member in enumerate(policy.of):
            yield from check_policy(member, detectors, (*loc, "of", number))
    if not isinstance(policy, OnAlarm):
        return
    there = [one for one in detectors if one.on == policy.on]
    names = dict.fromkeys(name for one in there for name in (one.name, one.kind) if name)
    if policy.detector not in names:
        known = ", ".join(names) or "none at all"
        yield (
            (*loc, "detector"),
            f"no detector on {policy.on} is called {policy.detector!r}; there is {known}",
        )


def _check_columns(names: Sequence[str], schema: Schema, loc: Loc) -> Iterator[Problem]:
    """Check that all columns exist."""
    for at, name in enumerate(names):
        if name not in schema.features:
            yield (*loc, at), _unknown(name, schema.features)


def _check_pair(pair: tuple[str, str], schema: Schema, loc: Loc) -> Iterator[Problem]:
    """Check that two columns can be swapped: different ones of one kind."""
    kinds: Mapping[str, str] = {
        **dict.fromkeys(schema.numeric, "numeric"),
        **dict.fromkeys(schema.categorical, "categorical"),
    }
    a, b = pair
    if a == b:
        yield (*loc, 1), f"two different columns are needed, not {a} twice"
    elif a in kinds and b in kinds and kinds[a] != kinds[b]:
        yield (
            (*loc, 1),
            f"only columns of one kind can be swapped: {a} is {kinds[a]}, {b} is {kinds[b]}",
        )


def _check_numeric(name: str, schema: Schema, loc: Loc) -> Iterator[Problem]:
    """Check that a column exists and is numeric."""
    if name not in schema.features:
        yield loc, _unknown(name, schema.numeric)
    elif name in schema.categorical:
        yield loc, f"{name} is categorical: a numeric column is needed"


def _unknown(name: str, names: Sequence[str]) -> str:
    """Say that there is no such column, and which one may be meant."""
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"there is no column {name}; did you mean {close[0]}?"
    if not names:
        return f"there is no column {name}: there is none of the kind needed"
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"there is no column {name}; there are {', '.join(names[:NAMES_MAX])}{more}"
