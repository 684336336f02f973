"""Writers for a partition's owner alone: Kafka's producer fencing, without transactions.

A worker that was paused beyond its session timeout wakes up with a batch in hand. It would write
old windows over the windows of the partition's new owner. Therefore each partition has a producer
of its own, whose transactional id names the app and the partition. When a worker opens it, the
broker raises the *producer epoch* of that id. The first record of the new epoch in a partition, the
fence record, makes the broker refuse all older epochs there::

    worker A  epoch 7   w1 w2 w3 ....paused.................... w4 ► refused, the worker stops
    worker B  epoch 8              fence ► recover w1 w2 w3 ► w4' w5

No transaction is ever begun. The broker checks the epoch of plain idempotent batches as well, so
fencing makes no batch more expensive.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final

from streams.contract.kafka_records import OutRecord
from streams.kafka.batch_builder import STOP_TIMEOUT_S
from streams.kafka.batch_writer import MAX_BATCH_BYTES, BatchWriter, delivered
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_ID_LENGTH

#: Longer than any user_id, so that no user has this key. The value is a tombstone: readers skip it,
#: and compaction removes it.
FENCE_KEY: Final = b"fence".ljust(MAX_ID_LENGTH + 1, b".")
#: A broker forgets an unused transactional id, and its epoch, after 7 days
#: (transactional.id.expiration.ms).
RENEW_AFTER_S: Final = 86_400.0
#: A rebalance waits at most this long for a former writer: its batches are delivered, or refused.
FORMER_TIMEOUT_S: Final = 1.0


class PartitionWriters:
    """One fenced writer for each partition that this worker owns. For one event loop.

    Parameters
    ----------
    app_id : the app's consumer group; together with the partition it is the transactional id
    changelog : full name of the topic whose partitions are fenced
    """

    def __init__(self, settings: KafkaSettings, app_id: str, changelog: str) -> None:
        self._settings = settings
        self._app_id = app_id
        self._changelog = changelog
        self._writers: dict[int, BatchWriter] = {}
        self._opened: dict[int, float] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    async def own(self, partitions: Iterable[int]) -> None:
        """Begin a new epoch for these partitions and release all others.

        The new epoch fences off earlier owners. Call this before recovery: all records of an
        earlier owner then lie before the fence, and recovery reads them.

        Raises
        ------
        BrokerError
            When the broker does not grant the transactional id or the write.
        """
        await asyncio.gather(*(self._close(partition, FORMER_TIMEOUT_S) for partition in list(self._writers)))
        await asyncio.gather(*(self._open(partition) for partition in set(partitions)))

    def owns(self, partition: int) -> bool:
        """Whether this worker may write to the partition, as far as it knows."""
        return partition in self._writers

    async def renew(self, partitions: Iterable[int]) -> None:
        """Open writers again that are a day old.

        Only for partitions that this worker is known to own at this moment.
        """
        oldest = time.monotonic() - RENEW_AFTER_S
        for partition in set(partitions):
            if self._opened.get(partition, oldest + 1) <= oldest:
                async with self._lock(partition):
                    await self._close(partition)
                    await self._open(partition)

    async def send(
        self, topic: str, partition: int, records: Iterable[OutRecord], *, max_record_bytes: int = MAX_BATCH_BYTES
    ) -> list[asyncio.Future[Any]]:
        """Hand records to the partition's writer.

        As :meth:`streams.kafka.batch_writer.BatchWriter.send`, with its errors.

        Raises
        ------
        KeyError
            When the partition is not owned.
        """
        async with self._lock(partition):
            return await self._writers[partition].send(topic, partition, records, max_record_bytes=max_record_bytes)

    async def stop(self) -> None:
        """Flush and disconnect."""
        await asyncio.gather(*(self._close(partition) for partition in list(self._writers)))

    def _lock(self, partition: int) -> asyncio.Lock:
        return self._locks.setdefault(partition, asyncio.Lock())

    async def _open(self, partition: int) -> None:
        writer = BatchWriter(self._settings, transactional_id=f"{self._app_id}-{partition}")
        await writer.start()
        try:
            await delivered(await writer.send(self._changelog, partition, [OutRecord(FENCE_KEY, None)]))
        except BaseException:
            await writer.stop()
            raise
        self._writers[partition] = writer
        self._opened[partition] = time.monotonic()

    async def _close(self, partition: int, timeout_s: float = STOP_TIMEOUT_S) -> None:
        await self._writers.pop(partition).stop(timeout_s)
