"""Live popularity by row: only the items that were counted again are looked up again."""

from __future__ import annotations

import numpy as np

from models.base.types import Float32, Float64
from models.popularity import CountsWithPrior
from models.ranking.catalogue.rows import Rows
from models.ranking.catalogue.snapshot import Catalogue


class ScoresByRow:
    """The scores of counts for one catalogue after another. For one thread.

    Parameters
    ----------
    counts : nobody else may take their touched items
    """

    def __init__(self, counts: CountsWithPrior) -> None:
        self._counts = counts
        self._rows: Rows | None = None
        self._n_moves = 0
        self._shares: Float64 = np.zeros(0)
        self._weights: Float64 = np.zeros(0)

    def scores(self, catalogue: Catalogue, now_ms: int) -> Float32:
        """Return the score of each row as of ``now_ms``, (n,) float32."""
        live, ids = self._counts.live, catalogue.item_ids
        touched = live.take_touched()
        if catalogue.rows is not self._rows or live.n_moves != self._n_moves:
            self._shares, self._weights = self._counts.shares(ids), live.weights(ids)
        else:
            self._look_up(catalogue, touched)
        self._rows, self._n_moves = catalogue.rows, live.n_moves
        return self._counts.scores_of(self._shares, self._weights, now_ms)

    def _look_up(self, catalogue: Catalogue, touched: set[str]) -> None:
        """Look up the new rows, and the touched items of the others."""
        live, new = self._counts.live, catalogue.item_ids[len(self._weights) :]
        self._shares = np.concatenate([self._shares, self._counts.shares(new)])
        self._weights = np.concatenate([self._weights, live.weights(new)])
        known = [item_id for item_id in touched if item_id in catalogue.row_of]
        rows = np.array([catalogue.row_of[item_id] for item_id in known], dtype=np.int64)
        self._weights[rows] = live.weights(known)
