"""What a policy would save against the schedule that a reader has now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from benchmarks.findings import Cell, Findings

NEVER = 0
"""The period of one who does not retrain."""


@dataclass(frozen=True, slots=True)
class Saving:
    """Cost less per 1,000 records, in errors, and as a share of the present cost."""

    errors: float
    share: float | None


def savings(findings: Findings, policy: str) -> dict[int, dict[str, Saving]]:
    """Return for each period in blocks, `NEVER` first, and each price what the policy saves.

    From the timelines' streams, each weighing the same; negative where the policy costs more.

    Examples
    --------
    >>> from benchmarks.findings import StreamFacts, Timeline
    >>> cell = Cell(stream="sea", seed=1, policy="adwin", price="10%", alpha=10, latency="0",
    ...             label_delay="0", errors=90, retrains=2, cost=110, optimum=100, never=220)
    >>> line = Timeline(stream="sea", seed=1, latency="0", label_delay="0", records=1000,
    ...                 starts=(), drifts=(), tracks={}, optimum={}, periods={5: (150.0, 2)})
    >>> facts = StreamFacts(
    ...     stream="sea", kind="generator", records=1000, block=100, features=3, classes=2)
    >>> savings(Findings(
    ...     name="tiny", spec={}, replay="", versions={}, roles={"adwin": "policy"},
    ...     prices=("10%",), streams=(facts,), cells=(cell,), timelines=(line,)), "adwin")
    {0: {'10%': Saving(errors=110.0, share=0.5)}, 5: {'10%': Saving(errors=60.0, share=0.35...)}}
    """
    cells = {key_of(cell): cell for cell in findings.cells if cell.policy == policy}
    costs: dict[tuple[int, str], dict[str, list[tuple[float, float]]]]
    costs = defaultdict(lambda: defaultdict(list))
    for line in findings.timelines:
        for price in findings.prices:
            cell = cells.get((line.stream, line.seed, line.latency, line.label_delay, price))
            if cell is None:
                continue
            for period, now in {NEVER: cell.never, **periodic(line.periods, cell.alpha)}.items():
                scale = 1000 / line.records
                costs[period, price][line.stream].append((now * scale, cell.cost * scale))
    found: dict[int, dict[str, Saving]] = defaultdict(dict)
    for (period, price), streams in sorted(costs.items(), key=lambda item: item[0][0]):
        now = fmean(fmean(now for now, _ in mine) for mine in streams.values())
        then = fmean(fmean(then for _, then in mine) for mine in streams.values())
        found[period][price] = Saving(now - then, (now - then) / now if now > 0 else None)
    return dict(found)


def key_of(cell: Cell) -> tuple[str, int, str, str, str]:
    """Return the case that a cell is about."""
    return cell.stream, cell.seed, cell.latency, cell.label_delay, cell.price


def periodic(periods: Mapping[int, tuple[float, int]], alpha: float) -> dict[int, float]:
    """Return what each period costs at a price."""
    return {period: errors + alpha * count for period, (errors, count) in periods.items()}
