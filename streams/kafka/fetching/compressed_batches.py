"""Compressed record batches, read piece by piece, however much they unpack to.

All records of a batch come in order and at their offsets, also when the batch unpacks to more than
:data:`~streams.kafka.fetching.unpacking.PIECE_BYTES`. A key or value above ``PART_BYTES`` is cut
(:class:`~streams.contract.record_size.CutBytes`): no record of headrace may be so large, so the
record is rejected like every other one that is too large.

References
----------
Kafka documentation, "Message Format": record batch, record, and the old message sets
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from streams.kafka.fetching.byte_source import CUT_BYTES, MAX_VARINT_BYTES, PART_BYTES, ReadRecord, Source
from streams.kafka.fetching.legacy_batches import ATTRIBUTES_AT as LEGACY_ATTRIBUTES_AT
from streams.kafka.fetching.legacy_batches import MAGIC_AT, LegacyCompressedBatch
from streams.kafka.fetching.unpacking import pieces

#: Python's objects of one header.
HEADER_OVERHEAD_BYTES: Final = 64

_LENGTH: Final = struct.Struct(">i")
_CODEC_MASK: Final = 0x07
_ATTRIBUTES_AT: Final = 21
_COUNT_AT: Final = 57
_HEADER_BYTES: Final = 61


def bounded(batch: Any, data: memoryview) -> Any:
    """Return a batch that is read piece by piece if it is compressed, else the batch itself.

    Parameters
    ----------
    batch : aiokafka's batch of ``data``, not iterated yet
    data : the whole batch as the broker sent it
    """
    is_legacy = data[MAGIC_AT] < 2
    codec = data[LEGACY_ATTRIBUTES_AT if is_legacy else _ATTRIBUTES_AT + 1] & _CODEC_MASK
    if codec == 0 or batch.is_control_batch:
        return batch
    return LegacyCompressedBatch(batch, data, codec) if is_legacy else CompressedBatch(batch, data, codec)


class CompressedBatch:
    """A compressed batch of Kafka's record format 2 (Kafka 0.11 and later)."""

    def __init__(self, batch: Any, data: memoryview, codec: int) -> None:
        self._batch = batch
        self._data = data
        self._codec = codec

    def __getattr__(self, name: str) -> Any:
        """Return a field of the batch's header."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """Unpack and return the records.

        Raise :class:`CorruptRecordException` where they are damaged.
        """
        unpacked = pieces(self._codec, self._data[_HEADER_BYTES:])
        first = next(unpacked, b"")
        (count,) = _LENGTH.unpack_from(self._data, _COUNT_AT)
        if (second := next(unpacked, None)) is None:
            return iter(self._plain(count, first))
        return self._read(Source(_in_turn([second, first], unpacked)), count)

    def _plain(self, count: int, records: Any) -> Any:
        """Return an uncompressed batch of these records, for aiokafka's compiled parser."""
        header = bytearray(self._data[:_HEADER_BYTES])
        header[_ATTRIBUTES_AT + 1] &= ~_CODEC_MASK
        _LENGTH.pack_into(header, _COUNT_AT, count)
        return DefaultRecordBatch(b"".join((header, records)))

    def _read(self, source: Source, left: int) -> Iterator[Any]:
        while True:
            count, size = _whole_records(source.held())
            if count > left:
                raise CorruptRecordException(
                    f"a batch has more records than its header says: offset {self.base_offset}"
                )
            left -= count
            if count:
                records = self._plain(count, source.held()[:size])
                source.skip(size)
                yield from records
                del records
            elif _is_large(source.held()):
                if left == 0:
                    raise CorruptRecordException(
                        f"a batch has more records than its header says: offset {self.base_offset}"
                    )
                left -= 1
                yield self._large_record(source)
            elif not source.more():
                break
        if left or len(source.held()):
            raise CorruptRecordException(f"a batch ends inside its records: offset {self.base_offset}, {left} left")

    def _large_record(self, source: Source) -> Any:
        """Read a record that need not fit into memory."""
        length = source.varint()
        end = source.taken + length
        source.skip(1)  # attributes: none are in use
        since_ms, offset = source.varint(), source.varint()
        key, value = source.part(source.varint()), source.part(source.varint())
        headers = _headers(source)
        if source.taken > end:
            raise CorruptRecordException(
                f"a record is longer than its length field says: offset {self.base_offset + offset}"
            )
        source.skip(end - source.taken)
        timestamp = self.max_timestamp if self.timestamp_type == 1 else self.first_timestamp + since_ms
        return ReadRecord(self.base_offset + offset, timestamp, self.timestamp_type, key, value, headers)


def _in_turn(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    """Yield the pieces of a list from its end, releasing each, then the rest."""
    while first:
        yield first.pop()
    yield from rest


def _headers(source: Source) -> list[tuple[str, bytes | None]]:
    """Return the first headers of a large record, as many as have room."""
    headers: list[tuple[str, bytes | None]] = []
    room = CUT_BYTES
    for _ in range(source.varint()):
        size = source.varint()
        room -= size + HEADER_OVERHEAD_BYTES
        if size < 0 or room < 0:
            break
        name = source.take(size).decode()
        size = source.varint()
        room -= max(0, size)
        if room < 0:
            break
        headers.append((name, None if size < 0 else source.take(size)))
    return headers


def _whole_records(held: memoryview) -> tuple[int, int]:
    """Return how many whole records the held bytes begin with, and their size.

    None of these records is large.
    """
    count = at = 0
    end = len(held)
    while at < end:
        length, begin = _length(held, at)
        if begin + length > end or length > PART_BYTES:
            break
        at = begin + length
        count += 1
    return count, at


def _is_large(held: memoryview) -> bool:
    """Whether the record that begins here is so large that it is read in parts."""
    return len(held) > 0 and _length(held, 0)[0] > PART_BYTES


def _length(held: memoryview, at: int) -> tuple[int, int]:
    """Return the length of the record at ``at``, and where the record begins behind the length.

    A length field that is not complete yet is returned as a record that ends behind the held bytes.
    """
    byte = held[at]
    if byte < 0x80:  # a short record, as most are: the loop below gives the same
        return byte >> 1, at + 1
    length = shift = 0
    for i in range(at, min(at + MAX_VARINT_BYTES, len(held))):
        byte = held[i]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length >> 1, i + 1
        shift += 7
    return (0, len(held) + 1) if shift < 7 * MAX_VARINT_BYTES else (PART_BYTES + 1, len(held))
