"""Which past item is the reason for a listed item, if any is.

An item of the window is a reason where the listed item is among its nearest: by the model's
vectors, by common users, or by what followed. Nearest are the first
:data:`~models.ranking.catalogue.nearest.N_NEAREST` items of the catalogue, or the first tenth of a
small one: many other items would have a better reason beyond. Of several reasons the one to which
the listed item is nearest counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.base.types import Bool, Int64
from models.ranking.catalogue.nearest import NearestItems
from models.ranking.catalogue.tables import ItemTable


def reasons(
    nearest: NearestItems, tables: Sequence[Int64 | ItemTable], listed: Int64, window: Int64, is_there: Bool
) -> Int64:
    """Return, for each listed item, the row of its reason in the window, -1 for none, (n, k) int64.

    Parameters
    ----------
    tables : each (n_items, m) int64, items that go with each item, best first, -1 for none
    listed : (n, k) int64 rows
    window : (n, w) int64 rows
    is_there : (n, w) bool, False for padding
    """
    cosines = np.matmul(nearest.unit[listed], nearest.unit[window].transpose(0, 2, 1))  # [n, k, w]
    ranks = nearest.ranks(window, cosines)
    for table in tables:
        goes_with = table[window, : nearest.limit]  # [n, w, limit]
        for place in range(goes_with.shape[2]):
            hit = goes_with[:, None, :, place] == listed[:, :, None]
            np.minimum(ranks, np.int8(place + 1), out=ranks, where=hit)
    ranks[np.broadcast_to(~is_there[:, None, :], ranks.shape)] = nearest.limit + 1
    # of equal ranks the greater cosine: cosines lie between -1 and 1, so 0.49 of one never changes
    # a rank
    best = (ranks - np.float32(0.49) * cosines).argmin(axis=2)[:, :, None]
    pulled = np.take_along_axis(ranks, best, axis=2)[:, :, 0] <= nearest.limit
    rows = np.take_along_axis(np.broadcast_to(window[:, None, :], ranks.shape), best, axis=2)[:, :, 0]
    return np.where(pulled, rows, -1)
