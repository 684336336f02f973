"""``headrace doctor`` against a real broker.

Good topics pass; doctor names a wrong partition count and missing topics.
"""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.kafka.topic_specs import TOPICS
from streams.kafka.topics import compare, create_topics
from streams.settings.load import KafkaSettings
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.commands.running import doctor

pytestmark = pytest.mark.kafka


def test_topics_that_headrace_created_pass(broker: BrokerInfo, prefix: str) -> None:
    settings = KafkaSettings(broker=broker.bootstrap, topic_prefix=prefix)
    assert doctor.check_reachable(settings).ok
    asyncio.run(create_topics(settings))
    assert [check.ok for check in doctor.check_topics(settings)] == [True]


def test_a_wrong_partition_count_and_missing_topics_are_each_named_with_the_remedy(
    broker: BrokerInfo, prefix: str
) -> None:
    async def create_wrongly() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(f"{prefix}events", 3, 1)])
        await admin.close()

    asyncio.run(create_wrongly())
    settings = KafkaSettings(broker=broker.bootstrap, topic_prefix=prefix)
    # A broker answers before all of its threads know the topic.
    wait_until(
        lambda: "partitions" in {d.setting for d in asyncio.run(compare(settings))}, 10.0, lambda: "no such topic"
    )
    checks = list(doctor.check_topics(settings))
    assert checks and not any(check.ok for check in checks)
    details = [check.detail for check in checks]
    assert f"{prefix}events: partitions is 3, must be 4" in details
    assert sum(f"{prefix}{spec.name}" in details[0] for spec in TOPICS if spec.name != "events") == len(TOPICS) - 1
    assert all(check.remedy for check in checks)
