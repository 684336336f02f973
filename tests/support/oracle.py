"""The oracle's answer for a whole log at once."""

from __future__ import annotations

from collections.abc import Iterable

from streams.contract.kafka_records import ConsumedRecord
from streams.settings.record_limits import WindowBounds
from tools.oracle.expected import Truth, WindowOracle


def windows_of(records: Iterable[ConsumedRecord], bounds: WindowBounds, *, max_future_skew_ms: int) -> Truth:
    """Return what the records of ``events`` must lead to, each partition's in offset order."""
    oracle = WindowOracle(bounds, max_future_skew_ms=max_future_skew_ms)
    for record in records:
        oracle.add(record)
    return oracle.truth()
