"""A worker that crashes under load ends at once, says why, and commits nothing past the failure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.contract.records import Event
from streams.kafka.publisher import Publisher
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.delivery.crashing_app import MESSAGE, VARIABLE
from tests.integration.delivery.test_sequencer import (
    WAIT_S,
    as_record,
    assert_same_windows,
    expected_windows,
    newest_windows,
    sequencer,
    wait_read,
)
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka


class CrashingWorker(Worker):
    """A sequencer whose deliveries fail once the file ``marker`` exists."""

    def command(self) -> list[str]:
        return [
            part.replace("streams.sequencer", "tests.integration.delivery.crashing_app") for part in super().command()
        ]


@contextmanager
def publishing(settings: Settings, published: list[Event]) -> Iterator[None]:
    """Publish events while the block runs, so that batches are in flight at every moment."""
    done = threading.Event()

    async def run() -> None:
        async with Publisher(settings.kafka) as publisher:
            while not done.is_set():
                i = len(published)
                published.append(make_event(f"x{i:07d}", T0 + i, user_id=f"u{i % 100}"))
                record = as_record(published[-1])
                await publisher.publish(settings.kafka.topic("events"), record.key or b"", record.value)
                if i % 50 == 0:
                    await asyncio.sleep(0.005)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_crash_under_load_ends_at_once_with_its_reason(settings: Settings, tmp_path: Path) -> None:
    """The worker quotes the error and exits with 1, sooner than it started.

    It commits only delivered events.
    """
    asyncio.run(create_topics(settings.kafka))
    marker, published = tmp_path / "fail", list[Event]()
    env = {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(tmp_path / "data"),
        "HEADRACE_BATCH_MAX_RECORDS": "50",
        VARIABLE: str(marker),
    }
    started_s = time.monotonic()
    with CrashingWorker("sequencer", env, free_port(), tmp_path / "crashing.log") as worker:
        worker.wait_ready(WAIT_S)
        start_s = time.monotonic() - started_s
        with publishing(settings, published):
            wait_read(worker, 2_000)
            began_s = time.monotonic()
            marker.touch()
            wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
            took_s = time.monotonic() - began_s
        assert worker.returncode == 1
        assert f"the worker ends: BrokerError: {MESSAGE}" in worker.log_tail()
        assert took_s < start_s, "a start takes two seconds on a quiet machine; a stop that waits takes ten"
    with sequencer(settings, tmp_path) as after:

        def has_caught_up() -> bool:
            return bool(after.counts()["delivered_offsets"]) and sum(
                offset + 1 for offset in after.counts()["delivered_offsets"].values()
            ) == len(published)

        wait_until(has_caught_up, WAIT_S, lambda: f"{after.counts()} of {len(published)}")
    assert_same_windows(newest_windows(settings), expected_windows(published))
