"""A malformed record of the largest size once stopped the sequencer.

The rejected copy had headers more, and was too large for its topic.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.kafka.topic_reader import read_records
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings
from tools.broker.local_broker import BrokerInfo
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka
BROKER_LIMIT_BYTES = 1_048_588
BATCH_OVERHEAD_BYTES = 100


def test_largest_malformed_event_is_rejected_whole(broker: BrokerInfo, prefix: str, tmp_path: Path) -> None:
    """It ends on ``events.rejected`` with its original bytes, and the worker goes on."""
    kafka = KafkaSettings(broker=broker.bootstrap, topic_prefix=prefix)
    value = b"\xc1" * (BROKER_LIMIT_BYTES - BATCH_OVERHEAD_BYTES)

    async def publish() -> None:
        await create_topics(kafka)
        producer = AIOKafkaProducer(**kafka.client_arguments(), max_batch_size=BROKER_LIMIT_BYTES)
        await producer.start()
        try:
            batch = producer.create_batch()
            batch.append(timestamp=None, key=b"u", value=value)
            await (await producer.send_batch(batch, kafka.topic("events"), partition=0))
        finally:
            await producer.stop()

    async def rejected() -> list[bytes | None]:
        return [record.value async for record in read_records(kafka, kafka.topic("events.rejected"))]

    asyncio.run(publish())
    env = {"HEADRACE_BROKER": kafka.broker, "HEADRACE_TOPIC_PREFIX": prefix, "HEADRACE_DATA_DIR": str(tmp_path / "seq")}
    with Worker("sequencer", env, free_port(), tmp_path / "sequencer.log") as worker:
        worker.wait_ready(60)
        deadline = time.monotonic() + 30
        while worker.counts()["total"]["rejected"] < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert worker.counts()["total"]["rejected"] == 1
        assert worker.is_running
    assert asyncio.run(rejected()) == [value]
