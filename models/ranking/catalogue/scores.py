"""Live popularity by row: only the items that were counted again are looked up again."""

from __future__ import annotations

import numpy as np

from models.base.types import Float32, Float64
from models.popularity import CountsWithPrior
from models.ranking.catalogue.parts import take
from models.ranking.catalogue.rows import Rows
from models.ranking.catalogue.snapshot import Catalogue


class ScoresByRow:
    """The scores of counts for one catalogue after another. For one thread.

    Parameters
    ----------
    counts : nobody else may take their touched items
    prior : (n_items of the artifact,) float64, the items' shares of history
    """

    def __init__(self, counts: CountsWithPrior, prior: Float64) -> None:
        self._counts, self._prior = counts, prior
        self._rows: Rows | None = None
        self._n_moves = 0
        self._shares: Float64 = np.zeros(0)
        self._weights: Float64 = np.zeros(0)

    def scores(self, catalogue: Catalogue, now_ms: int) -> Float32:
        """Return the score of each row as of ``now_ms``, (n,) float32."""
        live, n, n_before = self._counts.live, len(catalogue.is_shown), len(self._weights)
        touched = live.take_touched()
        if catalogue.rows is not self._rows or live.n_moves != self._n_moves:
            # most items of a large catalogue were never counted
            self._shares, self._weights, touched = np.zeros(0), np.zeros(n), live.counted()
        elif n > n_before:
            self._weights = np.concatenate([self._weights, live.weights(catalogue.item_ids[n_before:])])
        added = take(self._prior, catalogue.trained[len(self._shares) :])
        self._shares = np.concatenate([self._shares, added])
        known = [item_id for item_id in touched if item_id in catalogue.row_of]
        self._weights[catalogue.rows_of(known)] = live.weights(known)
        self._rows, self._n_moves = catalogue.rows, live.n_moves
        return self._counts.scores_of(self._shares, self._weights, now_ms)
