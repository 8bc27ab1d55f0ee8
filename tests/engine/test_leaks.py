"""The scan for secrets: finds what is planted, tells none, and finds nothing here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.leaks import ALLOWED, leaks, main
from tests.config.keeping import KEY, ROOT, git

LETTERS = hashlib.sha256(b"nobody's").hexdigest().upper() + "GHIJKLMNOPQRSTUVWXYZ"
AWS = "AKIA" + "QZ7XK2MVN4PB8WLD"
SECRET = "wJalrXUtnFE" + "MI/K7MDENG/bPxRfiCYq3mR9sLpT1"
PLANTED = [
    ("config/live.yaml", f"newsapi_key: {KEY}", "a key such as NewsAPI's"),
    ("engine/x.py", f'KEY = "{KEY}"', "a key such as NewsAPI's"),
    ("docs/live.md", f"curl 'https://newsapi.org/v2/everything?q=a&apiKey={KEY}'", "a token"),
    ("config/settings.yaml", f"id: {AWS}", "an AWS access key"),
    ("a.py", f"aws_secret_access_key = '{SECRET}'", "an AWS secret key"),
    ("k8s.yaml", f"AWS_SECRET_ACCESS_KEY: {SECRET}", "an AWS secret key"),
    ("notes.txt", "-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
    ("notes.txt", "-----BEGIN " + "PRIVATE KEY-----", "a private key"),
    ("notes.txt", "AGE-SECRET-" + f"KEY-1{LETTERS[:58]}", "an age secret key"),
    ("x.py", f"ghp_{LETTERS[:36]}", "a GitHub token"),
    ("x.md", f"https://hooks.slack.com/services/T0AB/B0CD/{LETTERS[:24]}", "a webhook"),
    ("x.md", "https://discord.com/api/webhooks/" + f"123456/{LETTERS[:60]}", "a webhook"),
    ("c.yaml", "registry: postgresql://me:" + "r7Hq2kLw@db.example.org/mlflow", "a password"),
    ("c.md", f"https://example.org/hook?token={LETTERS[:24]}", "a token in an address"),
    ("c.env", f"export GRAFANA_PASSWORD={LETTERS[:20]}", "a secret given to a setting"),
    ("c.json", f'  "api_key": "{LETTERS[:20]}",', "a secret given to a setting"),
    ("config/secrets.enc.yaml", "NEWSAPI_KEY: plain", "should be encrypted and is not"),
    ("config/secrets.yaml", "", "a file of secrets, by its name"),
    ("deep/.env", "", "by its name"), (".env.prod", "", "by its name"),
    ("age.key", "", "by its name"), ("tls/server.pem", "", "by its name"),
    (".aws/credentials", "", "by its name"), ("id_ed25519", "", "by its name"),
]  # fmt: skip
HARMLESS = [
    ("a.py", f"SHA256 = '{hashlib.sha256(b'x').hexdigest()}'"),
    ("a.py", f"commit {hashlib.sha1(b'x').hexdigest()}"),
    ("a.py", "key = '" + "0123456789abcdef" * 2 + "'"),
    ("a.py", "'" + "f" * 32 + "'"),
    ("docs/x.md", "NEWSAPI_KEY=... driftline live"),
    ("docs/x.md", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("compose.yaml", "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}"),
    ("compose.yaml", "uri: postgresql://mlflow:${PASSWORD_42}@db/mlflow"),
    ("k8s.yaml", "  secretKeyRef: {name: driftline-secrets, key: NEWSAPI_KEY}"),
    ("k8s.yaml", "secretName: driftline-secrets-prod-2"),
    ("ci.yaml", "token: ${{ secrets.GITHUB_TOKEN }}"),
    ("x.py", "https://me:secret@newsapi.org/v2"),
    ("x.py", f"KEY = '{KEY}'  # {ALLOWED}"),
    (".env.example", "NEWSAPI_KEY="),
    ("config/secrets.enc.yaml", f"A: ENC[AES256_GCM,data:{KEY},type:str]\nsops: {{mac: {KEY}}}"),
    ("a.bin", f"\0\0{KEY}"),
]


@pytest.mark.parametrize(("path", "text", "what"), PLANTED)
def test_a_planted_secret_is_found(path: str, text: str, what: str) -> None:
    (leak, *more) = leaks(path, f"harmless\n\n{text}\n".encode())
    assert what in str(leak) and not more
    assert str(leak).startswith(f"{path}:{1 if 'name' in what or 'should' in what else 3}:")
    for hidden in (KEY, AWS, SECRET, LETTERS[:20]):
        assert hidden not in str(leak)


@pytest.mark.parametrize(("path", "text"), HARMLESS)
def test_what_is_no_secret_is_left_alone(path: str, text: str) -> None:
    assert leaks(path, text.encode()) == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_this_repository_holds_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([]) == 0, capsys.readouterr().err


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with the hook switched on."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").touch()
    shutil.copy(ROOT / "engine" / "leaks.py", tmp_path / "engine")
    shutil.copytree(ROOT / "config" / "hooks", tmp_path / "config" / "hooks")
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.hooksPath", "config/hooks")
    git(tmp_path, "add", "-A")
    assert git(tmp_path, "commit", "-qm", "begin").returncode == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_hook_refuses_a_commit_with_a_secret(repository: Path) -> None:
    file = repository / "config" / "ünïcode name.yaml"
    file.write_text(f"key: {KEY}\n")
    git(repository, "add", "-A")
    file.write_text("key: none\n")  # what is staged counts, not what lies on the disk
    done = git(repository, "commit", "-qm", "secret")
    assert done.returncode == 1 and f"{file.name}:1:6: this looks like" in done.stderr
    assert KEY not in done.stderr
    git(repository, "add", "-A")
    assert git(repository, "commit", "-qm", "none").returncode == 0


def test_tracked_files_are_looked_at_and_others_are_not(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "untracked.yaml").write_text(f"key: {KEY}\n")
    assert main([]) == 0
    git(repository, "add", "untracked.yaml")
    assert main([]) == 1
    assert "untracked.yaml:1:6" in capsys.readouterr().err
    git(repository, "rm", "-q", "--cached", "untracked.yaml")
    assert main(["--staged"]) == 0 and main(["untracked.yaml"]) == 1


def test_it_says_what_it_cannot_look_at(tmp_path: Path) -> None:
    def said(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "engine.leaks", *words],
            cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GIT_CEILING_DIRECTORIES": "/"},
        )  # fmt: skip
        assert done.returncode == 1
        return done.stderr

    assert "leaks: git: fatal: not a git repository" in said()
    assert "leaks: none.yaml: No such file" in said("none.yaml")
    assert "usage: " in said("--all")
