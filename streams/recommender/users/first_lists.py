"""Queues a first list for each user of whom a record is known and no event.

The user's record on ``user-vectors`` remembers which record of ``users`` the last first list
answered, so that neither a restart nor an equal record brings the list again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from streams.contract.marks import NO_MARKS, Marks
from streams.contract.records import VERSION, UserVector
from streams.contract.windows import BaseWindow, ListWindow, Trigger
from streams.recommender.users.records import UserRecords
from streams.recommender.waiting.backpressure import Backpressure
from streams.recommender.waiting.window_queue import WindowQueue
from streams.state.table import BatchTable

#: First lists queued at once. So many wait at most behind windows, which come first.
CHUNK: Final = 256
_decoder = msgspec.msgpack.Decoder(UserVector)


class Change(NamedTuple):
    """A changed record of ``users``.

    Parameters
    ----------
    removed_at : the offset of the removal, None where the record is there
    written_ms : when the record was written; 0 counts as now
    """

    key: bytes
    removed_at: int | None = None
    written_ms: int = 0


class FirstLists:
    """Puts users without events into the queue. For one event loop.

    Parameters
    ----------
    marks : forgotten users; only a record that was written after the request brings them a list
    """

    def __init__(
        self, queue: WindowQueue[Any], vectors: BatchTable, pressure: Backpressure, marks: Marks = NO_MARKS
    ) -> None:
        self._queue = queue
        self._vectors = vectors
        self._pressure = pressure
        self._marks = marks
        self._is_open = False

    def open(self) -> None:
        """Queue lists from now on: the partitions are this worker's, their vectors known."""
        self._is_open = True

    def close(self) -> None:
        """Queue nothing until :meth:`open`."""
        self._is_open = False

    async def consider(self, partition: int, changes: Iterable[Change], records: UserRecords) -> None:
        """Queue those of the changed users who have no event and no list of their record."""
        left = iter(changes)
        while self._is_open and (chunk := list(islice(left, CHUNK))):
            await self._pressure.wait_for_room()
            windows = self._windows(partition, chunk, records)
            if windows and self._is_open:
                self._queue.add(partition, windows)
                self._pressure.update()

    def _windows(
        self, partition: int, changes: Sequence[Change], records: UserRecords
    ) -> list[tuple[bytes, ListWindow, int]]:
        windows: dict[bytes, tuple[bytes, ListWindow, int]] = {}
        now_ms = int(1000 * time.time())
        for key, removed_at, written_ms in changes:
            mark = self._marks.get(key, -1)  # the revisions of a life begin behind its mark
            if mark >= written_ms:
                continue
            stored = stored_vector(self._vectors.read(partition, key))
            pending = self._queue.pending(partition, key)
            if (stored is not None and not stored.record) or not all(map(is_first, pending)):
                continue
            facts = records.get(partition, key)
            answered = None if stored is None else stored.record
            if facts is None and removed_at is not None and (answered or pending):
                windows[key] = key, first_window(removed_at, written_ms, mark + 1), written_ms
            elif facts is not None and (facts.digest != answered or pending):
                windows[key] = key, first_window(facts.offset, written_ms or now_ms, mark + 1), written_ms or now_ms
        return list(windows.values())


def first_window(users_offset: int, written_ms: int, revision: int = 0) -> ListWindow:
    """Return the window of a user without events, whose list a record of ``users`` triggers."""
    return ListWindow(VERSION, revision, written_ms, [], Trigger("", written_ms, users_offset))


def is_first(state: BaseWindow) -> bool:
    """Whether a record of ``users`` triggers the list, and no event."""
    return not state.trigger.event_id


def has_events(value: bytes | None) -> bool:
    """Whether an encoded user vector is of a user with events; False for None."""
    stored = stored_vector(value)
    return value is not None and (stored is None or not stored.record)


def stored_vector(value: bytes | None) -> UserVector | None:
    """Return a user vector, None for none and for bytes that are none."""
    if value is None:
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
