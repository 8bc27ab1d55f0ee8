"""The only clock of the benchmark."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Parameters
    ----------
    records
        How many records went through.
    seconds
        How long that took.
    cpu
        Processor seconds of this process and its threads meanwhile.
    more
        What else was noted, by name.
    """

    records: int
    seconds: float
    cpu: float = 0.0
    more: dict[str, float] = field(default_factory=dict)


def clocked(records: int, work: Callable[[], object]) -> Sample:
    """Do some work on so many records, and return how long it took.

    Examples
    --------
    >>> sample = clocked(10, lambda: sum(range(1000)))
    >>> sample.records, sample.seconds > 0
    (10, True)
    """
    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return Sample(records, seconds, time.process_time() - cpu)
