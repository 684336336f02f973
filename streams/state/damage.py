"""Records on state topics that another program damaged, and the log line about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

#: A log line shows at most this many and the total: one foreign producer must not fill the disk.
MAX_SHOWN: Final = 5
MAX_KEY_BYTES: Final = 40


class PassedOver(NamedTuple):
    """A skipped record: its offset (None if only its value is known), its key, and the reason."""

    offset: int | None
    key: bytes | None
    why: str


def describe(records: Sequence[PassedOver]) -> str:
    """Return the number of records, and offset, key and reason of the first few."""
    shown = "; ".join(_described(record) for record in records[:MAX_SHOWN])
    more = f"; and {len(records) - MAX_SHOWN} more" if len(records) > MAX_SHOWN else ""
    return f"{len(records)} passed over: {shown}{more}"


def _described(record: PassedOver) -> str:
    place = "" if record.offset is None else f"offset {record.offset}, "
    cut = "" if record.key is None or len(record.key) <= MAX_KEY_BYTES else "..."
    key = None if record.key is None else record.key[:MAX_KEY_BYTES]
    return f"{place}key {key!r}{cut}: {record.why[:120]}"
