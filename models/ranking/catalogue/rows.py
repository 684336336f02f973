"""Rows of a catalogue that changes: arrays that only grow, so that readers need no lock.

::

    row      0    1    2    3    4    5         a row holds one version of an item; it never changes
    item     a    b    c    a    d    b         a changed item gets a new row at the end
    previous -    -    -    0    -    1         the row of the item's version before
                             |         |
    snapshot of 4 rows ──────┘         |        a reader looks at the rows below the length with
    snapshot of 6 rows ────────────────┘        which it began, and finds the versions of that time

Old versions stay until :mod:`models.ranking.catalogue.rebuild` copies the others into new arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, overload

import numpy as np

from models.base.types import AnyArray, Int64
from models.index.best_rows import longest
from models.ranking.catalogue.parts import ItemParts

#: Bytes of the two keys of a record: of its text and of the rest.
KEY_BYTES: Final = 16
#: Rows that are reserved beyond those in use, at least; and the share of those in use.
HEADROOM: Final = 1_024
HEADROOM_SHARE: Final = 0.25


class Rows:
    """Items by row. One thread appends; others read what lies below the length that they know.

    Attributes
    ----------
    n : rows in use
    arrays : by name, (capacity, ...); the fields of :class:`ItemParts`. After a rebuild some may
        lie in files that other workers map, too: :mod:`models.ranking.catalogue.shared_rows`
    longest : no vector is longer
    keys : (capacity, 2, KEY_BYTES) uint8, of the text and of the rest of the record
    previous : (capacity,) int64, the row of the item's version before, -1 for none
    ids : item id by row
    latest : item id to its newest row
    current : (m,) int64, the newest row of each trained item, by the artifact's row; -1 for none
    """

    def __init__(self, empty: ItemParts, n_trained: int, capacity: int = HEADROOM) -> None:
        self.n = 0
        self.longest = 0.0
        self.arrays: dict[str, AnyArray] = {
            name: np.empty((capacity, *array.shape[1:]), dtype=array.dtype) for name, array in empty.arrays().items()
        }
        self.keys = np.empty((capacity, 2, KEY_BYTES), dtype=np.uint8)
        self.previous: Int64 = np.empty(capacity, dtype=np.int64)
        self.ids: list[str] = []
        self.latest: dict[str, int] = {}
        self.current: Int64 = np.full(n_trained, -1, dtype=np.int64)

    @property
    def capacity(self) -> int:
        """Rows that fit before the arrays are copied."""
        return len(self.previous)

    def append(self, item_ids: Sequence[str], parts: ItemParts, keys: AnyArray) -> Int64:
        """Add a version of each item; return their rows, (m,) int64.

        Parameters
        ----------
        item_ids : each at most once
        keys : (m, 2, KEY_BYTES) uint8
        """
        rows = np.arange(self.n, self.n + len(item_ids), dtype=np.int64)
        self._reserve(self.n + len(item_ids))
        for name, array in parts.arrays().items():
            self.arrays[name][rows] = array
        self.longest = max(self.longest, longest(parts.vectors))
        self.keys[rows] = keys
        self.previous[rows] = [self.latest.get(item_id, -1) for item_id in item_ids]
        self.ids += item_ids
        self.n += len(item_ids)  # from here on a reader may be sent to the new rows
        self.latest.update(zip(item_ids, rows.tolist(), strict=True))
        is_trained = parts.trained >= 0
        self.current[parts.trained[is_trained]] = rows[is_trained]
        return rows

    def parts(self, rows: Int64) -> ItemParts:
        """Return the parts of some rows, copied."""
        return ItemParts(**{name: array[rows] for name, array in self.arrays.items()})

    def as_of(self, rows: Int64, n: int) -> Int64:
        """Return the rows of the same items' versions in a snapshot of ``n`` rows, -1 for none.

        Parameters
        ----------
        rows : int64 of any shape, -1 for none
        """
        is_later = rows >= n
        while is_later.any():
            rows = np.where(is_later, self.previous[np.where(is_later, rows, 0)], rows)
            is_later = rows >= n
        return rows

    def _reserve(self, n: int) -> None:
        """Make room for ``n`` rows, in private memory. Readers keep the arrays that they hold."""
        if n <= self.capacity:
            return
        capacity = n + max(HEADROOM, int(n * 0.5))
        for name, array in self.arrays.items():
            self.arrays[name] = _grown(array, self.n, capacity)
        self.keys, self.previous = _grown(self.keys, self.n, capacity), _grown(self.previous, self.n, capacity)


def _grown(array: AnyArray, n: int, capacity: int) -> AnyArray:
    grown = np.empty((capacity, *array.shape[1:]), dtype=array.dtype)
    grown[:n] = array[:n]
    return grown


class ItemIds(Sequence[str]):
    """The item ids of a snapshot, by row."""

    def __init__(self, rows: Rows, n: int) -> None:
        self._ids, self._n = rows.ids, n

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: Any) -> Any:
        return self._ids[: self._n][row] if isinstance(row, slice) else self._ids[row]

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids[: self._n])


class RowOf(Mapping[str, int]):
    """The row of each item in a snapshot.

    Hidden and withdrawn items have rows too, because they are signal in windows.
    """

    def __init__(self, rows: Rows, n: int) -> None:
        self._rows, self._latest, self._n = rows, rows.latest, n

    def __getitem__(self, item_id: str) -> int:
        row = self._latest[item_id]
        while row >= self._n:
            row = int(self._rows.previous[row])
        if row < 0:
            raise KeyError(item_id)
        return row

    def get(self, item_id: str, default: Any = None) -> Any:
        """Return the row of an item, or ``default`` where the snapshot does not have it."""
        row = self._latest.get(item_id, -1)
        while row >= self._n:
            row = int(self._rows.previous[row])
        return default if row < 0 else row

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and self.get(item_id) is not None

    def __iter__(self) -> Iterator[str]:
        return (item_id for item_id in list(self._latest) if item_id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def rows(self, item_ids: Sequence[str]) -> Int64:
        """Return the rows of items, (m,) int64, -1 for those that the snapshot does not have."""
        latest = self._latest
        rows = np.fromiter(map(latest.get, item_ids, repeat(-1)), np.int64, len(item_ids))
        return self._rows.as_of(rows, self._n)
