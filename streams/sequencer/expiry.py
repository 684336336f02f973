"""Removes windows of users without events: ``user_ttl_days`` after the last accepted event.

The timestamp of a record on ``sequences`` says when its window was written, by the sequencer's own
clock. The times of events do not: a backfill brings events of years ago. Compaction keeps each
user's newest record, so old records lie at the beginning of a partition. Expiry reads a few hundred
of them at a time from there, and writes a tombstone for each record that still is its user's
window. It keeps no time per user.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from aiokafka import TopicPartition

from streams.contract.kafka_records import ConsumedRecord
from streams.errors import BrokerError, HeadraceError
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import read_to_ends
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
#: Seconds between two sweeps of a partition: the limit is in days, so an hour does no harm.
SWEEP_EVERY_S: Final = 3_600.0
#: Most records at once; events go on in the pause after them.
MAX_RECORDS: Final = 500
PAUSE_S: Final = 0.05
POLL_MS: Final = 1_000
DAY_MS: Final = 86_400_000


class Removing(Protocol):
    """The sequencer, as expiry needs it."""

    def clocks(self) -> dict[int, int]:
        """Return up to when, in ms, the events of each partition are read.

        Only partitions that may be swept now are in it.
        """

    async def remove(self, partition: int, records: Sequence[ConsumedRecord]) -> int:
        """Remove users whose window still is that of the record; return how many."""


class Expiry:
    """Sweeps the partitions of one worker. For one event loop.

    Parameters
    ----------
    user_ttl_days : 0 switches it off
    on_failure : stops the worker
    """

    def __init__(
        self,
        settings: KafkaSettings,
        user_ttl_days: int,
        sequencer: Removing,
        on_failure: Callable[[BaseException], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._ttl_ms = user_ttl_days * DAY_MS
        self._sequencer = sequencer
        self._on_failure = on_failure
        self._swept_s: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to sweep, if it is on."""
        if self._ttl_ms:
            self._task = asyncio.ensure_future(self._run())

    def let_go(self) -> None:
        """Do nothing: the sequencer checks each window when it removes it."""

    async def stop(self) -> None:
        """End sweeping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                for partition, clock_ms in self._sequencer.clocks().items():
                    if self._is_due(partition):
                        await self._sweep(partition, clock_ms - self._ttl_ms)
                        self._swept_s[partition] = time.monotonic()
            except BrokerError as exc:
                log.warning("user_ttl_days: %s; tried again", exc)
            except HeadraceError as exc:
                await self._on_failure(exc)
                return

    def _is_due(self, partition: int) -> bool:
        return self._swept_s.get(partition, float("-inf")) <= time.monotonic() - SWEEP_EVERY_S

    async def _sweep(self, partition: int, before_ms: int) -> None:
        """Remove the users of a partition whose window was last written before ``before_ms``."""
        tp = TopicPartition(self._settings.topic("sequences"), partition)
        n_removed = 0
        async with open_reader(self._settings, max_poll_records=MAX_RECORDS) as reader:
            reader.assign([tp])
            young = (await reader.offsets_for_times({tp: max(0, before_ms)}))[tp]
            end = (await reader.end_offsets([tp]))[tp] if young is None else young.offset
            reader.seek(tp, (await reader.beginning_offsets([tp]))[tp])
            async for fetched in read_to_ends(reader, {tp: end}, max_records=MAX_RECORDS):
                old = [r for r in fetched.get(tp, ()) if r.offset < end and r.timestamp < before_ms]
                n_removed += await self._sequencer.remove(partition, old)
                await asyncio.sleep(PAUSE_S)
        if n_removed:
            days = self._ttl_ms // DAY_MS
            log.info("partition %d: %d users removed, without events for user_ttl_days=%d", partition, n_removed, days)
