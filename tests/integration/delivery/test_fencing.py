"""Zombies against a real broker: a worker that was away for too long cannot write any more."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.contract.kafka_records import ConsumedRecord, OutRecord
from streams.errors import FencedError
from streams.kafka import fenced_writers
from streams.kafka.batch_writer import delivered
from streams.kafka.fenced_writers import FENCE_KEY, PartitionWriters
from streams.kafka.group_watch import group_lag
from streams.kafka.topic_reader import read_records
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from streams.settings.record_limits import MAX_ID_LENGTH
from tests.integration.delivery.test_sequencer import (
    WAIT_S,
    as_record,
    assert_same_windows,
    events_of,
    expected_windows,
    newest_windows,
    publish,
)
from tests.support.waiting import wait_until
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers")]
ZOMBIE_S = 9.0  # beyond the session timeout of 6 s


def writers(settings: Settings) -> PartitionWriters:
    """Return what a sequencer of these settings writes with."""
    return PartitionWriters(settings.kafka, settings.kafka.group("sequencer"), topic(settings))


def topic(settings: Settings) -> str:
    """Return the changelog's full name."""
    return settings.kafka.topic("sequences")


async def write(owner: PartitionWriters, settings: Settings, partition: int, value: bytes) -> None:
    """Write one window of a user and wait for the broker's answer."""
    await delivered(await owner.send(topic(settings), partition, [OutRecord(b"user", value)]))


async def read(settings: Settings, partition: int) -> list[ConsumedRecord]:
    """Return the records of a partition of the changelog."""
    return [record async for record in read_records(settings.kafka, topic(settings), partitions=[partition])]


async def values(settings: Settings, partition: int) -> list[bytes | None]:
    """Return what a partition of the changelog holds of the user, in order."""
    return [record.value for record in await read(settings, partition) if record.key == b"user"]


async def n_fences(settings: Settings, partition: int) -> int:
    """Return how many times a writer of the partition was opened."""
    return sum(record.key == FENCE_KEY for record in await read(settings, partition))


def run_with(settings: Settings, body: Callable[[PartitionWriters, PartitionWriters], Any]) -> None:
    """Run a test of two owners on topics that exist."""

    async def run() -> None:
        await create_topics(settings.kafka)
        first, second = writers(settings), writers(settings)
        try:
            await body(first, second)
        finally:
            await asyncio.gather(first.stop(), second.stop())

    asyncio.run(run())


def test_an_older_owner_is_refused(settings: Settings) -> None:
    """After the new owner's fence, the broker refuses the older owner's writes to the partition.

    Other partitions are untouched.
    """

    async def body(first: PartitionWriters, second: PartitionWriters) -> None:
        await first.own([0, 1])
        await write(first, settings, 0, b"old")
        await second.own([0])
        with pytest.raises(FencedError, match="HEADRACE_SESSION_TIMEOUT_MS"):
            await write(first, settings, 0, b"zombie")
        await write(second, settings, 0, b"new")
        await write(first, settings, 1, b"still mine")
        assert await values(settings, 0) == [b"old", b"new"]
        assert await values(settings, 1) == [b"still mine"]

    run_with(settings, body)


def test_the_fence_stands_before_a_window_is_written(settings: Settings) -> None:
    """The fence alone stops the older owner: the new owner may recover long before it writes."""

    async def body(first: PartitionWriters, second: PartitionWriters) -> None:
        await first.own([0])
        await second.own([0])
        with pytest.raises(FencedError):
            await write(first, settings, 0, b"zombie")

    run_with(settings, body)
    assert len(FENCE_KEY) > MAX_ID_LENGTH, "must be nobody's user_id"


def test_a_partition_that_comes_back_is_written_again(settings: Settings) -> None:
    """A new ownership begins a newer epoch; a partition that was given up cannot be written."""

    async def body(first: PartitionWriters, second: PartitionWriters) -> None:
        await first.own([0])
        await second.own([0])
        await first.own([0])
        await write(first, settings, 0, b"back")
        with pytest.raises(FencedError):
            await write(second, settings, 0, b"zombie")
        await first.own([1])
        with pytest.raises(KeyError):
            await write(first, settings, 0, b"not mine")

    run_with(settings, body)


def test_an_old_writer_is_renewed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is opened again before the broker forgets its transactional id.

    The broker forgets an id that no transaction uses.
    """

    async def body(first: PartitionWriters, second: PartitionWriters) -> None:
        await first.own([0])
        await first.renew([0])
        assert await n_fences(settings, 0) == 1
        monkeypatch.setattr(fenced_writers, "RENEW_AFTER_S", 0.0)
        await asyncio.gather(first.renew([0]), write(first, settings, 0, b"meanwhile"))
        assert await n_fences(settings, 0) == 2
        await write(first, settings, 0, b"after")
        assert await values(settings, 0) == [b"meanwhile", b"after"]

    run_with(settings, body)


def test_a_zombie_cannot_damage_the_windows_of_its_successor(settings: Settings, tmp_path: Path) -> None:
    """A worker stops for longer than its session with a batch in hand.

    Another worker takes over, and then the first one wakes up.
    """
    events = events_of(12_000, 200)
    env = {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_BATCH_MAX_RECORDS": "200",
    }
    publish(settings, map(as_record, events[:6_000]))
    both = [
        Worker("sequencer", {**env, "HEADRACE_DATA_DIR": str(tmp_path / name)}, free_port(), tmp_path / f"{name}.log")
        for name in ("zombie", "heir")
    ]
    zombie, heir = both
    try:
        zombie.start()
        zombie.wait_ready(WAIT_S)
        heir.start()
        heir.wait_ready(WAIT_S)
        publish(settings, map(as_record, events[6_000:9_000]))
        time.sleep(random.Random(1).uniform(0.05, 0.3))
        assert zombie.pid is not None
        os.killpg(zombie.pid, signal.SIGSTOP)
        publish(settings, map(as_record, events[9_000:]))
        time.sleep(ZOMBIE_S)
        os.killpg(zombie.pid, signal.SIGCONT)
        group = settings.kafka.group("sequencer")

        def lag() -> int:
            return asyncio.run(group_lag(settings.kafka, group, "events"))

        wait_until(lambda: lag() == 0, WAIT_S, lambda: f"{lag()} events behind")
    finally:
        for worker in both:
            worker.stop()
    assert_same_windows(newest_windows(settings), expected_windows(events))
