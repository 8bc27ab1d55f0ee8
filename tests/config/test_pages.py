"""The pages on configuration and secrets tell the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from engine import leaks, secrets
from engine.configuration import Configuration, DriftJournal, Logging, fields, load, variable
from engine.news.living import KEY as NEWSAPI_KEY
from tests.config.keeping import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
SECRETS = (ROOT / "docs" / "secrets.md").read_text("utf-8")


def test_every_setting_is_on_the_page() -> None:
    for location in fields():
        if location[0] == "logging":
            assert f"{location[-1]}:" in PAGE, location
        else:
            assert f"| `{'.'.join(map(str, location))}` |" in PAGE, location
    assert variable(("s3", "bucket")) in PAGE


def test_what_the_page_shows_is_good(tmp_path: Path) -> None:
    found = re.findall(r"^```yaml\n# config/(\w+\.yaml)\n(.*?)^```", PAGE, re.S | re.M)
    assert [name for name, _ in found] == ["settings.yaml", "logging.yaml"]
    for name, text in found:
        (tmp_path / name).write_text(text, "utf-8")
    settings = load(tmp_path, {}).settings
    assert settings.registry == "http://127.0.0.1:5000"
    assert settings.logging == Logging(), "the page shows the defaults"


@pytest.mark.parametrize("name", ["data", "runs", "metrics.host"])
def test_defaults_on_the_page_are_those_of_the_settings(name: str) -> None:
    row = re.search(rf"^\| `{re.escape(name)}` \| .* \| `(.*?)` \|$", PAGE, re.M)
    value: BaseModel | str = Configuration()
    for part in name.split("."):
        value = getattr(value, part)
    assert row is not None and row[1] == value


def test_names_on_the_pages_are_those_of_the_code() -> None:
    assert leaks.ALLOWED in SECRETS
    for name in (NEWSAPI_KEY, *list(secrets.AWS)[:2], *secrets.KEYS[:2], secrets.FILE,
                 secrets.ENCRYPTED):  # fmt: skip
        assert name in SECRETS
    script = (ROOT / "config" / "setup_secrets.sh").read_text("utf-8")
    for option in re.findall(r"`(--\w+)", SECRETS):
        assert option in script
    assert DriftJournal().format == "json"
