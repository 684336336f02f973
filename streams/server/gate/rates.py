"""How many requests a caller may send in a second: a token bucket for each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: Callers who are remembered; the bucket of one who was forgotten is full again.
MAX_CALLERS: Final = 10_000


class Rates:
    """Counts requests. For one thread.

    Parameters
    ----------
    per_s : requests in a second; a caller may send so many at once
    clock : seconds
    """

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: dict[str, list[float]] = {}  # tokens left, and when that was

    def wait_s(self, caller: str) -> float:
        """Take one token, and return 0; or take none, and return the seconds until there is one."""
        now_s = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= MAX_CALLERS:
                self._buckets.clear()
            bucket = self._buckets[caller] = [float(self._per_s), now_s]
        tokens = min(self._per_s, bucket[0] + (now_s - bucket[1]) * self._per_s)
        bucket[1] = now_s
        if tokens < 1:
            bucket[0] = tokens
            return (1 - tokens) / self._per_s
        bucket[0] = tokens - 1
        return 0.0
