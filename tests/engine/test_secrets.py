"""Secrets: the environment first, then a file that nobody else may read; never told."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InputError
from engine.secrets import masked, secret

NAME = "DRIFTLINE_TEST_KEY"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(NAME, raising=False)
    return tmp_path


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def test_the_environment_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret(NAME, folder) is None
    write(folder / "config" / "secrets.yaml", f"{NAME}: below\n")
    assert secret(NAME, folder) == "below"
    write(folder / "secrets.yaml", f"OTHER: x\n{NAME}: beside\n")
    assert secret(NAME, folder) == "beside"
    monkeypatch.setenv(NAME, "  ")
    assert secret(NAME, folder) == "beside"
    monkeypatch.setenv(NAME, " given\n")
    assert secret(NAME, folder) == "given"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    write(folder / "secrets.yaml", f"{NAME}: hidden\n", mode)
    with pytest.raises(InputError, match="others may read this file: run chmod 600") as caught:
        secret(NAME, folder)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{NAME}: hidden: hidden\n", "cannot be read as YAML"),
        ("- hidden\n", "cannot be read as YAML"),
        ("", "cannot be read as YAML"),
        (f"{NAME}: 2020-99-99\n{NAME}: hidden", "cannot be read as YAML"),
        (f"{NAME}: 12345678901\n", f"{NAME} must be a text: put its value in quotes"),
        (f"{NAME}: {{a: hidden}}\n", f"{NAME} must be a text"),
        (f"{NAME}:\n", f"{NAME} must be a text"),
    ],
)
def test_a_file_that_is_no_flat_mapping_is_refused_without_quoting_it(
    folder: Path, text: str, message: str
) -> None:
    write(folder / "secrets.yaml", text)
    with pytest.raises(InputError, match=message) as caught:
        secret(NAME, folder)
    assert "hidden" not in str(caught.value) and "12345678901" not in str(caught.value)


def test_all_secrets_are_masked_but_words_that_are_none() -> None:
    assert masked("a 0123456789 b 0123456789 demo", ["0123456789", "demo", "", None]) == (
        "a *** b *** demo"
    )
