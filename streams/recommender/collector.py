"""The recommender's way in: windows from ``sequences`` to the queue before the model.

A batch of windows is acknowledged when each of its windows has its full list delivered, or was
replaced by a newer window that has. A provisional list acknowledges nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import faust
from faust.types import EventT

from streams.errors import BrokerError, FencedError
from streams.forgetting.requests import Forgetting
from streams.health.counters import Metrics
from streams.recommender.list_maker import ListMaker
from streams.recommender.list_records import newest_windows
from streams.recommender.popularity.recount import Recount
from streams.recommender.removal import fresh_windows, note_passed_over, remove_lists, remove_vectors
from streams.recommender.users.reader import UsersReader
from streams.recommender.waiting.refresh import Refresh
from streams.recommender.waiting.traced_lists import TracedLists
from streams.recommender.waiting.window_queue import WindowQueue
from streams.runtime.app import StreamApp
from streams.state.table import BatchTable


@dataclass(kw_only=True, eq=False)
class Collector:
    """Queues the windows of record batches for the :class:`ListMaker`. For one event loop."""

    app: StreamApp
    vectors: BatchTable
    metrics: Metrics
    queue: WindowQueue[EventT]
    maker: ListMaker
    recount: Recount
    users: UsersReader
    forgetting: Forgetting
    refresh: Refresh
    traced: TracedLists | None = None

    def __post_init__(self) -> None:
        self._left_generation: int | None = None

    async def collect(self, batches: faust.StreamT[Any]) -> None:
        """Queue the windows of each record batch; wait while the queue has no room."""
        async for event in batches.noack().events():
            await self.maker.pressure.wait_for_room()
            if self.app.failure is not None:
                return  # Faust restarts a failed agent while the app stops
            if not await self.forgetting.wait():
                event.ack()  # too late: the partition's next owner reads it
                continue
            try:
                await self._collect(event)
            except Exception as exc:  # the agent boundary: stop the worker, never skip a batch
                await self.app.crash(exc)
                raise

    async def _collect(self, event: EventT) -> None:
        await self.users.wait_ready()
        partition = event.message.partition
        found = newest_windows(event.value)
        if found.removed and not self._is_left(event):
            await self._remove(event, found.removed)
        if self._is_left(event):
            event.ack()  # too late: the partition's next owner reads it
            return
        self.app.consumer.accept(event)
        self.metrics.add("windows_read", len(event.value))
        note_passed_over(event.message.topic, partition, found, self.metrics)
        marks = self.forgetting.marks
        if marks:
            found.newest = [entry for entry in found.newest if entry[1].revision > marks.get(entry[0], -1)]
        fresh = fresh_windows(found.newest, partition, self.vectors, self.metrics)
        now_ms = 1000 * time.time()
        self.metrics.stages.add("window_read", (now_ms - written_ms for _, _, written_ms in fresh))
        if self.traced is not None:
            self.traced.read(partition, event.value)
        event.value.clear()  # only its offset is needed from here on, maybe for long
        self.maker.delivery.acknowledge(self.queue.add(partition, fresh, event))
        self.maker.pressure.update()

    def _is_left(self, event: EventT) -> bool:
        return bool(event.message.generation_id == self._left_generation)

    async def _remove(self, event: EventT, keys: Collection[bytes]) -> None:
        """Drop the waiting windows, the lists and the vectors of users with a tombstone.

        This comes before a window of such a user's new life is queued.
        """
        partition = event.message.partition
        self.maker.delivery.acknowledge(self.queue.remove(partition, keys))
        self.maker.counts.remove(partition, keys)
        await self.maker.delivery.settle()
        try:
            await remove_lists(self.app.writer, self.app.settings.kafka.topic("recommendations"), partition, keys)
            n_removed = await remove_vectors(self.app.writer, self.vectors, partition, keys)
        except (BrokerError, FencedError, KeyError):
            if not self._is_left(event):
                raise
        else:
            self.metrics.add("users_removed", n_removed)

    def let_go(self) -> None:
        """Drop all waiting windows, uncommitted.

        A rebalance, or the end of the worker, then does not wait for the model.
        """
        self._left_generation = self.app.consumer_generation_id
        self.users.let_go()
        self.forgetting.let_go()
        for event in self.queue.forget():
            event.ack()
        self.maker.pressure.update()

    async def begin(self, partitions: Collection[int]) -> None:
        """Take batches of a new assignment.

        Kafka may reuse generation numbers, so a stored number proves nothing from here on.
        """
        self._left_generation = None
        await self.users.assigned(partitions)
        await self.forgetting.begin(partitions)
        self.refresh.assigned(partitions)
        if self.app.settings.recommender.live_popularity == "on":
            await self.recount.assigned(partitions)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the waiting windows and the staged vectors of partitions that were taken away."""
        gone = set(partitions)
        self.queue.forget(gone)
        self.vectors.discard_staged(gone)
        if self.traced is not None:
            self.traced.forget(gone)
        self.maker.pressure.update()
