"""Publishes records from outside the workers: fast, in order per partition, none lost in silence.

::

    publish ──► batch of the partition ──► sealed when full or old ──► producer ──► broker
                (setting partitioner)       (one at a time, so order is kept)

A record costs one append to a batch. There is one future per batch, not one per record.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from types import TracebackType
from typing import Any, Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    UnsupportedVersionError,
)
from aiokafka.partitioner import DefaultPartitioner

from streams.contract.kafka_records import Headers
from streams.errors import BrokerError
from streams.kafka.batch_builder import BatchBuilder, close_producer, open_producer
from streams.kafka.connection_diagnosis import why_not
from streams.settings.load import KafkaSettings

#: One record may have this many bytes; Kafka's default limit is 1,048,588 for the batch around it.
MAX_RECORD_BYTES: Final = 1_000_000
BATCH_BYTES: Final = 262_144
#: Longest time in seconds that a record waits for its batch to fill.
LINGER_S: Final = 0.05
#: Keys whose partition is remembered: murmur2 in Python costs more than the rest of a record's
#: work.
KEY_CACHE_SIZE: Final = 100_000
#: Errors of brokers that take the same records without idempotence.
NO_IDEMPOTENCE: Final = (UnsupportedVersionError, IncompatibleBrokerVersion, ClusterAuthorizationFailedError)


def partition_of(key: bytes, n_partitions: int, partitioner: str = "murmur2") -> int:
    """Return the partition of a key.

    Parameters
    ----------
    partitioner : ``murmur2``, the default of Kafka's Java client and of aiokafka, or ``crc32``, the
        default of librdkafka
    """
    if partitioner == "crc32":
        return zlib.crc32(key) % n_partitions
    return int(DefaultPartitioner()(key, range(n_partitions), ()))


class KeyHomes(dict[bytes, int]):
    """The partition of each key: ``homes[key]``; remembers up to :data:`KEY_CACHE_SIZE` keys.

    It is a dict because the sequencer looks up each user of each batch: a Python method would cost
    more than the lookup.
    """

    def __init__(self, n_partitions: int, partitioner: str) -> None:
        super().__init__()
        self.n_partitions = n_partitions
        self.partitioner = partitioner

    def __missing__(self, key: bytes) -> int:
        if len(self) >= KEY_CACHE_SIZE:
            self.clear()
        found = self[key] = partition_of(key, self.n_partitions, self.partitioner)
        return found


class _Lane:
    """The batch that is being built for one partition, and a lock that keeps batches in order."""

    __slots__ = ("builder", "lock", "partition", "since", "topic")

    def __init__(self, producer: Any, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.builder = BatchBuilder(producer)
        self.since: float | None = None  # when the batch got its first record (monotonic clock)
        self.lock = asyncio.Lock()


class Publisher:
    """An async context manager that publishes records keyed by bytes.

    Leaving the block without an error flushes. Memory is bounded: each partition has at most one
    batch that is being built, one that is handed over and one on its way. For one event loop.

    Parameters
    ----------
    settings : the broker and how to reach it

    Attributes
    ----------
    is_idempotent : whether the broker drops the repeats of a retried batch
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._lanes: dict[str, list[_Lane]] = {}
        self._lane_of: dict[tuple[str, bytes], _Lane] = {}
        self._handing: set[asyncio.Task[None]] = set()
        self._outstanding: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None
        self._linger: asyncio.Task[None] | None = None
        self.is_idempotent = True

    async def __aenter__(self) -> Publisher:
        try:
            try:
                self._producer = await self._connect()
            except NO_IDEMPOTENCE:
                self.is_idempotent = False
                self._producer = await self._connect()
        except (KafkaError, OSError) as exc:
            reason = await why_not(self._settings.addresses(), self._settings.client_arguments(), exc)
            raise BrokerError(
                f"broker {self._settings.broker} ({self._settings.security_protocol}) does not answer: {reason}"
            ) from None
        self._linger = asyncio.create_task(self._seal_old_batches())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            if self._linger is not None:
                self._linger.cancel()
            await close_producer(self._producer)

    async def _connect(self) -> Any:
        return await open_producer(self._settings, BATCH_BYTES, is_idempotent=self.is_idempotent)

    async def publish(self, topic: str, key: bytes, value: bytes | None, headers: Headers | None = None) -> None:
        """Take a record; it is delivered when a later :meth:`flush` returns.

        Parameters
        ----------
        topic : full name
        key : decides the partition
        value : None for a tombstone

        Raises
        ------
        BrokerError
            When the record is above the limit, the topic does not exist, or an earlier record was
            not delivered.
        """
        if self._failure is not None:
            raise self._delivery_error()
        lane = self._lane_of.get((topic, key))
        if lane is None:
            lane = await self._find_lane(topic, key)
        if value is not None and len(value) + len(key) > MAX_RECORD_BYTES - _size(headers):
            size = len(value) + len(key) + _size(headers)
            raise BrokerError(
                f"{topic}: a record of {size} bytes is above the limit of {MAX_RECORD_BYTES} bytes; publish smaller records"
            )
        while (full := lane.builder.add(key, value, headers or (), None)) is not None:
            lane.since = None
            await self._send(lane, full)
        if lane.since is None:
            lane.since = time.monotonic()

    async def flush(self) -> None:
        """Wait until the broker has acknowledged every record taken so far.

        Raises
        ------
        BrokerError
            When a record was not delivered, now or at any time before.
        """
        for lanes in self._lanes.values():
            for lane in lanes:
                await self._seal(lane)
        while self._handing or self._outstanding:
            await asyncio.wait([*self._handing, *self._outstanding])
        if self._failure is not None:
            raise self._delivery_error()

    async def _find_lane(self, topic: str, key: bytes) -> _Lane:
        lanes = self._lanes.get(topic) or await self._open_lanes(topic)
        if len(self._lane_of) >= KEY_CACHE_SIZE:
            self._lane_of.clear()
        lane = self._lane_of[topic, key] = lanes[partition_of(key, len(lanes), self._settings.partitioner)]
        return lane

    async def _open_lanes(self, topic: str) -> list[_Lane]:
        """Learn a topic's partitions.

        The list of all topics is read first: a question about one topic may create it.
        """
        try:
            if topic not in (await self._producer.client.fetch_all_metadata()).topics():
                raise BrokerError(f"topic {topic} does not exist; run: headrace topics create")
            partitions = await self._producer.partitions_for(topic)
        except KafkaError as exc:
            raise BrokerError(f"topic {topic}: {type(exc).__name__}: {exc}; see: headrace doctor") from exc
        return self._lanes.setdefault(
            topic, [_Lane(self._producer, topic, partition) for partition in sorted(partitions)]
        )

    async def _seal(self, lane: _Lane) -> None:
        """Hand a lane's batch over; it goes out even if the caller is cancelled."""
        batch, lane.since = lane.builder.close(), None
        if batch is not None:
            await self._send(lane, batch)

    async def _send(self, lane: _Lane, batch: Any) -> None:
        task = asyncio.ensure_future(self._hand_over(lane, batch))
        self._handing.add(task)
        task.add_done_callback(self._handing.discard)
        await asyncio.shield(task)

    async def _hand_over(self, lane: _Lane, batch: Any) -> None:
        async with lane.lock:
            try:
                future = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
            except KafkaError as exc:
                self._failure = self._failure or exc
                return
        self._outstanding.add(future)
        future.add_done_callback(self._note_delivery)

    def _note_delivery(self, future: asyncio.Future[Any]) -> None:
        self._outstanding.discard(future)
        error = asyncio.CancelledError("cancelled") if future.cancelled() else future.exception()
        self._failure = self._failure or error

    async def _seal_old_batches(self) -> None:
        while True:
            await asyncio.sleep(LINGER_S)
            oldest = time.monotonic() - LINGER_S
            for lane in [lane for lanes in self._lanes.values() for lane in lanes]:
                if lane.since is not None and lane.since <= oldest and not lane.lock.locked():
                    await self._seal(lane)

    def _delivery_error(self) -> BrokerError:
        failure = self._failure
        return BrokerError(
            f"broker {self._settings.broker}: a record batch was not delivered: {type(failure).__name__}: {failure}"
        )


def _size(headers: Headers | None) -> int:
    return sum(len(name.encode()) + len(value) for name, value in headers) if headers else 0
