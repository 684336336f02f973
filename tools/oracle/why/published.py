"""Finds the list of a user that a question is about, on ``recommendations``.

::

    nothing                    the user's newest list
    --list ID                  the list with this id
    --at PARTITION:OFFSET      the list at this offset of recommendations; else the first list whose
                               window holds the event at this offset of events
    --at events:P:O            the second of these, --at recommendations:P:O the first
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal

from models.ranking.explaining.steps import shown_time
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Recommendation, RecordDecoder
from streams.errors import InputError, RecordError
from tools.oracle.why.topics import Topics

LISTS: Final = "recommendations"
EVENTS: Final = "events"
_AT: Final = re.compile(rf"(?:({LISTS}|{EVENTS}):)?(\d+):(\d+)")


@dataclass(frozen=True)
class Place:
    """A place in a topic; ``topic`` is None where the caller names none."""

    topic: Literal["recommendations", "events"] | None
    partition: int
    offset: int


@dataclass(frozen=True)
class Published:
    """A list on ``recommendations``, and where it lies."""

    partition: int
    offset: int
    record: Recommendation


def place_of(text: str) -> Place:
    """Return the place that ``--at`` names.

    Raises
    ------
    InputError
        When it is none.
    """
    found = _AT.fullmatch(text)
    if found is None:
        raise InputError(
            f"--at {text!r}: must be PARTITION:OFFSET, two whole numbers such as 3:1207; {LISTS}: or {EVENTS}: may "
            "stand before them"
        )
    topic = found[1]
    named: Literal["recommendations", "events"] | None = None
    if topic is not None:
        named = "events" if topic == EVENTS else "recommendations"
    return Place(named, int(found[2]), int(found[3]))


async def find_list(
    topics: Topics, user_id: str, *, list_id: str | None = None, place: Place | None = None
) -> Published:
    """Return the list that a question is about; without id and place it is the newest.

    Raises
    ------
    InputError
        When the user has no list, or no such list.
    """
    if place is not None:
        return await _at(topics, user_id, place)
    oldest: Published | None = None
    async for found in _lists(topics, user_id):
        if list_id is None or found.record.list_id == list_id:
            return found
        oldest = found
    if oldest is None:
        raise await _without_list(topics, user_id)
    raise InputError(
        f"--list {list_id}: user {user_id} has no such list on {LISTS}, which holds the user's lists since "
        f"{shown_time(oldest.record.produced_ts)}; see: headrace subscribe --user {user_id} --format json"
    )


async def _lists(topics: Topics, user_id: str) -> AsyncIterator[Published]:
    """Yield the lists of a user, the newest first, back to where the user was removed."""
    decoder, key = RecordDecoder(Recommendation), user_id.encode()
    for partition in await topics.partitions_of(LISTS, key):
        async for record in topics.of_user(LISTS, partition, key):
            if record.value is None:
                return
            found = _decoded(decoder, record)
            if found is not None:
                yield found


def _decoded(decoder: RecordDecoder[Recommendation], record: ConsumedRecord) -> Published | None:
    try:
        return Published(record.partition, record.offset, decoder.decode(record.value))
    except RecordError:
        return None


async def _without_list(topics: Topics, user_id: str) -> InputError:
    """Return the error for a user without a list: unknown, or known without one."""
    key = user_id.encode()
    for partition in await topics.partitions_of("sequences", key):
        async for record in topics.of_user("sequences", partition, key):
            if record.value is None:
                break
            return InputError(
                f"user {user_id}: has a window, but {LISTS} holds no list of theirs; lists are kept for a day: publish "
                "an event of the user, or see headrace status where lists do not come"
            )
    return InputError(
        f"user {user_id}: has neither a list nor a window; give the id as it is in events (the shop's own, also with "
        "pseudonyms), or see: headrace subscribe"
    )


async def _at(topics: Topics, user_id: str, place: Place) -> Published:
    homes = await topics.partitions_of(LISTS, user_id.encode())
    if place.partition not in homes:
        raise InputError(
            f"--at {place.partition}:{place.offset}: the records of user {user_id} are in partition {homes[0]}; "
            f"name that one, or the user whose record it is"
        )
    as_list = await _list_at(topics, user_id, place) if place.topic != EVENTS else None
    as_event = await _list_of_event(topics, user_id, place) if place.topic != LISTS else None
    if as_list is not None and as_event is not None and as_event.record.offset == place.offset:
        if as_list.record.list_id != as_event.record.list_id:
            where = f"{place.partition}:{place.offset}"
            raise InputError(
                f"--at {where}: both a list of user {user_id} and an event that brought one lie there; say "
                f"--at {LISTS}:{where} or --at {EVENTS}:{where}"
            )
        return as_list
    found = as_list or as_event
    if found is None:
        raise await _nothing_at(topics, user_id, place)
    return found


async def _list_at(topics: Topics, user_id: str, place: Place) -> Published | None:
    """Return the list at an offset of ``recommendations``; None where no list of the user is."""
    async for record in topics.forwards(LISTS, place.partition, place.offset, place.offset + 1):
        if record.offset == place.offset and record.key == user_id.encode() and record.value is not None:
            return _decoded(RecordDecoder(Recommendation), record)
    return None


async def _list_of_event(topics: Topics, user_id: str, place: Place) -> Published | None:
    """Return the first list whose window holds the user's event at an offset of ``events``.

    The recommender makes no list for a window that a newer one replaces, so the list may name a
    later event.
    """
    event = None
    async for record in topics.forwards(EVENTS, place.partition, place.offset, place.offset + 1):
        event = record if record.offset == place.offset else None
    if event is not None and topics.settings.events_format == "headrace" and event.key != user_id.encode():
        return None
    found: Published | None = None
    async for one in _lists(topics, user_id):
        if one.record.offset < place.offset:
            break
        if found is None or one.record.revision <= found.record.revision:
            # of lists of one window the full one counts, which came last
            is_better = found is None or one.record.revision < found.record.revision
            found = one if is_better else found
    return found


async def _nothing_at(topics: Topics, user_id: str, place: Place) -> InputError:
    """Return the error for a place without a list: it names what the topics hold there."""
    ranges = []
    for topic in (LISTS, EVENTS) if place.topic is None else (place.topic,):
        first, end = await topics.bounds(topic, place.partition)
        held = f"offsets {first} to {end - 1}" if end > first else "nothing"
        ranges.append(f"{topic}-{place.partition} holds {held}")
    return InputError(
        f"--at {place.partition}:{place.offset}: no list of user {user_id} is there, and no event of theirs that is in "
        f"a list; {', '.join(ranges)}; see: headrace subscribe --user {user_id} --format json"
    )
