"""Bounds how much a consumer unpacks at once and how much one poll returns.

aiokafka unpacks each compressed batch whole, and a poll counts records, not bytes. Here a batch is
unpacked piece by piece (:mod:`streams.kafka.fetching.compressed_batches`). A poll ends when the
records of a partition are above :data:`POLL_BYTES`, or above the batch size of the settings; the
next poll goes on from there.

Each record becomes one :class:`FetchedRecord`, without the checksum, sizes and deserializers that
aiokafka has and nobody here uses. The cycle collector does not look at it. That takes 0.4 us for a
record in place of 1.0.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from streams.contract.record_size import true_size
from streams.kafka.fetching.byte_source import CUT_BYTES
from streams.kafka.fetching.compressed_batches import HEADER_OVERHEAD_BYTES, bounded


class FetchedRecord(msgspec.Struct, gc=False):
    """A record as the broker sent it; replaces aiokafka's ``ConsumerRecord``."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


#: Size of the Python objects of one record.
RECORD_OVERHEAD_BYTES: Final = 512
#: A poll takes no more records of a partition when keys, values, headers and objects exceed this.
POLL_BYTES: Final = 4 << 20

_LENGTH: Final = struct.Struct(">i")
_LENGTH_AT: Final = 8
_LOG_OVERHEAD_BYTES: Final = 12  # offset and length, in front of every batch


def bound_fetches(max_records: int = 0, max_bytes: int = 0) -> None:
    """Bound all consumers of this process, also those of Faust. Repeat-safe.

    Call it before a consumer starts.

    Parameters
    ----------
    max_records, max_bytes : size of the caller's polls; raises the bound if it is above
        :data:`POLL_BYTES`
    """
    result = fetcher.FetchResult
    wanted = max_bytes + max_records * RECORD_OVERHEAD_BYTES
    result.poll_bytes = max(POLL_BYTES, wanted, getattr(result, "poll_bytes", 0))
    result.getall = _getall
    fetcher.PartitionRecords._consumer_record = _consumer_record
    fetcher.MemoryRecords = BoundedRecords


class BoundedRecords:
    """The record batches of one partition's fetch; replaces aiokafka's ``MemoryRecords``.

    Parameters
    ----------
    data : the batches as the broker sent them; the last one may be incomplete
    """

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> Any:
        """Return the next batch; a compressed one unpacks while it is iterated."""
        batch, begin = self._records.next_batch(), self._at
        if batch is None:
            return None
        self._at += _LOG_OVERHEAD_BYTES + _LENGTH.unpack_from(self._data, begin + _LENGTH_AT)[0]
        return bounded(batch, self._data[begin : self._at])


def _getall(self: Any, max_records: int | None = None) -> list[Any]:
    """Return a partition's next records, with a bound of bytes.

    It replaces aiokafka's ``FetchResult.getall``.
    """
    if not self.check_assignment(self._topic_partition) or not self.has_more():
        return []
    records: list[Any] = []
    take = records.append
    room = self.poll_bytes
    # the iterator that __next__ of the partition's records calls: one call less for each record
    for record in self._partition_records._records_iterator:
        take(record)
        key, value = record.key, record.value
        size = len(value) if value is not None else 0
        room -= RECORD_OVERHEAD_BYTES + size + (len(key) if key is not None else 0)
        if record.headers or size >= CUT_BYTES:
            room -= _rest_of_size(record)
        if room <= 0 or len(records) == max_records:
            self._update_position()
            return records
    self._update_position()
    self._partition_records = None
    return records


def _consumer_record(_self: Any, tp: Any, record: Any) -> FetchedRecord:
    headers = record.headers
    return FetchedRecord(
        tp.topic,
        tp.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        tuple(headers) if headers else (),
    )


def _rest_of_size(record: Any) -> int:
    """Return the bytes of a record's headers and of the part of its value that was cut off.

    The cut part counts because unpacking it took time, and a poll's time is bounded as well.
    """
    size = true_size(record.value) - len(record.value or b"")
    for name, value in record.headers:
        size += HEADER_OVERHEAD_BYTES + len(name) + len(value or b"")
    return size
