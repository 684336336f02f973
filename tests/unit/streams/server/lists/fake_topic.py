"""A topic in memory, and readers of it as aiokafka's consumer reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import TopicPartition

from tests.support.builders import FakeRecord

#: Records of one partition that a reader gets at once.
PIECE = 7


class FakeTopic:
    """Keeps records by partition."""

    def __init__(self, n_partitions: int) -> None:
        self.records: dict[int, list[FakeRecord]] = {number: [] for number in range(n_partitions)}

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Add a record."""
        found = self.records[partition]
        found.append(FakeRecord(key, value, len(found), partition, "recommendations"))

    async def count(self, *_: Any) -> int:
        """Return how many partitions there are."""
        return len(self.records)

    @contextlib.asynccontextmanager
    async def open(self, *_: Any) -> AsyncIterator[FakeReader]:
        """Give a reader."""
        yield FakeReader(self)


class FakeReader:
    """Reads a topic."""

    def __init__(self, topic: FakeTopic) -> None:
        self._topic = topic
        self._positions: dict[TopicPartition, int] = {}

    def assign(self, tps: list[TopicPartition]) -> None:
        self._positions = dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    def highwater(self, tp: TopicPartition) -> int:
        return len(self._topic.records[tp.partition])

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.highwater(tp) for tp in tps}

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[FakeRecord]]:
        await asyncio.sleep(0.001)
        found = {
            tp: self._topic.records[tp.partition][offset : offset + PIECE] for tp, offset in self._positions.items()
        }
        found = {tp: records for tp, records in found.items() if records}
        self._positions |= {tp: self._positions[tp] + len(records) for tp, records in found.items()}
        return found
