"""Decides which records of ``items`` are catalogue entries.

Every reader of the topic asks here, so that all have the same catalogue.
"""

from __future__ import annotations

import contextlib
from typing import Final

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Item, RecordDecoder
from streams.errors import RecordError
from streams.settings.record_limits import MAX_ID_LENGTH

#: Most characters of a wrong key that a message quotes.
_SHOWN: Final = 64


class ItemDecoder:
    """Decodes records of ``items``. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._decoder = RecordDecoder(Item)

    def decode(self, record: ConsumedRecord) -> tuple[str, Item | None]:
        """Return the ``item_id`` and the entry, None for a removal: a record without value.

        Raises
        ------
        RecordError
            When the value breaks the contract, or the key is not the ``item_id``. Compaction and
            removal use the key, so nobody could replace or remove such an entry by its ``item_id``.
            Without a value: when the key cannot be an ``item_id``.
        """
        key = record.key
        if record.value is None:
            return _removed(key), None
        item = self._decoder.decode(record.value)
        if key is None or key != item.item_id.encode():
            raise RecordError(
                "key", "item_id", f"{_shown(key)}, item_id {item.item_id!r}; publish it under its item_id as key"
            )
        return item.item_id, item


def _removed(key: bytes | None) -> str:
    """Return the ``item_id`` that a record without value removes."""
    with contextlib.suppress(UnicodeDecodeError):
        item_id = (key or b"").decode()
        if 1 <= len(item_id) <= MAX_ID_LENGTH:
            return item_id
    raise RecordError(
        "key",
        "item_id",
        f"{_shown(key)} without a value; the key of a removal is an item_id, 1 to {MAX_ID_LENGTH} characters of UTF-8",
    )


def _shown(key: bytes | None) -> str:
    return "no record key" if key is None else f"record key {key[:_SHOWN]!r}"
