"""Nothing of the configuration reaches an outcome, and no secret reaches the repository."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from tests.config.keeping import ROOT, git
from tests.e2e.driving import differences, driftline
from tests.test_house import EDGES, SOURCES, imports, name_of

SCENARIO = """\
source: {kind: generator, name: sea, records: 1500}
model: {kind: catboost, iterations: 10, depth: 3}
policy: {kind: every, records: 500}
retraining: {first: 300, window: 300, latency: 50}
"""


def test_the_heart_does_not_read_it() -> None:
    readers = {
        name_of(path)
        for path in SOURCES
        for imported in imports(ast.parse(path.read_text("utf-8")))
        if imported.startswith(("engine.configuration", "engine.secrets", "engine.journals"))
    }
    assert "engine.terminal" in readers
    assert readers <= EDGES


def test_another_configuration_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIFTLINE_CONFIG", raising=False)
    scenario = tmp_path / "plain.yaml"
    scenario.write_text(SCENARIO)
    runs = []
    for at, environment in enumerate(("", "prod", "test")):
        project = tmp_path / f"project-{at}"
        project.mkdir()
        monkeypatch.chdir(project)
        if environment:
            (project / "config").symlink_to(ROOT / "config")
            monkeypatch.setenv("DRIFTLINE_ENV", environment)
            monkeypatch.setenv("DRIFTLINE_S3__BUCKET", "lake")
            monkeypatch.setenv("DRIFTLINE_LOGGING__SYSTEM__LEVEL", "debug")
            monkeypatch.setenv("DRIFTLINE_CACHE", str(project / "cache"))
        done = driftline("run", scenario, "--out", project / "out")
        assert done.code == 0, done.err
        runs.append(project / "out")
    assert differences(runs[0], runs[1]) == differences(runs[0], runs[2]) == []


def test_a_configuration_that_cannot_be_read_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIFTLINE_CONFIG", raising=False)
    monkeypatch.delenv("DRIFTLINE_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("plain.yaml").write_text(SCENARIO)
    Path("config").mkdir()
    Path("config/settings.yaml").write_text("cach: x\n")
    done = driftline("run", "plain.yaml")
    assert done.code == 2
    assert done.err.startswith("config/settings.yaml:1:1: cach: unknown key; did you mean 'cache'?")


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        (".env", True), (".env.prod", True), (".env.example", False), ("deep/.env", True),
        ("config/secrets.yaml", True), ("secrets.prod.yaml", True),
        ("config/secrets.enc.yaml", False), (".sops.yaml", False),
        ("config/.secrets.aB12cd", True), ("age.key", True), ("config/keys.txt", True),
        ("mine.age", True), ("tls.pem", True), ("id_ed25519", True), ("credentials.json", True),
        ("logs/system.log", True), ("data/raw/x.json", True), ("runs/x/run.json", True),
        ("config/settings.yaml", False), ("config/hooks/pre-commit", False),
        ("config/setup_secrets.sh", False), ("config/environments/prod.yaml", False),
    ],
)  # fmt: skip
def test_what_git_would_never_take(name: str, ignored: bool, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    words = ["git", "check-ignore", "-q", name]
    assert subprocess.run(words, cwd=tmp_path).returncode == (0 if ignored else 1)
