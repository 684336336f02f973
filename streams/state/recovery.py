"""Recovery of a table from its changelog, by a reader of its own.

Faust 0.15.3 recovers through the app's consumer and can lose changelog records:

* it drops the records of a fetch that returns while flow is suspended, and their position stays
  moved on; it also drops the records that the last reading left in the queue;
* a recovery that ends before anybody waits for its end is never seen to end;
* an error while a record is applied is only a warning.

A lost window also loses its user's events, because their offsets are committed. Here a consumer
that nothing else uses reads each partition, from the offset that the store holds to the end that
the partition had when its former writer was fenced.
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
#: A partition that is at its end must not delay the others.
FETCH_WAIT_MS: Final = 20


async def restore(settings: KafkaSettings, table: Any, partitions: Iterable[TP], timeout_s: float) -> int:
    """Read a table's partitions up to the end of their changelog; return the number of records.

    Repeat-safe.

    Parameters
    ----------
    table : a :class:`~streams.state.table.BatchTable`
    timeout_s : a recovery that reads nothing for this long although records are left is stuck

    Raises
    ------
    StalledError
        When the recovery is stuck.
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
    """Seek each partition to the offset of its store; return the partitions' ends."""
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
    """Read partitions again from their present beginning: the broker has deleted records meanwhile.

    At most once for each partition.
    """
    beginnings = await consumer.beginning_offsets(list(gone))
    for tp, offset in gone.items():
        place = f"recovery: {tp.topic}-{tp.partition}: offset {offset} is deleted"
        if tp in restarted:
            raise StalledError(
                f"{place}, the second one in this recovery: stop the program that deletes records of that topic, then restart the worker"
            )
        log.error(
            "%s; reading again from %d; is the topic's cleanup.policy compact and nothing else?", place, beginnings[tp]
        )
        restarted.add(tp)
        consumer.seek(tp, beginnings[tp])


def _take_foreign(values: dict[bytes, bytes | None], records: Iterable[ConsumedRecord]) -> list[PassedOver]:
    """Remove values whose key is not a user_id; return their records, fence records left out."""
    keys = {key for key, value in values.items() if value is not None and not is_user_key(key)}
    for key in keys:
        del values[key]
    return [
        PassedOver(record.offset, record.key, "the key is not a user_id") for record in records if record.key in keys
    ]


class BatchRecovery(Recovery):
    """Faust's recovery service with another reader of changelogs."""

    _recovering: asyncio.Task[None] | None = None
    _looking: asyncio.Future[None] | None = None

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Cancel the present recovery: it must no longer store, seek or resume flow."""
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
                # the assignment has ended (the last two: a seek in it); the next starts a new
                # recovery
                pass
            except ServiceStopped:
                if not self.should_stop:  # a time-out raises it too
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
        gc.collect()  # closed consumers and writers are cycles that hold megabytes
        await self._wait(self.on_recovery_completed(generation_id))
        if app.after_recovery is not None:
            self._looking = self.add_future(
                app.after_recovery({tp.partition for tps in actives.values() for tp in tps})
            )

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Drop the changelog records of the app's consumer: a full queue would stop all its
        fetching.
        """
        while not self.should_stop:
            await self.tables.changelog_queue.get()

    @Service.task
    async def _publish_stats(self) -> None:
        """Stay silent: recovery logs one line when it ends."""


class BatchTableManager(TableManager):
    """Faust's table manager with :class:`BatchRecovery`."""

    _recovery: BatchRecovery | None = None

    @property
    def recovery(self) -> Recovery:
        """Return the recovery service."""
        if self._recovery is None:
            self._recovery = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
