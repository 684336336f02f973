"""Compressed record batches that are read piece by piece, however much they unpack to.

The records of a batch that unpacks to more than :data:`~streams.kafka.unpacking.PIECE_BYTES` come all the same, in order and at their
offsets. A key or value that alone is above :data:`PART_BYTES` is cut (:class:`~streams.contract.record_size.CutBytes`): nothing that
headrace reads may be so large, so its record is rejected like any that is too large.

References
----------
Kafka documentation, "Message Format": record batch, record, and the old message sets
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch

from streams.contract.record_size import CutBytes
from streams.kafka.unpacking import pieces

#: A key or value above this is cut; what ``events.rejected`` can hold whole is smaller.
PART_BYTES: Final = 2 << 20
#: What is left of it: more than any record may have, so that every reader refuses it.
CUT_BYTES: Final = 128 << 10
#: Python's objects of one header.
HEADER_OVERHEAD_BYTES: Final = 64

_LENGTH: Final = struct.Struct(">i")
_MAGIC_AT: Final = 16
_CODEC_MASK: Final = 0x07
_LEGACY_ATTRIBUTES_AT: Final = 17
_ATTRIBUTES_AT: Final = 21
_COUNT_AT: Final = 57
_HEADER_BYTES: Final = 61
_LEGACY_HEAD: Final = struct.Struct(">qi")  # offset and length
_LEGACY_TIMESTAMP: Final = struct.Struct(">q")
_LOG_TIME_MASK: Final = 0x08
_LZ4: Final = 3
_MAX_VARINT_BYTES: Final = 10


class ReadRecord(NamedTuple):
    """A record that no parser of aiokafka's has made, in the shape of those."""

    offset: int
    timestamp: int | None
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


def bounded(batch: Any, data: memoryview) -> Any:
    """Return a batch that is read piece by piece where it is compressed, else the batch.

    Parameters
    ----------
    batch : aiokafka's batch of ``data``, not iterated yet
    data : the whole batch as it was sent
    """
    is_legacy = data[_MAGIC_AT] < 2
    codec = data[_LEGACY_ATTRIBUTES_AT if is_legacy else _ATTRIBUTES_AT + 1] & _CODEC_MASK
    if codec == 0 or batch.is_control_batch:
        return batch
    return LegacyCompressedBatch(batch, data, codec) if is_legacy else CompressedBatch(batch, data, codec)


class CompressedBatch:
    """A batch of Kafka's record format 2 (Kafka 0.11 and later); its records come in order, whoever compressed them and how well."""

    def __init__(self, batch: Any, data: memoryview, codec: int) -> None:
        self._batch = batch
        self._data = data
        self._codec = codec

    def __getattr__(self, name: str) -> Any:
        """Return what the batch's header says."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """Unpack and give the records; raise :class:`CorruptRecordException` where they are none."""
        unpacked = pieces(self._codec, self._data[_HEADER_BYTES:])
        first = next(unpacked, b"")
        (count,) = _LENGTH.unpack_from(self._data, _COUNT_AT)
        if (second := next(unpacked, None)) is None:
            return iter(self._plain(count, first))
        return self._read(_Source(_in_turn([second, first], unpacked)), count)

    def _plain(self, count: int, records: Any) -> Any:
        """Return an uncompressed batch of these records, for aiokafka's compiled parser."""
        header = bytearray(self._data[:_HEADER_BYTES])
        header[_ATTRIBUTES_AT + 1] &= ~_CODEC_MASK
        _LENGTH.pack_into(header, _COUNT_AT, count)
        return DefaultRecordBatch(b"".join((header, records)))

    def _read(self, source: _Source, left: int) -> Iterator[Any]:
        while True:
            count, size = _whole_records(source.held())
            if count > left:
                raise CorruptRecordException(f"a batch has more records than it says: offset {self.base_offset}")
            left -= count
            if count:
                records = self._plain(count, source.held()[:size])
                source.skip(size)
                yield from records
                del records
            elif _is_large(source.held()):
                if left == 0:
                    raise CorruptRecordException(f"a batch has more records than it says: offset {self.base_offset}")
                left -= 1
                yield self._large_record(source)
            elif not source.more():
                break
        if left or len(source.held()):
            raise CorruptRecordException(f"a batch ends inside its records: offset {self.base_offset}, {left} left")

    def _large_record(self, source: _Source) -> Any:
        """Read a record that need not fit into memory."""
        length = source.varint()
        end = source.taken + length
        source.skip(1)  # attributes: none are in use
        since_ms, offset = source.varint(), source.varint()
        key, value = source.part(source.varint()), source.part(source.varint())
        headers = _headers(source)
        if source.taken > end:
            raise CorruptRecordException(f"a record is longer than it says: offset {self.base_offset + offset}")
        source.skip(end - source.taken)
        timestamp = self.max_timestamp if self.timestamp_type == 1 else self.first_timestamp + since_ms
        return ReadRecord(self.base_offset + offset, timestamp, self.timestamp_type, key, value, headers)


class LegacyCompressedBatch:
    """A compressed message set of the formats 0 and 1 (before Kafka 0.11), as old segments still hold them."""

    def __init__(self, batch: Any, data: memoryview, codec: int) -> None:
        self._batch = batch
        self._data = data
        self._codec = codec
        self._magic = data[_MAGIC_AT]

    def __getattr__(self, name: str) -> Any:
        """Return what the set's wrapper says."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """Unpack and give the records. Where they come in pieces, twice: the last one's offset tells those of all."""
        if self._magic == 0 and self._codec == _LZ4:
            raise UnsupportedCodecError("Kafka 0.8 and 0.9 wrote lz4 in a way of their own, which is not read")
        unpacked = self._pieces()
        next(unpacked, None)
        if next(unpacked, None) is None:
            return iter(self._batch)
        return self._read()

    def _pieces(self) -> Iterator[Any]:
        wrapper = _Source(iter((self._data,)))
        wrapper.skip(_LEGACY_ATTRIBUTES_AT + 1 + 8 * self._magic)
        wrapper.skip(max(0, wrapper.int32()))
        begin = wrapper.taken + 4
        return pieces(self._codec, self._data[begin : begin + wrapper.int32()])

    def _read(self) -> Iterator[Any]:
        wrapper_offset, base = self._batch.next_offset - 1, 0
        if self._magic == 1:
            *_, last = _legacy_offsets(_Source(self._pieces()))
            base = max(0, wrapper_offset - last)
        source = _Source(self._pieces())
        stamp: int | None = None
        if self._magic == 1 and self._data[_LEGACY_ATTRIBUTES_AT] & _LOG_TIME_MASK:
            (stamp,) = _LEGACY_TIMESTAMP.unpack_from(self._data, _LEGACY_ATTRIBUTES_AT + 1)
        while len(source.held()) or source.more():
            offset, end = _LEGACY_HEAD.unpack(source.take(_LEGACY_HEAD.size))
            end += source.taken
            source.skip(4)  # CRC: that of the wrapper covers it
            magic, _ = source.take(2)
            timestamp = _LEGACY_TIMESTAMP.unpack(source.take(8))[0] if magic else None
            kind = None if timestamp is None else int(stamp is not None)
            key, value = source.part(source.int32()), source.part(source.int32())
            if source.taken != end:
                raise CorruptRecordException(f"a message set has a damaged record: offset {base + offset}")
            yield ReadRecord(base + offset, timestamp if stamp is None else stamp, kind, key, value, [])


def _in_turn(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    """Yield the pieces of a list from its end, forgetting each, then the rest."""
    while first:
        yield first.pop()
    yield from rest


class _Source:
    """Unpacked bytes, read in order; at most a piece and the beginning of one record are held."""

    def __init__(self, unpacked: Iterator[Any]) -> None:
        self._unpacked = unpacked
        self._held = bytearray()
        self._at = 0
        self.taken = 0

    def held(self) -> memoryview:
        """Return what is held and not taken."""
        return memoryview(self._held)[self._at :]

    def more(self) -> bool:
        """Take in the next piece; return False at the end."""
        piece = next(self._unpacked, None)
        if piece is None:
            return False
        del self._held[: self._at]
        self._at = 0
        self._held += piece
        return True

    def skip(self, size: int) -> None:
        """Pass over bytes, however many."""
        if size < 0:
            raise CorruptRecordException(f"a batch says that something has {size} bytes")
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
        while shift < 7 * _MAX_VARINT_BYTES:
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
        """Return a key or value of ``size`` bytes, cut where it is large; None for a negative size."""
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


def _headers(source: _Source) -> list[tuple[str, bytes | None]]:
    """Return a large record's headers, as many of the first as have room."""
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
    """Return how many whole records, none of them large, begin the bytes that are held, and their size."""
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
    """Whether the record that begins here is one to read in parts."""
    return len(held) > 0 and _length(held, 0)[0] > PART_BYTES


def _length(held: memoryview, at: int) -> tuple[int, int]:
    """Return the length of the record at ``at``, and where it begins behind that; a length that is not all there does not end."""
    byte = held[at]
    if byte < 0x80:  # most records are shorter than 64 bytes, or than 8 KiB: the loop below would say the same
        return byte >> 1, at + 1
    length = shift = 0
    for i in range(at, min(at + _MAX_VARINT_BYTES, len(held))):
        byte = held[i]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length >> 1, i + 1
        shift += 7
    return (0, len(held) + 1) if shift < 7 * _MAX_VARINT_BYTES else (PART_BYTES + 1, len(held))


def _legacy_offsets(source: _Source) -> Iterator[int]:
    while len(source.held()) or source.more():
        offset, size = _LEGACY_HEAD.unpack(source.take(_LEGACY_HEAD.size))
        source.skip(size)
        yield offset
