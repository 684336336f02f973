"""A user's window as it is on ``sequences``: its fields, and how bytes become one."""

from __future__ import annotations

import zlib
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streams.contract.records import MAX_TS_MS, VERSION
from streams.errors import RecordError
from streams.settings.record_limits import SEEN_BYTES


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


class WindowState(BaseWindow, gc=False, omit_defaults=True):
    """A user's window, as published on ``sequences``.

    ``recent`` holds ``(ts, event_id)`` of accepted events that have left the window by count but may still be repeated;
    ``floor`` is the greatest key that was forgotten, and nothing at or below it is accepted again. ``seen`` packs one
    little-endian uint32 (``streams.contract.windows.seen_hash``) for each item that left the window.
    """

    recent: list[tuple[int, str]] = []
    floor: tuple[int, str] | None = None
    seen: bytes = b""
    runs: dict[str, int] = {}


class ListWindow(BaseWindow, gc=False, omit_defaults=True):
    """As much of a window as a list is made of: a third of the work of reading a long one whole."""

    seen: bytes = b""


WindowT = TypeVar("WindowT", bound=BaseWindow)


#: So many events nobody has; one more must still fit into what msgpack calls an integer.
MAX_REVISION: Final = 2**62


_window_decoder = msgspec.msgpack.Decoder(WindowState)


_list_window_decoder = msgspec.msgpack.Decoder(ListWindow)


def decode_window(value: bytes) -> WindowState:
    """Return the window in a ``sequences`` value; raise :class:`RecordError` if it is none, or of a newer version (``version``)."""
    return _decoded(_window_decoder, value)


def decode_list_window(value: bytes) -> ListWindow:
    """Return of the window in a ``sequences`` value what a list is made of; raise :class:`RecordError` if it is none."""
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
    """Return what a value that is no window of ours says of its version; its other fields may be anything."""
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
    """Return the 4 bytes by which an item that left the window is remembered (CRC-32, little-endian)."""
    return zlib.crc32(item_id.encode()).to_bytes(SEEN_BYTES, "little")
