"""The popularity of each row of a snapshot, and the most popular rows that lists may show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.popularity import log_share
from models.ranking.catalogue.parts import take
from models.ranking.catalogue.rows import Rows

#: The most popular rows that are kept in order; no user has had as many.
N_POPULAR_ROWS: Final = 10_000
#: Where rules leave fewer of these, the most popular of all rows that they allow are looked up.
MIN_TOP: Final = 1_000
#: Up to this many rows each snapshot computes all values again, in a millisecond; beyond, only
#: those of the new rows, until new counts come.
ALL_AGAIN: Final = 50_000


@dataclass(frozen=True, eq=False)
class Popularity:
    """Popularity by row; entries from ``n`` on are not filled in yet.

    Parameters
    ----------
    scores : (capacity,) float32, recent counts of any scale
    recent, in_training : (capacity,) float32, log shares relative to the mean of the shown items
    shares : (capacity,) float32, each item's share of the recent counts of the shown items
    top : (at most N_POPULAR_ROWS,) int64, shown rows by falling score, ties by row
    is_shown : (n,) bool, of the snapshot that this was made for
    least : (3,) float32, the least values of ``recent``, ``in_training`` and ``shares``
    """

    scores: Float32
    recent: Float32
    in_training: Float32
    shares: Float32
    top: Int64
    is_shown: Bool
    least: Float32

    @classmethod
    def of(cls, rows: Rows, is_shown: Bool, scores: Float32, trained_counts: Float32) -> Popularity:
        """Return the popularity of a snapshot.

        Parameters
        ----------
        is_shown : (n,) bool
        scores : (n,) float32
        trained_counts : by the artifact's rows
        """
        n, capacity = len(is_shown), max(rows.capacity, len(is_shown))
        total = float(scores[is_shown].sum(dtype=np.float64))
        counts = take(trained_counts, rows.arrays["trained"][:n])
        shares = scores / np.float32(max(total, 1e-30))
        recent, in_training = _log_shares(scores, is_shown), _log_shares(counts, is_shown)
        return cls(
            _roomy(scores, capacity),
            _roomy(recent, capacity),
            _roomy(in_training, capacity),
            _roomy(shares, capacity),
            _ordered(np.flatnonzero(is_shown), scores),
            is_shown,
            np.array([values.min(initial=np.inf) for values in (recent, in_training, shares)], dtype=np.float32),
        )

    def extended(self, rows: Rows, is_shown: Bool, trained_counts: Float32, recent_counts: Float32) -> Popularity:
        """Return the popularity of a later snapshot of the same rows.

        A new version of an item keeps the item's score. A trained item that comes new has the score
        of its recent count; any other new item has none.

        Parameters
        ----------
        is_shown : (n,) bool
        recent_counts : by the artifact's rows
        """
        before, n = len(self.is_shown), len(is_shown)
        new = np.arange(before, n)
        earlier = rows.as_of(rows.previous[new], before)
        own = take(recent_counts, rows.arrays["trained"][new])
        scores = np.where(earlier >= 0, self.scores[earlier], own)
        if n <= ALL_AGAIN or n > len(self.scores):
            all_scores = np.concatenate([self.scores[:before], scores])
            return Popularity.of(rows, is_shown, all_scores, trained_counts)
        # no reader of an earlier snapshot looks at these entries
        self.scores[new] = scores
        for array, least in zip((self.recent, self.in_training, self.shares), self.least, strict=True):
            array[new] = np.where(earlier >= 0, array[earlier], least)
        came = np.flatnonzero(is_shown[:before] & ~self.is_shown)
        top = np.concatenate([self.top[is_shown[self.top]], came, new[is_shown[new]]])
        return replace(self, top=_ordered(np.unique(top), self.scores), is_shown=is_shown)

    def narrowed(self, is_shown: Bool) -> Popularity:
        """Return the same numbers, with only these rows among the most popular.

        Numbers stay relative to all items of the catalogue, so that no item's score changes.

        Parameters
        ----------
        is_shown : (n,) bool, some of the shown rows
        """
        top = self.top[is_shown[self.top]]
        if len(top) < MIN_TOP and len(self.top) < np.count_nonzero(self.is_shown):
            top = _ordered(np.flatnonzero(is_shown), self.scores)
        return replace(self, top=top)


def _roomy(values: Float32, capacity: int) -> Float32:
    array = np.zeros(capacity, dtype=np.float32)
    array[: len(values)] = values
    return array


def _log_shares(scores: Float32, is_shown: Bool) -> Float32:
    """Return the log shares of all rows relative to the mean of the shown ones, (n,) float32."""
    if is_shown.all():
        return log_share(scores)
    mean = float(scores[is_shown].mean()) if is_shown.any() else 0.0
    if mean <= 0.0:
        return np.zeros_like(scores)
    shares: Float32 = np.log(scores / mean + 0.05).astype(np.float32)
    return shares


def _ordered(rows: Int64, scores: Float32) -> Int64:
    """Return the most popular of some rows, by falling score.

    Parameters
    ----------
    rows : (m,) int64, rising
    """
    if len(rows) > N_POPULAR_ROWS:
        rows = np.sort(rows[np.argpartition(-scores[rows], N_POPULAR_ROWS - 1)[:N_POPULAR_ROWS]])
    return rows[np.argsort(-scores[rows], kind="stable")]
