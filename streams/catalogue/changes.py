"""What changed in an item: its text, its other features, or only whether lists may show it."""

from __future__ import annotations

import hashlib
import heapq
from typing import Final

import msgspec

from models.ranking.catalogue.rows import KEY_BYTES
from streams.contract.item_records import is_shown, next_change_ms
from streams.contract.records import Item

_encoder: Final = msgspec.msgpack.Encoder()


def text_key(item: Item) -> bytes:
    """Return a hash of the fields that make an item's text."""
    return _hash((item.title, item.text, item.category, item.tags, item.categories))


def rest_key(item: Item, *, has_features: bool = True) -> bytes:
    """Return a hash of the fields that are features, or that rules ask about, and no text.

    Parameters
    ----------
    has_features : whether anybody reads ``features``
    """
    features = item.features if has_features else None
    return _hash((item.price, features, item.published_ts, item.available is None))


def _hash(fields: object) -> bytes:
    return hashlib.blake2b(_encoder.encode(fields), digest_size=KEY_BYTES).digest()


class Schedule:
    """When ``published_ts`` shows an item and ``expires_ts`` hides it, without another record.

    It keeps the items whose time is yet to come, and no others.
    """

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        # a heap; entries of replaced items stay until they are due
        self._due: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, now_ms: int) -> None:
        """Note the times of an item's newest record."""
        due_ms = next_change_ms(item, now_ms)
        if due_ms is None:
            self._items.pop(item.item_id, None)
        else:
            self._items[item.item_id] = item
            heapq.heappush(self._due, (due_ms, item.item_id))

    def remove(self, item_id: str) -> None:
        """Forget an item that was removed."""
        self._items.pop(item_id, None)

    def next_ms(self) -> int | None:
        """Return when the next item is due; None without one."""
        while self._due and self._due[0][1] not in self._items:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_due(self, now_ms: int) -> dict[str, bool]:
        """Return whether lists may show the items that have come due since the last call."""
        due: dict[str, bool] = {}
        while (next_ms := self.next_ms()) is not None and next_ms <= now_ms:
            item = self._items[heapq.heappop(self._due)[1]]
            due[item.item_id] = is_shown(item, now_ms)
            self.put(item, now_ms)
        return due
