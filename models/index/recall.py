"""Measures the recall of an approximate search, and finds the least effort for a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import numpy as np

from models.base.types import Float32, Int64
from models.index.faiss_kinds import nearest_exact

#: Recall is measured over this many answers to this many queries; searches for more answers have
#: less.
RECALL_K: Final = 100
N_QUERIES: Final = 256
#: Queries are stored vectors with noise of this many standard deviations of each column: a user
#: vector lies near items, not on one.
_NOISE: Final = 0.5

#: From queries, k and effort to positions, -1 for none, and scores, (q, k) each.
SearchBy: TypeAlias = Callable[[Float32, int, int], tuple[Int64, Float32]]


def least_effort(
    search: SearchBy, vectors: Float32, efforts: Iterable[int], *, target: float, seed: int
) -> tuple[int, float]:
    """Return the least effort tried that reaches the ``target`` recall, and its recall.

    Where no effort reaches the target, return the largest effort and its recall.

    Parameters
    ----------
    vectors : (n, d) float32, n at least 1, in which ``search`` searches
    efforts : to try, rising
    seed : of the queries
    """
    queries = _sample_queries(vectors, seed)
    k = min(RECALL_K, len(vectors))
    _, exact_scores = nearest_exact(vectors, queries, k)
    longest = float(np.linalg.norm(vectors, axis=1).max())
    # [q]; two roundings of a product differ by this
    slack = 1e-6 * longest * np.linalg.norm(queries, axis=1)
    effort, recall = 0, 0.0
    for effort in efforts:
        positions, scores = search(queries, k, effort)
        recall = measured_recall(scores, positions, exact_scores, slack)
        if recall >= target:
            break
    return effort, recall


def measured_recall(scores: Float32, positions: Int64, exact_scores: Float32, slack: Float32) -> float:
    """Return the share of answers that are as good as the exact ones; ties at the end all count.

    Parameters
    ----------
    scores, positions : (q, k) of the approximate search, position -1 for none
    exact_scores : (q, k), falling
    slack : (q,), the greatest difference between two computations of one score
    """
    least = exact_scores[:, -1:] - slack[:, None]
    return float(((scores >= least) & (positions >= 0)).mean())


def _sample_queries(vectors: Float32, seed: int) -> Float32:
    rng = np.random.default_rng(seed)
    chosen = vectors[rng.integers(len(vectors), size=N_QUERIES)]
    noise = _NOISE * vectors.std(axis=0) * rng.standard_normal(chosen.shape)
    queries: Float32 = (chosen + noise).astype(np.float32)
    return queries
