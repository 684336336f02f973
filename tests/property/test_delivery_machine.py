"""Delivery under any schedule of crashes, rebalances, zombies and compactions.

No event is lost, none counts twice.

The machine drives :mod:`tests.property.delivery_model`. Broken variants of that model must be found
out by the same schedules. ``HEADRACE_TEST_SCHEDULES`` sets how many schedules are tried, and then
they are new ones each time.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from streams.contract.records import EventDecoder, encode
from streams.contract.windows import decode_window
from streams.health.counters import Counts
from streams.sequencer.absorb_batch import absorb_batch
from tests.property.delivery_broker import FENCE_KEY, replayed
from tests.property.delivery_model import BOUNDS, NOW_MS, Cluster, Fault
from tests.property.schedules import LIMIT, first_found, schedules
from tests.support.builders import T0, make_event

N_WORKERS: Final = 2
USERS: Final = ("u0", "u1", "u2")
N_SCHEDULES, N_STEPS = 200, 50
PARTITIONS = st.integers(0, 1)
WORKERS = st.integers(0, N_WORKERS - 1)
TIMES_MS = st.integers(0, 90)


class Violation(AssertionError):
    """A law of delivery does not hold."""


def hold(law: bool, text: str) -> None:
    """Raise :class:`Violation` where a law does not hold."""
    if not law:
        raise Violation(text)


class Truth:
    """What one undisturbed pass over a partition's events gives."""

    def __init__(self) -> None:
        self.windows: dict[bytes, bytes] = {}
        self.rejected: set[int] = set()
        self.counts = Counts()
        self.decoder = EventDecoder(0)

    def follow(self, events: list[Any]) -> None:
        """Take in what was published since the last call."""
        result = absorb_batch(events[self.counts.read :], self.windows.get, self.decoder, BOUNDS, NOW_MS)
        self.windows.update(result.windows)
        self.rejected.update(reject.record.offset for reject in result.rejects)
        self.counts.add(result.counts)


class Reader:
    """A consumer of ``sequences`` that follows the documented recipe.

    A window is news if its revision is above the last one's.
    """

    def __init__(self) -> None:
        self.next_offset = 0
        self.windows: dict[bytes, bytes] = {}

    def read(self, changes: list[Any]) -> None:
        """Read on; what was compacted away meanwhile is not seen."""
        for change in changes:
            if change.offset < self.next_offset:
                continue
            self.next_offset = change.offset + 1
            if change.value is None:
                hold(change.key == FENCE_KEY, "a user's window was deleted")
                continue
            last = self.windows.get(change.key)
            before = decode_window(last).revision if last else 0
            revision = decode_window(change.value).revision
            hold(revision >= before, f"revision of {change.key!r} went from {before} down to {revision}")
            if revision > before:
                self.windows[change.key] = change.value


class DeliveryMachine(RuleBasedStateMachine):
    """Publishes events, lets workers take steps, and strikes them down."""

    fault: ClassVar[Fault] = Fault.NONE

    def __init__(self) -> None:
        super().__init__()
        self.set_up(1)
        self.replays: dict[tuple[int, str], list[tuple[bytes, bytes]]] = {}
        self.n_events = 0
        self.checked: dict[int, Any] = {}

    @initialize(n_partitions=st.sampled_from([1, 1, 2]), n_steps=st.integers(0, 20), data=st.data())
    def set_up_all(self, n_partitions: int, n_steps: int, data: st.DataObject) -> None:
        """Begin with some events and a worker that is under way."""
        self.set_up(n_partitions)
        for partition in range(n_partitions):
            self.publish(partition, data.draw(st.lists(st.tuples(st.sampled_from(USERS), TIMES_MS), max_size=8)))
            self.own_work(partition, n_steps)

    def set_up(self, n_partitions: int) -> None:
        """Begin with empty topics."""
        self.cluster = Cluster(n_partitions, N_WORKERS, self.fault)
        self.truths = [Truth() for _ in range(n_partitions)]
        self.readers = [Reader() for _ in range(n_partitions)]

    def place(self, partition: int) -> int:
        """Return a partition that there is."""
        return partition % len(self.cluster.logs)

    # ---- events

    @rule(partition=PARTITIONS, events=st.lists(st.tuples(st.sampled_from(USERS), TIMES_MS), min_size=1, max_size=5))
    def publish(self, partition: int, events: list[tuple[str, int]]) -> None:
        """Publish events: out of order, some of them late."""
        for user, ts in events:
            self.cluster.publish(self.place(partition), user.encode(), self.value(user, ts))

    @rule(partition=PARTITIONS, back=st.integers(1, 12), count=st.integers(1, 4))
    def publish_again(self, partition: int, back: int, count: int) -> None:
        """Publish records of the recent past again, as a producer without idempotence does."""
        events = self.cluster.logs[self.place(partition)].events
        for record in events[-back:][:count]:
            assert record.key is not None
            self.cluster.publish(self.place(partition), record.key, record.value)

    @rule(
        partition=PARTITIONS,
        user=st.sampled_from(USERS),
        value=st.sampled_from([None, b"", b"\xc1", b'{"v":1}', b"x" * 400]),
    )
    def publish_malformed(self, partition: int, user: str, value: bytes | None) -> None:
        """Publish a record that breaks the contract."""
        self.cluster.publish(self.place(partition), user.encode(), value)

    @rule(
        partition=PARTITIONS,
        run=st.sampled_from(["r0", "r1"]),
        user=st.sampled_from(USERS),
        times=st.lists(TIMES_MS, max_size=4),
    )
    def replay(self, partition: int, run: str, user: str, times: list[int]) -> None:
        """Replay a history that has grown since, from its beginning."""
        history = self.replays.setdefault((self.place(partition), run + user), [])
        for ts in sorted(times):
            history.append((user.encode(), self.value(user, ts, run=f"{run}-{user}", seq=len(history))))
        for key, value in history:
            self.cluster.publish(self.place(partition), key, value)

    def value(self, user: str, ts: int, **more: Any) -> bytes:
        """Return a fresh event, encoded."""
        self.n_events += 1
        return encode(make_event(f"e{self.n_events}", T0 + ts, user_id=user, item_id=f"i{self.n_events % 5}", **more))

    # ---- workers

    @rule(picks=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 8)), min_size=1, max_size=8))
    def work(self, picks: list[tuple[int, int]]) -> None:
        """Let workers, zombies among them, take some of the steps that they can take."""
        for pick, size in picks:
            steps = self.cluster.enabled()
            if steps:
                self.cluster.take(*steps[pick % len(steps)], size)

    @rule(partition=PARTITIONS, n_steps=st.integers(1, 20))
    def own_work(self, partition: int, n_steps: int) -> None:
        """Let a partition's owner take steps in a natural order."""
        partition = self.place(partition)
        owner = self.cluster.owners[partition]
        for _ in range(n_steps):
            steps = [step for step in self.cluster.enabled() if step[1:] == (owner, partition)]
            if steps:
                self.cluster.take(*steps[0], size=4)

    @rule(picks=st.lists(st.integers(0, 5), min_size=1, max_size=6))
    def zombie_work(self, picks: list[int]) -> None:
        """Let workers that lost a partition without knowing go on."""
        for pick in picks:
            steps = [step for step in self.cluster.enabled() if self.cluster.owners[step[2]] != step[1]]
            if steps:
                self.cluster.take(*steps[pick % len(steps)], size=2)

    @rule(
        partition=PARTITIONS, before=st.integers(0, 3), asleep=st.integers(1, 9), awake=st.lists(st.just(0), max_size=6)
    )
    def sleep_through_a_rebalance(self, partition: int, before: int, asleep: int, awake: list[int]) -> None:
        """Let an owner fall asleep with work in hand, and wake while the next one recovers."""
        partition = self.place(partition)
        self.own_work(partition, before)
        self.cluster.hand_over(partition, N_WORKERS - 1 - self.cluster.owners[partition], aware=False)
        self.own_work(partition, asleep)
        self.zombie_work(awake)

    @rule(partition=PARTITIONS, to=WORKERS, aware=st.booleans())
    def rebalance(self, partition: int, to: int, aware: bool) -> None:
        """Give a partition to a worker; its owner hears of it or sleeps."""
        self.cluster.hand_over(self.place(partition), to, aware=aware)

    @rule(worker=WORKERS)
    def crash(self, worker: int) -> None:
        """Kill a worker; the group gives its partitions away later."""
        self.cluster.crash(worker)

    @rule(worker=WORKERS, partition=PARTITIONS)
    def renew(self, worker: int, partition: int) -> None:
        """Renew an owner's producer."""
        self.cluster.renew(worker, self.place(partition))

    @rule(worker=WORKERS, partition=PARTITIONS)
    def lose_store(self, worker: int, partition: int) -> None:
        """Start the worker's next tenure from an empty disk."""
        self.cluster.lose_store(worker, self.place(partition))

    @rule(partition=PARTITIONS)
    def compact(self, partition: int) -> None:
        """Compact the changelog."""
        self.cluster.logs[self.place(partition)].compact()

    # ---- laws

    @rule(partition=PARTITIONS)
    def read(self, partition: int) -> None:
        """Let the reader catch up; revisions never go down for it."""
        partition = self.place(partition)
        self.readers[partition].read(self.cluster.logs[partition].changes)

    @invariant()
    def nothing_is_lost(self) -> None:
        """A worker that started now would end with the true windows.

        It would read the changelog, and the events from the committed offset on.
        """
        for partition, (log, truth) in enumerate(zip(self.cluster.logs, self.truths, strict=True)):
            state = (len(log.events), log.end, len(log.changes), log.committed)
            if self.checked.get(partition) == state:
                continue
            self.checked[partition] = state
            truth.follow(log.events)
            windows = log.latest()
            windows.update(
                absorb_batch(log.events[log.committed :], windows.get, truth.decoder, BOUNDS, NOW_MS).windows
            )
            hold(windows == truth.windows, "an event is lost")
            hold(set(range(log.committed)) <= log.covered, "the committed offset passed an undelivered record")
            hold({o for o in truth.rejected if o < log.committed} <= log.rejected, "a reject is lost")

    @invariant()
    def stores_lead_to_the_changelog(self) -> None:
        """Each store, brought up to date from its offset, equals the compacted changelog."""
        for worker in self.cluster.workers:
            for partition, store in worker.stores.items():
                log = self.cluster.logs[partition]
                due = [change for change in log.changes if change.offset >= (store.offset or 0)]
                hold(replayed(store.values, due) == log.latest(), "a store misses a window")

    @invariant()
    def counts_add_up(self) -> None:
        """Each event read ends in one of five ways.

        No two delivered batches accept one event.
        """
        for counts in (self.cluster.counts, self.cluster.delivered):
            parts = counts.accepted + counts.duplicate + counts.late + counts.rejected + counts.forgotten
            hold(parts == counts.read, "the counts do not add up")
        for log, truth in zip(self.cluster.logs, self.truths, strict=True):
            truth.follow(log.events)
        accepted = sum(truth.counts.accepted for truth in self.truths)
        hold(self.cluster.delivered.accepted <= accepted, "an event was accepted twice")

    def teardown(self) -> None:
        """Drain: all events are read, delivered and committed.

        All copies of a window hold the same bytes.
        """
        self.nothing_is_lost()
        self.cluster.drain()
        self.nothing_is_lost()
        self.stores_lead_to_the_changelog()
        self.counts_add_up()
        for partition, (log, truth) in enumerate(zip(self.cluster.logs, self.truths, strict=True)):
            hold(log.committed == len(log.events) == len(log.covered), "an event was never read")
            log.compact()
            hold(log.latest() == truth.windows, "the compacted changelog is not the windows")
            reader = self.readers[partition]
            reader.read(log.changes)
            hold(reader.windows == truth.windows, "a reader of the changelog has another window")
            owner = self.cluster.workers[self.cluster.owners[partition]]
            hold(owner.stores[partition].values == truth.windows, "the owner's store is not the windows")


def machine_of(fault: Fault) -> type[DeliveryMachine]:
    """Return the machine over a model with a fault."""
    return type(f"With{fault.name.title()}", (DeliveryMachine,), {"fault": fault})


@LIMIT
def test_any_schedule_ends_with_the_windows_of_an_undisturbed_pass() -> None:
    """After any mishaps the windows are the same, byte for byte.

    Delivery is at-least-once on the wire and exactly-once in effect.
    """
    run_state_machine_as_test(DeliveryMachine, settings=schedules(N_SCHEDULES, N_STEPS))


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE], ids=lambda fault: fault.name)
def test_each_broken_variant_is_found_out(fault: Fault) -> None:
    """A machine that cannot fail would prove nothing."""
    with pytest.raises(Violation):
        run_state_machine_as_test(machine_of(fault), settings=first_found(N_SCHEDULES, N_STEPS))
