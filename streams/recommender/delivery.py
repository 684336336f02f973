"""Publishes what the model made: first the lists, then the vectors, each partition for itself.

A stored vector's revision says that its list was delivered, so the order is what makes a repeated window harmless. What was made for
a partition that has been taken away meanwhile is dropped: its new owner reads the windows again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from faust.types import EventT

from models.ranking.pipeline import RankedList
from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.errors import BrokerError, FencedError
from streams.health.counters import Metrics
from streams.kafka.batch_writer import delivered
from streams.recommender.list_records import Versions, recommendation, user_vector
from streams.recommender.window_queue import PendingWindow
from streams.runtime.app import StreamApp
from streams.state.table import BatchTable

log = logging.getLogger(__name__)
Window = PendingWindow[EventT]


@dataclass
class PartitionLists:
    """What is made for one partition: its windows with their lists, and the users' vectors, encoded."""

    partition: int
    made: list[tuple[Window, RankedList]] = field(default_factory=list)
    vectors: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def is_forgotten(self) -> bool:
        """Whether the partition was taken away since."""
        return any(window.owner.is_forgotten for window, _ in self.made)


class Delivery:
    """Stages, publishes and stores. For one event loop."""

    def __init__(self, app: StreamApp, vectors: BatchTable, metrics: Metrics) -> None:
        self._app = app
        self._vectors = vectors
        self._metrics = metrics
        self._lists_topic = app.settings.kafka.topic("recommendations")
        self._as_json = app.settings.kafka.output_format == "json"

    def stage(self, made: Iterable[tuple[Window, RankedList]], versions: Versions) -> list[PartitionLists]:
        """Return lists by partition, without those of removed users; from here on an older window of these users is no news."""
        parts: dict[int, PartitionLists] = {}
        for window, ranked in made:
            if not (window.owner.is_forgotten or window.is_removed):
                part = parts.setdefault(window.partition, PartitionLists(window.partition))
                part.made.append((window, ranked))
                part.vectors[window.key] = encode(user_vector(window.key.decode(), window.state, ranked, versions))
        for part in parts.values():
            self._vectors.stage(part.partition, part.vectors)
        return list(parts.values())

    async def deliver(self, parts: Iterable[PartitionLists], versions: Versions) -> list[Window]:
        """Publish full lists and their vectors; return the windows that are delivered.

        Raises
        ------
        BrokerError
            When the broker did not take them.
        """
        done = await asyncio.gather(*(self._deliver(part, versions) for part in parts))
        return [window for windows in done for window in windows]

    async def _deliver(self, part: PartitionLists, versions: Versions) -> list[Window]:
        now_ms = int(time.time() * 1000)
        lists = [self._record(window, ranked, versions, now_ms) for window, ranked in part.made]
        vectors = [OutRecord(key, value) for key, value in part.vectors.items()]
        try:
            await self._publish(self._lists_topic, part.partition, lists)
            delivered_ms = time.time() * 1000
            offset = await self._publish(self._vectors.changelog_topic.get_topic_name(), part.partition, vectors)
        except (BrokerError, FencedError, KeyError) as exc:
            if not part.is_forgotten:
                raise
            log.info("partition %d was taken away: %d lists dropped (%r)", part.partition, len(lists), exc)
            return []
        if part.is_forgotten:
            return []
        self._metrics.add("lists", len(lists))
        self._metrics.add_freshness(delivered_ms - window.written_ms for window, _ in part.made)
        self._vectors.store(part.partition, part.vectors, offset)
        return [window for window, _ in part.made]

    async def send_provisional(self, records: dict[int, list[OutRecord]], windows: Iterable[Window]) -> int:
        """Publish degraded lists, encoded, by partition; return how many. Nothing is stored: the full lists follow."""
        owners = defaultdict(list)
        for window in windows:
            owners[window.partition].append(window.owner)
        n_sent = 0
        for partition, lists in records.items():
            try:
                await self._publish(self._lists_topic, partition, lists)
            except (BrokerError, FencedError, KeyError):
                if not any(owner.is_forgotten for owner in owners[partition]):
                    raise
            else:
                n_sent += len(lists)
        return n_sent

    async def _publish(self, topic: str, partition: int, records: list[OutRecord]) -> int | None:
        return await delivered(await self._app.writer.send(topic, partition, records))

    def _record(self, window: Window, ranked: RankedList, versions: Versions, now_ms: int) -> OutRecord:
        made = recommendation(window.key.decode(), window.state, ranked, versions, now_ms)
        return OutRecord(window.key, encode(made, as_json=self._as_json))
