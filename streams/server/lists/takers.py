"""Takes the records of ``items``, ``users`` and ``rules``: what answers may show, and change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from streams.announcements.receipts import Receipts
from streams.announcements.scenario_rules import answer, scenario_rules
from streams.contract.item_records import UserDecoder
from streams.contract.log_coordinates import about
from streams.contract.records import encode
from streams.errors import BrokerError, RecordError
from streams.formats.decoders import open_item_decoder, open_registry
from streams.server.lists.records import KeptRecords
from streams.server.lists.shown_items import ShownItems
from streams.settings.load import Settings

log = logging.getLogger(__name__)

PIECE: Final = 500
RETRY_S: Final = 2.0
Count = Callable[[str, int], None]


class ItemTaker:
    """Keeps the catalogue equal to ``items``. For one event loop.

    Parameters
    ----------
    count : adds to the counter ``items_malformed``
    """

    def __init__(self, settings: Settings, shown: ShownItems, records: KeptRecords, count: Count) -> None:
        self._shown = shown
        self._records = records
        self._count = count
        self._registry = open_registry(settings.kafka, "items", settings.health.stall_timeout_s)
        self._decoder = open_item_decoder(settings.kafka, self._registry)

    async def take(self, records: Sequence[Any]) -> None:
        """Take records into the catalogue."""
        if self._registry is not None:
            await self._registry.load(records)
        for place, record in enumerate(records):
            if place % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            try:
                item_id, item = self._decoder.decode(record)
            except RecordError as exc:
                self._count("items_malformed", 1)
                log.warning(
                    "items: offset %d of partition %d left out: %s",
                    record.offset,
                    record.partition,
                    exc,
                    extra=about(record.topic, record.partition, record.offset),
                )
                continue
            self._shown.put(item_id, item)
            self._records.put("items", item_id.encode(), None if item is None else encode(item))


class UserTaker:
    """Keeps the newest records of ``users``. For one event loop.

    Parameters
    ----------
    count : adds to the counter ``users_malformed``
    """

    def __init__(self, records: KeptRecords, count: Count) -> None:
        self._records = records
        self._count = count
        self._decoder = UserDecoder()

    async def take(self, records: Sequence[Any]) -> None:
        """Take records."""
        for place, record in enumerate(records):
            if place % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            try:
                user_id, user = self._decoder.decode(record)
            except RecordError as exc:
                self._count("users_malformed", 1)
                log.warning(
                    "users: offset %d of partition %d left out: %s",
                    record.offset,
                    record.partition,
                    exc.reason,
                    extra=about(record.topic, record.partition, record.offset),
                )
                continue
            value = None if user is None else encode(user)
            self._records.put("users", user_id.encode(), value, record.timestamp)


class RulesFollower:
    """Keeps the rules of the deployment's scenario in force. For one event loop.

    Attributes
    ----------
    caught_up : set once it is known whether there are rules
    problem : why the newest rules are not in force; empty where they are
    """

    def __init__(self, settings: Settings, shown: ShownItems, receipts: Receipts) -> None:
        self._settings = settings
        self._shown = shown
        self._receipts = receipts
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
                        answer(self._receipts, change)
                        self.caught_up.set()
            except BrokerError as exc:
                log.warning("rules: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)
