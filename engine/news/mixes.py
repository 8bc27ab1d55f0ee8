"""Notice, online, that counts are no longer what they used to be: of kinds, and of arrivals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

BLOCK_ENTRIES = 30
"""Entries that are tested at a time: fewer show too little, more come too late."""
WARM_BLOCKS = 6
"""Blocks before the first test: fewer do not tell how much the mix varies by itself."""
KEEP = 0.9
"""What a block leaves of the weight of those before it: about ten blocks are remembered."""
DOUBT = 1e-4
"""How unlikely a block must be for a change to begin; a test a block, some tests a topic."""
CALM = 1e-2
"""How likely a block must be for a change to be over: above `DOUBT`, so that it does not flap."""
SETTLE_BLOCKS = 12
"""After so many blocks of a standing change what is new is what is usual."""
KINDS_MAX = 60
"""How many kinds of a mix are remembered by name."""
KINDS_TESTED = 12
"""How many kinds, the most frequent, are tested by name; the others are one."""
REST = "(others)"


@dataclass(frozen=True, slots=True)
class Shift:
    """The beginning or the end of a change, with its evidence.

    Parameters
    ----------
    begins
        Whether it begins; else it is over.
    evidence
        JSON-ready figures.
    """

    begins: bool
    evidence: dict[str, Any]


# --- kinds ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Mix:
    """Notice a change of the shares of kinds, by a G-test of each block against the decayed past.

    Entries of one answer resemble each other, so counts vary more than chance alone would have
    them: the statistic is divided by how large it usually is (quasi-likelihood), where that is
    more than one.

    Parameters
    ----------
    least
        The least change worth telling: total variation distance of the shares, 0 to 1.
    rises
        With it, only a rise of this kind's share is told.

    Examples
    --------
    >>> mix = Mix(least=0.2)
    >>> any(mix.see({"tea": 20, "coffee": 20}) for _ in range(8))
    False
    >>> mix.see({"tea": 2, "coffee": 38}).evidence["shares"]
    {'tea': [0.5, 0.05], 'coffee': [0.5, 0.95]}
    """

    least: float
    rises: str = ""
    usual: dict[str, float] = field(default_factory=dict)
    recent: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    spread: float = 1.0
    standing: int = 0

    @property
    def warm(self) -> bool:
        """Whether enough was seen to test against."""
        return self.blocks >= WARM_BLOCKS

    def see(self, counts: Mapping[str, int]) -> Shift | None:
        """Take the counts of one answer; return what they begin or end, if anything."""
        for kind, count in counts.items():
            self.recent[kind] = self.recent.get(kind, 0) + count
        if sum(self.recent.values()) < BLOCK_ENTRIES:
            return None
        block, self.recent = self.recent, {}
        if not self.usual:
            self._learn(block)
            return None
        before, now = folded(self.usual, block)
        statistic, freedom = g_statistic(before, now)
        ratio = statistic / freedom if freedom else 0.0
        if not self.warm:
            self.spread += (ratio - self.spread) / (self.blocks + 1)
            self._learn(block)
            return None
        likely = tail(statistic / max(1.0, self.spread), freedom)
        apart = distance(before, now)
        if self.rises and share(now, self.rises) <= share(before, self.rises):
            apart = 0.0
        evidence = {
            "shares": changes(before, now),
            "entries": sum(block.values()),
            "distance": round(apart, 3),
            "p_value": float(f"{likely:.2g}"),
        }
        return self._judge(block, ratio, likely, apart, evidence)

    def _judge(
        self,
        block: dict[str, int],
        ratio: float,
        likely: float,
        apart: float,
        evidence: dict[str, Any],
    ) -> Shift | None:
        """Decide whether a change begins, stands or is over; learn from what is usual."""
        if not self.standing:
            if likely < DOUBT and apart >= self.least:
                self.standing = 1
                return Shift(True, evidence)
            self.spread += (1 - KEEP) * (ratio - self.spread)
            self._learn(block)
            return None
        self.standing += 1
        if likely > CALM or apart < self.least / 2:
            self.standing = 0
            self._learn(block)
            return Shift(False, evidence)
        if self.standing > SETTLE_BLOCKS:
            self.standing, self.usual, self.blocks, self.spread = 0, {}, 0, 1.0
            self._learn(block)
            return Shift(False, {**evidence, "settled": True})
        return None

    def _learn(self, block: Mapping[str, int]) -> None:
        """Let a block count as usual."""
        self.blocks += 1
        kept = {kind: weight * KEEP for kind, weight in self.usual.items()}
        for kind, count in block.items():
            kept[kind] = kept.get(kind, 0.0) + count
        ranked = sorted(kept, key=lambda kind: (kind == REST, -kept[kind], kind))
        self.usual = {kind: kept[kind] for kind in ranked[:KINDS_MAX]}
        rest = sum(kept[kind] for kind in ranked[KINDS_MAX:])
        if rest:
            self.usual[REST] = self.usual.get(REST, 0.0) + rest

    def state(self) -> dict[str, Any]:
        """Return the memory, JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the mix that remembers `state`."""
        return cls(**state)


def folded(
    usual: Mapping[str, float], block: Mapping[str, int]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return both counts over the kinds that are tested by name, and one for all others.

    Examples
    --------
    >>> folded({"a": 5.0, "b": 1.0}, {"b": 1, "new": 2})
    ({'a': 5.0, 'b': 1.0, '(others)': 0.0}, {'a': 0.0, 'b': 1.0, '(others)': 2.0})
    """
    named = sorted(usual, key=lambda kind: (kind == REST, -usual[kind], kind))[:KINDS_TESTED]
    named = [kind for kind in named if kind != REST]
    before = {kind: float(usual[kind]) for kind in named}
    now = {kind: float(block.get(kind, 0)) for kind in named}
    before[REST] = float(sum(usual.values())) - sum(before.values())
    now[REST] = float(sum(block.values())) - sum(now.values())
    return before, now


def g_statistic(before: Mapping[str, float], now: Mapping[str, float]) -> tuple[float, int]:
    """Return the G statistic of two samples over the same kinds, and its degrees of freedom.

    Examples
    --------
    >>> g_statistic({"a": 50.0, "b": 50.0}, {"a": 50.0, "b": 50.0})
    (0.0, 1)
    """
    totals = sum(before.values()), sum(now.values())
    whole = sum(totals)
    statistic, kinds = 0.0, 0
    for kind in before:
        column = before[kind] + now[kind]
        kinds += column > 0
        for count, total in ((before[kind], totals[0]), (now[kind], totals[1])):
            if count > 0:
                statistic += 2 * count * math.log(count * whole / (total * column))
    return max(0.0, statistic), max(0, kinds - 1)


def tail(statistic: float, freedom: int) -> float:
    """Return how likely chance alone gives a chi-square statistic of at least this.

    Examples
    --------
    >>> round(tail(3.841, 1), 3), tail(5.0, 0)
    (0.05, 1.0)
    """
    if freedom == 0:
        return 1.0
    from scipy.special import chdtrc

    return float(chdtrc(freedom, statistic))


def share(counts: Mapping[str, float], kind: str) -> float:
    """Return the share of one kind; 0 where there is nothing.

    Examples
    --------
    >>> share({"a": 1, "b": 3}, "a")
    0.25
    """
    total = sum(counts.values())
    return counts.get(kind, 0.0) / total if total else 0.0


def distance(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Return the total variation distance of two mixes: 0 where alike, 1 where disjoint.

    Examples
    --------
    >>> distance({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 0.0})
    0.5
    """
    return sum(abs(share(before, kind) - share(now, kind)) for kind in before) / 2


def changes(
    before: Mapping[str, float], now: Mapping[str, float], most: int = 5
) -> dict[str, list[float]]:
    """Return the kinds whose shares changed most, each with its share before and now.

    Examples
    --------
    >>> changes({"a": 3.0, "b": 1.0}, {"a": 0.0, "b": 4.0}, most=1)
    {'a': [0.75, 0.0]}
    """
    pairs = {kind: (share(before, kind), share(now, kind)) for kind in before}
    pairs = {kind: pair for kind, pair in pairs.items() if pair[0] != pair[1]}
    ranked = sorted(pairs, key=lambda kind: (-abs(pairs[kind][0] - pairs[kind][1]), kind))
    return {kind: [round(one, 3) for one in pairs[kind]] for kind in ranked[:most]}


# --- arrivals -------------------------------------------------------------------------------

WARM_POLLS = 8
"""Polls before the first test of a volume."""
POLLS = 100
"""Polls that the usual volume is averaged over."""
DROP = 1 / 3
"""The drop that is looked for: to a third of what is usual."""
LIMIT = 7.6
"""Score at which a drop begins: with the usual volume known, ln 2,000 gives at most one false
alarm in 2,000 polls (Page's CUSUM; Lorden, 1971)."""
SPREAD_LEAST = 0.1
"""Least variance beyond Poisson's, in squared means: news come in bursts."""
SETTLE_POLLS = 60
"""After so many polls of a standing drop what is new is what is usual."""
HOURS = 2
"""Length in hours of the parts of the day (UTC), each with its usual volume: nights are quiet."""
DAY_KEEP = 0.8
"""What a day leaves of the weight of those before it: about five days are remembered."""
PRIOR_POLLS = 1.0
"""Polls of usual volume that each part of the day is believed to have had before any came."""
FACTOR_LEAST = 0.05
"""Least part of the usual volume that a time of day is taken to have."""
HOUR_MICROS = 3_600_000_000


@dataclass(slots=True)
class Volume:
    """Notice that far fewer arrive a poll than usual, by a CUSUM of negative binomial counts.

    What is usual is a decayed average over the polls so far, times what is usual at that time of
    the day; the first day has no such times yet, so its night may be told as a drop. A poll that
    comes after less than half the usual time counts towards the next.

    Examples
    --------
    >>> volume = Volume()
    >>> found = [volume.see(at * 900_000_000, 30 if at < 20 else 3) for at in range(24)]
    >>> [(at, shift.evidence["new"]) for at, shift in enumerate(found) if shift]
    [(21, 3)]
    """

    polls: int = 0
    mean: float = 0.0
    beyond: float = 0.0
    squares: float = 0.0
    gap: float = 0.0
    last: int | None = None
    waiting: int = 0
    score: float = 0.0
    standing: int = 0
    recent: list[int] = field(default_factory=list)
    day: dict[str, list[float]] = field(default_factory=dict)
    now: list[float] = field(default_factory=lambda: [-1.0, 0.0, 0.0])

    def early(self, at: int) -> bool:
        """Return whether a poll at `at` comes after less than half the usual time."""
        return self.last is not None and self.polls > 1 and at - self.last < self.gap / 2

    def see(self, at: int, count: int) -> Shift | None:
        """Take the arrivals of a poll at time `at`; return what they begin or end, if anything."""
        if self.early(at):
            self.waiting += count
            return None
        arrived, self.waiting = count + self.waiting, 0
        usual = self._expect(at)
        warm = self.polls >= WARM_POLLS
        if warm:
            self.score = max(0.0, self.score + self._likelihood_ratio(arrived, usual))
            self.score = min(self.score, 2 * LIMIT)
            self.recent = [*self.recent, arrived][-SETTLE_POLLS:] if self.score else [arrived]
        if warm and (self.standing or self.score >= LIMIT):
            return self._judge(arrived, usual)
        self._learn(arrived, usual)
        return None

    def _expect(self, at: int) -> float:
        """Return the usual volume of a poll at `at`; keep the time between polls in mind."""
        elapsed = 0 if self.last is None else at - self.last
        portion = min(1.0, elapsed / self.gap) if self.gap and self.polls > 1 else 1.0
        self.last = at
        if self.polls:
            limited = min(elapsed, 4 * self.gap) if self.gap else elapsed
            self.gap += (limited - self.gap) / min(self.polls, POLLS)
        part = at // HOUR_MICROS % 24 // HOURS
        if part != self.now[0]:
            self._close(part)
        arrived, expected = self.day.get(str(part), (0.0, 0.0))
        prior = PRIOR_POLLS * self.mean
        factor = (arrived + prior) / (expected + prior) if prior else 1.0
        return self.mean * factor * portion

    def _close(self, part: int) -> None:
        """Let the part of the day that is over count as usual, and begin the next."""
        before, arrived, expected = self.now
        if before >= 0:
            old = self.day.get(str(int(before)), [0.0, 0.0])
            self.day[str(int(before))] = [
                old[0] * DAY_KEEP + arrived,
                old[1] * DAY_KEEP + expected,
            ]
        self.now = [float(part), 0.0, 0.0]

    def _judge(self, arrived: int, usual: float) -> Shift | None:
        """Tell whether a drop begins or is over; while it stands nothing but the day is learned."""
        self.now = [self.now[0], self.now[1] + arrived, self.now[2] + self.mean]
        evidence = {
            "new": arrived,
            "usual": round(usual, 2),
            "mean": round(sum(self.recent) / len(self.recent), 2),
            "polls": len(self.recent),
        }
        self.standing += 1
        if self.standing == 1:
            return Shift(True, evidence)
        if self.score == 0:
            self.standing = 0
            return Shift(False, evidence)
        if self.standing > SETTLE_POLLS:
            self.standing, self.polls, self.score, self.recent = 0, 0, 0.0, []
            self.mean = self.beyond = self.squares = 0.0
            self.day, self.now = {}, [-1.0, 0.0, 0.0]
            return Shift(False, {**evidence, "settled": True})
        return None

    def _learn(self, arrived: int, usual: float) -> None:
        """Let a poll count as usual."""
        self.polls += 1
        weight = 1 / min(self.polls, POLLS)
        factor = usual / self.mean if self.mean and usual else 1.0
        self.now = [self.now[0], self.now[1] + arrived, self.now[2] + self.mean]
        if self.polls > 1:
            self.beyond += weight * ((arrived - usual) ** 2 - usual - self.beyond)
            self.squares += weight * (usual**2 - self.squares)
        self.mean += weight * (arrived / max(factor, FACTOR_LEAST) - self.mean)

    def _likelihood_ratio(self, arrived: int, usual: float) -> float:
        """Return the log of how much likelier a drop makes this count, negative binomial."""
        if usual <= 0:
            return 0.0
        spread = self.beyond / self.squares if self.squares else 0.0
        size = 1 / max(spread, SPREAD_LEAST)
        less = usual * DROP
        fewer = math.log(less / (size + less)) - math.log(usual / (size + usual))
        return arrived * fewer + size * (math.log1p(usual / size) - math.log1p(less / size))

    def state(self) -> dict[str, Any]:
        """Return the memory, JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the volume that remembers `state`."""
        return cls(**state)
