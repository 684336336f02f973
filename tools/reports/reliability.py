"""The bins of a reliability curve.

They are merged until each has enough cases for its share to mean much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

#: A bin has at least this many cases, and at least this share of all cases.
LEAST_CASES: Final = 100
LEAST_SHARE: Final = 0.005
#: The standard normal value of a two-sided 95 % interval.
Z: Final = 1.96


class Bin(NamedTuple):
    """A bin: its mean predicted probability, its observed share, its interval, and its cases."""

    mean: float
    share: float
    low: float
    high: float
    cases: float


def merged_bins(rows: Sequence[tuple[float, float, float]]) -> list[Bin]:
    """Return bins by rising probability, in which neighbours with too few cases are merged.

    The share of a bin with a few cases leaps by chance, and a curve through it misleads.

    Parameters
    ----------
    rows : mean predicted probability, observed share and count of each bin, by rising probability
    """
    least = max(float(LEAST_CASES), LEAST_SHARE * sum(count for _, _, count in rows))
    groups: list[list[tuple[float, float, float]]] = [[]]
    for row in rows:
        if groups[-1] and _count(groups[-1]) >= least:
            groups.append([])
        groups[-1].append(row)
    if len(groups) > 1 and _count(groups[-1]) < least:
        rest = groups.pop()
        groups[-1] += rest
    return [_merged(group) for group in groups if _count(group) > 0]


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``count`` cases.

    References
    ----------
    Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    """
    scale = 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / scale
    half = Z / scale * math.sqrt(max(0.0, share * (1 - share)) / count + Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _count(group: Sequence[tuple[float, float, float]]) -> float:
    return sum(count for _, _, count in group)


def _merged(group: Sequence[tuple[float, float, float]]) -> Bin:
    count = _count(group)
    mean = sum(mean * n for mean, _, n in group) / count
    share = sum(share * n for _, share, n in group) / count
    return Bin(mean, share, *wilson(share, count), count)
