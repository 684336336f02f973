"""Follows ``items`` and ``rules``: what answers may show now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.announcements.scenario_rules import scenario_rules
from streams.errors import BrokerError, RecordError
from streams.formats.decoders import open_item_decoder, open_registry
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count
from streams.server.lists.shown_items import ShownItems
from streams.settings.load import Settings

log = logging.getLogger(__name__)

POLL_MS: Final = 1_000
PIECE: Final = 500
RETRY_S: Final = 2.0


class ItemFollower:
    """Keeps the catalogue equal to the topic. For one event loop.

    After a lost connection it goes on where it was.

    Parameters
    ----------
    count : adds to the counter ``items_malformed``

    Attributes
    ----------
    caught_up : set once all is read that the topic had at the start
    """

    def __init__(
        self, settings: Settings, shown: ShownItems, count: Callable[[str, int], None] = lambda name, n: None
    ) -> None:
        self._kafka = settings.kafka
        self._shown = shown
        self._count = count
        self._registry = open_registry(settings.kafka, "items", settings.health.stall_timeout_s)
        self._decoder = open_item_decoder(settings.kafka, self._registry)
        self._positions: dict[int, int] = {}
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled; try again while the broker does not answer.

        Raises
        ------
        TopicError
            When the topic does not exist.
        """
        while True:
            try:
                await self._follow()
            except (BrokerError, KafkaError, OSError) as exc:
                log.warning("items: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        topic = self._kafka.topic("items")
        tps = [TopicPartition(topic, number) for number in range(await partition_count(self._kafka, topic))]
        async with open_reader(self._kafka, auto_offset_reset="earliest") as consumer:
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            for tp in tps:
                if tp.partition in self._positions:
                    consumer.seek(tp, self._positions[tp.partition])
            ends: Mapping[TopicPartition, int] = await consumer.end_offsets(tps)
            while True:
                behind = [tp for tp in tps if await consumer.position(tp) < ends[tp]]
                if not behind:
                    self.caught_up.set()
                fetched = await consumer.getmany(timeout_ms=POLL_MS if not behind else POLL_MS // 10)
                for tp, records in fetched.items():
                    await self.take(records)
                    self._positions[tp.partition] = records[-1].offset + 1

    async def take(self, records: Sequence[Any]) -> None:
        """Take records into the catalogue."""
        if self._registry is not None:
            await self._registry.load(records)
        for place, record in enumerate(records):
            if place % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            try:
                self._shown.put(*self._decoder.decode(record))
            except RecordError as exc:
                self._count("items_malformed", 1)
                log.warning("items: offset %d of partition %d left out: %s", record.offset, record.partition, exc)


class RulesFollower:
    """Keeps the rules of the deployment's scenario in force. For one event loop.

    Attributes
    ----------
    caught_up : set once it is known whether there are rules
    problem : why the newest rules are not in force; empty where they are
    """

    def __init__(self, settings: Settings, shown: ShownItems) -> None:
        self._settings = settings
        self._shown = shown
        self.caught_up = asyncio.Event()
        self.problem = ""

    async def run(self) -> None:
        """Follow until cancelled; try again while the broker does not answer.

        Raises
        ------
        TopicError
            When the topic does not exist.
        """
        recommender = self._settings.recommender
        while True:
            try:
                found = scenario_rules(self._settings.kafka, recommender.scenario, recommender.list_size)
                async with aclosing(found) as changes:
                    async for change in changes:
                        self.problem = change.error
                        if not change.error:
                            self._shown.obey(change.rules)
                        self.caught_up.set()
            except BrokerError as exc:
                log.warning("rules: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)
