"""How good lists are for users with several relevant items, from scores of the whole catalogue."""

from __future__ import annotations

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.metrics.ranking import check_k


def list_metrics(scores: Float32, relevant: Bool, k: int = 10) -> dict[str, float]:
    """Return the means over users of hit rate, NDCG and recall at ``k``.

    ``HR@k = [any of the first k is relevant]``; ``NDCG@k = DCG / ideal DCG`` with gain 1 and
    discount ``1 / log2(1 + rank)`` (Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR
    Techniques, 2002); ``recall@k = |first k and relevant| / |relevant|``. Users without a relevant
    item do not count; without any user all values are 0. Of equal scores the lower row comes first.

    Parameters
    ----------
    scores : (n, n_items) float32, ``-inf`` for an item that must not be listed
    relevant : (n, n_items) bool

    Raises
    ------
    ValueError
        When shapes differ, a score is NaN, or ``k`` is below 1.

    Examples
    --------
    >>> scores, relevant = np.array([[3.0, 2.0, 1.0]]), np.array([[False, True, True]])
    >>> found = list_metrics(scores.astype(np.float32), relevant, k=2)
    >>> found["hr@2"], found["recall@2"], round(found["ndcg@2"], 4)
    (1.0, 0.5, 0.3869)
    """
    check_k(k)
    if scores.shape != relevant.shape:
        raise ValueError(f"scores of shape {scores.shape}, relevant of shape {relevant.shape}: must be equal")
    if np.isnan(scores).any():
        raise ValueError("scores: NaN has no rank; every score must be a number")
    is_asked = relevant.any(axis=1)
    if not is_asked.any():
        return {f"hr@{k}": 0.0, f"ndcg@{k}": 0.0, f"recall@{k}": 0.0}
    truth = relevant[is_asked]
    best = top_rows(scores[is_asked], k)
    hits = np.take_along_axis(truth, best, axis=1)  # [n, k]
    discounts = 1.0 / np.log2(np.arange(2, best.shape[1] + 2))
    n_relevant = truth.sum(axis=1)
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(n_relevant, best.shape[1])]
    return {
        f"hr@{k}": float(hits.any(axis=1).mean()),
        f"ndcg@{k}": float((hits @ discounts / ideal).mean()),
        f"recall@{k}": float((hits.sum(axis=1) / n_relevant).mean()),
    }


def ndcg_of_users(scores: Float32, relevant: Bool, k: int = 10) -> Float32:
    """Return the NDCG at ``k`` of each user, (n,) float32, as :func:`list_metrics` means it.

    Parameters
    ----------
    scores, relevant : as there; each user has a relevant item
    """
    best = top_rows(scores, k)
    hits = np.take_along_axis(relevant, best, axis=1)
    discounts = 1.0 / np.log2(np.arange(2, best.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(relevant.sum(axis=1), best.shape[1])]
    found: Float32 = (hits @ discounts / ideal).astype(np.float32)
    return found


def top_rows(scores: Float32, k: int) -> Int64:
    """Return the rows of each user's best ``k`` items, best first; of equals the lower row first.

    Returns
    -------
    (n, min(k, n_items)) int64
    """
    n_items = scores.shape[1]
    if k >= n_items:
        return np.argsort(-scores, axis=1, kind="stable").astype(np.int64)
    worst_listed = np.partition(scores, n_items - k, axis=1)[:, n_items - k, None]
    best = np.empty((len(scores), k), dtype=np.int64)
    for row, (values, least) in enumerate(zip(scores, worst_listed, strict=True)):
        # rows rise, so a stable sort breaks ties by row
        candidates = np.flatnonzero(values >= least)
        best[row] = candidates[np.argsort(-values[candidates], kind="stable")[:k]]
    return best
