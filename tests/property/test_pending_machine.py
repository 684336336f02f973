"""The window queue, under any order of deliveries, failures of the model, rebalances and crashes.

Two laws: a batch finishes only when each of its windows, or a newer one of the same user, is
delivered, in offset order; and after draining every user's last window is delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.recommender.waiting.list_rate import ListRate
from streams.recommender.waiting.pending import PendingBatch, PendingWindow
from streams.recommender.waiting.window_queue import MAX_WINDOWS, WindowQueue
from tests.property.schedules import LIMIT, first_found, schedules

N_PARTITIONS: Final = 2
USERS: Final = (b"u0", b"u1", b"u2", b"u3")
N_SCHEDULES, N_STEPS = 150, 40
PARTITIONS = st.integers(0, N_PARTITIONS - 1)


class Violation(AssertionError):
    """A law of delivery does not hold."""


def hold(law: bool, text: str) -> None:
    """Raise :class:`Violation` where a law does not hold."""
    if not law:
        raise Violation(text)


class Batch(NamedTuple):
    """A record batch as its partition's agent got it: the ``number`` is its offset."""

    partition: int
    number: int
    reading: int


class PendingMachine(RuleBasedStateMachine):
    """A small recommender with one model.

    Each partition has a log of window batches, and deliveries come in any order.
    """

    queue: ClassVar[type[WindowQueue[Any]]] = WindowQueue
    lists_per_minute: ClassVar[float] = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        # user and revision
        self.logs: list[list[list[tuple[bytes, int]]]] = [[] for _ in range(N_PARTITIONS)]
        self.committed = [0] * N_PARTITIONS
        self.revisions: dict[tuple[int, bytes], int] = {}
        # revision of the last list: survives a crash
        self.stored: dict[tuple[int, bytes], int] = {}
        self.reading = 0
        self.start()

    def start(self) -> None:
        """Begin a process: nothing but what is committed and stored is known."""
        self.pending: WindowQueue[Batch] = self.queue(ListRate(self.lists_per_minute), lambda: self.now_s)
        self.flights: list[list[PendingWindow[Batch]]] = []
        self.staged: dict[tuple[int, bytes], int] = {}
        self.forget_partitions(range(N_PARTITIONS))

    def forget_partitions(self, partitions: Iterable[int]) -> None:
        """Read partitions from their committed offset on, as a new owner does."""
        self.reading += 1
        self.position = {**getattr(self, "position", {}), **{p: self.committed[p] for p in partitions}}
        self.readings = {**getattr(self, "readings", {}), **dict.fromkeys(partitions, self.reading)}

    @rule(partition=PARTITIONS, users=st.lists(st.sampled_from(USERS), max_size=5))
    def publish(self, partition: int, users: list[bytes]) -> None:
        """Publish a batch of windows; a user may come several times."""
        batch = []
        for user in users:
            revision = self.revisions[partition, user] = self.revisions.get((partition, user), 0) + 1
            batch.append((user, revision))
        self.logs[partition].append(batch)

    @rule(partition=PARTITIONS)
    def collect(self, partition: int) -> None:
        """Queue the next batch without the windows whose list was made before."""
        number = self.position[partition]
        if number >= len(self.logs[partition]):
            return
        self.position[partition] = number + 1
        newest = dict(self.logs[partition][number])
        windows = [
            (user, window_of(revision), 0)
            for user, revision in newest.items()
            if revision > max(self.stored.get((partition, user), 0), self.staged.get((partition, user), 0))
        ]
        self.finish(self.pending.add(partition, windows, Batch(partition, number, self.readings[partition])))

    @rule(tokens=st.integers(1, 6))
    def run_model(self, tokens: int) -> None:
        """Let the model make lists."""
        self.pending.release()
        windows = self.pending.take(tokens)
        if windows:
            self.staged.update({(w.partition, w.key): w.state.revision for w in windows})
            self.flights.append(windows)

    @rule(tokens=st.integers(1, 6))
    def fail_model(self, tokens: int) -> None:
        """Let the model fail: its windows wait again."""
        self.pending.release()
        self.pending.give_back(self.pending.take(tokens))

    @rule(
        partition=PARTITIONS,
        users=st.lists(st.sampled_from(USERS), min_size=1, max_size=4),
        tokens=st.integers(1, 12),
        n_newer=st.integers(0, 4),
        is_revoked=st.booleans(),
    )
    def fail_model_later(self, partition: int, users: list[bytes], tokens: int, n_newer: int, is_revoked: bool) -> None:
        """Let the model fail after newer windows of its users came, or after a revocation."""
        self.publish(partition, users)
        self.collect_all(partition)
        windows = self.pending.take(tokens)
        self.publish(partition, users[:n_newer])
        if is_revoked:
            self.rebalance({partition})
        self.collect_all(partition)
        self.pending.give_back(windows)

    def collect_all(self, partition: int) -> None:
        """Queue all that is published."""
        while self.position[partition] < len(self.logs[partition]):
            self.collect(partition)

    @rule(n=st.integers(1, 3))
    def make_provisional_lists(self, n: int) -> None:
        """Publish provisional lists: the windows go on waiting."""
        for window in self.pending.without_list(n):
            hold(self.pending.is_waiting(window), "a window with a provisional list does not wait for its full one")

    @rule(pick=st.integers(0, 5))
    def deliver(self, pick: int) -> None:
        """Deliver one of the batches of lists that are under way."""
        if not self.flights:
            return
        windows = self.flights.pop(pick % len(self.flights))
        for window in windows:
            if not window.owner.is_forgotten:
                user = (window.partition, window.key)
                self.stored[user] = max(self.stored.get(user, 0), window.state.revision)
        self.finish(self.pending.done(windows))

    def finish(self, batches: list[Batch]) -> None:
        """Commit: only what is delivered, in order, once, and only what this reading read."""
        for partition, number, reading in batches:
            hold(reading == self.readings[partition], "a batch of an earlier assignment finished")
            hold(number == self.committed[partition], f"batch {number} finished, due was {self.committed[partition]}")
            for user, revision in self.logs[partition][number]:
                hold(self.stored.get((partition, user), 0) >= revision, f"{user!r} {revision} was never delivered")
            self.committed[partition] += 1

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        """Let time pass: held users come due."""
        self.now_s += seconds

    @rule(partitions=st.sets(PARTITIONS, min_size=1))
    def rebalance(self, partitions: set[int]) -> None:
        """Take partitions away and give them back."""
        self.pending.forget(partitions)
        for user in [user for user in self.staged if user[0] in partitions]:
            del self.staged[user]
        self.forget_partitions(partitions)

    @rule()
    def crash(self) -> None:
        """Kill the process."""
        self.start()

    @invariant()
    def each_user_waits_once(self) -> None:
        """Overload sheds superseded work: the queue is bounded by the users, not by the events."""
        hold(len(self.pending) <= N_PARTITIONS * len(USERS), "a user waits twice")

    def teardown(self) -> None:
        """Drain at the end."""
        self.drain()

    @rule()
    def drain(self) -> None:
        """Read and deliver everything.

        It runs in mid-run too, because a later crash hides a stuck batch.
        """
        for partition in range(N_PARTITIONS):
            self.collect_all(partition)
        for _ in range(200):
            if not len(self.pending) and not self.flights:
                break
            self.now_s += 100.0
            self.run_model(100)
            self.deliver(0)
        hold(not len(self.pending), "windows wait for ever")
        hold(self.stored == self.revisions, "a user's last window was not delivered")
        hold(self.committed == [len(log) for log in self.logs], "a batch never finished")


def window_of(revision: int) -> ListWindow:
    """Return a window with a revision and one to three behaviours."""
    items = [WindowItem(i, f"e{i}", f"i{i}", "view") for i in range(1 + revision % 3)]
    return ListWindow(1, revision, revision, items, Trigger("e", 1, 1))


class LosesFailed(WindowQueue[Any]):
    """Drops the windows on which the model failed."""

    def give_back(self, windows: Sequence[PendingWindow[Any]]) -> None:
        """Do nothing."""


class ForgetsNothing(WindowQueue[Any]):
    """Keeps the windows of partitions that are gone."""

    def forget(self, partitions: Iterable[int] | None = None) -> list[Any]:
        """Do nothing."""
        return []


class KeepsWaiting(WindowQueue[Any]):
    """Lets the window that waits win over a newer one."""

    def add(self, partition: int, windows: Iterable[tuple[bytes, ListWindow, int]], batch: Any = None) -> list[Any]:
        """Queue only users who do not wait."""
        owner = PendingBatch(batch)
        fresh = [w for w in windows if not self.is_waiting(PendingWindow(partition, w[0], w[1], w[2], owner))]
        return super().add(partition, fresh, batch)


class FinishesWhenTaken(WindowQueue[Any]):
    """Counts a window as delivered when the model takes it."""

    def take(self, max_tokens: int, max_windows: int = MAX_WINDOWS) -> list[PendingWindow[Any]]:
        """Take, and count as delivered."""
        windows = super().take(max_tokens, max_windows)
        for window in windows:
            window.owner.remaining -= 1
        return windows

    def done(self, windows: Sequence[PendingWindow[Any]]) -> list[Any]:
        """Return the finished batches."""
        for window in windows:
            window.owner.remaining += 1
        return super().done(windows)


def machine_of(queue: type[WindowQueue[Any]], lists_per_minute: float = 60.0) -> type[PendingMachine]:
    """Return the machine over another queue or rate."""
    return type(f"With{queue.__name__}", (PendingMachine,), {"queue": queue, "lists_per_minute": lists_per_minute})


@LIMIT
@pytest.mark.parametrize("lists_per_minute", [60.0, float("inf")])
def test_every_last_window_is_delivered_and_batches_finish_in_order(lists_per_minute: float) -> None:
    """No schedule loses a user's newest window, or commits past an undelivered one."""
    run_state_machine_as_test(machine_of(WindowQueue, lists_per_minute), settings=schedules(N_SCHEDULES, N_STEPS))


@pytest.mark.parametrize("queue", [LosesFailed, ForgetsNothing, KeepsWaiting, FinishesWhenTaken])
def test_each_broken_queue_is_found_out(queue: type[WindowQueue[Any]]) -> None:
    """A machine that cannot fail would prove nothing."""
    with pytest.raises(Violation):
        run_state_machine_as_test(machine_of(queue), settings=first_found(N_SCHEDULES, N_STEPS))
