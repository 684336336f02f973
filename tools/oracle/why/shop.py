"""The catalogue as it was: the records of ``items`` by the time at which they were written.

The topic is compacted: of an item whose record was replaced, the one of then may be gone. Then the
first record that is left stands for it where the item must have been there, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from streams.contract.records import Item
from streams.settings.load import KafkaSettings
from tools.catalogue.items_topic import ITEMS

#: A recommender takes a record of ``items`` in within this time; a list from around it may have
#: been made before or after.
TAKEN_IN_MS: Final = 5_000


@dataclass(frozen=True)
class Shop:
    """The items at a time.

    Parameters
    ----------
    items : those that the catalogue had, hidden ones included
    removed : when each item was removed that was not there any more, in ms since 1970
    later : when each item's first record was written of those whose records are all later
    replaced : items among ``items`` whose record of then is gone, and stands for it a later one
    near : items with a record around that time, which a recommender had or had not taken in
    """

    items: dict[str, Item]
    removed: dict[str, int]
    later: dict[str, int]
    replaced: frozenset[str]
    near: frozenset[str]


@dataclass(frozen=True)
class ItemHistory:
    """All records of ``items`` that the topic still holds.

    Parameters
    ----------
    records : by item, in the order of the log: timestamp, and the item or None for a removal
    """

    records: dict[str, list[tuple[int, Item | None]]] = field(default_factory=dict)

    @classmethod
    async def read(cls, settings: KafkaSettings) -> ItemHistory:
        """Return the records on the topic."""
        history = cls()
        async for ts_ms, item_id, item in ITEMS.dated_changes(settings):
            history.records.setdefault(item_id, []).append((ts_ms, item))
        return history

    def as_of(self, at_ms: int, known: Collection[str]) -> Shop:
        """Return the items at a time.

        Parameters
        ----------
        known : items that must have been there: an item whose records are all later stands for
            itself where it is one of them, and had not come yet otherwise
        """
        items: dict[str, Item] = {}
        removed: dict[str, int] = {}
        later: dict[str, int] = {}
        near: set[str] = set()
        for item_id, records in self.records.items():
            before = [record for record in records if record[0] <= at_ms]
            near |= {item_id for ts_ms, _ in records if abs(ts_ms - at_ms) <= TAKEN_IN_MS}
            if before:
                ts_ms, item = before[-1]
                if item is None:
                    removed[item_id] = ts_ms
                else:
                    items[item_id] = item
                continue
            ts_ms, first = records[0]
            later[item_id] = ts_ms
            if first is not None and item_id in known:
                items[item_id] = first
        return Shop(items, removed, later, frozenset(items.keys() & later.keys()), frozenset(near))

    def title(self, item_id: str) -> str | None:
        """Return the newest title of an item; None where the topic has none."""
        items = [item for _, item in self.records.get(item_id, ()) if item is not None]
        return items[-1].title if items else None
