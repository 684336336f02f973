"""Folds events into windows, bytes to bytes, as :func:`streams.sequencer.window.absorb` does.

The bytes of a window and of the events that join it lie in one *pool*. An entry of a list is its
place there, so that an event moves numbers, and no bytes are copied before the window is written::

    pool    | packed events ... | window of user 0 | window of user 1 | ...
    items   [ (at, id_end, end, ts) ... ]      recent  [ (at, id_end, end, ts) ... ]

A window in any other form than headrace writes is left: the caller decodes it.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from streams.sequencer.compiled.events import AT, END, ID_AT, ID_END, TS, is_same
from streams.sequencer.compiled.memory import byte_at
from streams.sequencer.compiled.msgpack import text_at
from streams.sequencer.compiled.window_form import (
    FIRST,
    FIRST_RECENT,
    N_ITEMS,
    N_MARKS,
    N_NUMBERS,
    N_OTHERS,
    N_RECENT,
    NEWEST,
    REVISION,
    TRIGGER,
    put_window,
    read_window,
)

#: What became of a user's window.
SAME, NEW, LEFT = range(3)
#: Columns of the bounds.
MAX_EVENTS, MAX_AGE, LATENESS, MAX_RECENT, MAX_SEEN = range(5)
#: The longest list that a window can have in msgpack's short forms.
MAX_LENGTH: Final = 65_535
#: More than a window takes beyond its lists, its trigger, its floor and what it takes over.
FIXED_BYTES: Final = 128
#: zlib's CRC-32, one byte at a time.
_CRC_STEPS: Final = np.array([zlib.crc32(bytes((i ^ 0xFF,))) ^ 0xFF000000 for i in range(256)], np.uint32)


@compiled
def _compare(pool: Any, one: Any, i: int, other: Any, j: int) -> Any:
    """Return a number below, at or above 0: how two entries are ordered, by time and then id."""
    if one[i, TS] != other[j, TS]:
        return one[i, TS] - other[j, TS]
    a, a_end = text_at(pool, one[i, AT] + ID_AT, one[i, ID_END])
    b, b_end = text_at(pool, other[j, AT] + ID_AT, other[j, ID_END])
    for k in range(min(a_end - a, b_end - b)):
        difference = byte_at(pool, a + k) - byte_at(pool, b + k)
        if difference != 0:
            return difference
    return (a_end - a) - (b_end - b)


@compiled
def _set(entries: Any, i: int, other: Any, j: int) -> None:
    """Copy an entry; a row as an array would cost more than the rest of the work with it."""
    for column in range(4):
        entries[i, column] = other[j, column]


@compiled
def _insert(pool: Any, entries: Any, first: int, n: int, other: Any, j: int) -> None:
    """Insert an entry of another list at its place among ``n``."""
    place = first + n
    while place > first and _compare(pool, other, j, entries, place - 1) < 0:
        _set(entries, place, entries, place - 1)
        place -= 1
    _set(entries, place, other, j)


@compiled
def _has(pool: Any, entries: Any, first: int, n: int, events: Any, event: int) -> Any:
    """Return whether an entry has the event's id."""
    begin, end = events[event, AT] + ID_AT, events[event, ID_END]
    for i in range(first, first + n):
        if is_same(pool, entries[i, AT] + ID_AT, entries[i, ID_END], pool, begin, end):
            return True
    return False


@compiled
def _leave(pool: Any, items: Any, recent: Any, floor: Any, marks: Any, s: Any, bounds: Any) -> None:
    """Move the oldest behaviour to the remembered events."""
    item = s[FIRST]
    begin, end = text_at(pool, items[item, ID_END], items[item, END])
    crc = np.uint32(0xFFFFFFFF)
    for i in range(begin, end):
        crc = _CRC_STEPS[(crc ^ np.uint32(byte_at(pool, i))) & np.uint32(0xFF)] ^ crc >> np.uint32(8)
    marks[s[N_MARKS]] = ~crc
    s[N_MARKS] += 1
    s[FIRST] += 1
    s[N_ITEMS] -= 1
    _insert(pool, recent, s[FIRST_RECENT], s[N_RECENT], items, item)
    s[N_RECENT] += 1
    since = s[NEWEST] - bounds[LATENESS]
    while s[N_RECENT] > 0:
        oldest = s[FIRST_RECENT]
        is_past = recent[oldest, TS] < since
        if s[N_RECENT] <= bounds[MAX_RECENT] and not is_past:
            break
        if not is_past and (floor[0, AT] < 0 or _compare(pool, recent, oldest, floor, 0) > 0):
            _set(floor, 0, recent, oldest)
        s[FIRST_RECENT] += 1
        s[N_RECENT] -= 1


@compiled
def fold_events(
    pool: Any, windows: Any, events: Any, user_ends: Any, offsets: Any, bounds: Any, out: Any, folded: Any, counts: Any
) -> None:
    """Fold the events of each user, in order of arrival, into the user's window.

    Parameters
    ----------
    pool : packed events and windows, uint8
    windows : where each user's window begins and ends in the pool, (users, 2) int64; -1 where a
        new user has none
    events, offsets : of all users, one user after the other: (events, 4) as
        :func:`~streams.sequencer.compiled.events.read_events` writes them, and (events,) int64
    user_ends : where each user's events begin and end there, (users + 1,)
    bounds : (5,) int64, in the columns :data:`MAX_EVENTS` and its neighbours
    out : room for the new windows, uint8: for each user the window, twice the user's events, and
        :data:`FIXED_BYTES`
    folded : (users, 2) int64, written: what became of the window, and where the new one ends in
        ``out``
    counts : (3,) int64, written: accepted, duplicate and late events of the users not left
    """
    room = MAX_LENGTH + len(events) + 1
    items, recent = np.empty((room, 4), np.int64), np.empty((room, 4), np.int64)
    others, marks = np.empty((2 * MAX_LENGTH, 4), np.int64), np.empty(room, np.uint32)
    floor, s, o = np.empty((1, 4), np.int64), np.empty(N_NUMBERS, np.int64), 0
    for user in range(len(windows)):
        folded[user, 0], folded[user, 1] = LEFT, o
        s[:] = 0
        s[NEWEST] = floor[0, AT] = -1
        at, end = windows[user]
        if at >= 0 and not read_window(pool, at, end, items, recent, others, floor, s):
            continue
        accepted = duplicate = late = 0
        for i in range(user_ends[user], user_ends[user + 1]):
            if (
                _has(pool, items, s[FIRST], s[N_ITEMS], events, i)
                or _has(pool, recent, s[FIRST_RECENT], s[N_RECENT], events, i)
                or _has(pool, others, 0, s[N_OTHERS], events, i)
            ):
                duplicate += 1
                continue
            is_before_floor = floor[0, AT] >= 0 and _compare(pool, events, i, floor, 0) <= 0
            if is_before_floor or events[i, TS] < s[NEWEST] - bounds[LATENESS]:
                late += 1
                continue
            _insert(pool, items, s[FIRST], s[N_ITEMS], events, i)
            s[N_ITEMS] += 1
            s[NEWEST] = max(s[NEWEST], events[i, TS])
            s[TRIGGER] = i
            accepted += 1
            while s[N_ITEMS] > bounds[MAX_EVENTS] or (
                s[N_ITEMS] > 0 and items[s[FIRST], TS] < s[NEWEST] - bounds[MAX_AGE]
            ):
                _leave(pool, items, recent, floor, marks, s, bounds)
        if s[N_ITEMS] > MAX_LENGTH or s[N_RECENT] > MAX_LENGTH:
            continue
        counts[0], counts[1], counts[2] = counts[0] + accepted, counts[1] + duplicate, counts[2] + late
        folded[user, 0] = NEW if accepted else SAME
        if accepted:
            s[REVISION] += accepted
            offset = offsets[s[TRIGGER]]
            o = put_window(out, o, pool, items, recent, floor, marks, s, events, offset, bounds[MAX_SEEN])
            folded[user, 1] = o
