"""The doctor: what is there, what is wrong, what answers; no secret is shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from moto.server import ThreadedMotoServer

from engine import doctoring
from engine.doctoring import doctor, status_of, unwritable
from tests.config.keeping import KEY


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with nothing in the environment."""
    import os

    for name in list(os.environ):
        if name.startswith(("DRIFTLINE_", "AWS_", "SOPS_", "NEWSAPI", "ALERT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("engine.switch.kernels_that_hold", lambda: object())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return tmp_path


def ask(*words: str) -> Result:
    return CliRunner().invoke(doctor, list(words), catch_exceptions=False)


def report(*words: str, code: int = 0) -> dict[str, Any]:
    done = ask("--json", *words)
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["ok"] is (code == 0)
    return found


def finding(found: dict[str, Any], group: str, name: str) -> tuple[str, str]:
    (one,) = [one for one in found[group] if one["name"] == name]
    return one["state"], one["said"]


@pytest.fixture
def server() -> Iterator[str]:
    """Answer on the loopback address: 401 for news, 200 for health, whatever else is 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert KEY not in str(self.headers) + self.path
            known = {"/v2/top-headlines": 401, "/health": 200}
            self.send_response(known.get(self.path, 503))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def news(address: str) -> None:
    Path("config/live.yaml").write_text(
        f"newsapi: {{base_url: '{address}/v2'}}\ntopics: [{{name: a, endpoint: everything, q: a}}]"
    )


def test_an_empty_folder_is_in_order(place: Path) -> None:
    found = report()
    assert finding(found, "libraries", "catboost")[0] == "ok"
    assert finding(found, "configuration", "files") == (
        "ok", "defaults alone, environment not named (DRIFTLINE_ENV)",
    )  # fmt: skip
    assert finding(found, "secrets", "NEWSAPI_KEY") == ("off", "not set")
    assert "network" not in found
    assert found["settings"][0] == {"name": "cache", "value": None, "origin": "default"}
    assert not list(place.glob("[!c]*")), "nothing was made"


def test_it_can_be_read(place: Path) -> None:
    done = ask()
    assert done.exit_code == 0
    assert "all that is needed works" in done.output and "  ok python " in done.output
    assert "DRIFTLINE_METRICS__PORT" not in done.output


def test_settings_show_their_origin_and_no_secret(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config/settings.yaml").write_text("s3: {bucket: lake}\n")
    monkeypatch.setenv("NEWSAPI_KEY", KEY)
    monkeypatch.setenv("DRIFTLINE_REGISTRY", "postgresql://me:" + "hidden@db/mlflow?token=hidden")
    monkeypatch.setenv("DRIFTLINE_PORT", "tcp://1")
    for words in ((), ("--json",)):
        done = ask(*words)
        assert KEY not in done.output and "hidden" not in done.output
    found = report()
    settings = {one["name"]: (one["value"], one["origin"]) for one in found["settings"]}
    assert settings["s3.bucket"] == ("lake", "config/settings.yaml:1:6")
    assert settings["registry"][1] == "DRIFTLINE_REGISTRY"
    assert finding(found, "secrets", "NEWSAPI_KEY") == ("ok", "set, environment")
    assert finding(found, "configuration", "DRIFTLINE_PORT")[0] == "off"


def test_a_configuration_that_cannot_be_read_is_wrong(place: Path) -> None:
    Path("config/settings.yaml").write_text("runz: x\n")
    state, said = finding(report(code=1), "configuration", "files")
    assert state == "wrong" and said.startswith("config/settings.yaml:1:1: runz: unknown key")
    done = ask()
    assert done.exit_code == 1 and "1 to mend: files" in done.output


def test_a_folder_that_is_set_and_cannot_be_written_is_wrong(place: Path) -> None:
    Path("taken").write_text("x")
    Path("config/settings.yaml").write_text("runs: taken/deep\ndata: taken\n")
    found = report(code=1)
    assert finding(found, "folders", "runs") == ("wrong", "taken/deep: taken is a file")
    assert finding(found, "folders", "data") == ("wrong", "taken: is a file")
    Path("config/settings.yaml").write_text("cache: there\n")
    Path("there").mkdir()
    Path("there/x").write_bytes(b"0" * 250_000)
    assert finding(report(), "folders", "cache") == ("ok", "there, 1 files, 0.2 MB")
    assert "cannot be written" in unwritable(Path("/proc/1/x")) or Path("/proc").exists() is False


def test_a_library_that_is_missing_is_wrong(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctoring, "NEEDED", ("catboost", "no-such-library"))
    assert finding(report(code=1), "libraries", "no-such-library")[0] == "wrong"
    monkeypatch.setattr(doctoring, "NEEDED", ())
    monkeypatch.setattr(doctoring, "FAST", "no-such-library")
    assert finding(report(), "libraries", "no-such-library")[0] == "off"
    monkeypatch.setattr(doctoring, "PYTHONS", ((3, 10),))
    assert finding(report(code=1), "system", "python")[0] == "wrong"


def test_kernels_that_do_not_hold_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.switch.kernels_that_hold", lambda: None)
    state, said = finding(report(), "libraries", "numba")
    assert state == "off" and "cannot be used" in said


def test_secrets_that_cannot_be_read_are_wrong(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config/secrets.yaml").write_text("NEWSAPI_KEY: hidden\n")
    Path("config/secrets.yaml").chmod(0o644)
    found = report(code=1)
    state, said = finding(found, "secrets", "NEWSAPI_KEY")
    assert state == "wrong" and "chmod 600" in said
    Path("config/secrets.yaml").chmod(0o600)
    Path("config/settings.yaml").touch()
    assert finding(report(), "secrets", "NEWSAPI_KEY") == ("ok", "set, config/secrets.yaml")
    Path("config/secrets.yaml").unlink()
    Path("config/secrets.enc.yaml").write_text("A: ENC[x]")
    monkeypatch.setenv("PATH", str(place))
    found = report(code=1)
    assert finding(found, "secrets", "sops") == ("wrong", "not on the PATH")
    assert "sops is not on the PATH" in finding(found, "secrets", "NEWSAPI_KEY")[1]


def test_newsapi_is_asked_without_a_key(
    place: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWSAPI_KEY", KEY)
    news(server)
    found = report("--reach")
    assert finding(found, "network", "newsapi") == ("ok", f"{server}/v2 answers")
    assert finding(found, "network", "s3") == ("off", "no bucket is set")
    assert finding(found, "network", "registry") == ("off", "none is set")
    news("http://127.0.0.1:9")
    state, said = finding(report("--reach", code=1), "network", "newsapi")
    assert state == "wrong" and "nobody answers there" in said
    monkeypatch.delenv("NEWSAPI_KEY")
    state, said = finding(report("--reach"), "network", "newsapi")
    assert state == "off" and "no NEWSAPI_KEY asks for it" in said


def test_a_registry_is_asked_too(place: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    news(server)
    monkeypatch.setenv("DRIFTLINE_REGISTRY", server)
    assert finding(report("--reach"), "network", "registry") == ("ok", f"{server} answers")
    monkeypatch.setenv("DRIFTLINE_REGISTRY", f"{server}/elsewhere")
    assert "HTTP status 503" in finding(report("--reach", code=1), "network", "registry")[1]
    monkeypatch.setenv("DRIFTLINE_REGISTRY", "http://127.0.0.1:9")
    assert "nobody answers" in finding(report("--reach", code=1), "network", "registry")[1]
    monkeypatch.setenv("DRIFTLINE_REGISTRY", "models")
    assert finding(report("--reach"), "network", "registry") == (
        "off", "models: holds no registry yet",
    )  # fmt: skip
    monkeypatch.setenv("DRIFTLINE_REGISTRY", "sqlite:///x.db")
    assert "not asked" in finding(report("--reach"), "network", "registry")[1]


def test_a_bucket_is_asked_with_the_credentials_of_the_file(
    place: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    news(server)
    s3 = ThreadedMotoServer(port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    own = {"aws_access_key_id": "one", "aws_secret_access_key": "two", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **own).create_bucket(Bucket="lake")
    settings = Path("config/settings.yaml")
    settings.write_text(f"s3: {{bucket: lake, endpoint: '{endpoint}', region: us-east-1}}\n")
    found = report("--reach", code=1)
    assert "there are no credentials" in finding(found, "network", "s3")[1]
    secrets = Path("config/secrets.yaml")
    secrets.write_text("AWS_ACCESS_KEY_ID: one\nAWS_SECRET_ACCESS_KEY: two\n")
    secrets.chmod(0o600)
    assert finding(report("--reach"), "network", "s3") == ("ok", "s3://lake answers")
    monkeypatch.setenv("DRIFTLINE_S3__BUCKET", "other")
    found = report("--reach", code=1)
    assert finding(found, "network", "s3") == ("wrong", "s3://other: there is no such bucket")
    s3.stop()
    found = report("--reach", code=1)
    assert "nobody answers there" in finding(found, "network", "s3")[1]
    secrets.write_text("AWS_ACCESS_KEY_ID: one\n")
    found = report("--reach", code=1)
    assert "without AWS_SECRET_ACCESS_KEY" in finding(found, "network", "s3")[1]


def test_whoever_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(doctoring, "SECONDS", 0.2)
    with socket.socket() as ear:
        ear.bind(("127.0.0.1", 0))
        ear.listen()
        assert status_of(f"http://127.0.0.1:{ear.getsockname()[1]}") == "no answer within 0.2 s"
    assert "nobody answers" in str(status_of("http://[::bad"))
