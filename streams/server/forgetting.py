"""What the server forgets.

::

    privacy ──► marks: no answer has anything of a former life ──► the copy is removed ──► receipt
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

from streams.announcements.follow import Announced, follow
from streams.announcements.receipts import Receipts
from streams.contract.announcements import PrivacyRequest
from streams.errors import BrokerError
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0
#: Requests of so long ago are answered again at a start: the server before may have died at any
#: point. Their commands wait no more.
YOUNG_MS: Final = 86_400_000


#: Removes what the server holds of users' former lives: record key to the mark of the request.
Erase = Callable[[Mapping[bytes, int]], Awaitable[None]]


class Forgotten:
    """The marks of forgotten users: no answer has anything of before. For one event loop.

    A request that was obeyed is read again at each start. So what is erased is what belongs to a
    life before the request, see :mod:`streams.contract.marks`: the user may have come back since.

    Parameters
    ----------
    erase : removes what the server holds of users' former lives
    skew_ms : a request of later than now and this counts for nobody, as workers refuse it
    """

    def __init__(self, kafka: KafkaSettings, receipts: Receipts, erase: Erase, skew_ms: int) -> None:
        self._kafka = kafka
        self._skew_ms = skew_ms
        self._receipts = receipts
        self._erase = erase
        self._marks: dict[bytes, int] = {}
        self.caught_up = asyncio.Event()

    def is_former(self, key: bytes, revision: int) -> bool:
        """Whether a user's list or window of this revision belongs to a life that is over."""
        return revision <= self._marks.get(key, -1)

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
        """Take requests: mark all, then erase former lives and give the receipts."""
        now_ms = int(1000 * time.time())
        asked = []
        for name, announced in changed.items():
            record = announced.record
            if record is None:
                self._marks.pop(name.encode(), None)
            elif record.user_id == name and record.requested_ts <= now_ms + self._skew_ms:
                self._marks[name.encode()] = record.requested_ts
                asked.append(record)
        young = [record for record in asked if now_ms - record.requested_ts < YOUNG_MS]
        if young:
            await self._erase({record.user_id.encode(): record.requested_ts for record in young})
            for record in young:
                if record.request_id:
                    self._receipts.give("forget", record.request_id, stage="done", detail="list, record and window")
