"""A small run of two streams, written bit by bit as the engine writes it while it grows."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.batch import Batch, Mark, plain_batch
from engine.events import Event
from engine.parts import shard_of
from engine.runlog import RunDirectory
from engine.settings import Engine, Prices
from engine.state import Effects
from tests.engine.doubles import Outcome, through

RECORDS = 1500
WINDOW = 300
STREAMS = ["small-0000", "small-0001"]
ENGINE: dict[str, Any] = {
    "labels": {"delay": 20},
    "detectors": (
        {"kind": "page_hinkley", "on": "error", "threshold": 8.0},
        {"kind": "page_hinkley", "on": "features", "threshold": 15.0},
    ),
    "policy": {
        "kind": "any_of",
        "cooldown": 100,
        "of": ({"kind": "page_hinkley"}, {"kind": "error_threshold", "window": 60}),
    },
    "retraining": {"first": 200, "window": 300, "latency": 40, "judge": {"holdout": 50}},
    "prices": {"error": 2.0, "retrain": 5.0},
    "scoring": {"window": WINDOW},
}
DRIFT = {"drift": "concept", "shape": "abrupt", "phase": "start", "over": 0}
FAULT = {"script": 1, "fault": "missing", "columns": ["x"]}
MARKS = (
    Mark(600, "drift", {"script": 0, **DRIFT}),
    Mark(600, "drift", {"script": 3, **DRIFT}),
    Mark(1000, "fault", {**FAULT, "phase": "start"}),
    Mark(1100, "fault", {**FAULT, "phase": "end"}),
    Mark(1300, "drift", {"script": 2, **DRIFT}),
)


def engine() -> Engine:
    return Engine.model_validate(ENGINE)


def batch(seed: int) -> Batch:
    """Return records whose labels turn round at 600, and whose inputs shift for a while."""
    chance = np.random.default_rng(seed)
    odd = chance.random(RECORDS) < 0.1
    turned = np.arange(RECORDS) >= 600
    labels = np.where(odd ^ turned, "b", "a").tolist()
    x = chance.normal(size=RECORDS)
    x[350 : 350 + 60 * seed] += 5.0  # an alarm that is false
    x[1000:1100] += 9.0  # and one that a fault causes
    made = plain_batch(
        {"x": x.tolist(), "y": chance.normal(size=RECORDS).tolist()}, labels, late_records=20
    )
    return replace(made, marks=MARKS)


@cache
def streams() -> dict[str, Outcome]:
    """Return all that comes of the streams."""
    found = {}
    for at, name in enumerate(STREAMS):
        one = through(batch(at), engine())
        one.events = [replace(event, stream=name) for event in one.events]
        found[name] = one
    return found


def about() -> dict[str, Any]:
    """Return the content of `run.json`."""
    scenario = engine().model_dump(mode="json") | {"name": "small", "seed": 3, "script": [{}]}
    return {
        "name": "small",
        "seed": 3,
        "replay": "driftline run small.yaml",
        "scenario": scenario | {"source": {"kind": "generator"}},
        "source": {"rows": RECORDS},
        "streams": STREAMS,
        "versions": {"driftline": "0"},
    }


class Growing:
    """A run directory that grows record by record.

    Parameters
    ----------
    path
        Where.
    live
        Whether it is a live run, which goes on after it has been finished.
    """

    def __init__(self, path: Path, live: bool = False) -> None:
        self.path, self.live = path, live
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew as a resumed run does."""
        if self.live:
            (self.path / "summary.json").unlink(missing_ok=True)
        self.directory = RunDirectory(self.path, "classification")
        found = about() | ({"source": {"kind": "newsapi"}} if self.live else {})
        (self.path / "run.json").write_text(json.dumps(found), "utf-8")
        many = len(STREAMS)
        self.writers = [self.directory.parts.writer(shard_of(at, many)) for at in range(many)]
        self.at = self.rows = 0

    def grow(self, until: int = RECORDS, size: int = 50, held_back: int = 0) -> None:
        """Write all that happened before record `until`; the last outcomes may be held back."""
        for writer, (name, one) in zip(self.writers, streams().items(), strict=True):
            for start in range(self.rows, until - held_back, size):
                rows = one.rows[start : min(start + size, until - held_back)]
                writer.write(name, Effects([rows]))
            here = range(self.at, until)
            writer.write(name, Effects(events=[event for event in one.events if event.seq in here]))
            writer.write(name, Effects(traces=[point for point in one.traces if point.seq in here]))
            samples = [json.dumps(sample) for sample in one.samples if sample["seq"] in here]
            writer.write(name, Effects(samples=samples))
            writer.flush()
        self.at, self.rows = until, max(0, until - held_back)

    def note(self, event: Event) -> None:
        """Write that something odd happened."""
        self.writers[0].write(event.stream, Effects(events=[event]))
        self.writers[0].flush()

    def stop(self) -> None:
        """Vanish as a killed process does."""
        self.directory._lock.close()

    def finish(self) -> None:
        """End as a run does."""
        for writer in self.writers:
            writer.close()
        known = [True] * len(STREAMS)
        self.directory.finish(STREAMS, known, Prices(**ENGINE["prices"]), WINDOW)


def finished(path: Path) -> Path:
    """Return a run directory that is finished."""
    run = Growing(path)
    run.grow()
    run.finish()
    return path


def happened(name: str, *kinds: str) -> list[Event]:
    """Return the events of a stream that are of some kinds."""
    return [event for event in streams()[name].events if event.kind in kinds]
