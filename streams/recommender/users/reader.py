"""Reads this worker's partitions of ``users``: to the end before lists are made, then on.

::

    assigned ─► other partitions: dropped
             └► read to the end ─► windows of these partitions get lists
                                └► users without events get first lists; each change likewise
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.contract.item_records import UserDecoder
from streams.contract.log_coordinates import about_all
from streams.errors import HeadraceError, RecordError
from streams.health.counters import Metrics
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import Fetched, read_to_ends
from streams.recommender.users.first_lists import Change, FirstLists
from streams.recommender.users.followed import FollowedVectors
from streams.recommender.users.records import UserFacts, UserRecords, followed_keys
from streams.settings.load import KafkaSettings
from streams.state.damage import PassedOver, describe
from streams.state.table import BatchTable

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
#: Seconds between two looks whether the tables are recovered, which comes first.
POLL_S: Final = 0.2
#: Seconds that a first list waits for the vectors of followed users of other workers.
FOLLOWED_S: Final = 5.0


class UsersReader:
    """Knows the users of this worker's partitions. For one event loop.

    Parameters
    ----------
    vectors : the table of user vectors
    first : gives lists to users without events
    guard : wraps the background jobs; their failure must not be lost
    is_recovering : whether tables are still being recovered
    """

    def __init__(
        self,
        settings: KafkaSettings,
        vectors: BatchTable,
        first: FirstLists,
        metrics: Metrics,
        guard: Callable[[Awaitable[None]], Awaitable[None]],
        is_recovering: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._vectors = vectors
        self._first = first
        self._metrics = metrics
        self._guard = guard
        self._is_recovering = is_recovering
        self._topic = settings.topic("users")
        self._decoder = UserDecoder()
        self._records = UserRecords()
        self._followed = FollowedVectors(settings)
        self._own: frozenset[int] = frozenset()
        self._ready = asyncio.Event()
        self._ready.set()  # nothing is read before the first assignment
        self._running: list[asyncio.Future[None]] = []

    async def assigned(self, partitions: Collection[int]) -> None:
        """Know the users of these partitions and of no others, from now on."""
        await self.stop()
        self._own, self._ready = frozenset(partitions), asyncio.Event()
        self._records.keep(partitions)
        self._followed.begin(partitions, self._records.follows())
        self._note()
        if partitions:
            jobs = (self._run(sorted(partitions)), self._followed.run())
            self._running = [asyncio.ensure_future(self._guard(job)) for job in jobs]
        else:
            self._ready.set()

    async def stop(self) -> None:
        """End the reading, and let go whoever waits for it; the next one goes on from there."""
        self.let_go()
        running, self._running = self._running, []
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def let_go(self) -> None:
        """Let go whoever waits for the reading."""
        self._ready.set()
        self._first.close()

    async def wait_ready(self) -> None:
        """Wait until the users of the partitions are known, or the partitions are let go."""
        await self._ready.wait()

    def facts(self, users: Sequence[tuple[int, bytes]]) -> list[UserFacts | None] | None:
        """Return what is known of users, by partition and key; None where that is nothing."""
        if not any(self._records.has(*user) for user in users):
            return None
        return [self._facts(*user) for user in users]

    def remove(self, partition: int, keys: Iterable[bytes]) -> None:
        """Drop what is known of users, without a list."""
        self._records.remove(partition, keys)
        self._note()

    def _facts(self, partition: int, key: bytes) -> UserFacts | None:
        facts = self._records.get(partition, key)
        if facts is None or not facts.user.follows:
            return facts
        found = (self._vector(other) for other in followed_keys(facts.user))
        return facts._replace(followed=tuple(value for value in found if value is not None))

    def _vector(self, key: bytes) -> bytes | None:
        home = self._followed.home(key)
        return self._vectors.read(home, key) if home in self._own else self._followed.get(key)

    async def _run(self, partitions: list[int]) -> None:
        is_begun = False
        while True:
            try:
                async with open_reader(self._settings, auto_offset_reset="earliest") as consumer:
                    tps = [TopicPartition(self._topic, partition) for partition in partitions]
                    removed = await self._catch_up(consumer, tps)
                    self._ready.set()
                    while self._is_recovering():
                        await asyncio.sleep(POLL_S)
                    if not is_begun:
                        self._first.open()
                        for partition in partitions:
                            changes = [Change(key) for key in self._records.keys(partition)]
                            changes += removed.get(partition, ())
                            await self._first.consider(partition, changes, self._records)
                        is_begun = True
                    ends = dict.fromkeys(tps, math.inf)
                    async for fetched in read_to_ends(consumer, ends, stuck_after_s=math.inf):
                        await self._answer(self._take(fetched))
            except HeadraceError as exc:
                log.warning("users: %s; the recommender reads on in %g s", exc, RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _catch_up(self, consumer: Any, tps: list[TopicPartition]) -> dict[int, list[Change]]:
        """Read to the present ends, and the vectors of followed users as far as they come soon.

        Return the removals by partition.
        """
        removed: dict[int, list[Change]] = {}
        began_s = time.monotonic()
        consumer.assign(tps)
        beginnings = await consumer.beginning_offsets(tps)
        for tp in tps:
            consumer.seek(tp, max(beginnings[tp], self._records.next_offset(tp.partition) or 0))
        async for fetched in read_to_ends(consumer, await consumer.end_offsets(tps)):
            for partition, changes in self._take(fetched).items():
                gone = [change for change in changes if change.removed_at is not None]
                removed.setdefault(partition, []).extend(gone)
            await asyncio.sleep(0)  # heartbeats and pages go on
        await self._followed.wait_read(FOLLOWED_S)
        self._note()
        log.info("users: %d known in %.1f s", len(self._records), time.monotonic() - began_s)
        return removed

    def _take(self, fetched: Fetched) -> dict[int, list[Change]]:
        """Take the records of a poll; return the changed users by partition."""
        changed: dict[int, list[Change]] = {}
        for tp, records in fetched.items():
            malformed = []
            for record in records:
                try:
                    _, user = self._decoder.decode(record)
                except RecordError as exc:
                    malformed.append(PassedOver(record.offset, record.key, exc.detail))
                    continue
                self._records.put(tp.partition, record.key, record.offset, user)
                if user is not None:
                    self._followed.want(followed_keys(user))
                removed_at = record.offset if user is None else None
                changed.setdefault(tp.partition, []).append(Change(record.key, removed_at, record.timestamp))
            if malformed:
                self._metrics.add("users_malformed", len(malformed))
                extra = about_all(self._topic, tp.partition, [each.offset for each in malformed])
                log.error("%s-%d: %s; they change nothing", self._topic, tp.partition, describe(malformed), extra=extra)
        self._note()
        return changed

    async def _answer(self, changed: dict[int, list[Change]]) -> None:
        if changed:
            await self._followed.wait_read(FOLLOWED_S)
            self._note()
        for partition, changes in changed.items():
            await self._first.consider(partition, changes, self._records)

    def _note(self) -> None:
        self._metrics.put("users_known", len(self._records))
        self._metrics.put("users_followed", len(self._followed))
