"""Which past item is the reason for a listed item, if any is.

An item of the window is a reason where the listed item is among its nearest: by the model's
vectors, by common users, or by what followed. Nearest are the first :data:`N_NEAREST` items of the
catalogue, or the first tenth of a small one: many other items would have a better reason beyond. Of
several reasons the one to which the listed item is nearest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.base.types import Bool, Float32, Int8, Int64

N_NEAREST: Final = 10
#: In a catalogue of less than ten times as many items, this share of them is near.
NEAREST_SHARE: Final = 0.1
#: Ranks are exact up to this many items. In a larger catalogue they are estimated on this many,
#: evenly spread over its rows.
SAMPLE: Final = 10_000
#: Two computations of one cosine differ by less than this, whatever the batch.
TOLERANCE: Final = 1e-5
#: Items whose nearest are computed at once: 10 MB at the size of the sample.
BLOCK: Final = 256


class NearestItems:
    """How near each item's nearest others are, by cosine of the model's vectors.

    Computed for the items that are asked about, and kept, because items of windows return again and
    again. For one thread at a time.

    Parameters
    ----------
    unit : (n_items, dim) float32, rows of unit length
    """

    def __init__(self, unit: Float32) -> None:
        n_items = len(unit)
        self.unit = unit
        self.limit = min(N_NEAREST, max(1, int(np.ceil(NEAREST_SHARE * n_items))))
        self._step = max(1, -(-n_items // SAMPLE))
        self._sample = np.ascontiguousarray(unit[:: self._step].T)
        n_kept = max(1, round(self.limit / self._step))
        self._cosines = np.full((n_items, n_kept), np.nan, dtype=np.float32)  # rising

    def ranks(self, of: Int64, cosines: Float32) -> Int8:
        """Return the ranks of other items among an item's nearest, from 1.

        Parameters
        ----------
        of : (n, w) int64 rows
        cosines : (n, k, w) float32, of the others to them

        Returns
        -------
        (n, k, w) int8
            ``limit`` + 1 for an item that is not near.
        """
        self._work_out(np.unique(of))
        kept = self._cosines[of]  # [n, w, n_kept]
        n_nearer = np.zeros(cosines.shape, dtype=np.int8)
        for j in range(kept.shape[2]):
            n_nearer += kept[:, None, :, j] > cosines + TOLERANCE
        is_near = (n_nearer < kept.shape[2]) & (cosines > 0.0)
        rank_of = np.minimum(1 + np.arange(kept.shape[2] + 1) * self._step, self.limit).astype(np.int8)
        ranks: Int8 = np.where(is_near, rank_of[n_nearer], np.int8(self.limit + 1))
        return ranks

    def _work_out(self, rows: Int64) -> None:
        missing = rows[np.isnan(self._cosines[rows, 0])]
        n_kept = self._cosines.shape[1]
        for block in np.split(missing, range(BLOCK, len(missing), BLOCK)):
            cosines = self.unit[block] @ self._sample
            columns, is_itself = block // self._step, block % self._step == 0
            cosines[np.flatnonzero(is_itself), columns[is_itself]] = -1.0
            if cosines.shape[1] > n_kept:
                cosines = np.partition(cosines, -n_kept, axis=1)[:, -n_kept:]
            self._cosines[block] = np.sort(cosines, axis=1)


def reasons(nearest: NearestItems, tables: Sequence[Int64], listed: Int64, window: Int64, is_there: Bool) -> Int64:
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
