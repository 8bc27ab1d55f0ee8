"""Every file of `config/` is what its schema says, and the schemas are those of the settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from engine import schemas
from engine.configuration import load
from engine.documents import plain
from engine.news import schema as live_schema
from tests.config.keeping import ROOT

CONFIG = ROOT / "config"
ENVIRONMENTS = sorted((CONFIG / "environments").glob("*.yaml"))
FILES: dict[Path, tuple[Path, Callable[[], dict[str, Any]]]] = {
    CONFIG / "settings.yaml": (schemas.file("settings"), schemas.settings_schema),
    CONFIG / "logging.yaml": (schemas.file("logging"), schemas.logging_schema),
    CONFIG / "live.yaml": (live_schema.FILE, live_schema.live_schema),
    **{path: (schemas.file("environment"), schemas.environment_schema) for path in ENVIRONMENTS},
}


def data_of(path: Path) -> Any:
    return json.loads(json.dumps(plain(YAML(typ="safe", pure=True).load(path.read_text("utf-8")))))


def test_there_is_a_file_for_each_environment() -> None:
    assert [path.stem for path in ENVIRONMENTS] == ["dev", "prod", "test"]


def test_every_file_has_a_schema() -> None:
    mine = {*CONFIG.glob("*.yaml"), *ENVIRONMENTS} - {CONFIG / "secrets.enc.yaml"}
    assert mine == set(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_keeps_its_schema_and_names_it(path: Path) -> None:
    file, schema = FILES[path]
    assert f"$schema={os.path.relpath(file, path.parent)}\n" in path.read_text("utf-8")
    jsonschema.validate(data_of(path), schema())


@pytest.mark.parametrize("name", schemas.SCHEMAS)
def test_a_schema_is_that_of_the_settings(name: str) -> None:
    assert schemas.file(name).read_text("utf-8") == schemas.text(name), "run: make schema"
    jsonschema.Draft202012Validator.check_schema(schemas.SCHEMAS[name]())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("settings", {"logging": {}}),
        ("settings", {"s3": {"bukket": "x"}}),
        ("logging", {"system": {"level": "loud"}}),
        ("environment", {"metrics": {"port": 70000}}),
        ("secrets", {"NEWSAPI_KEY": 3}),
        ("secrets", {"newsapi": "x"}),
    ],
)
def test_a_schema_refuses_what_the_settings_do(name: str, wrong: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schemas.SCHEMAS[name]())


@pytest.mark.parametrize("name", [None, "dev", "test", "prod"])
def test_every_environment_loads(name: str | None) -> None:
    found = load(CONFIG, {"DRIFTLINE_ENV": name} if name else {})
    assert found.settings.logging is not None and found.environment == name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_commented_out_would_be_good_too(path: Path, tmp_path: Path) -> None:
    if path.name != "settings.yaml":
        return
    text = path.read_text("utf-8")
    for old, new in (("# s3:", "s3:"), ("#   bucket", "  bucket"), ("#   prefix", "  prefix"),
                     ("#   endpoint", "  endpoint"), ("#   region", "  region"),
                     ("#   port", "  port"), ("# cache:", "cache:"),
                     ("# registry:", "registry:")):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "settings.yaml").write_text(text, "utf-8")
    found = load(tmp_path, {}).settings
    assert found.s3.region == "eu-central-1" and found.metrics.port == 9464
    assert found.cache == "~/.cache/driftline" and found.registry == "registry/"


def test_there_is_no_python_here() -> None:
    assert list(CONFIG.rglob("*.py")) == []
