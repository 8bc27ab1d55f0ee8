"""What is measured: every case by name, in groups whose cases take turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Group = Literal["peers", "training", "batches", "streams", "memory"]
GROUPS: dict[Group, str] = {
    "peers": "one stream, one model for ever",
    "training": "retraining, and a stream while a model trains",
    "batches": "records to a batch",
    "streams": "many streams, whole runs",
    "memory": "whole runs, each in a process of its own",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the results.

    Parameters
    ----------
    name
        How it is called, on the command line too.
    group
        With which others it takes turns.
    arm
        The function in `benchmarks.speed.arms` that knows how.
    records
        How many records a sample takes.
    about
        What it is, for readers.
    kernels
        Whether the engine uses its compiled detectors; None leaves it to the engine.
    batch, streams, workers, processes
        How the records come, and who takes them.
    every
        Retrain each so many records; None is never.
    rounds_max
        More samples than this are not taken, however many rounds there are.
    """

    name: str
    group: Group
    arm: str
    records: int
    about: str
    kernels: bool | None = True
    batch: int = 1024
    streams: int = 1
    workers: int = 1
    processes: int = 1
    every: int | None = None
    rounds_max: int = 99


def peers(records: int) -> list[Case]:
    """Return the engine and what one could use instead, on one stream."""
    few = max(512, records // 32)
    return [
        Case("engine", "peers", "engine", records, "the engine, compiled detectors, run log"),
        Case(
            "engine_8192", "peers", "engine", records, "the same in batches of its own", batch=8192
        ),
        Case("engine_river", "peers", "engine", records, "the same with River's objects", False),
        Case("engine_no_log", "peers", "engine_no_log", records, "the engine without its run log"),
        Case("loop_only", "peers", "loop_only", records, "its loop without dataflow and run log"),
        Case("ceiling", "peers", "ceiling", records, "CatBoost and detectors in C, nothing else"),
        Case("user_loop", "peers", "user_loop", few, "CatBoost row by row and River, plain loop"),
        Case("river_hat", "peers", "river_hat", few, "River's adaptive tree and detectors"),
        Case("capymoa", "peers", "capymoa", few, "CapyMOA's adaptive tree, loop in Java"),
    ]


def training(records: int, every: int) -> list[Case]:
    """Return the engine with retraining, and beside a fit that serves somebody else."""
    about = f"retrains each {every:,} records"
    return [
        Case("alone", "training", "engine", records, "the engine, nothing being fitted"),
        Case("beside_a_fit", "training", "beside_a_fit", records, "while a long fit runs"),
        Case("fits_cold", "training", "fits_cold", records, f"{about}, all fitted", every=every),
        Case(
            "fits_cached", "training", "fits_cached", records, f"{about}, none fitted", every=every
        ),
    ]


def batches(records: int, sizes: Sequence[int]) -> list[Case]:
    """Return the engine with batches of several sizes."""
    return [
        Case(
            f"batch_{size}",
            "batches",
            "engine",
            min(records, max(2048, size * 256)),
            f"batches of {size:,}",
            batch=size,
        )
        for size in sizes
    ]


def streams(records: int, counts: Sequence[int], processes: bool) -> list[Case]:
    """Return whole runs of many streams, over workers and, where there are, processes."""
    kinds = [(1, 1), (2, 1)] + [(1, 2)] * processes
    return [
        Case(
            f"streams_{count}_workers_{workers}" + f"_processes_{procs}" * (procs > 1),
            "streams",
            "whole",
            records,
            f"{count} streams, {workers} workers, {procs} processes",
            streams=count,
            workers=workers,
            processes=procs,
            kernels=None,
            rounds_max=3,
        )
        for count in counts
        for workers, procs in kinds
    ]


def memory(sizes: Sequence[int]) -> list[Case]:
    """Return whole runs of growing length."""
    return [
        Case(
            f"memory_{size}",
            "memory",
            "whole",
            size,
            f"{size:,} records, peak memory",
            kernels=None,
            rounds_max=1,
        )
        for size in sizes
    ]


def all_cases(records: int, *, quick: bool, processes: bool) -> list[Case]:
    """Return all cases.

    Parameters
    ----------
    records
        What the fast arms are given; the others get a share of it.
    quick
        Whether only to show that everything works.
    processes
        Whether a run can be spread over processes.

    Examples
    --------
    >>> [case.name for case in all_cases(1 << 19, quick=False, processes=False)][:3]
    ['engine', 'engine_8192', 'engine_river']
    """
    if quick:
        return [
            *peers(records),
            *training(records, records // 2),
            *batches(records, (64,)),
            *streams(records, (2,), processes)[1:],
            *memory((records,)),
        ]
    return [
        *peers(records),
        *training(records // 4, records // 32),
        *batches(records, (1, 64, 1024, 8192)),
        *streams(2 * records, (1, 8, 64), processes),
        *memory((100_000, 1_000_000, 10_000_000)),
    ]


def chosen(cases: Sequence[Case], patterns: Sequence[str]) -> list[Case]:
    """Return the cases whose name or group fits one of the patterns, or all without one.

    Examples
    --------
    >>> [case.name for case in chosen(batches(4096, (1, 64)), ["*_1"])]
    ['batch_1']
    """
    return [
        case
        for case in cases
        if not patterns
        or any(fnmatchcase(name, one) for name in (case.name, case.group) for one in patterns)
    ]
