"""How the server answers announcements: it is one of those who must.

::

    group of servers ──► a member: commands know that it is live, and wait for its receipts
                            │ first this, then
                            ▼
    privacy, rules, models ──► obeyed, or why not ──► receipt

A command that looks at the group before the server is a member does not wait for it. So the server
reads announcements only then: what the command has announced is among them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from aiokafka.errors import KafkaError

from streams.announcements.follow import follow
from streams.announcements.receipts import Receipts
from streams.contract.announcements import ModelAnnouncement
from streams.errors import BrokerError
from streams.kafka.readers import open_reader
from streams.settings.load import Settings

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
LOOK_S: Final = 0.2
#: The server does without the group when it is no member after so many seconds, or sessions. A
#: server that died keeps the next one waiting for its session.
JOINED_WITHIN_S: Final = 30.0
JOINED_WITHIN_SESSIONS: Final = 2


class Membership:
    """Keeps the server a member of the group of servers. For one event loop.

    The broker tells commands the members of a group: so they know whose receipts to wait for, and
    that a server has gone. The group reads nothing and commits nothing.

    Attributes
    ----------
    member_id : empty while the server is no member
    joined : set once the server has been a member
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self.member_id = ""
        self.joined = asyncio.Event()

    async def run(self) -> None:
        """Be a member until cancelled; join again after a lost connection."""
        kafka = self._kafka
        session_ms = kafka.session_timeout_ms
        while True:
            try:
                async with open_reader(
                    kafka, kafka.group("server"), auto_offset_reset="latest",
                    session_timeout_ms=session_ms, heartbeat_interval_ms=session_ms // 12,
                ) as consumer:  # fmt: skip
                    consumer.subscribe([kafka.topic("privacy")])
                    polling = asyncio.ensure_future(_poll(consumer))
                    try:
                        while not polling.done():
                            self._note(getattr(consumer, "_coordinator"))  # noqa: B009 (not public)
                            await asyncio.sleep(LOOK_S)
                        polling.result()
                    finally:
                        polling.cancel()
                        await asyncio.gather(polling, return_exceptions=True)
            except (BrokerError, KafkaError, OSError) as exc:
                log.warning("group of servers: not joined, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)
            finally:
                self.member_id = ""

    async def before(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job that reads announcements, once the server is a member."""
        within_s = max(JOINED_WITHIN_S, JOINED_WITHIN_SESSIONS * self._kafka.session_timeout_ms / 1000)
        try:
            await asyncio.wait_for(self.joined.wait(), within_s)
        except TimeoutError:
            log.warning("group of servers: no member after %g s; commands do not wait for this server", within_s)
        await job()

    def _note(self, coordinator: object) -> None:
        # the broker gives the id before it lets the member in; only then there is a generation
        is_member = getattr(coordinator, "generation") >= 0  # noqa: B009
        self.member_id = str(getattr(coordinator, "member_id")) if is_member else ""  # noqa: B009
        if is_member:
            self.joined.set()


class WithoutModel:
    """Answers announcements of models for a server that ranks nothing. For one event loop."""

    def __init__(self, settings: Settings, receipts: Receipts) -> None:
        self._settings = settings
        self._receipts = receipts

    async def run(self) -> None:
        """Follow ``models`` until cancelled; try again while the broker does not answer."""
        name = self._settings.recommender.model_name
        while True:
            try:
                async with aclosing(follow(self._settings.kafka, "models", ModelAnnouncement)) as changes:
                    held = (await anext(changes)).get(name)
                    self._answer(f"{name}@none" if held is None else held.id)
                    async for changed in changes:
                        if name in changed:
                            self._answer(changed[name].id)
            except BrokerError as exc:
                log.warning("models: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    def _answer(self, announcement: str) -> None:
        self._receipts.give("model", announcement, stage="done", detail="it has no model: serve_ranking is off")


async def _poll(consumer: object) -> None:
    while True:
        await getattr(consumer, "getmany")(timeout_ms=POLL_MS)  # noqa: B009
