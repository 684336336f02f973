"""Acts of foreign clients in a drill: codecs, transactions, huge and damaged records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer

from streams.contract.kafka_records import OutRecord
from streams.kafka.publisher import partition_of
from streams.settings.load import KafkaSettings
from tools.workers.apps import APPS

if TYPE_CHECKING:
    from tools.drills.session import Drill

#: Every codec that a Kafka client may write with.
CODECS: Final = ("gzip", "snappy", "lz4", "zstd")
N_EACH: Final = 200
#: Larger than a record of ``events.rejected`` may be. Compressed it is a few kilobytes, which every
#: broker accepts.
HUGE_BYTES: Final = 3 << 20
MAX_REQUEST_BYTES: Final = 16 << 20
#: Bytes of another program that writes to the wrong topic: neither a window nor a vector.
RUBBISH: Final = b"\xc1 of another program"
FOREIGN_KEY: Final = b"\xff\xfe"


@contextlib.asynccontextmanager
async def _producer(kafka: KafkaSettings, **options: Any) -> AsyncIterator[Any]:
    arguments: dict[str, Any] = kafka.client_arguments() | {"max_request_size": MAX_REQUEST_BYTES} | options
    producer = AIOKafkaProducer(acks="all", **arguments)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _send(producer: Any, kafka: KafkaSettings, topic: str, records: Sequence[OutRecord]) -> list[int]:
    """Send records to the partitions of their keys; return the partition of each record."""
    partitions = [partition_of(record.key or b"", kafka.partitions, kafka.partitioner) for record in records]
    for record, partition in zip(records, partitions, strict=True):
        await producer.send(kafka.topic(topic), key=record.key, value=record.value, partition=partition)
    await producer.flush()
    return partitions


def _new_events(drill: Drill, n: int) -> list[OutRecord]:
    now_ms = int(time.time() * 1000)
    return [drill.load.source.of_user(f"u{i % drill.plan.n_users}", now_ms) for i in range(n)]


async def publish_in_each_codec(drill: Drill) -> None:
    """Publish good events in batches of each codec: the sequencer must accept all of them."""
    kafka = drill.settings.kafka
    for codec in CODECS:
        async with _producer(kafka, compression_type=codec) as producer:
            sent = await _send(producer, kafka, "events", _new_events(drill, N_EACH))
        drill.load.n_sent += len(sent)


async def abort_a_transaction(drill: Drill) -> None:
    """Publish events in an aborted transaction, which nobody may read, and in a committed one."""
    kafka = drill.settings.kafka
    # The source may repeat its own events later, and then they count. So the aborted events are not
    # its own.
    aborted = [OutRecord(b"u1", b'{"v":1,"event_id":"aborted%d","never":"seen"}' % i) for i in range(N_EACH)]
    async with _producer(kafka, transactional_id=f"{kafka.topic_prefix}drill", enable_idempotence=True) as producer:
        await producer.begin_transaction()
        partitions = await _send(producer, kafka, "events", aborted)
        await producer.abort_transaction()
        # each partition of a transaction gets a marker
        drill.n_hidden += len(partitions) + len(set(partitions))
        await producer.begin_transaction()
        partitions = await _send(producer, kafka, "events", _new_events(drill, N_EACH))
        await producer.commit_transaction()
        drill.n_hidden += len(set(partitions))
        drill.load.n_sent += len(partitions)


async def publish_a_huge_record(drill: Drill) -> None:
    """Publish a record that is small only when compressed: the sequencer must reject it."""
    kafka = drill.settings.kafka
    huge = OutRecord(b"u1", b'{"v":1,"text":"' + b"x" * HUGE_BYTES + b'"}')
    async with _producer(kafka, compression_type="gzip") as producer:
        sent = await _send(producer, kafka, "events", [huge])
    drill.load.n_sent += len(sent)


async def damage_state_topics(drill: Drill) -> None:
    """Write rubbish onto the state topics: over a user's state, and under a key that is no text.

    The workers hold their state in memory, so the user's next event repairs the topic. The drill
    removes the foreign key again.
    """
    kafka = drill.settings.kafka
    drill.observer.windows.foreign.add(RUBBISH)
    user = "u0"
    async with _producer(kafka) as producer:
        for topic in (app.changelog for app in APPS):
            await _send(producer, kafka, topic, [OutRecord(user.encode(), RUBBISH), OutRecord(FOREIGN_KEY, RUBBISH)])
        await drill.load.publish([drill.load.source.of_user(user, int(time.time() * 1000))])
        for topic in (app.changelog for app in APPS):
            await _send(producer, kafka, topic, [OutRecord(FOREIGN_KEY, None)])
