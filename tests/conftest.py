"""Set-up that all tests share: examples that never change, and a cache of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "driftline",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("driftline")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests away from the user's cache; a session shares one, so nothing is fitted twice."""
    folder = tmp_path_factory.getbasetemp() / "driftline-cache"
    monkeypatch.setenv("DRIFTLINE_CACHE", str(folder))
    config = tmp_path_factory.getbasetemp() / "no-config"
    config.mkdir(exist_ok=True)
    monkeypatch.setenv("DRIFTLINE_CONFIG", str(config))
    monkeypatch.delenv("DRIFTLINE_ENV", raising=False)
    return folder
