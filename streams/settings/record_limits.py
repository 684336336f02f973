"""The largest record that headrace itself may write, and the largest that a window can become.

Ids are the producers' choice, so each bound assumes the longest ids that the contract allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.base.event_types import DEFAULT_TYPES, EventTypes
from streams.errors import SettingsError
from streams.settings.check import PREFIX

MAX_ID_LENGTH: Final = 128
MAX_RUNS: Final = 4  # replays remembered for each user, each with its name and one integer
SEEN_BYTES: Final = 4
#: Items that are remembered as shown to a user, and the bytes of each: a hash, a time and a number.
MAX_SHOWN: Final = 200
SHOWN_BYTES: Final = 14
#: Most bytes of a record's key, value and headers. Kafka's default limit for a batch is 1,048,588.
MAX_WRITTEN_BYTES: Final = 900_000
#: An id of 128 characters, each of 4 bytes in UTF-8, with its length in msgpack.
ID_BYTES: Final = MAX_ID_LENGTH * 4 + 3
#: An integer in msgpack.
INT_BYTES: Final = 9
#: A behaviour is (ts, event_id, item_id, type); a remembered event is (ts, event_id). A type's name
#: of the default table takes no more than an integer.
BEHAVIOUR_BYTES: Final = 2 * ID_BYTES + 2 * INT_BYTES + 1
REMEMBERED_BYTES: Final = ID_BYTES + INT_BYTES + 1
#: What every window has: the key, the trigger, the floor, the runs (each a name of 64 characters
#: and a number), field names and lengths.
WINDOW_FIXED_BYTES: Final = 3 * ID_BYTES + 6 * INT_BYTES + MAX_RUNS * (64 * 4 + 3 + INT_BYTES) + 128


def window_bytes(bounds: WindowBounds) -> int:
    """Return the most bytes that the key and the value of a window with these bounds can have."""
    return sum(count * size for count, size in _parts(bounds)) + WINDOW_FIXED_BYTES


def _parts(bounds: WindowBounds) -> list[tuple[int, int]]:
    """Return the parts of a window, each as a count and the bytes of one."""
    names = max(len(name.encode()) for name in bounds.types.window_types.names) + 2
    types = [one for _, one in bounds.types.table]
    passing = {one.hides for one in types if not one.window}  # those that hide have a memory apart
    n_memories = 1 + len(passing)
    return [
        (bounds.max_events, BEHAVIOUR_BYTES + max(0, names - INT_BYTES - 1)),
        (bounds.max_recent * n_memories, REMEMBERED_BYTES),
        (bounds.max_seen * (1 + any(one.hides for one in types)), SEEN_BYTES),
        (MAX_SHOWN * any(one.shown for one in types), SHOWN_BYTES),
    ]


def check_window_fits(bounds: WindowBounds) -> None:
    """Raise :class:`SettingsError`, with the arithmetic, where a window could outgrow a record."""
    size = window_bytes(bounds)
    if size <= MAX_WRITTEN_BYTES:
        return
    name = f"{PREFIX}WINDOW_MAX_"
    arithmetic = " + ".join(f"{count} x {part}" for count, part in _parts(bounds))
    raise SettingsError(
        f"window_max_events={bounds.max_events}, window_max_recent={bounds.max_recent}, window_max_seen={bounds.max_seen}: a window "
        f"with ids of {MAX_ID_LENGTH} characters could have {arithmetic} + {WINDOW_FIXED_BYTES} = {size} bytes, "
        f"a record may have {MAX_WRITTEN_BYTES}; lower {name}EVENTS, {name}RECENT or {name}SEEN"
    )


@dataclass(frozen=True)
class WindowBounds:
    """How far a window reaches back.

    Parameters
    ----------
    max_events : most behaviours in a window
    max_age_ms : greatest age of a behaviour, counted back from the user's newest event
    allowed_lateness_ms : an event older than the user's newest by more than this is late
    max_recent : accepted events that are remembered beyond the window, to recognise repeats
    max_seen : items that are remembered beyond the window, as already seen
    types : which events enter the window, and under which name
    """

    max_events: int = 50
    max_age_ms: int = 30 * 86_400_000
    allowed_lateness_ms: int = 86_400_000
    max_recent: int = 100
    max_seen: int = 500
    types: EventTypes = DEFAULT_TYPES
