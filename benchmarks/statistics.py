"""Findings in few numbers: what each policy costs, which is best, and whether that is chance.

Each stream weighs the same: a mean over streams of the means over each stream's cells. Undefined
is None, never 0 or NaN.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean, geometric_mean
from typing import Any, TypeVar

import numpy as np

from benchmarks import significance
from benchmarks.findings import Cell, Findings, Role

STREAMS_MIN = 5
"""With fewer streams the blocks of the tests are pairs of stream and seed."""
RUNNABLE: tuple[Role, ...] = ("policy", "peer")
"""Who can be recommended: a period tuned in hindsight cannot be run, and the control arm is
another kind of model."""

Setting = tuple[str, str]
"""Latency and label delay."""
Key = TypeVar("Key", str, Setting)
Mean = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one policy did.

    Parameters
    ----------
    policy, role
        The policy's label and what it is.
    streams, complete
        Streams on which it ran; whether it ran wherever any policy did.
    regret
        Cost ÷ optimum, geometric mean: the headline.
    area
        Area under the cost curve over the price ÷ that of the optimum, geometric mean.
    by_stream, by_price, by_setting
        The same as `regret` for a part of the cells.
    cost, errors
        Per 1,000 records.
    retrains
        Mean number in a run.
    gap
        Share of the avoidable cost still paid: 0 is the optimum, 1 is never to retrain.
    reaction
        Mean records from a true drift to the first record that a model asked for after it serves.
    rank
        Average rank in the tests' blocks; 1 is the best.
    wins
        Share of all cases in which no policy that can be run costs less; None if it cannot be run.
    chance
        How likely chance alone sets it as far apart from the recommended policy.
    """

    policy: str
    role: Role
    streams: int
    complete: bool
    regret: float | None
    area: float | None
    by_stream: Mapping[str, float | None]
    by_price: Mapping[str, float | None]
    by_setting: Mapping[Setting, float | None]
    cost: float | None
    errors: float | None
    retrains: float | None
    gap: float | None
    reaction: float | None
    rank: float | None
    wins: float | None
    chance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the tests said of all policies together.

    Parameters
    ----------
    unit, blocks
        What a block of the tests is, in words, and how many there are.
    friedman
        How likely chance alone makes ranks that differ as much.
    critical_difference
        By how much average ranks must differ to be told apart.
    """

    unit: str
    blocks: int
    friedman: float | None
    critical_difference: float | None


@dataclass(frozen=True, slots=True)
class Range:
    """The policy that costs least from one price to another, both included."""

    first: str
    last: str
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A benchmark in few numbers: `standings` from the least cost to the most."""

    name: str
    streams: int
    seeds: int
    prices: int
    standings: tuple[Standing, ...]
    tests: Comparison
    ranges: tuple[Range, ...]

    @property
    def runnable(self) -> list[Standing]:
        """Who may be recommended, from the least cost to the most."""
        complete = [one for one in self.standings if one.complete and one.regret is not None]
        return [one for one in complete if one.role in RUNNABLE]

    @property
    def best(self) -> Standing | None:
        """The policy to use; None if nothing can be said."""
        return next(iter(self.runnable), None)

    @property
    def verdict(self) -> str:
        """What to do, in one sentence with numbers."""
        best = self.best
        if best is None or best.regret is None:
            if not any(one.role in RUNNABLE for one in self.standings):
                return "No policy can be recommended: none of those given retrains."
            return (
                "No policy can be recommended: the hindsight optimum makes no error on some "
                "stream, or no policy ran on all of them."
            )
        over = [f"{self.streams} stream", f"{self.seeds} seed", f"{self.prices} price"]
        over = [words if words.startswith("1 ") else f"{words}s" for words in over]
        mean = f"(geometric mean over {over[0]}, {over[1]} and {over[2]})"
        says = f"Use {best.policy}: it costs {best.regret:.2f} × the hindsight optimum {mean}"
        if len(self.runnable) < 2:
            return f"{says}; there is no other policy to compare it with."
        other = self.runnable[1]
        less = 1 - best.regret / (other.regret or best.regret)
        if other.chance is None:
            sure = "too few streams and seeds to tell this from chance"
        else:
            odds = "p < 0.001" if other.chance < 0.001 else f"p = {other.chance:.2g}"
            significant = other.chance < significance.LEVEL
            sure = f"{'a' if significant else 'not a'} significant difference, {odds}"
        digits = 0 if less >= 0.01 else 2
        amount = f"{less:.{digits}%} less than" if less >= 5e-5 else "as much as"
        return f"{says}, {amount} the next best, {other.policy} ({sure})."

    def as_json(self) -> dict[str, Any]:
        """Return what `summary.json` holds."""
        standings = []
        for one in self.standings:
            settings = [
                {"latency": latency, "label_delay": delay, "regret": regret}
                for (latency, delay), regret in one.by_setting.items()
            ]
            standings.append({**asdict(one), "by_setting": settings})
        return {
            "name": self.name,
            "verdict": self.verdict,
            "recommended": self.best.policy if self.best else None,
            "ranges": [asdict(one) for one in self.ranges],
            "tests": {"level": significance.LEVEL, **asdict(self.tests)},
            "policies": standings,
        }


def summarise(findings: Findings) -> Summary:
    """Return a benchmark's summary.

    Examples
    --------
    >>> from benchmarks.findings import Cell, StreamFacts
    >>> cells = tuple(
    ...     Cell(stream="sea", seed=1, policy=policy, price="10%", alpha=10, latency="0",
    ...          label_delay="0", errors=errors, retrains=2, cost=errors + 20, optimum=100,
    ...          never=200)
    ...     for policy, errors in (("adwin", 90.0), ("every 5 blocks", 130.0)))
    >>> facts = StreamFacts(
    ...     stream="sea", kind="generator", records=1000, block=100, features=3, classes=2)
    >>> summary = summarise(Findings(
    ...     name="tiny", spec={}, replay="", versions={}, prices=("10%",), streams=(facts,),
    ...     roles={"adwin": "policy", "every 5 blocks": "policy"}, cells=cells, timelines=()))
    >>> summary.verdict[:41]
    'Use adwin: it costs 1.10 × the hindsight '
    """
    cells: dict[str, list[Cell]] = {policy: [] for policy in findings.roles}
    for cell in findings.cells:
        cells[cell.policy].append(cell)
    most = max((len(mine) for mine in cells.values()), default=0)
    whole = {policy: mine for policy, mine in cells.items() if mine and len(mine) == most}
    runnable = [policy for policy in whole if findings.roles[policy] in RUNNABLE]
    regrets = {policy: regret(cells[policy]) for policy in cells}
    order = sorted(cells, key=lambda policy: (regrets[policy] is None, regrets[policy] or 0.0))
    best = next((one for one in order if one in runnable and regrets[one] is not None), None)
    comparison, ranks, chances = compare(whole, best)
    won = wins({policy: whole[policy] for policy in runnable})
    settings = list(dict.fromkeys((cell.latency, cell.label_delay) for cell in findings.cells))
    records = {facts.stream: facts.records for facts in findings.streams}
    standings = tuple(
        Standing(
            policy=policy,
            role=findings.roles[policy],
            streams=len({cell.stream for cell in mine}),
            complete=policy in whole,
            regret=regrets[policy],
            area=area(mine),
            by_stream=by(mine, records, lambda cell: cell.stream),
            by_price=by(mine, findings.prices, lambda cell: cell.price),
            by_setting=by(mine, settings, lambda cell: (cell.latency, cell.label_delay)),
            cost=over_streams(mine, lambda cell: 1000 * cell.cost / records[cell.stream]),
            errors=over_streams(mine, lambda cell: 1000 * cell.errors / records[cell.stream]),
            retrains=over_streams(mine, lambda cell: cell.retrains),
            gap=gap(mine, records),
            reaction=over_streams(mine, lambda cell: cell.reaction),
            rank=ranks.get(policy),
            wins=won.get(policy),
            chance=chances.get(policy),
        )
        for policy in order
        for mine in (cells[policy],)
    )
    return Summary(
        name=findings.name,
        streams=len({cell.stream for cell in findings.cells}),
        seeds=len({cell.seed for cell in findings.cells}),
        prices=len(findings.prices),
        standings=standings,
        tests=comparison,
        ranges=ranges(standings, findings.prices),
    )


def over_streams(
    cells: Iterable[Cell], value: Callable[[Cell], float | None], mean: Mean = fmean
) -> float | None:
    """Return the mean over streams of the mean over each stream's cells that have a value."""
    values: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        one = value(cell)
        if one is not None:
            values[cell.stream].append(one)
    return mean([mean(mine) for mine in values.values()]) if values else None


def regret(cells: Iterable[Cell]) -> float | None:
    """Return cost ÷ optimum, geometric mean."""
    return over_streams(cells, lambda cell: cell.regret_ratio, geometric_mean)


def by(
    cells: Sequence[Cell], keys: Iterable[Key], key_of: Callable[[Cell], Key]
) -> dict[Key, float | None]:
    """Return cost ÷ optimum of the cells of each key."""
    return {key: regret(cell for cell in cells if key_of(cell) == key) for key in keys}


def area(cells: Iterable[Cell]) -> float | None:
    """Return the area under the cost curve over the price ÷ the optimum's, geometric mean.

    The areas are those of trapezia between the prices of the grid; None with fewer than two.
    """
    curves: dict[tuple[str, int, Setting], list[Cell]] = defaultdict(list)
    for cell in cells:
        curves[cell.stream, cell.seed, (cell.latency, cell.label_delay)].append(cell)
    ratios: dict[str, list[float]] = defaultdict(list)
    for (stream, _, _), curve in curves.items():
        curve.sort(key=lambda cell: cell.alpha)
        alphas = [cell.alpha for cell in curve]
        least = float(np.trapezoid([cell.optimum for cell in curve], alphas))
        if least > 0:
            ratios[stream].append(
                float(np.trapezoid([cell.cost for cell in curve], alphas)) / least
            )
    return geometric_mean([geometric_mean(mine) for mine in ratios.values()]) if ratios else None


def gap(cells: Iterable[Cell], records: Mapping[str, int]) -> float | None:
    """Return the share of the avoidable cost still paid, all streams' costs per record together.

    A sum ÷ a sum, since on a stream where nothing can be avoided the share itself is anything.
    """
    cells = list(cells)
    paid = over_streams(cells, lambda cell: (cell.cost - cell.optimum) / records[cell.stream])
    most = over_streams(cells, lambda cell: (cell.never - cell.optimum) / records[cell.stream])
    return paid / most if paid is not None and most is not None and most > 0 else None


def wins(cells: Mapping[str, Sequence[Cell]]) -> dict[str, float]:
    """Return for each policy the share of cases in which none costs less; ties count for all."""
    cases: dict[tuple[str, int, Setting, str], dict[str, float]] = defaultdict(dict)
    for policy, mine in cells.items():
        for cell in mine:
            case = (cell.stream, cell.seed, (cell.latency, cell.label_delay), cell.price)
            cases[case][policy] = round(cell.cost, significance.DIGITS)
    won = dict.fromkeys(cells, 0)
    for costs in cases.values():
        least = min(costs.values())
        for policy, cost in costs.items():
            won[policy] += cost == least
    return {policy: count / len(cases) for policy, count in won.items()}


def compare(
    cells: Mapping[str, Sequence[Cell]], best: str | None
) -> tuple[Comparison, dict[str, float], dict[str, float | None]]:
    """Compare policies that ran everywhere, block by block, by their cost ÷ optimum.

    Also gives each policy's average rank, and how likely chance alone sets it apart from the best.
    """
    pairs = len({cell.stream for mine in cells.values() for cell in mine}) < STREAMS_MIN
    blocks: dict[tuple[str, int | None], dict[str, float]] = defaultdict(dict)
    for policy, mine in cells.items():
        keyed = sorted(mine, key=lambda cell: (cell.stream, cell.seed))
        for key, block in groupby(keyed, lambda cell: (cell.stream, cell.seed if pairs else None)):
            ratio = regret(block)
            if ratio is not None:
                blocks[key][policy] = float(np.log(ratio))
    rows = [[row[policy] for policy in cells] for row in blocks.values() if len(row) == len(cells)]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(cells))
    comparison = Comparison(
        unit="pair of stream and seed" if pairs else "stream",
        blocks=len(rows),
        friedman=significance.friedman(table),
        critical_difference=significance.critical_difference(len(cells), len(rows)),
    )
    if best is None or not rows:
        return comparison, {}, {}
    ranks = dict(zip(cells, significance.average_ranks(table), strict=True))
    chances = significance.against(table, list(cells).index(best))
    return comparison, ranks, dict(zip(cells, chances, strict=True))


def ranges(standings: Sequence[Standing], prices: Sequence[str]) -> tuple[Range, ...]:
    """Return which policy that can be run costs least, from price to price."""
    able = [one for one in standings if one.complete and one.role in RUNNABLE]
    winners: list[tuple[str, str]] = []
    for price in prices:
        known = {one.policy: ratio for one in able if (ratio := one.by_price[price]) is not None}
        if known:
            least = min(known, key=lambda policy: round(known[policy], significance.DIGITS))
            winners.append((least, price))
    groups = [(policy, list(run)) for policy, run in groupby(winners, lambda pair: pair[0])]
    return tuple(Range(run[0][1], run[-1][1], policy) for policy, run in groups)
