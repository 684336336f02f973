"""Publishes one announcement, and tells where it lies: receipts name it by that."""

from __future__ import annotations

from contextlib import aclosing
from typing import TypeVar

import msgspec

from streams.announcements.follow import Announced, follow
from streams.contract.announcements import announcement_id
from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.errors import BrokerError
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.permissions import prepare
from streams.kafka.publisher import partition_of
from streams.kafka.topic_reader import partition_count
from streams.settings.load import KafkaSettings

RecordT = TypeVar("RecordT")


async def announced(kafka: KafkaSettings, topic: str, struct: type[RecordT]) -> dict[str, Announced[RecordT]]:
    """Return what a topic of announcements holds now, by key; raises as :func:`announce` does."""
    await prepare(kafka, "announcer")
    async with aclosing(follow(kafka, topic, struct)) as changes:
        return await anext(changes)


async def announce(kafka: KafkaSettings, topic: str, key: str, record: msgspec.Struct | None) -> str:
    """Publish a record and return its id in receipts, once the broker has it.

    Parameters
    ----------
    topic : name in the contract
    record : None takes the key's announcement away

    Raises
    ------
    BrokerError
        When the broker does not answer, or denies a right of the role ``announcer``.
    TopicError
        When a topic is missing and may not be created.
    """
    await prepare(kafka, "announcer")
    name = kafka.topic(topic)
    partition = partition_of(key.encode(), await partition_count(kafka, name), kafka.partitioner)
    writer = BatchWriter(kafka)
    try:
        await writer.start()
        out = OutRecord(key.encode(), None if record is None else encode(record))
        offset = await delivered(await writer.send(name, partition, [out]))
    finally:
        await writer.stop()
    if offset is None:
        raise BrokerError(f"{name}: the broker gave no offset for the announcement; see its log")
    return announcement_id(key, partition, offset)
