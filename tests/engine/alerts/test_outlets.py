"""Delivery: people are told at least once, and no outlet stalls or ends a run."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.alerts import outlets as o
from engine.alerts.outlets import Outlets, subject_of
from engine.alerts.rules import LogOutlet, Notify, SnsOutlet, WebhookOutlet
from engine.errors import InputError
from tests.e2e.driving import ROOT

SECRET = "T0PSECRETTOKEN"


def alert(at: int, **details: Any) -> str:
    """Return the line of an alert event."""
    given = {"kind": "alert", "stream": "s", "n": at, "alert": "quota", "state": "raised"}
    return json.dumps({**given, "level": "warning", "message": f"Number {at}.", **details})


class Hook:
    """A real webhook on this machine.

    Parameters
    ----------
    statuses
        What it answers, in turn; the last for ever.
    slow
        Seconds before it answers.
    """

    def __init__(self, statuses: tuple[int, ...] = (200,), slow: float = 0.0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.asked = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = statuses[min(hook.asked, len(statuses) - 1)]
                hook.asked += 1
                time.sleep(slow)
                if status == 200:
                    hook.bodies.append(body)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/{SECRET}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(o, "WAIT_SECONDS", 0.01)


@pytest.fixture
def said() -> list[str]:
    return []


def outlets(notify: Notify, folder: Path, said: list[str], url: str | None = None) -> Outlets:
    return Outlets(notify, folder, folder / "marks", {"HOOK": url}.get, said.append)


def webhook(attempts: int = 5, timeout: str = "10s") -> Notify:
    return Notify(webhook=WebhookOutlet(url_env="HOOK", attempts=attempts, timeout=timeout))


# --- the webhook ----------------------------------------------------------------------------


def test_a_webhook_gets_each_alert_in_order(tmp_path: Path, said: list[str]) -> None:
    hook = Hook()
    made = outlets(webhook(), tmp_path, said, hook.url)
    for at in range(5):
        made.deliver(alert(at), f"s/{at}")
    assert made.close(10) == 0
    hook.close()
    assert [body["n"] for body in hook.bodies] == list(range(5))
    assert hook.bodies[0]["text"] == "[warning] quota raised: Number 0."
    assert said == []


def test_a_failure_is_tried_again(tmp_path: Path, said: list[str]) -> None:
    hook = Hook((500, 503, 429, 200))
    made = outlets(webhook(), tmp_path, said, hook.url)
    made.deliver(alert(0), "s/0")
    time.sleep(0.5)
    assert made.close(10) == 0
    hook.close()
    assert hook.asked == 4 and len(hook.bodies) == 1 and said == []


@pytest.mark.parametrize(("status", "asked"), [(500, 3), (404, 1), (400, 1), (302, 1)])
def test_a_hopeless_delivery_is_given_up_with_one_line(
    tmp_path: Path, said: list[str], status: int, asked: int
) -> None:
    hook = Hook((status,))
    made = outlets(webhook(attempts=3), tmp_path, said, hook.url)
    made.deliver(alert(0), "s/0")
    time.sleep(0.3)
    assert made.close(10) == 1
    hook.close()
    assert hook.asked == asked
    assert said == [
        f"alerts: webhook: gave up on one: HTTP status {status}",
        "alerts: webhook: 1 not delivered; the next start tries again",
    ]


def test_a_slow_webhook_stalls_nobody(tmp_path: Path, said: list[str]) -> None:
    hook = Hook(slow=3.0)
    made = outlets(webhook(timeout="5s"), tmp_path, said, hook.url)
    begun = time.monotonic()
    for at in range(1500):
        made.deliver(alert(at), f"s/{at}")
    assert time.monotonic() - begun < 2
    begun = time.monotonic()
    assert made.close(0.3) == 1500
    assert time.monotonic() - begun < 2
    hook.close()
    assert said[0] == "alerts: webhook: too many wait; some are left for later"
    assert len(said) == 2, "one line for all of them, and one at the end"


def test_a_webhook_that_takes_too_long_has_failed(tmp_path: Path, said: list[str]) -> None:
    hook = Hook(slow=1.0)
    made = outlets(webhook(attempts=1, timeout="100ms"), tmp_path, said, hook.url)
    made.deliver(alert(0), "s/0")
    assert made.close(5) == 1
    hook.close()
    assert said[0] == "alerts: webhook: gave up on one: ReadTimeout"


def test_the_address_is_in_no_line_and_no_log(
    tmp_path: Path, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dead = Hook()
    dead.close()
    fine = Hook((500, 200))
    for url in (dead.url, fine.url, f"http://no such/{SECRET}", f"http://[/{SECRET}"):
        try:
            made = outlets(webhook(attempts=2), tmp_path, said, url)
        except InputError as error:
            said.append(str(error))
            continue
        made.deliver(alert(0), f"s/{url}")
        made.close(5)
    fine.close()
    assert len(said) >= 3 and len(fine.bodies) == 1
    assert SECRET not in "".join([*said, caplog.text])


@pytest.mark.parametrize("url", [None, "", "ftp://x/y", "hook"])
def test_a_webhook_without_an_address_is_refused(
    tmp_path: Path, said: list[str], url: str | None
) -> None:
    with pytest.raises(InputError, match="HOOK") as caught:
        outlets(webhook(), tmp_path, said, url)
    assert caught.value.key == ("notify", "webhook", "url_env")


# --- once, at least -------------------------------------------------------------------------


def test_what_was_delivered_is_not_sent_again_after_a_restart(
    tmp_path: Path, said: list[str]
) -> None:
    hook = Hook()
    for stop in (3, 6):
        made = outlets(webhook(), tmp_path, said, hook.url)
        for at in range(stop):
            made.deliver(alert(at), f"s/{at}")
            made.deliver(alert(at), f"s/{at}")
        assert made.close(10) == 0
    hook.close()
    assert [body["n"] for body in hook.bodies] == list(range(6))


def test_what_was_not_delivered_is_sent_after_a_restart(tmp_path: Path, said: list[str]) -> None:
    hook = Hook((404, 200))
    for _ in range(2):
        made = outlets(webhook(attempts=1), tmp_path, said, hook.url)
        made.deliver(alert(0), "s/0")
        made.close(10)
    hook.close()
    assert len(hook.bodies) == 1


def test_a_mark_that_was_cut_off_does_not_count(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "marks"
    marks = o.Marks(path)
    marks.add("log", "s/1")
    whole = path.read_bytes()
    path.write_bytes(whole + whole.replace(b"1", b"2")[:-3])
    again = o.Marks(path)
    assert ("log", "s/1") in again and ("log", "s/2") not in again
    again.add("log", "s/3")
    last = o.Marks(path)
    assert ("log", "s/1") in last and ("log", "s/3") in last and ("log", "s/2") not in last


KILLED = """
import os, signal, sys, time
from pathlib import Path
from engine.alerts.outlets import Outlets
from engine.alerts.rules import Notify, WebhookOutlet
notify, folder = Notify(webhook=WebhookOutlet(url_env="HOOK")), Path(sys.argv[1])
made = Outlets(notify, folder, folder / "marks", os.environ.get, print)
for at in range(40):
    made.deliver('{"kind":"alert","n":%d}' % at, f"s/{at}")
while (folder / "marks").exists() is False or (folder / "marks").read_text().count("\\n") < 3:
    time.sleep(0.005)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_each_alert_is_delivered_though_the_process_is_killed(
    tmp_path: Path, said: list[str]
) -> None:
    hook = Hook(slow=0.02)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={"HOOK": hook.url, "PYTHONPATH": str(ROOT), "PATH": ""},
        timeout=60,
        check=False,
    )
    assert done.returncode == -9
    before = len(hook.bodies)
    assert 3 <= before < 40
    made = outlets(webhook(), tmp_path, said, hook.url)
    for at in range(40):
        made.deliver(alert(at), f"s/{at}")
    assert made.close(20) == 0
    hook.close()
    numbers = [body["n"] for body in hook.bodies]
    assert set(numbers) == set(range(40))
    assert len(numbers) <= 41, "at most the one that was on its way comes twice"


# --- the log --------------------------------------------------------------------------------


def test_the_log_rotates_and_every_line_is_whole(tmp_path: Path, said: list[str]) -> None:
    notify = Notify(log=LogOutlet(path="logs/alerts.log", max_bytes=1000, backups=3))
    made = outlets(notify, tmp_path, said)
    for at in range(30):
        made.deliver(alert(at, message="é\nü"), f"s/{at}")
    assert made.close(10) == 0
    files = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in files] == ["alerts.log", *(f"alerts.log.{n}" for n in (1, 2, 3))]
    assert all(path.stat().st_size <= 1000 for path in files)
    lines = [line for path in files for line in path.read_text("utf-8").splitlines()]
    numbers = [json.loads(line)["n"] for line in lines]
    assert sorted(numbers)[-1] == 29 and sorted(numbers) == list(range(min(numbers), 30))


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "alerts.log").mkdir()
    made = outlets(Notify(log=LogOutlet(path="alerts.log")), tmp_path, said)
    made.deliver(alert(0), "s/0")
    time.sleep(0.2)
    assert made.close(5) == 1
    assert said[0] == "alerts: log: gave up on one: Is a directory"


def test_one_dead_outlet_keeps_no_other_from_delivering(tmp_path: Path, said: list[str]) -> None:
    dead = Hook()
    dead.close()
    notify = Notify(log=LogOutlet(path="alerts.log"), webhook=webhook(attempts=1).webhook)
    for _ in range(2):
        made = outlets(notify, tmp_path, said, dead.url)
        made.deliver(alert(0), "s/0")
        assert made.close(5) == 1
    assert len((tmp_path / "alerts.log").read_text("utf-8").splitlines()) == 1
    assert said[0] == "alerts: webhook: gave up on one: ConnectionError"


# --- SNS ------------------------------------------------------------------------------------


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.slow
def test_sns_delivers_to_a_subscribed_queue(cloud: str, tmp_path: Path, said: list[str]) -> None:
    import boto3

    sns, sqs = (boto3.client(name, region_name="eu-west-1") for name in ("sns", "sqs"))
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="people")["QueueUrl"]
    wanted = ["QueueArn"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=wanted)["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=found["QueueArn"])
    made = outlets(Notify(sns=SnsOutlet(topic_arn=topic)), tmp_path, said)
    made.deliver(alert(0, message=f"Zu\nviel: {'é' * 200}"), "s/0")
    assert made.close(30) == 0, said
    (message,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2)["Messages"]
    body = json.loads(message["Body"])
    assert body["Subject"].startswith("Driftline [warning] quota raised: Zu viel")
    assert json.loads(body["Message"].partition("\n\n")[2])["n"] == 0
    missing = Notify(sns=SnsOutlet(topic_arn=topic.replace("alerts", "other"), attempts=4))
    made = outlets(missing, tmp_path / "other", said)
    made.deliver(alert(0), "s/0")
    assert made.close(30) == 1
    assert said[0] == "alerts: sns: gave up on one: NotFound"


def test_subjects_are_what_sns_takes() -> None:
    for message in ("", "é" * 300, "a\r\nb\tc\0d", "x" * 100):
        subject = subject_of(json.loads(alert(0, message=message)))
        assert len(subject) <= 100 and subject.isascii() and subject.isprintable()
