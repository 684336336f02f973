"""Decides which records of ``items`` are catalogue entries, and which of ``users`` are users.

Every reader of a topic asks here, so that all have the same catalogue.
"""

from __future__ import annotations

import contextlib
from typing import Final, Generic, TypeVar

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Item, RecordDecoder, User
from streams.errors import RecordError
from streams.settings.record_limits import MAX_ID_LENGTH

EntryT = TypeVar("EntryT", Item, User)
#: Most characters of a wrong key that a message quotes.
_SHOWN: Final = 64


class EntryDecoder(Generic[EntryT]):
    """Decodes records whose key is their id. Not for use by two threads at once."""

    def __init__(self, struct: type[EntryT], id_field: str) -> None:
        self._decoder: RecordDecoder[EntryT] = RecordDecoder(struct)
        self._id_field = id_field

    def decode(self, record: ConsumedRecord) -> tuple[str, EntryT | None]:
        """Return the id and the entry, None for a removal: a record without value.

        Raises
        ------
        RecordError
            When the value breaks the contract, or the key is not the id. Compaction and removal use
            the key, so nobody could replace or remove such an entry by its id. Without a value:
            when the key cannot be an id.
        """
        key = record.key
        if record.value is None:
            return self._removed_id(key), None
        entry: EntryT = self._decoder.decode(record.value)
        entry_id: str = getattr(entry, self._id_field)
        if key is None or key != entry_id.encode():
            raise RecordError(
                "key",
                self._id_field,
                f"{_shown(key)}, {self._id_field} {entry_id!r}; publish it under its {self._id_field} as key",
            )
        return entry_id, entry

    def _removed_id(self, key: bytes | None) -> str:
        """Return the id of the entry that a record without value removes."""
        with contextlib.suppress(UnicodeDecodeError):
            entry_id = (key or b"").decode()
            if 1 <= len(entry_id) <= MAX_ID_LENGTH:
                return entry_id
        raise RecordError(
            "key",
            self._id_field,
            f"{_shown(key)} without a value; the key of a removal is the {self._id_field}, 1 to {MAX_ID_LENGTH} "
            "characters of UTF-8",
        )


class ItemDecoder(EntryDecoder[Item]):
    """Decodes records of ``items``."""

    def __init__(self) -> None:
        super().__init__(Item, "item_id")


class UserDecoder(EntryDecoder[User]):
    """Decodes records of ``users``."""

    def __init__(self) -> None:
        super().__init__(User, "user_id")


def is_shown(item: Item, now_ms: int) -> bool:
    """Whether lists may show an item at a time."""
    is_published = item.published_ts is None or item.published_ts <= now_ms
    is_expired = item.expires_ts is not None and item.expires_ts <= now_ms
    return item.available is not False and is_published and not is_expired


def next_change_ms(item: Item, now_ms: int) -> int | None:
    """Return when an item is shown or hidden next without another record; None for never."""
    if item.available is False or (item.published_ts is None and item.expires_ts is None):
        return None
    times = [ts for ts in (item.published_ts, item.expires_ts) if ts is not None and ts > now_ms]
    return min(times, default=None)


def _shown(key: bytes | None) -> str:
    return "no record key" if key is None else f"record key {key[:_SHOWN]!r}"
