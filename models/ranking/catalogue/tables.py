"""The artifact's item-to-item tables, read by the rows of a snapshot."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.base.types import AnyArray, Bool, Float32, Int64
from models.ranking.catalogue.rows import Rows


class TrainedRows:
    """Where the trained items are in one snapshot.

    Parameters
    ----------
    n : rows of the snapshot
    is_shown : (n,) bool
    """

    def __init__(self, rows: Rows, n: int, is_shown: Bool) -> None:
        self._rows, self._n, self._is_shown = rows, n, is_shown
        self.trained: Int64 = rows.arrays["trained"][:n]

    def shown(self, trained: Int64) -> Int64:
        """Return the rows of trained items, -1 for those that no list may show.

        Parameters
        ----------
        trained : int64 of any shape, the artifact's rows, -1 for none
        """
        if not self._n or not len(self._rows.current):
            return np.full(trained.shape, -1, dtype=np.int64)
        rows = self._rows.as_of(np.where(trained >= 0, self._rows.current[trained], -1), self._n)
        return np.where((rows >= 0) & self._is_shown[rows], rows, -1)


class ItemTable:
    """A table of the artifact as if it were an array by the snapshot's rows: ``table[rows]``.

    An entry is a row of the snapshot, -1 for none and for an item that no list may show; an item
    without events in training has no entries.

    Parameters
    ----------
    table : (n_items, m) int64, the artifact's rows, -1 for none
    """

    def __init__(self, where: TrainedRows, table: Int64) -> None:
        self._where, self.table = where, table
        self.shape = len(where.trained), table.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Int64:
        """Return the entries of rows, or of ``rows, columns``."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        trained = self._where.trained[rows]
        if not len(self.table):
            return np.full((*trained.shape, self.shape[1]), -1, dtype=np.int64)[..., columns]
        entries = np.where(trained[..., None] >= 0, self.table[trained][..., columns], -1)
        return self._where.shown(entries)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        return self[np.arange(len(self))]


class WeightTable:
    """The weights of an :class:`ItemTable`'s entries.

    A weight without an entry means nothing.

    Parameters
    ----------
    weights : (n_items, m) float32, by the artifact's rows
    """

    def __init__(self, where: TrainedRows, weights: Float32) -> None:
        self._where, self.weights = where, weights
        self.shape = len(where.trained), weights.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float32:
        """Return the weights of rows."""
        if not len(self.weights):
            return np.zeros((*np.shape(rows), self.shape[1]), dtype=np.float32)
        found: Float32 = self.weights[self._where.trained[rows]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        return self[np.arange(len(self))]
