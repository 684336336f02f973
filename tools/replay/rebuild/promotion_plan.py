"""Works out what a promotion writes: pure functions over windows and vectors of the run and live.

::

    user in        live window afterwards     revision
    both, equal    as it is
    both, unlike   the run's                  the run's, at least live + 1
    run only       the run's                  the run's
    live only      one without events         live + 1

Consumers take a list only if its revision is above the last one that they took, so no revision may
go down. For the same reason a user whom the run does not have gets an empty window and not a
tombstone: after a tombstone the next event would begin at revision 1, and consumers would drop that
user's lists until the old revision is passed. A run that has all live events and more keeps its own
revisions, so that they still count the accepted events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from streams.contract.marks import Marks, former_keys
from streams.contract.records import RecordDecoder, UserVector, encode
from streams.contract.windows import WindowState, decode_window

#: Offset of a trigger that is not on the live ``events``: it came from a log.
NOT_ON_EVENTS: Final = -1
GONE: Final = "the run does not reach back to the first event: what live windows hold from before is lost for good"

_decoder = RecordDecoder(UserVector)


@dataclass(frozen=True)
class Promotion:
    """The records to write onto the live topics, and where the live sequencer goes on.

    Parameters
    ----------
    windows, vectors : user key to the value to write
    homes : user key to its partition
    begins, positions : partition to the first offset on ``events`` that the run was made of, and to
        the end of the copy
    n_beyond : number of live events behind that end
    n_losing : number of users whose live window holds events that the new one lacks
    is_history_gone : whether live events older than the run's are deleted, or outside its range
    """

    windows: dict[bytes, bytes]
    vectors: dict[bytes, bytes | None]
    homes: dict[bytes, int]
    begins: dict[int, int]
    positions: dict[int, int]
    n_beyond: int
    n_losing: int
    is_history_gone: bool

    @property
    def n_emptied(self) -> int:
        """Return how many users lose all events because the run does not have these users."""
        return sum(not decode_window(value).items for value in self.windows.values())

    def as_text(self) -> str:
        """Return what the promotion writes, and what is lost by it, as text."""
        parts = [
            f"{len(self.windows)} windows ({self.n_emptied} of them of users whom the run does not have: emptied), "
            f"{len(self.vectors)} vectors",
            f"{self.n_losing} users have events in their live window that the run lacks",
            f"the live sequencer reads {self.n_beyond} events that come after the run's",
        ]
        if self.is_history_gone:
            parts.append(GONE)
        return "; ".join(parts)


def has_same_events(one: WindowState, other: WindowState) -> bool:
    """Return whether two windows differ at most in revision and in their trigger's offset."""
    return encode(_without_coordinates(one)) == encode(_without_coordinates(other))


def _without_coordinates(state: WindowState) -> WindowState:
    return msgspec.structs.replace(state, revision=0, trigger=state.trigger._replace(offset=0))


def promoted_windows(
    run: Mapping[bytes, bytes],
    live: Mapping[bytes, bytes],
    offset_of: Callable[[bytes, WindowState], int],
    *,
    renewed: frozenset[bytes] = frozenset(),
) -> dict[bytes, bytes]:
    """Return the windows to write onto the live ``sequences``, by user key. Repeat-safe.

    Parameters
    ----------
    run, live : user key to the newest encoded window
    offset_of : returns the offset of a run window's trigger on the live ``events``
    renewed : users whose window is written again although it is equal, so that a new list is made
    """
    written: dict[bytes, bytes] = {}
    for key, value in run.items():
        state = decode_window(value)
        before = decode_window(live[key]) if key in live else None
        if before is not None:
            if key not in renewed and has_same_events(state, before):
                continue
            state.revision = max(state.revision, before.revision + 1)
        state.trigger = state.trigger._replace(offset=offset_of(key, state))
        written[key] = encode(state)
    for key in live.keys() - run.keys():
        state = decode_window(live[key])
        if state.items or state.hidden:
            written[key] = encode(WindowState(state.v, state.revision + 1, 0, [], state.trigger))
    return written


def without_forgotten(
    run: Mapping[bytes, bytes], live: Mapping[bytes, bytes], marks: Marks
) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Return both sides without what belongs to former lives of forgotten users.

    A user who was forgotten after the run was made has a former window there: the promotion leaves
    the user's live window as it is.

    Parameters
    ----------
    run, live : user key to encoded window or vector
    """
    gone = former_keys(run, marks)
    kept_live = {key: value for key, value in live.items() if key not in gone | former_keys(live, marks)}
    return {key: value for key, value in run.items() if key not in gone}, kept_live


def n_losing(written: Mapping[bytes, bytes | None], live: Mapping[bytes, bytes]) -> int:
    """Return how many users have events in their live window that the new window lacks.

    If the new window has dropped old events, events older than its oldest one do not count: it
    would have dropped them as well.

    Parameters
    ----------
    written, live : user key to encoded window; a window that is not written stays
    """
    return sum(_is_losing(value, live[key]) for key, value in written.items() if key in live)


def _is_losing(written: bytes | None, live: bytes) -> bool:
    before = decode_window(live).items
    if written is None:
        return bool(before)
    after = decode_window(written)
    ids = {item.event_id for item in after.items}
    has_let_go = bool(after.seen or after.recent or after.floor)
    oldest = after.items[0] if after.items and has_let_go else None
    return any(item.event_id not in ids and (oldest is None or item > oldest) for item in before)


def resume_offsets(
    committed: Mapping[int, int], begins: Mapping[int, int], copied: Mapping[int, int]
) -> dict[int, int]:
    """Return where the live sequencer goes on, by partition: never beyond what it has read.

    The windows hold the events up to the end of the copy, so these events are repeats and change no
    window. The sequencer reads them because of the malformed ones among them: they are on the run's
    ``events.rejected`` and would otherwise be missing on the live one.

    Parameters
    ----------
    committed : partition to the offset up to which the live sequencer has read; without partitions
        that it never read
    begins, copied : partition to the first offset that the run was made of, and to the end of the
        copy
    """
    return {p: min(max(committed.get(p, 0), begins.get(p, 0)), end) for p, end in copied.items()}


def renewed_users(run: Mapping[bytes, bytes], live: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """Return the users whose vectors another artifact made in the run: they need new lists.

    Parameters
    ----------
    run, live : user key to encoded vectors
    """
    return frozenset(
        key
        for key, value in run.items()
        if key in live and _decoder.decode(value).artifact != _decoder.decode(live[key]).artifact
    )


def promoted_vectors(
    run: Mapping[bytes, bytes], live: Mapping[bytes, bytes], windows: Mapping[bytes, bytes]
) -> dict[bytes, bytes | None]:
    """Return the values to write onto the live ``user-vectors``.

    These are the run's vectors, and tombstones for users whom the run does not have. A vector's
    revision says that the list of that revision is delivered. So it stays one below the revision of
    a window that still needs its list.

    Parameters
    ----------
    run, live : user key to encoded vectors
    windows : the live windows after the promotion
    """
    written: dict[bytes, bytes | None] = {}
    for key, value in run.items():
        if key not in windows:
            continue
        revision = decode_window(windows[key]).revision
        before = live.get(key)
        if before is not None and _decoder.decode(before).revision >= revision:
            continue
        after = encode(msgspec.structs.replace(_decoder.decode(value), revision=revision - 1))
        if after != before:
            written[key] = after
    for key in live.keys() - run.keys():
        if key in windows and not decode_window(windows[key]).items and _is_old(live[key], windows[key]):
            written[key] = None
    return written


def _is_old(vector: bytes, window: bytes) -> bool:
    return _decoder.decode(vector).revision < decode_window(window).revision
