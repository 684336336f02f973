"""An administrator gives ``events`` more partitions.

The worker ends within one look, and its remedy moves every event.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions

from streams.contract.kafka_records import OutRecord
from streams.kafka.publisher import partition_of
from streams.kafka.topics import open_admin
from streams.settings.load import Settings
from tests.integration.commands.rebuild_runs import Live, last_json
from tests.integration.delivery.test_sequencer import (
    WAIT_S,
    as_record,
    assert_same_windows,
    expected_windows,
    newest_windows,
    publish,
    sequencer,
    wait_read,
)
from tests.integration.reading import read_all
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.replay.rebuild.manifest import run_settings

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers", "catalogue"), pytest.mark.long]
N_BEFORE, N_AFTER = 4, 6


def grow(settings: Settings, topic: str, n_partitions: int) -> None:
    """Give a topic of the contract partitions, as an admin does."""

    async def run() -> None:
        admin = await open_admin(settings.kafka)
        try:
            await admin.create_partitions({settings.kafka.topic(topic): NewPartitions(n_partitions)})
        finally:
            await admin.close()

    asyncio.run(run())


def test_a_worker_ends_within_a_look_and_its_remedy_brings_each_user_together(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = [f"u{i}" for i in range(40)]
    events = [make_event(f"e{i}", T0 + i, user_id=user, item_id=f"i{i % 7}") for i, user in enumerate(users * 2)]
    before, after = events[:40], events[40:]
    publish(settings, map(as_record, before))
    started_at = time.monotonic()
    with sequencer(settings, tmp_path) as worker:
        start_s = time.monotonic() - started_at
        wait_read(worker, len(before))
        grow(settings, "events", N_AFTER)
        grown_at = time.monotonic()
        wait_until(lambda: not worker.is_running, WAIT_S, worker.log_tail)
        assert time.monotonic() - grown_at < 5 + 2 * start_s, (
            "one look, and a stop that takes no longer than two starts"
        )
        assert worker.returncode == 1
        told = [line for line in worker.log_path.read_text().splitlines() if "partitions is 6, must be 4" in line]
    remedy = ("--from-topic", "--partitions", str(N_AFTER))
    assert " ".join(remedy) in told[-1]

    live = Live(settings, tmp_path, window_max_events=50)
    wait_until(lambda: produce(settings, [as_record(event) for event in after]), WAIT_S, lambda: "no new partitions")
    assert live.replay("--into", "p6", *remedy) == 0
    assert last_json(capsys)["events"] == len(events)
    into = run_settings(settings, "p6", N_AFTER)
    assert_same_windows(newest_windows(into), expected_windows(events))
    assert all(r.partition == partition_of(r.key or b"", N_AFTER) for r in read_all(into, "events"))
    assert live.replay("--promote", "p6") == 0
    assert last_json(capsys)["switch"]["HEADRACE_PARTITIONS"] == str(N_AFTER)


def produce(settings: Settings, records: list[OutRecord]) -> bool:
    """Publish by the new partition count; return whether each new partition has some events.

    Producers do so once they know the count.
    """
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": settings.kafka.broker, "partitioner": "murmur2_random"})
    topic = settings.kafka.topic("events")
    if len(producer.list_topics(topic, 10).topics[topic].partitions) != N_AFTER:
        return False
    for record in records:
        producer.produce(topic, key=record.key, value=record.value)
    return bool(producer.flush(20) == 0)
