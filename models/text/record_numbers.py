"""Where each key's record is, in twelve bytes a key: a dictionary would take ten times as much.

::

    sorted keys     1 4 7 9 ...     found by binary search
    their numbers   3 0 2 1 ...
    newer keys      {5: 4, 8: 5}    a dictionary, merged when it is an eighth of the arrays
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.base.types import AnyArray, Int64

#: Newer keys are merged in when they are more than this, and more than this share of the sorted.
MIN_NEWER: Final = 8_192
NEWER_SHARE: Final = 0.125


class RecordNumbers:
    """Numbers of records by the first eight bytes of their keys, which are hashes.

    Of two keys that begin alike one is found: a caller compares the key in the record.
    """

    def __init__(self) -> None:
        self._keys: AnyArray = np.empty(0, dtype=np.uint64)
        self._numbers: AnyArray = np.empty(0, dtype=np.uint32)
        self._newer: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._newer)

    def add(self, keys: AnyArray, numbers: Int64) -> None:
        """Add keys; a key that is here gets the new number.

        Parameters
        ----------
        keys : (n,) uint64
        numbers : (n,) int64, below 2**32
        """
        if len(keys) <= MIN_NEWER:
            self._newer.update(zip(keys.tolist(), numbers.tolist(), strict=True))
            keys, numbers = keys[:0], numbers[:0]
        if len(keys) or len(self._newer) > max(MIN_NEWER, NEWER_SHARE * len(self._keys)):
            newer = np.array([*self._newer.items()], dtype=np.uint64).reshape(-1, 2)
            self._newer.clear()
            # of equal keys np.unique keeps the first one, which is the newest
            self._keys, first = np.unique(np.concatenate([keys, newer[:, 0], self._keys]), return_index=True)
            parts = [numbers.astype(np.uint32), newer[:, 1].astype(np.uint32), self._numbers]
            self._numbers = np.concatenate(parts)[first]

    def find(self, keys: AnyArray) -> Int64:
        """Return the number of each key's record, (n,) int64; -1 for a key that is not here.

        Parameters
        ----------
        keys : (n,) uint64
        """
        found = np.full(len(keys), -1, dtype=np.int64)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            is_here = self._keys[places] == keys
            found[is_here] = self._numbers[places[is_here]]
        if self._newer:
            newer = np.fromiter((self._newer.get(key, -1) for key in keys.tolist()), np.int64, len(keys))
            found = np.where(newer >= 0, newer, found)
        return found


def heads(keys: Sequence[bytes]) -> AnyArray:
    """Return the first eight bytes of keys as numbers, (n,) uint64."""
    return np.frombuffer(b"".join(key[:8] for key in keys), dtype="<u8").astype(np.uint64, copy=False)
