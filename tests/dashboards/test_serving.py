"""Who may ask the app, what it answers without a browser, and how the command begins and ends."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dashboards.app import make
from dashboards.places import key_of
from dashboards.shelf import Shelf, labels, row_of
from tests.e2e.driving import driftline, start


def client(*paths: Path, host: str = "127.0.0.1", token: str | None = None) -> Any:
    return make(paths, host, token).server.test_client()


def test_pages_may_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    answer = client(tmp_path).get("/")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "eval" not in policy
    scripts = next(part for part in policy.split(";") if "script-src" in part)
    assert "unsafe" not in scripts and "'self'" in scripts
    assert b"http://" not in answer.data and b"https://" not in answer.data


def test_another_site_cannot_pass_for_loopback(tmp_path: Path) -> None:
    asked = client(tmp_path)
    assert asked.get("/", headers={"Host": "evil.example:8050"}).status_code == 403
    for host in ("localhost:8050", "127.0.0.1", "[::1]:8050"):
        assert asked.get("/", headers={"Host": host}).status_code == 200


def test_a_token_is_asked_for_once(tmp_path: Path) -> None:
    asked = client(tmp_path, host="0.0.0.0", token="s3cret")
    assert asked.get("/").status_code == 401
    assert asked.get("/?token=wrong").status_code == 401
    assert asked.get("/_dash-layout").status_code == 401
    bearer = {"Authorization": "Bearer s3cret"}
    assert asked.get("/", headers=bearer).status_code == 200
    answer = asked.get("/replay?runs=a&token=s3cret")
    assert answer.status_code == 302 and answer.location.endswith("/replay?runs=a")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]
    assert asked.get("/", headers={"Host": "box.example"}).status_code == 401
    assert asked.get("/replay?runs=a").status_code == 200


def test_only_the_report_of_a_benchmark_is_given_out(tmp_path: Path, small: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "bench.json").write_text('{"name": "b", "spec": {}}', "utf-8")
    (bench / "report.html").write_text("<script>alert(1)</script>", "utf-8")
    linked = shutil.copytree(bench, tmp_path / "linked")
    (linked / "report.html").unlink()
    (linked / "report.html").symlink_to(bench / "bench.json")
    asked = client(tmp_path, small)
    answer = asked.get(f"/report/{key_of(bench)}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    for key in (key_of(small), key_of(linked), "nothing", "..%2F..%2Fetc"):
        assert b"alert(1)" not in asked.get(f"/report/{key}").data, key
        assert "Content-Disposition" not in asked.get(f"/report/{key}").headers, key


def test_a_shelf_lists_runs_whatever_their_state(small: Path, tmp_path: Path) -> None:
    shelf = Shelf([small, tmp_path / "gone"])
    rows = [row_of(one) for one in shelf.look()]
    assert [row["state"] for row in rows] == ["finished", "damaged"]
    total = json.loads((small / "summary.json").read_text("utf-8"))["total"]
    assert rows[0]["cost"] == total["cost"]["total"]
    never = total["baseline_errors"] * 2.0  # the price of an error
    assert rows[0]["against"] == pytest.approx(total["cost"]["total"] / never - 1)
    assert "cost" not in rows[1]


def test_runs_are_called_by_what_tells_them_apart(small: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(small, tmp_path / "twin")
    one, other = Shelf([small, twin]).look()
    assert labels([one]) == ["small"]
    assert labels([one, other]) == [one.label, other.label]
    about = json.loads((twin / "run.json").read_text("utf-8"))
    about["seed"] = 4
    (twin / "run.json").write_text(json.dumps(about), "utf-8")
    assert [label.rpartition(" · ")[2] for label in labels(Shelf([small, twin]).look())] == [
        "seed 3", "seed 4",
    ]  # fmt: skip


def test_a_stream_is_found_by_its_number_in_another_run(small: Path) -> None:
    shelf, key = Shelf([small]), key_of(small)
    shelf.look()
    assert shelf.stream(key, "other-0001") == "small-0001"
    assert shelf.stream(key, "other-0009") == shelf.stream(key, None) == "small-0000"


# --- the command ----------------------------------------------------------------------------


def one_line(text: str) -> str:
    assert len(text.splitlines()) == 1, text
    return text


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    answer = driftline("replay", tmp_path / "nothing-there")
    assert answer.code == 2 and "nothing-there: is not there" in one_line(answer.err)
    (tmp_path / "file").write_text("", "utf-8")
    answer = driftline("replay", tmp_path / "file")
    assert answer.code == 2 and "this is a file" in one_line(answer.err)
    answer = driftline("replay", tmp_path, "--host", "0.0.0.0")
    assert answer.code == 2 and "--token" in one_line(answer.err)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = driftline("replay", tmp_path, "--port", port)
    assert answer.code == 2 and f"--port {port}: " in one_line(answer.err)
    assert f"try --port {port + 1}" in answer.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    process = start("replay", tmp_path, "--port", "0")
    assert process.stdout is not None
    told = process.stdout.readline()
    address = told.split()[0]
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0 and err == "" and out == ""
