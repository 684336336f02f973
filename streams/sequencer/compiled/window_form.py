"""A window's bytes and the numbers that stand for them while events are folded in.

A window in any other form than headrace writes is not read: the caller decodes it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from streams.contract.records import MAX_TS_MS
from streams.contract.windows import MAX_REVISION
from streams.sequencer.compiled.events import AT, END, ID_AT, ID_END, TS, is_same
from streams.sequencer.compiled.memory import byte_at, word_at
from streams.sequencer.compiled.msgpack import (
    bytes_at,
    list_at,
    number_at,
    put_big,
    put_bytes,
    put_list,
    put_number,
    text_at,
)

#: The single numbers of a window, while it is folded.
REVISION, NEWEST, N_ITEMS, FIRST, N_RECENT, FIRST_RECENT, N_OTHERS = range(7)
SEEN, SEEN_END, REST, REST_END, N_REST, N_MARKS, TRIGGER = range(7, 14)
N_NUMBERS: Final = 14

_V: Final = np.frombuffer(b"\xa1v\x01\xa8revision", np.uint8)
_NEWEST_TS: Final = np.frombuffer(b"\xa9newest_ts", np.uint8)
_ITEMS: Final = np.frombuffer(b"\xa5items", np.uint8)
_TRIGGER_NAME: Final = np.frombuffer(b"\xa7trigger\x93", np.uint8)
_RECENT: Final = np.frombuffer(b"\xa6recent", np.uint8)
_FLOOR: Final = np.frombuffer(b"\xa5floor", np.uint8)
_SEEN_NAME: Final = np.frombuffer(b"\xa4seen", np.uint8)
_RUNS: Final = np.frombuffer(b"\xa4runs", np.uint8)
_HIDDEN: Final = np.frombuffer(b"\xa6hidden", np.uint8)
_PASSED: Final = np.frombuffer(b"\xa6passed", np.uint8)
_HIDING: Final = np.frombuffer(b"\xa6hiding", np.uint8)
_SHOWN: Final = np.frombuffer(b"\xa5shown", np.uint8)


@compiled
def _after(pool: Any, at: int, end: int, name: Any) -> Any:
    """Return where these bytes end if they are at ``at``, else -1."""
    stop = at + len(name)
    return stop if 0 <= at and stop <= end and is_same(pool, at, stop, name, 0, len(name)) else -1


@compiled
def _read_entry(pool: Any, at: int, end: int, marker: int, n_texts: int, entries: Any, n: int) -> Any:
    """Note a list's entry, of a time and texts, as the ``n``th; return where it ends."""
    if at < 0 or at + ID_AT > end or byte_at(pool, at) != marker or byte_at(pool, at + 1) != 0xCF:
        return -1
    ts = word_at(pool, at + 2)
    if ts >> 48 != 0:
        return -1
    entries[n, AT], entries[n, TS] = at, ts
    at += ID_AT
    for i in range(n_texts):
        if at >= end:
            return -1
        first = byte_at(pool, at)
        at = at + 1 + (first & 0x1F) if first & 0xE0 == 0xA0 else text_at(pool, at, end)[1]
        if not 0 <= at <= end:
            return -1
        if i == 0:
            entries[n, ID_END] = at
    entries[n, END] = at
    return at


@compiled
def _read_list(pool: Any, at: int, end: int, marker: int, n_texts: int, entries: Any, n: int) -> Any:
    """Append the entries of a list to the ``n`` that are there; return how many there are now,
    and where the list ends.
    """
    length, at = list_at(pool, at, end)
    for i in range(n, n + length):
        at = _read_entry(pool, at, end, marker, n_texts, entries, i)
        if at < 0 or (i > n and entries[i, TS] < entries[i - 1, TS]):
            return 0, -1  # out of order, so damaged
    return n + length, at


@compiled
def _skip_runs(pool: Any, at: int, end: int) -> Any:
    """Return where a map of replays ends: names and numbers."""
    if at < 0 or at >= end or byte_at(pool, at) & 0xF0 != 0x80:
        return -1
    n = byte_at(pool, at) & 0x0F
    at += 1
    for _ in range(n):
        at = number_at(pool, text_at(pool, at, end)[1], end)[1]
    return at


@compiled
def _read_rest(pool: Any, at: int, end: int, others: Any, s: Any) -> Any:
    """Read the fields that an event which enters the window does not change; return their end."""
    s[REST] = at
    got = _after(pool, at, end, _RUNS)
    if got >= 0:
        at = _skip_runs(pool, got, end)
        s[N_REST] += 1
    got = _after(pool, at, end, _HIDDEN)
    if got >= 0:
        at = bytes_at(pool, got, end)[1]
        s[N_REST] += 1
    got = _after(pool, at, end, _PASSED)
    if got >= 0:
        s[N_OTHERS], at = _read_list(pool, got, end, 0x92, 1, others, 0)
        s[N_REST] += 1
    got = _after(pool, at, end, _HIDING)
    if got >= 0:
        s[N_OTHERS], at = _read_list(pool, got, end, 0x92, 1, others, s[N_OTHERS])
        s[N_REST] += 1
    got = _after(pool, at, end, _SHOWN)
    if got >= 0:
        at = bytes_at(pool, got, end)[1]
        s[N_REST] += 1
    s[REST_END] = at
    return at


@compiled
def read_window(pool: Any, at: int, end: int, items: Any, recent: Any, others: Any, floor: Any, s: Any) -> Any:
    """Note what a window holds; return False where it is in another form than headrace writes."""
    if at >= end or byte_at(pool, at) & 0xF0 != 0x80:
        return False
    n_fields, n = byte_at(pool, at) & 0x0F, 5
    s[REVISION], at = number_at(pool, _after(pool, at + 1, end, _V), end)
    s[NEWEST], at = number_at(pool, _after(pool, at, end, _NEWEST_TS), end)
    s[N_ITEMS], at = _read_list(pool, _after(pool, at, end, _ITEMS), end, 0x94, 3, items, 0)
    at = text_at(pool, _after(pool, at, end, _TRIGGER_NAME), end)[1]
    at = number_at(pool, number_at(pool, at, end)[1], end)[1]
    if at < 0 or s[REVISION] > MAX_REVISION or s[NEWEST] > MAX_TS_MS:
        return False
    got = _after(pool, at, end, _RECENT)
    if got >= 0:
        s[N_RECENT], at = _read_list(pool, got, end, 0x92, 1, recent, 0)
        n += 1
    got = _after(pool, at, end, _FLOOR)
    if got >= 0:
        at = _read_entry(pool, got, end, 0x92, 1, floor, 0)
        n += 1
    got = _after(pool, at, end, _SEEN_NAME)
    if got >= 0:
        s[SEEN], s[SEEN_END] = bytes_at(pool, got, end)
        at = s[SEEN_END]
        n += 1
    return _read_rest(pool, at, end, others, s) == end and n + s[N_REST] == n_fields


@compiled
def _put_entries(out: Any, o: int, pool: Any, entries: Any, first: int, n: int) -> Any:
    """Write a list of behaviours; neighbours in the pool are copied at once."""
    o = put_list(out, o, n)
    i = first
    while i < first + n:
        begin, end = entries[i, AT], entries[i, END]
        i += 1
        while i < first + n and entries[i, AT] == end:
            end = entries[i, END]
            i += 1
        o = put_bytes(out, o, pool, begin, end)
    return o


@compiled
def _put_remembered(out: Any, o: int, pool: Any, entries: Any, first: int, n: int) -> Any:
    """Write a list of remembered events, some of which are the beginnings of behaviours."""
    o = put_list(out, o, n)
    i = first
    while i < first + n:
        begin, end = entries[i, AT], entries[i, ID_END]
        out[o] = 0x92
        o += 1
        i += 1
        while i < first + n and entries[i, AT] == end and byte_at(pool, end) == 0x92:
            end = entries[i, ID_END]
            i += 1
        o = put_bytes(out, o, pool, begin + 1, end)
    return o


@compiled
def _put_seen(out: Any, o: int, pool: Any, marks: Any, s: Any, size: int) -> Any:
    """Write the last ``size`` bytes of the marks that were there and the new ones."""
    power = 0 if size <= 0xFF else 1 if size <= 0xFFFF else 2
    out[o] = 0xC4 + power
    o = put_big(out, o + 1, size, 1 << power)
    n_new = min(s[N_MARKS], size // 4)
    o = put_bytes(out, o, pool, s[SEEN_END] - (size - 4 * n_new), s[SEEN_END])
    for i in range(s[N_MARKS] - n_new, s[N_MARKS]):
        for shift in range(0, 32, 8):
            out[o] = marks[i] >> np.uint32(shift) & np.uint32(0xFF)
            o += 1
    return o


@compiled
def put_window(
    out: Any,
    o: int,
    pool: Any,
    items: Any,
    recent: Any,
    floor: Any,
    marks: Any,
    s: Any,
    events: Any,
    offset: int,
    max_seen: int,
) -> Any:
    """Write a window as msgspec writes it; return where it ends."""
    trigger = s[TRIGGER]
    seen = s[SEEN_END] - s[SEEN] + 4 * s[N_MARKS]
    if s[N_MARKS] > 0:
        seen = min(seen, 4 * max_seen)
    n_fields = 5 + (s[N_RECENT] > 0) + (floor[0, AT] >= 0) + (seen > 0) + s[N_REST]
    out[o] = 0x80 | n_fields
    o = put_number(out, put_bytes(out, o + 1, _V, 0, len(_V)), s[REVISION])
    o = put_number(out, put_bytes(out, o, _NEWEST_TS, 0, len(_NEWEST_TS)), s[NEWEST])
    o = put_bytes(out, o, _ITEMS, 0, len(_ITEMS))
    o = _put_entries(out, o, pool, items, s[FIRST], s[N_ITEMS])
    o = put_bytes(out, o, _TRIGGER_NAME, 0, len(_TRIGGER_NAME))
    o = put_bytes(out, o, pool, events[trigger, AT] + ID_AT, events[trigger, ID_END])
    o = put_number(out, put_number(out, o, events[trigger, TS]), offset)
    if s[N_RECENT] > 0:
        o = put_bytes(out, o, _RECENT, 0, len(_RECENT))
        o = _put_remembered(out, o, pool, recent, s[FIRST_RECENT], s[N_RECENT])
    if floor[0, AT] >= 0:
        o = put_bytes(out, o, _FLOOR, 0, len(_FLOOR))
        out[o] = 0x92
        o = put_bytes(out, o + 1, pool, floor[0, AT] + 1, floor[0, ID_END])
    if seen > 0:
        o = _put_seen(out, put_bytes(out, o, _SEEN_NAME, 0, len(_SEEN_NAME)), pool, marks, s, seen)
    return put_bytes(out, o, pool, s[REST], s[REST_END])
