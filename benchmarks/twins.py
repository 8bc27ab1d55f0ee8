"""What a gate, tuning or an archive is worth: each arm beside the same policy without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from benchmarks.findings import Cell, Findings
from benchmarks.significance import DIGITS
from benchmarks.statistics import over_streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """An arm beside its policy.

    Parameters
    ----------
    policy, plain
        The arm, and the policy without what it adds; None if that did not run.
    parts
        What it adds.
    ratio, by_stream, by_price
        Cost ÷ that of the plain policy, geometric mean; below 1 what was added pays.
    cheaper, dearer
        Shares of all cases in which it costs less, and more.
    bounded
        Cost ÷ a relaxed bound that knows returns; None where there is none.
    errors, plain_errors
        Per 1,000 records.
    retrains, rejected, reuses, tuning_trials
        Mean number in a run.
    """

    policy: str
    plain: str | None
    parts: tuple[str, ...]
    ratio: float | None
    by_stream: Mapping[str, float | None]
    by_price: Mapping[str, float | None]
    cheaper: float | None
    dearer: float | None
    bounded: float | None
    errors: float | None
    plain_errors: float | None
    retrains: float | None
    rejected: float | None
    reuses: float | None
    tuning_trials: float | None


def twins(findings: Findings) -> tuple[Twin, ...]:
    """Return all arms that add something, in the spec's order.

    Examples
    --------
    >>> twins(Findings(name="none", spec={}, replay="", versions={}, roles={}, prices=(),
    ...                streams=(), cells=(), timelines=()))
    ()
    """
    cells: dict[str, list[Cell]] = {}
    for cell in findings.cells:
        cells.setdefault(cell.policy, []).append(cell)
    records = {facts.stream: facts.records for facts in findings.streams}
    found = []
    for policy, equipment in findings.equipped.items():
        mine, plain = cells.get(policy, []), cells.get(equipment.plain or "", [])
        pairs = paired(mine, plain)
        found.append(
            Twin(
                policy=policy,
                plain=equipment.plain,
                parts=equipment.parts,
                ratio=worth(pairs),
                by_stream={
                    facts.stream: worth([pair for pair in pairs if pair[0].stream == facts.stream])
                    for facts in findings.streams
                },
                by_price={
                    price: worth([pair for pair in pairs if pair[0].price == price])
                    for price in findings.prices
                },
                cheaper=share([other.cost - one.cost for one, other in pairs]),
                dearer=share([one.cost - other.cost for one, other in pairs]),
                bounded=over_streams(
                    (cell for cell in mine if cell.bound == "relaxed"), held, geometric_mean
                ),
                errors=over_streams(mine, lambda cell: 1000 * cell.errors / records[cell.stream]),
                plain_errors=over_streams(
                    plain, lambda cell: 1000 * cell.errors / records[cell.stream]
                ),
                retrains=over_streams(mine, lambda cell: cell.retrains),
                rejected=over_streams(mine, lambda cell: cell.rejected),
                reuses=over_streams(mine, lambda cell: cell.reuses),
                tuning_trials=over_streams(mine, lambda cell: cell.tuning_trials),
            )
        )
    return tuple(found)


def paired(cells: Sequence[Cell], plain: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Return each cell of an arm with that of its plain policy in the same case."""
    by_case = {case_of(cell): cell for cell in plain}
    return [(cell, by_case[case_of(cell)]) for cell in cells if case_of(cell) in by_case]


def case_of(cell: Cell) -> tuple[str, int, str, str, str]:
    """Return what a cell is about, besides its policy."""
    return cell.stream, cell.seed, cell.latency, cell.label_delay, cell.price


def worth(pairs: Sequence[tuple[Cell, Cell]]) -> float | None:
    """Return cost ÷ that of the plain policy, geometric mean over streams."""
    ratios = {
        id(one): one.cost / other.cost for one, other in pairs if one.cost > 0 and other.cost > 0
    }
    return over_streams((one for one, _ in pairs), lambda one: ratios.get(id(one)), geometric_mean)


def held(cell: Cell) -> float | None:
    """Return cost ÷ what it is held against."""
    return cell.cost / cell.least if cell.least and cell.cost > 0 else None


def share(gains: Sequence[float]) -> float | None:
    """Return the share of gains that are above nothing, rounding aside; None without any.

    Examples
    --------
    >>> share([1.0, 0.0, -2.0, 3.0]), share([])
    (0.5, None)
    """
    return sum(round(gain, DIGITS) > 0 for gain in gains) / len(gains) if gains else None
