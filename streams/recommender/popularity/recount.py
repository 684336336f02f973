"""Counts live popularity again from ``sequences``, at each new assignment of partitions.

::

    assigned ─► lost partitions: taken out of the counts
             └► the others: a background job reads on from where the last recount ended,
                while windows that get lists are counted live
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from faust.types import TP

from streams.contract.windows import ListWindow, decode_list_window
from streams.errors import HeadraceError, RecordError
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.settings.load import Settings
from streams.state.damage import PassedOver
from streams.state.recovery import restore

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
#: Seconds between two looks whether the tables are recovered, which comes first.
POLL_S: Final = 0.2


class Recount:
    """Keeps :class:`LivePopularity` at the windows of this worker's partitions. For one event loop.

    :func:`streams.state.recovery.restore` takes it for the table to recover.

    Parameters
    ----------
    guard : wraps the background job; its failure must not be lost
    is_recovering : whether tables are still being recovered
    on_change : called after windows were counted
    """

    def __init__(
        self,
        settings: Settings,
        popularity: LivePopularity,
        guard: Callable[[Awaitable[None]], Awaitable[None]],
        is_recovering: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._popularity = popularity
        self._guard = guard
        self._is_recovering = is_recovering
        self._on_change = on_change
        self._topic = settings.kafka.topic("sequences")
        self._offsets: dict[int, int] = {}  # of the last window that was counted, by partition
        self._partitions: frozenset[int] = frozenset()
        self.running: asyncio.Future[None] | None = None

    async def assigned(self, partitions: Collection[int]) -> None:
        """Count the windows of these partitions and of no others, from now on."""
        await self.stop()
        self._partitions = frozenset(partitions)
        self._popularity.keep(partitions)
        self._offsets = {p: offset for p, offset in self._offsets.items() if p in partitions}
        self._popularity.begin_recount(partitions)
        if partitions:
            tps = [TP(self._topic, partition) for partition in sorted(partitions)]
            self.running = asyncio.ensure_future(self._guard(self._run(tps)))

    async def adopt(self, popularity: LivePopularity) -> None:
        """Count the windows of the same partitions for another model, from the beginning."""
        await self.stop()
        partitions, self._popularity, self._offsets = self._partitions, popularity, {}
        await self.assigned(partitions)

    async def stop(self) -> None:
        """End a running recount; the next one goes on from there."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    async def _run(self, partitions: list[TP]) -> None:
        while self._is_recovering():
            await asyncio.sleep(POLL_S)
        began_s, timeout_s = time.monotonic(), self._settings.health.recovery_timeout_s
        while True:
            try:
                n_records = await restore(self._settings.kafka, self, partitions, timeout_s)
                break
            except HeadraceError as exc:  # lists go on with the present counts
                log.warning("popularity: not counted again yet: %s; the recommender tries again", exc)
                await asyncio.sleep(RETRY_S)
        self._popularity.end_recount()
        self._on_change()
        took_s = time.monotonic() - began_s
        log.info("popularity: %d windows counted again in %.1f s", n_records, took_s)

    def persisted_offset(self, tp: TP) -> int | None:
        """Return the offset of the last window that was counted, None for none."""
        return self._offsets.get(tp.partition)

    def store(self, partition: int, values: Mapping[bytes, bytes | None], offset: int) -> None:
        """Count windows of the topic. Other records are passed over; the collector reports them."""
        windows: dict[bytes, ListWindow | None] = {}
        for key, value in values.items():
            try:
                windows[key] = None if value is None else decode_list_window(value)
            except RecordError:
                continue
        self._popularity.recount(partition, windows)
        self._offsets[partition] = offset
        self._on_change()

    def note_foreign(self, partition: int, records: Sequence[PassedOver]) -> None:
        """Stay silent: the collector of the partition reports such records."""
