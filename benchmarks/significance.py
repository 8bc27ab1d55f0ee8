"""Is a difference more than chance? Ranks, Friedman, Nemenyi, and paired Wilcoxon with Holm.

After Demšar, "Statistical comparisons of classifiers over multiple data sets" (JMLR 7, 2006).
Rows are blocks (such as streams), columns are policies, and less is better. A test that has too
few blocks to find anything gives None.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LEVEL = 0.05
"""How rare chance must be, for a difference to be called significant."""
BLOCKS_MIN = 5
"""Fewer blocks are too few for the ranks' tests."""
DIGITS = 12
"""Values are compared after rounding: sums in another order must not break a tie."""

Table = npt.NDArray[np.float64]


def average_ranks(table: Table) -> list[float]:
    """Return each column's mean rank; 1 is the least, and ties share their ranks.

    >>> average_ranks(np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 3.0]]))
    [1.0, 2.25, 2.75]
    """
    from scipy.stats import rankdata

    return [float(rank) for rank in rankdata(np.round(table, DIGITS), axis=1).mean(axis=0)]


def friedman(table: Table) -> float | None:
    """Return how likely chance alone makes ranks that differ as much, by Friedman's test.

    >>> round(friedman(np.array([[1.0, 2.0, 3.0]] * 5)), 4)
    0.0067
    >>> friedman(np.array([[1.0, 2.0, 3.0]] * 4)) is None
    True
    """
    from scipy.stats import friedmanchisquare

    blocks, policies = table.shape
    if blocks < BLOCKS_MIN or policies < 3:
        return None
    rounded = np.round(table, DIGITS)
    if (rounded == rounded[:, :1]).all():
        return 1.0
    return float(friedmanchisquare(*rounded.T).pvalue)


def critical_difference(policies: int, blocks: int) -> float | None:
    """Return by how much two average ranks must differ to be told apart, by Nemenyi's test.

    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    from scipy.stats import studentized_range

    if blocks < BLOCKS_MIN or policies < 2:
        return None
    quantile = float(studentized_range.ppf(1 - LEVEL, policies, np.inf)) / 2**0.5
    return float(quantile * (policies * (policies + 1) / (6 * blocks)) ** 0.5)


def alike(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Return (first, last) of each largest group of ascending ranks that cannot be told apart.

    >>> alike([1.0, 1.5, 2.2, 4.0], 1.25)
    [(0, 2)]
    """
    groups: list[tuple[int, int]] = []
    for first, low in enumerate(ranks):
        last = max(i for i, rank in enumerate(ranks) if rank - low <= difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's step-down method.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(chances), 0.0
    for done, place in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - done)))
        corrected[place] = highest
    return corrected


def against(table: Table, best: int) -> list[float | None]:
    """Return for each column how likely chance alone sets it as far apart from the best one.

    Two-sided Wilcoxon signed-rank tests with Holm's correction. If not even a difference of the
    same sign in all blocks would be significant, there are too few blocks to tell: None.

    >>> against(np.array([[1.0, 2.0 + i] for i in range(6)]), 0)
    [None, 0.03125]
    >>> against(np.array([[1.0, 2.0 + i] for i in range(5)]), 0)
    [None, None]
    """
    from scipy.stats import wilcoxon

    blocks, policies = table.shape
    found: list[float | None] = [None] * policies
    rivals = [column for column in range(policies) if column != best]
    if not rivals or len(rivals) * 2.0 ** (1 - blocks) >= LEVEL:
        return found
    chances = []
    for rival in rivals:
        apart = np.round(table[:, rival] - table[:, best], DIGITS)
        same = not apart.any()
        chances.append(1.0 if same else float(wilcoxon(apart, zero_method="zsplit").pvalue))
    for rival, chance in zip(rivals, holm(chances), strict=True):
        found[rival] = chance
    return found
