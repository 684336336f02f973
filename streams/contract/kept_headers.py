"""A rejected record's own headers.

A reject carries them beside the headers that give the reason; redriving restores them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Prefix of a kept header's name: no producer's header can be taken for one of headrace.
ORIGINAL: Final = "original."
#: Header with the number of headers that did not fit; absent when all did.
LEFT_OUT: Final = "original-headers-left-out"
#: Most bytes of kept names and values: a reject must fit on its topic, whatever a producer sends.
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
    """Return a rejected record's own headers, given the headers of its reject."""
    return [(name.removeprefix(ORIGINAL), value) for name, value in headers if name.startswith(ORIGINAL)]
