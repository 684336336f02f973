"""Publishes what the model made: first the lists, then the vectors, each partition for itself.

The revision of a stored vector says that its list was delivered. This order makes a repeated window
harmless. Delivery drops lists of partitions that were taken away meanwhile: the new owner reads
their windows again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from faust.types import EventT

from streams.contract.committed_note import encode as encode_note
from streams.contract.kafka_records import OutRecord
from streams.contract.marks import NO_MARKS, Marks
from streams.errors import BrokerError, FencedError
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems
from streams.kafka.batch_writer import delivered
from streams.recommender.list_encoding import MadeList
from streams.recommender.users.first_lists import has_events, is_first
from streams.recommender.waiting.pending import PendingWindow
from streams.recommender.waiting.traced_lists import TracedLists
from streams.recommender.waiting.window_queue import WindowQueue
from streams.runtime.app import StreamApp
from streams.runtime.background import watched
from streams.state.table import BatchTable

log = logging.getLogger(__name__)
Window = PendingWindow[EventT]
Made = Sequence[tuple[Window, MadeList]]


@dataclass
class PartitionLists:
    """What the model made for one partition.

    It has windows, the records of their lists, and user vectors by key.
    """

    partition: int
    windows: list[Window] = field(default_factory=list)
    lists: list[OutRecord] = field(default_factory=list)
    vectors: dict[bytes, bytes | None] = field(default_factory=dict)

    @property
    def is_forgotten(self) -> bool:
        """Whether the partition was taken away since."""
        return any(window.owner.is_forgotten for window in self.windows)


class Delivery:
    """Stages, publishes, stores and acknowledges. For one event loop.

    Parameters
    ----------
    queue : learns which windows are delivered, and returns the record batches that are finished
    unknown : gives the note that is committed with each offset
    marks : forgotten users; lists of their former lives are dropped
    traced : gives traced lists their header; None where nothing is traced
    """

    def __init__(
        self,
        app: StreamApp,
        queue: WindowQueue[EventT],
        vectors: BatchTable,
        unknown: UnknownItems,
        metrics: Metrics,
        marks: Marks = NO_MARKS,
        traced: TracedLists | None = None,
    ) -> None:
        self._app = app
        self._marks = marks
        self._traced = traced
        self._queue = queue
        self._vectors = vectors
        self._unknown = unknown
        self._metrics = metrics
        self._lists_topic = app.settings.kafka.topic("recommendations")
        self._running: asyncio.Future[None] | None = None

    async def hand_over(self, made: Made) -> None:
        """Stage full lists and deliver them beside the next micro-batch.

        Deliveries run one at a time, in order: the call returns when the delivery before this one
        has ended. A failed delivery stops the worker.
        """
        parts = self._stage(made)
        # a list of a former life is not written: its window is done
        self.acknowledge(self._queue.done([window for window, _ in made if self._is_former(window)]))
        previous = self._running
        self._running = asyncio.ensure_future(watched(self._app, self._deliver(parts, previous)))
        if previous is not None:
            await previous

    async def settle(self) -> None:
        """Wait until all staged lists are delivered. Windows in the model's hands do not count."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def stop(self) -> None:
        """Cancel the deliveries under way. The next worker reads their windows again."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def acknowledge(self, finished: Iterable[EventT]) -> None:
        """Let the offsets of finished record batches be committed."""
        for event in finished:
            self._app.consumer.deliver(event, self._note())

    def note_again(self) -> None:
        """Commit the present offsets again, with what the new catalogue changes in their note."""
        self._app.consumer.note_again(self._app.settings.kafka.topic("sequences"), self._note())

    async def send_provisional(self, made: Iterable[tuple[Window, OutRecord]]) -> int:
        """Publish provisional lists, each with its window; return how many.

        No vector is stored, because the full lists follow.

        Raises
        ------
        BrokerError
            When the broker refuses them.
        """
        parts = defaultdict(list)
        for window, record in made:
            parts[window.partition].append((window, record))
        n_sent = 0
        for partition, lists in parts.items():
            # Nothing is awaited between this look and the writer: a tombstone comes after the list.
            records = [record for window, record in lists if not self._is_over(window)]
            try:
                await self._publish(self._lists_topic, partition, records)
            except (BrokerError, FencedError, KeyError):
                if not any(window.owner.is_forgotten for window, _ in lists):
                    raise
            else:
                n_sent += len(records)
        return n_sent

    def _is_over(self, window: Window) -> bool:
        """Whether a window is not this worker's any more, or its user was removed or forgotten."""
        return window.owner.is_forgotten or window.is_removed or self._is_former(window)

    def _is_former(self, window: Window) -> bool:
        return window.state.revision <= self._marks.get(window.key, -1)

    def _note(self) -> str:
        return encode_note(self._unknown.note(self._app.member_id))

    def _stage(self, made: Made) -> list[PartitionLists]:
        """Return lists by partition, without those of removed users.

        The staged vectors make older windows of these users repeats, before anything is delivered.
        A first list of a user who has events by now comes too late and is dropped.
        """
        parts: dict[int, PartitionLists] = {}
        for window, (record, vector) in made:
            if not self._is_over(window):
                part = parts.setdefault(window.partition, PartitionLists(window.partition))
                part.windows.append(window)
                if is_first(window.state) and has_events(self._vectors.read(window.partition, window.key)):
                    continue
                headers = () if self._traced is None else self._traced.headers(window)
                part.lists.append(OutRecord(window.key, record, headers))
                part.vectors[window.key] = vector
        for part in parts.values():
            self._vectors.stage(part.partition, part.vectors)
        return list(parts.values())

    async def _deliver(self, parts: list[PartitionLists], previous: asyncio.Future[None] | None) -> None:
        if previous is not None:
            await asyncio.wait({previous})
        done = await asyncio.gather(*(self._deliver_part(part) for part in parts))
        self.acknowledge(self._queue.done([window for windows in done for window in windows]))

    async def _deliver_part(self, part: PartitionLists) -> list[Window]:
        """Publish full lists and their vectors; return the windows that are delivered."""
        vectors = [OutRecord(key, value) for key, value in part.vectors.items()]
        try:
            await self._publish(self._lists_topic, part.partition, part.lists)
            delivered_s, delivered_ms = time.monotonic(), time.time() * 1000
            offset = await self._publish(self._vectors.changelog_topic.get_topic_name(), part.partition, vectors)
        except (BrokerError, FencedError, KeyError) as exc:
            if not part.is_forgotten:
                raise
            log.info("partition %d was taken away: %d lists dropped (%r)", part.partition, len(part.lists), exc)
            return []
        if part.is_forgotten:
            return []
        self._metrics.add("lists", len(part.lists))
        news = [window for window in part.windows if not window.is_again]
        self._metrics.add("lists_first", sum(is_first(window.state) for window in part.windows))
        self._metrics.add("lists_refreshed", len(part.windows) - len(news))
        self._metrics.add_freshness(delivered_ms - window.written_ms for window in news)
        self._metrics.stages.add("publish", (1000 * (delivered_s - w.scored_s) for w in news if w.scored_s))
        self._vectors.store(part.partition, part.vectors, offset)
        if self._traced is not None:
            self._traced.delivered(part.windows)
        return part.windows

    async def _publish(self, topic: str, partition: int, records: list[OutRecord]) -> int | None:
        return await delivered(await self._app.writer.send(topic, partition, records))
