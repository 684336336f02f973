"""Follows ``privacy``: keeps the marks of forgotten users, and has their data erased.

::

    privacy ──► marks ──► every judgement of an event, a window or a list
       ▲          └─────► Eraser, for users of this worker's partitions ──► receipts
       └── a mark that has lapsed is removed, and with it the last record of its user

A worker reads the marks of all users before it takes the first batch of an assignment. It erases
those users again whose request is young: the worker before it may have died at any point.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from streams.announcements.follow import Announced, follow
from streams.announcements.receipts import Receipts
from streams.contract.announcements import PrivacyRequest
from streams.contract.kafka_records import OutRecord
from streams.errors import HeadraceError
from streams.health.counters import Metrics
from streams.kafka.batch_writer import delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.retention import longest_of
from streams.settings.load import Settings

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0
POLL_S: Final = 0.1
#: Users are erased so many at a time; events go on in between.
MAX_USERS: Final = 500
#: A request is young for a day. Its user is erased again after each assignment.
YOUNG_MS: Final = 86_400_000
#: Seconds between two looks for marks that have lapsed: they live for weeks.
LAPSE_EVERY_S: Final = 3_600.0
#: Topics that may bring back events of before a request: the log, and what is redriven.
SOURCES: Final = ("events", "events.rejected")


@dataclass(frozen=True)
class Request:
    """A request to forget a user.

    Parameters
    ----------
    mark : the time of the request, in milliseconds since 1970
    id : names it in receipts; empty where it has none
    partition : that of the user's events
    """

    key: bytes
    mark: int
    id: str
    partition: int

    def is_young(self, now_ms: int) -> bool:
        """Whether the user is erased again after an assignment."""
        return now_ms - self.mark < YOUNG_MS


class Eraser(Protocol):
    """The part of an app that holds data of users."""

    def can_erase(self, partition: int) -> bool:
        """Return whether the state of a partition is recovered, and this worker owns it."""

    async def erase(self, partition: int, requests: Sequence[Request]) -> dict[bytes, str]:
        """Erase users' former lives, and return what was erased by user, in words. Repeat-safe.

        A user without any data is left out.
        """


class Forgetting:
    """The marks of one worker, and what follows from them. For one event loop.

    Parameters
    ----------
    logs : topics, by their names in the contract, whose log keeps what was written before
    writer : the app's fenced writers, by which the owner of a partition removes lapsed marks; None
        removes none
    marks : where the marks are kept; None makes a place
    """

    def __init__(
        self,
        settings: Settings,
        eraser: Eraser,
        receipts: Receipts,
        metrics: Metrics,
        logs: Sequence[str],
        writer: Any = None,
        marks: dict[bytes, int] | None = None,
    ) -> None:
        self.marks: dict[bytes, int] = {} if marks is None else marks
        self._settings = settings
        self._homes = KeyHomes(settings.kafka.partitions, settings.kafka.partitioner)
        self._eraser = eraser
        self._receipts = receipts
        self._metrics = metrics
        self._logs = logs
        self._writer = writer
        self._known = asyncio.Event()
        self._is_left = False
        self._tasks: list[asyncio.Task[None]] = []

    async def wait(self) -> bool:
        """Wait until the marks are read; return False where the assignment has ended instead."""
        await self._known.wait()
        return not self._is_left

    async def begin(self, partitions: Collection[int]) -> None:
        """Read the marks for a new assignment, then follow the topic."""
        await self.stop()
        self._known.clear()
        self._is_left = False
        if partitions:
            jobs: list[Callable[[frozenset[int]], Awaitable[None]]] = [self._follow]
            jobs += [self._lapse] if self._writer is not None else []
            self._tasks = [asyncio.ensure_future(self._again(job, frozenset(partitions))) for job in jobs]

    def let_go(self) -> None:
        """Let whoever waits for the marks go: the assignment ends."""
        self._is_left = True
        self._known.set()

    async def stop(self) -> None:
        """End following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _again(self, job: Callable[[frozenset[int]], Awaitable[None]], partitions: frozenset[int]) -> None:
        while True:
            try:
                await job(partitions)
            except HeadraceError as exc:
                log.warning("privacy: %s; tried again", exc)
                await asyncio.sleep(RETRY_S)

    async def _follow(self, partitions: frozenset[int]) -> None:
        kafka = self._settings.kafka
        is_first = True
        async with aclosing(follow(kafka, "privacy", PrivacyRequest, malformed=self._count_malformed)) as changes:
            async for changed in changes:
                requests = self.take(changed, is_whole=is_first)
                self._known.set()
                await self.forget(partitions, requests, is_again=is_first)
                is_first = False

    def _count_malformed(self) -> None:
        self._metrics.add("privacy_malformed")

    def take(self, changed: Mapping[str, Announced[PrivacyRequest]], *, is_whole: bool = False) -> list[Request]:
        """Take requests into the marks; return those that count.

        Parameters
        ----------
        is_whole : whether these are all requests that the topic holds
        """
        latest_ms = int(time.time() * 1000) + self._settings.sequencer.max_future_skew_ms
        found = []
        for name, announced in changed.items():
            key, record = name.encode(), announced.record
            if record is None:
                self.marks.pop(key, None)
            elif record.user_id != name:
                self._refuse(record, key, "its key is not its user_id")
            elif record.requested_ts > latest_ms:
                self._refuse(record, key, "requested_ts lies in the future; check the clock of who asked")
            else:
                found.append(Request(key, record.requested_ts, record.request_id or "", self._homes[key]))
        if is_whole:
            self.marks.clear()
        self.marks.update({request.key: request.mark for request in found})
        return found

    def _refuse(self, record: PrivacyRequest, key: bytes, why: str) -> None:
        """Count and tell a request that breaks the contract beyond its schema."""
        self._count_malformed()
        log.error("privacy: request %s left out: %s", record.request_id or "without an id", why)
        if record.request_id:
            detail = f"{why}; publish the request again"
            self._receipts.give("forget", record.request_id, stage="failed", partition=self._homes[key], detail=detail)

    async def forget(self, partitions: Collection[int], requests: Sequence[Request], *, is_again: bool = False) -> None:
        """Erase the users of this worker's partitions, and give the receipts.

        Parameters
        ----------
        is_again : whether these requests may be done already
        """
        if not requests:
            return
        now_ms = int(time.time() * 1000)
        remains = describe_remains(await longest_of(self._settings.kafka, self._logs), now_ms)
        for partition in sorted(partitions):
            here = [request for request in requests if request.partition == partition]
            for first in range(0, len(here), MAX_USERS):
                chunk = here[first : first + MAX_USERS]
                while not self._eraser.can_erase(partition):
                    await asyncio.sleep(POLL_S)
                # not broken off: the writer's futures must not be cancelled with the task
                told = await asyncio.shield(asyncio.ensure_future(self._eraser.erase(partition, chunk)))
                self._metrics.add("users_forgotten", len(told))
                for request in chunk:
                    if request.id and (not is_again or request.key in told or request.is_young(now_ms)):
                        detail = f"{told.get(request.key, 'nothing left to erase')}; {remains}"
                        self._receipts.give("forget", request.id, stage="done", partition=partition, detail=detail)

    async def _lapse(self, partitions: frozenset[int]) -> None:
        """Remove marks whose user's events of before no topic can bring back any more."""
        while True:
            await asyncio.sleep(LAPSE_EVERY_S)
            longest = await longest_of(self._settings.kafka, SOURCES)
            lapsed = lapsed_marks(self.marks, list(longest.values()), int(time.time() * 1000))
            by_partition: dict[int, list[OutRecord]] = {}
            for key in lapsed:
                if (home := self._homes[key]) in partitions and self._eraser.can_erase(home):
                    by_partition.setdefault(home, []).append(OutRecord(key, None))
            for partition, records in by_partition.items():
                topic = self._settings.kafka.topic("privacy")
                await delivered(await self._writer.send(topic, partition, records))
                log.info("privacy: %d marks of partition %d have lapsed", len(records), partition)


def describe_remains(longest_ms: Mapping[str, int | None], now_ms: int) -> str:
    """Return until when topics keep what was written to them up to now."""
    parts = []
    for topic, ms in longest_ms.items():
        if ms is None:
            parts.append(f"{topic} for as long as the broker keeps it (no bound, or DescribeConfigs is denied)")
        else:
            until = datetime.fromtimestamp((now_ms + ms) / 1000, UTC)
            parts.append(f"{topic} until {until:%Y-%m-%d %H:%M} UTC")
    return f"the log keeps what was written before: {', '.join(parts)}" if parts else ""


def lapsed_marks(marks: Mapping[bytes, int], longest_ms: Collection[int | None], now_ms: int) -> list[bytes]:
    """Return the users whose mark has lapsed.

    Parameters
    ----------
    longest_ms : how long each topic keeps events; None where it has no bound or the broker does not
        tell: then no mark lapses
    """
    if not longest_ms or None in longest_ms:
        return []
    kept_ms = max(ms for ms in longest_ms if ms is not None)
    return [key for key, mark in marks.items() if mark + kept_ms < now_ms]
