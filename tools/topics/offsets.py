"""How far a consumer group is behind, as the broker sees it."""

from __future__ import annotations

from streams.kafka.group_watch import GroupWatch
from streams.settings.load import KafkaSettings


async def group_lag(settings: KafkaSettings, group: str, topic: str) -> int:
    """Return how many records of a topic a consumer group has not committed, over all partitions."""
    watch = GroupWatch(settings, group)
    try:
        offsets = await watch.offsets(settings.topic(topic), range(settings.partitions))
        return sum(at.lag for at in offsets.values())
    finally:
        await watch.stop()
