"""Sync: what is in step afterwards is proved by checksum, and nothing is ever lost on the way."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine import localfiles, sync, transfers
from engine.agreements import Agreements
from engine.signals import STOPPING
from engine.syncing import sync as command
from tests.e2e.driving import ROOT

BUCKET = "lake-of-tests"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A real S3 on the loopback address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DRIFTLINE_S3"))]:
        monkeypatch.delenv(name)  # whatever the machine has
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def client(endpoint: str, credentials: None) -> Any:
    """A client of its own, and an empty bucket."""
    import boto3

    made = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")
    ).close()
    made.create_bucket(Bucket=BUCKET)
    return made


class Side:
    """A folder that syncs with the bucket, as one person's machine does."""

    def __init__(self, base: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base, self.endpoint, self._monkeypatch = base, endpoint, monkeypatch
        base.mkdir()

    def __call__(self, *words: str, code: int = 0, bare: bool = False) -> str:
        """Run the command, told where the bucket is unless `bare`; return all that it printed."""
        self._monkeypatch.chdir(self.base)
        place = ["--bucket", BUCKET, "--endpoint", self.endpoint]
        handlers = {number: signal.getsignal(number) for number in STOPPING}
        given = [*words, *(() if bare or "--bucket" in words else place)]
        try:
            done = CliRunner().invoke(command, given)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        assert "not-a-secret" not in done.output
        return done.output

    def write(self, name: str, content: bytes | str, age: float = 10.0) -> Path:
        """Write a file that has rested for a while."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        moment = time.time() - age
        os.utime(path, (moment, moment))
        return path

    def read(self, name: str) -> str:
        return (self.base / name).read_text("utf-8")


@pytest.fixture
def here(tmp_path: Path, endpoint: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> Side:
    return Side(tmp_path / "here", endpoint, monkeypatch)


@pytest.fixture
def there(tmp_path: Path, endpoint: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> Side:
    return Side(tmp_path / "there", endpoint, monkeypatch)


def keys(client: Any) -> set[str]:
    """Return all keys of the bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {entry["Key"] for page in pages for entry in page.get("Contents", ())}


def checksum_of(client: Any, key: str) -> str:
    """Return the checksum of what an object holds, which must be the one that it tells."""
    found = client.get_object(Bucket=BUCKET, Key=key)
    content = hashlib.sha256(found["Body"].read()).hexdigest()
    assert found["Metadata"]["sha256"] == content
    return content


def tree(base: Path) -> dict[str, str]:
    """Return the checksums of all files but those that a sync keeps for itself."""
    return {
        str(path.relative_to(base)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in base.rglob("*")
        if path.is_file() and not path.name.startswith(".sync-")
    }


# --- there and back -------------------------------------------------------------------------


def test_what_goes_up_comes_down_the_same(here: Side, there: Side, client: Any) -> None:
    here.write("data/raw/a.json", "{}")
    here.write("data/ä ö/we+ird %41 & 'name'?.csv", "x" * 3000)
    here.write("data/empty", b"")
    here.write("runs/elec2-7/run.json", "run")
    said = here("up")
    assert "4 files uploaded (3.0 kB), 0 unchanged" in said
    assert len(keys(client)) == 4
    assert "4 files downloaded" in there("down")
    assert tree(there.base) == tree(here.base)
    assert "0 files uploaded (0 bytes), 4 unchanged" in there("up")
    assert "0 files downloaded (0 bytes), 4 unchanged" in here("down")


def test_folders_and_a_prefix_say_what_goes_where(here: Side, there: Side, client: Any) -> None:
    here.write("data/a", "1")
    here.write("runs/b/c", "2")
    here.write("runs/d/c", "3")
    here("up", "./runs/b/", "runs/b", "--prefix", "/team/x/")
    assert keys(client) == {"team/x/runs/b/c"}
    here("up", "runs", "runs/b", "--prefix", "team/x")
    assert keys(client) == {"team/x/runs/b/c", "team/x/runs/d/c"}
    assert "0 files" in there("down", "runs")
    there("down", "runs/d", "--prefix", "team/x")
    assert tree(there.base).keys() == {"runs/d/c"}


def test_what_has_not_changed_is_not_read_again(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("data/a", "one")
    here.write("data/b", "two")
    here("up")
    here("up")
    read, looked = set(), set()
    real_digest, real_look = localfiles.digest, sync.Bucket.look

    def digest(file: Any, size: int) -> str:
        read.add(Path(file.name))
        return real_digest(file, size)

    def look(self: sync.Bucket, path: str) -> sync.Object | None:
        looked.add(path)
        return real_look(self, path)

    monkeypatch.setattr(localfiles, "digest", digest)
    monkeypatch.setattr(sync.Bucket, "look", look)
    assert "2 unchanged" in here("up")
    assert not read and not looked
    path = here.write("data/a", "ONE")  # of the same size and, to be nasty, of the same time
    assert "1 files uploaded" in here("up")
    assert read == {path}


def test_a_file_that_has_only_just_changed_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    known = Agreements(tmp_path, "data", "x")
    now = time.time_ns()
    known.learn("data/new", (1, now, now, 7), 1, "abc")
    known.learn("data/old", (1, now - 10**9, now, 7), 1, "abc")
    assert known.checksum("data/new", (1, now, now, 7)) is None
    assert known.checksum("data/old", (1, now - 10**9, now, 7)) == (1, "abc")
    known.close()


def test_a_dry_run_changes_nothing(here: Side, there: Side, client: Any) -> None:
    here.write("data/a", "one")
    assert "would upload data/a (3 bytes)" in here("up", "--dry-run")
    assert keys(client) == set() and set(here.base.rglob(".sync*")) == set()
    here("up")
    assert "would download data/a" in there("down", "--dry-run")
    assert list(there.base.iterdir()) == []
    (here.base / "data/a").unlink()
    here.write("data/b", "two")
    said = here("up", "--dry-run", "--delete")
    assert "would remove data/a" in said and "would upload data/b" in said
    assert keys(client) == {"data/a"}


# --- conflicts ------------------------------------------------------------------------------


def test_who_comes_second_overwrites_nothing(here: Side, there: Side, client: Any) -> None:
    here.write("data/a", "one")
    here("up")
    there.write("data/a", "two")
    for direction in ("up", "down"):
        said = there(direction, code=1)
        assert "data/a: changed here and in the bucket; neither was touched" in said
        assert "1 conflict" in said
    assert there.read("data/a") == "two"
    assert client.get_object(Bucket=BUCKET, Key="data/a")["Body"].read() == b"one"
    there("up", "--overwrite")
    assert client.get_object(Bucket=BUCKET, Key="data/a")["Body"].read() == b"two"


def test_what_changed_on_one_side_alone_goes_that_way_alone(here: Side, there: Side) -> None:
    here.write("data/a", "one")
    here("up")
    there("down")
    there.write("data/a", "two")
    assert "changed here alone; left" in there("down")
    assert there.read("data/a") == "two"
    there("up")
    assert "changed in the bucket alone; left" in here("up")
    here("down")
    assert here.read("data/a") == "two"
    here.write("data/a", "three")
    there.write("data/a", "four")
    here("up")
    assert "1 conflict" in there("up", code=1)


@pytest.mark.parametrize("conditions", [True, False], ids=["conditions", "none"])
@pytest.mark.parametrize("large", [False, True], ids=["whole", "parts"])
@pytest.mark.parametrize("there_before", [False, True], ids=["new", "changed"])
def test_a_rival_between_looking_and_writing_is_noticed(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch,
    there_before: bool, large: bool, conditions: bool,
) -> None:  # fmt: skip
    if large and there_before and conditions:
        pytest.skip("moto does not know If-Match where an upload in parts is finished")
    size = sync.PART_BYTES + 1 if large else 3
    if there_before:
        here.write("data/a", "before")
        here("up")
    here.write("data/a", b"m" * size)
    real = transfers.Transfer._send

    def send(self: Any, path: str, *rest: Any) -> Any:
        client.put_object(Bucket=BUCKET, Key=path, Body=b"rival")
        self._bucket.conditional = conditions
        return real(self, path, *rest)

    monkeypatch.setattr(transfers.Transfer, "_send", send)
    assert "somebody else has just written it" in here("up", code=1)
    assert client.get_object(Bucket=BUCKET, Key="data/a")["Body"].read() == b"rival"
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_a_write_whose_answer_was_lost_is_no_conflict(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("data/a", "one")
    real = sync.Bucket.put

    def put(self: Any, *words: Any) -> str:
        real(self, *words)
        return real(self, *words)  # as botocore does after a connection broke

    monkeypatch.setattr(sync.Bucket, "put", put)
    assert "1 files uploaded" in here("up")


def test_two_syncs_of_one_folder_take_turns(here: Side) -> None:
    here.write("data/a", "one")
    at = f"s3://{BUCKET}/ {here.endpoint}"
    other = Agreements(here.base, "data", at)
    assert "another sync is at work on data/" in here("up", code=1)
    other.close()
    here("up")


# --- removal --------------------------------------------------------------------------------


def test_nothing_is_removed_unless_asked(here: Side, there: Side, client: Any) -> None:
    here.write("data/a", "one")
    here.write("data/b", "two")
    here("up")
    there("down")
    (here.base / "data/a").unlink()
    here("up")
    assert keys(client) == {"data/a", "data/b"}
    client.put_object(Bucket=BUCKET, Key="data/theirs", Body=b"x")
    said = here("up", "--delete")
    assert "1 removed" in said and "data/theirs: was never in step" in said
    assert keys(client) == {"data/b", "data/theirs"}
    there.write("data/new", "three")
    said = there("down", "--delete")
    assert "1 removed" in said and "data/new: was never in step" in said
    assert tree(there.base).keys() == {"data/b", "data/new", "data/theirs"}
    there("down", "--delete", "--overwrite")
    assert tree(there.base).keys() == {"data/b", "data/theirs"}


def test_an_empty_side_does_not_empty_the_other(here: Side, client: Any) -> None:
    here.write("data/a", "one")
    here("up")
    (here.base / "data/a").unlink()
    assert "refused to remove 1 files" in here("up", "--delete", code=1)
    here("down")
    client.delete_object(Bucket=BUCKET, Key="data/a")
    assert "refused to remove 1 files" in here("down", "--delete", code=1)
    assert here.read("data/a") == "one"


def test_nothing_is_removed_while_something_is_wrong(here: Side, there: Side, client: Any) -> None:
    here.write("data/a", "one")
    here.write("data/b", "two")
    here("up")
    (here.base / "data/b").unlink()
    here.write("data/a", "three")
    client.put_object(Bucket=BUCKET, Key="data/a", Body=b"other")
    assert "nothing was removed" in here("up", "--delete", code=1)
    assert "data/b" in keys(client)


# --- what is growing, odd or hostile --------------------------------------------------------


def test_what_is_at_work_or_no_file_is_left_out(here: Side, client: Any) -> None:
    for name in ("runs/a/.state/parts/0", "runs/a/x.partial", "registry/.lock", "runs/a/lock"):
        here.write(name, "busy")
    here.write("runs/a/run.json", "{}")
    (here.base / "runs/link").symlink_to("a")
    (here.base / "runs/a/dangling").symlink_to("nowhere")
    os.mkfifo(here.base / "runs/pipe")
    said = here("up")
    assert keys(client) == {"runs/a/run.json"}
    assert "runs/link: a symbolic link" in said and "runs/a/dangling: a symb" in said
    assert "runs/pipe: neither a file nor a folder" in said


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_live_database_arrives_whole(here: Side, there: Side, client: Any, journal: str) -> None:
    path = here.base / "data" / "ledger.sqlite"
    path.parent.mkdir()
    live = sqlite3.connect(path)
    live.execute(f"PRAGMA journal_mode={journal}")
    live.execute("PRAGMA wal_autocheckpoint=0")
    live.execute("CREATE TABLE rows (n)")
    live.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(5000)])
    live.commit()
    live.execute("INSERT INTO rows VALUES (-1)")  # not committed
    here("up")
    live.rollback()
    assert keys(client) == {"data/ledger.sqlite"}
    there("down")
    copy = sqlite3.connect(there.base / "data" / "ledger.sqlite")
    assert copy.execute("SELECT count(*), max(n) FROM rows").fetchone() == (5000, 4999)
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
    assert "1 unchanged" in there("up")
    assert "1 unchanged" in here("up")
    live.execute("INSERT INTO rows VALUES (5000)")
    live.commit()
    assert "1 files uploaded" in here("up")
    reader = sqlite3.connect(there.base / "data" / "ledger.sqlite")
    reader.execute("SELECT * FROM rows").fetchone()
    if journal == "wal":
        assert "another process has this SQLite database open" in there("down", code=1)
    reader.close()
    there("down")
    copy = sqlite3.connect(there.base / "data" / "ledger.sqlite")
    assert copy.execute("SELECT count(*) FROM rows").fetchone() == (5001,)
    copy.close()
    live.close()


def test_a_file_that_grows_goes_up_as_long_as_it_was(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.write("data/answers.jsonl", "one\n")
    real = localfiles.digest

    def digest(file: Any, size: int) -> str:
        with path.open("a") as more:
            more.write("two\n")
        return real(file, size)

    monkeypatch.setattr(localfiles, "digest", digest)
    here("up")
    monkeypatch.undo()
    found = client.get_object(Bucket=BUCKET, Key="data/answers.jsonl")["Body"].read()
    assert found in (b"one\n", b"one\ntwo\n")
    assert checksum_of(client, "data/answers.jsonl")


def test_a_file_that_changes_under_the_hand_is_not_sent(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.write("data/a", "one")
    real = transfers.Transfer._send

    def send(self: Any, *words: Any) -> Any:
        path.write_text("two")
        return real(self, *words)

    monkeypatch.setattr(transfers.Transfer, "_send", send)
    assert "data/a: it changed while it was read" in here("up", code=1)
    assert keys(client) == set()


@pytest.mark.parametrize(
    "key", ["data/../../escaped", "data/./a", "data//a", "data/link/escaped", "data/link"]
)
def test_no_object_is_written_elsewhere(here: Side, client: Any, key: str) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"evil")
    client.put_object(Bucket=BUCKET, Key="data/good", Body=b"good")
    (here.base / "data").mkdir()
    outside = here.base.parent / "outside"
    outside.mkdir()
    (here.base / "data/link").symlink_to(outside)
    said = here("down", code=1)
    assert "refused" in said and "1 failure" in said
    assert here.read("data/good") == "good"
    assert list(outside.iterdir()) == [] and not (here.base.parent / "escaped").exists()
    assert (here.base / "data/link").is_symlink()


def test_marks_of_folders_and_state_are_not_brought(here: Side, client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key="data/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="data/.state/lock", Body=b"x")
    assert "0 files downloaded" in here("down")
    assert tree(here.base) == {}


def test_a_name_that_s3_cannot_hold_is_told_and_the_rest_goes(here: Side, client: Any) -> None:
    here.write("data/good", "x")
    (here.base / "data" / os.fsdecode(b"bad\xff")).write_bytes(b"x")
    said = here("up", code=1)
    assert "its name is not UTF-8" in said and keys(client) == {"data/good"}


def test_an_object_without_a_checksum_is_compared_by_reading_it(here: Side, client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key="data/a", Body=b"one")
    here.write("data/a", "one")
    assert "1 unchanged" in here("up")
    client.put_object(Bucket=BUCKET, Key="data/a", Body=b"two")
    assert "changed in the bucket alone" in here("up")
    here("down")
    assert here.read("data/a") == "two"


# --- cut off --------------------------------------------------------------------------------


def test_a_damaged_download_is_never_taken_for_done(here: Side, there: Side, client: Any) -> None:
    here.write("data/a", "one")
    here("up")
    client.put_object(Bucket=BUCKET, Key="data/a", Body=b"xxx", Metadata={"sha256": "0" * 64})
    assert "does not match its checksum" in there("down", code=1)
    assert tree(there.base) == {}


def test_a_download_goes_on_where_it_stopped(
    here: Side, there: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(1).randbytes(5 << 20)
    here.write("data/a", content)
    here("up")
    real = sync.Bucket.read
    starts = []

    def read(self: Any, path: str, etag: str, start: int = 0) -> Iterator[bytes]:
        starts.append(start)
        for number, piece in enumerate(real(self, path, etag, start)):
            if number == 2 and len(starts) == 1:
                raise sync.Broken("the line is cut")
            yield piece

    monkeypatch.setattr(sync.Bucket, "read", read)
    there("down", code=1)
    assert "data/a" not in tree(there.base)
    there("down")
    assert starts == [0, 2 << 20]
    assert (there.base / "data/a").read_bytes() == content
    assert not list(there.base.rglob("*.partial"))


def test_an_upload_in_parts_goes_on_where_it_stopped(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(transfers, "PART_BYTES", 5 << 20)
    here.write("data/a", random.Random(1).randbytes(17 << 20))
    real = sync.Bucket._send_part
    sent: list[int] = []

    def send(self: Any, path: str, upload: str, number: int, body: bytes) -> str:
        if number == 3 and len(sent) == 2:
            sent.append(0)
            raise sync.Broken("the line is cut")
        sent.append(number)
        return real(self, path, upload, number, body)

    monkeypatch.setattr(sync.Bucket, "_send_part", send)
    assert "the line is cut (0 of 1 files done; the same command goes on)" in here("up", code=1)
    assert keys(client) == set()
    here("up")
    assert sent == [1, 2, 0, 3, 4]
    assert checksum_of(client, "data/a") == tree(here.base)["data/a"]
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_an_upload_in_parts_of_what_has_changed_since_begins_anew(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(transfers, "PART_BYTES", 5 << 20)
    here.write("data/a", random.Random(1).randbytes(11 << 20))
    real = sync.Bucket.send

    def cut(*words: Any) -> str:
        raise sync.Broken("the line is cut")

    monkeypatch.setattr(sync.Bucket, "send", cut)
    here("up", code=1)
    monkeypatch.setattr(sync.Bucket, "send", real)
    here.write("data/a", random.Random(2).randbytes(11 << 20))
    here("up")
    assert checksum_of(client, "data/a") == tree(here.base)["data/a"]
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def kill_half_way(base: Path, endpoint: str, direction: str, half: Any, number: int) -> int:
    """Start a sync, send it a signal once `half()` is true, and return its exit code."""
    words = [direction, "data", "--bucket", BUCKET, "--endpoint", endpoint, "--jobs", "4"]
    code = f"from engine.syncing import sync; sync({words!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=base,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not half() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(30)


def killed_and_resumed(here: Side, there: Side, client: Any, files: int, number: int) -> None:
    """Kill an upload and a download half way, go on with both, and compare by checksum."""
    chance = random.Random(7)
    for index in range(files):
        size = chance.choice([0, 10, 3000, 40_000])
        here.write(f"data/{index % 10}/file-{index:04}.bin", chance.randbytes(size))
    expected = tree(here.base)
    ended = 128 + number if number != signal.SIGKILL else -number

    code = kill_half_way(
        here.base, here.endpoint, "up", lambda: len(keys(client)) >= files // 2, number
    )
    so_far = keys(client)
    assert code == ended and 0 < len(so_far) < files
    assert all(checksum_of(client, key) == expected[key] for key in so_far)
    said = here("up", "data")
    assert f"{files - len(so_far):,} files uploaded" in said, said
    assert {key: checksum_of(client, key) for key in keys(client)} == expected

    def half() -> bool:
        return sum(1 for _ in there.base.rglob("file-*.bin")) >= files // 2

    assert kill_half_way(there.base, there.endpoint, "down", half, number) == ended
    whole = {name: value for name, value in tree(there.base).items() if ".partial" not in name}
    assert 0 < len(whole) < files and whole.items() <= expected.items()
    said = there("down", "data")
    assert f"{files - len(whole):,} files downloaded" in said, said
    left = {name: value for name, value in tree(there.base).items() if ".partial" not in name}
    assert left == expected
    assert f"{files:,} unchanged" in here("up", "data")


@pytest.mark.slow
def test_killed_half_way_it_goes_on(here: Side, there: Side, client: Any) -> None:
    killed_and_resumed(here, there, client, 150, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda one: one.name)
def test_a_thousand_files_killed_half_way(
    here: Side, there: Side, client: Any, number: signal.Signals
) -> None:
    killed_and_resumed(here, there, client, 1000, number)


# --- what cannot work -----------------------------------------------------------------------


def test_no_bucket_no_credentials_no_way(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.write("data/a", "one")
    place = ["--endpoint", here.endpoint]
    said = here("up", "--bucket", "no-such-bucket", *place, code=1)
    assert said == f"failed: there is no bucket no-such-bucket at {here.endpoint}\n"
    for direction in ("up", "down"):
        said = here(direction, "--bucket", BUCKET, "--endpoint", "http://127.0.0.1:9", code=1)
        assert said.startswith("failed: http://127.0.0.1:9 cannot be reached"), said
        assert said.count("\n") == 1
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    said = here("up", code=1)
    assert said.startswith("failed: there are no AWS credentials: set AWS_ACCESS_KEY_ID")
    assert path.read_text() == "one"


def test_wrong_credentials_and_no_permission(here: Side, client: Any) -> None:
    here.write("data/a", "one")

    def guard(calls: str) -> None:
        request = urllib.request.Request(
            f"{here.endpoint}/moto-api/reset-auth",
            data=calls.encode(),
            headers={"Content-Type": "text/plain"},
            method="POST",
        )
        urllib.request.urlopen(request).close()

    guard("0")
    try:
        said = here("up", code=1)
    finally:
        guard("inf")
    assert "S3 does not accept these credentials" in said and said.count("\n") == 1
    assert keys(client) == set()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "these credentials may not write s3://lake-of-tests/ (AccessDenied)"),
        ("PermanentRedirect", "is in another region"),
        ("SlowDown", "S3 could not write s3://lake-of-tests/: SlowDown slower"),
    ],
)
def test_what_s3_answers_is_told_in_one_sentence(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    from botocore.exceptions import ClientError

    here.write("data/a", "one")

    def conditionally(*given: Any, **options: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "slower"}}, "PutObject")

    monkeypatch.setattr(sync.Bucket, "_conditionally", conditionally)
    said = here("up", code=1)
    assert words in said and said.count("\n") == 1


def test_an_endpoint_that_goes_away_half_way_loses_nothing(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(20):
        here.write(f"data/{index}", str(index))
    real, lock, count = sync.Bucket.put, threading.Lock(), [0]

    def put(self: Any, *words: Any) -> str:
        with lock:
            count[0] += 1
            if count[0] > 10:
                self._client.meta.events.register("before-send.s3", gone)
        return real(self, *words)

    def gone(**given: Any) -> None:
        from botocore.exceptions import EndpointConnectionError

        raise EndpointConnectionError(endpoint_url="x")

    monkeypatch.setattr(sync.Bucket, "put", put)
    said = here("up", code=1)
    assert "cannot be reached" in said and "of 20 files done; the same command goes on" in said
    monkeypatch.setattr(sync.Bucket, "put", real)
    here("up")
    assert len(keys(client)) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "/etc"], "name folders below this one"),
        (["up", "../x"], "name folders below this one"),
        (["up", "nowhere"], "nowhere: there is no such folder here"),
        (["down", "data", "--bucket", "A_B"], "a bucket's name has 3 to 63"),
        (["down", "--prefix", "a/../b"], "a prefix is made of plain names"),
        (["down", "--bucket", "abc", "--endpoint", "http://me:pass@x"], "without a password"),
        (["down", "--jobs", "0"], "0 is not in the range"),
        (["sideways"], "No such command"),
        (
            ["up", "--bucket", ""],
            "name the bucket, with --bucket, s3.bucket or DRIFTLINE_S3__BUCKET",
        ),
    ],
)
def test_bad_arguments_are_2(here: Side, words: list[str], message: str) -> None:
    (here.base / "data").mkdir()
    said = here(*words, code=2)
    assert message in said and "me:pass" not in said


def test_with_nothing_here_it_says_so(here: Side) -> None:
    assert "there is none of the folders data, registry, runs here" in here("up", code=2)
    assert "0 files downloaded" in here("down")


def test_the_configuration_says_where_to(
    here: Side, there: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIFTLINE_CONFIG")
    here.write("mine/a", "one")
    here.write(
        "config/settings.yaml",
        f"""
data: mine/
runs: /elsewhere
registry: http://127.0.0.1:5000
s3: {{bucket: {BUCKET}, prefix: team, endpoint: "{here.endpoint}"}}
""",
    )
    here("up", bare=True)
    assert keys(client) == {"team/mine/a"}


# --- its memory -----------------------------------------------------------------------------


def test_a_line_that_was_cut_off_costs_a_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    known = Agreements(tmp_path, "data", "x")
    known.agree("data/a", "one")
    known.agree("data/a", "two")
    known.agree("data/b", "two")
    known.close()
    whole = known.path.read_text()
    known.path.write_text(whole[:-5])
    again = Agreements(tmp_path, "data", "x")
    assert again.agreed("data/a") == "two" and again.agreed("data/b") is None
    again.agree("data/b", "three")
    again.close()
    lines = [json.loads(line) for line in known.path.read_text().splitlines()]
    assert lines == [["agreed", "data/a", "two"], ["agreed", "data/b", "three"]]
    assert Agreements(tmp_path, "data", "y", write=False).agreed("data/a") is None


def test_a_growing_file_that_was_sent_but_not_noted_is_no_conflict(
    here: Side, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("data/log", "one\n")

    def cut(self: Any, *words: Any) -> None:
        raise KeyboardInterrupt

    real = sync.Bucket.look
    monkeypatch.setattr(sync.Bucket, "look", cut)
    with pytest.raises(KeyboardInterrupt):
        transfers.Transfer(
            transfers.Order(
                here.base, ["data"], sync.Destination.of(BUCKET, "", here.endpoint), True
            ),
            lambda line: None,
            threading.Event(),
        ).run()
    monkeypatch.setattr(sync.Bucket, "look", real)
    assert keys(client) == {"data/log"}
    here.write("data/log", "one\ntwo\n")
    assert "1 files uploaded" in here("up")
