"""Users without events are queued once for each content of their record, and nobody else is."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from streams.contract.records import User, UserVector, encode
from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.health.counters import Metrics
from streams.recommender.users.first_lists import Change, FirstLists, first_window, has_events, is_first
from streams.recommender.users.records import UserRecords
from streams.recommender.waiting.backpressure import Backpressure
from streams.recommender.waiting.window_queue import WindowQueue
from streams.state.table import BatchTable


class FakeTable:
    """Vectors by key."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.values.get(key)


class Setting:
    """A queue, records, and what the last lists answered."""

    def __init__(self) -> None:
        self.queue: WindowQueue[Any] = WindowQueue()
        self.table, self.records = FakeTable(), UserRecords()
        pressure = Backpressure(self.queue, 1_000, Metrics())
        self.first = FirstLists(self.queue, cast(BatchTable, self.table), pressure)
        self.first.open()
        self.offset = 0

    def put(self, user_id: str, age: float | None) -> Change:
        """Put a record, None for a removal; return the change."""
        self.offset += 1
        user = None if age is None else User(1, user_id, {"age": age})
        self.records.put(0, user_id.encode(), self.offset, user)
        return Change(user_id.encode(), self.offset if user is None else None, 5)

    def consider(self, *changes: Change) -> list[bytes]:
        """Return the users who wait after these changes."""
        asyncio.run(self.first.consider(0, changes, self.records))
        return sorted(key for _, key in self.queue._ready)  # noqa: SLF001

    def answer(self) -> None:
        """Take all that waits and remember that it was answered."""
        for window in self.queue.take(10**6):
            facts = self.records.get(0, window.key)
            if facts is None:
                self.table.values.pop(window.key, None)
            else:
                self.table.values[window.key] = vector(window.key, 0, facts.digest)
            assert self.queue.done([window]) == []

    def window(self, user_id: str, revision: int = 1) -> None:
        """Queue a window of an event."""
        self.queue.add(0, [(user_id.encode(), event_window(revision), 1)], f"batch {user_id}")


def vector(key: bytes, revision: int, record: bytes = b"") -> bytes:
    """Return a stored user vector."""
    return encode(UserVector(1, key.decode(), revision, "a", b"", b"", record))


def event_window(revision: int) -> ListWindow:
    """Return a window of one event."""
    return ListWindow(1, revision, 1, [WindowItem(1, "e", "i", "view")], Trigger("e", 1, 1))


def test_a_record_is_answered_once_and_a_change_again() -> None:
    """An equal record, or the same after a restart, is not; a removal of an answered one is."""
    setting = Setting()
    assert setting.consider(setting.put("u", 20)) == [b"u"]
    setting.answer()
    assert setting.consider(Change(b"u")) == [] and setting.consider(setting.put("u", 20)) == []
    assert setting.consider(setting.put("u", 21)) == [b"u"]
    setting.answer()
    assert setting.consider(setting.put("u", None)) == [b"u"]
    setting.answer()
    assert setting.consider(setting.put("u", None), Change(b"nobody", 9)) == []


def test_users_with_events_are_left_alone() -> None:
    """Those whose list is out, whose window waits, and whose window is in the model's hands."""
    setting = Setting()
    setting.table.values[b"listed"] = vector(b"listed", 3)
    setting.window("taken")
    (taken,) = setting.queue.take(100)
    setting.window("waits")
    changes = [setting.put(name, 1) for name in ("listed", "taken", "waits", "new")]
    assert setting.consider(*changes) == [b"new", b"waits"]
    found = {window.key: window.state for window in setting.queue.take(100)}
    assert is_first(found[b"new"]) and not is_first(found[b"waits"]) and found[b"waits"].revision == 1
    assert taken.key == b"taken"


def test_an_event_replaces_a_waiting_first_list_and_is_committed_with_its_list() -> None:
    """The record batch is finished when the window's list is delivered, not before."""
    setting = Setting()
    assert setting.consider(setting.put("u", 20)) == [b"u"]
    setting.window("u")
    (window,) = setting.queue.take(100)
    assert not is_first(window.state)
    assert setting.queue.done([window]) == ["batch u"]


def test_a_change_while_the_model_works_is_answered_too() -> None:
    """Even back to what was answered before: the list in hand is of the content between."""
    setting = Setting()
    setting.consider(setting.put("u", 20))
    setting.answer()
    setting.consider(setting.put("u", 21))
    (in_hand,) = setting.queue.take(100)
    assert setting.consider(setting.put("u", 20)) == [b"u"]
    assert setting.queue.done([in_hand]) == []


def test_nothing_is_queued_before_it_is_open_and_after_it_is_closed() -> None:
    """Another worker may own the partitions then."""
    setting = Setting()
    setting.first.close()
    assert setting.consider(setting.put("u", 20)) == []
    setting.first.open()
    assert setting.consider(Change(b"u")) == [b"u"]


def test_lost_partitions_drop_first_lists_without_a_batch() -> None:
    """There is nothing to acknowledge for them."""
    setting = Setting()
    setting.consider(setting.put("u", 20))
    setting.window("v")
    assert setting.queue.forget([0]) == ["batch v"] and len(setting.queue) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (vector(b"u", 1), True), (vector(b"u", 0, b"12345678"), False), (b"\x93", True)],
)
def test_a_stored_vector_tells_whether_a_user_has_events(value: bytes | None, expected: bool) -> None:
    """Damaged bytes count as events: a late first list must not replace a user's own."""
    assert has_events(value) is expected
    assert is_first(first_window(3, 5)) and first_window(3, 5).trigger.offset == 3
