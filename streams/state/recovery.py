"""Recovery of a table from its changelog, by a reader of its own.

Faust 0.15.3 recovers through the app's consumer, and loses changelog records there: what a fetch returns while flow is suspended is
dropped with its position moved on, as is what the last reading left in the queue; a recovery that is over before anyone waits for its
end is never seen to end; and an error while applying is one warning. A window lost so takes its user's events with it, for their offsets
are committed. Here each partition is read from the offset that its store holds to the end that it had when its writer was fenced,
with a consumer that nothing else touches.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, OffsetOutOfRangeError
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import is_user_key
from streams.errors import BrokerError, HeadraceError, StalledError
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import read_to_ends
from streams.settings.load import KafkaSettings
from streams.state.damage import PassedOver

log = logging.getLogger(__name__)

FETCH_BYTES: Final = 2 << 20
#: A partition that is at its end must not hold up the others, nor the end of the recovery.
FETCH_WAIT_MS: Final = 20


async def restore(settings: KafkaSettings, table: Any, partitions: Iterable[TP], timeout_s: float) -> int:
    """Bring a table's partitions up to the end of their changelog; return the number of records read. Repeat-safe.

    Parameters
    ----------
    table : a :class:`~streams.state.table.BatchTable`
    timeout_s : a recovery that reads nothing for this long, while records are left, is stuck

    Raises
    ------
    StalledError
        When it is stuck.
    BrokerError
        When the broker does not answer.
    """
    tps = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
    if not tps:
        return 0
    async with open_reader(
        settings, max_partition_fetch_bytes=FETCH_BYTES, fetch_max_wait_ms=FETCH_WAIT_MS
    ) as consumer:
        consumer.assign(tps)
        ends = await _seek(consumer, table, tps)
        return await _read(consumer, table, ends, timeout_s)


async def _seek(consumer: Any, table: Any, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Go to where each partition's store stands; return the partitions' ends."""
    beginnings, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    for tp in tps:
        stored = table.persisted_offset(TP(tp.topic, tp.partition))
        consumer.seek(tp, beginnings[tp] if stored is None else max(beginnings[tp], stored))
    return dict(ends)


async def _read(consumer: Any, table: Any, ends: dict[TopicPartition, int], timeout_s: float) -> int:
    n_records = 0
    restarted: set[TopicPartition] = set()
    while True:
        try:
            async for fetched in read_to_ends(consumer, ends, stuck_after_s=timeout_s):
                for tp, records in fetched.items():
                    _store(table, tp.partition, records)
                    n_records += len(records)
                    await asyncio.sleep(0)  # heartbeats and pages go on
        except OffsetOutOfRangeError as exc:
            await _begin_anew(consumer, exc.args[0], restarted)
        except BrokerError as exc:
            raise StalledError(f"recovery: {exc}; limit: recovery_timeout_s={timeout_s:g}; restart the worker") from exc
        else:
            return n_records


def _store(table: Any, partition: int, records: list[Any]) -> None:
    values = {record.key: record.value for record in records if record.key is not None}
    if foreign := _take_foreign(values, records):
        table.note_foreign(partition, foreign)
    table.store(partition, values, records[-1].offset)


async def _begin_anew(consumer: Any, gone: Mapping[TopicPartition, int], restarted: set[TopicPartition]) -> None:
    """Read partitions again from where they begin now: the broker has deleted records under the reader. Once each."""
    beginnings = await consumer.beginning_offsets(list(gone))
    for tp, offset in gone.items():
        place = f"recovery: {tp.topic}-{tp.partition}: offset {offset} is not there any more"
        if tp in restarted:
            raise StalledError(
                f"{place}, for the second time: stop what deletes records of that topic, then restart the worker"
            )
        log.error("%s; begun anew at %d; is cleanup.policy of the topic compact alone?", place, beginnings[tp])
        restarted.add(tp)
        consumer.seek(tp, beginnings[tp])


def _take_foreign(values: dict[bytes, bytes | None], records: Iterable[ConsumedRecord]) -> list[PassedOver]:
    """Take values out whose key is no user_id; return their records. A tombstone, such as a fence record, says nothing."""
    keys = {key for key, value in values.items() if value is not None and not is_user_key(key)}
    for key in keys:
        del values[key]
    return [PassedOver(record.offset, record.key, "the key is no user_id") for record in records if record.key in keys]


class BatchRecovery(Recovery):
    """Faust's recovery service, with the reading of the changelog replaced; what follows it is Faust's."""

    _recovering: asyncio.Task[None] | None = None
    _looking: asyncio.Future[None] | None = None

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Give up the recovery at hand: from here on it must neither store, nor seek, nor resume flow."""
        for running in (self._recovering, self._looking):
            if running is not None:
                running.cancel()

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):
                return
            self.signal_recovery_start.clear()
            self._recovering = asyncio.ensure_future(self._recover(self._generation_id))
            try:
                await self._recovering
            except asyncio.CancelledError:
                if self.should_stop or not self._recovering.cancelled():
                    raise
            except (RebalanceAgain, IllegalStateError, AssertionError):
                pass  # the last two: sought in an assignment that has ended; the next one starts another recovery
            except ServiceStopped:
                if not self.should_stop:  # it is raised after a time-out too
                    await self.app.crash(
                        StalledError("recovery: the broker did not answer in time; restart the worker")
                    )
                return
            except HeadraceError as exc:
                await self.app.crash(exc)
                return

    async def _recover(self, generation_id: int) -> None:
        self._set_recovery_started()
        began = time.monotonic()
        app: Any = self.app
        timeout_s = app.settings.health.recovery_timeout_s
        actives = {table: set(tps) for table, tps in self.actives_for_table.items()}
        await self._wait(app.writer.own({tp.partition for tps in actives.values() for tp in tps}))
        for table, partitions in actives.items():
            reading = asyncio.ensure_future(restore(app.settings.kafka, table, partitions, timeout_s))
            await self._wait(reading)
            log.info("%s: %d records recovered in %.1f s", table.name, reading.result(), time.monotonic() - began)
        gc.collect()  # the closed consumer, and writers of the partitions before: cycles with megabytes of buffers
        await self._wait(self.on_recovery_completed(generation_id))
        if app.after_recovery is not None:
            self._looking = self.add_future(
                app.after_recovery({tp.partition for tps in actives.values() for tp in tps})
            )

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Drop what the app's consumer fetches of changelogs: a full queue would hold up the fetching of all the rest."""
        while not self.should_stop:
            await self.tables.changelog_queue.get()

    @Service.task
    async def _publish_stats(self) -> None:
        """Say nothing: the log line at the end of a recovery tells."""


class BatchTableManager(TableManager):
    """Faust's table manager with that recovery."""

    _recovery: BatchRecovery | None = None

    @property
    def recovery(self) -> Recovery:
        """Return the recovery service."""
        if self._recovery is None:
            self._recovery = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
