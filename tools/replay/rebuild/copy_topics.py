"""Copies live topics to those of a run.

``events`` is copied byte for byte and in order; of ``items`` and ``users`` the newest values.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.contract.kafka_records import ConsumedRecord
from streams.errors import BrokerError, RecordError, TopicError
from streams.formats.decoders import open_item_decoder
from streams.kafka.batch_builder import BatchBuilder, close_producer, open_producer
from streams.kafka.batch_writer import delivered
from streams.kafka.publisher import KeyHomes, Publisher
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count, read_ranges, read_records
from streams.settings.load import KafkaSettings

#: Room for the largest record of ``events``, headers included.
BATCH_BYTES: Final = 1_000_000
CHECKPOINT_S: Final = 1.0


def target_of(record: ConsumedRecord, n_from: int, home: KeyHomes) -> int:
    """Return the target partition of a copied record.

    With equal partition counts it is the record's own, else that of its key. A record without key
    goes to any partition: the sequencer will reject it.
    """
    if n_from == home.n_partitions or record.key is None:
        return record.partition % home.n_partitions
    return home[record.key]


class EventCopier:
    """Copies the live ``events`` from given offsets to given ends. For one event loop.

    It keeps the order within a live partition, and so the order of each user's events. Key, value,
    headers and timestamp stay as they are.

    Parameters
    ----------
    live, into : the deployment and the run
    positions : live partition to the next offset to copy; moves on
    on_checkpoint : called when all records before ``positions`` are delivered
    """

    def __init__(
        self, live: KafkaSettings, into: KafkaSettings, positions: dict[int, int], on_checkpoint: Callable[[], None]
    ) -> None:
        self.positions = positions
        self._live = live
        self._into = into
        self._on_checkpoint = on_checkpoint
        self._home = KeyHomes(into.partitions, into.partitioner)
        self._builders: dict[int, BatchBuilder] = {}
        self._futures: list[asyncio.Future[Any]] = []
        self._read: dict[int, int] = {}

    async def copy(self, ends: Mapping[int, int]) -> int:
        """Copy up to the ends; return the number of records copied.

        Raises
        ------
        BrokerError
            When the broker does not answer, does not take a record, or gives none for
            :data:`~streams.kafka.topic_reader.STUCK_AFTER_S`.
        """
        n_copied = 0
        async with _producer(self._into) as producer:
            self._read = dict(self.positions)
            saved_at = time.monotonic()
            async for records in read_ranges(self._live, self._live.topic("events"), self._read, ends):
                n_copied += len(records)
                await self._send(producer, records)
                if time.monotonic() - saved_at > CHECKPOINT_S:
                    await self._checkpoint(producer)
                    saved_at = time.monotonic()
            await self._checkpoint(producer)
        return n_copied

    async def _send(self, producer: Any, records: list[Any]) -> None:
        for record in records:
            target = target_of(record, self._live.partitions, self._home)
            builder = self._builders.get(target)
            if builder is None:
                builder = self._builders[target] = BatchBuilder(producer)
            while (full := builder.add(record.key, record.value, record.headers, record.timestamp)) is not None:
                await self._hand_over(producer, target, full)

    async def _hand_over(self, producer: Any, target: int, batch: Any) -> None:
        self._futures.append(await producer.send_batch(batch, self._into.topic("events"), partition=target))

    async def _checkpoint(self, producer: Any) -> None:
        for target, builder in self._builders.items():
            batch = builder.close()
            if batch is not None:
                await self._hand_over(producer, target, batch)
        await delivered(self._futures)
        self._futures.clear()
        self.positions.update(self._read)
        self._on_checkpoint()


async def event_range(
    settings: KafkaSettings, from_ts: int | None, to_ts: int | None
) -> tuple[dict[int, int], dict[int, int]]:
    """Return first offsets and ends of the live ``events`` by partition, within a time range.

    Includes all partitions of the topic: it may have grown beyond the count of the settings.

    Parameters
    ----------
    from_ts, to_ts : range of record timestamps in ms; None for no bound
    """
    topic = settings.topic("events")
    tps = [TopicPartition(topic, partition) for partition in range(await partition_count(settings, topic))]
    async with open_reader(settings) as consumer:
        begins, ends = dict(await consumer.beginning_offsets(tps)), dict(await consumer.end_offsets(tps))
        for bound, ts in ((begins, from_ts), (ends, to_ts)):
            if ts is None:
                continue
            for tp, found in (await consumer.offsets_for_times(dict.fromkeys(tps, ts))).items():
                bound[tp] = ends[tp] if found is None else found.offset
    return {tp.partition: n for tp, n in begins.items()}, {tp.partition: n for tp, n in ends.items()}


class Kept(NamedTuple):
    """The newest record of a key: its value (None if removed) and its timestamp in ms."""

    value: bytes | None
    timestamp: int


async def copy_compacted(live: KafkaSettings, into: KafkaSettings, topic: str, *, is_live: bool = False) -> int:
    """Make a compacted topic of the run, ``items`` or ``users``, equal to the live one.
    Repeat-safe.

    Parameters
    ----------
    is_live : the run is in use already: records there that are newer than the live record stay

    Returns
    -------
    Number of keys that the live topic has.
    """
    try:
        wanted = await _newest_records(live, topic)
    except TopicError:  # the deployment does not exist yet
        wanted = {}
    changes = changes_of(wanted, await _newest_records(into, topic), is_live=is_live)
    async with Publisher(into) as publisher:
        for key, value in changes.items():
            await publisher.publish(into.topic(topic), key, value)
    return sum(kept.value is not None for kept in wanted.values())


def changes_of(
    wanted: Mapping[bytes, Kept], found: Mapping[bytes, Kept], *, is_live: bool
) -> dict[bytes, bytes | None]:
    """Return the values to write, by key, that make a run's topic equal to the live one.

    For a run in use (``is_live``), only values newer than the run's own.
    """
    none = Kept(None, -1)
    changes: dict[bytes, bytes | None] = {}
    for key in wanted if is_live else wanted.keys() | found.keys():
        kept, before = wanted.get(key, none), found.get(key, none)
        if kept.value != before.value and not (is_live and kept.timestamp <= before.timestamp):
            changes[key] = kept.value
    return changes


async def _newest_records(settings: KafkaSettings, topic: str) -> dict[bytes, Kept]:
    found: dict[bytes, Kept] = {}
    check = open_item_decoder(settings).decode if topic == "items" else None
    async for record in read_records(settings, settings.topic(topic)):
        keep_newest(found, record, check)
    return found


def keep_newest(
    found: dict[bytes, Kept], record: ConsumedRecord, check: Callable[[ConsumedRecord], object] | None
) -> None:
    """Keep a record as the newest of its key.

    A record for which ``check`` raises :class:`RecordError` is skipped, as all readers skip it:
    they go on with the entry before it, and so must the run.
    """
    if record.key is None:
        return
    if check is not None:
        try:
            check(record)
        except RecordError:
            return
    found[record.key] = Kept(record.value, record.timestamp)


async def has_lost_records(settings: KafkaSettings, topic: str) -> bool:
    """Return whether retention has deleted the first records of a topic of the contract."""
    tps = [TopicPartition(settings.topic(topic), partition) for partition in range(settings.partitions)]
    async with open_reader(settings) as consumer:
        return any((await consumer.beginning_offsets(tps)).values())


@contextlib.asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[Any]:
    producer: Any = None
    try:
        producer = await open_producer(settings, BATCH_BYTES)
        yield producer
    except (KafkaError, OSError) as exc:
        raise BrokerError(f"broker {settings.broker}: {type(exc).__name__}: {exc}; see: headrace doctor") from exc
    finally:
        if producer is not None:
            await close_producer(producer)
