"""What tests of the registry and of the server share: both are slow to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.places import Place
from engine.registering import reconcile
from engine.registry import Registry
from tests.e2e.driving import driftline
from tests.engine.registered import SCENARIO, Registered, write_table


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """Run a scenario of several models once, and register it."""
    folder = tmp_path_factory.mktemp("registered")
    write_table(folder / "table.csv")
    (folder / "stable.yaml").write_text(SCENARIO, "utf-8")
    cache = tmp_path_factory.getbasetemp() / "driftline-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTLINE_CACHE", str(cache))
        done = driftline("run", folder / "stable.yaml", "--out", folder / "run")
    assert done.code == 0, done.err
    registry = Registry(Place.of(folder / "registry"), make=True)
    found = reconcile(registry, folder / "run", cache)
    assert found.problems == ()
    return Registered(registry, folder / "run", folder / "table.csv", cache)


@pytest.fixture
def own_name(registered: Registered, request: pytest.FixtureRequest) -> str:
    """Return the name of a model that no other test uses."""
    return str(request.node.name).replace("[", "-").replace("]", "")[:60]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
