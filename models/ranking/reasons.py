"""Which past item is the reason for a listed item, if any is.

An item of the window is a reason where the listed item is among its nearest: by the model's
vectors, by common users, or by what followed. Nearest are the first
:data:`~models.ranking.catalogue.nearest.N_NEAREST` items of the catalogue, or the first tenth of a
small one: many other items would have a better reason beyond. Of several reasons the one to which
the listed item is nearest counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.base.compiled import compiled
from models.base.types import Int64
from models.ranking.catalogue.nearest import TOLERANCE, NearestItems


def reasons(
    nearest: NearestItems, tables: tuple[Int64, Int64], trained: Int64, listed: Int64, window: Int64, lengths: Int64
) -> Int64:
    """Return, for each listed item, the row of its reason in the window, -1 for none, (n, k) int64.

    Parameters
    ----------
    tables : each (n_trained, m) int64, trained items that go with each trained item, best first, -1
        for none
    trained : (n_rows,) int64, the trained item of each row, -1 for none
    listed : (n, k) int64 rows, -1 for none
    window : (n, w) int64 rows, of which ``lengths`` (n,) are behaviours
    """
    found = np.full(listed.shape, -1, dtype=np.int64)
    greatest = np.zeros(window.shape, dtype=np.float32)
    _closest(nearest.unit, listed, window, lengths, greatest)
    kept = nearest.cosines_of(window.reshape(-1), greatest.reshape(-1))
    _find(nearest.unit, kept, nearest.step, nearest.limit, *tables, trained, listed, window, lengths, found)
    return found


@compiled
def _closest(unit: Any, listed: Any, windows: Any, lengths: Any, greatest: Any) -> None:
    """Note the greatest cosine of each item of a window to a listed item, at least 0."""
    for u in range(len(listed)):
        for t in range(lengths[u]):
            for j in range(listed.shape[1]):
                if listed[u, j] >= 0:
                    cosine = np.float32(0.0)
                    for d in range(unit.shape[1]):
                        cosine += unit[listed[u, j], d] * unit[windows[u, t], d]
                    greatest[u, t] = max(greatest[u, t], cosine)


@compiled
def _match(table: Any, item: Any, limit: Any, place_of: Any, ranks: Any) -> None:
    """Lower the ranks of the listed items that go with an item to their places in the table."""
    for place in range(min(limit, table.shape[1])):
        other = table[item, place]
        if other >= 0 and place_of[other] > 0:
            ranks[place_of[other] - 1] = min(ranks[place_of[other] - 1], place + 1)


@compiled
def _find(  # noqa: C901 (one pass, nothing between the loops is kept)
    unit: Any, kept: Any, step: Any, limit: Any, first_table: Any, second_table: Any, trained: Any,
    listed: Any, windows: Any, lengths: Any, found: Any,
) -> None:  # fmt: skip
    n_kept, k = kept.shape[1], listed.shape[1]
    place_of = np.zeros(len(first_table), np.int32)  # from 1, of each listed item that is trained
    ranks, cosines = np.empty(k, np.int64), np.empty(k, np.float32)
    least, best = np.empty(k, np.float32), np.empty(k, np.int64)
    for u in range(len(listed)):
        least[:], best[:] = np.inf, limit + 1
        for j in range(k):
            if listed[u, j] >= 0 and trained[listed[u, j]] >= 0:
                place_of[trained[listed[u, j]]] = j + 1
        for t in range(lengths[u]):
            own = windows[u, t]
            for j in range(k):
                row, cosine, n_nearer = max(listed[u, j], 0), np.float32(0.0), 0
                for d in range(unit.shape[1]):
                    cosine += unit[row, d] * unit[own, d]
                for d in range(n_kept):
                    n_nearer += kept[own, d] > cosine + np.float32(TOLERANCE)
                is_near = n_nearer < n_kept and cosine > 0
                ranks[j], cosines[j] = min(1 + n_nearer * step, limit) if is_near else limit + 1, cosine
            if trained[own] >= 0:
                _match(first_table, trained[own], limit, place_of, ranks)
                _match(second_table, trained[own], limit, place_of, ranks)
            for j in range(k):
                # of equal ranks the greater cosine: cosines lie between -1 and 1, so 0.49 of one
                # never changes a rank
                distance = np.float32(ranks[j]) - np.float32(0.49) * cosines[j]
                if distance < least[j]:
                    least[j], best[j], found[u, j] = distance, ranks[j], own
        for j in range(k):
            if listed[u, j] < 0 or best[j] > limit:
                found[u, j] = -1
            if listed[u, j] >= 0 and trained[listed[u, j]] >= 0:
                place_of[trained[listed[u, j]]] = 0
