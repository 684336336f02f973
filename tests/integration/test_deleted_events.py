"""Events that are deleted before the sequencer has read them: while it is away, and while it runs."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.batches import OutRecord
from streams.records import encode
from streams.settings import Settings
from streams.topics import open_admin
from tests.builders import T0, make_event
from tests.integration.recommender_runs import publish
from tests.integration.test_sequencer import sequencer, wait_read
from tests.waiting import wait_until
from tools.main import main

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers")]


def events(first: int, last: int) -> list[OutRecord]:
    """Return events of one user: all are on one partition."""
    made = [make_event(f"e{i}", T0 + i, user_id="u") for i in range(first, last)]
    return [OutRecord(b"u", encode(event)) for event in made]


def delete_before(settings: Settings, partition: int, offset: int) -> None:
    """Delete events as an operator does, or the retention."""

    async def run() -> None:
        admin: Any = await open_admin(settings.kafka)
        try:
            tp = TopicPartition(settings.kafka.topic("events"), partition)
            await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
        finally:
            await admin.close()

    asyncio.run(run())


def test_deleted_events_are_said_counted_and_seen_by_status(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was read before is no loss; a restart counts nothing again, and status remembers."""
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    publish(settings, "events", events(0, 30))
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 30)
        (partition,) = (int(p) for p, n in worker.counts()["partitions"].items() if n["read"])
        delete_before(settings, partition, 20)
    publish(settings, "events", events(30, 130))
    delete_before(settings, partition, 90)
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 40)
        assert worker.counts()["values"]["events_expired"] == 60
        time.sleep(2)  # two commit intervals
    text = (tmp_path / "sequencer.log").read_text()
    (line,) = [line for line in text.splitlines() if "were deleted before they were read" in line]
    assert f"-{partition}: offsets 30 to 89" in line and "at most 60 events" in line
    with sequencer(settings, tmp_path) as worker:
        wait_until(lambda: worker.counts()["values"].get("events_expired", 0) == 0, 10.0, worker.log_tail)
        publish(settings, "events", events(130, 131))
        wait_read(worker, 1)
        time.sleep(2)
        main(["status", "--broker", settings.kafka.broker, "--json", "--seconds", "0"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["healthy"] is False and found["flows"][0]["expired"] == {str(partition): 60}
