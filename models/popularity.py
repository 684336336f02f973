"""Popularity, decayed by event time: counts alone, and live counts beside a prior of history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.base.experts import POPULAR_OFFSET
from models.base.types import Float32, Float64, Int64

#: Interest in an item halves in a week: long enough to be stable, short enough to follow a season.
HALF_LIFE_MS: Final = 7 * 86_400_000
#: Weights are kept relative to a reference time. It moves before 2 ** 256 comes near the end of
#: float64.
MAX_EXPONENT: Final = 256.0
#: The last place of a list that history protects, and the fewest fresh events that it weighs there:
#: four users alone do not bring in an item unknown to history. More would keep out items that are
#: popular now: decision 0014.
DEFENDED_PLACE: Final = 10
DEFENDED_EVENTS: Final = 5.0
#: History always weighs at least this many events in total.
MIN_PRIOR_EVENTS: Final = 50.0
#: A weight that remains after a removal is rounding if it is below this share of the removed
#: weight.
ROUNDING: Final = 1e-9
#: Scores lie within 2 ** -100 and 2 ** 100, which float32 holds, for every time; their ratios stay
#: exact.
MAX_SCORE_EXPONENT: Final = 100.0


class DecayedCounts:
    """Counts of interactions per item that halve every ``half_life_ms`` of event time.

    An event of age ``a`` weighs ``2 ** (-a / half_life_ms)``. Adding is O(1), and the order of
    events does not matter.

    Parameters
    ----------
    counts : counts to start from, as of ``at_ms``; copied
    """

    def __init__(
        self, counts: Mapping[str, float] | None = None, at_ms: int = 0, half_life_ms: int = HALF_LIFE_MS
    ) -> None:
        self._half_life_ms = half_life_ms
        self._reference_ms = at_ms
        self._weights: dict[str, float] = dict(counts or {})
        self._touched: set[str] = set()
        self.n_moves = 0  # how often all weights were scaled

    def take_touched(self) -> set[str]:
        """Return the items whose weights may have changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def counted(self) -> set[str]:
        """Return all items whose weight is not 0."""
        return set(self._weights)

    def add(self, item_id: str, ts_ms: int, weight: float = 1.0) -> None:
        """Count one interaction at event time ``ts_ms``."""
        if (ts_ms - self._reference_ms) / self._half_life_ms > MAX_EXPONENT:
            self._move_reference(ts_ms)
        self._weights[item_id] = self._weights.get(item_id, 0.0) + self._weight(ts_ms) * weight
        self._touched.add(item_id)

    def remove(self, item_id: str, ts_ms: int, weight: float = 1.0) -> None:
        """Undo :meth:`add` of one interaction."""
        self._take(item_id, self._weight(ts_ms) * weight)

    def remove_all(
        self, item_ids: Sequence[str], rows: Int64, ts_ms: Int64, weights: Sequence[float] | None = None
    ) -> None:
        """Undo :meth:`add` of many interactions.

        Parameters
        ----------
        rows : (n,) int64, rows of ``item_ids``
        ts_ms : (n,) int64, event times
        weights : of the interactions of each row; None means 1
        """
        exponents = np.clip((ts_ms - self._reference_ms) / self._half_life_ms, -1_000.0, MAX_EXPONENT)
        sums = np.bincount(rows, weights=np.exp2(exponents), minlength=len(item_ids))
        if weights is not None:
            sums *= np.array(weights, dtype=np.float64)
        for row in np.flatnonzero(sums).tolist():
            self._take(item_ids[row], float(sums[row]))

    def scores(self, item_ids: Sequence[str], now_ms: int) -> Float32:
        """Return the decayed count of each item as of ``now_ms``; 0 for items never counted.

        Returns
        -------
        (n,) float32 Finite at any time, with exact ratios: all counts are scaled so that the
            greatest stays within 2 to the power of :data:`MAX_SCORE_EXPONENT`.
        """
        return self.scores_of(self.weights(item_ids), now_ms)

    def weights(self, item_ids: Sequence[str]) -> Float64:
        """Return the weights of items relative to the reference time, (n,) float64."""
        get = self._weights.get
        return np.fromiter((get(i, 0.0) for i in item_ids), np.float64, len(item_ids))

    def scores_of(self, weights: Float64, now_ms: int) -> Float32:
        """Return what :meth:`scores` returns, from :meth:`weights`."""
        peak = float(weights.max(initial=0.0))
        if peak <= 0.0:
            return np.zeros(len(weights), dtype=np.float32)
        # of the greatest score
        exponent = (self._reference_ms - now_ms) / self._half_life_ms + math.log2(peak)
        greatest = 2.0 ** min(max(exponent, -MAX_SCORE_EXPONENT), MAX_SCORE_EXPONENT)
        decayed: Float32 = (weights / peak * greatest).astype(np.float32)
        return decayed

    def _weight(self, ts_ms: int) -> float:
        return math.exp2(max((ts_ms - self._reference_ms) / self._half_life_ms, -1_000.0))

    def _take(self, item_id: str, weight: float) -> None:
        left = self._weights.get(item_id, 0.0) - weight
        self._touched.add(item_id)
        if left > ROUNDING * weight:
            self._weights[item_id] = left
        else:
            self._weights.pop(item_id, None)

    def _move_reference(self, ts_ms: int) -> None:
        scale = 2.0 ** max((self._reference_ms - ts_ms) / self._half_life_ms, -1_000.0)
        self._weights = {item_id: weight * scale for item_id, weight in self._weights.items() if weight * scale > 0.0}
        self._reference_ms = ts_ms
        self.n_moves += 1


class CountsWithPrior:
    """Live decayed counts beside counts of history, which are a prior that does not vanish.

    The score of an item is ``m * share + count``: its share of history, as of the end of history,
    and its live decayed count. Up to a factor this is the posterior mean of its probability under a
    Dirichlet prior of ``m`` events (Zhai and Lafferty, A Study of Smoothing Methods for Language
    Models Applied to Ad Hoc Information Retrieval, 2001). ``m`` is the present weight of history's
    events, which halve like all others, but it has a lower bound so that a few users cannot undo
    history: at least :data:`MIN_PRIOR_EVENTS`, and enough that the item in place
    :data:`DEFENDED_PLACE` weighs :data:`DEFENDED_EVENTS`.

    Parameters
    ----------
    history : decayed counts as of ``at_ms``
    """

    def __init__(self, history: Mapping[str, float], at_ms: int, half_life_ms: int = HALF_LIFE_MS) -> None:
        self._n_events = float(sum(history.values()))
        self._shares = {item_id: count / self._n_events for item_id, count in history.items() if count > 0}
        self._at_ms = at_ms
        self._half_life_ms = half_life_ms
        self._least = _least_prior(self._shares)
        self.live = DecayedCounts(at_ms=at_ms, half_life_ms=half_life_ms)

    def add(self, item_id: str, ts_ms: int, weight: float = 1.0) -> None:
        """Count one live interaction at event time ``ts_ms``."""
        self.live.add(item_id, ts_ms, weight)

    def remove(self, item_id: str, ts_ms: int, weight: float = 1.0) -> None:
        """Undo :meth:`add` of one live interaction."""
        self.live.remove(item_id, ts_ms, weight)

    def remove_all(
        self, item_ids: Sequence[str], rows: Int64, ts_ms: Int64, weights: Sequence[float] | None = None
    ) -> None:
        """Undo :meth:`add` of many live interactions, see :meth:`DecayedCounts.remove_all`."""
        self.live.remove_all(item_ids, rows, ts_ms, weights)

    def prior_events(self, now_ms: int) -> float:
        """Return how many events as of ``now_ms`` history weighs, ``m``."""
        age = max(now_ms - self._at_ms, 0) / self._half_life_ms
        return max(self._n_events * math.exp2(-min(age, 1_000.0)), self._least)

    def scores(self, item_ids: Sequence[str], now_ms: int) -> Float32:
        """Return each item's score as of ``now_ms``, (n,) float32.

        0 for an item without any event, in history or live.
        """
        return self.scores_of(self.shares(item_ids), self.live.weights(item_ids), now_ms)

    def shares(self, item_ids: Sequence[str]) -> Float64:
        """Return each item's share of history, (n,) float64."""
        get = self._shares.get
        return np.fromiter((get(i, 0.0) for i in item_ids), np.float64, len(item_ids))

    def scores_of(self, shares: Float64, weights: Float64, now_ms: int) -> Float32:
        """Return what :meth:`scores` returns, from shares of history and weights of live counts."""
        total: Float32 = (self.prior_events(now_ms) * shares + self.live.scores_of(weights, now_ms)).astype(np.float32)
        return total


def _least_prior(shares: Mapping[str, float]) -> float:
    if not shares:
        return MIN_PRIOR_EVENTS
    top = sorted(shares.values(), reverse=True)[:DEFENDED_PLACE]
    # A history with very few items has no tenth one to protect: the mean share bounds the prior.
    return max(MIN_PRIOR_EVENTS, DEFENDED_EVENTS / max(top[-1], 1 / len(shares)))


def log_share(scores: Float32) -> Float32:
    """Return popularity as a feature: logarithm of an item's share relative to the mean share.

    The feature does not depend on the number of counted events, so a shard of the traffic gives
    about the same values as all of it. Items never counted get a fixed low value; without any count
    all values are 0.

    Parameters
    ----------
    scores : (n,) float32, counts of any scale

    Returns
    -------
    (n,) float32
    """
    mean = float(scores.mean()) if scores.size else 0.0
    if mean <= 0.0:
        return np.zeros_like(scores)
    shares: Float32 = np.log(scores / mean + POPULAR_OFFSET).astype(np.float32)
    return shares
