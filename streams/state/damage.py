"""Records on state topics that another program damaged, and the log line about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.contract.pseudonyms import short_name
from streams.contract.records import is_user_key

#: A log line shows at most this many and the total: one foreign producer must not fill the disk.
MAX_SHOWN: Final = 5
MAX_KEY_BYTES: Final = 40


class PassedOver(NamedTuple):
    """A skipped record: its offset (None if only its value is known), its key, and the reason."""

    offset: int | None
    key: bytes | None
    why: str


def describe(records: Sequence[PassedOver]) -> str:
    """Return the number of records, and of the first few offset, key or user, and reason."""
    shown = "; ".join(_described(record) for record in records[:MAX_SHOWN])
    more = f"; and {len(records) - MAX_SHOWN} more" if len(records) > MAX_SHOWN else ""
    return f"{len(records)} passed over: {shown}{more}"


def _described(record: PassedOver) -> str:
    place = "" if record.offset is None else f"offset {record.offset}, "
    return f"{place}key {name_in_logs(record.key)}: {record.why[:120]}"


def name_in_logs(key: bytes | None) -> str:
    """Return a user by the short name, and any other key by its first bytes."""
    if key is not None and is_user_key(key):
        return short_name(key)
    cut = "" if key is None or len(key) <= MAX_KEY_BYTES else "..."
    return f"{None if key is None else key[:MAX_KEY_BYTES]!r}{cut}"
