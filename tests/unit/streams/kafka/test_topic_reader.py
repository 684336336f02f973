"""Reading to an end: what ends it, what counts as progress, and what is given up."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.errors import BrokerError
from streams.kafka.topic_reader import read_to_ends
from tests.support.builders import FakeRecord

PLACE, OTHER = TopicPartition("events", 0), TopicPartition("events", 1)


class Log:
    """Partitions whose polls are given beforehand.

    A poll has new positions and records; after the last poll nothing comes.
    """

    def __init__(self, *polls: tuple[dict[TopicPartition, int], dict[TopicPartition, list[FakeRecord]]]) -> None:
        self.polls = list(polls)
        self.at: dict[TopicPartition, int] = {PLACE: 0, OTHER: 0}
        self.asked: list[tuple[TopicPartition, ...]] = []

    async def position(self, tp: TopicPartition) -> int:
        return self.at[tp]

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int | None
    ) -> dict[TopicPartition, list[FakeRecord]]:
        self.asked.append(tps)
        if not self.polls:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        moved, records = self.polls.pop(0)
        self.at |= moved
        return records


def read(log: Log, ends: dict[TopicPartition, float], **options: Any) -> list[int]:
    """Return the offsets that were read."""

    async def run() -> list[int]:
        return [
            record.offset
            async for fetched in read_to_ends(log, ends, **options)
            for records in fetched.values()
            for record in records
        ]

    return asyncio.run(run())


def record(offset: int) -> FakeRecord:
    """Return a record at an offset."""
    return FakeRecord(b"u", b"v", offset)


def test_a_partition_at_its_end_is_polled_no_more() -> None:
    """A full partition must not keep the reader from the end of another."""
    log = Log(({PLACE: 2}, {PLACE: [record(0), record(1)]}), ({OTHER: 1}, {OTHER: [record(0)]}))
    assert read(log, {PLACE: 2, OTHER: 1}) == [0, 1, 0]
    assert log.asked == [(PLACE, OTHER), (OTHER,)]


def test_markers_of_transactions_count_as_read() -> None:
    """They are no records, and the last offsets of a partition may be theirs alone."""
    log = Log(({PLACE: 1}, {PLACE: [record(0)]}), ({PLACE: 3}, {}))
    assert read(log, {PLACE: 3}, stuck_after_s=-1) == [0]


def test_nothing_is_polled_at_the_end() -> None:
    """An empty partition costs no poll, which would wait."""
    log = Log()
    assert read(log, {PLACE: 0}) == []
    assert log.asked == []


def test_a_reader_that_does_not_move_says_where_it_stands() -> None:
    """It must not wait for ever: who reads to an end waits for the end."""
    log = Log(({PLACE: 1}, {PLACE: [record(0)]}), ({}, {}))
    with pytest.raises(BrokerError, match=r"read nothing for -1 s \(events-0: at 1 of 5\); see: headrace doctor"):
        read(log, {PLACE: 5, OTHER: 0}, stuck_after_s=-1)


def test_a_followed_topic_is_read_until_the_deadline() -> None:
    """It has no end, and silence is no fault of it."""
    began = time.monotonic()
    log = Log(({PLACE: 1}, {PLACE: [record(0)]}))
    assert read(log, {PLACE: math.inf}, stuck_after_s=math.inf, deadline=began + 0.05) == [0]
    assert time.monotonic() >= began + 0.045, "it waited for more"
