"""The script that sets secrets up: real age, and sops or what stands in for it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.leaks import leaks
from engine.secrets import aws_credentials, located, secret
from tests.config.keeping import KEY, ROOT, Project, git, missing

ODD = "it's a \"test\" \\ $(x) # é: 'y'"


@pytest.fixture(params=["stub", "real"])
def project(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    if why := missing(request.param):
        pytest.skip(why)
    made = Project.made(tmp_path, request.param)
    for name in (*os.environ,):
        if name.startswith(("SOPS_", "AWS_", "NEWSAPI", "XDG_CONFIG", "ALERT_")):
            monkeypatch.delenv(name)
    for name, value in made.surroundings.items():
        monkeypatch.setenv(name, value)
    return made


def test_keys_rules_and_secrets_are_made_once(project: Project) -> None:
    done = project.set_up(NEWSAPI_KEY=KEY, ALERT_WEBHOOK_URL=ODD)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr and "2 of 4" in done.stderr
    assert project.key.stat().st_mode & 0o777 == 0o600
    assert project.key.parent.stat().st_mode & 0o777 == 0o700
    assert located("NEWSAPI_KEY", project.folder) == (KEY, str(project.secrets))
    assert secret("ALERT_WEBHOOK_URL", project.folder / "config") == ODD
    assert secret("AWS_SECRET_ACCESS_KEY", project.folder) is None
    before = project.files()
    assert not any(KEY.encode() in content for content in before.values())
    assert leaks("config/secrets.enc.yaml", project.secrets.read_bytes()) == []
    again = project.set_up(NEWSAPI_KEY="another" * 4)
    assert again.returncode == 0 and again.stderr.count("kept") == 3
    assert project.files() == before


def test_secrets_are_replaced_only_if_one_is_asked_to(project: Project) -> None:
    assert project.set_up(NEWSAPI_KEY=KEY).returncode == 0
    key = project.key.read_bytes()
    done = project.set_up("--replace", "NEWSAPI_KEY", NEWSAPI_KEY="another-key-altogether")
    assert done.returncode == 0, done.stderr
    assert secret("NEWSAPI_KEY", project.folder) == "another-key-altogether"
    assert project.key.read_bytes() == key
    assert sorted(path.name for path in (project.folder / "config").iterdir()) == [
        "secrets.enc.yaml", "setup_secrets.sh",
    ]  # fmt: skip


def test_a_key_of_somebody_else_replaces_no_rules(project: Project) -> None:
    assert project.set_up(NEWSAPI_KEY=KEY).returncode == 0
    before = project.files()
    other = project.folder.parent / "other.key"
    done = project.set_up("--key", str(other), "--replace", NEWSAPI_KEY=KEY)
    assert done.returncode == 1 and "does not name this key" in done.stderr
    assert project.files() == before


def test_no_key_is_made_where_git_would_see_it(project: Project) -> None:
    git(project.folder, "init", "-q")
    done = project.set_up("--key", "config/mine.txt", NEWSAPI_KEY=KEY)
    assert done.returncode == 1 and "where git would see it" in done.stderr
    (project.folder / ".gitignore").write_text("*.key\n")
    done = project.set_up("--key", "config/mine.key", NEWSAPI_KEY=KEY)
    assert done.returncode == 0 and "export SOPS_AGE_KEY_FILE" in done.stderr


@pytest.mark.parametrize(
    ("words", "values", "said"),
    [
        (("NEWSAPI_KEY=x",), {}, "give no values here"),
        (("--key",), {}, "--key needs a file"),
        ((), {}, "there is nothing to encrypt"),
        ((), {"NEWSAPI_KEY": "a\nb"}, "holds a line break"),
    ],
)
def test_what_cannot_be_kept(
    project: Project, words: tuple[str, ...], values: dict[str, str], said: str
) -> None:
    done = project.set_up(*words, **values)
    assert done.returncode == 1 and said in done.stderr
    assert not project.secrets.exists()


def test_without_a_key_the_file_stays_shut(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.set_up(NEWSAPI_KEY=KEY).returncode == 0
    identity = project.key.read_text()
    project.key.rename(project.key.with_name("elsewhere.key"))
    with pytest.raises(InputError, match="age key is missing: set SOPS_AGE_KEY_FILE"):
        secret("NEWSAPI_KEY", project.folder)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(project.key))
    with pytest.raises(InputError, match="SOPS_AGE_KEY_FILE names no file"):
        secret("NEWSAPI_KEY", project.folder)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(project.key.with_name("elsewhere.key")))
    assert secret("NEWSAPI_KEY", project.folder) == KEY
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    monkeypatch.setenv("SOPS_AGE_KEY", identity)
    assert secret("NEWSAPI_KEY", project.folder) == KEY
    subprocess.run(["age-keygen", "-o", project.key], check=True, capture_output=True)
    monkeypatch.setenv("SOPS_AGE_KEY", project.key.read_text())
    with pytest.raises(InputError, match="does not open it"):
        secret("NEWSAPI_KEY", project.folder)
    monkeypatch.setenv("NEWSAPI_KEY", "of-the-environment")
    assert secret("NEWSAPI_KEY", project.folder) == "of-the-environment"


def test_credentials_of_aws_come_from_the_file_or_the_environment_never_mixed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = "drawn/by/nobody/at/all"
    assert project.set_up(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY=half).returncode == 0
    expected = {"aws_access_key_id": "AKID", "aws_secret_access_key": half}
    assert aws_credentials(project.folder) == expected
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(os.environ)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert aws_credentials(project.folder) == {}
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert aws_credentials(project.folder) == {}
    monkeypatch.delenv("AWS_PROFILE")
    project.set_up("--replace", AWS_ACCESS_KEY_ID="AKID")
    with pytest.raises(InputError, match="without AWS_SECRET_ACCESS_KEY"):
        aws_credentials(project.folder)


def test_a_file_is_decrypted_once_and_again_when_it_changes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.set_up(NEWSAPI_KEY=KEY).returncode == 0
    assert secret("NEWSAPI_KEY", project.folder) == KEY
    started = time.perf_counter()
    for _ in range(200):
        secret("NEWSAPI_KEY", project.folder)
    assert time.perf_counter() - started < 1
    assert project.set_up("--replace", NEWSAPI_KEY=KEY[::-1]).returncode == 0
    assert secret("NEWSAPI_KEY", project.folder) == KEY[::-1]


def test_no_value_shows_in_a_list_of_processes(project: Project) -> None:
    sops, log = project.tools / "sops", project.folder.parent / "words.txt"
    sops.rename(sops.with_name("true-sops"))
    sops.write_text(f'#!/bin/sh\n(echo "$@"; env) >> {log}\nexec {sops}.true "$@"\n')
    sops.with_name("true-sops").rename(f"{sops}.true")
    sops.chmod(0o755)
    assert project.set_up(NEWSAPI_KEY=KEY).returncode == 0
    assert "encrypt" in log.read_text() and KEY not in log.read_text()


@pytest.mark.parametrize("tool", ["age-keygen", "sops"])
def test_a_tool_that_is_missing_is_named(project: Project, tool: str) -> None:
    (project.tools / tool).unlink()
    for word in ("bash", "dirname"):
        (project.tools / word).symlink_to(str(shutil.which(word)))
    done = project.set_up(NEWSAPI_KEY=KEY, PATH=str(project.tools))
    assert done.returncode == 1 and "is not installed" in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", ["setup_secrets.sh", "hooks/pre-commit"])
def test_the_scripts_are_clean(name: str) -> None:
    done = subprocess.run(
        ["shellcheck", "--format", "json", ROOT / "config" / name], capture_output=True
    )
    assert json.loads(done.stdout) == []


def typed(project: Project, *words: str, answers: str) -> tuple[int, str]:
    """Run the script in a terminal and type `answers`; return exit code and screen."""
    ours, theirs = pty.openpty()
    script = subprocess.Popen(
        ["bash", "config/setup_secrets.sh", *words], cwd=project.folder,
        env=project.surroundings, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answers.encode())
    screen = b""
    with suppress(OSError):  # as Linux ends a terminal
        while piece := os.read(ours, 4096):
            screen += piece
    os.close(ours)
    return script.wait(timeout=30), screen.decode()


def test_who_sits_at_a_terminal_is_asked(project: Project) -> None:
    code, screen = typed(project, answers=f"{KEY}\n\n\n\n")
    assert code == 0 and "1 of 4" in screen, screen
    assert secret("NEWSAPI_KEY", project.folder) == KEY
    before = project.files()
    code, screen = typed(project, answers="\n")
    assert code == 0 and "Replace it? [y/N]" in screen and "kept" in screen
    assert project.files() == before
    code, screen = typed(project, "NEWSAPI_KEY", answers=f"y\n{KEY[::-1]}\n")
    assert code == 0 and secret("NEWSAPI_KEY", project.folder) == KEY[::-1]
