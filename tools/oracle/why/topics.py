"""Reads single partitions from their end or between two offsets, through one consumer.

What an explanation looks for is near the end of a partition, or at a known offset. So a partition
is read in blocks from the newest record to the oldest, and most questions need one block.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from aiokafka import TopicPartition

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.roles import READS, Acl
from streams.kafka.permissions import check_rights
from streams.kafka.publisher import partition_of
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count, read_records, read_to_ends
from streams.settings.load import KafkaSettings

#: Offsets in the first block from the end; each further block has this many times more.
FIRST_BLOCK: Final = 2_000
GROWTH: Final = 4
#: A partition often ends with the marker of a transaction, for which a poll waits in vain.
POLL_MS: Final = 20


class Topics:
    """The topics of a deployment, named as in the contract. For one event loop.

    Parameters
    ----------
    consumer : in no group; the caller stops it
    """

    def __init__(self, settings: KafkaSettings, consumer: Any) -> None:
        self.settings = settings
        self._consumer = consumer
        self._counts: dict[str, int] = {}

    async def partitions_of(self, topic: str, key: bytes) -> list[int]:
        """Return the partitions of a topic that may hold records of a user, the likeliest first."""
        if topic not in self._counts:
            self._counts[topic] = await partition_count(self.settings, self.settings.topic(topic))
        n = self._counts[topic]
        home = partition_of(key, n, self.settings.partitioner)
        # other producers may encode their keys: then the partition does not follow from the user
        others = [] if self.settings.events_format == "headrace" else [p for p in range(n) if p != home]
        return [home, *others]

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the offset of the first record that is left, and that behind the last one."""
        tp = self._assign(topic, partition)
        first, end = await self._consumer.beginning_offsets([tp]), await self._consumer.end_offsets([tp])
        return int(first[tp]), int(end[tp])

    async def offset_at(self, topic: str, partition: int, ts_ms: int) -> int | None:
        """Return the first offset whose record is at least so late; None where none is."""
        tp = self._assign(topic, partition)
        found = (await self._consumer.offsets_for_times({tp: ts_ms}))[tp]
        return None if found is None else int(found.offset)

    async def forwards(self, topic: str, partition: int, begin: int, end: int) -> AsyncIterator[ConsumedRecord]:
        """Yield the records from an offset on, up to the one before ``end``.

        Records before the first one that is left are passed over: who needs them asks
        :meth:`bounds`.
        """
        first, last = await self.bounds(topic, partition)
        begin, end = max(begin, first), min(end, last)
        if begin >= end:
            return
        tp = self._assign(topic, partition)
        self._consumer.seek(tp, begin)
        async for fetched in read_to_ends(self._consumer, {tp: end}, poll_ms=POLL_MS):
            for record in fetched.get(tp, ()):
                if record.offset < end:
                    yield record

    async def backwards(self, topic: str, partition: int, end: int | None = None) -> AsyncIterator[ConsumedRecord]:
        """Yield the records of a partition, the newest first.

        Parameters
        ----------
        end : offset behind the first record to yield; None begins at the end
        """
        first, last = await self.bounds(topic, partition)
        end = last if end is None else min(end, last)
        size = FIRST_BLOCK
        while end > first:
            begin = max(first, end - size)
            block = [record async for record in self.forwards(topic, partition, begin, end)]
            for record in reversed(block):
                yield record
            end, size = begin, size * GROWTH

    async def of_user(
        self, topic: str, partition: int, key: bytes, end: int | None = None
    ) -> AsyncIterator[ConsumedRecord]:
        """Yield the records of one key, the newest first."""
        async with contextlib.aclosing(self.backwards(topic, partition, end)) as records:  # type: ignore[type-var]
            async for record in records:
                if record.key == key:
                    yield record

    def whole(self, topic: str) -> AsyncIterator[ConsumedRecord]:
        """Yield the records of all partitions, each in order."""
        return read_records(self.settings, self.settings.topic(topic))

    def _assign(self, topic: str, partition: int) -> TopicPartition:
        tp = TopicPartition(self.settings.topic(topic), partition)
        if self._consumer.assignment() != {tp}:
            self._consumer.assign([tp])
        return tp


@contextlib.asynccontextmanager
async def open_topics(settings: KafkaSettings, names: Iterable[str] = READS["explainer"]) -> AsyncIterator[Topics]:
    """Give the topics of a deployment, once this client may read them.

    Raises
    ------
    BrokerError
        When the broker does not answer, or does not allow it.
    """
    await check_rights(settings, [Acl("topic", settings.topic(name), ("Read",)) for name in names])
    # questions about offsets share a connection with the fetch ahead, and wait until it is answered
    async with open_reader(settings, fetch_max_wait_ms=POLL_MS) as consumer:
        yield Topics(settings, consumer)
