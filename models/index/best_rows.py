"""The positions of the greatest scores, without sorting them all: compiled.

::

    scores   s0 s1 s2 ...  in strides:  s0 s4 s8     the greatest of each column: m columns
                                        s1 s5 s9     the k-th greatest of those is a bound that at
                                        s2 s6 ...    least k scores reach; only columns that reach
                                        s3 s7 ...    it are looked at again
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from models.base.types import Float32, Int64

#: Columns for each score that is wanted, so that the bound is close.
COLUMNS_PER_SCORE: Final = 4


def best_positions(scores: Float32, wanted: Int64, penalties: Float32) -> Int64:
    """Return the positions of each row's greatest scores, (n, most wanted) int64, in no order.

    Ties go to the lower position. -1 stands after the last one.

    Parameters
    ----------
    scores : (n, m) float32; NaN is never chosen
    wanted : (n,) int64
    penalties : (m,) float32, 0, or -inf for a position that must not be chosen; (0,) for none
    """
    best = np.full((len(scores), max(1, int(wanted.max(initial=1)))), -1, dtype=np.int64)
    _best(scores, np.minimum(wanted, scores.shape[1]), penalties, best)
    return best


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
def _best(scores: Any, wanted: Any, penalties: Any, best: Any) -> None:  # noqa: C901 (one pass, nothing between the loops is kept)
    n, m = scores.shape
    least = np.float32(-np.inf)
    own = np.empty(m, np.float32)
    kept, values = np.empty(m, np.int64), np.empty(m, np.float32)
    greatest, copy = np.empty(m, np.float32), np.empty(m, np.float32)
    for u in range(n):
        k = wanted[u]
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
        bound = kth_greatest(copy[:width], min(k, width))
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
        at = 0
        for i in range(n_kept):
            if values[i] > last:
                best[u, at] = kept[i]
                at += 1
        while at < k:  # ties of the last place: the lowest positions among them
            lowest = m
            for i in range(n_kept):
                if values[i] == last and kept[i] < lowest:
                    lowest = kept[i]
            best[u, at] = lowest
            at += 1
            for i in range(n_kept):
                if kept[i] == lowest:
                    values[i] = least
                    break
