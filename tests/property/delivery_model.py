"""An executable model of the sequencer's delivery.

It has workers, the broker's fence, commits, the changelog and stores on disk.

What the product computes is the product's own code
(:func:`streams.sequencer.absorb_batch.absorb_batch`,
:func:`streams.runtime.batch_scheduler.split_by_size`); what the model adds is the order of steps
around it, each of which may be the last one before a crash or a rebalance::

    assigned ► new epoch ► fence record ► read changelog's end ► recover
             ► fetch ► write ... ► store, deliver ► commit

A :class:`Fault` leaves one step out or does it too early. It shows that a test over this model can
fail.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from streams.contract.records import Event, EventDecoder
from streams.health.counters import Counts
from streams.runtime.batch_scheduler import split_by_size
from streams.sequencer.absorb_batch import BatchResult, absorb_batch
from streams.settings.record_limits import WindowBounds
from tests.property.delivery_broker import FENCE_KEY, Fenced, PartitionLog, replayed
from tests.support.builders import T0, FakeRecord

BOUNDS: Final = WindowBounds(max_events=4, max_age_ms=60, allowed_lateness_ms=20, max_recent=3, max_seen=4)
NOW_MS: Final = T0 + 1_000
MAX_IN_FLIGHT: Final = 3
PRODUCE_RECORDS: Final = 2  # windows in one produce batch: small, so that deliveries can be partial
MAX_BATCH_BYTES: Final = 250  # about three events


class Fault(enum.Enum):
    """What a broken sequencer does."""

    NONE = "nothing wrong"
    COMMIT_BEFORE_DELIVERY = "an offset may be committed as soon as its batch is computed"
    NO_FENCE = "the broker refuses nobody"
    FENCE_WITHOUT_RECORD = "the epoch is raised, but no record of it is written"
    FENCE_AFTER_END = "the fence is written after the changelog's end was read"
    STORE_OFFSET_TOO_FAR = "the store remembers the changelog's end instead of its own last write"
    STORE_BEFORE_DELIVERY = "windows enter the store on disk before the broker has them"
    STAGED_UNREAD = "a batch does not see the windows of batches in flight"
    RECOVERY_GAP = "recovery drops the first records that it fetched"
    NO_DEDUP = "repeated events are not recognised"


@dataclass(slots=True)
class Store:
    """A worker's store of one partition, which outlives the process.

    Recovery starts at ``offset`` (None: from scratch).
    """

    values: dict[bytes, bytes] = field(default_factory=dict)
    offset: int | None = None


@dataclass(slots=True)
class Batch:
    """A batch in flight: its unwritten records, and the base offset of its last produce batch."""

    first: int
    end: int
    result: BatchResult
    writes: deque[list[tuple[bytes, bytes | None]]]
    rejects_due: bool
    base: int | None = None

    @property
    def is_written(self) -> bool:
        """Whether the broker has all of it."""
        return not self.writes and not self.rejects_due


@dataclass(slots=True)
class Tenure:
    """One worker's time with one partition, under one generation of the consumer group."""

    generation: int
    steps: deque[str]
    epoch: int = 0
    position: int = 0
    next_change: int = 0
    end_change: int = 0
    staged: dict[bytes, bytes] = field(default_factory=dict)
    flight: deque[Batch] = field(default_factory=deque)
    to_commit: int | None = None


@dataclass(slots=True)
class Worker:
    """A process and its disk. ``epochs`` are its open producers."""

    stores: dict[int, Store] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    tenures: dict[int, Tenure] = field(default_factory=dict)


class ForgetfulDecoder(EventDecoder):
    """Gives an event another id at each reading."""

    n_read = 0

    def decode_event(self, key: bytes | None, value: bytes | None, now_ms: int) -> Event:
        """Decode, then rename."""
        event = super().decode_event(key, value, now_ms)
        self.n_read += 1
        event.event_id += f"#{self.n_read}"
        event.run = event.seq = None
        return event


class Cluster:
    """The broker's partitions, the workers, and every step that one of them can take."""

    def __init__(self, n_partitions: int, n_workers: int, fault: Fault = Fault.NONE) -> None:
        self.fault = fault
        self.logs = [PartitionLog() for _ in range(n_partitions)]
        self.workers = [Worker() for _ in range(n_workers)]
        self.owners: list[int] = [0] * n_partitions
        self.counts = Counts()  # of every batch that any worker computed
        self.delivered = Counts()
        self._decoder = ForgetfulDecoder(0) if fault is Fault.NO_DEDUP else EventDecoder(0)
        for partition in range(n_partitions):
            self.hand_over(partition, 0, aware=True)

    # ---- the broker's side

    def publish(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Append one event record."""
        events = self.logs[partition].events
        events.append(FakeRecord(key, value, len(events), partition))

    def hand_over(self, partition: int, to: int, *, aware: bool) -> None:
        """Give a partition to a worker. An owner that is not aware of it goes on as a zombie."""
        log, owner = self.logs[partition], self.owners[partition]
        if aware:
            self._end_tenure(owner, partition)
            if owner != to:
                self.workers[owner].epochs.pop(partition, None)
        # a zombie that joins again first learns that it lost the partition
        self._end_tenure(to, partition)
        log.generation += 1
        self.owners[partition] = to
        known = partition in self.workers[to].epochs
        self.workers[to].tenures[partition] = Tenure(log.generation, deque(self._steps(known)))

    def _steps(self, known: bool) -> list[str]:
        fence = [] if known or self.fault is Fault.NO_FENCE else ["raise_epoch", "write_fence"]
        if self.fault is Fault.FENCE_AFTER_END:
            return ["read_end", "recover", *fence]
        return [*fence, "read_end", "recover"]

    def _end_tenure(self, worker: int, partition: int) -> None:
        """Revoke: batches in flight are delivered and committed first."""
        tenure = self.workers[worker].tenures.get(partition)
        if tenure is None:
            return
        while tenure.flight and self.write(worker, partition):
            if tenure.flight[0].is_written:
                self.deliver(worker, partition)
        if partition in self.workers[worker].tenures:  # not fenced meanwhile
            self.commit(worker, partition)
            del self.workers[worker].tenures[partition]

    # ---- a worker's steps

    def enabled(self) -> list[tuple[str, int, int]]:
        """Return the steps that can be taken now, as ``(step, worker, partition)``."""
        return [
            (step, number, partition)
            for number, worker in enumerate(self.workers)
            for partition, tenure in sorted(worker.tenures.items())
            for step in self._enabled(tenure, partition)
        ]

    def _enabled(self, tenure: Tenure, partition: int) -> Iterator[str]:
        if tenure.steps:
            yield "advance"
            return
        if tenure.position < len(self.logs[partition].events) and len(tenure.flight) < MAX_IN_FLIGHT:
            yield "fetch"
        if any(not batch.is_written for batch in tenure.flight):
            yield "write"
        if tenure.flight and tenure.flight[0].is_written:
            yield "deliver"
        if tenure.to_commit is not None:
            yield "commit"

    def take(self, step: str, worker: int, partition: int, size: int) -> None:
        """Take one step; ``size`` bounds the records of a fetch or of a recovery's read."""
        if step == "fetch":
            self.fetch(worker, partition, size)
        elif step == "advance":
            self.advance(worker, partition, size)
        else:
            {"write": self.write, "deliver": self.deliver, "commit": self.commit}[step](worker, partition)

    def advance(self, number: int, partition: int, size: int) -> None:
        """Take the next step between assignment and the first fetch."""
        log, worker = self.logs[partition], self.workers[number]
        tenure = worker.tenures[partition]
        step = tenure.steps[0]
        if step == "raise_epoch":
            log.epoch += 1
            tenure.epoch = log.epoch
        elif step == "write_fence":
            try:
                log.write(tenure.epoch, [(FENCE_KEY, None)] if self.fault is not Fault.FENCE_WITHOUT_RECORD else [])
            except Fenced:
                self.crash(number)
                return
            # a producer counts as open only now: if interrupted, fence again
            worker.epochs[partition] = tenure.epoch
        elif step == "read_end":
            store = worker.stores.setdefault(partition, Store())
            tenure.next_change = 0 if store.offset is None else store.offset
            tenure.end_change = log.end
        elif self._recover(number, partition, size):
            return
        tenure.steps.popleft()
        tenure.position = log.committed

    def _recover(self, number: int, partition: int, size: int) -> bool:
        """Apply up to ``size`` changes to the store; return whether there may be more."""
        worker, log = self.workers[number], self.logs[partition]
        tenure, store = worker.tenures[partition], worker.stores.setdefault(partition, Store())
        due = [change for change in log.changes if tenure.next_change <= change.offset < tenure.end_change]
        if not due:
            return False
        read = due[:size]
        tenure.next_change = read[-1].offset + 1
        if self.fault is Fault.RECOVERY_GAP and len(due) > size:
            return True
        store.values = replayed(store.values, read)
        store.offset = read[-1].offset
        return True

    def fetch(self, number: int, partition: int, size: int) -> None:
        """Fetch records, cut them into batches, compute and stage each."""
        worker, log = self.workers[number], self.logs[partition]
        tenure, store = worker.tenures[partition], worker.stores.setdefault(partition, Store())
        for records in split_by_size(log.events[tenure.position : tenure.position + size], size, MAX_BATCH_BYTES):
            if len(tenure.flight) == MAX_IN_FLIGHT:
                return
            seen = store.values if self.fault is Fault.STAGED_UNREAD else {**store.values, **tenure.staged}
            result = absorb_batch(records, seen.get, self._decoder, BOUNDS, NOW_MS)
            self.counts.add(result.counts)
            tenure.staged.update(result.windows)
            if self.fault is Fault.STORE_BEFORE_DELIVERY:
                store.values.update(result.windows)
            windows: list[tuple[bytes, bytes | None]] = list(result.windows.items())
            cuts = range(0, len(windows), PRODUCE_RECORDS)
            writes = deque(windows[cut : cut + PRODUCE_RECORDS] for cut in cuts)
            first, tenure.position = records[0].offset, records[-1].offset + 1
            tenure.flight.append(Batch(first, tenure.position, result, writes, bool(result.rejects)))
            if self.fault is Fault.COMMIT_BEFORE_DELIVERY:
                tenure.to_commit = tenure.position

    def write(self, number: int, partition: int) -> bool:
        """Write the next produce batch, in order; return whether something was written.

        A refused worker stops.
        """
        worker, log = self.workers[number], self.logs[partition]
        batch = next((batch for batch in worker.tenures[partition].flight if not batch.is_written), None)
        if batch is None:
            return True
        if not batch.writes:
            log.rejected.update(reject.record.offset for reject in batch.result.rejects)
            batch.rejects_due = False
            return True
        checked = self.fault is not Fault.NO_FENCE
        try:
            batch.base = log.write(worker.epochs.get(partition, 0), batch.writes[0], checked=checked)
        except Fenced:
            self.crash(number)
            return False
        batch.writes.popleft()
        return True

    def deliver(self, number: int, partition: int) -> None:
        """Put the oldest batch, which the broker has, into the store.

        From now on the worker may commit the batch's offset.
        """
        worker, log = self.workers[number], self.logs[partition]
        tenure, store = worker.tenures[partition], worker.stores[partition]
        batch = tenure.flight.popleft()
        for key, value in batch.result.windows.items():
            if tenure.staged.get(key) is value:
                del tenure.staged[key]
        store.values.update(batch.result.windows)
        if batch.base is not None:
            store.offset = log.end - 1 if self.fault is Fault.STORE_OFFSET_TOO_FAR else batch.base
        log.covered.update(range(batch.first, batch.end))
        self.delivered.add(batch.result.counts)
        if self.fault is not Fault.COMMIT_BEFORE_DELIVERY:
            tenure.to_commit = batch.end

    def commit(self, number: int, partition: int) -> None:
        """Commit what is delivered."""
        tenure = self.workers[number].tenures[partition]
        if tenure.to_commit is not None:
            self.logs[partition].commit(tenure.generation, tenure.to_commit)
            tenure.to_commit = None

    def renew(self, number: int, partition: int) -> None:
        """Open a running owner's producer again, as headrace does after a day.

        Closing the old producer flushes it.
        """
        worker, log = self.workers[number], self.logs[partition]
        tenure = worker.tenures.get(partition)
        if tenure is None or tenure.steps or tenure.generation != log.generation:
            return
        while any(not batch.is_written for batch in tenure.flight):
            if not self.write(number, partition):
                return
        log.epoch += 1
        worker.epochs[partition] = log.epoch
        log.write(log.epoch, [(FENCE_KEY, None)])

    # ---- mishaps

    def crash(self, number: int) -> None:
        """Kill a worker: only its disk is left. Its partitions wait for a new owner."""
        self.workers[number] = Worker(stores=self.workers[number].stores)

    def lose_store(self, number: int, partition: int) -> None:
        """Lose a disk between two lives."""
        if partition not in self.workers[number].tenures:
            self.workers[number].stores.pop(partition, None)

    def drain(self) -> None:
        """Let every worker, zombies first, finish all it can.

        Partitions without an owner get one.
        """
        for partition, owner in enumerate(self.owners):
            if partition not in self.workers[owner].tenures:
                self.hand_over(partition, owner, aware=True)
        for _ in range(10_000):
            steps = self.enabled()
            if not steps:
                break
            zombies = [step for step in steps if self.owners[step[2]] != step[1]]
            self.take(*(zombies or steps)[0], size=100)
        else:
            raise RuntimeError("draining does not end")
        if any(partition not in self.workers[owner].tenures for partition, owner in enumerate(self.owners)):
            self.drain()
