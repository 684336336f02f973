"""Compressed message sets of Kafka before 0.11, read piece by piece.

References
----------
Kafka documentation, "Message Format": the old message sets
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

from streams.kafka.fetching.byte_source import ReadRecord, Source
from streams.kafka.fetching.unpacking import pieces

MAGIC_AT: Final = 16
ATTRIBUTES_AT: Final = 17
_HEAD: Final = struct.Struct(">qi")  # offset and length
_TIMESTAMP: Final = struct.Struct(">q")
_LOG_TIME_MASK: Final = 0x08
_LZ4: Final = 3


class LegacyCompressedBatch:
    """A compressed message set of format 0 or 1, from before Kafka 0.11.

    Old segments still hold some.
    """

    def __init__(self, batch: Any, data: memoryview, codec: int) -> None:
        self._batch = batch
        self._data = data
        self._codec = codec
        self._magic = data[MAGIC_AT]

    def __getattr__(self, name: str) -> Any:
        """Return a field of the message that wraps the set."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """Unpack and return the records.

        A set of several pieces is unpacked twice: the offset of the last record gives all others.
        """
        if self._magic == 0 and self._codec == _LZ4:
            raise UnsupportedCodecError(
                "Kafka 0.8 and 0.9 wrote lz4 in a format of their own, which headrace cannot read"
            )
        unpacked = self._pieces()
        next(unpacked, None)
        if next(unpacked, None) is None:
            return iter(self._batch)
        return self._read()

    def _pieces(self) -> Iterator[Any]:
        wrapper = Source(iter((self._data,)))
        wrapper.skip(ATTRIBUTES_AT + 1 + 8 * self._magic)
        wrapper.skip(max(0, wrapper.int32()))
        begin = wrapper.taken + 4
        return pieces(self._codec, self._data[begin : begin + wrapper.int32()])

    def _read(self) -> Iterator[Any]:
        wrapper_offset, base = self._batch.next_offset - 1, 0
        if self._magic == 1:
            *_, last = _legacy_offsets(Source(self._pieces()))
            base = max(0, wrapper_offset - last)
        source = Source(self._pieces())
        stamp: int | None = None
        if self._magic == 1 and self._data[ATTRIBUTES_AT] & _LOG_TIME_MASK:
            (stamp,) = _TIMESTAMP.unpack_from(self._data, ATTRIBUTES_AT + 1)
        while len(source.held()) or source.more():
            offset, end = _HEAD.unpack(source.take(_HEAD.size))
            end += source.taken
            source.skip(4)  # CRC: the wrapper's CRC covers the record
            magic, _ = source.take(2)
            timestamp = _TIMESTAMP.unpack(source.take(8))[0] if magic else None
            kind = None if timestamp is None else int(stamp is not None)
            key, value = source.part(source.int32()), source.part(source.int32())
            if source.taken != end:
                raise CorruptRecordException(f"a message set has a damaged record: offset {base + offset}")
            yield ReadRecord(base + offset, timestamp if stamp is None else stamp, kind, key, value, [])


def _legacy_offsets(source: Source) -> Iterator[int]:
    while len(source.held()) or source.more():
        offset, size = _HEAD.unpack(source.take(_HEAD.size))
        source.skip(size)
        yield offset
