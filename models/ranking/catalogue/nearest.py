"""How near each item's nearest others are, for the reasons of lists."""

from __future__ import annotations

import copy
from typing import Final

import numpy as np

from models.base.types import Float32, Int64
from models.index.best_rows import best_positions, products

N_NEAREST: Final = 10
#: In a catalogue of less than ten times as many items, this share of them is near.
NEAREST_SHARE: Final = 0.1
#: Ranks are exact up to this many items. In a larger catalogue they are estimated on this many,
#: evenly spread over its rows.
SAMPLE: Final = 10_000
#: One in so many of the sample is looked at first: no item of the window is a reason for a listed
#: one that is less near to it than the nearest of these.
FIRST_STEP: Final = 8
#: Two computations of one cosine differ by less than this.
TOLERANCE: Final = 1e-5
#: A row of unit length is not longer, whatever its rounding.
LONGEST: Final = 1.001
#: Items whose nearest are computed at once: 10 MB at the size of the sample.
BLOCK: Final = 256


class NearestItems:
    """How near each item's nearest others are, by cosine of the model's vectors.

    Computed for the items that are asked about, and kept, because items of windows return again and
    again. Where a lower bound says enough, an eighth of the work is done. For one thread at a time.

    Parameters
    ----------
    unit : (n_rows, dim) float32, rows of unit length; rows may be filled in later, before anyone
        asks about them
    rows : (n_items,) int64, rising, the items among which ranks count; None for all rows

    Attributes
    ----------
    limit : ranks up to this are near
    step : how many items a kept cosine stands for; 1 where ranks are exact
    """

    def __init__(self, unit: Float32, rows: Int64 | None = None) -> None:
        rows = np.arange(len(unit)) if rows is None else rows
        self.unit = unit
        self.limit = min(N_NEAREST, max(1, int(np.ceil(NEAREST_SHARE * len(rows)))))
        self.step = max(1, -(-len(rows) // SAMPLE))
        chosen = rows[:: self.step]
        self._sample = np.ascontiguousarray(unit[chosen])
        self._first = np.ascontiguousarray(self._sample[::FIRST_STEP])
        self._column_of = np.full(len(unit), -1, dtype=np.int64)  # of the sample, by row
        self._column_of[chosen] = np.arange(len(chosen))
        n_kept = max(1, round(self.limit / self.step))
        self._cosines = np.full((len(unit), n_kept), np.nan, dtype=np.float32)  # rising
        self._is_bound = np.ones(len(unit), dtype=bool)  # no cosine is greater than what is kept

    def moved(self, unit: Float32, old_rows: Int64) -> NearestItems:
        """Return the same ranks for rows that moved; what was computed is kept.

        Parameters
        ----------
        unit : as in the class
        old_rows : (m,) int64, the row from which each of the first ``m`` rows came
        """
        moved = copy.copy(self)
        moved.take_over(unit, old_rows)
        return moved

    def take_over(self, unit: Float32, old_rows: Int64) -> None:
        """Move to other rows, see :meth:`moved`."""
        cosines, columns, is_bound, n = self._cosines, self._column_of, self._is_bound, len(old_rows)
        self.unit = unit
        self._cosines = np.full((len(unit), cosines.shape[1]), np.nan, dtype=np.float32)
        self._cosines[:n] = cosines[old_rows]
        self._is_bound = np.ones(len(unit), dtype=bool)
        self._is_bound[:n] = is_bound[old_rows]
        self._column_of = np.full(len(unit), -1, dtype=np.int64)
        self._column_of[:n] = columns[old_rows]

    def cosines_of(self, rows: Int64, greatest: Float32 | None = None) -> Float32:
        """Return each item's greatest cosines to others, rising, (n_rows, kept) float32.

        They are there for ``rows`` at least. A cosine stands for ``step`` items: an item is as near
        to another as the number of cosines that are greater than its own says.

        Parameters
        ----------
        rows : (m,) int64
        greatest : (m,) float32, the greatest cosine that is compared with each row's; a row whose
            cosines are all greater, and one whose ``greatest`` is not above 0, may have smaller
            ones, to which the same applies; None for rows that need their own cosines
        """
        if greatest is not None:
            rows, greatest = rows[greatest > 0], greatest[greatest > 0]
            self._work_out(np.unique(rows[np.isnan(self._cosines[rows, 0])]), self._first, FIRST_STEP)
            rows = rows[greatest + 2 * TOLERANCE >= self._cosines[rows, 0]]
        wanted = np.unique(rows[self._is_bound[rows]])
        self._work_out(wanted, self._sample, 1)
        self._is_bound[wanted] = False
        return self._cosines

    def _work_out(self, rows: Int64, sample: Float32, step: int) -> None:
        """Keep the greatest cosines of rows to a sample, of which ``step`` columns are one here."""
        n_kept = self._cosines.shape[1]
        if not len(sample):  # nothing to compare with: nothing is near
            self._cosines[rows] = 1.0
            return
        wanted, nothing = np.full(BLOCK, n_kept + 1, dtype=np.int64), np.zeros(0, dtype=np.float32)
        for block in np.split(rows, range(BLOCK, len(rows), BLOCK)):
            unit = np.ascontiguousarray(self.unit[block])
            found = best_positions(unit, sample, wanted[: len(block)], nothing, LONGEST)
            cosines = products(unit, sample, found)
            # an item is not near itself
            cosines[(found >= 0) & (found * step == self._column_of[block, None])] = -np.inf
            cosines = np.pad(cosines, ((0, 0), (max(0, n_kept - cosines.shape[1]), 0)), constant_values=-np.inf)
            self._cosines[block] = np.maximum(np.sort(cosines, axis=1)[:, -n_kept:], -1.0)
