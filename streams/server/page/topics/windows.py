"""Users' newest windows, read from ``sequences`` while somebody looks at them.

::

    tail of each partition ──► the newest windows, in bounded memory ──► live
    a user who is not there ──► one search of the user's partition, in bounded time

Nothing is read while nobody looks: the reader ends after :data:`IDLE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from typing import Any, Final, Literal, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.contract.windows import WindowState, decode_window
from streams.errors import HeadraceError, RecordError
from streams.kafka.publisher import partition_of
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count, read_to_ends
from streams.server.lists.listeners import Listeners
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

TOPIC: Final = "sequences"
#: Records at the end of each partition that are read at the start.
TAIL: Final = 2_000
#: Most bytes of windows in memory.
MAX_BYTES: Final = 64 << 20
IDLE_S: Final = 60.0
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
RETRY_S: Final = 2.0
#: Longest search of a partition, and how long its answer "there is none" holds.
SEARCH_S: Final = 20.0
RECALL_S: Final = 60.0
MAX_MISSING: Final = 10_000

State = Literal["found", "searching", "none", "unfinished"]


class Found(NamedTuple):
    """A user's window, or why there is none to show."""

    state: State
    window: WindowState | None = None


class NewestWindows:
    """Values by record key, the longest untouched ones dropped first.

    Parameters
    ----------
    max_bytes : most bytes of all keys and values
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0

    def put(self, key: bytes, value: bytes | None) -> None:
        """Keep a key's newest value; None removes it."""
        before = self._values.pop(key, None)
        if before is not None:
            self._bytes -= len(key) + len(before)
        if value is None:
            return
        self._values[key] = value
        self._bytes += len(key) + len(value)
        while self._bytes > self._max_bytes:
            dropped, old = self._values.popitem(last=False)
            self._bytes -= len(dropped) + len(old)

    def get(self, key: bytes) -> bytes | None:
        """Return a key's newest value."""
        return self._values.get(key)

    def newest_keys(self, n: int) -> list[bytes]:
        """Return the keys that were put last, the newest first."""
        found: list[bytes] = []
        for key in reversed(self._values):
            if len(found) == n:
                break
            found.append(key)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()
        self._bytes = 0


class WindowReader:
    """Gives users' newest windows. For one event loop.

    Attributes
    ----------
    listeners : wakes those who wait for a user's next window, or for the end of its search
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._newest = NewestWindows()
        self._following: asyncio.Task[None] | None = None
        self._searches: dict[bytes, asyncio.Task[None]] = {}
        self._one_search = asyncio.Semaphore(1)
        self._missing: OrderedDict[bytes, tuple[State, float]] = OrderedDict()
        self._tails: dict[int, int] = {}
        self._asked_s = 0.0
        self.caught_up = asyncio.Event()
        self.listeners = Listeners()

    def ask(self, key: bytes) -> Found:
        """Return what is known of a user's window; look for one that is not known."""
        self._wake()
        value = self._newest.get(key)
        if value is not None:
            try:
                return Found("found", decode_window(value))
            except RecordError as exc:
                log.warning("sequences: the window of a user cannot be read: %s", exc)
                return Found("none")
        state, until_s = self._missing.get(key, ("searching", 0.0))
        if time.monotonic() < until_s:
            return Found(state)
        if self.caught_up.is_set() and key not in self._searches:
            task = self._searches[key] = asyncio.ensure_future(self._search(key))
            task.add_done_callback(lambda _: self._searches.pop(key, None))
        return Found("searching")

    def recent(self, n: int) -> list[bytes]:
        """Return the keys of the users whose windows changed last, the newest first."""
        self._wake()
        return self._newest.newest_keys(n)

    def _wake(self) -> None:
        self._asked_s = time.monotonic()
        if self._following is None or self._following.done():
            self._following = asyncio.ensure_future(self._follow_while_asked())

    async def _follow_while_asked(self) -> None:
        while time.monotonic() - self._asked_s < IDLE_S:
            try:
                await self._follow()
            except (HeadraceError, KafkaError, OSError) as exc:
                log.warning("sequences: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)
        self.caught_up.clear()
        self._newest.clear()
        self._missing.clear()

    async def _follow(self) -> None:
        topic = self._kafka.topic(TOPIC)
        tps = [TopicPartition(topic, number) for number in range(await partition_count(self._kafka, topic))]
        async with open_reader(self._kafka) as consumer:
            consumer.assign(tps)
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            for tp in tps:
                self._tails[tp.partition] = max(begins[tp], ends[tp] - TAIL)
                consumer.seek(tp, self._tails[tp.partition])
            async for fetched in read_to_ends(consumer, ends):
                self._take(fetched)
            self.caught_up.set()
            while time.monotonic() - self._asked_s < IDLE_S:
                self._take(await consumer.getmany(timeout_ms=POLL_MS))

    def _take(self, fetched: dict[TopicPartition, list[Any]]) -> None:
        for records in fetched.values():
            for record in records:
                if record.key:
                    self._newest.put(record.key, record.value)
                    self._missing.pop(record.key, None)
            self.listeners.wake(record.key for record in records if record.key)

    async def _search(self, key: bytes) -> None:
        """Look for a user's window before the tail of its partition."""
        state: State = "unfinished"
        async with self._one_search:
            with contextlib.suppress(HeadraceError, KafkaError, OSError):
                state = await self._searched(key)
        while len(self._missing) >= MAX_MISSING:
            self._missing.popitem(last=False)
        self._missing[key] = state, time.monotonic() + RECALL_S
        self.listeners.wake([key])

    async def _searched(self, key: bytes) -> State:
        partition = partition_of(key, len(self._tails), self._kafka.partitioner)
        tp = TopicPartition(self._kafka.topic(TOPIC), partition)
        newest: bytes | None = None
        deadline = time.monotonic() + SEARCH_S
        async with open_reader(self._kafka) as consumer:
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            async for fetched in read_to_ends(consumer, {tp: self._tails[partition]}, deadline=deadline):
                for records in fetched.values():
                    newest = next((r.value for r in reversed(records) if r.key == key), newest)
            is_whole = await consumer.position(tp) >= self._tails[partition]
        if newest is not None and is_whole and self._newest.get(key) is None:
            self._newest.put(key, newest)
        return "none" if is_whole else "unfinished"
