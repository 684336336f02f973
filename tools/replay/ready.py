"""Checks, before a log is read for minutes, that its events may be published."""

from __future__ import annotations

import asyncio
import contextlib

from streams.contract.roles import acls
from streams.errors import TopicError
from streams.kafka.permissions import check_rights
from streams.kafka.topic_reader import partition_count
from streams.settings.load import KafkaSettings


def check_rights_of_producer(kafka: KafkaSettings) -> None:
    """Check the rights of a producer; without the topic ``events`` that must wait until it exists.

    Raises
    ------
    BrokerError
        When the broker does not answer, or denies rights.
    """
    asyncio.run(_check(kafka))


async def _check(kafka: KafkaSettings) -> None:
    with contextlib.suppress(TopicError):
        await partition_count(kafka, kafka.topic("events"))
        await check_rights(kafka, acls("producer", kafka), "; an operator grants what headrace acls producer lists")
