"""The unit of work: a record batch of one partition.

Faust hands an agent one event at a time, which costs about 240 us for each. Two of its documented
settings change that: the scheduling strategy here yields all fetched records of a partition as one
message, and the schema passes them through untouched. For the way out see
:mod:`streams.kafka.batch_writer`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import faust
from faust.types import TP
from faust.types.transports import SchedulingStrategyT

from streams.contract.kafka_records import ConsumedRecord, Headers


class FetchedRecords(list[ConsumedRecord]):
    """Consecutive records of one partition.

    ``follows`` is the offset that was fetched just before the first of them. It is -1 when they
    begin a new reading: a first fetch, or a fetch after a seek back. An agent that has not seen
    that offset has missed records.
    """

    __slots__ = ("follows",)

    def __init__(self, records: Iterable[ConsumedRecord], follows: int = -1) -> None:
        super().__init__(records)
        self.follows = follows


class RecordBatch:
    """Consecutive records of a partition in the shape of one record, with the last one's offset."""

    __slots__ = ("offset", "partition", "timestamp", "topic", "value")

    timestamp_type = 0
    headers: Headers = ()
    key = None
    checksum = None
    serialized_key_size = 0
    serialized_value_size = 0

    def __init__(self, tp: TP, records: FetchedRecords) -> None:
        last = records[-1]
        self.topic = tp.topic
        self.partition = tp.partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.value = records


def split_by_size(records: list[ConsumedRecord], max_records: int, max_bytes: int) -> Iterator[list[ConsumedRecord]]:
    """Cut fetched records, in order, into batches within both bounds.

    A record above ``max_bytes`` is a batch of its own.
    """
    sizes = [len(record.value or b"") + len(record.key or b"") for record in records]
    if records and len(records) <= max_records and sum(sizes) <= max_bytes:
        yield records  # as fetches mostly are
        return
    start, size = 0, 0
    for i, record_bytes in enumerate(sizes):
        if i > start and (i - start >= max_records or size + record_bytes > max_bytes):
            yield records[start:i]
            start, size = i, 0
        size += record_bytes
    if start < len(records):
        yield records[start:]


class BatchScheduler(SchedulingStrategyT):
    """Yields one record batch of each partition in turn, so that no partition starves."""

    max_records: ClassVar[int]
    max_bytes: ClassVar[int]

    def __init__(self) -> None:
        # last offset fetched, whether or not Faust goes on to deliver it
        self._fetched: dict[TP, int] = {}

    def iterate(self, records: Mapping[TP, list[ConsumedRecord]]) -> Iterator[tuple[TP, RecordBatch]]:
        """Cut what was fetched into batches."""
        return self._in_turn({tp: deque(self._cut(tp, fetched)) for tp, fetched in records.items() if fetched})

    def forget(self, tp: TP) -> None:
        """Begin to read a partition anew: its next records follow none."""
        self._fetched.pop(tp, None)

    def fetched(self, tp: TP) -> int:
        """Return the last offset fetched in this reading of a partition, or -1."""
        return self._fetched.get(tp, -1)

    def _cut(self, tp: TP, fetched: list[ConsumedRecord]) -> Iterator[FetchedRecords]:
        follows = self._fetched.get(tp, -1)
        if follows >= fetched[0].offset:
            follows = -1
        for records in split_by_size(fetched, self.max_records, self.max_bytes):
            yield FetchedRecords(records, follows)
            follows = self._fetched[tp] = records[-1].offset

    def _in_turn(self, queues: dict[TP, deque[FetchedRecords]]) -> Iterator[tuple[TP, RecordBatch]]:
        while queues:
            for tp in list(queues):
                yield tp, RecordBatch(tp, queues[tp].popleft())
                if not queues[tp]:
                    del queues[tp]


def batch_scheduler(max_records: int, max_bytes: int) -> type[BatchScheduler]:
    """Return the class for Faust's setting ``ConsumerScheduler`` with these bounds."""
    return type("BoundedBatchScheduler", (BatchScheduler,), {"max_records": max_records, "max_bytes": max_bytes})


class BatchSchema(faust.Schema):
    """A topic schema that hands a record batch to the agent unchanged."""

    def compile(self, app: faust.App, **_: Any) -> Callable[..., Awaitable[Any]]:
        """Return a decoder of messages that changes nothing."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode
