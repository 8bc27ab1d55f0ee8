"""Cases take turns: each in a process of its own, one sample at a time, round after round."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.speed.cases import Case, Group
from benchmarks.speed.clock import Sample

WARM_RECORDS = 16_384
PRELOADED = (
    *("catboost", "river.drift", "river.tree", "engine.flow", "engine.kernels"),
    "benchmarks.speed.arms",
)
"""What processes have imported before they begin, where they are forked."""


@dataclass(slots=True)
class Outcome:
    """What came of a case.

    Parameters
    ----------
    case
        The case.
    samples
        Its samples, in order.
    skipped
        Why it was not measured, if it was not.
    failure
        Why it could not be, if it should have been.
    """

    case: Case
    samples: list[Sample] = field(default_factory=list)
    skipped: str = ""
    failure: str = ""


def serve(connection: Connection, case: Case, folder: Path) -> None:
    """Be a case's process: get ready, then take a sample whenever asked."""
    from benchmarks.speed import arms

    try:
        tools = arms.Tools(folder)
        arms.set_kernels(case.kernels)
        prepare = arms.ARMS[case.arm]
        if case.arm != "whole" and case.records > WARM_RECORDS:
            prepare(replace(case, records=WARM_RECORDS, streams=1), tools)()
        sample = prepare(case, tools)
        if case.arm != "whole" and case.records <= WARM_RECORDS:
            sample()
        connection.send(("ready", ""))
        while connection.recv():
            connection.send(("sample", sample()))
    except arms.Skipped as reason:
        connection.send(("skipped", str(reason)))
    except EOFError:
        return  # nobody wants to know any more
    except Exception:
        connection.send(("failed", traceback.format_exc()))


class Turn:
    """A case and its process.

    Parameters
    ----------
    case
        The case.
    folder
        Where the champion lies.
    method
        How the process is started: forked from a server that has the imports, or spawned.
    """

    def __init__(self, case: Case, folder: Path, method: Any) -> None:
        self.outcome = Outcome(case)
        context = get_context(method)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, case, folder))
        self._process.start()
        theirs.close()

    def ready(self) -> bool:
        """Wait until the process can take samples; return whether it can."""
        return self._hear() is not None

    def take(self) -> Sample | None:
        """Take a sample, if there is still something to take."""
        outcome = self.outcome
        done = len(outcome.samples) >= outcome.case.rounds_max
        if done or outcome.skipped or outcome.failure:
            return None
        self._connection.send(True)
        found = self._hear()
        if not isinstance(found, Sample):
            return None
        outcome.samples.append(found)
        return found

    def end(self) -> None:
        """Let the process go."""
        with suppress(OSError):
            self._connection.send(False)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _hear(self) -> Any:
        try:
            kind, what = self._connection.recv()
        except (EOFError, OSError):
            kind, what = "failed", "its process died"
        if kind == "skipped":
            self.outcome.skipped = what
        elif kind == "failed":
            self.outcome.failure = what
        return None if kind in ("skipped", "failed") else what


def preload() -> None:
    """Have the server that processes are forked from import what they need."""
    get_context("forkserver").set_forkserver_preload(list(PRELOADED))


def in_turns(
    group: Group, cases: Sequence[Case], folder: Path, rounds: int, tell: Callable[[str], None]
) -> list[Outcome]:
    """Measure a group's cases in turns, each round beginning with another one.

    The cases of `memory` are measured one after the other instead, each in a process that has
    done nothing else before.
    """
    if group == "memory":
        return [one for case in cases for one in _rounds([case], folder, "spawn", 1, tell)]
    return _rounds(cases, folder, "forkserver", rounds, tell)


def _rounds(
    cases: Sequence[Case], folder: Path, method: str, rounds: int, tell: Callable[[str], None]
) -> list[Outcome]:
    turns = [Turn(case, folder, method) for case in cases]
    try:
        for turn in turns:
            if not turn.ready():
                outcome = turn.outcome
                tell(f"{outcome.case.name}: {outcome.skipped or outcome.failure}")
        for number in range(rounds):
            said = []
            for place in range(len(turns)):
                turn = turns[(place + number) % len(turns)]
                sample = turn.take()
                if sample is not None:
                    rate = sample.records / sample.seconds
                    said.append(f"{turn.outcome.case.name} {rate:,.0f}")
                elif turn.outcome.failure and turn.outcome.samples == []:
                    said.append(f"{turn.outcome.case.name} failed")
            if said:
                tell(f"round {number + 1} of {rounds}, records/s: {', '.join(said)}")
    finally:
        for turn in turns:
            turn.end()
    return [turn.outcome for turn in turns]
