"""Faust's consumer, changed so that it loses no event.

* Faust 0.15.3 derives the offset to commit from acknowledgements. It fills the gaps between
  acknowledged messages, and it acknowledges messages that a stream skipped. Both can commit past an
  event that was never processed. Here acknowledgements only tell Faust which messages are in
  flight; :meth:`BatchConsumer.deliver` moves the offset.
* aiokafka seeks back to the committed offset only where there is one. After a rebalance before a
  partition's first commit, the partition would go on behind its dropped records.
  :meth:`BatchConsumer.seek_to_committed` seeks such partitions to their beginning.
* Faust resumes its flow twice at the end of a recovery, and a resume empties the agents' queues.
  The batches fetched in between were lost, while later ones were committed (in one start of three).
  :class:`KeepingFlowControl` empties the queues only when flow was suspended.

As a guard, each batch says which offset was fetched before it
(:class:`~streams.runtime.batch_scheduler.FetchedRecords`). :meth:`BatchConsumer.accept` stops the
worker when the agent has not seen that offset.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT
from mode.utils.queues import FlowControlEvent

from streams.contract.committed_note import Gap
from streams.contract.log_coordinates import about
from streams.errors import BrokerError
from streams.kafka.fetching.bounded_fetch import bound_fetches
from streams.kafka.readers import ISOLATION_LEVEL
from streams.runtime.offsets_to_commit import OffsetsToCommit, note_of

NOTES_POLL_S: Final = 1.0
log = logging.getLogger(__name__)


class KeepingFlowControl(FlowControlEvent):
    """Flow control whose :meth:`resume` does nothing when flow is not suspended."""

    def resume(self) -> None:
        """Let items into the queues again.

        Items from before the suspension are stale and dropped.
        """
        if not self.is_active():
            super().resume()


class BatchConsumer(driver.Consumer):
    """Commits, for each partition, the offset behind the last delivered batch.

    Batches are delivered in offset order.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offsets = OffsetsToCommit(self.scheduler.fetched)

    def _new_consumer_thread(self) -> CommittedConsumerThread:
        return CommittedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def has_started(self) -> bool:
        """Whether the client in the consumer's thread has started."""
        return self._thread.coordinator is not None

    @property
    def member_id(self) -> str:
        """The id of this worker in its consumer group; empty before it has one."""
        return "" if self._thread.coordinator is None else str(self._thread.coordinator.member_id)

    def accept(self, event: EventT) -> None:
        """Note that an agent takes a batch.

        Raise :class:`StalledError` if an earlier batch is missing.
        """
        self.offsets.accept(event.message.tp, event.value)

    def deliver(self, event: EventT, note: str = "") -> None:
        """Note that a record batch and all before it are done, so that its offset may be committed.

        It is not committed when its assignment has ended: another worker may own the partition now,
        and records before the batch may be unread. Nor is it committed after the worker's first
        failure. ``note`` becomes the metadata of the committed offset.
        """
        message = event.message
        if message.generation_id == self.app.consumer_generation_id and self.app.failure is None:
            self.offsets.deliver(message.tp, message.offset + 1, note)
        event.ack()

    def note_gap(self, tp: TP, first: int, begin: int) -> None:
        """Note that the broker has deleted the records from ``first`` on; they go on at ``begin``.

        Lost events are logged and counted. A compacted topic keeps the newest record of each key,
        so nothing is lost there.
        """
        if tp not in self.assignment():
            return  # its owner finds the same
        if begin < first:
            log.error(
                "%s-%d: the log ends before offset %d, which was read or committed: somebody cut or recreated "
                "the topic; the worker reads it from its beginning, %d",
                tp.topic,
                tp.partition,
                first,
                begin,
                extra=about(tp.topic, tp.partition, first),
            )
        elif tp.topic == self.app.settings.kafka.topic("events"):
            gap = Gap(first, begin, int(time.time() * 1000))
            log.error(
                "%s (transaction markers take offsets too); keep events for longer (retention.ms, retention.bytes) or add workers, "
                "publish the events again if you have them, then run: headrace status --acknowledge, see docs/operations.md",
                gap.describe(*tp),
                extra=about(tp.topic, tp.partition, first),
            )
            self.app.health.note_expired(tp, gap)
            self.offsets.add_gap(tp, gap)

    def note_again(self, topic: str, note: str) -> None:
        """Put another note beside a topic's delivered offsets.

        The note is committed although the offsets stay.
        """
        for tp in self.offsets.note_again(topic, note):
            self._committed_offset.pop(tp, None)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter([tp for tp in self.offsets.partitions() if topics is None or tp in topics or tp.topic in topics])

    def _new_offset(self, tp: TP) -> int | None:
        self._acked.pop(tp, None)  # nothing else trims Faust's lists, which headrace does not use
        self._acked_index.pop(tp, None)
        return self.offsets.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: batches span gaps."""

    def on_buffer_full(self, tp: TP) -> None:
        """Leave the partition active: the full queue blocks the fetcher already.

        With all partitions inactive Faust would sleep for a second.
        """

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: :meth:`on_buffer_full` has paused nothing."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Check nothing: Faust takes changelog partitions for stuck because no agent reads them.

        :mod:`streams.health.watchdog` asks the broker instead.
        """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every partition to its committed offset, or to its beginning if there is none."""
        await self._resume_notes()
        committed: Mapping[TP, int] = await super().seek_to_committed()
        unread = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(tp)]
        if unread:
            await self._thread.seek_to_beginning(*unread)
        return committed

    async def _resume_notes(self) -> None:
        """Read the notes that are committed beside the offsets of events, waiting for the broker.

        The next commit replaces them.
        """
        topic = self.app.settings.kafka.topic("events")
        tps = [tp for tp in self.assignment() if tp.topic == topic]
        while tps:
            try:
                notes = await self.app.health.watch.notes(topic)
            except BrokerError as exc:
                log.warning("notes of the committed offsets: %s; trying again", exc)
                await asyncio.sleep(NOTES_POLL_S)
            else:
                for tp in tps:
                    self.offsets.resume(tp, notes.get(tp.partition, ""))
                return

    async def wait_empty(self) -> None:
        """Before a rebalance or the end, wait for batches on their way to the broker, and for no
        others.
        """
        if self.app.serving is not None:
            self.app.serving.let_go()
        await super().wait_empty()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit the delivered offsets, then forget the partitions."""
        await super().on_partitions_revoked(revoked)
        self._forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begin to read every partition anew: earlier fetches do not count."""
        self._forget(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; then renew old writers, because the broker's yes proves that we own the
        partitions.

        Nothing is committed after the worker's first failure: the thread that commits has crashed
        with the app and never answers.
        """
        if self.app.failure is not None:
            return False
        is_committed: bool = await super()._commit(offsets)
        if is_committed:
            await self.app.writer.renew(tp.partition for tp in offsets)
        return is_committed

    def _forget(self, partitions: set[TP]) -> None:
        self.offsets.forget(partitions)
        for tp in partitions:
            self.scheduler.forget(tp)


class CommittedConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, in bounded memory, reading only committed records.

    Faust itself reads only committed records in its exactly-once mode alone.
    """

    @property
    def coordinator(self) -> Any:
        """Aiokafka's side of the consumer group; None before the client has started."""
        client: Any = self._consumer
        return None if client is None else client._coordinator

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        conf = self.app.conf
        bound_fetches(conf.broker_max_poll_records, conf.consumer_max_fetch_size)
        consumer: Any = super()._create_worker_consumer(transport)
        # The consumer reads both when it starts. Without "none" aiokafka would skip records that
        # the broker has deleted, in silence.
        consumer._isolation_level = ISOLATION_LEVEL
        consumer._auto_offset_reset = "none"
        commit = consumer.commit

        async def commit_noted(offsets: Mapping[Any, OffsetAndMetadata]) -> None:
            await commit({tp: OffsetAndMetadata(int(at.offset), note_of(at.offset)) for tp, at in offsets.items()})

        consumer.commit = commit_noted
        return consumer

    async def _fetch_records(self, consumer: AIOKafkaConsumer, *args: Any, **kwargs: Any) -> Any:
        """Fetch; from a deleted or missing position go on at the beginning, and note the gap."""
        try:
            return await super()._fetch_records(consumer, *args, **kwargs)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError) as exc:
            found = exc.args[0]
        gone = found if isinstance(found, dict) else {found: None}
        for tp, offset in gone.items():
            with contextlib.suppress(IllegalStateError):  # the partition was revoked in between
                await self._begin(consumer, tp, offset)
        return {}

    async def _begin(self, consumer: AIOKafkaConsumer, tp: Any, offset: int | None) -> None:
        if offset is not None and await consumer.position(tp) != offset:
            return  # somebody has sought since
        await consumer.seek_to_beginning(tp)
        if offset is not None:
            begin = await consumer.position(tp)
            self.consumer.loop.call_soon_threadsafe(self.consumer.note_gap, TP(tp.topic, tp.partition), offset, begin)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with :class:`BatchConsumer`."""

    Consumer = BatchConsumer
