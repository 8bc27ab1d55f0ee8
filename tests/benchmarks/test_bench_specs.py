"""Benchmark files: what they mean, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.loading import alpha_of, ascending, load_grid, price_text
from benchmarks.spec import CONCEPTS, GeneratorEntry, label_of
from engine import settings as s
from engine.errors import InputError
from engine.sources.generator import GENERATORS, PARAMS
from engine.terminal import cache_folder
from tests.e2e.driving import ROOT, driftline

SPEC = """\
name: small
seeds: [1, 2]
streams:
  - {kind: generator, name: sea, records: 600, drifts: 2}
  - {scenario: own.yaml}
  - {kind: file, path: t.csv, label: y, id: table}
blocks: 30
window: 3
alphas: [5, "10%"]
latency: [0, 1.5, 2h]
label_delay: [0, 2]
policies: [never, {kind: every, blocks: 5}, {kind: every, blocks: 9}, incremental]
"""
OWN = """\
name: own
source: {kind: generator, name: stagger, records: 600, rate: 1/m}
labels: {delay: 7}
model: {kind: catboost, iterations: 3}
streams: 5
policy: adwin
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(OWN, "utf-8")
    rows = [f"{at % 7},{'rgb'[at % 3]},{'no' if at % 5 else 'yes'}" for at in range(400)]
    (tmp_path / "t.csv").write_text("\n".join(["x,c,y", *rows]) + "\n", "utf-8")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_spec_becomes_cases(folder: Path) -> None:
    grid = load_grid(write(folder, SPEC), folder / "cache")
    assert [facts.stream for facts in grid.streams] == ["sea", "own", "table"]
    assert [facts.block for facts in grid.streams] == [20, 20, 13]
    assert [(case.stream, case.seed, case.label_delay) for case in grid.cases[:5]] == [
        ("sea", 1, "0"), ("sea", 1, "2"), ("sea", 2, "0"), ("sea", 2, "2"), ("own", 1, "0"),
    ]  # fmt: skip
    assert [case.scenario.labels.delay for case in grid.cases[:2]] == [0, 40]
    sea, own = grid.cases[0].scenario, grid.cases[4].scenario
    assert [(item.kind, getattr(item, "at", None)) for item in sea.script] == [
        ("concept", 200), ("concept", 400)
    ]  # fmt: skip
    assert own.count == 1 and own.model.iterations == 3  # type: ignore[union-attr]
    assert {case.window * case.block for case in grid.cases} == {60, 39}


def test_a_scenario_keeps_its_own_label_delay(folder: Path) -> None:
    grid = load_grid(write(folder, SPEC.replace("label_delay: [0, 2]\n", "")), folder / "cache")
    assert [case.label_delay for case in grid.cases] == ["0", "0", "7", "7", "0", "0"]


def test_prices_are_errors_or_shares_of_a_block() -> None:
    given = ("200%", 7.0, "2%")
    assert [price_text(price) for price in ascending(given)] == ["2%", "7", "200%"]
    assert [alpha_of(price, 450) for price in given] == [900.0, 7.0, 9.0]


def test_labels_tell_policies_apart() -> None:
    every = s.Every(kind="every", blocks=5, cooldown="2h")
    both = s.AnyOf(kind="any_of", of=(every, s.OnAdwin(kind="adwin")))
    assert label_of(both) == "any_of of=every,5,blocks,cooldown=2h+adwin"


@pytest.mark.parametrize("name", CONCEPTS)
def test_generators_that_can_change_have_the_parameter(name: str) -> None:
    key, count = CONCEPTS[name]
    assert name in GENERATORS and key in PARAMS[name] and count >= 2
    entry = GeneratorEntry(kind="generator", name=name, drifts=count + 1)
    values = [item.to[key] for item in entry.changes if item.to]
    assert 0 not in values and len(set(values)) == count - 1
    assert len(values) == count, "where the first concept comes again nothing is put in its place"


WRONG = {
    "name: [small]": ("name: small", "1:1", "name: must be a text"),
    "not a policy": ("never,", "12:12", "policies.0: unknown kind 'nevver'"),
    "an unknown key": ("window: 3", "8:1", "windwo: unknown key; did you mean 'window'"),
    "no window": ("window: 3", "8:1", "window: must be"),
    "too large a window": ("window: 3", "1:1", "window (29 blocks) leaves too few of 30 blocks"),
    "no share": ('"10%"', "9:13", "alphas.1: give errors per retrain, such as 50"),
    "twice a price": ('"10%"', "9:1", "alphas: 5.0 stands there twice"),
    "twice a policy": ("incremental", "12:1", "policies: never stands there twice"),
    "a lag in words": ("1.5", "10:14", "latency.1: "),
    "no such generator": ("name: sea", "4:23", "streams.0.name: there is no generator 'see'"),
    "no such file": ("path: t.csv", "6:5", "streams.2: u.csv: there is no such file"),
    "no such scenario": ("own.yaml", "5:6", "streams.1.scenario: there is no file other.yaml"),
    "no such label": ("label: y", "6:31", "streams.2.label: "),
    "no drifts": ("name: sea", "4:5", "streams.0: drifts is for agrawal, mixed"),
    "an odd model": (
        "window: 3",
        "9:34",
        "model.params.depths: is not among",
    ),
    "a concept in words": ("drifts: 2", "4:5", "streams.0: drifts count on from params.variant"),
    "a short stream": ("600, drifts: 2", "4:5", "streams.0: has 100 records, 3 to each of 30"),
    "twins": ("id: table", "6:5", "streams.2: is called sea, as streams.0 is; give one of them"),
    "an unheard detector": ("never,", "12:12", "policies.0: no detector on error is called"),
    "a queue": ("never,", "12:12", "policies.0: queue starts jobs between the decision points"),
    "nothing added": ("never,", "12:", "policies.0.retraining: give a judge, tuning or archive"),
    "an archive that looks too far": (
        "never,",
        "12:",
        "policies.0.retraining: archive.window (61) must not exceed window (60), 3 blocks of sea",
    ),
    "a holdout that takes all": (
        "never,",
        "12:",
        "policies.0.retraining: judge.holdout (39) must be smaller than window (39), 3 blocks of t",
    ),
    "tuning by the clock": ("never,", "12:", "policies.0.retraining.tuning.timeout: timeout ends"),
    "a long trial": ("never,", "12:", "policies.0.retraining.per_trial: 200000d is too long"),
    "a trial of nothing": ("never,", "12:", "policies.0.retraining: per_trial is for tuning"),
    "a policy of its own kind": ("never,", "12:", "policies.0.policy: unknown kind 'incremental'"),
    "a queue inside": ("never,", "12:12", "policies.0: queue starts jobs between the decision"),
    "a detector inside": ("never,", "12:12", "policies.0: no detector on error is called 'mine'"),
    "twins of arms": ("never,", "12:1", "adwin + archive stands there twice; give them names"),
    "a name that is taken": ("never,", "12:1", "policies: tuned periodic is the name of the best"),
    "prices in words": ("window: 3", "9:10", "prices.trial: must be a number"),
    "a price below nothing": ("window: 3", "9:10", "prices.reuse: "),
    "labels too late": ("label_delay: [0, 2]", "4:5", "streams.0: labels that come 28 late leave"),
    "a drift too late": ("drifts: 2", "4:", "at 700 is after the end: the source has 600 rows"),
}
INSTEAD = {
    "name: [small]": "name: [small]",
    "not a policy": "nevver,",
    "an unknown key": "windwo: 3",
    "no window": "window: none",
    "too large a window": "window: 29",
    "no share": '"ten"',
    "twice a price": "5.0",
    "twice a policy": "never",
    "a lag in words": "soon",
    "no such generator": "name: see",
    "no such file": "path: u.csv",
    "no such scenario": "other.yaml",
    "no such label": "label: z",
    "no drifts": "name: led",
    "an odd model": "window: 3\nmodel: {kind: catboost, params: {depths: 1}}",
    "a concept in words": "drifts: 2, params: {variant: a}",
    "a short stream": "100, drifts: 2",
    "twins": "id: sea",
    "an unheard detector": "{kind: alarm, detector: mine},",
    "a queue": "{kind: any_of, of: [{kind: adwin, queue: true}]},",
    "nothing added": "{policy: adwin, retraining: {}},",
    "an archive that looks too far": "{policy: adwin, retraining: {archive: {window: 61}}},",
    "a holdout that takes all": "{policy: adwin, retraining: {judge: {holdout: 39}}},",
    "tuning by the clock": "{policy: adwin, retraining: {tuning: {timeout: 1h}}},",
    "a long trial": "{policy: adwin, retraining: {tuning: {}, per_trial: 200000d}},",
    "a trial of nothing": "{policy: adwin, retraining: {judge: {shadow: 9}, per_trial: 2}},",
    "a policy of its own kind": "{policy: incremental, retraining: {judge: {shadow: 9}}},",
    "a queue inside": "{policy: {kind: adwin, queue: true}, retraining: {judge: {shadow: 9}}},",
    "a detector inside": (
        "{policy: {kind: alarm, detector: mine}, retraining: {judge: {shadow: 9}}},"
    ),
    "twins of arms": (
        "{policy: adwin, retraining: {archive: {window: 9}}}, "
        "{policy: adwin, retraining: {archive: {window: 8}}},"
    ),
    "a name that is taken": (
        "{policy: adwin, name: tuned periodic, retraining: {judge: {shadow: 9}}},"
    ),
    "prices in words": "window: 3\nprices: {trial: dear}",
    "a price below nothing": "window: 3\nprices: {reuse: -1}",
    "labels too late": "label_delay: 28",
    "a drift too late": "script: [{kind: concept, at: 700, relabel: {a: b}}]",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_in_one_line(name: str, folder: Path) -> None:
    old, place, said = WRONG[name]
    assert SPEC.count(old) == 1, old
    path = write(folder, SPEC.replace(old, INSTEAD[name]))
    answer = driftline("bench", path, "--out", folder / "out")
    assert answer.code == 2, answer
    (line,) = answer.err.splitlines()
    assert line.startswith(f"{path}:{place}") and said in line
    assert not (folder / "out").exists()


def test_an_initial_model_is_refused(folder: Path) -> None:
    text = SPEC + "model: {kind: catboost, initial: m.cbm}\n"
    with pytest.raises(InputError, match="a benchmark begins with a first fit"):
        load_grid(write(folder, text), folder / "cache")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_specs_are_good(path: Path) -> None:
    grid = load_grid(path, cache_folder())
    assert grid.bench.name == path.stem and grid.cases


def test_where_one_concept_follows_another_there_is_one_drift(folder: Path) -> None:
    case = load_grid(write(folder, SPEC), folder / "cache").cases[0]
    truth = case.truth(case.recipe(folder / "cache").tape)
    assert truth is not None and [drift.seq for drift in truth] == [200, 400]
