"""Reads the events of a record batch, without an object for each field.

An event in the form that msgspec and other libraries write, with nothing but the contract's own
fields, becomes a *behaviour*: the bytes that it takes in a window. Every other record is left to
:class:`~streams.contract.records.EventDecoder`, which decides whether it is an event.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from streams.contract.records import MAX_RECORD_BYTES, MAX_TS_MS, MIN_EVENT_TS_MS
from streams.sequencer.compiled.memory import byte_at, word_at
from streams.sequencer.compiled.msgpack import big, n_characters, put_big, put_text, text_at
from streams.settings.record_limits import MAX_ID_LENGTH

#: Columns of what is found of a record: where its behaviour begins, or -1; where the id in it ends;
#: where it ends; its time.
AT, ID_END, END, TS = range(4)
#: Where the id of a behaviour begins: behind its marker, the marker of the time, and the time.
ID_AT: Final = 10

_FIELDS: Final = (b"v", b"event_id", b"user_id", b"item_id", b"type", b"ts", b"session_id", b"value")
_NAMES: Final = np.frombuffer(b"".join(_FIELDS), np.uint8)
_NAME_ENDS: Final = np.cumsum([0, *map(len, _FIELDS)])
_N_FIELDS: Final = len(_FIELDS)
_V, _EVENT_ID, _USER_ID, _ITEM_ID, _TYPE, _TS_FIELD, _SESSION_ID, _VALUE = range(len(_FIELDS))
_REQUIRED: Final = (1 << _SESSION_ID) - 1


@compiled
def is_same(data: Any, begin: int, end: int, other: Any, at: int, other_end: int) -> Any:
    """Return whether two ranges hold the same bytes; of two ids the last bytes mostly differ."""
    size = end - begin
    if other_end - at != size:
        return False
    while size >= 8:
        size -= 8
        if word_at(data, begin + size) != word_at(other, at + size):
            return False
    while size > 0:
        size -= 1
        if byte_at(data, begin + size) != byte_at(other, at + size):
            return False
    return True


@compiled
def _field(data: Any, begin: int, end: int, guess: int) -> Any:
    """Return the number of the field with this name; -1 for none. ``guess`` is tried first."""
    for i in range(_N_FIELDS):
        field = (guess + i) % _N_FIELDS
        if is_same(data, begin, end, _NAMES, _NAME_ENDS[field], _NAME_ENDS[field + 1]):
            return field
    return -1


@compiled
def _scalar_end(data: Any, at: int, end: int, field: int) -> Any:
    """Return where the value of ``v``, ``ts`` or ``value`` ends; -1 for one that is unusual."""
    if at >= end:
        return -1
    first = byte_at(data, at)
    if field == _V:
        return at + 1 if first == 1 else -1
    if at + 9 > end:
        return -1
    if field == _VALUE:  # a float below 2**39, so within the contract's limits
        return at + 9 if first == 0xCB and (big(data, at + 1, 2) & 0x7FFF) >> 4 < 1023 + 39 else -1
    return at + 9 if first == 0xCF or first == 0xD3 else -1


@compiled
def _read_event(data: Any, begin: int, end: int, places: Any) -> Any:
    """Note where the values of an event are, (n, 2); return False for an unusual record."""
    if not 1 <= end - begin <= MAX_RECORD_BYTES or byte_at(data, begin) & 0xF0 != 0x80:
        return False
    had, field, at = 0, -1, begin + 1
    for _ in range(byte_at(data, begin) & 0x0F):
        name, name_end = text_at(data, at, end)
        if name_end < 0:
            return False
        field = _field(data, name, name_end, field + 1)
        if field < 0 or had >> field & 1:
            return False
        had |= 1 << field
        at = name_end
        if at < end and byte_at(data, at) == 0xC0 and (field == _SESSION_ID or field == _VALUE):
            at += 1  # no value
            continue
        if field == _V or field == _TS_FIELD or field == _VALUE:
            value, value_end = at + 1, _scalar_end(data, at, end, field)
        else:
            value, value_end = text_at(data, at, end)
            if value_end >= 0 and field != _TYPE:
                size = n_characters(data, value, value_end)
                if not 1 <= size <= MAX_ID_LENGTH:
                    return False
        if value_end < 0:
            return False
        places[field, 0], places[field, 1] = value, value_end
        at = value_end
    return at == end and had & _REQUIRED == _REQUIRED


@compiled
def _row_of(data: Any, begin: int, end: int, types: Any, type_ends: Any) -> Any:
    for row in range(len(type_ends) - 1):
        if is_same(data, begin, end, types, type_ends[row], type_ends[row + 1]):
            return row
    return -1


@compiled
def read_events(
    data: Any, ends: Any, keys: Any, key_ends: Any, types: Any, type_ends: Any, latest_ts: int, packed: Any, found: Any
) -> Any:
    """Write the behaviour of each event to ``packed``, and where it is to ``found``.

    Parameters
    ----------
    data, ends : values of the records, joined, uint8; where each begins and ends, (n + 1,)
    keys, key_ends : their keys likewise
    types, type_ends : names of the types whose events enter the window under their own name
    latest_ts : the latest time that an event may have, in ms
    packed : room for behaviours, uint8, as long as ``data``
    found : (n, 4) int64, written; the columns are :data:`AT` and its neighbours
    """
    places = np.zeros((_N_FIELDS, 2), np.int64)
    latest = min(latest_ts, MAX_TS_MS)
    o = 0
    for i in range(len(found)):
        found[i, AT] = -1
        if not _read_event(data, ends[i], ends[i + 1], places):
            continue
        user, user_end = places[_USER_ID]
        ts = word_at(data, places[_TS_FIELD, 0])
        if not MIN_EVENT_TS_MS <= ts <= latest or not is_same(data, user, user_end, keys, key_ends[i], key_ends[i + 1]):
            continue
        kind, kind_end = places[_TYPE]
        if _row_of(data, kind, kind_end, types, type_ends) < 0:
            continue
        found[i, AT], found[i, TS] = o, ts
        packed[o] = 0x94
        packed[o + 1] = 0xCF
        o = put_big(packed, o + 2, ts, 8)
        o = found[i, ID_END] = put_text(packed, o, data, places[_EVENT_ID, 0], places[_EVENT_ID, 1])
        o = put_text(packed, o, data, places[_ITEM_ID, 0], places[_ITEM_ID, 1])
        o = found[i, END] = put_text(packed, o, data, kind, kind_end)
    return o
