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
        self._items: dict[int, tuple[str, ...]] = {}
        self.add(item_ids)

    def add(self, item_ids: Iterable[str]) -> None:
        """Take in items; those that are here already change nothing."""
        for item_id in item_ids:
            same = self._items.get(key := int.from_bytes(seen_hash(item_id), "little"), ())
            if item_id not in same:
                self._items[key] = (*same, item_id)

    def items(self, seen: bytes) -> set[str]:
        """Return the item ids behind packed hashes; items outside the catalogue are left out."""
        n_whole = len(seen) // SEEN_BYTES
        of_hashes = map(self._items.get, np.frombuffer(seen, "<u4", n_whole).tolist())
        return set(chain.from_iterable(filter(None, of_hashes)))
