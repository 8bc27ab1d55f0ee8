"""What the report says of gate, tuning and archive: each arm beside the policy without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.findings import Findings
from benchmarks.report.parts import UNDEFINED, Part, Section, Table, number, percent
from benchmarks.statistics import Standing, Summary
from benchmarks.twins import Twin, twins

BOUNDS = (
    "× optimum is cost ÷ the hindsight optimum of the others, which only retrains, without tuning, "
    "and lets every model serve when it is ready. So an arm of this section may cost less than it: "
    "below 1 is possible.",
    "× relaxed bound is for arms that add an archive alone. There hindsight may also, at every "
    "decision, return to any older model, for the price of a return or of a retrain, whichever is "
    "less, and whether it ever paid for that model or not. So no schedule with returns can cost "
    "less than this bound, and mostly none reaches it. Tuned and gated arms have models, or times "
    "of service, that the loss table does not know: no bound is given for them.",
)


def additions(findings: Findings, summary: Summary) -> list[Section]:
    """Tell what gates, tuning and archives are worth, at the same prices; nothing without any."""
    found = twins(findings)
    if not found:
        return []
    shares = findings.spec.get("prices", {})
    said = (
        "Each of these is a policy to which a gate (the new model is judged before it serves), "
        "tuning (of the new model, before it is trained) or an archive (an earlier model may serve "
        "again instead) is added, at the same prices: a retrain costs the price, a trial of tuning "
        f"{percent(shares.get('trial'), 1)} of it and a return {percent(shares.get('reuse'), 1)}; "
        "a rejected model is paid for. ÷ plain is cost ÷ that of the policy without: below 1 what "
        "is added pays."
    )
    parts: list[Part] = [said, overview(found, summary), *BOUNDS]
    if any(one.plain for one in found):
        parts += [
            worths("stream", {one.policy: one.by_stream for one in found}),
            worths("price", {one.policy: one.by_price for one in found}),
        ]
    return [Section("Gate, tuning and archive", parts)]


def overview(found: Sequence[Twin], summary: Summary) -> Table:
    """Return a line for each policy and for each arm that adds to it."""
    standings = {one.policy: one for one in summary.standings}
    rows: list[list[str]] = []
    for plain in dict.fromkeys(one.plain for one in found):
        if plain is not None:
            rows.append(plain_row(standings[plain]))
        rows += [row_of(one, standings[one.policy]) for one in found if one.plain == plain]
    head = ["arm", "÷ plain", "cheaper in", "dearer in", "× optimum", "× relaxed bound"]
    head += ["errors per 1,000 records", "retrains", "rejected", "returns", "trials"]
    return Table(caption="Policies with and without gate, tuning and archive", head=head, rows=rows)


def plain_row(one: Standing) -> list[str]:
    """Return the line of a policy without additions."""
    figures = [number(one.regret), UNDEFINED, number(one.errors, 1), number(one.retrains, 1)]
    return [one.policy, *[UNDEFINED] * 3, *figures, *[UNDEFINED] * 3]


def row_of(twin: Twin, standing: Standing) -> list[str]:
    """Return the line of an arm; what it does not add has no figure."""
    added = {
        "rejected": ("gate", twin.rejected),
        "returns": ("archive", twin.reuses),
        "trials": ("tuning", twin.tuning_trials),
    }
    return [
        twin.policy,
        number(twin.ratio, 3),
        percent(twin.cheaper),
        percent(twin.dearer),
        number(standing.regret),
        number(twin.bounded),
        number(twin.errors, 1),
        number(twin.retrains, 1),
        *(number(mean, 1) if part in twin.parts else UNDEFINED for part, mean in added.values()),
    ]


def worths(what: str, ratios: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return cost ÷ that of the plain policy for each key; strong where it pays."""
    keys = list(next(iter(ratios.values())))
    rows = [[policy, *(number(mine[key], 3) for key in keys)] for policy, mine in ratios.items()]
    strong = {
        (row, column)
        for row, mine in enumerate(ratios.values())
        for column, key in enumerate(keys, 1)
        if (ratio := mine[key]) is not None and round(ratio, 3) < 1
    }
    return Table(
        caption=f"Cost ÷ that of the plain policy by {what}; below 1 what is added pays",
        head=["arm", *keys],
        rows=rows,
        strong=frozenset(strong),
    )
