"""A user's window as bytes: newer events are appended without decoding the behaviours before them.

A window is a map of msgpack. Most events are newer than all in their user's window. Such an event
leaves the old behaviours as they are, so their bytes are copied::

    items   [ e1 e2 e3 ... e50 ]            recent  [ r1 r2 ... ]
              └► leaves       └─ e51 joins                     └─ e1 joins

:func:`absorb_packed` gives the same bytes and counts as :func:`streams.sequencer.window.absorb`, or
None where it cannot tell without decoding: then the caller takes the plain fold. A property test
holds the two equal.

Three facts make the bytes safe to search. headrace writes the shortest form of every length, so an
id is in a window only where its bytes, with their length in front, are in the value. Every time
that the contract allows is written as ``cf 00 00`` and 6 more bytes. No text in UTF-8 holds
``cf 00``, so a behaviour begins with ``94 cf 00 00`` and a remembered event with ``92 cf 00 00``.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from streams.contract.records import MAX_TS_MS, VERSION, Event
from streams.contract.windows import MAX_REVISION, note_shown, seen_hash
from streams.sequencer.window import mark_run
from streams.settings.record_limits import SEEN_BYTES, WindowBounds

Key = tuple[int, str]
#: Accepted, duplicate and late events, and the new value, None if unchanged.
Packed = tuple[int, int, int, bytes | None]
_EMPTY: Final = msgspec.Raw(b"\x90")
_BEHAVIOUR: Final = b"\x94\xcf\x00\x00"
_REMEMBERED: Final = b"\x92\xcf\x00\x00"
#: Where the first id of an entry begins: behind its marker, the marker of the time, and the time.
_ID_AT: Final = 10
#: A list's marker and length, the two markers of its first entry, and the time of that.
_SHORT_LIST: Final = struct.Struct(">BHQ")
_LONG_LIST: Final = struct.Struct(">BHHQ")
_SHORT_LENGTHS: Final = [bytes((0x90 | n,)) for n in range(16)]


class _Head(msgspec.Struct, gc=False, omit_defaults=True):
    """The fields of a :class:`~streams.contract.windows.WindowState`, its lists as bytes."""

    v: int
    revision: int
    newest_ts: int
    items: msgspec.Raw
    trigger: tuple[str, int, int]
    recent: msgspec.Raw = _EMPTY
    floor: Key | None = None
    seen: bytes = b""
    runs: dict[str, int] = {}
    hidden: bytes = b""
    passed: msgspec.Raw = _EMPTY
    hiding: msgspec.Raw = _EMPTY
    shown: bytes = b""


_decode: Final = msgspec.msgpack.Decoder(_Head).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_NO_TRIGGER: Final = ("", 0, 0)


class _UnclearError(Exception):
    """The bytes alone do not answer: the plain fold must."""


def absorb_packed(value: bytes | None, events: list[tuple[Event, int]], bounds: WindowBounds) -> Packed | None:
    """Append events of one user to the window in ``value``; None where that needs a decoded window.

    The bytes between the first and the last behaviour are copied unread. Damage in them is found
    when an event needs the decoded window.

    Parameters
    ----------
    value : the encoded window so far, or None for a new user
    events : ``(event, offset)`` in order of arrival
    """
    try:
        return _absorb(value, events, bounds)
    except (_UnclearError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError, struct.error):
        return None


def _absorb(had: bytes | None, events: list[tuple[Event, int]], bounds: WindowBounds) -> Packed:
    window = _Window(had, bounds)
    max_events, max_age_ms = bounds.max_events, bounds.max_age_ms
    value, newest_ts, n, joined = had or b"", window.head.newest_ts, window.n, window.joined
    oldest_ts = window.oldest_ts if n else events[0][0].ts
    is_plain = bounds.types.is_plain
    is_simple = is_plain and window.head.floor is None
    ids: set[bytes] = set()
    duplicate = late = 0
    trigger = _NO_TRIGGER
    for event, offset in events:
        ts, event_id = event.ts, event.event_id
        packed_id = _encode(event_id)
        if packed_id in value:
            raise _UnclearError  # it is a repeat, or something else is written the same
        if packed_id in ids:
            duplicate += 1
            continue
        if ts <= newest_ts or event.run is not None or not is_simple:
            window.head.newest_ts = newest_ts
            is_duplicate, is_late, name = window.judge(event, trigger, packed_id)
            duplicate, late = duplicate + is_duplicate, late + is_late
            if is_duplicate or is_late:
                continue
        else:
            name = event.type
        ids.add(packed_id)
        if name is None:
            continue  # the event does not enter the window
        joined.append(_encode((ts, event_id, event.item_id, name)))
        newest_ts, trigger = ts, (event_id, ts, offset)
        n += 1
        while n > max_events or oldest_ts < ts - max_age_ms:
            oldest_ts = window.leave(ts)
            is_simple = is_plain and window.head.floor is None
            n -= 1
    if not ids:
        return 0, duplicate, late, None
    return len(ids), duplicate, late, window.encoded(n, newest_ts, trigger)


class _Window:
    """The state of one :func:`absorb_packed` call.

    ``data`` holds the behaviours that were there, from ``at`` on; ``joined`` the new ones.
    """

    __slots__ = ("at", "bounds", "data", "head", "joined", "n", "oldest_ts", "passed", "recent")

    def __init__(self, value: bytes | None, bounds: WindowBounds) -> None:
        self.bounds = bounds
        self.joined: list[bytes] = []
        self.recent: _Remembered | None = None  # read when the first behaviour leaves
        self.passed: _Remembered | None = None  # read when an event does not enter
        if value is None:
            self.head, self.data, self.n, self.at = _Head(VERSION, 0, -1, _EMPTY, _NO_TRIGGER), b"", 0, 0
            return
        self.head = head = _decode(value)
        if head.v != VERSION or not 0 <= head.revision <= MAX_REVISION or head.newest_ts > MAX_TS_MS:
            raise _UnclearError
        self.data = data = bytes(head.items)
        if data[0] == 0xDC:
            _, self.n, begins, self.oldest_ts = _LONG_LIST.unpack_from(data)
            self.at = 3
        else:
            first, begins, self.oldest_ts = _SHORT_LIST.unpack_from(data)
            self.n, self.at = first - 0x90, 1
        if begins != 0x94CF:
            raise _UnclearError

    def judge(self, event: Event, newest: tuple[str, int, int], packed_id: bytes) -> tuple[bool, bool, str | None]:
        """Return whether an event is a repeat of a replay, whether it is late, and its type there.

        The type is None for one that does not enter the window; it is remembered then.

        Raises
        ------
        _UnclearError
            For an accepted event that is inserted before others, or that hides its item.
        """
        head, key = self.head, (event.ts, event.event_id)
        if event.run is not None and event.seq is not None and event.seq <= head.runs.get(event.run, -1):
            return True, False, None
        is_late = event.ts < head.newest_ts - self.bounds.allowed_lateness_ms
        if is_late or (head.floor is not None and key <= head.floor):
            return False, True, None
        name = self._name(event)
        if name is None:
            self._pass(key, b"\x92" + _encode(event.ts) + packed_id)
            if self.bounds.types.by_name[event.type].shown:
                head.shown = note_shown(head.shown, event.item_id, event.ts)
        elif event.ts <= head.newest_ts:
            last = (newest[1], newest[0]) if self.joined else _last(self.data, _BEHAVIOUR, n_texts=3)
            if not (event.ts, "") < last < key:
                raise _UnclearError
        if event.run is not None and event.seq is not None:
            mark_run(head.runs, event.run, event.seq)
        return False, False, name

    def _name(self, event: Event) -> str | None:
        types = self.bounds.types
        if types.by_name[event.type].hides:
            raise _UnclearError
        return types.window_name(event.type, event.value)

    def _pass(self, key: Key, entry: bytes) -> None:
        """Remember an event that does not enter the window."""
        if not self.data:
            raise _UnclearError  # a new user has no window to keep
        passed = self.passed = self.passed or _Remembered(self.head.passed)
        passed.join(key, entry)
        since = self.head.newest_ts - self.bounds.allowed_lateness_ms
        while passed.n > self.bounds.max_recent or passed.first_ts() < since:
            if passed.n == passed.n_joined:
                raise _UnclearError  # an event of this call is forgotten
            passed.leave()

    def leave(self, newest_ts: int) -> int:
        """Move the oldest behaviour to the remembered events; return the time of the next."""
        head, bounds, data, at = self.head, self.bounds, self.data, self.at
        if at == len(data):
            raise _UnclearError  # an event of this call leaves
        event_id, id_end = _text(data, at + _ID_AT)
        item_id, end = _text(data, id_end)
        self.at = _text(data, end)[1]
        mark = seen_hash(item_id)
        head.seen = (head.seen + mark)[-SEEN_BYTES * bounds.max_seen :] if bounds.max_seen else b""
        recent = self.recent = self.recent or _Remembered(head.recent)
        since = newest_ts - bounds.allowed_lateness_ms
        recent.join((_ts(data, at, _BEHAVIOUR), event_id), b"\x92" + data[at + 1 : id_end])
        while recent.n and (recent.n > bounds.max_recent or recent.first_ts() < since):
            key = recent.leave()
            if key[0] >= since:
                head.floor = key if head.floor is None else max(head.floor, key)
        return _ts(data, self.at, _BEHAVIOUR) if self.at < len(data) else _ts(self.joined[0], 0, _BEHAVIOUR)

    def encoded(self, n: int, newest_ts: int, trigger: tuple[str, int, int]) -> bytes:
        """Return the window with ``n`` behaviours."""
        head = self.head
        head.revision += len(self.joined)
        head.newest_ts = newest_ts
        if self.joined:
            head.trigger = trigger
        head.items = _list(n, self.data, self.at, self.joined)
        if self.recent is not None:
            head.recent = self.recent.encoded()
        if self.passed is not None:
            head.passed = self.passed.encoded()
        return _encode(head)


class _Remembered:
    """The list ``recent`` or ``passed`` of a window as bytes."""

    __slots__ = ("at", "data", "joined", "last", "n", "n_joined")

    def __init__(self, raw: msgspec.Raw) -> None:
        self.data = bytes(raw)
        self.n, self.at = _length(self.data)
        self.last: Key = _last(self.data, _REMEMBERED, n_texts=1) if self.n else (-1, "")
        self.joined: list[bytes] = []
        self.n_joined = 0

    def join(self, key: Key, entry: bytes) -> None:
        """Append an event; raise :class:`_UnclearError` for one that is inserted before others."""
        if key <= self.last:
            raise _UnclearError
        self.last = key
        self.joined.append(entry)
        self.n += 1
        self.n_joined += 1

    def first_ts(self) -> int:
        """Return the time of the oldest event."""
        if self.at == len(self.data):
            self.data, self.at = b"".join(self.joined), 0
            self.joined.clear()
        return _ts(self.data, self.at, _REMEMBERED)

    def leave(self) -> Key:
        """Remove and return the oldest event."""
        ts = self.first_ts()
        event_id, self.at = _text(self.data, self.at + _ID_AT)
        self.n -= 1
        return ts, event_id

    def encoded(self) -> msgspec.Raw:
        """Return the list as msgpack."""
        return _list(self.n, self.data, self.at, self.joined) if self.n else _EMPTY


def _list(n: int, data: bytes, at: int, joined: list[bytes]) -> msgspec.Raw:
    """Return a msgpack list of ``n`` entries: those in ``data`` from ``at`` on, and ``joined``."""
    length = _SHORT_LENGTHS[n] if n < 16 else b"\xdc" + n.to_bytes(2, "big")
    return msgspec.Raw(b"".join((length, data[at:], *joined)))


def _length(data: bytes) -> tuple[int, int]:
    """Return the length of the list in ``data``, and where its first entry begins."""
    first = data[0]
    if first & 0xF0 == 0x90:
        return first & 0x0F, 1
    if first != 0xDC:
        raise _UnclearError
    return int.from_bytes(data[1:3], "big"), 3


def _ts(data: bytes, at: int, begins: bytes) -> int:
    """Return the time of the entry at ``at``."""
    if not data.startswith(begins, at):
        raise _UnclearError
    return int.from_bytes(data[at + 2 : at + _ID_AT], "big")


def _last(data: bytes, begins: bytes, n_texts: int) -> Key:
    """Return the time and id of the last entry, each of which holds ``n_texts`` strings."""
    at = max(data.rfind(begins), 0)
    ts = _ts(data, at, begins)
    event_id, end = _text(data, at + _ID_AT)
    for _ in range(1, n_texts):
        end = _text(data, end)[1]
    if end != len(data):
        raise _UnclearError
    return ts, event_id


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Return the string at ``at``, and where it ends."""
    first = data[at]
    if first & 0xE0 == 0xA0:
        begin, size = at + 1, first & 0x1F
    elif first == 0xD9:
        begin, size = at + 2, data[at + 1]
    elif first == 0xDA:
        begin, size = at + 3, int.from_bytes(data[at + 1 : at + 3], "big")
    else:
        raise _UnclearError
    return data[begin : begin + size].decode(), begin + size
