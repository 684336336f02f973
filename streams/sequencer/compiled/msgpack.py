"""The part of msgpack that events and windows use, read and written by compiled loops.

Numbers stand in int64. A place of -1 says that the bytes are not what the caller expects, and
whatever is read from there is at -1 too: a caller may ask once, after several reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.base.compiled import compiled
from streams.sequencer.compiled.memory import byte_at, copy


@compiled
def text_at(data: Any, at: int, end: int) -> Any:
    """Return where the string at ``at`` begins and ends; (0, -1) where none ends by ``end``.

    Only the shortest form of a length counts, as msgspec writes it.
    """
    if at < 0 or at >= end:
        return 0, -1
    first = byte_at(data, at)
    if first & 0xE0 == 0xA0:
        begin, size = at + 1, first & 0x1F
    elif first == 0xD9 and at + 2 <= end:
        begin, size = at + 2, byte_at(data, at + 1)
        if size < 32:
            return 0, -1
    elif first == 0xDA and at + 3 <= end:
        begin, size = at + 3, byte_at(data, at + 1) << 8 | byte_at(data, at + 2)
        if size < 256:
            return 0, -1
    else:
        return 0, -1
    if begin + size > end:
        return 0, -1
    return begin, begin + size


@compiled
def big(data: Any, at: int, size: int) -> Any:
    """Return the number in ``size`` bytes at ``at``, the most significant first."""
    number = np.int64(0)
    for i in range(at, at + size):
        number = number << 8 | byte_at(data, i)
    return number


@compiled
def number_at(data: Any, at: int, end: int) -> Any:
    """Return the number at ``at``, from 0 to 2**63 - 1, and where it ends; -1 for any other."""
    if at < 0 or at >= end:
        return 0, -1
    first = byte_at(data, at)
    if first < 0x80:
        return first, at + 1
    if not 0xCC <= first <= 0xCF:
        return 0, -1
    size = 1 << (first - 0xCC)
    if at + 1 + size > end:
        return 0, -1
    number = big(data, at + 1, size)
    return (number, at + 1 + size) if number >= 0 else (np.int64(0), -1)


@compiled
def list_at(data: Any, at: int, end: int) -> Any:
    """Return the length of the list at ``at``, and where its first entry begins."""
    if at < 0 or at >= end:
        return 0, -1
    first = byte_at(data, at)
    if first & 0xF0 == 0x90:
        return first & 0x0F, at + 1
    if first == 0xDC and at + 3 <= end:
        return big(data, at + 1, 2), at + 3
    return 0, -1


@compiled
def bytes_at(data: Any, at: int, end: int) -> Any:
    """Return where the binary value at ``at`` begins and ends."""
    if at < 0 or at >= end:
        return 0, -1
    first = byte_at(data, at)
    if not 0xC4 <= first <= 0xC6:
        return 0, -1
    size = 1 << (first - 0xC4)
    begin = at + 1 + size
    if begin > end:
        return 0, -1
    stop = begin + big(data, at + 1, size)
    return (begin, stop) if stop <= end else (0, -1)


@compiled
def n_characters(data: Any, begin: int, end: int) -> Any:
    """Return the number of characters in bytes of UTF-8; -1 for other bytes.

    References
    ----------
    The Unicode Standard, table 3-7: well-formed UTF-8 byte sequences
    """
    n, at = 0, begin
    while at < end:
        first = byte_at(data, at)
        n += 1
        at += 1
        if first < 0x80:
            continue
        if not 0xC2 <= first <= 0xF4:
            return -1
        more = 1 + (first >= 0xE0) + (first >= 0xF0)
        if at + more > end:
            return -1
        least = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        most = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        if not least <= byte_at(data, at) <= most:
            return -1
        for i in range(at + 1, at + more):
            if byte_at(data, i) & 0xC0 != 0x80:
                return -1
        at += more
    return n


@compiled
def put_bytes(out: Any, o: int, data: Any, begin: int, end: int) -> Any:
    """Copy bytes to ``out`` from ``o`` on; return where they end."""
    copy(out, o, data, begin, end - begin)
    return o + end - begin


@compiled
def put_big(out: Any, o: int, number: int, size: int) -> Any:
    """Write a number in ``size`` bytes, the most significant first; return where it ends."""
    for i in range(size):
        out[o + i] = number >> 8 * (size - 1 - i) & 0xFF
    return o + size


@compiled
def put_number(out: Any, o: int, number: int) -> Any:
    """Write a number that is not negative in its shortest form; return where it ends."""
    if number < 0x80:
        out[o] = number
        return o + 1
    power = 0 if number <= 0xFF else 1 if number <= 0xFFFF else 2 if number <= 0xFFFFFFFF else 3
    out[o] = 0xCC + power
    return put_big(out, o + 1, number, 1 << power)


@compiled
def put_text(out: Any, o: int, data: Any, begin: int, end: int) -> Any:
    """Write a string of at most 65,535 bytes; return where it ends."""
    size = end - begin
    if size < 32:
        out[o] = 0xA0 | size
        o += 1
    else:
        is_long = size > 0xFF
        out[o] = 0xDA if is_long else 0xD9
        o = put_big(out, o + 1, size, 2 if is_long else 1)
    return put_bytes(out, o, data, begin, end)


@compiled
def put_list(out: Any, o: int, n: int) -> Any:
    """Write the length of a list of at most 65,535 entries; return where it ends."""
    if n < 16:
        out[o] = 0x90 | n
        return o + 1
    out[o] = 0xDC
    return put_big(out, o + 1, n, 2)
