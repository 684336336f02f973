"""The marks of forgotten users: which events, windows and lists belong to a life that is over.

A request to be forgotten ends a *life* of its user. A mark keeps the time of the request. Two
comparisons with it decide everything, wherever and whenever a worker makes them::

    event   ts       <= mark   former life: it is counted ``forgotten``, its bytes go nowhere
    window  revision <= mark   former life: it is removed, and no list is made of it

The second comparison works because the revisions of the next life begin at ``mark + 1``, and a mark
is a time in milliseconds: no user has had so many events. So revisions still rise, and consumers
take the lists of a user who comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from streams.contract.records import VERSION
from streams.contract.windows import Trigger, WindowItem, WindowState, decode_window
from streams.errors import RecordError

#: User key to the time of the user's last request, in milliseconds since 1970.
Marks = Mapping[bytes, int]
NO_MARKS: Final[Marks] = {}
#: The offset of a trigger that is not known.
UNKNOWN_OFFSET: Final = -1


class _Revision(msgspec.Struct):
    """The only field of a window or a vector that tells its life, in every version."""

    revision: int


_revision_decoder = msgspec.msgpack.Decoder(_Revision)


def revision_in(value: bytes) -> int:
    """Return the revision of an encoded window or vector; 0 for bytes that have none."""
    try:
        return max(0, _revision_decoder.decode(value).revision)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def is_former(value: bytes | None, mark: int | None) -> bool:
    """Return whether an encoded window or vector belongs to a life that is over."""
    return value is not None and mark is not None and revision_in(value) <= mark


def former_keys(values: Mapping[bytes, bytes], marks: Marks) -> set[bytes]:
    """Return the users whose window or vector belongs to a life that is over."""
    return {key for key in marks.keys() & values.keys() if is_former(values[key], marks[key])}


def new_life(mark: int) -> WindowState:
    """Return the state before the first event of the life after a request; it is never written."""
    return WindowState(VERSION, mark + 1, -1, [], Trigger("", 0, UNKNOWN_OFFSET))


def later_part(value: bytes, mark: int) -> WindowState | None:
    """Return the window of the events after a request; None where there are none.

    A sequencer may have read such events before it read the request. What cannot be told apart by
    time (marks of items that have left the window, or that the user hid, and positions of replays)
    belongs to the former life.

    Parameters
    ----------
    value : the encoded window of the former life; bytes that are no window have no later part
    """
    try:
        state = decode_window(value)
    except RecordError:
        return None
    items = [item for item in state.items if item.ts > mark]
    recent, passed, hiding = (
        [entry for entry in entries if entry[0] > mark] for entries in (state.recent, state.passed, state.hiding)
    )
    if not items:
        return None
    return WindowState(
        VERSION,
        mark + 1 + len(items) + len(recent),
        state.newest_ts,
        items,
        state.trigger if state.trigger.ts > mark else _trigger_of(items[-1]),
        recent=recent,
        floor=state.floor if state.floor is not None and state.floor[0] > mark else None,
        passed=passed,
        hiding=hiding,
    )


def _trigger_of(item: WindowItem) -> Trigger:
    return Trigger(item.event_id, item.ts, UNKNOWN_OFFSET)
