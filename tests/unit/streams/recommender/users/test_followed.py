"""Followed users of other workers: who is wanted, and what of their vectors is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.contract.records import UserVector, encode
from streams.recommender.users import followed
from streams.recommender.users.first_lists import stored_vector
from streams.recommender.users.followed import FollowedVectors
from streams.settings.load import KafkaSettings
from tests.support.builders import FakeRecord

SETTINGS = KafkaSettings(partitions=4)


def vector(user_id: str, revision: int) -> bytes:
    """Return an encoded user vector."""
    return encode(UserVector(1, user_id, revision, "a", b"1234", b"5678"))


def of_partition(partition: int, n: int) -> list[str]:
    """Return users of a partition."""
    found = FollowedVectors(SETTINGS)
    return [name for i in range(200) if found.home((name := f"u{i}").encode()) == partition][:n]


class FakeConsumer:
    """The topic ``user-vectors`` in memory; it notes which partitions are begun anew."""

    def __init__(self, records: dict[int, list[tuple[str, bytes | None]]]) -> None:
        self.records = records
        self.at: dict[TopicPartition, int] = {}
        self.begun: list[int] = []

    def assign(self, tps: list[TopicPartition]) -> None:
        self.at = dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at[tp] = offset

    async def seek_to_beginning(self, *tps: TopicPartition) -> None:
        self.begun += [tp.partition for tp in tps]
        self.at |= dict.fromkeys(tps, 0)

    async def position(self, tp: TopicPartition) -> int:
        return self.at[tp]

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self.records[tp.partition]) for tp in tps}

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int | None
    ) -> dict[TopicPartition, Any]:
        await asyncio.sleep(0.005)
        fetched: dict[TopicPartition, Any] = {}
        for tp in tps:
            new = self.records[tp.partition][self.at[tp] :]
            self.at[tp] += len(new)
            fetched[tp] = [FakeRecord(user.encode(), value) for user, value in new]
        return fetched


def test_followed_users_of_other_partitions_alone_are_read_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later follow reads its partition again, and no other; a removed vector goes."""
    (mine,), (one, two, nobody), (far,) = of_partition(0, 1), of_partition(1, 3), of_partition(2, 1)
    consumer = FakeConsumer({
        0: [(mine, vector(mine, 1))],
        1: [(one, vector(one, 1)), (two, vector(two, 1)), (nobody, vector(nobody, 1)), (one, vector(one, 2))],
        2: [(far, vector(far, 1)), (far, b"\x93")],
    })  # fmt: skip

    @asynccontextmanager
    async def open_fake(*_: Any, **__: Any) -> AsyncIterator[FakeConsumer]:
        yield consumer

    monkeypatch.setattr(followed, "open_reader", open_fake)
    monkeypatch.setattr(followed, "AGAIN_S", 0.01)

    async def run() -> None:
        vectors = FollowedVectors(SETTINGS)
        vectors.begin({0}, [one.encode(), mine.encode()])
        running = asyncio.ensure_future(vectors.run())
        await vectors.wait_read(5)
        found = stored_vector(vectors.get(one.encode()))
        assert found is not None and (found.revision, found.vector, found.factors) == (2, b"", b"5678")
        assert vectors.get(mine.encode()) is None and vectors.get(two.encode()) is None
        assert len(vectors) == 1 and consumer.begun == [1]
        vectors.want([two.encode(), one.encode()])
        await vectors.wait_read(5)
        assert vectors.get(two.encode()) is not None and consumer.begun == [1, 1]
        vectors.want([far.encode()])
        await vectors.wait_read(5)
        assert vectors.get(far.encode()) is None and consumer.begun == [1, 1, 2]  # its newest bytes are none
        consumer.records[1] += [(one, None), (two, vector(two, 7))]
        async with asyncio.timeout(5):
            while vectors.get(one.encode()) is not None:
                await asyncio.sleep(0.01)
        newest = stored_vector(vectors.get(two.encode()))
        assert newest is not None and newest.revision == 7
        running.cancel()
        vectors.begin({1}, [two.encode()])  # an own partition now: the table has it
        assert len(vectors) == 0

    asyncio.run(run())


def test_nobody_waits_where_nobody_is_followed() -> None:
    """Without wanted users there is nothing to read, and no consumer."""

    async def run() -> None:
        vectors = FollowedVectors(SETTINGS)
        vectors.begin({0, 1, 2, 3}, [b"u1", b"u2"])
        async with asyncio.timeout(1):
            await vectors.wait_read(60)

    asyncio.run(run())
