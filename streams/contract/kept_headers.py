"""A rejected record's own headers, kept beside those that say why it was rejected, and given back when it is redriven."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: In front of a kept header's name: no name of a producer can be taken for one of ours.
ORIGINAL: Final = "original."
#: How many headers were left out for want of room; absent where none was.
LEFT_OUT: Final = "original-headers-left-out"
#: Names and values that are kept of one record: a reject must fit on its topic whatever a producer sends.
MAX_KEPT_BYTES: Final = 16_384


def kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """Return a record's headers under their kept names, in order, as many as fit."""
    kept: list[tuple[str, bytes]] = []
    room = MAX_KEPT_BYTES
    left_out = 0
    for name, value in headers:
        size = len(ORIGINAL) + len(name.encode()) + len(value or b"")
        if size > room:
            left_out += 1
            continue
        room -= size
        kept.append((ORIGINAL + name, value or b""))  # Kafka's null value: aiokafka cannot write it
    return [*kept, (LEFT_OUT, str(left_out).encode())] if left_out else kept


def original_headers(headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return the headers that a rejected record came with, out of those of its reject."""
    return [(name.removeprefix(ORIGINAL), value) for name, value in headers if name.startswith(ORIGINAL)]
