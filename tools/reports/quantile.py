"""A percentile of measured values."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def quantile(values: Sequence[float], percent: int) -> float | None:
    """Return a percentile, or None without values."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
