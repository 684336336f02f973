"""The sequencer: events in, windows out.

``faust -A streams.sequencer worker`` loads this module.

::

    events ──► absorb_batch ──► sequences (changelog of the table ``windows``)
                    └─────────► events.rejected
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import faust
from faust.types import TP, EventT

from streams.contract.committed_note import decode_judged
from streams.contract.kafka_records import BATCH_OVERHEAD_BYTES, ConsumedRecord
from streams.contract.log_coordinates import about
from streams.contract.reject_size import REJECTED_MAX_BYTES
from streams.contract.windows import WindowState
from streams.errors import RejectCeilingError
from streams.forgetting.requests import Forgetting
from streams.formats.decoders import open_event_decoder, open_registry
from streams.health.counters import Metrics
from streams.health.reject_watch import RejectAlarm, RejectCeiling
from streams.kafka.batch_writer import delivered
from streams.kafka.publisher import KeyHomes
from streams.runtime.app import StreamApp, build_app
from streams.runtime.pages import serve
from streams.sequencer.absorb_batch import BatchResult, absorb_batch, is_readable
from streams.sequencer.expiry import Expiry
from streams.sequencer.mending import Mender
from streams.sequencer.removal import Removal, WindowEraser
from streams.sequencer.stray_keys import find_strays
from streams.sequencer.traced_batch import TracedBatch, trace_batch, user_key
from streams.settings.load import Settings
from streams.state.table import ROCKSDB, BatchTable

log = logging.getLogger(__name__)

#: Mending damaged windows, and waiting for schemas, may each take ``stall_timeout_s`` divided by
#: this.
STALL_PARTS: Final = 3
#: How long batches in flight may take to be delivered after a reject ceiling is passed, and then to
#: be committed, in seconds.
SETTLE_TIMEOUT_S: Final = 5.0
#: Where the broker's log keeps what a forgotten user's events led to.
LOGS: Final = ("events", "events.rejected", "sequences")


class Sequencer:
    """Runs batches through :func:`absorb_batch` and delivers the result.

    It acknowledges the batches of a partition in order, each after the broker has its windows and
    rejects. It computes the next batch while one awaits delivery; ``in_flight_batches`` limits
    them.
    """

    def __init__(self, app: StreamApp, windows: BatchTable, metrics: Metrics) -> None:
        settings = app.settings.sequencer
        self.app = app
        self.windows = windows
        self.metrics = metrics
        self.finishing: dict[TP, asyncio.Task[Any]] = {}  # the last batch of each partition
        self._turn = asyncio.Lock()  # held from the reading of windows until they are handed to the writer
        self._removal = Removal(app, windows, self.finishing)
        eraser = WindowEraser(app, windows, self._removal, self._turn)
        self.forgetting = Forgetting(app.settings, eraser, app.receipts, metrics, LOGS, app.writer)
        self._bounds = settings.bounds()
        self._home = KeyHomes(app.settings.kafka.partitions, app.settings.kafka.partitioner)
        kafka = app.settings.kafka
        self._registry = open_registry(kafka, "events", app.settings.health.stall_timeout_s / STALL_PARTS)
        self._decoder = open_event_decoder(
            kafka, settings.max_future_skew_ms, settings.types(), registry=self._registry
        )
        app.health.registry = self._registry
        patience_s = app.settings.health.stall_timeout_s / STALL_PARTS
        self._mender = Mender(kafka, self._decoder, self._bounds, patience_s, self.forgetting.marks)
        self._ceilings: dict[TP, RejectCeiling] = {}
        self._alarm = app.health.rejects = RejectAlarm()
        self._slots = asyncio.Semaphore(settings.in_flight_batches)
        self._key_of = user_key(self._decoder)
        self.read_ms_of: dict[int, int] = {}  # timestamp of the last delivered event, by partition
        self._looked: set[int] = set()  # partitions whose keys were checked against the partitioner

    async def sequence(self, batches: faust.StreamT[Any]) -> None:
        """Process record batches until the stream ends.

        A failure stops the worker, which reads the batch again after its restart.
        """
        async for event in batches.noack().events():
            await self._slots.acquire()
            if self.app.failure is not None:
                return  # Faust restarts a failed agent while the app stops
            if not await self.forgetting.wait():
                event.ack()  # too late: the partition's next owner reads it
                self._slots.release()
                continue
            try:
                self.app.consumer.accept(event)
                async with self._turn:
                    await self._start(event)
            except Exception as exc:  # the agent boundary: stop the worker, never skip a batch
                await self.app.crash(exc)
                raise

    async def _start(self, event: EventT) -> None:
        message = event.message
        tp, partition, taken_s = message.tp, message.partition, time.time()
        self.metrics.stages.add("event_read", (1000 * taken_s - record.timestamp for record in event.value))
        result = await self._absorb(event)
        note = await self.judge(tp, result)
        self.windows.stage(partition, result.windows)
        traced, tracing = None, self.app.tracing
        if tracing is not None:
            traced = trace_batch(tracing, event.value, result.windows, taken_s, self._key_of)
        sequences = await self.app.writer.send(
            self.windows.changelog_topic.get_topic_name(),
            partition,
            result.out_records() if traced is None else traced.out_records(result.out_records()),
        )
        rejected = await self.app.writer.send(
            self.app.settings.kafka.topic("events.rejected"),
            partition,
            (reject.as_record() for reject in result.rejects),
            max_record_bytes=REJECTED_MAX_BYTES - BATCH_OVERHEAD_BYTES,
        )
        previous = self.finishing.get(tp)
        self.finishing[tp] = asyncio.ensure_future(
            self._finish(event, result, note, sequences, rejected, previous, taken_s, traced)
        )

    async def _absorb(self, event: EventT) -> BatchResult:
        """Return the result of a batch; damaged windows are mended first."""
        if self._registry is not None:
            await self._registry.load(event.value)
        partition, now_ms = event.message.partition, int(time.time() * 1000)

        def absorbed(mended: dict[bytes, WindowState | None] | None = None) -> BatchResult:
            read, marks = self.windows.reader(partition), self.forgetting.marks
            return absorb_batch(event.value, read, self._decoder, self._bounds, now_ms, mended, self._home, marks)

        result = absorbed()
        if not result.damaged:
            return result
        self.metrics.add("windows_damaged", len(result.damaged))
        return absorbed(await self._mender.mend(partition, result.damaged, event.value[0].offset, now_ms))

    async def _finish(
        self,
        event: EventT,
        result: BatchResult,
        note: str,
        sequences: list[asyncio.Future[Any]],
        rejected: list[asyncio.Future[Any]],
        previous: asyncio.Task[Any] | None,
        taken_s: float,
        traced: TracedBatch | None,
    ) -> None:
        try:
            if previous is not None:
                await previous
            offset = await delivered(sequences)
            await delivered(rejected)
            self.windows.store(event.message.partition, result.windows, offset)
        except Exception as exc:  # a restarted worker must read an undelivered batch again
            await self.app.crash(exc)
            raise
        finally:
            self._slots.release()
        self.metrics.stages.add_batch("window", 1000 * (time.time() - taken_s), len(event.value))
        self.read_ms_of[event.message.partition] = event.value[-1].timestamp
        self.metrics.count_batch(event.message.partition, result.counts, event.message.offset)
        self.app.consumer.deliver(event, note)
        if traced is not None:
            traced.end()

    async def judge(self, tp: TP, result: BatchResult) -> str:
        """Judge a batch's rejects before any is written; return the note for its offset."""
        ceiling = self._ceilings.get(tp) or await self._open_ceiling(tp)
        line = self._alarm.take(result.counts, result.rejects, time.monotonic())
        if line is not None:
            self.metrics.add("reject_alarms")
            last = result.rejects[-1].record if result.rejects else None
            log.error("%s", line, extra=about(tp.topic, tp.partition, None if last is None else last.offset))
        if result.rejects and self._alarm.is_on(time.monotonic()):
            ceiling.alarm_ms = int(time.time() * 1000)
        try:
            ceiling.check(result.counts, result.rejects)
        except RejectCeilingError:
            await self._settle()
            raise
        return ceiling.note()

    async def _open_ceiling(self, tp: TP) -> RejectCeiling:
        """Return a ceiling that goes on from the partition's committed note."""
        settings = self.app.settings.sequencer
        notes = await self.app.health.watch.notes(tp.topic) if settings.reject_ceiling_share else {}
        judged = decode_judged(notes.get(tp.partition, ""))
        ceiling = self._ceilings[tp] = RejectCeiling(settings.reject_ceiling_share, settings.reject_window, judged)
        return ceiling

    async def _settle(self) -> None:
        """Commit the batches in flight: else each restart rejects their records again."""
        if self.finishing:
            await asyncio.wait(self.finishing.values(), timeout=SETTLE_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            for _ in range(2):  # the first call may only wait for a commit that began before
                await asyncio.wait_for(self.app.consumer.commit(), SETTLE_TIMEOUT_S)

    def clocks(self) -> dict[int, int]:
        """Return, for each partition that may be swept now, up to when its events are read, in ms.

        A worker that was away for long must read its events before it may call a user inactive.
        While state is recovered there is no such partition: a window may not be the newest yet.
        """
        if self.app.health.not_ready() or self.app.failure is not None:
            return {}
        now_ms = int(time.time() * 1000)
        clocks = {partition: min(now_ms, read_ms) for partition, read_ms in self.read_ms_of.items()}
        clocks.update({partition: now_ms for partition, lag in self.metrics.lag.items() if lag == 0})
        return {partition: clock for partition, clock in clocks.items() if self.app.writer.owns(partition)}

    async def remove(self, partition: int, records: Sequence[ConsumedRecord]) -> int:
        """Remove users whose window still is that of the record; return how many.

        Removals keep their order with the batches in flight.
        """
        if not self.app.has_state(partition):
            return 0
        removed: dict[bytes, bytes | None] = {
            record.key: None
            for record in records
            if record.key is not None
            and self.windows.read(partition, record.key) == record.value
            and is_readable(record.value)
        }
        if not removed:
            return 0
        # Nothing was awaited since the windows were read: the next batches see them removed.
        job = await self._removal.begin(partition, removed)
        if job is not None:
            await asyncio.wait({job})
            self.metrics.add("users_expired", len(removed) if job.result() else 0)
        return len(removed)

    async def look_for_strays(self, partitions: set[int]) -> None:
        """Log users whose window lies on a wrong partition, once for each partition.

        Windows are kept by ``user_id``. Where a producer encodes its keys, it partitions by other
        bytes, so nothing can be said.
        """
        if not self._decoder.keys_are_ids:
            return
        kafka, fresh = self.app.settings.kafka, partitions - self._looked
        found = await find_strays(self.windows, sorted(fresh), kafka.partitions, kafka.partitioner)
        self._looked |= fresh
        if found.n_strays:
            log.warning("%s: %s", self.windows.changelog_topic.get_topic_name(), found.describe(kafka.partitioner))

    async def on_partitions_assigned(self, app: StreamApp, assigned: set[TP], **_: Any) -> None:
        """Read the marks of forgotten users before the first batch of a new assignment."""
        topic = app.settings.kafka.topic("events")
        partitions = {tp.partition for tp in assigned if tp.topic == topic}
        self.metrics.expect(partitions)
        await self.forgetting.begin(partitions)

    async def on_partitions_revoked(self, _app: StreamApp, revoked: set[TP], **_: Any) -> None:
        """Drop what belongs to lost partitions."""
        await self.forgetting.stop()
        await self.forget_partitions(revoked)

    async def forget_partitions(self, revoked: set[TP]) -> None:
        """Drop the staged windows of lost partitions, after their batches have ended."""
        self._removal.note_revocation()
        self.windows.discard_staged(tp.partition for tp in revoked)
        for tp in revoked:
            self.finishing.pop(tp, None)
            self._ceilings.pop(tp, None)
            self.read_ms_of.pop(tp.partition, None)


@dataclass(frozen=True)
class Beside:
    """What the sequencer runs beside its agent."""

    expiry: Expiry
    forgetting: Forgetting

    async def start(self) -> None:
        """Begin to sweep; marks are read when partitions are assigned."""
        await self.expiry.start()

    def let_go(self) -> None:
        """Let a batch go that waits for marks."""
        self.forgetting.let_go()

    async def stop(self) -> None:
        """End both."""
        await self.forgetting.stop()
        await self.expiry.stop()


def build_sequencer(settings: Settings, metrics: Metrics | None = None) -> StreamApp:
    """Return the sequencer's app; connects to nothing."""
    metrics = metrics or Metrics("sequencer")
    group = settings.sequencer
    store = "memory://"
    options: dict[str, Any] = {}
    if group.sequence_store == ROCKSDB:
        store = "rocksdb://"
        options = {"driver": "rocksdict", "block_cache_size": group.rocksdb_cache_bytes, "write_buffer_size": 16 << 20}
    app = build_app(
        "sequencer",
        settings,
        changelog="sequences",
        batch_max_records=group.batch_max_records,
        batch_max_bytes=group.batch_max_bytes,
        store=store,
        datadir=group.data_dir,
    )
    windows = app.Table(
        "windows",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.batch_topic("sequences"),
        partitions=settings.kafka.partitions,
        options=options,
    )
    sequencer = Sequencer(app, windows, metrics)
    app.agent(app.batch_topic("events"), name="sequence", concurrency=1)(sequencer.sequence)
    app.after_recovery = sequencer.look_for_strays
    app.serving = Beside(Expiry(settings.kafka, group.user_ttl_days, sequencer, app.crash), sequencer.forgetting)
    app.on_partitions_revoked.connect(sequencer.on_partitions_revoked)
    app.on_partitions_assigned.connect(sequencer.on_partitions_assigned)
    serve(app, metrics)
    return app
