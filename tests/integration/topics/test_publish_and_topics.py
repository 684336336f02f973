"""The publisher and the topics on a real broker."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from streams.contract.kafka_records import ConsumedRecord
from streams.errors import BrokerError, TopicError
from streams.kafka.publisher import MAX_RECORD_BYTES, Publisher, partition_of
from streams.kafka.topic_reader import partition_count, read_records
from streams.kafka.topic_specs import TOPICS
from streams.kafka.topics import compare, create_topics, open_admin
from streams.settings.load import KafkaSettings
from tools.broker.local_broker import BrokerInfo

pytestmark = pytest.mark.kafka


@pytest.fixture
def kafka(broker: BrokerInfo, prefix: str) -> KafkaSettings:
    """Give settings for topics that no other test uses."""
    return KafkaSettings(broker=broker.bootstrap, topic_prefix=prefix, partitions=4)


async def read_all(kafka: KafkaSettings, name: str) -> list[ConsumedRecord]:
    """Return all records of a topic."""
    return [record async for record in read_records(kafka, kafka.topic(name))]


def publishing(kafka: KafkaSettings, work: Callable[[Publisher], Awaitable[None]]) -> list[ConsumedRecord]:
    """Create the topics, do the work with a publisher, and return what is on ``events``."""

    async def run() -> list[ConsumedRecord]:
        await create_topics(kafka)
        async with Publisher(kafka) as publisher:
            await work(publisher)
        return await read_all(kafka, "events")

    return asyncio.run(run())


def test_create_is_repeat_safe_and_check_agrees(kafka: KafkaSettings) -> None:
    """The second start of a deployment must find all as it left it."""
    created = asyncio.run(create_topics(kafka))
    assert created == [kafka.topic(spec.name) for spec in TOPICS]
    assert asyncio.run(create_topics(kafka)) == []
    assert asyncio.run(compare(kafka)) == []


def test_missing_topics_are_named(kafka: KafkaSettings) -> None:
    """A check of an empty cluster tells what is missing, and reading says how to make it."""
    assert {difference.setting for difference in asyncio.run(compare(kafka))} == {"exists"}
    with pytest.raises(TopicError, match="headrace topics create"):
        asyncio.run(partition_count(kafka, kafka.topic("events")))


def test_other_partition_count_is_refused(kafka: KafkaSettings) -> None:
    """Records of a user would lie on two partitions."""

    async def make() -> None:
        admin = await open_admin(kafka)
        try:
            await admin.create_topics([NewTopic(kafka.topic("events"), 3, 1)])
        finally:
            await admin.close()

    asyncio.run(make())
    with pytest.raises(TopicError, match="partitions is 3, must be 4"):
        asyncio.run(create_topics(kafka))


def test_every_record_arrives_in_order_on_the_partition_of_its_key(kafka: KafkaSettings) -> None:
    """The contract asks for order per user and for Kafka's default partitioning.

    The records fill several batches.
    """
    sent = [(f"u{i % 97}".encode(), b"%06d" % i + b"x" * (i % 301)) for i in range(30_000)]

    async def work(publisher: Publisher) -> None:
        for key, value in sent:
            await publisher.publish(kafka.topic("events"), key, value)

    records = publishing(kafka, work)
    assert len(records) == len(sent)
    assert {record.partition for record in records} == {0, 1, 2, 3}
    by_key: dict[bytes, list[bytes]] = {}
    for record in records:
        assert record.key is not None and record.value is not None
        assert record.partition == partition_of(record.key, 4)
        by_key.setdefault(record.key, []).append(record.value)
    assert all(values == sorted(values) for values in by_key.values())


def test_partitioner_agrees_with_another_client(kafka: KafkaSettings, broker: BrokerInfo) -> None:
    """Shops publish with other libraries: the same key must lie on the same partition."""
    confluent_kafka = pytest.importorskip("confluent_kafka")
    keys = [f"user-{i}".encode() for i in range(40)] + ["用户".encode(), b"\x00\xff", b"x" * 128]

    async def nothing(_publisher: Publisher) -> None:
        return

    publishing(kafka, nothing)
    producer: Any = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(kafka.topic("events"), key=key, value=b"x")
    assert producer.flush(30) == 0
    records = asyncio.run(read_all(kafka, "events"))
    assert {record.key: record.partition for record in records} == {key: partition_of(key, 4) for key in keys}


def test_headers_tombstones_and_large_records_arrive(kafka: KafkaSettings) -> None:
    """A record larger than a batch stands alone; nothing of it is lost."""
    large = b"y" * (MAX_RECORD_BYTES - 100)

    async def work(publisher: Publisher) -> None:
        topic = kafka.topic("events")
        await publisher.publish(topic, b"k", b"before", [("run", b"1")])
        await publisher.publish(topic, b"k", large)
        await publisher.publish(topic, b"k", None)

    records = publishing(kafka, work)
    assert [record.value for record in records] == [b"before", large, None]
    assert list(records[0].headers) == [("run", b"1")]


def test_record_above_the_limit_is_an_error_and_costs_nothing_else(kafka: KafkaSettings) -> None:
    """Never dropped in silence, and the records around it arrive."""

    async def work(publisher: Publisher) -> None:
        topic = kafka.topic("events")
        await publisher.publish(topic, b"k", b"before")
        with pytest.raises(BrokerError, match="above the limit"):
            await publisher.publish(topic, b"k", b"y" * (MAX_RECORD_BYTES + 1))
        await publisher.publish(topic, b"k", b"after")

    assert [record.value for record in publishing(kafka, work)] == [b"before", b"after"]


def test_delivery_that_the_broker_refuses_reaches_flush(kafka: KafkaSettings) -> None:
    """A topic with a smaller limit refuses the batch.

    flush must raise, and so must the next publish.
    """

    async def run() -> None:
        admin = await open_admin(kafka)
        topic = kafka.topic("small")
        try:
            await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "2000"})])
            async with asyncio.timeout(20):
                # a broker answers before it knows the topic
                while topic not in await admin.list_topics():
                    await asyncio.sleep(0.05)
        finally:
            await admin.close()
        publisher = Publisher(kafka)
        await publisher.__aenter__()
        try:
            # the limit is one of compressed bytes
            await publisher.publish(topic, b"k", os.urandom(5_000))
            with pytest.raises(BrokerError, match="not delivered: MessageSizeTooLargeError"):
                await publisher.flush()
            with pytest.raises(BrokerError, match="not delivered"):
                await publisher.publish(topic, b"k", b"small")
        finally:
            await publisher.__aexit__(BrokerError, None, None)

    asyncio.run(run())


def test_lingering_records_are_sent_without_flush(kafka: KafkaSettings) -> None:
    """A slow replay must not hold events back until a batch is full."""

    async def run() -> None:
        await create_topics(kafka)
        async with Publisher(kafka) as publisher:
            await publisher.publish(kafka.topic("events"), b"k", b"v")
            async with asyncio.timeout(20):
                while not await read_all(kafka, "events"):
                    await asyncio.sleep(0.02)

    asyncio.run(run())


def test_cancelled_publish_takes_no_other_record_with_it(kafka: KafkaSettings) -> None:
    """Ctrl-C in the middle: what was taken before is delivered by the flush that follows."""
    taken: list[bytes] = []

    async def work(publisher: Publisher) -> None:
        async def pour() -> None:
            for i in range(1_000_000):
                value = b"%07d" % i + b"x" * 400
                await publisher.publish(kafka.topic("events"), b"k%d" % (i % 8), value)
                taken.append(value)

        task = asyncio.create_task(pour())
        while len(taken) < 20_000:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await publisher.flush()

    records = publishing(kafka, work)
    assert sorted(record.value or b"" for record in records) == taken


def test_no_broker_is_one_line_with_a_remedy() -> None:
    """The commonest mistake of all."""

    async def run() -> None:
        async with Publisher(KafkaSettings(broker="127.0.0.1:1")):
            raise AssertionError("connected to nothing")

    with pytest.raises(BrokerError, match="headrace broker start") as caught:
        asyncio.run(run())
    assert "\n" not in str(caught.value)


def test_topic_that_does_not_exist_is_named(kafka: KafkaSettings) -> None:
    """A misspelt prefix must not wait for ever."""

    async def run() -> None:
        async with Publisher(kafka) as publisher:
            await publisher.publish(kafka.topic("nowhere"), b"k", b"v")

    with pytest.raises(BrokerError, match="nowhere"):
        asyncio.run(run())


def test_json_from_a_person_is_an_event(kafka: KafkaSettings) -> None:
    """The wire takes what kcat and kafka-console-producer send."""
    value = json.dumps(
        {"v": 1, "event_id": "e", "user_id": "u", "item_id": "i", "type": "view", "ts": 1_700_000_000_000}
    ).encode()

    async def work(publisher: Publisher) -> None:
        await publisher.publish(kafka.topic("events"), b"u", value)

    assert [record.value for record in publishing(kafka, work)] == [value]
