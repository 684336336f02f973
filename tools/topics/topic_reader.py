"""Reads records of a topic for a person or a tool: without a consumer group, so that nothing is committed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.roles import Acl
from streams.errors import TopicError
from streams.kafka.permissions import check_rights
from streams.kafka.readers import open_reader
from streams.kafka.topics import open_admin
from streams.settings.load import KafkaSettings

POLL_MS: Final = 500


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


async def read_records(
    settings: KafkaSettings,
    topic: str,
    *,
    partitions: Sequence[int] | None = None,
    is_following: bool = False,
    deadline: float | None = None,
) -> AsyncIterator[ConsumedRecord]:
    """Yield a topic's records from its beginning, each partition in order.

    Parameters
    ----------
    partitions : only these; None for all
    is_following : go on waiting for new records after those that were there at the start
    deadline : stop at this value of ``time.monotonic()``

    Raises
    ------
    BrokerError, TopicError
        When the broker does not answer, or there is no such topic.
    """
    wanted = range(await partition_count(settings, topic)) if partitions is None else partitions
    await check_rights(settings, [Acl("topic", topic, ("Read",))])
    tps = [TopicPartition(topic, partition) for partition in wanted]
    async with open_reader(settings) as consumer:
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        while is_following or await _is_behind(consumer, ends):
            wait_ms = POLL_MS if deadline is None else min(POLL_MS, int((deadline - time.monotonic()) * 1000))
            if wait_ms <= 0:
                return
            for records in (await consumer.getmany(timeout_ms=wait_ms)).values():
                for record in records:
                    yield record


async def _is_behind(consumer: Any, ends: dict[TopicPartition, int]) -> bool:
    return any([await consumer.position(tp) < end for tp, end in ends.items()])
