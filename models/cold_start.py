"""What to show when there is no history: popularity, decayed by event time.

A new item needs nothing from here: its text vector makes it retrievable at once (``models.recommend.build_catalogue``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from models.types import Float32

#: Interest in an item halves in a week: long enough to be stable, short enough to follow a season.
HALF_LIFE_MS: Final = 7 * 86_400_000
#: Weights are kept relative to a reference time, which moves on before 2 ** 256 is near the end of float64.
MAX_EXPONENT: Final = 256.0
#: Scores lie within 2 ** -100 and 2 ** 100, which float32 holds, whatever time they are asked for; their ratios are kept.
MAX_SCORE_EXPONENT: Final = 100.0


class DecayedCounts:
    """Counts of interactions per item that halve every ``half_life_ms`` of event time.

    The weight of an event of age ``a`` is ``2 ** (-a / half_life_ms)``. Adding is O(1) and order does not matter.
    """

    def __init__(
        self, counts: Mapping[str, float] | None = None, at_ms: int = 0, half_life_ms: int = HALF_LIFE_MS
    ) -> None:
        self._half_life_ms = half_life_ms
        self._reference_ms = at_ms
        self._weights: dict[str, float] = dict(counts or {})

    def add(self, item_id: str, ts_ms: int) -> None:
        """Count one interaction at event time ``ts_ms``."""
        exponent = (ts_ms - self._reference_ms) / self._half_life_ms
        if exponent > MAX_EXPONENT:
            self._move_reference(ts_ms)
            exponent = 0.0
        self._weights[item_id] = self._weights.get(item_id, 0.0) + 2.0 ** max(exponent, -1_000.0)

    def add_all(self, interactions: Iterable[tuple[str, int]]) -> None:
        """Count many interactions, each ``(item_id, ts_ms)``."""
        for item_id, ts_ms in interactions:
            self.add(item_id, ts_ms)

    def scores(self, item_ids: Sequence[str], now_ms: int) -> Float32:
        """Return the decayed count of each item as of ``now_ms``, (n,) float32; 0 for items never counted."""
        get = self._weights.get
        weights = np.fromiter((get(i, 0.0) for i in item_ids), np.float64, len(item_ids))
        peak = float(weights.max(initial=0.0))
        if peak <= 0.0:
            return np.zeros(len(item_ids), dtype=np.float32)
        exponent = (self._reference_ms - now_ms) / self._half_life_ms + math.log2(peak)  # of the greatest score
        greatest = 2.0 ** min(max(exponent, -MAX_SCORE_EXPONENT), MAX_SCORE_EXPONENT)
        decayed: Float32 = (weights / peak * greatest).astype(np.float32)
        return decayed

    def _move_reference(self, ts_ms: int) -> None:
        scale = 2.0 ** max((self._reference_ms - ts_ms) / self._half_life_ms, -1_000.0)
        self._weights = {item_id: weight * scale for item_id, weight in self._weights.items() if weight * scale > 0.0}
        self._reference_ms = ts_ms


def log_share(scores: Float32) -> Float32:
    """Return popularity as a feature: log of an item's share relative to the mean share, (n,) float32.

    Independent of how many events were counted, so that a shard of the traffic gives about the same values as all of it.
    Items never counted get a fixed low value.
    """
    mean = float(scores.mean()) if scores.size else 0.0
    if mean <= 0.0:
        return np.zeros_like(scores)
    shares: Float32 = np.log(scores / mean + 0.05).astype(np.float32)
    return shares
