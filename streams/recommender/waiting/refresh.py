"""New lists, without a new event, for users whose list is of the model before.

After a swap a job reads the windows on ``sequences`` again, and queues those of users who were
active lately behind all others, at a bounded rate. A user's stored vector says which model made the
list: so a job that begins again, after a rebalance or a restart, skips the users who are done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from streams.contract.records import UserVector, is_user_key
from streams.contract.windows import decode_list_window
from streams.errors import BrokerError, RecordError
from streams.health.counters import Metrics
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import read_to_ends
from streams.recommender.waiting.again import MAX_AGAIN
from streams.recommender.waiting.window_queue import WindowQueue
from streams.settings.load import KafkaSettings
from streams.state.table import BatchTable

log = logging.getLogger(__name__)

DAY_MS: Final = 86_400_000
#: Most users of a worker who get a new list in a second.
USERS_PER_S: Final = 400
POLL_S: Final = 0.02
RETRY_S: Final = 5.0
RECORDS_PER_POLL: Final = 1_000

_vector_decoder = msgspec.msgpack.Decoder(UserVector)


class Refresh:
    """Queues the windows of recently active users once more. For one event loop.

    Parameters
    ----------
    vectors : the users' stored vectors
    is_recovering : whether the vectors are still being recovered
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        queue: WindowQueue[Any],
        vectors: BatchTable,
        metrics: Metrics,
        is_recovering: Callable[[], bool],
    ) -> None:
        self._kafka = kafka
        self._queue = queue
        self._vectors = vectors
        self._metrics = metrics
        self._is_recovering = is_recovering
        self._partitions: frozenset[int] = frozenset()
        self._artifact, self._days = "", 0.0
        self._changed = asyncio.Event()

    def assigned(self, partitions: Collection[int]) -> None:
        """Read the windows of these partitions from now on."""
        self._partitions = frozenset(partitions)
        self._changed.set()

    def begin(self, artifact: str, days: float | None) -> None:
        """Refresh the users who were active within so many days; None refreshes nobody.

        Parameters
        ----------
        artifact : version of the artifact in force
        """
        self._artifact, self._days = artifact, days or 0.0
        self._changed.set()

    async def run(self) -> None:
        """Refresh what is begun until cancelled; begin again after each new assignment."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._is_recovering():
                await asyncio.sleep(POLL_S)
            if not self._days or not self._partitions:
                continue
            try:
                n_users = await self._refresh(self._artifact, time.time() * 1_000 - self._days * DAY_MS)
            except BrokerError as exc:
                log.warning("refresh: %s; the recommender tries again", exc)
                await asyncio.sleep(RETRY_S)
                self._changed.set()
                continue
            if not self._changed.is_set():
                log.info("refresh: %d users were queued for lists of artifact %s", n_users, self._artifact)

    async def _refresh(self, artifact: str, since_ms: float) -> int:
        topic = self._kafka.topic("sequences")
        tps = [TopicPartition(topic, partition) for partition in sorted(self._partitions)]
        n_users = 0
        async with open_reader(self._kafka, auto_offset_reset="earliest") as consumer:
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            async for fetched in read_to_ends(consumer, ends, max_records=RECORDS_PER_POLL):
                for tp, records in fetched.items():
                    for record in _newest(records):
                        if self._changed.is_set():
                            return n_users
                        if self._queue_again(tp.partition, record, artifact, since_ms):
                            n_users += 1
                            await self._pace(n_users)
        return n_users

    def _queue_again(self, partition: int, record: Any, artifact: str, since_ms: float) -> bool:
        try:
            state = decode_list_window(record.value)
        except RecordError:
            return False  # the collector of the partition reports it
        stored = self._stored(partition, record.key)
        if state.newest_ts < since_ms or stored is None:
            return False
        if stored.artifact == artifact or stored.revision != state.revision:
            return False
        return self._queue.add_again(partition, record.key, state, record.timestamp)

    def _stored(self, partition: int, key: bytes) -> UserVector | None:
        value = self._vectors.read(partition, key)
        if value is None:
            return None
        try:
            return _vector_decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    async def _pace(self, n_users: int) -> None:
        """Wait for the rate, and until the queue has room for more of these windows."""
        self._metrics.put("refresh_waiting", self._queue.n_again)
        if n_users % MAX_AGAIN == 0:
            await asyncio.sleep(MAX_AGAIN / USERS_PER_S)
        while self._queue.n_again >= 2 * MAX_AGAIN and not self._changed.is_set():
            await asyncio.sleep(POLL_S)


def _newest(records: Iterable[Any]) -> list[Any]:
    """Return the last record of each user among those fetched, unless it removes the user."""
    found = {record.key: record for record in records if record.key is not None and is_user_key(record.key)}
    return [record for record in found.values() if record.value is not None]
