"""The positions of the greatest inner products, without sorting them all: compiled.

::

    scores   s0 s1 s2 ...  in strides:  s0 s4 s8     the greatest of each column: m columns
                                        s1 s5 s9     the k-th greatest of those is a bound that at
                                        s2 s6 ...    least k scores reach; only columns that reach
                                        s3 s7 ...    it are looked at again

A matrix product rounds a score in another way for another number of queries. Scores that are
nearer to the k-th greatest than such a rounding may move them are computed again, one by one, so
that a query's positions do not depend on the other queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from models.base.types import Float32, Int64

#: Columns for each score that is wanted, so that the bound is close.
COLUMNS_PER_SCORE: Final = 4
#: Scores that are computed at once: 128 MB.
MOST_SCORES: Final = 1 << 25
#: Half of the distance between 1 and the next float32.
_ROUNDING: Final = 2.0**-24


def longest(vectors: Float32) -> float:
    """Return the greatest length of vectors, (n, d) float32."""
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0.0)))


def best_positions(
    queries: Float32, vectors: Float32, wanted: Int64, penalties: Float32, longest_vector: float
) -> Int64:
    """Return the positions of each query's greatest products, (q, most wanted) int64, in no order.

    Ties go to the lower position. -1 stands after the last one. A query's positions do not depend
    on the other queries.

    Parameters
    ----------
    queries : (q, d) float32
    vectors : (n, d) float32; one whose product is NaN is never chosen
    wanted : (q,) int64
    penalties : (n,) float32, 0, or -inf for a vector that must not be chosen; (0,) for none
    longest_vector : no vector is longer
    """
    n = len(vectors)
    best = np.full((len(queries), max(1, int(wanted.max(initial=1)))), -1, dtype=np.int64)
    # any order of summation is within this of the product (Higham, Accuracy and Stability, 3.1)
    lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries, dtype=np.float64)) * longest_vector
    slack = ((queries.shape[1] + 2) * _ROUNDING * lengths).astype(np.float32)
    for part in _parts(len(queries), n):
        scores = queries[part] @ vectors.T
        _best(scores, queries[part], vectors, np.minimum(wanted[part], n), penalties, slack[part], best[part])
    return best


def _parts(n_queries: int, n_vectors: int) -> Iterator[slice]:
    step = max(1, MOST_SCORES // max(1, n_vectors))
    return (slice(start, start + step) for start in range(0, n_queries, step))


def products(queries: Float32, vectors: Float32, positions: Int64) -> Float32:
    """Return the product of each query with each of its vectors, (q, m) float32, -inf for none.

    Each is computed by itself, so that it does not depend on the others.

    Parameters
    ----------
    positions : (q, m) int64, -1 for none
    """
    found = np.empty(positions.shape, dtype=np.float32)
    _products(queries, vectors, positions, found)
    return found


@compiled
def _product(a: Any, b: Any) -> Any:
    total = 0.0
    for j in range(len(a)):
        total += np.float64(a[j]) * np.float64(b[j])
    return total


@compiled
def _products(queries: Any, vectors: Any, positions: Any, found: Any) -> None:
    for u in range(len(queries)):
        for i in range(positions.shape[1]):
            at = positions[u, i]
            found[u, i] = np.float32(_product(queries[u], vectors[at])) if at >= 0 else np.float32(-np.inf)


@compiled
def kth_greatest(values: Any, k: Any) -> Any:
    """Return the k-th greatest of values, k from 1; their order changes (Hoare's selection)."""
    low, high, place = 0, len(values) - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]


@compiled
def _best(  # noqa: C901 (one pass, nothing between the loops is kept)
    scores: Any, queries: Any, vectors: Any, wanted: Any, penalties: Any, slack: Any, best: Any
) -> None:
    n, m = scores.shape
    least = np.float32(-np.inf)
    own = np.empty(m, np.float32)
    kept, values = np.empty(m, np.int64), np.empty(m, np.float32)
    greatest, copy = np.empty(m, np.float32), np.empty(m, np.float32)
    exact = np.empty(m, np.float64)
    for u in range(n):
        k, near = wanted[u], np.float32(2.0) * slack[u]
        if k == 0:
            continue
        row = scores[u]
        if len(penalties):
            for i in range(m):
                own[i] = row[i] + penalties[i]
            row = own
        depth = max(1, m // (COLUMNS_PER_SCORE * k))
        width = m // depth
        for j in range(width):
            greatest[j] = least
        for d in range(depth):
            for j in range(width):
                value = row[d * width + j]
                greatest[j] = value if value > greatest[j] else greatest[j]
        copy[:width] = greatest[:width]
        bound = kth_greatest(copy[:width], min(k, width)) - near
        if not bound > least:  # also where it is no number
            bound = least
        n_kept = 0
        for j in range(width):
            if greatest[j] >= bound:
                for d in range(depth):
                    value = row[d * width + j]
                    if value >= bound and value > least:
                        kept[n_kept], values[n_kept] = d * width + j, value
                        n_kept += 1
        for i in range(depth * width, m):  # fewer than a column has
            if row[i] >= bound and row[i] > least:
                kept[n_kept], values[n_kept] = i, row[i]
                n_kept += 1
        if n_kept <= k:
            best[u, :n_kept] = kept[:n_kept]
            continue
        copy[:n_kept] = values[:n_kept]
        last = kth_greatest(copy[:n_kept], k)
        at, n_near = 0, 0
        for i in range(n_kept):
            if values[i] - last > near:
                best[u, at] = kept[i]
                at += 1
            elif not last - values[i] > near:
                kept[n_near] = kept[i]
                n_near += 1
        if at + n_near == k:
            best[u, at:k] = kept[:n_near]
            continue
        for i in range(n_near):
            exact[i] = _product(queries[u], vectors[kept[i]])
        while at < k:  # the best of those that are too near to tell, ties by position
            first = 0
            for i in range(1, n_near):
                if exact[i] > exact[first] or (exact[i] == exact[first] and kept[i] < kept[first]):
                    first = i
            best[u, at] = kept[first]
            at += 1
            n_near -= 1
            kept[first], exact[first] = kept[n_near], exact[n_near]
