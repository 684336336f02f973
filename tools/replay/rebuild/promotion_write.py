"""Writes a promotion to the live topics and groups, in an order that any crash leaves harmless."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from streams.contract.kafka_records import OutRecord
from streams.kafka.batch_writer import delivered
from streams.kafka.fenced_writers import PartitionWriters
from streams.kafka.group_watch import committed_offsets, set_offsets
from streams.settings.load import KafkaSettings
from tools.replay.rebuild.promotion_plan import Promotion, resume_offsets

#: Records handed to the producer at once.
CHUNK_RECORDS: Final = 10_000
#: The topics that are written, and the app that owns the partitions of each.
OWNERS: Final = {"sequences": "sequencer", "user-vectors": "recommender"}


async def write_promotion(live: KafkaSettings, plan: Promotion, on_step: Callable[[str], None]) -> dict[int, int]:
    """Carry out a promotion; return where the live sequencer goes on. Each step may be repeated."""
    group, events = live.group("sequencer"), live.topic("events")
    committed = await committed_offsets(live, group, events)
    await set_offsets(live, group, events, {p: min(at, plan.positions.get(p, 0)) for p, at in committed.items()})
    on_step("rewind")
    await _write_records(live, "sequences", plan.homes, plan.windows)
    on_step("windows")
    await _write_records(live, "user-vectors", plan.homes, plan.vectors)
    on_step("vectors")
    resumed = resume_offsets(committed, plan.begins, plan.positions)
    await set_offsets(live, group, events, resumed)
    on_step("offsets")
    return resumed


async def fence_off(live: KafkaSettings) -> None:
    """Make the broker refuse the writes of a paused worker that wakes up.

    The promotion reads windows after this; they must not change any more.
    """
    for topic, app in OWNERS.items():
        writers = PartitionWriters(live, live.group(app), live.topic(topic))
        try:
            await writers.own(range(live.partitions))
        finally:
            await writers.stop()


async def _write_records(
    live: KafkaSettings, topic: str, homes: Mapping[bytes, int], values: Mapping[bytes, bytes | None]
) -> None:
    by_partition: dict[int, list[OutRecord]] = {}
    for key, value in values.items():
        by_partition.setdefault(homes[key], []).append(OutRecord(key, value))
    writers = PartitionWriters(live, live.group(OWNERS[topic]), live.topic(topic))
    try:
        await writers.own(by_partition)
        for partition, records in by_partition.items():
            left = iter(records)
            while chunk := list(islice(left, CHUNK_RECORDS)):
                await delivered(await writers.send(live.topic(topic), partition, chunk))
    finally:
        await writers.stop()
