"""Users who never come back: their windows are removed once ``user_ttl_days`` have passed since the last accepted event.

When a window was last written is the timestamp of its record on ``sequences``, which is this app's own clock: neither the time of an event
nor that of its record, both of which a backfill may bring from years ago. Compaction keeps each user's newest record, so that the old
ones lie at the beginning of the partition. They are read from there, a few hundred at a time, and those that still are the users'
windows get a tombstone. No time is kept for each user.
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
#: A partition is swept so often: days are asked for, so hours do no harm.
SWEEP_EVERY_S: Final = 3_600.0
#: The work is bounded: at most so many records, then a pause in which events go on.
MAX_RECORDS: Final = 500
PAUSE_S: Final = 0.05
POLL_MS: Final = 1_000
DAY_MS: Final = 86_400_000


class Removing(Protocol):
    """The sequencer, as expiry needs it."""

    def clocks(self) -> dict[int, int]:
        """Return for each partition that can be swept now the time, in ms, up to which its events are read."""

    async def remove(self, partition: int, records: Sequence[ConsumedRecord]) -> int:
        """Remove the users whose window still is that of the record; return how many."""


class Expiry:
    """Sweeps the partitions of one worker. For its event loop.

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
        """Do nothing: what is removed is checked at the moment of removing."""

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
