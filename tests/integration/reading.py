"""Reads what lies on a topic of the contract."""

from __future__ import annotations

import asyncio

from streams.contract.kafka_records import ConsumedRecord
from streams.kafka.topic_reader import read_records
from streams.settings.load import Settings


def read_all(settings: Settings, topic: str) -> list[ConsumedRecord]:
    """Return all records of a topic, named as the contract names it."""

    async def run() -> list[ConsumedRecord]:
        return [record async for record in read_records(settings.kafka, settings.kafka.topic(topic))]

    return asyncio.run(run())
