"""How good ranked lists are: accuracy by the target's rank, coverage, novelty and diversity.

Every metric ranks the whole catalogue. Metrics over sampled candidates change the order of models
(Krichene and Rendle, On Sampled Metrics for Item Recommendation, 2020), so nothing here samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.base.types import AnyArray, Int64

#: Lists per step of :func:`intra_list_diversity`: bounds the gathered vectors of one step to some
#: tens of megabytes.
_LISTS_PER_STEP: Final = 2048

#: A rank past every cut-off: the target is not in the list.
MISSED: Final = 1_000_000


def check_k(k: int) -> int:
    """Return ``k``; raise ValueError where it is below 1."""
    if k < 1:
        raise ValueError(f"k={k}: must be at least 1")
    return k


def _rank_in(ranked: Sequence[str], target: str, k: int) -> int | None:
    """Return the rank of the target among the first ``k``, from 1, or None."""
    top = ranked[: check_k(k)]
    return top.index(target) + 1 if target in top else None


def hit_at_k(ranked: Sequence[str], target: str, k: int) -> float:
    """Return 1 if the target is among the first ``k`` of a list, else 0.

    ``HR@k = [rank <= k]`` (Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms,
    2004).

    Parameters
    ----------
    ranked : item ids, best first
    k : cut-off, at least 1

    Examples
    --------
    >>> hit_at_k(["a", "b", "c"], "b", 2), hit_at_k(["a", "b", "c"], "c", 2)
    (1.0, 0.0)
    """
    return 0.0 if _rank_in(ranked, target, k) is None else 1.0


def ndcg_at_k(ranked: Sequence[str], target: str, k: int) -> float:
    """Return the normalised discounted cumulative gain of a list with one relevant item.

    ``NDCG@k = 1 / log2(1 + rank)`` for ``rank <= k``, else 0; the ideal list has gain 1 (Järvelin
    and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, 2002).

    Parameters
    ----------
    ranked : item ids, best first
    k : cut-off, at least 1

    Examples
    --------
    >>> ndcg_at_k(["a", "b", "c"], "a", 2), round(ndcg_at_k(["a", "b", "c"], "b", 2), 4)
    (1.0, 0.6309)
    """
    rank = _rank_in(ranked, target, k)
    return 0.0 if rank is None else 1.0 / math.log2(1 + rank)


def coverage(lists: Sequence[Sequence[str]], n_items: int) -> float:
    """Return the share of the catalogue that any list shows; 0 for an empty catalogue.

    ``|union of lists| / n_items`` (Ge, Delgado-Battenfeld and Jannach, Beyond Accuracy, 2010).

    Examples
    --------
    >>> coverage([["a", "b"], ["b", "c"]], 6)
    0.5
    """
    return len(set().union(*lists)) / n_items if n_items > 0 else 0.0


def novelty(lists: Sequence[Sequence[str]], item_counts: Mapping[str, float]) -> float:
    """Return the mean self-information of the listed items, in bits; 0 where nothing is listed.

    ``mean of -log2(p(i))`` over all entries of all lists, with ``p(i) = (count(i) + 1) / (sum of
    counts + number of items)`` (Zhou et al., Solving the Apparent Diversity-Accuracy Dilemma of
    Recommender Systems, 2010). Each count has one added, so that an item without events has a
    finite novelty. Items that ``item_counts`` lacks have count 0.

    Examples
    --------
    >>> novelty([["a"], ["b"]], {"a": 1, "b": 1})
    1.0
    """
    entries = [item for ranked in lists for item in ranked]
    if not entries:
        return 0.0
    n_items = len(set(item_counts).union(entries))
    total = sum(item_counts.values()) + n_items
    return sum(-math.log2((item_counts.get(item, 0.0) + 1.0) / total) for item in entries) / len(entries)


def intra_list_diversity(vectors: AnyArray, rows: Int64) -> float:
    """Return how different the items of a list are from one another, averaged over lists.

    The mean pairwise ``1 - cosine``: one minus the intra-list similarity of Ziegler, McNee, Konstan
    and Lausen (Improving Recommendation Lists Through Topic Diversification, 2005), divided by the
    number of pairs. All items of a list with diversity 0 point in one direction; items with
    diversity 1 are unrelated.

    Parameters
    ----------
    vectors : (n_items, dim) of float, of any length; a zero vector has cosine 0 to every vector
    rows : (n, k) int64, rows of ``vectors``; -1 where a list has no more items

    Returns
    -------
    float From 0 to 2. Lists with fewer than two items have no pair and do not count; 0 where no
        list has a pair.

    Raises
    ------
    ValueError
        When shapes are wrong, a row lies outside ``vectors``, or a vector is not finite.

    Notes
    -----
    ``sum over pairs of u.v = (|sum of u|^2 - sum of |u|^2) / 2``, so a list costs k additions
    instead of k^2 products.

    Examples
    --------
    >>> intra_list_diversity(np.eye(3), np.array([[0, 1, 2], [1, 1, -1]]))
    0.5
    """
    if vectors.ndim != 2 or rows.ndim != 2:
        raise ValueError(f"vectors of shape {vectors.shape}, rows {rows.shape}: need (n_items, dim) and (n, k)")
    if rows.size and (rows.min() < -1 or rows.max() >= len(vectors)):
        raise ValueError(f"rows from {rows.min()} to {rows.max()}: must be from -1 (none) to {len(vectors) - 1}")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors: NaN or infinity has no direction; every value must be a finite number")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.vstack(
        [vectors / np.where(lengths > 0, lengths, 1.0), np.zeros((1, vectors.shape[1]))]
    )  # row -1: no item
    total, n_lists = 0.0, 0
    for start in range(0, len(rows), _LISTS_PER_STEP):
        part = rows[start : start + _LISTS_PER_STEP]
        n_listed = (part >= 0).sum(axis=1)
        part, n_listed = part[n_listed > 1], n_listed[n_listed > 1]
        listed = unit[part]  # (lists, k, dim)
        similarity = (listed.sum(axis=1) ** 2).sum(axis=1) - (listed**2).sum(axis=(1, 2))
        total += float((1.0 - similarity / (n_listed * (n_listed - 1))).sum())
        n_lists += len(part)
    return total / n_lists if n_lists else 0.0


def ranks_of_targets(scores: AnyArray, targets: Int64) -> Int64:
    """Return each target's rank among all items, from 1.

    Ties count against the target: its rank is 1 plus the number of *other* items whose score is not
    below its own. A model that scores all items alike therefore ranks its target last and gains
    nothing. A masked item has score ``-inf``; a target with score ``-inf`` is last.

    Parameters
    ----------
    scores : (n, n_items) of float, none NaN
    targets : (n,) int64, columns of ``scores``

    Returns
    -------
    (n,) int64

    Raises
    ------
    ValueError
        When shapes do not fit, a target lies outside, or a score is NaN.

    Examples
    --------
    >>> ranks_of_targets(np.array([[0.1, 0.9, 0.5], [1.0, 1.0, 0.0]]), np.array([2, 0])).tolist()
    [2, 2]
    """
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(
            f"targets of shape {targets.shape} for scores of shape {scores.shape}: need (n,) for (n, n_items)"
        )
    if not len(targets):
        return np.zeros(0, dtype=np.int64)
    if targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise ValueError(f"target rows {targets.min()} to {targets.max()}: must be from 0 to {scores.shape[1] - 1}")
    if np.isnan(scores).any():
        raise ValueError("scores: NaN has no rank; every score must be a number")
    own = scores[np.arange(len(targets)), targets]
    # the target itself is the 1
    ranks: Int64 = (scores >= own[:, None]).sum(axis=1, dtype=np.int64)
    return ranks


def values_of_ranks(ranks: AnyArray, k: int = 10) -> dict[str, NDArray[np.float64]]:
    """Return each case's hit, NDCG and reciprocal rank, all cut at ``k``.

    Intervals and tests of a difference need these values case by case. :func:`hit_at_k` and
    :func:`ndcg_at_k` give formulae and sources of the first two. ``RR@k = 1 / rank`` for ``rank <=
    k``, else 0 (Voorhees, The TREC-8 Question Answering Track Report, 1999). With one target per
    case, recall@k equals the hit.

    Parameters
    ----------
    ranks : (n,) of int, from 1; any rank above ``k`` is a miss

    Returns
    -------
    dict
        ``hr@k``, ``ndcg@k`` and ``mrr@k``, each (n,) float64 in the order of ``ranks``.

    Raises
    ------
    ValueError
        When ``k`` or a rank is below 1.

    Examples
    --------
    >>> {name: values.tolist() for name, values in values_of_ranks(np.array([1, 3, 4]), 3).items()}
    {'hr@3': [1.0, 1.0, 0.0], 'ndcg@3': [1.0, 0.5, 0.0], 'mrr@3': [1.0, 0.3333333333333333, 0.0]}
    """
    check_k(k)
    values = np.asarray(ranks, dtype=np.float64)
    if values.size and not values.min() >= 1:  # written so that NaN fails too
        raise ValueError(f"rank {values.min():g}: must be at least 1")
    hits = values <= k
    return {
        f"hr@{k}": hits.astype(np.float64),
        f"ndcg@{k}": np.where(hits, 1.0 / np.log2(1.0 + values), 0.0),
        f"mrr@{k}": np.where(hits, 1.0 / values, 0.0),
    }


def summarize(ranks: AnyArray, k: int = 10) -> dict[str, float]:
    """Return the means of :func:`values_of_ranks`; each is 0 without ranks.

    Parameters
    ----------
    ranks : (n,) of int, from 1

    Examples
    --------
    >>> summarize(np.array([1, 4, 11]))["hr@10"].__round__(4)
    0.6667
    """
    return {name: float(each.mean()) if each.size else 0.0 for name, each in values_of_ranks(ranks, k).items()}


def ranks_in(rows: Int64, targets: Int64) -> Int64:
    """Return each target's rank in its list, from 1; :data:`MISSED` outside the list."""
    is_target = rows == targets[:, None]
    ranks: Int64 = np.where(is_target.any(axis=1), is_target.argmax(axis=1) + 1, MISSED)
    return ranks
