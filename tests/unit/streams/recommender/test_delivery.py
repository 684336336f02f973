"""Delivery without Kafka: lists before vectors, one at a time, and no commit before the write."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final, cast

from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.errors import BrokerError
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems
from streams.recommender.delivery import Delivery, Window
from streams.recommender.list_encoding import MadeList
from streams.recommender.waiting.window_queue import WindowQueue
from streams.runtime.app import StreamApp
from streams.settings.load import load_settings
from streams.state.table import BatchTable

MADE: Final = MadeList(b"list", b"vector")


class Broker:
    """Notes what is written and committed; a test lets each write through, or lets it fail."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.committed: list[Any] = []
        self.stored: list[bytes] = []
        self.crashes: list[BaseException] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.queue: WindowQueue[Any] = WindowQueue()
        settings = load_settings({})
        self.topic = settings.kafka.topic
        app = SimpleNamespace(settings=settings, writer=self, consumer=self, member_id="m", crash=self.crash)
        topic = SimpleNamespace(get_topic_name=lambda: self.topic("user-vectors"))
        vectors = SimpleNamespace(changelog_topic=topic, stage=lambda *_: None, store=self.store)
        self.delivery = Delivery(cast(StreamApp, app), self.queue, cast(BatchTable, vectors), UnknownItems(), Metrics())

    async def send(self, topic: str, partition: int, records: list[Any]) -> list[asyncio.Future[Any]]:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.written += [f"{topic} {record.key.decode()}" for record in records]
        written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        written.set_result(SimpleNamespace(offset=0))
        return [written]

    def store(self, partition: int, values: dict[bytes, bytes], offset: int | None) -> None:
        self.stored += values

    def deliver(self, event: Any, note: str) -> None:
        self.committed.append(event)

    async def crash(self, reason: BaseException) -> None:
        self.crashes.append(reason)

    def taken(self, batch: str, user: str) -> list[Window]:
        """Return a window that the model has taken."""
        state = ListWindow(1, 1, 1, [WindowItem(1, "e", "i1", "view")], Trigger("e", 1, 1))
        self.queue.add(0, [(user.encode(), state, 0)], batch)
        return self.queue.take(100)


async def hand_over(broker: Broker, windows: list[Window]) -> None:
    """Deliver the windows' lists."""
    await broker.delivery.hand_over([(window, MADE) for window in windows])


def test_lists_come_before_vectors_and_both_before_the_commit() -> None:
    """The second delivery waits for the first."""

    async def run() -> None:
        broker = Broker()
        await hand_over(broker, broker.taken("b1", "a"))
        second = asyncio.ensure_future(hand_over(broker, broker.taken("b2", "b")))
        await asyncio.sleep(0.01)
        assert not second.done() and (broker.written, broker.committed) == ([], [])
        broker.gate.set()
        await second
        await broker.delivery.settle()
        lists, vectors = broker.topic("recommendations"), broker.topic("user-vectors")
        assert broker.written == [f"{lists} a", f"{vectors} a", f"{lists} b", f"{vectors} b"]
        assert (broker.stored, broker.committed, broker.crashes) == ([b"a", b"b"], ["b1", "b2"], [])

    asyncio.run(run())


def test_a_delivery_that_fails_stops_the_worker_and_commits_nothing() -> None:
    """The next worker reads the windows again."""

    async def run() -> None:
        broker = Broker()
        broker.error = BrokerError("refused")
        broker.gate.set()
        await hand_over(broker, broker.taken("b1", "a"))
        await broker.delivery.settle()
        assert broker.crashes == [broker.error]
        assert (broker.stored, broker.committed) == ([], [])

    asyncio.run(run())


def test_lists_of_a_lost_partition_are_dropped() -> None:
    """Its new owner reads the windows; a refusal of the broker is no failure then."""

    async def run() -> None:
        broker = Broker()
        broker.error = BrokerError("another worker owns the partition")
        await hand_over(broker, broker.taken("b1", "a"))
        broker.queue.forget({0})
        broker.gate.set()
        await broker.delivery.settle()
        assert (broker.crashes, broker.stored, broker.committed) == ([], [], [])

    asyncio.run(run())
