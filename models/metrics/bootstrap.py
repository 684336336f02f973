"""Bootstrap intervals of a metric, and of the paired difference of two models."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.base.types import AnyArray

Float64 = NDArray[np.float64]

#: Enough for the ends of a 95 % interval (Efron and Tibshirani, An Introduction to the Bootstrap,
#: 1993, section 13.3: 1000 or more).
N_RESAMPLES: Final = 2000
#: Weights per step, 8 bytes each: bounds memory to 32 MB.
_WEIGHTS_PER_STEP: Final = 4_000_000


def mean_interval(
    values: AnyArray,
    *,
    seed: int,
    clusters: AnyArray | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of per-case values.

    The bootstrap draws as many cases as there are, with replacement, ``n_resamples`` times; the
    interval holds the middle ``level`` of the means (Efron, Bootstrap Methods: Another Look at the
    Jackknife, 1979). With ``clusters`` it draws whole clusters: the cases of one user are alike,
    and drawing them singly gives an interval that is too narrow (Field and Welsh, Bootstrapping
    Clustered Data, 2007).

    Parameters
    ----------
    values : (n,) of float, one per case, such as :func:`models.metrics.ranking.values_of_ranks`
        gives
    seed : the same seed and values give the same interval
    clusters : (n,), the user of each case; None makes each case a cluster
    level : between 0 and 1

    Returns
    -------
    tuple
        Lower and upper end. With a single case or cluster both ends are its mean.

    Raises
    ------
    ValueError
        When there is no value, a value is not finite, clusters have another length, or the level or
        the number of resamples is out of range.

    Notes
    -----
    Drawing n of n cases equals giving each distinct value a multinomial number of draws. A metric
    cut at 10 has eleven values, so any number of cases costs as much as eleven, beyond one sort.
    Values that all differ cost ``n * n_resamples`` draws: some seconds for 50,000 cases.

    Examples
    --------
    >>> mean_interval(np.full(5, 0.25), seed=1)
    (0.25, 0.25)
    """
    x = _checked(values, clusters, level, n_resamples)
    means = resampled_means(x, clusters, np.random.default_rng(seed), n_resamples)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def difference_interval(
    first: AnyArray,
    second: AnyArray,
    *,
    seed: int,
    clusters: AnyArray | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of ``first - second``, case by case.

    An interval without 0 tells the two models apart. Parameters and errors as in
    :func:`mean_interval`; both arrays are (n,) in the same order of cases. The difference is paired
    because both models meet the same easy and hard cases: the intervals of the two means may
    overlap where this one is far from 0.

    Examples
    --------
    >>> difference_interval(np.array([0.5, 1.0]), np.array([0.25, 0.75]), seed=1)
    (0.25, 0.25)
    """
    if first.shape != second.shape:
        raise ValueError(f"values of shapes {first.shape} and {second.shape}: need (n,) for the same n cases")
    paired = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return mean_interval(paired, seed=seed, clusters=clusters, level=level, n_resamples=n_resamples)


def _checked(values: AnyArray, clusters: AnyArray | None, level: float, n_resamples: int) -> Float64:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"values of shape {x.shape}: need (n,) with at least one case")
    if not np.isfinite(x).all():
        raise ValueError("values: NaN or infinity has no mean; every value must be a finite number")
    if clusters is not None and clusters.shape != x.shape:
        raise ValueError(f"clusters of shape {clusters.shape} for values of shape {x.shape}: need one per case")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level}: must be between 0 and 1, such as 0.95")
    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples}: must be at least 1, and {N_RESAMPLES} for a steady interval")
    return x


def _units(x: Float64, clusters: AnyArray | None) -> tuple[Float64, Float64]:
    """Return the sum and the size of each unit of drawing, a cluster or a case: (n_units,) each."""
    if clusters is None:
        return x, np.ones_like(x)
    _, unit = np.unique(clusters, return_inverse=True)
    return np.bincount(unit, weights=x).astype(np.float64), np.bincount(unit).astype(np.float64)


def resampled_means(values: Float64, clusters: AnyArray | None, rng: np.random.Generator, n_resamples: int) -> Float64:
    """Return the means of resamples, (n_resamples,) float64; see :func:`mean_interval`."""
    sums, sizes = _units(values, clusters)
    distinct, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    per_step = max(_WEIGHTS_PER_STEP // len(counts), 1)
    means = np.empty(n_resamples)
    for start in range(0, n_resamples, per_step):
        n = min(per_step, n_resamples - start)
        weights = rng.multinomial(len(sums), counts / len(sums), size=n)  # [n, n_distinct]
        means[start : start + n] = (weights @ distinct[0]) / (weights @ distinct[1])
    return means
