"""A decision that follows alarms names the record that caused the newest of them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.batch import plain_batch
from engine.settings import Adwin, Engine, Retraining
from tests.engine.doubles import NotingErrors, NotingFeatures, through

ALARM = {"kind": "alarm", "detector": "noting"}
DATA = {"kind": "data_drift", "share": 1.0}
EVERY = {"kind": "every", "records": 25}


def causes(policy: dict[str, Any]) -> list[tuple[int, int | None]]:
    """Return the arrivals of decisions, with the records that they name."""
    engine = Engine.model_validate(
        {
            "detectors": (Adwin(kind="adwin", name="noting"),),
            "policy": policy,
            "retraining": Retraining(first=5, window=10),
        }
    )
    outcome = through(
        plain_batch({"x": [0.0] * 60}, ["a"] * 60, late_records=4),
        engine,
        errors=NotingErrors(alarm_on=frozenset({20})),
        features=NotingFeatures(alarm_on=frozenset({30})),
    )
    decisions = [event for event in outcome.events if event.kind == "decision"]
    return [(event.seq, event.details.get("of_seq")) for event in decisions]


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        (ALARM, [(24, 20)]),
        (DATA, [(30, 30)]),
        (EVERY, [(33, None), (58, None)]),
        ({**ALARM, "settle": 7}, [(31, 20)]),
        ({**ALARM, "cooldown": 5, "warmup": 2, "budget": 1, "queue": True}, [(24, 20)]),
        ({"kind": "any_of", "of": (EVERY, DATA)}, [(30, 30), (55, None)]),
        ({"kind": "all_of", "of": (EVERY, ALARM), "within": 50}, [(33, 20)]),
        ({"kind": "all_of", "of": (ALARM, DATA), "within": 50}, [(30, 30)]),
    ],
)
def test_a_decision_names_the_record_that_caused_its_newest_alarm(
    policy: dict[str, Any], found: list[tuple[int, int | None]]
) -> None:
    assert causes(policy) == found
