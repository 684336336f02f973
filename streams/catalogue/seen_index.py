"""Finds the items of a catalogue that a user had, by the hashes in the user's window."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from streams.contract.windows import seen_hash
from streams.settings.record_limits import SEEN_BYTES


class SeenIndex:
    """Finds catalogue items by the 4-byte hashes of items that have left a window."""

    def __init__(self, item_ids: Iterable[str]) -> None:
        self._items: dict[int, str] = {}
        # the other items with the hash of an item; at a million items there are about a hundred
        self._others: dict[str, tuple[str, ...]] = {}
        self.add(item_ids)

    def add(self, item_ids: Iterable[str]) -> None:
        """Take in items; those that are here already change nothing."""
        for item_id in item_ids:
            first = self._items.setdefault(int.from_bytes(seen_hash(item_id), "little"), item_id)
            if first != item_id and item_id not in self._others.get(first, ()):
                self._others[first] = (*self._others.get(first, ()), item_id)

    def items(self, seen: bytes) -> set[str]:
        """Return the item ids behind packed hashes; items outside the catalogue are left out."""
        n_whole = len(seen) // SEEN_BYTES
        found = set(filter(None, map(self._items.get, np.frombuffer(seen, "<u4", n_whole).tolist())))
        if self._others:
            found.update(chain.from_iterable(map(self._others.__getitem__, found & self._others.keys())))
        return found
