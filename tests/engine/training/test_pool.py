from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import EngineError, MachineError
from engine.settings import PythonModel
from engine.training.fit import fit
from engine.training.jobs import Failed, Fitted, Job
from engine.training.pool import InlineTrainer, ProcessTrainer
from engine.training.store import Store
from tests.engine.training.windows import job_of, window

LONG = 60.0
USERS = """
import os, pathlib, signal, time

class Always:
    def __init__(self, **params):
        self.work(**params)  # before the process imports what a fit needs
    def fit(self, X, y):
        self.answer = y[0]
    def work(self):
        pass
    def predict(self, X):
        return [self.answer] * len(X)

class Slow(Always):
    def work(self, folder, seconds):
        (pathlib.Path(folder) / str(os.getpid())).touch()
        time.sleep(seconds)

class Deadly(Always):
    def work(self, folder, times):
        file = pathlib.Path(folder) / "deaths"
        so_far = len(file.read_text()) if file.exists() else 0
        if so_far < times:
            file.write_text("x" * (so_far + 1))
            os.kill(os.getpid(), signal.SIGKILL)

class Loud(Always):
    def work(self):
        print("LOUD", flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "private", tmp_path / "shared")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessTrainer]:
    folder = tmp_path_factory.mktemp("warm")
    with ProcessTrainer(Store(folder / "private", folder / "shared"), workers=2) as trainer:
        yield trainer


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def users_job(
    tmp_path: Path, function: str, seed: int = 7, **params: bool | int | float | str | None
) -> Job:
    module = f"users_{tmp_path.name}"  # a process imports only one module of a name
    (tmp_path / f"{module}.py").write_text(USERS)
    table, labels = window(20)
    model = PythonModel(kind="python", factory=f"{module}:{function}", params=params)
    return job_of(table, labels, model, seed, str(tmp_path))


def until(fact: Callable[[], object], seconds: float = LONG) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids_in(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


# --- ordinary work --------------------------------------------------------------------------


@pytest.mark.parametrize("categorical", [False, True])
def test_a_process_answers_exactly_as_this_one(warm: ProcessTrainer, categorical: bool) -> None:
    table, labels = window(categorical=categorical)
    job = job_of(table, labels)
    job_id = warm.submit(job)
    assert job_id == job.identity()
    there, here = warm.wait(job_id, LONG), fit(job)
    assert isinstance(there, Fitted) and isinstance(here, Fitted)
    one, two = there.predictor.predict(table), here.predictor.predict(table)
    assert one.values.tolist() == two.values.tolist()
    assert one.scores.tobytes() == two.scores.tobytes()
    assert (there.notes, there.details) == (here.notes, here.details)


def test_a_second_submission_is_free(warm: ProcessTrainer) -> None:
    job = job_of(*window(seed=3))
    before = warm.stats
    ids = {warm.submit(job) for _ in range(5)}
    (job_id,) = ids
    result = warm.wait(job_id, LONG)
    assert warm.stats.fits == before.fits + 1
    assert warm.stats.seconds > before.seconds
    warm.submit(job)
    assert warm.stats.cached >= before.cached + 1
    assert warm.result(job_id) is result  # the very same object
    with ProcessTrainer(warm.store) as other:
        other.submit(job)
        assert isinstance(other.result(job_id), Fitted)
        assert (other.stats.fits, other.stats.cached) == (0, 1)
        assert other._lanes == []  # no process was needed


def test_result_never_blocks(warm: ProcessTrainer, tmp_path: Path) -> None:
    job_id = warm.submit(users_job(tmp_path, "Slow", folder=str(tmp_path), seconds=0.5))
    began = time.monotonic()
    assert warm.result(job_id) is None
    assert warm.wait(job_id, 0.02) is None
    assert time.monotonic() - began < 0.3
    assert isinstance(warm.wait(job_id, LONG), Fitted)


def test_a_users_model_of_a_file(warm: ProcessTrainer, tmp_path: Path) -> None:
    job = users_job(tmp_path, "Always")
    result = warm.wait(warm.submit(job), LONG)
    assert isinstance(result, Fitted)
    assert result.predictor.predict(job.table[:2]).values.tolist() == [job.labels[0]] * 2


def test_failures_come_back(warm: ProcessTrainer, tmp_path: Path) -> None:
    result = warm.wait(warm.submit(users_job(tmp_path, "Absent")), LONG)
    assert result == Failed(f"model.factory: users_{tmp_path.name} has no function Absent")


def test_nothing_is_printed_to_stdout(
    warm: ProcessTrainer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ProcessTrainer(warm.store, workers=1) as trainer:
        assert isinstance(trainer.wait(trainer.submit(users_job(tmp_path, "Loud")), LONG), Fitted)
    assert capfd.readouterr().out == ""


def test_an_unknown_job(warm: ProcessTrainer) -> None:
    assert warm.result("0" * 64) is None
    with pytest.raises(EngineError, match="no training job 000000000000 was submitted"):
        warm.wait("0" * 64, 5.0)


def test_many_threads(warm: ProcessTrainer) -> None:
    jobs = [job_of(*window(100, seed=seed % 4)) for seed in range(12)]
    before = warm.stats
    results: list[Fitted | Failed | None] = [None] * len(jobs)

    def work(at: int) -> None:
        results[at] = warm.wait(warm.submit(jobs[at]), LONG)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert warm.stats.fits == before.fits + 4
    for at, result in enumerate(results):
        assert isinstance(result, Fitted)
        assert result is results[at % 4]


def test_a_full_disk_is_no_verdict_on_the_job(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with ProcessTrainer(Store(tmp_path / "file" / "private")) as trainer:
        job_id = trainer.submit(job_of(*window(20)))
        with pytest.raises(MachineError, match="training failed: NotADirectoryError"):
            trainer.wait(job_id, LONG)


def test_inline(store: Store) -> None:
    table, labels = window()
    job = job_of(table, labels)
    for trainer in (InlineTrainer(), InlineTrainer(store), InlineTrainer(store)):
        job_id = trainer.submit(job)
        result = trainer.result(job_id)
        assert isinstance(result, Fitted)
        assert trainer.wait(trainer.submit(job), 0.0) is result
        assert trainer.result("none") is None
        trainer.close()
    assert (trainer.stats.fits, trainer.stats.cached) == (0, 2)


# --- deaths ---------------------------------------------------------------------------------


def test_a_job_that_kills_its_process_is_given_up(store: Store, tmp_path: Path) -> None:
    with ProcessTrainer(store, workers=2) as trainer:
        slow = trainer.submit(users_job(tmp_path, "Slow", folder=str(tmp_path), seconds=0.1))
        deadly = trainer.submit(users_job(tmp_path, "Deadly", folder=str(tmp_path), times=9))
        with pytest.raises(MachineError, match="its process died 3 times"):
            trainer.wait(deadly, LONG)
        assert store.load(deadly) is None, "no outcome may depend on it"
        assert isinstance(trainer.wait(slow, LONG), Fitted)  # others are not counted with it
        assert trainer.stats.deaths == 3
        assert trainer.stats.fits == 1


def test_kill_9_from_outside(store: Store, tmp_path: Path) -> None:
    with ProcessTrainer(store, workers=1) as trainer:
        job_id = trainer.submit(users_job(tmp_path, "Slow", folder=str(tmp_path), seconds=0.3))
        until(lambda: pids_in(tmp_path))
        (pid,) = pids_in(tmp_path)
        os.kill(pid, signal.SIGKILL)
        assert isinstance(trainer.wait(job_id, LONG), Fitted)
        assert len(pids_in(tmp_path)) == 2
        assert trainer.stats.deaths == 1
        (child,) = (lane.child for lane in trainer._lanes)
        assert child is not None and child.pid is not None
        os.kill(child.pid, signal.SIGKILL)  # while idle: costs nobody anything
        until(lambda: not alive(child.pid or 0))
        assert isinstance(trainer.wait(trainer.submit(job_of(*window(20))), LONG), Fitted)
        assert trainer.stats.deaths <= 2


def test_close_is_quick_and_leaves_nobody(store: Store, tmp_path: Path) -> None:
    trainer = ProcessTrainer(store, workers=1)
    job_id = trainer.submit(users_job(tmp_path, "Slow", folder=str(tmp_path), seconds=60))
    waiting = trainer.submit(job_of(*window(20)))
    until(lambda: pids_in(tmp_path))
    began = time.monotonic()
    trainer.close()
    assert time.monotonic() - began < 1.0
    assert not any(alive(pid) for pid in pids_in(tmp_path))
    assert trainer.result(job_id) is None and trainer.wait(waiting, LONG) is None
    assert store.load(job_id) is None
    with pytest.raises(EngineError, match="closed"):
        trainer.submit(job_of(*window(20, seed=1)))
    trainer.close()


def test_close_while_a_child_starts(store: Store) -> None:
    trainer = ProcessTrainer(store, workers=1)
    trainer.submit(job_of(*window(20)))
    trainer.close()
    assert not any(lane.thread and lane.thread.is_alive() for lane in trainer._lanes)


SCRIPT = """
import signal, sys, time
from pathlib import Path
import numpy as np
from engine.batch import table_of
from engine.settings import PythonModel
from engine.training.jobs import Job
from engine.training.pool import ProcessTrainer
from engine.training.store import Store

if sys.argv[3:]:
    signal.signal(signal.SIGINT, lambda *_: None)
print("main runs", flush=True)  # without a guard: must happen once
here = Path(sys.argv[1])
trainer = ProcessTrainer(Store(here / "private"), workers=2)
params = {"folder": str(here), "seconds": float(sys.argv[2])}
model = PythonModel(kind="python", factory="users_pool:Slow", params=params)
labels = np.array(["a", "b"], dtype=object)
ids = [trainer.submit(Job(table_of({"x": [1.0, 2.0]}), labels, model, seed, str(here)))
       for seed in (1, 2)]
results = [trainer.wait(job_id, 60) for job_id in ids]
print(*(type(result).__name__ for result in results), trainer.stats.deaths, "deaths")
"""


def start_script(tmp_path: Path, seconds: float, *more: str) -> subprocess.Popen[str]:
    (tmp_path / "users_pool.py").write_text(USERS)
    (tmp_path / "script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(seconds), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


def test_children_go_with_their_parent(tmp_path: Path) -> None:
    parent = start_script(tmp_path, 60.0)
    until(lambda: len(pids_in(tmp_path)) == 2)
    parent.kill()
    parent.wait()
    until(lambda: not any(alive(pid) for pid in pids_in(tmp_path)), 5.0)


def test_an_unguarded_script_runs_once_and_ctrl_c_is_its_own(tmp_path: Path) -> None:
    parent = start_script(tmp_path, 0.5)  # it never closes its trainer, either
    until(lambda: len(pids_in(tmp_path)) == 2)
    for pid in pids_in(tmp_path):
        os.kill(pid, signal.SIGINT)
    out, _ = parent.communicate(timeout=LONG)
    assert (parent.returncode, out.split("\n")) == (0, ["main runs", "Fitted Fitted 0 deaths", ""])
    assert len(pids_in(tmp_path)) == 2  # nobody died


def test_children_are_deaf_to_ctrl_c_from_their_first_moment(tmp_path: Path) -> None:
    parent = start_script(tmp_path, 0.1, "deaf")
    assert parent.stdout is not None and parent.stdout.readline() == "main runs\n"
    while parent.poll() is None:
        os.killpg(parent.pid, signal.SIGINT)
        time.sleep(0.005)
    assert parent.communicate(timeout=LONG) == ("Fitted Fitted 0 deaths\n", "")


def test_a_process_can_be_started_ahead(store: Store) -> None:
    with ProcessTrainer(store, workers=1) as trainer:
        trainer.warm()
        trainer.warm()
        until(lambda: trainer._lanes[0].child)
        assert isinstance(trainer.wait(trainer.submit(job_of(*window(20))), LONG), Fitted)
        assert (len(trainer._lanes), trainer.stats.deaths) == (1, 0)
