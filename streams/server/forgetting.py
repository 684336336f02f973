"""What the server forgets, and how it answers: it is one of those who must.

::

    group of servers ──► the member id that receipts name ──► commands know who is live
    privacy ──► marks: no answer has what is older ──► the copy is removed ──► receipt
    rules, models ──► in force, or why not ──► receipt
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

from aiokafka.errors import KafkaError

from streams.announcements.follow import Announced, follow
from streams.announcements.receipts import Receipts
from streams.contract.announcements import PrivacyRequest
from streams.errors import BrokerError
from streams.kafka.readers import open_reader
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
#: Requests of so long ago are answered again at a start: the server before may have died at any
#: point. Their commands wait no more.
YOUNG_MS: Final = 86_400_000


class Membership:
    """Keeps the server a member of the group of servers. For one event loop.

    The broker tells commands the members of a group: so they know whose receipts to wait for, and
    that a server has gone. The group reads nothing and commits nothing.

    Attributes
    ----------
    member_id : empty while the server is no member
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self.member_id = ""

    async def run(self) -> None:
        """Be a member until cancelled; join again after a lost connection."""
        while True:
            try:
                async with open_reader(
                    self._kafka, self._kafka.group("server"), auto_offset_reset="latest"
                ) as consumer:
                    consumer.subscribe([self._kafka.topic("privacy")])
                    while True:
                        await consumer.getmany(timeout_ms=POLL_MS)
                        self.member_id = str(getattr(consumer, "_coordinator").member_id)  # noqa: B009 (not public)
            except (BrokerError, KafkaError, OSError) as exc:
                log.warning("group of servers: not joined, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)
            finally:
                self.member_id = ""


class Forgotten:
    """The marks of forgotten users: no answer has anything of before. For one event loop.

    Parameters
    ----------
    erase : removes what the server holds of users, by record key
    skew_ms : a request of later than now and this counts for nobody, as workers refuse it
    """

    def __init__(
        self, kafka: KafkaSettings, receipts: Receipts, erase: Callable[[bytes], Awaitable[None]], skew_ms: int
    ) -> None:
        self._kafka = kafka
        self._skew_ms = skew_ms
        self._receipts = receipts
        self._erase = erase
        self._marks: dict[bytes, int] = {}
        self.caught_up = asyncio.Event()

    def is_forgotten(self, key: bytes, ts_ms: int) -> bool:
        """Whether what a user did at a time, or before, was to be forgotten."""
        return ts_ms <= self._marks.get(key, -1)

    async def run(self) -> None:
        """Follow ``privacy`` until cancelled; try again while the broker does not answer.

        Raises
        ------
        TopicError
            When the topic does not exist.
        """
        while True:
            try:
                async with aclosing(follow(self._kafka, "privacy", PrivacyRequest)) as changes:
                    is_first = True
                    async for changed in changes:
                        if is_first:
                            self._marks.clear()
                        await self.take(changed)
                        is_first = False
                        self.caught_up.set()
            except BrokerError as exc:
                log.warning("privacy: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    async def take(self, changed: Mapping[str, Announced[PrivacyRequest]]) -> None:
        """Take requests: mark all, then erase users and give the receipts."""
        now_ms = int(1000 * time.time())
        asked = []
        for name, announced in changed.items():
            record = announced.record
            if record is None:
                self._marks.pop(name.encode(), None)
            elif record.user_id == name and record.requested_ts <= now_ms + self._skew_ms:
                self._marks[name.encode()] = record.requested_ts
                asked.append(record)
        for record in asked:
            if now_ms - record.requested_ts < YOUNG_MS:
                await self._erase(record.user_id.encode())
                if record.request_id:
                    self._receipts.give("forget", record.request_id, stage="done", detail="list, record and window")
