"""What a promotion writes: pure functions from the windows and vectors of a run and of the live topics to records.

::

    user in        live window afterwards                                   revision
    both, equal    as it is
    both, unlike   the run's                                                max(live, run) + 1
    run only       the run's                                                the run's
    live only      one without events                                       live + 1

Consumers take a list only when its revision is above the last one that they took, so no revision may go down. For the same reason a user
whom the run does not have gets an empty window and not a tombstone: after a tombstone the next event would begin at revision 1,
and consumers would drop that user's lists until the old revision is passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from streams.records import RecordDecoder, UserVector, WindowState, decode_window, encode

#: Offset of a trigger that is not on the live ``events``: it came from a log.
NOT_ON_EVENTS: Final = -1

_decoder = RecordDecoder(UserVector)


def has_same_events(one: WindowState, other: WindowState) -> bool:
    """Tell whether two windows differ at most in revision and in the offset of their trigger."""
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
    """Return the windows to write onto the live ``sequences``, by user key; none where all is as it must be. Repeat-safe.

    Parameters
    ----------
    run, live : user key to the newest encoded window
    offset_of : gives the offset of a run window's trigger on the live ``events``
    renewed : users whose window is written anew although it is equal, so that a new list comes out
    """
    written: dict[bytes, bytes] = {}
    for key, value in run.items():
        state = decode_window(value)
        before = decode_window(live[key]) if key in live else None
        if before is not None:
            if key not in renewed and has_same_events(state, before):
                continue
            state.revision = max(state.revision, before.revision) + 1
        state.trigger = state.trigger._replace(offset=offset_of(key, state))
        written[key] = encode(state)
    for key in live.keys() - run.keys():
        state = decode_window(live[key])
        if state.items:
            written[key] = encode(WindowState(state.v, state.revision + 1, 0, [], state.trigger))
    return written


def n_losing(written: Mapping[bytes, bytes | None], live: Mapping[bytes, bytes]) -> int:
    """Return how many users have events in their live window that the one to be written does not hold.

    Parameters
    ----------
    written, live : user key to encoded window; what is not written stays
    """
    return sum(not _event_ids(live[key]) <= _event_ids(value) for key, value in written.items() if key in live)


def _event_ids(window: bytes | None) -> set[str]:
    return set() if window is None else {item.event_id for item in decode_window(window).items}


def renewed_users(run: Mapping[bytes, bytes], live: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """Return the users whose vectors were made by another artifact in the run: their lists are to be made anew.

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
    """Return what to write onto the live ``user-vectors``: the run's vectors, tombstones for users whom it does not have.

    A vector's revision says that the list of that revision is delivered, so it stays one below that of a window that still needs one.

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
