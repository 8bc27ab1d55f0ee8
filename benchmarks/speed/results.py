"""From samples to figures: medians, spread, ratios, and what the difference of two arms says."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.speed.cases import GROUPS
from benchmarks.speed.clock import Sample
from benchmarks.speed.job import CHAMPION_ROWS, DEPTH, FEATURES, TREES
from benchmarks.speed.turns import Outcome

REFERENCES: dict[str, tuple[str, ...]] = {
    "peers": ("user_loop", "river_hat", "ceiling"),
    "training": ("alone",),
    "batches": ("batch_1024",),
    "streams": ("streams_1_workers_1",),
    "memory": (),
}
"""Which cases the others of a group are held against; only those of a group took turns."""
LIBRARIES = (
    *("driftline", "bytewax", "capymoa", "catboost", "numba", "numpy", "pandas", "pyarrow"),
    *("river",),
)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median of some values and how far they spread.

    Examples
    --------
    >>> summary([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'q1': 1.5, 'q3': 2.5, 'max': 3.0}
    """
    ordered = sorted(values)
    quarters = (
        statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    )
    return {
        "median": statistics.median(ordered),
        "min": ordered[0],
        "q1": quarters[0],
        "q3": quarters[2],
        "max": ordered[-1],
    }


def rate(sample: Sample) -> float:
    """Return a sample's records per second."""
    return sample.records / sample.seconds


def case_figures(outcome: Outcome) -> dict[str, Any]:
    """Return the figures of one case, JSON-ready."""
    case, samples = outcome.case, outcome.samples
    more = {name: [sample.more[name] for sample in samples] for name in samples[0].more}
    figures: dict[str, Any] = {
        "group": case.group,
        "about": case.about,
        "records": case.records,
        "batch": case.batch,
        "streams": case.streams,
        "workers": case.workers,
        "processes": case.processes,
        "records_per_second": summary([rate(sample) for sample in samples]),
        "cpu_ns_per_record": summary([sample.cpu / sample.records * 1e9 for sample in samples]),
        **{name: summary(values) for name, values in more.items()},
        "samples": [
            {
                "seconds": sample.seconds,
                "records_per_second": rate(sample),
                "cpu_seconds": sample.cpu,
                **sample.more,
            }
            for sample in samples
        ],
    }
    if "finish_seconds" in more:
        finished = [one.records / (one.seconds + one.more["finish_seconds"]) for one in samples]
        figures["records_per_second_finished"] = summary(finished)
    if "start_seconds" in more:
        lasting = [one.seconds - one.more["start_seconds"] for one in samples]
        if all(2 * lasts > one.seconds for lasts, one in zip(lasting, samples, strict=True)):
            speeds = [one.records / lasts for lasts, one in zip(lasting, samples, strict=True)]
            figures["records_per_second_once_started"] = summary(speeds)
    return figures


def ratios(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return each case's median speed as a multiple of the medians of its group's references.

    Examples
    --------
    >>> def speed(median):
    ...     return {"group": "peers", "records_per_second": {"median": median}}
    >>> ratios({"engine": speed(300.0), "ceiling": speed(400.0)})
    {'engine': {'ceiling': 0.75}, 'ceiling': {'ceiling': 1.0}}
    """
    medians = {name: one["records_per_second"]["median"] for name, one in figures.items()}
    return {
        name: {
            other: medians[name] / medians[other]
            for other in REFERENCES[one["group"]]
            if other in medians
        }
        for name, one in figures.items()
    }


def differences(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return what the difference or the ratio of two arms' medians says, where both are there."""

    def nanoseconds(name: str) -> float:
        return 1e9 / float(figures[name]["records_per_second"]["median"])

    found = {}
    for what, slow, quick in (
        ("run_log_ns_per_record", "engine", "engine_no_log"),
        ("dataflow_ns_per_record", "engine_no_log", "loop_only"),
        ("loop_above_ceiling_ns_per_record", "loop_only", "ceiling"),
    ):
        if slow in figures and quick in figures:
            found[what] = nanoseconds(slow) - nanoseconds(quick)
    for what, part, whole in (
        ("speed_with_compiled_detectors", "engine", "engine_river"),
        ("speed_beside_a_fit", "beside_a_fit", "alone"),
        ("speed_with_fits_cold", "fits_cold", "alone"),
        ("speed_with_fits_cached", "fits_cached", "alone"),
    ):
        if part in figures and whole in figures:
            found[what] = nanoseconds(whole) / nanoseconds(part)
    return found


def machine() -> dict[str, Any]:
    """Return what the figures depend on about this machine, but not which one it is."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [one for one in info.read_text().splitlines() if one.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1024**3, 1),
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str | None]:
    """Return the versions that speed depends on; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def collected(
    outcomes: Sequence[Outcome], *, before: Mapping[str, Any], seconds: float, quick: bool
) -> dict[str, Any]:
    """Return the content of `results.json`.

    Parameters
    ----------
    outcomes
        What came of all cases.
    before
        What `machine` said before the first.
    seconds
        How long it all took.
    quick
        Whether it was only to show that everything works.
    """
    figures = {one.case.name: case_figures(one) for one in outcomes if one.samples}
    for name, found in ratios(figures).items():
        figures[name]["times"] = found
    return {
        "quick": quick,
        "seconds": round(seconds, 1),
        "job": {
            "features": FEATURES,
            "trees": TREES,
            "depth": DEPTH,
            "champion_rows": CHAMPION_ROWS,
            "detectors": "ADWIN and Page-Hinkley on the error, Page-Hinkley on each feature",
        },
        "machine": dict(before),
        "versions": versions(),
        "groups": dict(GROUPS),
        "differences": differences(figures),
        "cases": figures,
        "skipped": {one.case.name: one.skipped for one in outcomes if one.skipped},
        "failed": {one.case.name: one.failure for one in outcomes if one.failure},
    }
