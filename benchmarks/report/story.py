"""What the report says, in order: the verdict, the policies, the prices, the streams, the proof."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from benchmarks.findings import Findings, Timeline, Track
from benchmarks.report import figures
from benchmarks.report.additions import additions
from benchmarks.report.parts import (
    UNDEFINED,
    Choice,
    Code,
    Figure,
    Part,
    Section,
    Table,
    chance,
    count,
    number,
    percent,
)
from benchmarks.savings import NEVER, savings
from benchmarks.significance import LEVEL
from benchmarks.statistics import RUNNABLE, Standing, Summary

DRIFTS_MAX = 12
"""Drifts of a stream that are put into words."""
ROLES = {"tuned": " (in hindsight)", "control": " (control)", "peer": " (peer)", "policy": ""}
WORDS = (
    "Cost = errors + price × retrains. A price is that of one retrain in errors, in % of the "
    "records of a block where it is stated so; the first model is free.",
    "The hindsight optimum is the cheapest schedule over the same decision points, windows, "
    "latency and label delay, found by dynamic programming with the whole stream known. Nobody "
    "can run it: it is the bar. × optimum = cost ÷ its cost, the geometric mean over streams, "
    "each weighing the same.",
    "Area = area under the cost curve over the price ÷ that of the optimum. Avoidable cost still "
    "paid = (cost − optimum) ÷ (cost of never − optimum): 0% is the optimum, 100% never to "
    "retrain. Delay = mean records from a true drift to the first record served by a model that "
    "was asked for after it, over the drifts that were answered; – where none was, or the truth is "
    "unknown.",
    "Wins = share of all cases in which no policy that can be run costs less. “(in hindsight)” is "
    "the best of all fixed periods and never, chosen for each stream, seed and price when all was "
    "over: nobody can run it. “(control)” is an incremental learner that never retrains.",
)

PERIODS = (NEVER, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)
"""The fixed periods, in blocks, among which readers find their present one."""


def tell(findings: Findings, summary: Summary) -> list[Section]:
    """Return the sections after the verdict."""
    return [
        policies(summary),
        prices(findings, summary),
        *additions(findings, summary),
        ranks(findings, summary),
        trade(findings),
        *saved(findings, summary),
        streams(findings, summary),
        *[stream(findings, summary, line) for line in firsts(findings.timelines)],
        Section("What the words mean", WORDS),
        again(findings),
    ]


def label(one: Standing) -> str:
    """Return a policy's name, and what it is if it cannot be recommended."""
    missing = "" if one.complete else f" (ran on {count(one.streams, 'stream')} only in part)"
    return one.policy + ROLES[one.role] + missing


def policies(summary: Summary) -> Section:
    """Tell what each policy costs, and whether the difference is chance."""
    best = summary.best.policy if summary.best else None
    head = ["policy", "× optimum", "area", "cost per 1,000 records", "errors per 1,000 records"]
    head += ["retrains", "avoidable cost still paid", "delay, records", "average rank", "wins"]
    rows = [
        [
            label(one),
            number(one.regret),
            number(one.area),
            number(one.cost, 1),
            number(one.errors, 1),
            number(one.retrains, 1),
            percent(one.gap),
            number(one.reaction, 0),
            number(one.rank),
            percent(one.wins),
            UNDEFINED if best in (None, one.policy) or not one.complete else chance(one.chance),
        ]
        for one in summary.standings
    ]
    table = Table(
        caption="All policies, by × optimum",
        head=[*head, f"p against {best}" if best else "p"],
        rows=rows,
        strong=frozenset((i, 0) for i, one in enumerate(summary.standings) if one.policy == best),
    )
    return Section("Policies", [*bars(summary), table, *tested(summary)])


def tested(summary: Summary) -> list[str]:
    """Say what the tests of significance are, and of what."""
    tests = summary.tests
    blocks = count(tests.blocks, tests.unit)
    said = [
        f"p: paired Wilcoxon signed-rank tests over {blocks} with Holm's correction; below "
        f"{LEVEL:g} a difference is called significant, and “too few to tell” means that no "
        "outcome of so few could be."
    ]
    if tests.friedman is not None:
        odds = chance(tests.friedman)
        odds = odds if odds.startswith("<") else f"= {odds}"
        said.append(f"All policies together differ in rank with p {odds} (Friedman).")
    if tests.unit != "stream":
        said.append(
            "With so few streams, seeds of the same stream are compared: that tells a difference "
            "from chance on these streams, not whether it holds on others."
        )
    return said


def winners(summary: Summary) -> str:
    """Say which policy costs least at which price."""
    found = [
        f"at {one.first}" if one.first == one.last else f"from {one.first} to {one.last}"
        for one in summary.ranges
    ]
    if len(found) < 2:
        return "".join(
            f"Of the policies that can be run, {one.policy} costs least at every price."
            for one in summary.ranges
        )
    told = [f"{where}: {one.policy}" for where, one in zip(found, summary.ranges, strict=True)]
    return f"Least × optimum of the policies that can be run, by price: {'; '.join(told)}."


def bars(summary: Summary) -> list[str]:
    """Say what those cost that the recommended policy should be held against."""
    words = {
        "tuned": "the best fixed period, which only hindsight knows,",
        "control": "the control arm",
    }
    told = [
        f"{words.get(one.role, 'to never retrain')} costs {number(one.regret)} ×"
        for one in summary.standings
        if one.regret is not None and (one.role in words or one.policy == "never")
    ]
    said = [f"For comparison: {', '.join(told)} the optimum."] if told else []
    best = summary.best
    if best is not None and best.gap is not None and best.gap > 1:
        said.append(
            f"Beware: added up over all records, {best.policy} costs more than never to retrain; "
            "it leads in the mean of ratios, in which each stream weighs the same."
        )
    return said


def prices(findings: Findings, summary: Summary) -> Section:
    """Tell which policy costs least at which price."""
    parts: list[Part] = [
        Figure(
            caption="Cost ÷ hindsight optimum (geometric mean over streams) by the price of a "
            "retrain; the shade names the policy that costs least",
            words=f"Cost against price, as in the table below. {winners(summary)}",
            plot=figures.costs(findings, summary),
        ),
        by(
            "price",
            findings.prices,
            {one.policy: one.by_price for one in summary.standings},
            summary,
        ),
    ]
    settings = list(summary.standings[0].by_setting) if summary.standings else []
    if len(settings) > 1:
        names = {one: f"latency {one[0]}, labels {one[1]}" for one in settings}
        ratios = {
            one.policy: {names[key]: ratio for key, ratio in one.by_setting.items()}
            for one in summary.standings
        }
        parts.append(by("latency and label delay", list(names.values()), ratios, summary))
    return Section("Cost by price", parts)


def by(
    what: str,
    keys: Sequence[str],
    ratios: Mapping[str, Mapping[str, float | None]],
    summary: Summary,
) -> Table:
    """Return × optimum of each policy for each key, the least of those that can be run strong."""
    strong = set()
    able = {i for i, one in enumerate(summary.standings) if one.role in RUNNABLE}
    for column, key in enumerate(keys, start=1):
        known = {i: ratios[one.policy][key] for i, one in enumerate(summary.standings)}
        values = {i: ratio for i, ratio in known.items() if ratio is not None and i in able}
        if values:
            strong.add((min(values, key=lambda i: (values[i], i)), column))
    rows = [
        [label(one), *(number(ratios[one.policy][key]) for key in keys)]
        for one in summary.standings
    ]
    return Table(
        caption=f"Cost ÷ hindsight optimum by {what}",
        head=["policy", *keys],
        rows=rows,
        strong=frozenset(strong),
    )


def ranks(findings: Findings, summary: Summary) -> Section:
    """Tell which policies cannot be told apart."""
    tests = summary.tests
    blocks = count(tests.blocks, tests.unit)
    if not any(one.rank is not None for one in summary.standings):
        return Section("Ranks", ["There is nothing to rank: no policy has a cost to compare."])
    if tests.critical_difference is None:
        said = f"Average ranks over {blocks}; too few to say which differ by more than chance."
    else:
        said = (
            f"Average ranks over {blocks}, 1 is the best. Ranks that differ by less than "
            f"{number(tests.critical_difference)} (Nemenyi, {LEVEL:g}) cannot be told apart: in "
            "the diagram a bar joins them."
        )
    named = [
        f"{one.policy} {number(one.rank)}" for one in summary.standings if one.rank is not None
    ]
    figure = Figure(
        caption="Critical-difference diagram",
        words=f"{said} {', '.join(named)}.",
        plot=figures.ranks(summary, list(findings.roles)),
    )
    return Section("Ranks", [said, figure])


def trade(findings: Findings) -> Section:
    """Tell what errors each policy has for how many retrains."""
    points = figures.traded(findings)
    able = {one: mine for one, mine in points.items() if findings.roles[one] in RUNNABLE}
    edge = figures.front([point for mine in able.values() for point in mine])
    named = [
        f"{policy} ({number(retrains)} retrains, {number(errors, 1)} errors)"
        for retrains, errors in edge
        for policy, mine in able.items()
        if (retrains, errors) in mine
    ]
    said = f"Per 1,000 records, not beaten in both by another: {'; '.join(named)}."
    figure = Figure(
        caption="Errors against retrains, a point for each price at which a policy acts otherwise; "
        "the band is the Pareto front of the policies that can be run",
        words="Errors against retrains of each policy; the front is told in words before it.",
        plot=figures.trade(points, edge),
    )
    return Section("Errors against retrains", [said, figure] if named else [figure])


def saved(findings: Findings, summary: Summary) -> list[Section]:
    """Tell what the recommended policy saves against the reader's present schedule."""
    best = summary.best
    found = savings(findings, best.policy) if best else {}
    if best is None or not found:
        return []
    blocks = sorted({facts.block for facts in findings.streams})
    size = f" of {' or '.join(f'{block:,}' for block in blocks)} records" if blocks else ""
    rows = [
        [
            "never" if period == NEVER else f"every {count(period, 'block')}",
            *(
                f"{percent(one.share)} ({number(one.errors, 1)})"
                if (one := mine.get(price))
                else UNDEFINED
                for price in findings.prices
            ),
        ]
        for period, mine in found.items()
        if period in PERIODS
    ]
    table = Table(
        caption=f"Saved by {best.policy}: share of the present cost, and errors per 1,000 records",
        head=["you retrain now", *(f"price {price}" for price in findings.prices)],
        rows=rows,
    )
    said = (
        f"Find your present schedule (blocks{size}) and what a retrain costs you: so much less "
        f"{best.policy} costs on these streams. Negative: it costs more."
    )
    return [Section("What it would save you", [said, table])]


def streams(findings: Findings, summary: Summary) -> Section:
    """Tell what the streams are, and what each policy costs on each."""
    lines = {line.stream: line for line in reversed(findings.timelines)}
    able = [one for one in summary.standings if one.role in RUNNABLE]
    rows = []
    for facts in findings.streams:
        drifts = lines[facts.stream].drifts if facts.stream in lines else None
        known = {
            one.policy: ratio for one in able if (ratio := one.by_stream[facts.stream]) is not None
        }
        least = min(known, key=lambda policy: known[policy]) if known else None
        rows.append(
            [
                facts.stream,
                facts.kind,
                f"{facts.records:,}",
                f"{facts.block:,}",
                str(facts.features),
                "regression" if facts.classes is None else str(facts.classes),
                "unknown" if drifts is None else str(len(drifts)),
                f"{least} ({number(known[least])})" if least else UNDEFINED,
            ]
        )
    choice = Choice("Timelines below at price", findings.prices, middle(findings.prices))
    head = ["stream", "kind", "records", "block", "features", "classes", "drifts", "least cost"]
    return Section(
        "Streams",
        [
            Table(caption="The streams", head=head, rows=rows),
            by(
                "stream",
                [facts.stream for facts in findings.streams],
                {one.policy: one.by_stream for one in summary.standings},
                summary,
            ),
            *([choice] if len(findings.prices) > 1 and findings.timelines else []),
        ],
    )


def middle(prices: Sequence[str]) -> str:
    """Return the price in the middle, the lower one of two."""
    return prices[(len(prices) - 1) // 2]


def firsts(lines: Sequence[Timeline]) -> list[Timeline]:
    """Return the first timeline of each stream."""
    return list({line.stream: line for line in reversed(lines)}.values())[::-1]


def stream(findings: Findings, summary: Summary, line: Timeline) -> Section:
    """Tell what happened on one stream."""
    price = middle(findings.prices)
    best = summary.best.policy if summary.best else None
    shown = [policy for policy in (best, "never") if policy in line.tracks and policy]
    if line.drifts is None:
        drifts = "The true drifts are unknown."
    elif not line.drifts:
        drifts = "The stream has no drift."
    else:
        named = [
            f"{place}: {drift.what} at {drift.seq:,}"
            for place, drift in enumerate(line.drifts[:DRIFTS_MAX], start=1)
        ]
        more = len(line.drifts) - len(named)
        drifts = f"Drifts: {'; '.join(named)}{f'; and {more} more' if more else ''}."
    acted = [
        f"{policy}: {len(tracks[price].asked)}{returned(tracks[price])}"
        for policy, tracks in (("optimum", line.optimum), *line.tracks.items())
        if price in tracks
    ]
    where = f"seed {line.seed}, latency {line.latency}, label delay {line.label_delay}"
    figure = Figure(
        caption=f"{line.stream}, {where}: error above; below, when each policy asked for a model",
        words=f"Timeline of {line.stream}, told in words before it.",
        plot=figures.timeline(line, list(findings.roles), shown, price),
    )
    said = f"{drifts} Retrains at price {price}: {'; '.join(acted)}."
    return Section(line.stream, [said, figure], level=3)


def returned(track: Track) -> str:
    """Return how often a schedule went back to an earlier model, in words, if it did.

    >>> returned(Track((), (), (), ((5, 6),)))
    ' and 1 return'
    """
    return f" and {count(len(track.returns), 'return')}" if track.returns else ""


def again(findings: Findings) -> Section:
    """Tell how to get the same report."""
    versions = ", ".join(f"{name} {version}" for name, version in findings.versions.items())
    spec = json.dumps(findings.spec, indent=2, ensure_ascii=False)
    told = [f"Note: {said}" for said in findings.notes]
    return Section(
        "How to reproduce",
        [
            "The same command with the same files gives the same bytes:",
            Code(findings.replay),
            f"Made with {versions}." if versions else "Versions are unknown.",
            *told,
            "The spec with all defaults:",
            Code(spec),
        ],
    )
