"""A second run of a plan, cut and shared out differently: it must leave the same bytes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from engine.errors import EngineError
from engine.runlog import SAME
from engine.running import execute
from engine.signals import Stop
from engine.working import Plan

ODD_BATCH = 333
"""Batches of the second run: no divisor of a block, a window or a stride."""


def verify(plan: Plan, stop: Stop) -> str:
    """Run a finished plan again and compare; return what was done, as a sentence.

    The second run has batches of another size, other numbers of workers and processes, and fits
    all its models anew.

    Raises
    ------
    EngineError
        If a file differs; the second run is kept to be looked at.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{plan.out.name}-verify-", dir=plan.out.parent))
    again = replace(
        plan,
        out=folder / "run",
        cache=folder / "cache",
        resume=False,
        registry=None,
        batch_size=ODD_BATCH if plan.batch_size != ODD_BATCH else ODD_BATCH + 1,
        workers=1 if plan.workers > 1 else 2,
        processes=1 if plan.processes > 1 or plan.streams == 1 else 2,
    )
    execute(again, stop)
    if differing := sorted(differences(plan.out, again.out)):
        raise EngineError(f"the second run differs in {'; '.join(differing)}: see {again.out}")
    shutil.rmtree(folder)
    return (
        f"verified: a second run with batches of {again.batch_size}, workers {again.workers}, "
        f"processes {again.processes} and models fitted anew left the same bytes"
    )


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield what differs between two runs in what must be the same, byte for byte."""
    names = [path.relative_to(run) for run in (one, other) for path in (run / "outcomes").iterdir()]
    for name in dict.fromkeys([*map(Path, SAME), *names]):
        a, b = one / name, other / name
        if not a.exists() or not b.exists():
            yield f"{name} (only one has it)"
        elif a.read_bytes() != b.read_bytes():
            yield f"{name}{'' if name.suffix == '.parquet' else f' from line {first_odd(a, b)} on'}"


def first_odd(a: Path, b: Path) -> int:
    """Return the number of the first line that differs, counted from 1."""
    with a.open("rb") as lines, b.open("rb") as others:
        pairs = enumerate(zip_longest(lines, others), start=1)
        return next(number for number, (line, other) in pairs if line != other)
