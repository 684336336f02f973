"""Unpacked bytes that are read in order, in bounded memory, and the record that is made of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aiokafka.errors import CorruptRecordException

from streams.contract.record_size import CutBytes

#: A longer key or value is cut. ``events.rejected`` holds only smaller ones whole.
PART_BYTES: Final = 2 << 20
#: The length after the cut: more than any record may have, so that every reader refuses it.
CUT_BYTES: Final = 128 << 10

_LENGTH: Final = struct.Struct(">i")
#: Of a varint of 64 bits.
MAX_VARINT_BYTES: Final = 10


class ReadRecord(NamedTuple):
    """A record in the shape of aiokafka's own, made without its parsers."""

    offset: int
    timestamp: int | None
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class Source:
    """Unpacked bytes, read in order; holds at most a piece and the beginning of one record."""

    def __init__(self, unpacked: Iterator[Any]) -> None:
        self._unpacked = unpacked
        self._held = bytearray()
        self._at = 0
        self.taken = 0

    def held(self) -> memoryview:
        """Return the bytes that are held and not read yet."""
        return memoryview(self._held)[self._at :]

    def more(self) -> bool:
        """Append the next piece; return False at the end."""
        piece = next(self._unpacked, None)
        if piece is None:
            return False
        del self._held[: self._at]
        self._at = 0
        self._held += piece
        return True

    def skip(self, size: int) -> None:
        """Skip bytes, in bounded memory."""
        if size < 0:
            raise CorruptRecordException(f"a length field of a batch says {size} bytes")
        self.taken += size
        while size > (held := len(self._held) - self._at):
            size -= held
            self._at += held
            self._need()
        self._at += size

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        while size > len(self._held) - self._at:
            self._need()
        taken = bytes(self.held()[:size])
        self.skip(size)
        return taken

    def varint(self) -> int:
        """Return the next number, written as a zigzag varint of at most 64 bits."""
        number = shift = 0
        while shift < 7 * MAX_VARINT_BYTES:
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number >> 1 ^ -(number & 1)
            shift += 7
        raise CorruptRecordException("a number has more than 64 bits")

    def int32(self) -> int:
        """Return the next number, written in 4 bytes."""
        number: int = _LENGTH.unpack(self.take(4))[0]
        return number

    def part(self, size: int) -> bytes | None:
        """Return a key or value of ``size`` bytes, cut if it is large; None for a negative size."""
        if size < 0:
            return None
        if size <= PART_BYTES:
            return self.take(size)
        beginning = self.take(CUT_BYTES)
        self.skip(size - CUT_BYTES)
        return CutBytes(beginning, size)

    def _need(self) -> None:
        if not self.more():
            raise CorruptRecordException("a batch ends inside a record")
