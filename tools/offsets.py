"""How far a consumer group is behind, as the broker sees it."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.settings import KafkaSettings
from streams.topics import open_admin


async def group_lag(settings: KafkaSettings, group: str, topic: str) -> int:
    """Return how many records of a topic a consumer group has not committed, over all partitions."""
    name = settings.topic(topic)
    admin = await open_admin(settings)
    consumer = AIOKafkaConsumer(**settings.client_arguments())
    try:
        await consumer.start()
        committed = await admin.list_consumer_group_offsets(group)
        partitions = [TopicPartition(name, p) for p in range(settings.partitions)]
        ends = await consumer.end_offsets(partitions)
        return sum(end - (committed[tp].offset if tp in committed else 0) for tp, end in ends.items())
    finally:
        await consumer.stop()
        await admin.close()
