"""The documentation tells the truth: its words, examples, commands and links are tried."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jsonschema
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from benchmarks import schema as bench_schema
from benchmarks import spec as bench_spec
from benchmarks.incremental import Incremental
from benchmarks.peers import RetrainOptBase
from engine import settings
from engine.batch import Task
from engine.documents import parse, plain
from engine.events import KINDS
from engine.parts import TRACES, outcome_schema
from engine.policies import POLICIES
from engine.scoring import Happenings, Tally, summarise
from engine.sources.generator import GENERATORS, PARAMS
from engine.validation import validate
from scenarios import schema, spec
from scenarios.loading import load, prepare
from tests.e2e.driving import ROOT, SCENARIOS, driftline

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
GUIDE = (ROOT / "docs" / "scenarios.md").read_text("utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
RUNS = (ROOT / "docs" / "runs.md").read_text("utf-8")


def code(text: str) -> set[str]:
    """Return all words in code, inline or in blocks."""
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return {word for part in inline for word in re.findall(r"\w+", part)}


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the code blocks of a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
    yield from (str(block) for block in found)


# --- words ----------------------------------------------------------------------------------


BENCHES = sorted((ROOT / "benchmarks").glob("*.yaml"))


def classes() -> list[type[BaseModel]]:
    """Return all settings that a scenario can hold."""
    found = []
    for module in (settings, spec):
        for _, one in inspect.getmembers(module, inspect.isclass):
            if issubclass(one, BaseModel) and one.__module__ == module.__name__:
                found.append(one)
    return found


def literals(annotation: Any) -> Iterator[str]:
    """Yield the words that a type allows."""
    if get_origin(annotation) is Literal:
        yield from (str(word) for word in get_args(annotation))
    for inner in get_args(annotation):
        yield from literals(inner)


@pytest.mark.parametrize("one", classes(), ids=lambda one: one.__name__)
def test_every_setting_is_in_the_guide(one: type[BaseModel]) -> None:
    said = code(GUIDE)
    for name, field in one.model_fields.items():
        assert name in said, f"{one.__name__}.{name} is not in docs/scenarios.md"
        for word in literals(field.annotation):
            assert word in said, f"{one.__name__}.{name}: {word} is not in docs/scenarios.md"


@pytest.mark.parametrize(
    "one",
    [
        bench_spec.Bench,
        bench_spec.GeneratorEntry,
        bench_spec.ScenarioEntry,
        Incremental,
        RetrainOptBase,
    ],
    ids=lambda one: one.__name__,
)
def test_every_setting_of_a_benchmark_is_in_its_page(one: type[BaseModel]) -> None:
    said = code(BENCHMARKS)
    shared = set(spec.GeneratorSource.model_fields)
    for name, field in one.model_fields.items():
        assert name in said | shared, f"{one.__name__}.{name} is not in docs/benchmarks.md"
        for word in set() if name == "task" else literals(field.annotation):
            assert word in said, f"{one.__name__}.{name}: {word} is not in docs/benchmarks.md"


def test_every_generator_and_its_parameters_are_in_the_guide() -> None:
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+)(?: \(regression\))? \| (.*)\|$", GUIDE, re.M)
    listed = {name: code(params) for names, params in table for name in code(names)}
    for name in GENERATORS:
        named = listed[name]
        for other in named & set(GENERATORS):  # "those of ..."
            named = named | listed[other]
        assert set(PARAMS[name]) <= named, f"{name}: {set(PARAMS[name]) - named}"


@pytest.mark.parametrize("one", get_args(settings.AnyDetector), ids=lambda one: one.__name__)
def test_defaults_in_the_guide_are_those_of_the_detectors(one: type[BaseModel]) -> None:
    (word,) = literals(one.model_fields["kind"].annotation)
    row = re.search(rf"^\| `{word}` \| (.*?) \|$", GUIDE, re.M)
    assert row is not None
    for name, value in re.findall(r"`(\w+)` ([\d.]+)", row[1]):
        default = one.model_fields[name].get_default(call_default_factory=True, validated_data={})
        assert float(value) == default, f"{one.__name__}.{name}"


def test_every_event_kind_is_in_the_page_on_runs() -> None:
    assert code(RUNS) >= set(KINDS)


def test_every_column_and_figure_is_in_the_page_on_runs() -> None:
    for task in get_args(Task):
        assert code(RUNS) >= set(outcome_schema(task).names)
    assert code(RUNS) >= set(TRACES.names)
    entry = summarise(Tally(), Happenings(), settings.Prices(), window=1, truth_known=False)
    keys = {*entry, *(key for part in entry.values() if isinstance(part, dict) for key in part)}
    assert code(RUNS) >= keys


FRAGILE = """\
class Model:
    def __init__(self, fails):
        self.fails = fails

    def fit(self, frame, labels):
        assert self.fails != "fit"
        return self

    def predict(self, frame):
        assert self.fails != "predict" or (frame["x0"] < 9.9).all()
        return ["0"] * len(frame)


def make(fails):
    return Model(fails)
"""


BUSY = """\
source: {kind: generator, name: stagger, params: {classification_function: 0}, records: 4000}
model: {kind: catboost, iterations: 10, depth: 3}
detectors: [{kind: page_hinkley, threshold: 10}]
policy: page_hinkley
retraining: {first: 300, window: 300, latency: {per_1000_rows: 1000}}
script:
  - {kind: concept, at: 1000, shape: recurring, period: 100, to: {classification_function: 1}}
"""
"""Its concept changes more often than a model can be trained."""


def events_of(tmp_path: Path, scenario: Path, *words: str) -> list[dict[str, Any]]:
    """Return the events of a run whose directory holds what the page on runs says."""
    out = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
    driftline("run", scenario, "--out", out, *words)
    listed = re.findall(r"^\| `([\w./<>]+)` \|", RUNS, re.M)
    assert {path.name for path in out.iterdir()} <= {path.split("/")[0] for path in listed}
    lines = (out / "events.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_events_have_the_fields_that_the_page_on_runs_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    listed = {
        kind: set(re.findall(r"`(\w+)`", fields))
        for kind, fields in re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", RUNS, re.M)
    }
    shipped = ROOT / "scenarios"
    small = ("--set", "model.iterations=10", "--set", "model.depth=3")
    alerts = ("--set", "alerts=[alarm, {when: error_above, limit: 0.2}]")
    found = events_of(tmp_path, shipped / "outage_and_missing.yaml", *small, *alerts)
    found += events_of(tmp_path, shipped / "friedman_regression.yaml", *small)
    found += events_of(tmp_path, shipped / "tuned_and_gated.yaml")
    (tmp_path / "busy.yaml").write_text(BUSY, "utf-8")
    found += events_of(tmp_path, tmp_path / "busy.yaml")
    (tmp_path / "fragile_in_docs.py").write_text(FRAGILE, "utf-8")
    for fails in ("fit", "predict"):
        path = tmp_path / f"{fails}.yaml"
        path.write_text(
            "source: {kind: generator, name: sea, records: 1200}\n"
            "model: {kind: python, factory: 'fragile_in_docs:make', vectorised: true, "
            f"params: {{fails: {fails}}}}}\n"
            "retraining: {first: 500}\n",
            "utf-8",
        )
        found += events_of(tmp_path, path)
    for event in found:
        own = set(list(event)[5:])
        assert own <= listed[event["kind"]], f"{event['kind']}: {own - listed[event['kind']]}"
    assert {event["kind"] for event in found} == set(listed) & set(KINDS)


def test_registries_hold_what_the_settings_name() -> None:
    assert set(POLICIES) == {
        word for one in get_args(settings.AnyPolicy) for word in literals(
            one.model_fields["kind"].annotation)
    }  # fmt: skip


# --- examples -------------------------------------------------------------------------------

SCENARIO_BLOCKS = [
    pytest.param(block, id=f"{page.name}-{at}")
    for page in PAGES
    for at, block in enumerate(blocks(page, "yaml"))
    if re.search(r"^source:", block, re.M)
]


def test_there_are_examples() -> None:
    assert len(SCENARIO_BLOCKS) >= 3


@pytest.mark.parametrize("block", SCENARIO_BLOCKS)
def test_scenarios_in_the_docs_are_valid(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "data").symlink_to(ROOT / "scenarios" / "data")
    for module in blocks(ROOT / "docs" / "scenarios.md", "python"):
        name = re.match(r"# (\w+\.py)\n", module)
        assert name, "a module in the docs begins with its name"
        (tmp_path / name[1]).write_text(module, "utf-8")
    path = tmp_path / "example.yaml"
    path.write_text(block, "utf-8")
    assert prepare(load(path), tmp_path / "cache")
    if "factory" in block:
        answer = driftline("run", path, "--out", tmp_path / "out")
        assert answer.code == 0, answer.err
        total = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["total"]
        assert total["retrains"]["promoted"] >= 2 and total["error_rate"] < 0.3


# --- commands -------------------------------------------------------------------------------


def commands() -> Iterator[list[str]]:
    """Yield the words of each command line in the docs."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield words


DEMO = ("scenarios/elec2_heatwave.yaml",)
"""What `make demo` runs."""


LONG = ("bench", "models")
"""Commands that `make test-all` runs."""


OTHERS = (".venv/bin/driftline", "python", "ls", "export", "git")
"""What else a line of the docs may begin with."""


SERVING = ("replay", "live", "serve", "sync", "doctor")
"""Commands that go on until they are told to end, or need the world: only options are tried."""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a folder out as a clone is after `make demo`."""
    for folder in ("scenarios", "benchmarks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    rows = [f"{at % 7},{'rgb'[at % 3]},{'no' if at % 5 else 'yes'}" for at in range(600)]
    (tmp_path / "my.csv").write_text("\n".join(["x,c,y", *rows]) + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    made = driftline("run", *DEMO, "--out", "runs/demo")
    assert made.code == 0
    said = next(line for line in made.out.splitlines() if line.startswith("adwin:"))
    assert said in " ".join((ROOT / "README.md").read_text("utf-8").split()), "as the README says"
    return tmp_path


@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_commands_in_the_docs_work(clone: Path, long: bool) -> None:
    tried = 0
    for words in commands():
        if words[0] != ".venv/bin/driftline" or (words[1] in LONG) != long:
            continue
        if words[1] in SERVING:
            continue
        patterns = [sorted(Path().glob(word)) if "*" in word else [word] for word in words[1:]]
        answer = driftline(*(word for found in patterns for word in found))
        assert answer.code == 0, (words, answer.err)
        tried += 1
    assert tried >= (1 if long else 6)


def test_serving_commands_in_the_docs_have_their_options() -> None:
    tried = [words for words in commands() if words[1:2] and words[1] in SERVING]
    assert {words[1] for words in tried} == set(SERVING)
    for words in tried:
        said = driftline(*words[1 : 3 if words[1] == "sync" else 2], "--help")
        assert said.code == 0
        for option in (word for word in words[2:] if word.startswith("-")):
            assert re.search(rf"{re.escape(option)}\b", said.out), (words, option)


def test_other_commands_in_the_docs_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for words in commands():
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        else:
            assert words[0] in OTHERS, words


def test_the_demo_is_the_command_of_the_makefile() -> None:
    command = f"driftline run {' '.join(DEMO)} --out $(DEMO)\n"
    assert command in (ROOT / "Makefile").read_text("utf-8")


# --- links and schema -----------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_the_docs_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for path in re.findall(r"`((?:engine|scenarios|docs|config|tests)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("made", [schema, bench_schema], ids=["scenario", "bench"])
def test_the_schema_is_that_of_the_settings(made: Any) -> None:
    assert made.FILE.read_text("utf-8") == made.text(), "run: make schema"


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_shipped_benchmarks_keep_the_schema(path: Path) -> None:
    text = path.read_text("utf-8")
    assert f"$schema={os.path.relpath(bench_schema.FILE, path.parent)}" in text
    data = json.loads(json.dumps(plain(YAML(typ="safe", pure=True).load(text))))
    jsonschema.validate(data, bench_schema.bench_schema())


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_shipped_scenarios_keep_the_schema(path: Path) -> None:
    text = path.read_text("utf-8")
    assert f"$schema={os.path.relpath(schema.FILE, path.parent)}" in text
    document = parse(text, path, "scenario")
    assert validate(document, spec.Scenario).name == path.stem
    data = json.loads(json.dumps(plain(YAML(typ="safe", pure=True).load(text))))
    jsonschema.validate(data, schema.scenario_schema())
