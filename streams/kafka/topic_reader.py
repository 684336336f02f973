"""Reads topics up to their end, without a consumer group: nothing is committed.

::

    read_records    all records of a topic, one by one             reports, oracles, subscribe
    read_ranges     the records of offset ranges, by partition     copies of events
    newest_values   the newest value of each key                   compacted topics
         └──────► read_to_ends: polls one consumer until each partition is at its end

Memory stays bounded: each poll returns at most the bytes that the consumer may fetch.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.roles import Acl
from streams.errors import BrokerError, InputError, TopicError
from streams.kafka.permissions import check_rights
from streams.kafka.readers import open_reader
from streams.kafka.topics import open_admin
from streams.settings.load import KafkaSettings

#: Longest wait of one poll. Short polls leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 500
#: A reader whose positions do not move for this long, although records are left, is stuck.
STUCK_AFTER_S: Final = 60.0
RANGE_FETCH_RECORDS: Final = 5_000
RANGE_FETCH_BYTES: Final = 4 << 20

#: What one poll returns: the new records of each partition, in order.
Fetched = dict[TopicPartition, list[Any]]


async def read_to_ends(
    consumer: Any,
    ends: Mapping[TopicPartition, float],
    *,
    stuck_after_s: float = STUCK_AFTER_S,
    max_records: int | None = None,
    deadline: float = math.inf,
    poll_ms: int = POLL_MS,
) -> AsyncIterator[Fetched]:
    """Poll a consumer until each partition is at its end; yield the records of each poll, or none.

    A poll may return records behind an end together with those before it.

    Parameters
    ----------
    consumer : assigned to the partitions of ``ends`` and positioned by a seek
    ends : offset behind the last record to read; ``math.inf`` follows the partition for ever
    stuck_after_s : how long no position may move while records are left, in seconds
    max_records : most records of one poll
    deadline : stop at this value of ``time.monotonic()``
    poll_ms : longest wait of one poll. A range that ends with the marker of a transaction costs a
        whole one, because no record ends the wait

    Raises
    ------
    BrokerError
        When no position moves for ``stuck_after_s``; the message names each position and its end.
    """
    before: dict[TopicPartition, int] = {}
    moved_at = time.monotonic()
    while True:
        # positions also pass markers of transactions, which are not records
        positions = {tp: await consumer.position(tp) for tp in ends}
        behind = {tp: at for tp, at in positions.items() if at < ends[tp]}
        now = time.monotonic()
        wait_ms = min(poll_ms, (deadline - now) * 1000)
        if not behind or wait_ms < 1:
            return
        if positions != before:
            before, moved_at = positions, now
        elif now - moved_at > stuck_after_s:
            places = [f"{tp.topic}-{tp.partition}: at {at} of {ends[tp]}" for tp, at in behind.items()]
            raise BrokerError(f"read nothing for {stuck_after_s:g} s ({', '.join(places)}); see: headrace doctor")
        yield await consumer.getmany(*behind, timeout_ms=int(wait_ms), max_records=max_records)


async def read_records(
    settings: KafkaSettings,
    topic: str,
    *,
    partitions: Sequence[int] | None = None,
    is_following: bool = False,
    is_from_end: bool = False,
    deadline: float = math.inf,
    ready: Callable[[], None] = lambda: None,
) -> AsyncIterator[ConsumedRecord]:
    """Yield a topic's records from its beginning, each partition in order.

    Parameters
    ----------
    topic : full name
    partitions : only these; None for all
    is_following : go on waiting for new records after those that were there at the start
    is_from_end : leave out the records that were there at the start
    deadline : stop at this value of ``time.monotonic()``
    ready : called once the reader knows where it begins

    Raises
    ------
    BrokerError
        When the broker does not answer, or gives nothing for :data:`STUCK_AFTER_S` although records
        are left.
    TopicError
        When there is no such topic.
    """
    wanted = range(await partition_count(settings, topic)) if partitions is None else partitions
    await check_rights(settings, [Acl("topic", topic, ("Read",))])
    tps = [TopicPartition(topic, partition) for partition in wanted]
    async with open_reader(settings) as consumer:
        consumer.assign(tps)
        if is_from_end:
            await consumer.seek_to_end(*tps)
        else:
            await consumer.seek_to_beginning(*tps)
        ends = dict.fromkeys(tps, math.inf) if is_following else await consumer.end_offsets(tps)
        stuck_after_s = math.inf if is_following else STUCK_AFTER_S
        ready()
        async for fetched in read_to_ends(consumer, ends, stuck_after_s=stuck_after_s, deadline=deadline):
            for records in fetched.values():
                for record in records:
                    yield record


async def read_ranges(
    settings: KafkaSettings, topic: str, positions: dict[int, int], ends: Mapping[int, int]
) -> AsyncIterator[list[ConsumedRecord]]:
    """Yield the records of offset ranges, in order, those of one partition at a time.

    Parameters
    ----------
    topic : full name
    positions : partition to the offset to begin at; moves on behind what the caller has taken
    ends : partition to the offset behind the last record

    Raises
    ------
    InputError
        When retention has deleted records of the ranges.
    BrokerError
        When the broker does not answer, or gives nothing for :data:`STUCK_AFTER_S` although records
        are left.
    """
    tps = {TopicPartition(topic, p): end for p, end in ends.items() if positions[p] < end}
    if not tps:
        return
    async with open_reader(settings, max_partition_fetch_bytes=RANGE_FETCH_BYTES) as consumer:
        consumer.assign(list(tps))
        for tp, first in (await consumer.beginning_offsets(list(tps))).items():
            if positions[tp.partition] < first:
                raise InputError(
                    f"{topic}-{tp.partition}: offsets {positions[tp.partition]} to {first - 1} are deleted by retention; "
                    "begin another run"
                )
            consumer.seek(tp, positions[tp.partition])
        async for fetched in read_to_ends(consumer, tps, max_records=RANGE_FETCH_RECORDS):
            for tp, records in fetched.items():
                yield [record for record in records if record.offset < tps[tp]]
                positions[tp.partition] = min(records[-1].offset + 1, tps[tp])
    positions.update({tp.partition: end for tp, end in tps.items()})


async def newest_values(
    settings: KafkaSettings, topic: str, homes: dict[bytes, int] | None = None
) -> dict[bytes, bytes]:
    """Return the newest value of each key of a topic of the contract; removed keys are left out.

    Parameters
    ----------
    topic : name without the prefix
    homes : receives the partition of each key
    """
    found: dict[bytes, bytes] = {}
    async for record in read_records(settings, settings.topic(topic)):
        if record.key is None:
            continue
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value
            if homes is not None:
                homes[record.key] = record.partition
    return found


async def partition_count(settings: KafkaSettings, topic: str) -> int:
    """Return how many partitions a topic has; raise :class:`TopicError` where it does not exist."""
    admin = await open_admin(settings)
    try:
        if topic not in await admin.list_topics():
            raise TopicError(
                f"topic {topic} does not exist, or is hidden from this client; run: headrace topics create"
            )
        return len((await admin.describe_topics([topic]))[0]["partitions"])
    finally:
        await admin.close()
