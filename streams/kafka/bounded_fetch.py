"""What a consumer unpacks of fetched batches at once, and hands over at once, is bounded.

aiokafka unpacks each compressed batch whole, one at a time, and a poll takes as many records as it may, however large they are. Here a
batch comes piece by piece (:mod:`streams.kafka.compressed_batches`), and a poll ends once what it has read of a partition is above
:data:`POLL_BYTES` or what the settings give a batch; the next one goes on behind it.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from streams.contract.record_size import true_size
from streams.kafka.compressed_batches import CUT_BYTES, HEADER_OVERHEAD_BYTES, bounded

#: Python's objects of one record.
RECORD_OVERHEAD_BYTES: Final = 512
#: A poll takes no more records of a partition once their keys, values, headers and objects are above this.
POLL_BYTES: Final = 4 << 20

_LENGTH: Final = struct.Struct(">i")
_LENGTH_AT: Final = 8
_LOG_OVERHEAD_BYTES: Final = 12  # offset and length, which come before every batch


def bound_fetches(max_records: int = 0, max_bytes: int = 0) -> None:
    """Bound all consumers of this process, those of Faust too. Repeat-safe; to be called before a consumer starts.

    Parameters
    ----------
    max_records, max_bytes : what a poll of the caller's may take in any case, where that is above :data:`POLL_BYTES`
    """
    result = fetcher.FetchResult
    wanted = max_bytes + max_records * RECORD_OVERHEAD_BYTES
    result.poll_bytes = max(POLL_BYTES, wanted, getattr(result, "poll_bytes", 0))
    result.getall = _getall
    fetcher.MemoryRecords = BoundedRecords


class BoundedRecords:
    """The record batches of one partition's fetch, for aiokafka in the place of its ``MemoryRecords``.

    Parameters
    ----------
    data : the batches as the broker sent them; the last may be cut off
    """

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> Any:
        """Return the next batch; one that is compressed unpacks when it is iterated."""
        batch, begin = self._records.next_batch(), self._at
        if batch is None:
            return None
        self._at += _LOG_OVERHEAD_BYTES + _LENGTH.unpack_from(self._data, begin + _LENGTH_AT)[0]
        return bounded(batch, self._data[begin : self._at])


def _getall(self: Any, max_records: int | None = None) -> list[Any]:
    """Return a partition's next records: aiokafka's ``FetchResult.getall``, which also ends at its bound of bytes."""
    if not self.check_assignment(self._topic_partition) or not self.has_more():
        return []
    records: list[Any] = []
    take = records.append
    room = self.poll_bytes
    for record in self._partition_records._records_iterator:  # what its __next__ calls: a call less for each record
        take(record)
        room -= RECORD_OVERHEAD_BYTES + record.serialized_key_size + record.serialized_value_size
        if record.headers or record.serialized_value_size >= CUT_BYTES:
            room -= _rest_of_size(record)
        if room <= 0 or len(records) == max_records:
            self._update_position()
            return records
    self._update_position()
    self._partition_records = None
    return records


def _rest_of_size(record: Any) -> int:
    """Return the bytes of a record's headers, and what was unpacked of its value for nothing: time is bounded too."""
    size = true_size(record.value) - len(record.value or b"")
    for name, value in record.headers:
        size += HEADER_OVERHEAD_BYTES + len(name) + len(value or b"")
    return size
