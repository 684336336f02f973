"""Windows that wait for the model: superseding, and the order in which batches finish."""

from __future__ import annotations

import pytest

from streams.contract.records import encode
from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.recommender.waiting import window_queue
from streams.recommender.waiting.window_queue import MAX_WINDOWS, WindowQueue


def window(revision: int, n_items: int = 1) -> ListWindow:
    """Return a window with a revision and a length."""
    items = [WindowItem(i, f"e{i}", f"i{i}", "view") for i in range(n_items)]
    return ListWindow(1, revision, n_items, items, Trigger("e", 1, 1))


def entry(user: str, revision: int, n_items: int = 1) -> tuple[bytes, ListWindow, int]:
    """Return what a batch brings for one user."""
    return user.encode(), window(revision, n_items), 0


def test_a_newer_window_replaces_the_waiting_one() -> None:
    """Overload sheds only superseded work: one entry per user, the newest."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "b1")
    pending.add(0, [entry("a", 2)], "b2")
    taken = pending.take(1_000)
    assert [w.state.revision for w in taken] == [2]
    assert pending.n_superseded == 1
    assert pending.done(taken) == ["b1", "b2"]


def test_a_batch_is_not_finished_while_one_of_its_windows_is_in_flight() -> None:
    """Acknowledging earlier would lose the window in a crash."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1), entry("b", 1)], "b1")
    first, second = pending.take(1), pending.take(1)
    assert pending.done(second) == []
    assert pending.done(first) == ["b1"]


def test_batches_of_a_partition_finish_in_offset_order() -> None:
    """A later batch that is done first must wait, or its commit would cover the earlier one."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "b1")
    pending.add(0, [entry("b", 1)], "b2")
    first, second = pending.take(1), pending.take(1)
    assert pending.done(second) == []
    assert pending.done(first) == ["b1", "b2"]


def test_partitions_do_not_wait_for_each_other() -> None:
    """A slow partition must not hold up another one's commits."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "p0")
    pending.add(1, [entry("b", 1)], "p1")
    _, second = pending.take(1), pending.take(1)
    assert pending.done(second) == ["p1"]


def test_a_window_that_arrives_while_its_user_is_in_flight_waits_again() -> None:
    """The list in flight lacks the new event, so the new batch must not finish with it."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "b1")
    flying = pending.take(1)
    pending.add(0, [entry("a", 2)], "b2")
    assert pending.done(flying) == ["b1"]
    assert pending.done(pending.take(1)) == ["b2"]


def test_a_batch_without_fresh_windows_finishes_at_once() -> None:
    """Tombstones and repeats need no model; their batch must not block the partition."""
    pending: WindowQueue[str] = WindowQueue()
    assert pending.add(0, [], "b1") == ["b1"]


def test_take_bounds_padded_tokens_but_always_makes_progress() -> None:
    """Padding counts: 2 windows of 3 are 6 tokens. A window above the bound is taken alone."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1, 3), entry("b", 1, 3), entry("c", 1, 3), entry("d", 1, 50)], "b1")
    assert [len(pending.take(6)) for _ in range(3)] == [2, 1, 1]


def test_forgotten_partitions_leave_nothing_behind() -> None:
    """After a rebalance another worker owns the partition's windows."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "b1")
    pending.add(1, [entry("b", 1)], "b2")
    flying = pending.take(1)
    pending.forget([0])
    assert len(pending) == 1
    assert pending.done(flying) == []


def test_windows_given_back_wait_in_front_and_lose_nothing() -> None:
    """The model failed on them: they come first again, in order, and their batch is still open."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1), entry("b", 1), entry("c", 1)], "b1")
    pending.give_back(pending.take(2))
    taken = pending.take(1_000)
    assert [w.key for w in taken] == [b"a", b"b", b"c"]
    assert pending.done(taken) == ["b1"]


def test_a_newer_window_supersedes_one_that_is_given_back() -> None:
    """Both batches finish with the newer window's list, neither before."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "b1")
    flying = pending.take(1)
    pending.add(0, [entry("a", 2)], "b2")
    pending.add(0, [entry("b", 1)], "b3")
    pending.give_back(flying)
    first, second = pending.take(1), pending.take(1)
    assert [w.state.revision for w in first] == [2]
    assert pending.done(second) == []
    assert pending.done(first) == ["b1", "b2", "b3"]


def test_a_window_is_served_without_the_model_once_and_waits_on() -> None:
    """A provisional list finishes nothing; a newer window may have another one."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1), entry("b", 1)], "b1")
    assert [w.key for w in pending.without_list(1)] == [b"a"]
    assert [w.key for w in pending.without_list(10)] == [b"b"]
    assert pending.without_list(10) == []
    pending.add(0, [entry("a", 2)], "b2")
    assert [(w.key, w.state.revision) for w in pending.without_list(10)] == [(b"a", 2)]
    taken = pending.take(1_000)
    assert [w.has_list for w in taken] == [True, True]
    pending.give_back(taken)
    assert pending.without_list(10) == [] and len(pending) == 2


def test_what_comes_back_of_a_forgotten_partition_is_dropped() -> None:
    """The partition may come back with the same batch: the old window must not return."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("a", 1)], "b1")
    flying = pending.take(1)
    assert pending.forget() == ["b1"]
    pending.add(0, [entry("b", 1)], "b1 again")
    pending.give_back(flying)
    assert len(pending) == 1 and flying[0].owner.is_forgotten
    assert pending.done(flying) == []
    assert pending.done(pending.take(1)) == ["b1 again"]


def test_a_batch_of_short_windows_is_bounded_too() -> None:
    """Each list costs its candidates: 16,000 windows of one event would delay everybody."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry(f"u{i}", 1) for i in range(MAX_WINDOWS + 5)], "batch")
    assert len(pending.take(10 * MAX_WINDOWS)) == MAX_WINDOWS
    assert len(pending.take(10 * MAX_WINDOWS)) == 5


def test_many_waiting_windows_are_kept_encoded_and_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded, 100,000 long windows would take gigabytes; a few are not worth encoding."""
    monkeypatch.setattr(window_queue, "MAX_DECODED", 2)
    encoded: list[bytes] = []

    def noted(state: ListWindow) -> bytes:
        encoded.append(encode(state))
        return encoded[-1]

    monkeypatch.setattr(window_queue, "encode", noted)
    pending: WindowQueue[str] = WindowQueue()
    entries = [entry(f"u{i}", i + 1, 3) for i in range(5)]
    pending.add(0, entries, "b1")
    assert len(encoded) == 3
    taken = pending.take(1_000)
    assert [(w.key, w.state) for w in taken] == [(key, state) for key, state, _ in entries]
    pending.give_back(taken)
    assert [w.state for w in pending.take(1_000)] == [state for _, state, _ in entries]


def test_a_window_waits_since_it_came_and_not_since_the_one_that_it_replaced() -> None:
    """The stage times tell of the window in the list."""
    now = [10.0]
    pending: WindowQueue[str] = WindowQueue(clock=lambda: now[0])
    pending.add(0, [entry("a", 1)], "b1")
    now[0] = 12.0
    pending.add(0, [entry("a", 2)], "b2")
    assert [window.since_s for window in pending.take(10)] == [12.0]
