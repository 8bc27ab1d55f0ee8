"""The registrar follows a run, survives a registry that is gone, and makes good what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.champions import promote
from engine.dossiers import Dossier, Follower, RunId, Verdict
from engine.errors import InputError
from engine.events import Event
from engine.places import Place
from engine.quantities import moment_micros
from engine.registering import Work, reconcile
from engine.registrar import Registrar
from engine.registry import Registry
from tests.e2e.driving import driftline
from tests.engine.registered import Registered

pytestmark = pytest.mark.xdist_group("registry")


def event_of(line: dict[str, Any]) -> Event:
    """Return an event as the run has it."""
    details = dict(list(line.items())[5:])
    time = moment_micros(line["event_time"])
    return Event(line["kind"], line["stream"], time, line["seq"], line["n"], details)


def growing(registered: Registered, folder: Path, events: int) -> Path:
    """Return the run as it was after so many events, the next one half written."""
    parts = folder / "grows" / ".state" / "parts"
    parts.mkdir(parents=True)
    shutil.copy(registered.out / "run.json", folder / "grows")
    lines = (registered.out / "events.jsonl").read_bytes().splitlines(keepends=True)
    torn = lines[events][:30] if events < len(lines) else b""
    (parts / "events-00.jsonl").write_bytes(b"".join(lines[:events]) + torn)
    return folder / "grows"


def about(registered: Registered) -> dict[str, Any]:
    """Return the content of `run.json`."""
    found: dict[str, Any] = json.loads((registered.out / "run.json").read_text("utf-8"))
    return found


def shape(registry: Registry, name: str) -> tuple[Any, ...]:
    """Return what a registry says about a model, without times."""
    versions = registry.versions(name)
    verdicts = {one.tags["driftline.model"]: one.tags.get("driftline.verdict") for one in versions}
    return verdicts, registry.aliases(name)


# --- what follows from events ---------------------------------------------------------------


def test_a_failed_job_has_a_dossier_and_no_verdict(registered: Registered) -> None:
    begun = next(one for one in registered.events() if one["kind"] == "job_started")
    failed = {**begun, "kind": "job_failed", "reason": "no labels", "model": begun["model"]}
    follower = Follower(RunId.of({"name": "s", "seed": 1}))
    assert follower.see(begun) == []
    (dossier,) = follower.see(failed)
    assert isinstance(dossier, Dossier) and dossier.failed == "no labels"
    assert follower.see({**failed, "kind": "promoted"}) == []


def test_what_a_tuner_says_is_kept(registered: Registered) -> None:
    begun = next(one for one in registered.events() if one["kind"] == "job_started")
    tuning = {"trials": 5, "best": {"depth": 4}, "pruned": [2, 3], "sampler": "tpe"}
    ready = {**begun, "kind": "job_ready", "rows": 200, "tuning": tuning}
    follower = Follower(RunId.of({"name": "s", "seed": 1}))
    follower.see(begun, 10.0)
    (dossier,) = follower.see(ready, 12.5)
    assert isinstance(dossier, Dossier)
    assert dossier.metrics["tuning.trials"] == 5 and dossier.metrics["tuning.best.depth"] == 4
    assert dossier.metrics["seconds"] == 2.5
    assert dossier.params["tuning.pruned"] == "[2, 3]"
    (verdict,) = follower.see({**begun, "kind": "reused", "price": 5.0})
    assert isinstance(verdict, Verdict) and verdict.metrics["verdict.price"] == 5


def test_events_of_no_interest_are_passed_over(registered: Registered) -> None:
    follower = Follower(RunId.of(about(registered)))
    kinds = {one["kind"] for one in registered.events()}
    assert "decision" in kinds
    assert all(not follower.see(one) for one in registered.events() if one["kind"] == "decision")


# --- reconcile ------------------------------------------------------------------------------


def test_a_growing_run_is_registered_as_far_as_it_got(
    registered: Registered, own_name: str, tmp_path: Path
) -> None:
    lines = registered.events()
    second = [at for at, one in enumerate(lines) if one["kind"] == "job_ready"][1]
    out = growing(registered, tmp_path, second + 1)
    found = reconcile(registered.registry, out, registered.cache, own_name)
    assert (found.registered, found.jobs, found.problems) == (2, 2, ())
    assert registered.registry.aliases(own_name) == {"champion": 1, "challenger": 2}
    shutil.rmtree(out)
    out = growing(registered, tmp_path, len(lines))
    found = reconcile(registered.registry, out, registered.cache, own_name)
    assert found.registered == found.jobs - 2
    assert shape(registered.registry, own_name) == shape(registered.registry, registered.name)
    assert reconcile(registered.registry, out, registered.cache, own_name).registered == 0


def test_registering_an_old_run_takes_no_championship(
    registered: Registered, own_name: str
) -> None:
    registry = registered.registry
    reconcile(registry, registered.out, registered.cache, own_name)
    whole = shape(registry, own_name)
    promote(registry, own_name, 1)
    with registry.ask() as client:  # as if the last verdict had not been registered
        newest = registry.versions(own_name)[0]
        client.delete_model_version_tag(own_name, str(newest.number), "driftline.moved")
        champion = str(whole[1]["champion"])
        client.delete_model_version_tag(own_name, champion, "driftline.moved")
    reconcile(registry, registered.out, registered.cache, own_name)
    assert registry.aliases(own_name)["champion"] == 1, "a hand made it so"
    with registry.ask() as client:
        client.delete_model_version_tag(own_name, champion, "driftline.moved")
    reconcile(registry, registered.out, registered.cache, own_name, claim=True)
    assert registry.aliases(own_name)["champion"] == whole[1]["champion"]


def test_a_result_that_is_gone_is_a_problem_and_no_end(
    registered: Registered, own_name: str, tmp_path: Path
) -> None:
    found = reconcile(registered.registry, registered.out, tmp_path / "empty", own_name)
    assert found.registered == 0 and len(found.problems) == found.jobs
    assert "is in no store any more" in found.problems[0]


def test_a_folder_that_is_no_run_is_said(registered: Registered, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is no run directory"):
        reconcile(registered.registry, tmp_path, registered.cache)


def test_what_goes_with_the_run_is_put_aside(registered: Registered, tmp_path: Path) -> None:
    entry = next((registered.cache / "models").glob("*/*/meta.json")).parent
    out = tmp_path / "run"
    shutil.copytree(entry, out / ".state" / "models" / entry.parent.name / entry.name)
    run = RunId.of(about(registered))
    work = Work.of(Place.of(tmp_path / "registry"), run, out, tmp_path / "cache")
    dossier = Dossier("m", run.key, "m", 0, entry.name[:16])
    work.keep(dossier)
    shutil.rmtree(out)
    kept = work.entry(dossier.job)
    assert (
        kept is not None and (kept / "meta.json").read_bytes() == (entry / "meta.json").read_bytes()
    )
    work.let_go(dossier)
    assert not (tmp_path / "cache" / "unregistered").exists()


# --- beside a run ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_registrar_registers_what_it_sees(registered: Registered, tmp_path: Path) -> None:
    said: list[str] = []
    place = Place.of(tmp_path / "registry")
    out = growing(registered, tmp_path, len(registered.events()))
    with Registrar(place, about(registered), out, registered.cache, said.append) as registrar:
        for line in registered.events():
            registrar.see(event_of(line))
        registrar.close(120)
    assert all("are still to be written" in line for line in said), said
    assert shape(Registry(place), registered.name) == shape(registered.registry, registered.name)


@pytest.mark.slow
def test_seeing_never_waits_and_never_raises(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.registrar.QUEUE_MAX", 3)
    said: list[str] = []
    place = Place.of("http://127.0.0.1:9")
    registrar = Registrar(place, about(registered), tmp_path, registered.cache, said.append)
    begun = next(one for one in registered.events() if one["kind"] == "job_started")
    start = time.perf_counter()
    for _ in range(1000):
        registrar.see(event_of(begun))
    assert time.perf_counter() - start < 1.0
    registrar.see(object())  # type: ignore[arg-type]
    registrar.close(0.5)
    assert any("not all events were taken" in line for line in said)


# --- a server that is killed ----------------------------------------------------------------


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run MLflow's own server on loopback, with sqlite."""
    folder.mkdir(exist_ok=True)
    words = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    words += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a server and its workers, without a word."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_server(port: int, seconds: float = 180) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as ear:
            if ear.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("MLflow's server does not answer")


@pytest.mark.slow
def test_a_server_killed_in_the_middle_leaves_nothing_out(
    registered: Registered, tmp_path: Path
) -> None:
    with socket.socket() as ear:
        ear.bind(("127.0.0.1", 0))
        port = ear.getsockname()[1]
    place, said = Place.of(f"http://127.0.0.1:{port}"), list[str]()
    out = growing(registered, tmp_path, len(registered.events()))
    registrar = Registrar(place, about(registered), out, registered.cache, said.append)
    lines = registered.events()
    half = len(lines) // 2
    with mlflow_server(tmp_path / "server", port) as server:
        await_server(port)
        registry = Registry(place)
        for line in lines[:half]:
            registrar.see(event_of(line))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not registry.names():
            time.sleep(0.01)
        time.sleep(0.1)  # in the middle of it
        kill(server)
    for line in lines[half:]:
        registrar.see(event_of(line))
    registrar.close(5)
    assert sum("cannot be reached" in line for line in said) == 1, said
    assert sum("driftline models register" in line for line in said) == 1, said
    with mlflow_server(tmp_path / "server", port):
        await_server(port)
        done = driftline("models", "register", out, "--registry", place.uri)
        assert done.code == 0, done.err
        registry = Registry(place)
        assert shape(registry, registered.name) == shape(registered.registry, registered.name)
        champion = registry.champion(registered.name)
        assert champion is not None
        found = registry.fetch(champion, tmp_path / "into")
        assert (found / "data" / "driftline.json").exists()
        with registry.ask() as client:
            experiment = client.get_experiment_by_name("stable")
            runs = client.search_runs([experiment.experiment_id])
        keys = [run.data.tags["driftline.key"] for run in runs]
        assert len(keys) == len(set(keys)) == len(registry.versions(registered.name))
        assert {run.info.status for run in runs} == {"FINISHED"}
