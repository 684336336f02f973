"""Folds the common part of a record batch by compiled loops, and leaves the rest.

::

    records ─► read_events ─┬─ usual events ─► fold_events ─► windows, counts
                            └─ unusual records ─┐   └─ unusual windows ─┐
                               all records of those users are left ◄────┘
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, compress
from typing import Any, Final, NamedTuple

import numpy as np

from models.base.event_types import EventTypes
from models.base.vocabulary import EVENT_TYPES
from streams.contract.kafka_records import ConsumedRecord, Headers
from streams.contract.records import MIN_EVENT_TS_MS, VERSION, Event, EventDecoder, encode
from streams.sequencer.compiled.events import AT, read_events
from streams.sequencer.compiled.windows import FIXED_BYTES, LEFT, NEW, fold_events
from streams.settings.record_limits import WindowBounds

_INT64: Final = np.int64


class Folded(NamedTuple):
    """The result of the common part of a batch.

    Parameters
    ----------
    windows : new windows by user key
    accepted, duplicate, late : counts of the events of users who are not left
    left : the records of users who are left, in order of their offsets
    """

    windows: dict[bytes, bytes]
    accepted: int
    duplicate: int
    late: int
    left: Sequence[ConsumedRecord]


def fold_batch(
    records: Sequence[ConsumedRecord],
    read_window: Callable[[bytes], bytes | None],
    decoder: EventDecoder,
    bounds: WindowBounds,
    now_ms: int,
    leave: Callable[[Sequence[bytes]], Collection[int]],
) -> Folded:
    """Fold the events of a batch into their users' windows, as far as the compiled loops know how.

    Parameters
    ----------
    records, read_window, decoder, bounds, now_ms : as for
        :func:`streams.sequencer.absorb_batch.absorb_batch`
    leave : given the users' keys, returns the places of those to leave
    """
    values = [record.value or b"" for record in records]
    keys = [record.key or b"" for record in records]
    users = list(dict.fromkeys(keys))
    place_of = dict(zip(users, range(len(users)), strict=True))
    user_of = np.fromiter(map(place_of.__getitem__, keys), _INT64, len(keys))
    packed, found = _read(values, keys, decoder, bounds, now_ms)
    is_left = np.zeros(len(users), np.bool_)
    is_left[user_of[found[:, AT] < 0]] = True
    is_left[list(leave(users))] = True
    taken = np.flatnonzero(~is_left)
    taken_users = list(compress(users, (~is_left).tolist()))
    order = np.argsort(user_of, kind="stable")
    order = order[~is_left[user_of[order]]]
    counts, folded, out = _fold(
        packed, list(map(read_window, taken_users)), found[order],
        np.bincount(user_of[order], minlength=len(users))[taken],
        np.fromiter([record.offset for record in records], _INT64, len(records))[order], bounds,
    )  # fmt: skip
    new = folded[:, 0] == NEW
    ends = folded[new, 1].tolist()
    windows = dict(zip(compress(taken_users, new.tolist()), _cut(out, ends), strict=True))
    is_left[taken[folded[:, 0] == LEFT]] = True
    left = [records[i] for i in np.flatnonzero(is_left[user_of]).tolist()] if is_left.any() else []
    accepted, duplicate, late = counts.tolist()
    return Folded(windows, accepted, duplicate, late, left)


def _cut(whole: bytes, ends: list[int]) -> Iterator[bytes]:
    begin = 0
    for end in ends:
        yield whole[begin:end]
        begin = end


def _ends(parts: Sequence[bytes]) -> Any:
    """Return where each part begins and ends when all are joined."""
    return np.fromiter(accumulate(map(len, parts), initial=0), _INT64, len(parts) + 1)


@lru_cache(8)
def _names(known: EventTypes, types: EventTypes) -> tuple[Any, Any]:
    """Return the types whose events enter the window under their own name, joined."""
    by_name = types.by_name
    plain = [
        name.encode()
        for name in known.names
        if (one := by_name.get(name)) is not None and one.window and not one.hides and not one.positive_when
    ]
    return np.frombuffer(b"".join(plain), np.uint8), _ends(plain)


def _read(
    values: list[bytes], keys: list[bytes], decoder: EventDecoder, bounds: WindowBounds, now_ms: int
) -> tuple[Any, Any]:
    data = np.frombuffer(b"".join(values), np.uint8)
    packed, found = np.empty(len(data), np.uint8), np.empty((len(values), 4), _INT64)
    names, name_ends = _names(decoder.types, bounds.types)
    size = read_events(
        data, _ends(values), np.frombuffer(b"".join(keys), np.uint8), _ends(keys),
        names, name_ends, now_ms + decoder.max_future_skew_ms, packed, found,
    )  # fmt: skip
    return packed[:size], found


def _fold(
    packed: Any, had: list[bytes | None], events: Any, n_events: Any, offsets: Any, bounds: WindowBounds
) -> tuple[Any, Any, bytes]:
    pool = np.frombuffer(b"".join((packed, *(value for value in had if value is not None))), np.uint8)
    sizes = np.fromiter([-1 if value is None else len(value) for value in had], _INT64, len(had))
    ends = len(packed) + np.cumsum(np.maximum(sizes, 0))
    windows = np.stack((np.where(sizes < 0, -1, ends - sizes), ends), axis=1)
    limits = np.array(
        (bounds.max_events, bounds.max_age_ms, bounds.allowed_lateness_ms, bounds.max_recent, bounds.max_seen), _INT64
    )
    size = len(pool) + len(packed) + FIXED_BYTES * len(had)
    out, folded, counts = np.empty(size, np.uint8), np.empty((len(had), 2), _INT64), np.zeros(3, _INT64)
    user_ends = np.concatenate((np.zeros(1, _INT64), np.cumsum(n_events)))
    fold_events(pool, windows, events, user_ends, offsets, limits, out, folded, counts)
    return counts, folded, out[: folded[-1, 1] if len(had) else 0].tobytes()


def warm_up() -> None:
    """Compile the loops, or load them from the disk, before an event waits for them.

    It takes half a second, or half a minute where the disk does not have the loops yet.
    """
    event = Event(VERSION, "e", "u", "i", EVENT_TYPES[0], MIN_EVENT_TS_MS)
    record = _WarmRecord(event.user_id.encode(), encode(event))
    fold_batch([record], lambda _key: None, EventDecoder(0), WindowBounds(), event.ts, lambda _users: [])


class _WarmRecord(NamedTuple):
    key: bytes | None
    value: bytes | None
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: Headers = ()
