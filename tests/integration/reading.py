"""Reads what lies on a topic of the contract, transactions that just end included."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka import TopicPartition

from streams.contract.kafka_records import ConsumedRecord
from streams.kafka.readers import start_reader
from streams.kafka.topic_reader import partition_count, read_records
from streams.settings.load import KafkaSettings, Settings

#: Longest wait for a transaction that ends, in seconds.
WAIT_S: Final = 60.0


def read_all(settings: Settings, topic: str) -> list[ConsumedRecord]:
    """Return all records of a topic, named as the contract names it."""

    async def run() -> list[ConsumedRecord]:
        await _transactions_end(settings.kafka, settings.kafka.topic(topic))
        return [record async for record in read_records(settings.kafka, settings.kafka.topic(topic))]

    return asyncio.run(run())


async def _transactions_end(kafka: KafkaSettings, topic: str) -> None:
    """Wait until all that lies on a topic now is committed or aborted.

    A producer is told that its transaction is committed before the broker has written the markers;
    a broker that was paused takes long for them. Until then a reader ends before the transaction.
    """
    tps = [TopicPartition(topic, partition) for partition in range(await partition_count(kafka, topic))]
    deadline = time.monotonic() + WAIT_S
    everything = await start_reader(kafka, isolation_level="read_uncommitted")
    committed = await start_reader(kafka)
    try:
        due = await everything.end_offsets(tps)
        while any(end < due[tp] for tp, end in (await committed.end_offsets(tps)).items()):
            assert time.monotonic() < deadline, f"{topic}: a transaction is open for {WAIT_S} s"
            await asyncio.sleep(0.05)
    finally:
        await everything.stop()
        await committed.stop()
