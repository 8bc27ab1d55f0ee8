from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from scenarios.spec import STREAMS_MAX, Scenario

FILE = {"kind": "file", "path": "t.csv", "label": "y"}
SYNTHETIC = {"kind": "synthetic", "records": 9, "label": "y", "table": "t.csv"}
OUTAGE = {"kind": "outage", "at": 1, "until": 5}


def generator(name: str, **params: Any) -> dict[str, Any]:
    return {"kind": "generator", "name": name, "records": 9, "params": params}


def scenario_of(source: dict[str, Any], **settings: Any) -> Scenario:
    document = {"name": "s", "source": source, **settings}
    return Scenario.model_validate_json(TypeAdapter(Any).dump_json(document))


DRIFTING = [
    FILE,
    generator("friedman_drift"),
    generator("led_drift"),
    generator("random_rbf_drift", change_speed=0.5),
    generator("hyperplane", mag_change=0.001),
]
STEADY = [
    SYNTHETIC,
    generator("sea"),
    generator("friedman"),
    generator("random_rbf"),
    generator("led"),
    generator("hyperplane"),
    generator("hyperplane", mag_change=0.0, n_drift_features=5),
    generator("hyperplane", mag_change=0.1, n_drift_features=0),
]


@pytest.mark.parametrize("source", DRIFTING, ids=str)
def test_what_drifts_by_itself_is_known_only_by_a_script(source: dict[str, Any]) -> None:
    assert not scenario_of(source).truth_known(0)
    scripted = scenario_of(source, streams=3, script=[{**OUTAGE, "streams": [1]}])
    assert [scripted.truth_known(index) for index in range(3)] == [False, True, False]


@pytest.mark.parametrize("source", STEADY, ids=str)
def test_what_is_steady_is_known(source: dict[str, Any]) -> None:
    assert scenario_of(source).truth_known(0)


def test_generators_take_all_kinds_of_parameters() -> None:
    params = {"drift_type": "gra", "position": [100, 200], "transition_window": 10}
    source = scenario_of(generator("friedman_drift", **params)).source
    assert source.model_dump(mode="json")["params"] == params


@pytest.mark.parametrize("key", [None, "count"])
def test_streams_are_not_endless(key: str | None) -> None:
    def given(count: int) -> Any:
        return count if key is None else {key: count}

    assert scenario_of(FILE, streams=given(STREAMS_MAX)).count == STREAMS_MAX
    with pytest.raises(ValidationError, match="must be 1 to 100,000 streams, not 100,001"):
        scenario_of(FILE, streams=given(STREAMS_MAX + 1))
