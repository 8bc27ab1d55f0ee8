"""The house rules, as tests: who imports whom, what the heart may not do, how long things are."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from engine import settings
from engine.detectors import DETECTORS
from scenarios import spec
from scenarios.drifts import DRIFTS, FAULTS

ROOT = Path(__file__).parent.parent
HOUSES = ("engine", "scenarios", "benchmarks", "dashboards")
SOURCES = sorted(path for house in HOUSES for path in (ROOT / house).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

BELOW: dict[str, tuple[str, ...]] = {
    "engine": ("engine",),
    "scenarios": ("scenarios", "engine"),
    "benchmarks": ("benchmarks", "scenarios", "engine"),
    "dashboards": ("dashboards", "engine"),
}
"""What each house may import; `engine.cli` joins them all."""

HEAVY: dict[str, tuple[str, ...]] = {
    "sdv": ("scenarios.copulas",),
    "catboost": ("engine.training.models",),
    "bytewax": ("engine.flow",),
    "river": (
        "engine.detectors",
        "engine.driving",
        "engine.sources.generator",
        "engine.switch",
        "benchmarks.speed.peers",
        "benchmarks.incremental",
    ),
    "numba": ("engine.kernels",),
    "mlflow": ("engine.registry",),
    "fastapi": ("engine.serving.app",),
    "uvicorn": ("engine.serving.running",),
    "prometheus_client": ("engine.metrics", "engine.serving.figures"),
    "optuna": ("engine.training.tune",),
    "dash": ("dashboards.app", "dashboards.pages", "dashboards.panels", "dashboards.player"),
    "dash_ag_grid": ("dashboards.pages",),
    "dash_mantine_components": ("dashboards.pages", "dashboards.player"),
    "flask": ("dashboards.app", "dashboards.serving"),
    "boto3": ("engine.alerts.outlets", "engine.doctoring", "engine.sync"),
    "retrainopt": ("benchmarks.peers",),
    "sklearn": ("engine.news.features",),
    "torch": (),
}
"""Where a heavy library may be imported."""

AT_THE_TOP = {
    "engine.flow": "bytewax", "engine.kernels": "numba",
    "engine.serving.app": "fastapi", "engine.serving.figures": "prometheus_client",
    "engine.serving.running": "uvicorn",
    "dashboards.app": "dash", "dashboards.pages": "dash", "dashboards.panels": "dash",
    "dashboards.player": "dash",
}  # fmt: skip
"""Modules that are imported late themselves, and so may import their library at once."""

EDGES = {
    "engine.alerts.outlets", "engine.news.client", "engine.news.database", "engine.news.ledger",
    "engine.news.living", "engine.news.schema", "engine.secrets", "scenarios.demonstration",
    "engine.cli", "engine.children", "engine.flow", "engine.progress", "engine.running",
    "engine.printing",
    "engine.runlog", "engine.parts", "engine.shapes", "engine.signals", "engine.documents",
    "engine.sources.file", "engine.sources.recordings", "engine.sources.tables",
    "engine.supervisor", "engine.terminal", "engine.training.pool",
    "engine.training.store", "engine.training.fit", "engine.training.models",
    "engine.agreements", "engine.localfiles", "engine.sync", "engine.syncing", "engine.transfers",
    "engine.champions", "engine.deploying", "engine.metrics", "engine.modelcards", "engine.places",
    "engine.registering", "engine.registrar", "engine.registry",
    "engine.serving.app", "engine.serving.joining", "engine.serving.loading",
    "engine.serving.logbook", "engine.serving.running", "engine.serving.watching",
    "engine.configuration", "engine.doctoring", "engine.journals", "engine.leaks", "engine.schemas",
    "scenarios.copulas", "scenarios.loading", "scenarios.newsserver", "scenarios.samples",
    "scenarios.schema",
    "scenarios.starting", "scenarios.streams", "scenarios.synthesis",
    "benchmarks.crew", "benchmarks.running", "benchmarks.schema", "benchmarks.table",
    "benchmarks.speed.__main__", "benchmarks.speed.clock", "benchmarks.tables",
}  # fmt: skip
"""Modules that may touch files, clocks or processes; all others are the heart."""

BANNED: dict[str, str] = {
    "print": "give it back, or click.echo in the command line",
    "input": "nobody answers",
    "open": "files are for the edges",
    "time.time": "time is the stream's",
    "time.monotonic": "time is the stream's",
    "time.perf_counter": "time is the stream's",
    "time.sleep": "nothing waits in virtual time",
    "datetime.now": "time is the stream's",
    "datetime.utcnow": "time is the stream's",
    "datetime.today": "time is the stream's",
    "date.today": "time is the stream's",
    "os.environ": "settings come in as arguments",
    "os.getenv": "settings come in as arguments",
    "uuid.uuid4": "ids follow from content",
    "os.urandom": "chance comes from engine.seeds",
    "hash": "it differs from process to process: use hashlib",
}
"""What the heart may not use, and what instead."""

GENERATORS = {"default_rng", "Generator", "SeedSequence", "PCG64"}
"""What of `numpy.random` has no global state."""
FILE_LINES = 350
FUNCTION_LINES = 70
TOO_LONG: set[str] = set()
"""Functions and files that are known to be too long; empty is right."""


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a tree imports, and what it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_the_top(tree: ast.Module) -> ast.Module:
    """Return what runs when a module is imported, without what is for type checkers."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            typed = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if typed else self.generic_visit(node)

    stripped = Strip().visit(ast.parse(ast.unparse(tree)))
    assert isinstance(stripped, ast.Module)
    return stripped


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` of a name or an attribute; empty if it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def code_lines(source: str) -> set[int]:
    """Return the lines that hold code: neither blank nor only a docstring."""
    lines: set[int] = set()
    skipped = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            lines -= set(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    return lines


def violations(name: str, source: str) -> list[str]:
    """Return what a module does that its place in the house does not allow."""
    tree, found = ast.parse(source), []
    house = name.split(".")[0]
    for imported in imports(tree):
        other = imported.split(".")[0]
        if other in HOUSES and other not in BELOW.get(house, HOUSES) and name != "engine.cli":
            found.append(f"imports {imported}")
        if other in HEAVY and name not in HEAVY[other]:
            found.append(f"imports {other}, which is for {' and '.join(HEAVY[other]) or 'nobody'}")
    if name not in AT_THE_TOP:
        early = {imported.split(".")[0] for imported in imports(at_the_top(tree))}
        found += [f"imports {other} at once" for other in sorted(early & set(HEAVY))]
    if name in EDGES:
        return found
    for node in ast.walk(tree):
        used = dotted(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        if used in BANNED:
            found.append(f"{node_line(node)}: {used}: {BANNED[used]}")
        parts = used.split(".")
        drawn = parts[2:3] if parts[:2] in (["np", "random"], ["numpy", "random"]) else []
        if drawn and drawn[0] not in GENERATORS:
            found.append(f"{node_line(node)}: {used}: chance comes from engine.seeds")
    if any(imported.split(".")[0] == "random" for imported in imports(tree)):
        found.append("imports random: chance comes from engine.seeds")
    return found


def node_line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


def test_the_rules_bite() -> None:
    bad = {
        "engine.loop": "from scenarios.spec import Scenario",
        "scenarios.drifts": "from benchmarks import grid",
        "dashboards.app": "import scenarios",
        "engine.swaps": "def f():\n    import catboost",
        "engine.detectors": "import river.drift",
        "engine.state": "import time\nx = time.time()",
        "engine.watch": "import numpy as np\nnp.random.seed(1)",
        "engine.history": "print(1)",
        "engine.ledger": "from datetime import datetime\ndatetime.now()",
        "engine.standing": "import random",
        "engine.batch": "import os\nos.environ['x']",
        "engine.losses": "hash('x')",
    }
    for name, source in bad.items():
        assert len(violations(name, source)) == 1, (name, violations(name, source))
    assert violations("engine.cli", "from scenarios.loading import load") == []
    assert violations("engine.detectors", "def f():\n    from river import drift") == []
    assert violations("engine.seeds", "import numpy as np\nnp.random.default_rng(1)") == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_keeps_to_its_place(path: Path) -> None:
    assert violations(name_of(path), path.read_text("utf-8")) == []


def test_the_edges_are_there() -> None:
    names = {name_of(path) for path in SOURCES}
    assert set(EDGES) | set(AT_THE_TOP) <= names


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = (*HEAVY, "numpy", "pandas", "pyarrow", "pydantic", "scipy")
    check = f"import sys, engine.cli; print([x for x in {heavy!r} if x in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def sizes(name: str, source: str) -> dict[str, int]:
    """Return the files and functions of a source that are too long, with their lines of code."""
    lines = code_lines(source)
    found = {name: len(lines)} if len(lines) > FILE_LINES else {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = lines & set(range(node.lineno, (node.end_lineno or 0) + 1))
            if len(inner) > FUNCTION_LINES:
                found[f"{name}.{node.name}"] = len(inner)
    return found


def test_sizes_are_counted_without_docstrings_and_blank_lines() -> None:
    body = "    x = 1\n" * 70
    assert sizes("m", f'def f():\n    """Say.\n\n    More.\n    """\n\n{body[:-10]}') == {}
    assert sizes("m", f"def f():\n{body}") == {"m.f": 71}
    assert sizes("m", "x = 1\n" * 351) == {"m": 351}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_too_long(path: Path) -> None:
    found = sizes(name_of(path), path.read_text("utf-8"))
    assert set(found) <= TOO_LONG, found


def test_every_test_is_collected() -> None:
    for path in TESTS:
        tree = ast.parse(path.read_text("utf-8"))
        tests = [
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        if path.name.startswith("test_"):
            assert tests, f"{path} holds no test"
            twice = {name for name in tests if tests.count(name) > 1}
            assert not twice, f"{path}: {twice} would hide each other"
        else:
            assert not tests, f"{path} holds tests that nothing collects"


def test_no_folder_of_tests_is_empty() -> None:
    for folder in {path.parent for path in TESTS}:
        if (folder / "__init__.py").exists():
            assert list(folder.rglob("test_*.py")), f"{folder} holds no tests"


def test_registries_hold_what_the_settings_name() -> None:
    assert set(DETECTORS) == set(get_args(settings.DetectorKind))
    kinds = {one.model_fields["kind"].annotation for one in get_args(settings.AnyDetector)}
    assert {word for kind in kinds for word in get_args(kind)} == set(DETECTORS)
    items = get_args(get_args(spec.Item)[0])
    kinds = {one.model_fields["kind"].annotation for one in items}
    assert {word for kind in kinds for word in get_args(kind)} == {*DRIFTS, *FAULTS}
