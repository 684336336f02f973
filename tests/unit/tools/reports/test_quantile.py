"""Percentiles."""

from __future__ import annotations

import pytest

from tools.reports.quantile import quantile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([7.0], 99, 7.0), ([0.0, 10.0], 50, 5.0), ([float(i) for i in range(101)], 99, 99.0)],
)
def test_quantiles(values: list[float], percent: int, expected: float | None) -> None:
    """Percentiles of few and of many values, also of none."""
    assert quantile(values, percent) == expected
