"""Secrets: the environment first, then a file that nobody else may read; never told."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import secrets
from engine.errors import InputError
from engine.secrets import aws_credentials, located, masked, secret

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


# --- what sops encrypted; real sops is in tests/config/test_setup_secrets.py -------------------

SEALED = "A: ENC[AES256_GCM,data:x,type:str]\nsops: {version: 3.0.0}\n"


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program called sops on the path that does what `script` says."""
    (folder / "tools").mkdir(exist_ok=True)
    path = folder / "tools" / "sops"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'tools'}:/usr/bin:/bin")
    for name in (*secrets.KEYS, *secrets.OWN_AWS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "home"))


def test_sops_is_called_as_it_wants_to_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "config" / "secrets.enc.yaml", SEALED, 0o644)
    says = f'{{"{NAME}": " sealed ", "EMPTY": ""}}'
    pretend(folder, monkeypatch, f"echo \"$@\" >{folder}/words; echo '{says}'")
    assert located(NAME, folder) == ("sealed", str(folder / "config" / "secrets.enc.yaml"))
    assert secret("EMPTY", folder) is None and secret("OTHER", folder) is None
    words = (folder / "words").read_text().split()
    assert words[:3] == ["decrypt", "--output-type", "json"]
    assert words[3:] == [str(folder / "config" / "secrets.enc.yaml")]
    write(folder / "config" / "secrets.yaml", f"{NAME}: plain\n")
    assert secret(NAME, folder) == "plain"
    monkeypatch.setenv(NAME, "given")
    assert located(NAME, folder) == ("given", "environment")


def test_the_key_of_the_script_is_handed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "secrets.enc.yaml", SEALED)
    pretend(folder, monkeypatch, f'echo "{{\\"{NAME}\\": \\"$SOPS_AGE_KEY_FILE\\"}}"')
    assert secret(NAME, folder) is None
    key = folder / "home" / "driftline" / "age.key"
    key.parent.mkdir(parents=True)
    key.touch()
    write(folder / "secrets.enc.yaml", SEALED + "# changed\n")
    assert secret(NAME, folder) == str(key)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "/another")
    assert secret(NAME, folder) == "/another"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo hidden; exit 3", r"cannot decrypt it \(exit code 3\)"),
        ("echo 'Failed to get the data key hidden' >&2; exit 128", "the age key is missing: set"),
        ("echo 'MAC mismatch. File has hidden' >&2; exit 51", "changed by hand"),
        ("echo hidden", "something that is no JSON"),
        ("echo '[\"hidden\"]'", "does not hold NAME: text"),
        ('echo \'{"A": {"b": "hidden"}}\'', "A must be a text"),
        ("sleep 5; echo hidden", "did not answer within 0.2 s"),
    ],
)
def test_what_sops_fails_with_is_one_sentence_that_quotes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    write(folder / "secrets.enc.yaml", SEALED)
    pretend(folder, monkeypatch, script)
    monkeypatch.setattr(secrets, "SOPS_SECONDS", 0.2 if "sleep" in script else 30.0)
    with pytest.raises(InputError, match=message) as caught:
        secret(NAME, folder)
    assert "hidden" not in str(caught.value) and str(folder) in str(caught.value)
    assert caught.value.__context__ is None or "hidden" not in str(caught.value.__context__)


def test_without_sops_one_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "secrets.enc.yaml", SEALED)
    pretend(folder, monkeypatch, "")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(InputError, match="sops is not on the PATH: install it"):
        secret(NAME, folder)
    monkeypatch.setenv("PATH", str(folder / "tools"))
    (folder / "tools" / "sops").chmod(0o644)
    with pytest.raises(InputError, match="sops cannot be started: Permission denied"):
        secret(NAME, folder)


def test_a_file_that_is_not_encrypted_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "secrets.enc.yaml", f"{NAME}: hidden\n")
    pretend(folder, monkeypatch, f'echo \'{{"{NAME}": "hidden"}}\'')
    with pytest.raises(InputError, match="is not encrypted") as caught:
        secret(NAME, folder)
    assert "hidden" not in str(caught.value)


def test_credentials_of_aws_come_from_one_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(folder, monkeypatch, "exit 1")
    assert aws_credentials(folder) == {}
    text = "AWS_ACCESS_KEY_ID: one\nAWS_SECRET_ACCESS_KEY: two\nAWS_SESSION_TOKEN: three\n"
    write(folder / "secrets.yaml", text)
    assert aws_credentials(folder) == {
        "aws_access_key_id": "one", "aws_secret_access_key": "two", "aws_session_token": "three",
    }  # fmt: skip
    write(folder / "secrets.yaml", "AWS_SECRET_ACCESS_KEY: hidden\n")
    with pytest.raises(InputError, match="without AWS_ACCESS_KEY_ID") as caught:
        aws_credentials(folder)
    assert "hidden" not in str(caught.value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    assert aws_credentials(folder) == {}
