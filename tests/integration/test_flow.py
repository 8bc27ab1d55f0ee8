"""The dataflow around the heart: workers, failures of the machine, streams that fail alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.batch import Batch, Schema, batch_rows, plain_batch
from engine.errors import EngineError, MachineError
from engine.flow import Flow, run
from engine.progress import Progress
from engine.runlog import RunDirectory
from engine.settings import Engine, Every, Prices, Retraining
from engine.state import Effects
from engine.training.jobs import Failed, Fitted, Job
from tests.engine.doubles import NewestTrainer

ROWS = 400
ENGINE = Engine(
    policy=Every(kind="every", records=50),
    detectors=(),
    retraining=Retraining(first=20, window=40, latency=10),
)


@dataclass(frozen=True)
class Made:
    """A stream of letters, which may fail at a record."""

    index: int
    fails_at: int | None = None

    @property
    def name(self) -> str:
        return f"made-{self.index:04d}"

    @property
    def seed(self) -> int:
        return self.index

    @property
    def schema(self) -> Schema:
        return plain_batch({"x": [0.0]}, ["a"]).table.schema

    @property
    def rows(self) -> int:
        return ROWS

    def batches(self, size: int) -> Iterator[Batch]:
        chance = np.random.default_rng(self.index)
        labels = chance.choice(["a", "b"], ROWS).tolist()
        whole = plain_batch({"x": chance.normal(size=ROWS).tolist()}, labels)
        for start in range(0, ROWS, size):
            if self.fails_at is not None and start >= self.fails_at:
                raise EngineError("the file has vanished")
            yield whole[start : start + size]


class OwnFlow(Flow):
    """A flow and the directory that it writes to."""

    directory: RunDirectory


def flow_of(feeds: list[Made], out: Path, trainer: object, size: int = 16) -> OwnFlow:
    directory = RunDirectory(out, "classification")
    progress, engine = Progress(sum(feed.rows for feed in feeds)), ENGINE
    flow = OwnFlow(engine, feeds, len(feeds), directory.parts, trainer, None, "", size, progress)  # type: ignore[arg-type]
    flow.directory = directory
    return flow


def finished(flow: OwnFlow) -> dict[str, bytes]:
    """Finish a run and return its files' bytes."""
    names = [feed.name for feed in flow.feeds]
    flow.directory.finish(names, [True] * len(names), Prices(), 100)
    path = flow.directory.path
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_change_nothing(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = [Made(index) for index in range(40)]
    found = []
    for count, slowness in ((1, 0), (workers, 5)):  # joined to one batch, and as they come
        monkeypatch.setattr("engine.flow.batch_rows", {1: batch_rows}.get(count, lambda schema: 0))
        flow = flow_of(
            feeds, tmp_path / str(count), NewestTrainer(slowness=slowness), size=count * 7
        )
        run(flow, count)
        found.append(finished(flow))
    assert found[0] == found[1]
    assert len([name for name in found[0] if name.startswith("outcomes/")]) == 40


def test_while_one_stream_waits_the_others_run_on(tmp_path: Path) -> None:
    """The first stream's jobs take for ever, until all the others are done."""
    feeds = [Made(index) for index in range(5)]

    class Waiting(NewestTrainer):
        def result(self, job_id: str) -> Fitted | Failed | None:
            slow = job_id in first and any(
                flow.progress.records.get(feed.name, 0) < ROWS for feed in feeds[1:]
            )
            return None if slow else super().result(job_id)

        def submit(self, job: Job) -> str:
            job_id = super().submit(job)
            if job.seed == first_seed:
                first.add(job_id)
            return job_id

    first: set[str] = set()
    trainer = Waiting()
    flow = flow_of(feeds, tmp_path / "run", trainer)
    first_seed = flow.loop(feeds[0]).desk.model_seed
    run(flow, 1)
    assert first
    assert all(flow.progress.records[feed.name] == ROWS for feed in feeds)


def test_a_stream_that_fails_is_reported_and_the_others_finish(tmp_path: Path) -> None:
    feeds = [Made(0), Made(1, fails_at=160), Made(2)]
    flow = flow_of(feeds, tmp_path / "run", NewestTrainer())
    run(flow, 1)
    assert flow.failures == {"made-0001": "the file has vanished"}
    files = finished(flow)
    assert files["events.jsonl"].count(b"stream_failed") == 1
    assert flow.progress.records == {"made-0000": ROWS, "made-0001": 160, "made-0002": ROWS}


def test_a_machine_that_fails_ends_the_run_without_an_outcome(tmp_path: Path) -> None:
    class Dying(NewestTrainer):
        def result(self, job_id: str) -> Fitted | Failed | None:
            raise MachineError("training failed: no space left")

    flow = flow_of([Made(0), Made(1)], tmp_path / "run", Dying())
    with pytest.raises(MachineError, match="no space left"):
        run(flow, 1)
    assert not flow.failures


def test_a_full_disk_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(self: object, stream: str, effects: Effects) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.parts.PartWriter.write", full)
    flow = flow_of([Made(0)], tmp_path / "run", NewestTrainer())
    with pytest.raises(MachineError, match="No space left on device"):
        run(flow, 1)
    assert "panicked" not in capfd.readouterr().err


def test_a_bug_is_told_with_its_traceback(tmp_path: Path) -> None:
    class Buggy(NewestTrainer):
        def submit(self, job: Job) -> str:
            raise ZeroDivisionError("a bug")

    flow = flow_of([Made(0)], tmp_path / "run", Buggy())
    with pytest.raises(MachineError, match="ZeroDivisionError: a bug"):
        run(flow, 1)
