"""McNemar's exact test against counts by hand and whole-number arithmetic."""

from __future__ import annotations

import doctest
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from models.metrics import mcnemar as module
from models.metrics.mcnemar import mcnemar


def test_docstring_examples_hold() -> None:
    """The worked example beside the formula is right."""
    assert doctest.testmod(module) == (0, 1)


def test_mcnemar_by_hand() -> None:
    """Five and one cases of one model only: 2 * (C(6,0) + C(6,1)) / 2^6 = 14 / 64."""
    first = np.array([1] * 5 + [0] + [1, 0, 0])
    second = np.array([0] * 5 + [1] + [1, 0, 0])
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (5, 1)
    assert found.p_value == pytest.approx(14 / 64)
    assert mcnemar(second, first).p_value == found.p_value


def test_mcnemar_of_many_cases() -> None:
    """Beyond the range of floats the p-value equals whole-number arithmetic."""
    n, fewer = 3000, 1440
    exact = 2 * Fraction(sum(math.comb(n, i) for i in range(fewer + 1)), 2**n)
    first = np.arange(n) >= fewer
    assert mcnemar(first, ~first).p_value == pytest.approx(float(exact), rel=1e-9)


def test_mcnemar_of_equal_models() -> None:
    """Models that never differ, or differ equally often, are not told apart."""
    hits = np.array([True, False])
    assert mcnemar(hits, hits) == (0, 0, 1.0)
    assert mcnemar(hits, ~hits) == (1, 1, 1.0)


@pytest.mark.parametrize("second", [np.array([1]), np.array([1.0, 0.63])], ids=["length", "not hits"])
def test_mcnemar_refuses(second: Any) -> None:
    """Arrays of other lengths, or values of NDCG, are an error."""
    with pytest.raises(ValueError, match="hits"):
        mcnemar(np.array([1, 0]), second)
