from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine.batch import Schema
from engine.errors import InputError
from engine.settings import Adwin, Kswin, Space
from engine.sources.blocks import Source
from scenarios.checks import check_script, check_source
from scenarios.spec import Scenario
from tests.scenarios import MemorySource
from tests.scenarios.test_drifts import EVERY_KIND

SCHEMA = Schema(("x", "nswdemand"), ("c", "d"))
REGRESSION = replace(SCHEMA, task="regression")
ROWS = 45312
SOURCE = {"kind": "generator", "name": "sea", "records": ROWS}


def scenario_of(*script: dict[str, Any], **settings: Any) -> Scenario:
    document = {"name": "s", "source": SOURCE, "script": script, **settings}
    return Scenario.model_validate_json(TypeAdapter(Any).dump_json(document))


def problems(
    *script: dict[str, Any], schema: Schema = SCHEMA, **settings: Any
) -> list[tuple[Any, str]]:
    settings = {"labels": {"task": schema.task}, **settings}
    return list(check_script(scenario_of(*script, **settings), schema, ROWS))


def test_the_task_is_the_sources() -> None:
    ((loc, message),) = problems(schema=REGRESSION, labels={})
    assert loc == ("labels", "task")
    assert message.startswith("must be regression")


DRIFT = {"kind": "covariate", "at": 100}
CONCEPT = {"kind": "concept", "at": 100}
LOST = {"kind": "missing", "at": 100, "until": 200}
SWAP = {**LOST, "kind": "swapped"}
SLOW = {"over": 50, "shape": "incremental"}

WRONG: list[tuple[dict[str, Any], tuple[Any, ...], str]] = [
    (
        {"kind": "prior", "at": 50000, "mix": {"a": 0.5}},
        ("at",),
        "at 50000 is after the end: the source has 45312 rows",
    ),
    (
        {"kind": "prior", "at": ROWS, "mix": {"a": 0.5}},
        ("at",),
        "at 45312 is after the end: the source has 45312 rows",
    ),
    (
        {"kind": "prior", "at": 5, "until": ROWS + 1, "mix": {"a": 0.5}},
        ("until",),
        "until 45313 is after the end: the source has 45312 rows",
    ),
    (
        {**DRIFT, "columns": {"nswdemnd": {"scale": 2.0}}},
        ("columns", "nswdemnd"),
        "there is no column nswdemnd; did you mean nswdemand?",
    ),
    (
        {**DRIFT, "columns": {"qqq": {"scale": 2.0}}},
        ("columns", "qqq"),
        "there is no column qqq; there are x, nswdemand, c, d",
    ),
    (
        {**DRIFT, "columns": {"c": {"scale": 2.0}}},
        ("columns", "c", "scale"),
        "c is categorical: give mix; scale is for numbers",
    ),
    (
        {**DRIFT, "columns": {"c": {"offset": 2.0}}},
        ("columns", "c", "offset"),
        "c is categorical: give mix; offset is for numbers",
    ),
    (
        {**DRIFT, "columns": {"x": {"mix": {"a": 0.5}}}},
        ("columns", "x", "mix"),
        "x is numeric: give scale or offset; mix is for categories",
    ),
    (
        {**DRIFT, "columns": {"c": {"mix": {"a": 0.5, "b": 0.7}}}},
        ("columns", "c", "mix"),
        "mix adds up to 1.2, more than 1",
    ),
    (
        {**DRIFT, "correlation": {"columns": ["x", "d"], "to": 0.5}},
        ("correlation", "columns", 1),
        "d is categorical: a numeric column is needed",
    ),
    (
        {**DRIFT, "correlation": {"columns": ["y", "x"], "to": 0.5}},
        ("correlation", "columns", 0),
        "there is no column y; there are x, nswdemand",
    ),
    (
        {**DRIFT, "correlation": {"columns": ["x", "x"], "to": 0.5}},
        ("correlation", "columns", 1),
        "two different columns are needed, not x twice",
    ),
    (
        {**CONCEPT, "shift": {"offset": 1.0}},
        ("shift",),
        "shift needs numbers, the task is classification: use relabel",
    ),
    (
        {**CONCEPT, **SLOW, "by": "c", "relabel": {"a": "b"}},
        ("by",),
        "c is categorical: a numeric column is needed",
    ),
    (
        {**CONCEPT, "relabel": {"a": "b"}, "where": {"column": "nope", "above": 1}},
        ("where", "column"),
        "there is no column nope; there are x, nswdemand, c, d",
    ),
    (
        {**CONCEPT, "relabel": {"a": "b"}, "where": {"column": "x", "levels": ["a"]}},
        ("where", "levels"),
        "x is numeric: give above and/or below, not levels",
    ),
    (
        {**CONCEPT, "relabel": {"a": "b"}, "where": {"column": "c", "below": 1}},
        ("where", "below"),
        "c is categorical: give levels, not below",
    ),
    (
        {**LOST, "columns": ["x", "nswdemands"]},
        ("columns", 1),
        "there is no column nswdemands; did you mean nswdemand?",
    ),
    (
        {**LOST, "kind": "stuck", "columns": ["zzz"]},
        ("columns", 0),
        "there is no column zzz; there are x, nswdemand, c, d",
    ),
    (
        {**SWAP, "columns": ["x", "c"]},
        ("columns", 1),
        "only columns of one kind can be swapped: x is numeric, c is categorical",
    ),
    (
        {**SWAP, "columns": ["x", "x"]},
        ("columns", 1),
        "two different columns are needed, not x twice",
    ),
    (
        {**SWAP, "columns": ["x", "zzz"]},
        ("columns", 1),
        "there is no column zzz; there are x, nswdemand, c, d",
    ),
    (
        {**LOST, "columns": ["x"], "streams": [0, 1]},
        ("streams", 1),
        "there is no stream 1: there is only 0",
    ),
]


@pytest.mark.parametrize(("item", "where", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_each_problem_is_found_at_its_place(
    item: dict[str, Any], where: tuple[Any, ...], message: str
) -> None:
    right = {**LOST, "columns": ["x"]}
    assert problems(right, item) == [(("script", 1, *where), message)]


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({**CONCEPT, "relabel": {"a": "b"}}, "relabel"),
        ({"kind": "prior", "at": 5, "mix": {"a": 0.5}}, "kind"),
    ],
)
def test_classes_are_for_classification(item: dict[str, Any], where: str) -> None:
    ((loc, message),) = problems(item, schema=REGRESSION)
    assert loc == ("script", 0, where)
    assert "the task is regression" in message
    assert problems(item) == []
    assert problems({**CONCEPT, "shift": {"offset": 1.0}}, schema=REGRESSION) == []


def test_streams_are_counted() -> None:
    item = {**LOST, "columns": ["x"], "streams": [0, 2, 3]}
    assert problems(item, streams=3) == [
        (("script", 0, "streams", 2), "there is no stream 3: there is 0 to 2")
    ]


def test_detectors_columns_exist() -> None:
    columns = ("x", "nsw_demand")
    detectors = (Adwin(kind="adwin"), Kswin(kind="kswin", on="features", columns=columns))
    scenario = scenario_of().model_copy(update={"detectors": detectors})
    assert list(check_script(scenario, SCHEMA, ROWS)) == [
        (
            ("detectors", 1, "columns", 1),
            "there is no column nsw_demand; did you mean nswdemand?",
        )
    ]


@pytest.mark.parametrize("kind", ["ddm", "eddm", "hddm_a", "hddm_w"])
def test_binary_detectors_are_for_classification(kind: str) -> None:
    detectors = [{"kind": "adwin"}, {"kind": kind}]
    ((loc, message),) = problems(detectors=detectors, schema=REGRESSION)
    assert loc == ("detectors", 1, "kind")
    assert message.startswith(f"{kind} counts wrong classes, the task is regression: use adwin")
    assert problems(detectors=detectors) == []


@pytest.mark.parametrize("kind", ["adwin", "page_hinkley", "kswin"])
def test_other_detectors_are_for_both(kind: str) -> None:
    assert problems(detectors=[kind], schema=REGRESSION) == []


PYTHON = {"kind": "python", "factory": "a:b"}


@pytest.mark.parametrize(
    ("settings", "where", "said"),
    [
        ({"model": PYTHON, "retraining": {"tuning": {}}}, ("tuning",), "CatBoost's settings"),
        ({"retraining": {"tuning": {"timeout": "5m"}}}, ("tuning", "timeout"), "by the clock"),
        (
            {"retraining": {"tuning": {"space": dict.fromkeys(Space.model_fields)}}},
            ("tuning", "space"),
            "nothing is left",
        ),
        (
            {"model": PYTHON, "retraining": {"judge": {"shadow": 9, "guards": {"size": 5}}}},
            ("judge", "guards", "size"),
            "trees",
        ),
        (
            {"retraining": {"archive": {"latency": "200000d"}}},
            ("archive", "latency"),
            "at most 100 years",
        ),
        (
            {"retraining": {"latency": {"per_trial": "200000d"}}},
            ("latency", "per_trial"),
            "at most 100 years",
        ),
    ],
)
def test_what_retraining_cannot_do_is_said(
    settings: dict[str, Any], where: tuple[str, ...], said: str
) -> None:
    ((loc, message),) = problems(**settings)
    assert loc == ("retraining", *where) and said in message


@pytest.mark.parametrize("name", ["collapse", "calibration"])
def test_guard_rails_about_classes_are_for_classification(name: str) -> None:
    rules = {"judge": {"holdout": 9, "guards": {name: 0.5}}}
    assert problems(retraining=rules) == []
    ((loc, _),) = problems(retraining=rules, schema=REGRESSION)
    assert loc == ("retraining", "judge", "guards", name)


def test_all_problems_are_found_at_once() -> None:
    item = {**LOST, "at": 50000, "until": 60000, "columns": ["p", "q"], "streams": [7]}
    assert len(problems(item, item)) == 10


def test_long_lists_of_columns_are_cut() -> None:
    wide = Schema(tuple(f"column{n}" for n in range(30)), ())
    ((_, message),) = problems({**LOST, "columns": ["zzz"]}, schema=wide)
    assert message.endswith("column11 and 18 more")


def test_a_script_that_fits_has_no_problems() -> None:
    source = MemorySource()
    fitting = scenario_of(*EVERY_KIND, {**DRIFT, "columns": {"c": {"mix": {"new": 1.0}}}})
    assert list(check_script(fitting, source.schema, source.rows)) == []


# --- changed sources ------------------------------------------------------------------------


class Refusing(MemorySource):
    def variant(self, changes: Any) -> MemorySource:
        raise InputError("there is no such file", "b.csv")


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (Refusing(), {}, "b.csv: there is no such file"),
        (MemorySource(), {"rows": 3000}, "the changed source has 3000 rows, the drift needs 5000"),
        (MemorySource(), {"rows": 2999, "until": 3000}, "2999 rows, the drift needs 3000"),
    ],
)
def test_changed_sources_must_fit(source: Source, settings: Any, message: str) -> None:
    to = {"offset": 1.0, "rows": settings.get("rows", 5000)}
    item = {**CONCEPT, "to": to, "until": settings.get("until")}
    ((loc, found),) = check_source(scenario_of({**LOST, "columns": ["x"]}, item), source)
    assert loc == ("script", 1, "to")
    assert message in found


def test_changed_sources_that_fit() -> None:
    items = [{**CONCEPT, "to": {"rows": 3000}, "until": 3000}, {**CONCEPT, "to": {"offset": 1.0}}]
    assert list(check_source(scenario_of(*items), MemorySource())) == []
