"""Results for readers: a table in text, a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.results import REFERENCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Any]
COLOURS = {"engine": "#2a6f97", "ceiling": "#6c757d"}
OTHER = "#a9c4d4"


def text(results: Figures) -> str:
    """Return the results as tables in plain text."""
    lines: list[str] = []
    for group, about in results["groups"].items():
        cases = of_group(results, group)
        if not cases:
            continue
        others = [name for name in REFERENCES[group] if name in cases]
        heads = ["records/s", "min", "max", *(f"x {name}" for name in others)]
        lines += ["", f"{group}: {about}", f"{'':34}" + row(heads, heads)]
        for name, case in cases.items():
            speed = case["records_per_second"]
            cells = [f"{speed[key]:,.0f}" for key in ("median", "min", "max")]
            cells += [times(case["times"][other]) for other in others]
            lines.append(f"{name:34}" + row(cells, heads) + extra(case))
    if not results["cases"].get("engine", {}).get("compiled", {}).get("median", 1):
        lines += ["", "no compiled detectors here: engine is as engine_river"]
    if results["differences"]:
        lines += ["", "what the differences say"]
        lines += [f"{name:40}{value:>12,.2f}" for name, value in results["differences"].items()]
    lines += [f"{name}: skipped, {why}" for name, why in results["skipped"].items()]
    lines += [f"{name}: failed" for name in results["failed"]]
    return "\n".join(lines).strip() + "\n"


def row(cells: Sequence[str], heads: Sequence[str]) -> str:
    """Return cells flush right, as wide as their columns' heads need.

    Examples
    --------
    >>> row(["1", "2"], ["records/s", "x streams_1_workers_1"])
    '            1                      2'
    """
    return "".join(
        f"{cell:>{max(13, len(head) + 2)}}" for cell, head in zip(cells, heads, strict=True)
    )


def times(ratio: float) -> str:
    """Return a ratio in three figures.

    Examples
    --------
    >>> times(0.123456), times(52.31), times(4321.0)
    ('0.123', '52.3', '4,321')
    """
    return f"{ratio:.3g}" if ratio < 100 else f"{ratio:,.0f}"


def extra(case: Figures) -> str:
    """Return what else there is to say about a case."""
    said = []
    if "records_per_second_finished" in case:
        said.append(f"{case['records_per_second_finished']['median']:,.0f} with the finish")
    if "records_per_second_once_started" in case:
        said.append(f"{case['records_per_second_once_started']['median']:,.0f} once started")
    if case["group"] == "memory":
        said.append(f"{case['peak_mb']['max']:,.0f} MB at most")
    if case.get("fits", {}).get("median"):
        said.append(f"{case['fits']['median']:.0f} fits")
    return f"   {'; '.join(said)}" if said else ""


def of_group(results: Figures, group: str) -> dict[str, Any]:
    """Return the cases of a group."""
    return {name: case for name, case in results["cases"].items() if case["group"] == group}


# --- plot -----------------------------------------------------------------------------------


def plot(results: Figures, path: Path) -> None:
    """Draw the results: who is how fast, by batch, by streams, and memory."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "speed"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    arms = {**of_group(results, "peers"), **of_group(results, "training")}
    others = [of_group(results, name) for name in ("batches", "streams", "memory")]
    pictures = zip(panels.flat, (bars, by_batch, by_streams, by_length), strict=True)
    for (axes, draw), cases in zip(pictures, [arms, *others], strict=True):
        if cases:  # some groups may not have been asked for
            draw(axes, cases)
        else:
            axes.set_axis_off()
    figure.suptitle("records per second on one job; bars and points are medians, lines min to max")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def spread(cases: Sequence[Figures], key: str) -> tuple[list[float], list[list[float]]]:
    """Return medians, and how far min and max lie from them."""
    found = [case[key] for case in cases]
    medians = [one["median"] for one in found]
    below = [one["median"] - one["min"] for one in found]
    return medians, [below, [one["max"] - one["median"] for one in found]]


def bars(axes: Axes, cases: Figures) -> None:
    """Draw the arms' speeds."""
    names = list(cases)[::-1]
    medians, errors = spread([cases[name] for name in names], "records_per_second")
    colours = [COLOURS.get(name, OTHER) for name in names]
    axes.barh(names, medians, xerr=errors, color=colours, ecolor="#333333", capsize=2)
    for place, (median, above) in enumerate(zip(medians, errors[1], strict=True)):
        axes.text(median + above, place, f"  {median:,.0f}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=max(medians, default=1) * 8)
    axes.set_title("arms, records/s")


def by_batch(axes: Axes, cases: Figures) -> None:
    """Draw speed over batch size."""
    found = list(cases.values())
    medians, errors = spread(found, "records_per_second")
    axes.errorbar([case["batch"] for case in found], medians, yerr=errors, marker="o", capsize=3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title("records to a batch, records/s")


def by_streams(axes: Axes, cases: Figures) -> None:
    """Draw speed over the number of streams, a line for each way to share them out."""
    kinds = dict.fromkeys((case["workers"], case["processes"]) for case in cases.values())
    for kind in kinds:
        found = [case for case in cases.values() if (case["workers"], case["processes"]) == kind]
        medians, errors = spread(found, "records_per_second")
        label = f"{kind[0]} workers, {kind[1]} processes"
        counts = [case["streams"] for case in found]
        axes.errorbar(counts, medians, yerr=errors, marker="o", capsize=3, label=label)
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_title("streams, records/s of whole runs, start and finish included")
    if kinds:
        axes.legend()


def by_length(axes: Axes, cases: Figures) -> None:
    """Draw peak memory over the length of the stream."""
    found = list(cases.values())
    peaks = [case["peak_mb"]["max"] for case in found]
    axes.plot([case["records"] for case in found], peaks, marker="o")
    axes.set_xscale("log")
    axes.set_ylim(0, max(peaks, default=1) * 1.2)
    axes.set_title("records of a run, peak memory in MB")
