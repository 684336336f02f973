"""A user's window as it is on ``sequences``: its fields, and how bytes become one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from models.rules.repeats import NO_REPEATS, Repeats
from streams.contract.records import MAX_TS_MS, VERSION
from streams.errors import RecordError
from streams.settings.record_limits import MAX_SHOWN, SEEN_BYTES, SHOWN_BYTES


class WindowItem(NamedTuple):
    """One behaviour in a window. Windows are ordered by ``(ts, event_id)``."""

    ts: int
    event_id: str
    item_id: str
    type: str


class Trigger(NamedTuple):
    """The event that caused a revision, and its offset on ``events`` (same partition)."""

    event_id: str
    ts: int
    offset: int


class BaseWindow(msgspec.Struct, gc=False, omit_defaults=True):
    """A user's last behaviours, oldest first, and what made them."""

    v: int
    revision: int
    newest_ts: int
    items: list[WindowItem]
    trigger: Trigger

    @property
    def reach_ms(self) -> int:
        """From the oldest behaviour to the newest; what left the window is at least as old."""
        return self.items[-1].ts - self.items[0].ts if self.items else 0

    def had(self, repeats: Repeats = NO_REPEATS) -> bytes:
        """Return the marks of the items beyond the window that no list may hold.

        Parameters
        ----------
        repeats : which items may come back
        """
        return b""

    def was_shown(self) -> bytes:
        """Return what was shown to the user, as :func:`note_shown` packs it."""
        return b""


class WindowState(BaseWindow, gc=False, omit_defaults=True):
    """A user's window, as published on ``sequences``.

    ``recent`` holds ``(ts, event_id)`` of accepted events that have left the full window but may
    still be repeated. ``floor`` is the greatest such key that was forgotten; no event at or below
    it is accepted. ``seen`` packs one little-endian uint32 (:func:`seen_hash`) for each item that
    left the window. ``hidden`` packs one for each item that the user asked not to see. ``passed``
    holds ``(ts, event_id)`` of accepted events whose type does not enter the window, and ``hiding``
    those of them that hid their item. ``shown`` packs the items that were shown to the user, see
    :func:`note_shown`; it is absent without a type of events that says so.
    """

    recent: list[tuple[int, str]] = []
    floor: tuple[int, str] | None = None
    seen: bytes = b""
    runs: dict[str, int] = {}
    hidden: bytes = b""
    passed: list[tuple[int, str]] = []
    hiding: list[tuple[int, str]] = []
    shown: bytes = b""

    def had(self, repeats: Repeats = NO_REPEATS) -> bytes:
        """Return the marks of the items beyond the window that no list may hold."""
        return self.seen + self.hidden if repeats.hides_beyond(self.reach_ms) else self.hidden

    def was_shown(self) -> bytes:
        """Return what was shown to the user, as :func:`note_shown` packs it."""
        return self.shown


class ListWindow(BaseWindow, gc=False, omit_defaults=True):
    """The part of a window that a list needs: decoding it takes a third of the time."""

    seen: bytes = b""
    hidden: bytes = b""
    shown: bytes = b""

    def had(self, repeats: Repeats = NO_REPEATS) -> bytes:
        """Return the marks of the items beyond the window that no list may hold."""
        return self.seen + self.hidden if repeats.hides_beyond(self.reach_ms) else self.hidden

    def was_shown(self) -> bytes:
        """Return what was shown to the user, as :func:`note_shown` packs it."""
        return self.shown


WindowT = TypeVar("WindowT", bound=BaseWindow)


#: No user has so many events; one more must still fit into an integer of msgpack.
MAX_REVISION: Final = 2**62


_window_decoder = msgspec.msgpack.Decoder(WindowState)


_list_window_decoder = msgspec.msgpack.Decoder(ListWindow)


def decode_window(value: bytes) -> WindowState:
    """Return the window in a value of ``sequences``.

    Raises
    ------
    RecordError
        When the value is not a window; with reason ``version`` when a newer headrace wrote it.
    """
    return _decoded(_window_decoder, value)


def decode_list_window(value: bytes) -> ListWindow:
    """Return the part of a window that a list needs; raise as :func:`decode_window` does."""
    return _decoded(_list_window_decoder, value)


def _decoded(decoder: msgspec.msgpack.Decoder[WindowT], value: bytes) -> WindowT:
    try:
        window = decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        _refuse_newer(_version_of(value))
        raise RecordError("malformed", "", str(exc)) from exc
    _refuse_newer(window.v)
    if window.v < VERSION or not 0 <= window.revision <= MAX_REVISION or window.newest_ts > MAX_TS_MS:
        raise RecordError("malformed", "", f"v={window.v}, revision={window.revision}, newest_ts={window.newest_ts}")
    return window


def _version_of(value: bytes) -> Any:
    """Return the version field of a value that is not a known window; None without one."""
    try:
        found = msgspec.msgpack.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
        return None
    return found.get("v") if isinstance(found, dict) else None


def _refuse_newer(version: Any) -> None:
    if isinstance(version, int) and version > VERSION:
        raise RecordError(
            "version",
            "v",
            f"the user's window is of version {version}, this worker reads {VERSION}; upgrade all workers",
        )


def seen_hash(item_id: str) -> bytes:
    """Return the 4 bytes that stand for an item that left the window (CRC-32, little-endian)."""
    return zlib.crc32(item_id.encode()).to_bytes(SEEN_BYTES, "little")


def is_marked(marks: bytes, item_id: str) -> bool:
    """Whether packed hashes, as in ``seen`` and ``hidden``, have that of an item."""
    mark = seen_hash(item_id)
    return any(marks[at : at + SEEN_BYTES] == mark for at in range(0, len(marks), SEEN_BYTES))


#: An item that was shown: its hash as in ``seen``, when it was shown last, and how often.
_SHOWN: Final = struct.Struct("<IqH")
_MAX_TIMES: Final = 65_535


def shown_entries(shown: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the hash of each item that was shown, the time of its last showing, and how often.

    The time is in ms since 1970, UTC.
    """
    yield from _SHOWN.iter_unpack(shown[: len(shown) // SHOWN_BYTES * SHOWN_BYTES])


def note_shown(shown: bytes, item_id: str, ts: int) -> bytes:
    """Return what was shown to a user, with one more showing.

    Entries have 14 bytes, little-endian: the item's CRC-32, the time in ms of its last showing, and
    how often it was shown. They are in the order of time, then of hash; of more than 200 the oldest
    is forgotten.
    """
    mark = zlib.crc32(item_id.encode())
    entries = {one: (last, times) for one, last, times in shown_entries(shown)}
    last, times = entries.get(mark, (ts, 0))
    entries[mark] = max(last, ts), min(times + 1, _MAX_TIMES)
    kept = sorted((last, one, times) for one, (last, times) in entries.items())[-MAX_SHOWN:]
    return b"".join(_SHOWN.pack(one, last, times) for last, one, times in kept)
