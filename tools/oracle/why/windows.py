"""The window that made a list: as it lies on ``sequences``, or folded again from ``events``.

::

    sequences   holds the window of that revision ─────────────────────────────► that window
                │ compaction removed it
    events      hold all events since an older window of sequences, or since ──► folded again
                │ the first event; the fold ends at the list's revision
                │ they do not
                └─────────────────────────────────────► the newest window; it is not that of then
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from streams.contract.records import VERSION, EventDecoder, Recommendation
from streams.contract.windows import Trigger, WindowState, decode_window
from streams.errors import RecordError
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tools.oracle.why.published import EVENTS, Published
from tools.oracle.why.topics import Topics

SEQUENCES: Final = "sequences"
#: The clocks of the broker and of a worker may differ by this much.
CLOCK_SLACK_MS: Final = 60_000

#: The trigger of a window without events: a record of ``users`` brought its list.
_NO_EVENT: Final = Trigger("", 0, -1)

Origin = Literal["sequences", "sequences and events", "events", "users", "newest"]


@dataclass(frozen=True)
class FoundWindow:
    """A window, and where it comes from.

    Parameters
    ----------
    state : None where the topics hold no window of the user at all
    origin : ``users`` for a list that a record of ``users`` brought: its window is empty;
        ``newest`` for a later window than that of the list
    """

    state: WindowState | None
    origin: Origin

    @property
    def is_of_then(self) -> bool:
        """Whether it is the window that made the list."""
        return self.state is not None and self.origin != "newest"


async def find_window(topics: Topics, published: Published, decoder: EventDecoder, bounds: WindowBounds) -> FoundWindow:
    """Return the window that made a list, or the user's newest one where that is gone.

    Parameters
    ----------
    decoder : of ``events``
    """
    wanted = published.record
    if not wanted.event_id:
        return FoundWindow(WindowState(VERSION, wanted.revision, wanted.event_ts, [], _NO_EVENT), "users")
    base, is_removed = await _up_to(topics, published)
    if base is not None and _is_of(base, wanted):
        return FoundWindow(base, "sequences")
    if not is_removed:
        folded = await _folded(topics, published, base, decoder, bounds)
        if folded is not None:
            return FoundWindow(folded, "events" if base is None else "sequences and events")
    return FoundWindow(await _newest(topics, published), "newest")


def _is_of(state: WindowState, wanted: Recommendation) -> bool:
    return state.revision == wanted.revision and state.trigger.event_id == wanted.event_id


async def _up_to(topics: Topics, published: Published) -> tuple[WindowState | None, bool]:
    """Return the newest window on ``sequences`` that is not later than a list's.

    The second value says whether a removal of the user comes first: the windows and events before
    it say nothing then.
    """
    wanted = published.record
    key, partition = wanted.user_id.encode(), published.partition
    end = await topics.offset_at(SEQUENCES, partition, wanted.produced_ts + CLOCK_SLACK_MS)
    async for record in topics.of_user(SEQUENCES, partition, key, end):
        if record.value is None:
            return None, True
        state = _window(record.value)
        if state is not None and state.revision <= wanted.revision and state.trigger.offset <= wanted.offset:
            return state, False
    return None, False


async def _folded(
    topics: Topics, published: Published, base: WindowState | None, decoder: EventDecoder, bounds: WindowBounds
) -> WindowState | None:
    """Return the window of a list, folded from events; None where the fold does not end there."""
    wanted = published.record
    first, end = await topics.bounds(EVENTS, published.partition)
    begin = 0 if base is None else base.trigger.offset + 1
    if begin < first or wanted.offset >= end:
        return None
    key, state = wanted.user_id.encode(), base
    async for record in topics.forwards(EVENTS, published.partition, begin, wanted.offset + 1):
        if decoder.keys_are_ids and record.key != key:
            continue
        try:
            event = decoder.decode_event(record.key, record.value, record.timestamp)
        except RecordError:
            continue
        if event.user_id == wanted.user_id:
            state = absorb(state, [(event, record.offset)], bounds).state or state
    return state if state is not None and _is_of(state, wanted) else None


async def _newest(topics: Topics, published: Published) -> WindowState | None:
    async for record in topics.of_user(SEQUENCES, published.partition, published.record.user_id.encode()):
        if record.value is None:
            return None
        state = _window(record.value)
        if state is not None:
            return state
    return None


def _window(value: bytes) -> WindowState | None:
    try:
        return decode_window(value)
    except RecordError:
        return None
