"""Malformed events of many kinds, for drills and tests. A number makes each of them unique."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from streams.contract.kafka_records import OutRecord
from streams.contract.records import MAX_RECORD_BYTES

#: A good event time: the time of a record is wrong only where its kind says so.
TS_MS: Final = 1_700_000_000_000


def _fields(i: int, **changes: Any) -> dict[str, Any]:
    return {"v": 1, "event_id": f"bad{i}", "user_id": "u1", "item_id": f"i{i}", "type": "view", "ts": TS_MS, **changes}


def _record(fields: Any, key: bytes = b"u1") -> OutRecord:
    return OutRecord(key, msgspec.msgpack.encode(fields))


def _without(name: str) -> Callable[[int], OutRecord]:
    return lambda i: _record({key: value for key, value in _fields(i).items() if key != name})


def _with(**changes: Any) -> Callable[[int], OutRecord]:
    return lambda i: _record(_fields(i, **changes))


#: By kind of damage, a function from a number to a record with that damage.
MALFORMED: Final[dict[str, Callable[[int], OutRecord]]] = {
    "not msgpack": lambda i: OutRecord(b"u1", b"\xc1garbage %d" % i),
    "plain text": lambda i: OutRecord(b"u1", b"hello %d" % i),
    "a list": lambda i: _record([1, 2, i]),
    "truncated msgpack": lambda i: OutRecord(b"u1", msgspec.msgpack.encode(_fields(i))[:-3]),
    "truncated JSON": lambda i: OutRecord(b"u1", msgspec.json.encode(_fields(i))[:-3]),
    "null value": lambda i: OutRecord(b"u1", None),
    "empty value": lambda i: OutRecord(b"u1", b""),
    "no event_id": _without("event_id"),
    "no user_id": _without("user_id"),
    "no item_id": _without("item_id"),
    "no type": _without("type"),
    "no ts": _without("ts"),
    "no version": _without("v"),
    "other version": _with(v=9),
    "numeric user_id": _with(user_id=7),
    "textual ts": _with(ts="yesterday"),
    "fractional ts": _with(ts=1.5),
    "negative ts": _with(ts=-1),
    "ts beyond year 9999": _with(ts=2**62),
    "future ts": lambda i: _record(_fields(i, ts=int(time.time() * 1000) + 10**9)),
    "unknown type": _with(type="stare"),
    "empty item_id": _with(item_id=""),
    "long item_id": _with(item_id="x" * 1_000),
    "huge field": _with(session_id="x" * (MAX_RECORD_BYTES + 1)),
    "NaN value": _with(value=float("nan")),
    "infinite value": _with(value=float("inf")),
    "invalid UTF-8": lambda i: OutRecord(
        b"u1", msgspec.msgpack.encode(_fields(i)).replace(b"view", b"\xff\xfe\xff\xfe")
    ),
    "nested bomb": lambda i: OutRecord(b"u1", b'{"v":1,"x":' + b"[" * 20_000),
    "empty key": lambda i: OutRecord(b"", msgspec.msgpack.encode(_fields(i))),
    "another user's key": lambda i: _record(_fields(i), key=b"u2"),
}
