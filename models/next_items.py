"""Next-item counts: what users did after an item, within a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.interactions import Interactions, timeline
from models.types import Float32, Int64

#: Followers kept of an item.
N_FOLLOWERS: Final = 100


@dataclass(frozen=True)
class Followers:
    """The strongest followers of each item.

    Parameters
    ----------
    rows : (n_items, m) int64, 0 where the weight is 0
    weights : (n_items, m) float32, descending; an item's weights sum to at most 1
    """

    rows: Int64
    weights: Float32


def count_followers(log: Interactions, n_items: int, reach: int, n_followers: int = N_FOLLOWERS) -> Followers:
    """Count which items follow which within ``reach`` steps of one user, a follower ``d`` steps on with weight ``1 / d``.

    With ``reach=1`` these are the transition shares of a first-order Markov chain. A larger reach forgives that events of one
    second have no order.
    """
    line = timeline(log)
    sources, targets, weights = [], [], []
    for step in range(1, reach + 1):
        later = np.arange(step, len(log))
        later = later[line.starts[later] <= later - step]  # the same user's
        sources.append(log.items[line.order[later - step]])
        targets.append(log.items[line.order[later]])
        weights.append(np.full(len(later), 1.0 / step))
    source, target, weight = np.concatenate(sources), np.concatenate(targets), np.concatenate(weights)
    keys, place = np.unique(source * n_items + target, return_inverse=True)
    sums = np.bincount(place, weights=weight, minlength=len(keys))
    return _strongest(keys // n_items, keys % n_items, sums, n_items, n_followers)


def _strongest(source: Int64, target: Int64, sums: Float32, n_items: int, n_followers: int) -> Followers:
    totals = np.bincount(source, weights=sums, minlength=n_items)
    order = np.lexsort((target, -sums, source))
    source, target, sums = source[order], target[order], sums[order]
    rank = np.arange(len(source)) - np.searchsorted(source, source, side="left")
    is_kept = rank < n_followers
    rows = np.zeros((n_items, n_followers), dtype=np.int64)
    weights = np.zeros((n_items, n_followers), dtype=np.float32)
    rows[source[is_kept], rank[is_kept]] = target[is_kept]
    weights[source[is_kept], rank[is_kept]] = (sums[is_kept] / totals[source[is_kept]]).astype(np.float32)
    return Followers(rows, weights)


def follower_scores(
    followers: Followers, recent: Int64, recent_weights: Float32, n_rows: int
) -> tuple[Float32, Int64, Float32]:
    """Return each user's next-item scores: over all rows, and as candidates.

    Parameters
    ----------
    recent : (n, l) int64, rows of the newest items; an item without followers has weight 0
    recent_weights : (n, l) float32
    n_rows : rows of the catalogue

    Returns
    -------
    (n, n_rows) float32 scores; (n, l * m) int64 candidate rows, repeats included, and (n, l * m) float32 their scores
    """
    n, length = recent.shape
    rows = followers.rows[recent].reshape(n, -1)  # [n, l * m]
    weights = (followers.weights[recent] * recent_weights[..., None]).reshape(n, -1)
    flat = (rows + np.arange(n)[:, None] * n_rows).ravel()
    dense = np.bincount(flat, weights=weights.ravel(), minlength=n * n_rows).astype(np.float32).reshape(n, n_rows)
    return dense, rows, np.take_along_axis(dense, rows, axis=1)
