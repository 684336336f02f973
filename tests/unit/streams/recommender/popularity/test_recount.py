"""The recount: which windows it reads, from which offset, and what may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from streams.contract.records import encode
from streams.errors import BrokerError
from streams.recommender.agent import RecommenderAgent, build_recommender
from streams.recommender.collector import Collector
from streams.recommender.popularity import recount
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.popularity.recount import Recount
from streams.recommender.users.reader import UsersReader
from streams.settings.load import Settings, load_settings
from tests.support import tiny_models
from tests.unit.streams.recommender.popularity.test_live_popularity import window


class Topic:
    """``sequences`` as ``restore`` reads it: records by partition, and where each reading began."""

    def __init__(self, records: dict[int, list[tuple[bytes, bytes | None]]]) -> None:
        self.records = records
        self.began: list[dict[int, int | None]] = []
        self.failures = 0

    async def restore(self, settings: Any, table: Any, partitions: Iterable[TP], timeout_s: float) -> int:
        self.began.append({tp.partition: table.persisted_offset(tp) for tp in partitions})
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise BrokerError("down")
        for partition, offset in self.began[-1].items():
            records = self.records[partition][offset or 0 :]
            if records:
                table.store(partition, dict(records), len(self.records[partition]) - 1)
        return 0


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    """Give a topic of two partitions with windows, a removed user, and a broken record."""
    found = Topic(
        {0: [(b"a", encode(window("i01", "i02"))), (b"b", None), (b"c", b"\xc1")], 1: [(b"d", encode(window("i03")))]}
    )
    monkeypatch.setattr(recount, "restore", found.restore)
    monkeypatch.setattr(recount, "RETRY_S", 0.0)
    monkeypatch.setattr(recount, "POLL_S", 0.0)
    return found


def settings() -> Settings:
    """Return the defaults."""
    return load_settings({})


async def settled(found: Recount) -> None:
    """Wait for the end of a recount."""
    assert found.running is not None
    await asyncio.wait_for(found.running, 5)


def test_the_windows_of_the_partitions_are_counted(topic: Topic) -> None:
    """Removed users and broken records do not count; an absent broker is asked again."""

    async def run() -> None:
        popularity = LivePopularity(tiny_models.artifact(), is_on=True)
        changes: list[int] = []
        topic.failures = 2
        found = Recount(
            settings(), popularity, lambda job: job, lambda: False, lambda: changes.append(popularity.n_events)
        )
        await found.assigned({0, 1})
        await settled(found)
        assert popularity.n_events == 3 and changes[-1] == 3
        assert topic.began == [{0: None, 1: None}] * 3

    asyncio.run(run())


def test_a_kept_partition_is_read_on_and_a_lost_one_is_dropped(topic: Topic) -> None:
    """A partition that comes back is read from its beginning: another worker had it meanwhile."""

    async def run() -> None:
        popularity = LivePopularity(tiny_models.artifact(), is_on=True)
        found = Recount(settings(), popularity, lambda job: job, lambda: False, lambda: None)
        await found.assigned({0, 1})
        await settled(found)
        topic.records[0].append((b"a", encode(window("i01", "i02", "i04"))))
        await found.assigned({0})
        await settled(found)
        assert popularity.n_events == 3
        await found.assigned({0, 1})
        await settled(found)
        assert popularity.n_events == 4
        assert topic.began == [{0: None, 1: None}, {0: 2}, {0: 3, 1: None}]

    asyncio.run(run())


def test_recovery_comes_first(topic: Topic) -> None:
    """Nothing is read while tables are recovered; a recount that is stopped reads no more."""

    async def run() -> None:
        is_recovering = [True]
        popularity = LivePopularity(tiny_models.artifact(), is_on=True)
        found = Recount(settings(), popularity, lambda job: job, lambda: is_recovering[0], lambda: None)
        await found.assigned({0, 1})
        for _ in range(5):
            await asyncio.sleep(0)
        assert topic.began == []
        is_recovering[0] = False
        await settled(found)
        assert popularity.n_events == 3
        is_recovering[0] = True
        await found.assigned({0, 1})
        await found.stop()
        is_recovering[0] = False
        await asyncio.sleep(0)
        assert len(topic.began) == 1

    asyncio.run(run())


class RecordingRecount:
    """Notes what it is told of."""

    def __init__(self) -> None:
        self.partitions: list[set[int]] = []

    async def assigned(self, partitions: set[int]) -> None:
        self.partitions.append(partitions)


@pytest.mark.parametrize(("live_popularity", "expected"), [("on", [{0, 3}, set()]), ("off", [])])
def test_an_assignment_counts_its_partitions_of_windows(live_popularity: str, expected: list[set[int]]) -> None:
    """An empty assignment too: nothing counts after it. None while live popularity is off."""

    async def run() -> list[set[int]]:
        chosen = load_settings({"HEADRACE_LIVE_POPULARITY": live_popularity})
        app = build_recommender(chosen)
        found = RecordingRecount()
        assert isinstance(app.serving, RecommenderAgent)
        parts: Any = dict.fromkeys(("vectors", "metrics", "queue", "maker"))
        parts["forgetting"] = SimpleNamespace(begin=lambda _partitions: asyncio.sleep(0))
        users = cast(UsersReader, RecordingRecount())
        parts["refresh"] = SimpleNamespace(assigned=lambda _partitions: None)
        app.serving.collector = Collector(app=app, recount=cast(Recount, found), users=users, **parts)
        topic = chosen.kafka.topic
        mine = {TP(topic("sequences"), 0), TP(topic("sequences"), 3), TP(topic("user-vectors"), 0)}
        for assigned in (mine, set[TP]()):
            await app.on_partitions_assigned.send(assigned)
        return found.partitions

    assert asyncio.run(run()) == expected
