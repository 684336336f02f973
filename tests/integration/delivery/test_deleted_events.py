"""The broker deletes events that the sequencer has not read.

It does so while the sequencer is away, and while it runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.kafka.topics import open_admin
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import sequencer, wait_read
from tests.integration.lists.recommender_runs import publish
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.main import main
from tools.workers.process import Worker, opener

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers"), pytest.mark.long]
#: A fetch that waits at the broker would bring new events at once; it ends after the worker's
#: fetch_max_wait_ms, 1.5 s.
PENDING_FETCH_S: Final = 2.0


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
    text = (tmp_path / "sequencer.log").read_text()
    (line,) = [line for line in text.splitlines() if "were deleted before they were read" in line]
    assert f"-{partition}: offsets 30 to 89" in line and "at most 60 events" in line
    with sequencer(settings, tmp_path) as worker:
        wait_until(lambda: worker.counts()["values"].get("events_expired", 0) == 0, 10.0, worker.log_tail)
        publish(settings, "events", events(130, 131))
        wait_read(worker, 1)
        found: dict[str, Any] = {}

        def is_committed() -> bool:
            main(["status", "--broker", settings.kafka.broker, "--json", "--seconds", "0"])
            found.update(json.loads(capsys.readouterr().out.splitlines()[-1]))
            return bool(found["flows"][0]["lag"] == 0)

        wait_until(is_committed, 15.0, worker.log_tail)
    assert found["healthy"] is False and found["flows"][0]["expired"] == [lost(settings, partition, 30, 89)]


def test_an_acknowledged_loss_ends_and_a_later_one_is_new(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the worker's page, too; with nothing to acknowledge the command says so."""
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)

    def status(*options: str) -> tuple[int, dict[str, Any]]:
        code = main(["status", "--broker", settings.kafka.broker, "--json", "--seconds", "0", *options])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    def lose(end: int) -> None:
        """Lose the events up to an offset while the worker is away."""
        publish(settings, "events", events(end - 20, end))
        delete_before(settings, partition, end)

    publish(settings, "events", events(0, 10))
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 10)
        (partition,) = (int(p) for p, n in worker.counts()["partitions"].items() if n["read"])
        wait_until(lambda: status()[1]["flows"][0]["lag"] == 0, 15.0, worker.log_tail)
    assert status("--acknowledge") == (0, {"acknowledged": []})
    for first, end in ((10, 30), (30, 50)):
        lose(end)
        with sequencer(settings, tmp_path) as worker:
            loss = lost(settings, partition, first, end - 1)
            wait_until(lambda loss=loss: status()[1]["flows"][0]["expired"] == [loss], 15.0, worker.log_tail)  # type: ignore[misc]
            assert f"offsets {first} to {end - 1}" in alarms(worker)[0]
            code, found = status("--acknowledge")
            assert (code, found) == (0, {"acknowledged": [loss]})
            assert status()[1]["flows"][0]["expired"] == []
            wait_until(lambda worker=worker: alarms(worker) == [], 15.0, worker.log_tail)  # type: ignore[misc]
    assert main(["status", "--broker", settings.kafka.broker, "--acknowledge"]) == 0
    assert capsys.readouterr().out.startswith("nothing to acknowledge")


def lost(settings: Settings, partition: int, first: int, last: int) -> dict[str, Any]:
    """Return a loss as ``status`` tells it."""
    topic = settings.kafka.topic("events")
    return {"topic": topic, "partition": partition, "first": first, "last": last, "events": last - first + 1}


def alarms(worker: Worker) -> list[str]:
    """Return the alarms on a worker's page."""
    with opener.open(worker.page_url("/health"), timeout=5.0) as response:
        found: list[str] = json.load(response).get("alarms", [])
    return found


def test_events_that_go_while_the_sequencer_stands_still_are_counted(settings: Settings, tmp_path: Path) -> None:
    """The sequencer keeps its partitions and its counts, and continues behind the gap."""
    publish(settings, "events", events(0, 10))
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 10)
        (partition,) = (int(p) for p, n in worker.counts()["partitions"].items() if n["read"])
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            time.sleep(PENDING_FETCH_S)
            publish(settings, "events", events(10, 30))
            delete_before(settings, partition, 25)
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        wait_read(worker, 15)
        assert worker.counts()["values"]["events_expired"] == 15
        assert worker.counts()["total"]["accepted"] == 15
    assert f"-{partition}: offsets 10 to 24 were deleted" in (tmp_path / "sequencer.log").read_text()
