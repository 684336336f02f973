"""How good ranked lists are: accuracy of a rank, and what lists show of a catalogue.

Every measure is over the whole catalogue. Sampled candidates change the order of models (Krichene and Rendle, On Sampled Metrics
for Item Recommendation, 2020), so nothing here samples.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from models.types import AnyArray, Int64


def check_k(k: int) -> int:
    """Return ``k`` if it is a list's length, at least 1."""
    if k < 1:
        raise ValueError(f"k={k}: must be at least 1")
    return k


def _rank_in(ranked: Sequence[str], target: str, k: int) -> int | None:
    """Return the first rank of the target among the first ``k``, from 1, or None."""
    top = ranked[: check_k(k)]
    return top.index(target) + 1 if target in top else None


def hit_at_k(ranked: Sequence[str], target: str, k: int) -> float:
    """Return 1 if the target is among the first ``k`` of a list, else 0.

    ``HR@k = [rank <= k]`` (Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, 2004).

    >>> hit_at_k(["a", "b", "c"], "b", 2), hit_at_k(["a", "b", "c"], "c", 2)
    (1.0, 0.0)
    """
    return 0.0 if _rank_in(ranked, target, k) is None else 1.0


def ndcg_at_k(ranked: Sequence[str], target: str, k: int) -> float:
    """Return the normalised discounted cumulative gain of a list with one relevant item.

    ``NDCG@k = 1 / log2(1 + rank)`` for ``rank <= k``, else 0; the ideal list has gain 1 (Järvelin and Kekäläinen, Cumulated
    Gain-Based Evaluation of IR Techniques, 2002).

    >>> ndcg_at_k(["a", "b", "c"], "a", 2), round(ndcg_at_k(["a", "b", "c"], "b", 2), 4)
    (1.0, 0.6309)
    """
    rank = _rank_in(ranked, target, k)
    return 0.0 if rank is None else 1.0 / math.log2(1 + rank)


def reciprocal_rank(ranked: Sequence[str], target: str) -> float:
    """Return ``1 / rank`` of the target, 0 if it is not in the list.

    (Voorhees, The TREC-8 Question Answering Track Report, 1999.)

    >>> reciprocal_rank(["a", "b"], "b"), reciprocal_rank([], "b")
    (0.5, 0.0)
    """
    rank = _rank_in(ranked, target, max(len(ranked), 1))
    return 0.0 if rank is None else 1.0 / rank


def recall_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return the share of the relevant items that are among the first ``k``; 0 where nothing is relevant.

    ``Recall@k = |top k and relevant| / |relevant|`` (Cleverdon, Mills and Keen, Factors Determining the Performance of Indexing
    Systems, 1966). An item counts once, however often it is listed.

    >>> recall_at_k(["a", "b", "c"], {"b", "c", "d", "e"}, 2)
    0.25
    """
    wanted = set(relevant)
    return len(wanted.intersection(ranked[: check_k(k)])) / len(wanted) if wanted else 0.0


def coverage(lists: Sequence[Sequence[str]], n_items: int) -> float:
    """Return the share of the catalogue that appears in at least one list; 0 for an empty catalogue.

    ``|union of lists| / n_items`` (Ge, Delgado-Battenfeld and Jannach, Beyond Accuracy, 2010).

    >>> coverage([["a", "b"], ["b", "c"]], 6)
    0.5
    """
    return len(set().union(*lists)) / n_items if n_items > 0 else 0.0


def novelty(lists: Sequence[Sequence[str]], item_counts: Mapping[str, float]) -> float:
    """Return the mean self-information of the listed items, in bits; 0 where nothing is listed.

    ``mean of -log2(p(i))`` over all entries of all lists, with ``p(i) = (count(i) + 1) / (sum of counts + number of items)``:
    one is added to each count, so that an item that nobody had is new and not infinitely so (Zhou et al., Solving the Apparent
    Diversity-Accuracy Dilemma of Recommender Systems, 2010). Items that ``item_counts`` lacks have count 0.

    >>> novelty([["a"], ["b"]], {"a": 1, "b": 1})
    1.0
    """
    entries = [item for ranked in lists for item in ranked]
    if not entries:
        return 0.0
    n_items = len(set(item_counts).union(entries))
    total = sum(item_counts.values()) + n_items
    return sum(-math.log2((item_counts.get(item, 0.0) + 1.0) / total) for item in entries) / len(entries)


def ranks_of_targets(scores: AnyArray, targets: Int64) -> Int64:
    """Return each target's rank among all items, from 1.

    Ties count against the target: its rank is 1 plus the number of *other* items whose score is not below its own, so a model that
    scores everything alike ranks its target last and gains nothing. A masked item has score ``-inf``; a target that is itself
    ``-inf`` is thus last. NaN anywhere is an error.

    Parameters
    ----------
    scores : (n, n_items) of float
    targets : (n,) int64, columns of ``scores``

    Returns
    -------
    (n,) int64

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
    ranks: Int64 = (scores >= own[:, None]).sum(axis=1, dtype=np.int64)  # the target itself is the 1
    return ranks


def summarize(ranks: AnyArray, k: int = 10) -> dict[str, float]:
    """Return the means of hit rate and NDCG at ``k``, and the mean reciprocal rank over the whole catalogue; 0 without ranks.

    Formulae and sources as in :func:`hit_at_k`, :func:`ndcg_at_k` and :func:`reciprocal_rank`.

    Parameters
    ----------
    ranks : (n,) of int, from 1

    Examples
    --------
    >>> summarize(np.array([1, 4, 11]))["hr@10"].__round__(4)
    0.6667
    """
    check_k(k)
    values = np.asarray(ranks, dtype=np.float64)
    if not values.size:
        return {f"hr@{k}": 0.0, f"ndcg@{k}": 0.0, "mrr": 0.0}
    if values.min() < 1:
        raise ValueError(f"rank {values.min():g}: must be at least 1")
    hits = values <= k
    gains = np.where(hits, 1.0 / np.log2(1.0 + values), 0.0)
    return {f"hr@{k}": float(hits.mean()), f"ndcg@{k}": float(gains.mean()), "mrr": float((1.0 / values).mean())}
