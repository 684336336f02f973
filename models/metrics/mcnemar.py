"""McNemar's test: do two models that answered the same cases hit equally often?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from models.base.types import AnyArray


class McNemar(NamedTuple):
    """How many cases only one of two models hit, and how likely equal models differ by as much."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: AnyArray, second: AnyArray) -> McNemar:
    """Return McNemar's exact test of two models' hits on the same cases.

    Cases on which both models agree say nothing. Of the ``n = b + c`` other cases, each model hits
    half if the models are equal: ``p = min(1, 2 * sum over i <= min(b, c) of C(n, i) / 2^n)``.
    The test takes the cases as independent. Where a user has several cases, take
    :func:`models.metrics.bootstrap.difference_interval` with clusters instead.

    Parameters
    ----------
    first, second : (n,) of bool or of 0 and 1, in the same order of cases

    Returns
    -------
    McNemar
        ``b`` and ``c``, and the two-sided p-value; 1 where the models never differ.

    Raises
    ------
    ValueError
        When the shapes differ or a value is neither 0 nor 1.

    References
    ----------
    McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions or
    Percentages, 1947; here in the exact binomial form, not its chi-square approximation.

    Examples
    --------
    >>> mcnemar(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 0])).p_value
    0.25
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"hits of shapes {first.shape} and {second.shape}: need (n,) for the same n cases")
    for name, hits in (("first", first), ("second", second)):
        if not np.isin(hits, (0, 1)).all():
            raise ValueError(f"{name}: hits must be 0 or 1; give values of hr@k, not of another metric")
    b, c = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    return McNemar(b, c, float(binomtest(b, b + c).pvalue) if b + c else 1.0)
