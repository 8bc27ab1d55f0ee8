"""One small run that all tests of the replay look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.growing import finished


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of two streams with drifts, a fault, alarms and verdicts."""
    return finished(tmp_path_factory.mktemp("runs") / "small")
