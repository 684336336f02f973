"""A log as arrays, and the windows that users had at each moment of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.sequence import NO_GAP, PackedWindows, gap_bucket
from models.types import TYPE_INDEX, Int64


@dataclass(frozen=True)
class Interactions:
    """Events in time order; equal times keep the order given.

    Parameters
    ----------
    users, items, types : (n,) int64 rows; a row's id stands in ``user_ids`` and ``item_ids``, a type in ``EVENT_TYPES``
    ts_ms : (n,) int64, ascending
    """

    users: Int64
    items: Int64
    types: Int64
    ts_ms: Int64
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, start: int, stop: int) -> Interactions:
        """Return the events ``start`` to ``stop``, with the same rows."""
        cut = slice(start, stop)
        return Interactions(
            self.users[cut], self.items[cut], self.types[cut], self.ts_ms[cut], self.user_ids, self.item_ids
        )

    def index_at(self, share: float) -> int:
        """Return the index of the first event at or after the time by which ``share`` of the events have happened."""
        if not len(self):
            return 0
        ts_ms = self.ts_ms[min(int(share * len(self)), len(self) - 1)]
        return int(np.searchsorted(self.ts_ms, ts_ms, side="left"))


def from_events(events: Iterable[tuple[str, str, str, int]]) -> Interactions:
    """Return ``(user_id, item_id, type, ts_ms)`` as arrays, sorted by time, equal times in the order given."""
    user_rows: dict[str, int] = {}
    item_rows: dict[str, int] = {}
    table = [
        (user_rows.setdefault(user, len(user_rows)), item_rows.setdefault(item, len(item_rows)), TYPE_INDEX[kind], ts)
        for user, item, kind, ts in events
    ]
    columns = np.array(table, dtype=np.int64).reshape(-1, 4)
    columns = columns[np.argsort(columns[:, 3], kind="stable")]
    users, items, types, ts_ms = (np.ascontiguousarray(columns[:, i]) for i in range(4))
    return Interactions(users, items, types, ts_ms, tuple(user_rows), tuple(item_rows))


@dataclass(frozen=True)
class Timeline:
    """The same events user by user: event ``order[p]`` stands at place ``p``, its user's first at ``starts[p]``.

    Parameters
    ----------
    order, starts : (n,) int64
    place_of : (n,) int64, the place of each event
    """

    log: Interactions
    order: Int64
    starts: Int64
    place_of: Int64

    def windows_before(self, events: Int64, max_length: int) -> PackedWindows:
        """Return the window that each event's user had just before it: at most ``max_length`` events, oldest first."""
        ends = self.place_of[events]  # exclusive
        return self._windows(np.maximum(ends - max_length, self.starts[ends]), ends)

    def _windows(self, begins: Int64, ends: Int64) -> PackedWindows:
        lengths = ends - begins
        length = max(1, int(lengths.max(initial=0)))
        places = begins[:, None] + np.arange(length)  # [n, length]
        is_there = places < ends[:, None]
        index = self.order[np.where(is_there, places, 0)]
        rows = np.where(is_there, self.log.items[index], 0)
        types = np.where(is_there, self.log.types[index], 0)
        gaps = np.full_like(rows, NO_GAP)
        gaps[:, 1:] = gap_bucket(np.diff(self.log.ts_ms[index], axis=1))
        gaps[~is_there] = NO_GAP
        return PackedWindows(rows, types, gaps, lengths)

    def items_before(self, events: Int64) -> tuple[Int64, Int64]:
        """Return all items that each event's user had before it, as pairs ``(position in events, item row)``."""
        ends = self.place_of[events]
        lengths = ends - self.starts[ends]
        who = np.repeat(np.arange(len(events)), lengths)
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return who, self.log.items[self.order[np.repeat(self.starts[ends], lengths) + within]]


def timeline(log: Interactions) -> Timeline:
    """Return the log user by user."""
    order = np.argsort(log.users, kind="stable")
    sorted_users = log.users[order]
    starts = np.searchsorted(sorted_users, sorted_users, side="left").astype(np.int64)
    place_of = np.empty_like(order)
    place_of[order] = np.arange(len(order))
    return Timeline(log, order, starts, place_of)
