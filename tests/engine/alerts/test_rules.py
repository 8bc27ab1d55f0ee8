"""The settings of alerts: every bound bites, every word is documented."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from engine.alerts import rules as r
from engine.alerts.rules import AnyRule, names_of_rules
from engine.documents import parse
from engine.errors import InputError
from engine.settings import Engine
from engine.validation import validate
from tests.e2e.driving import ROOT

PAGE = (ROOT / "docs" / "alerts.md").read_text("utf-8")


def engine_of(text: str) -> Engine:
    from pathlib import Path

    return validate(parse(f"alerts: {text}\n", Path("a.yaml"), "engine"), Engine)


@pytest.mark.parametrize("name", names_of_rules())
def test_each_rule_can_be_named(name: str) -> None:
    limit = ", limit: 0.3" if name == "error_above" else ""
    (rule,) = engine_of(f"[{{when: {name}{limit}}}]").alerts
    assert rule.when == name
    if name != "error_above":
        assert engine_of(f"[{name}]").alerts == (rule,)
        assert name in get_args(r.RuleName)


def test_what_is_written_out_can_be_read_again() -> None:
    engine = engine_of("[{when: no_data, for: 3h, level: info}, {when: anomaly, what: [a, b]}]")
    written = engine.model_dump(mode="json")["alerts"]
    assert written[0]["for"] == "3h"
    again = engine_of(str(written).replace("None", "null").replace("'", '"'))
    assert again.alerts == engine.alerts


@pytest.mark.parametrize(
    "text",
    [
        "[{when: no_data, for: 6}]",
        "[{when: no_data, for: soon}]",
        "[{when: no_data, for: 0h}]",
        "[{when: no_data, longest: 6h}]",
        "[{when: quota, above: 0}]",
        "[{when: quota, above: 1}]",
        "[{when: error_above}]",
        "[{when: error_above, limit: 0}]",
        "[{when: rejected, times: 0}]",
        "[{when: alarm, on: label}]",
        "[{when: anomaly, what: []}]",
        "[{when: model_age, above: -1}]",
        "[{when: quota, level: grave}]",
        "[{when: quota, every: 10}]",
        "[{when: quota, name: ''}]",
        "[{when: never}]",
        "[never]",
    ],
)
def test_what_is_not_allowed_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="alerts"):
        engine_of(text)


@pytest.mark.parametrize(
    ("one", "given"),
    [
        (r.LogOutlet, {"max_bytes": 10}),
        (r.LogOutlet, {"backups": 0}),
        (r.LogOutlet, {"path": ""}),
        (r.WebhookOutlet, {"url_env": "https://example.org"}),
        (r.WebhookOutlet, {"attempts": 0}),
        (r.WebhookOutlet, {"timeout": "10"}),
        (r.SnsOutlet, {"topic_arn": "alerts"}),
        (r.SnsOutlet, {}),
        (r.Notify, {"mail": {}}),
    ],
)
def test_outlets_are_held_to_their_bounds(one: type[BaseModel], given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        one(**given)


def test_every_setting_is_in_the_page() -> None:
    said = {word for part in re.findall(r"`([^`\n]+)`", PAGE) for word in re.findall(r"\w+", part)}
    for one in (*get_args(AnyRule), r.LogOutlet, r.WebhookOutlet, r.SnsOutlet, r.Notify):
        names = {field.alias or name for name, field in one.model_fields.items()}
        assert names <= said, f"{one.__name__}: {names - said}"
    assert set(names_of_rules()) | set(get_args(r.Level)) <= said
