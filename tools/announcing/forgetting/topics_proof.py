"""Reads every topic of a deployment for users who were forgotten, and says what is left of them.

::

    newest record of the user     of a life that is over   left: it should be gone
                                  of a later life          the user came back
    older records in the log                               stay until the broker removes them
    another user's record         follows the user         left
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.marks import revision_in
from streams.contract.records import decode_any
from streams.errors import RecordError, TopicError
from streams.forgetting.read_marks import read_marks
from streams.kafka.retention import longest_of
from streams.kafka.topic_reader import read_records
from streams.kafka.topic_specs import TOPICS
from streams.settings.load import KafkaSettings
from tools.announcing.forgetting.people import Person

#: Topics whose newest record of a user is state, and whether its revision tells the life.
STATE: Final = {"sequences": True, "user-vectors": True, "recommendations": True, "users": False}
#: Fields of a record that hold an id of a user.
ID_FIELDS: Final = ("user_id", "follows")


@dataclass(frozen=True)
class Found:
    """Something of a user at one place.

    Parameters
    ----------
    kind : ``left`` should be gone; ``stays`` is in the log for a while; ``new life`` is of a user
        who came back; ``note`` may be something else of the same name
    until : when it goes, in words
    """

    place: str
    kind: str
    what: str
    until: str = ""
    n: int = 1


@dataclass
class _Log:
    """What a topic holds of a user.

    Parameters
    ----------
    n_mentions : records of others that name the user or an event
    n_naming : others whose newest record does
    """

    newest: ConsumedRecord | None = None
    n_records: int = 0
    n_former: int = 0
    n_mentions: int = 0
    n_naming: int = 0


@dataclass
class Traces:
    """What the topics hold of some users.

    Parameters
    ----------
    marks : the users' last requests
    event_ids : of each user's former life, as far as the log holds its events
    """

    people: Sequence[Person]
    marks: dict[bytes, int] = field(default_factory=dict)
    event_ids: dict[bytes, set[str]] = field(default_factory=dict)
    found: dict[str, list[Found]] = field(default_factory=dict)

    def add(self, person: Person, found: Found) -> None:
        """Note what was found of a user."""
        self.found.setdefault(person.given, []).append(found)

    def add_copy(self, person: Person, place: str, what: str, life: int, *, until: str) -> None:
        """Note a copy of something of a user: of a life after the request, or left.

        Parameters
        ----------
        life : the copy's revision, or when it was written; above the mark in a later life
        until : when a copy that is left goes
        """
        # without a request every life is to be gone
        mark = self.marks.get(person.key)
        is_later = mark is not None and life > mark
        self.add(person, Found(place, "new life", what) if is_later else Found(place, "left", what, until))


async def read_traces(
    kafka: KafkaSettings, traces: Traces, where: str = "", on_topic: Callable[[str], None] = lambda _topic: None
) -> None:
    """Read all topics of a deployment, and note what they hold of the users.

    Parameters
    ----------
    where : begins the names of the places; empty for the live deployment
    on_topic : called with the name of each topic before it is read
    """
    traces.marks = await read_marks(kafka)
    longest = await longest_of(kafka, [spec.name for spec in TOPICS])
    for spec in TOPICS:
        on_topic(kafka.topic(spec.name))
        await _read_topic(kafka, spec.name, traces, where, _until(longest[spec.name]))


async def _read_topic(kafka: KafkaSettings, name: str, traces: Traces, where: str, until: str) -> None:
    logs = {person.key: _Log() for person in traces.people}
    wanted = {text.encode(): person.key for person in traces.people for text in person.names}
    ids = {event_id: key for key, found in traces.event_ids.items() for event_id in found}
    named_by: dict[bytes, set[bytes]] = {}
    try:
        async for record in read_records(kafka, kafka.topic(name)):
            owners = owners_of(name, record, wanted, ids)
            if record.key is not None and (owners or record.key in named_by):
                named_by[record.key] = owners - {wanted.get(record.key, b"")}
            for key in owners:
                log = logs[key]
                log.n_records += 1
                if record.key is not None and wanted.get(record.key) == key:
                    log.newest = record
                    log.n_former += _note_event(name, record, key, traces)
                elif record.value is not None:
                    log.n_mentions += 1
    except TopicError:
        return
    for key in (key for keys in named_by.values() for key in keys):
        logs[key].n_naming += 1
    for person in traces.people:
        mark = traces.marks.get(person.key)
        for found in judge_log(name, logs[person.key], mark, f"{where}{kafka.topic(name)}", until):
            traces.add(person, found)


def _note_event(name: str, record: ConsumedRecord, key: bytes, traces: Traces) -> int:
    """Remember the id of an event of the former life; return whether the record is of that life."""
    mark = traces.marks.get(key)
    if name not in ("events", "events.rejected") or record.value is None:
        return 0
    try:
        event = decode_any(record.value)
        ts, event_id = event["ts"], event["event_id"]
    except (RecordError, KeyError, TypeError):
        return int(mark is None or record.timestamp <= mark)
    is_former = mark is None or (isinstance(ts, int) and ts <= mark)
    if is_former and name == "events" and isinstance(event_id, str):
        traces.event_ids.setdefault(key, set()).add(event_id)
    return int(is_former)


def owners_of(
    name: str, record: ConsumedRecord, wanted: Mapping[bytes, bytes], event_ids: Mapping[str, bytes]
) -> set[bytes]:
    """Return the users of whom a record holds something: by key, id field, event id, or in text.

    Parameters
    ----------
    wanted : each name of a user to the user's key
    event_ids : ids of events of a former life to the user's key
    """
    owner = wanted.get(record.key or b"")
    found = set() if owner is None else {owner}
    value = record.value
    if not value or name in ("items", "models", "rules", "receipts"):
        return found  # not about users; an id there is a chance likeness
    try:
        content = decode_any(value)
    except RecordError:
        return found | {key for text, key in wanted.items() if len(text) > 3 and text in value}
    if isinstance(content, dict):
        for text in _texts(content.get(one) for one in ID_FIELDS):
            if (key := wanted.get(text.encode("utf-8", "surrogatepass"))) is not None:
                found.add(key)
        if event_ids and name != "events":
            found |= {event_ids[one] for one in _event_ids(content) if one in event_ids}
    return found


def _texts(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, str))


def _event_ids(content: Mapping[Any, Any]) -> Iterable[str]:
    """Yield the ids of the events that made a window or a list."""
    yield from _texts([content.get("event_id")])
    trigger = content.get("trigger")
    if isinstance(trigger, list) and trigger:
        yield from _texts(trigger[:1])
    for name in ("items", "recent", "passed", "hiding"):
        entries = content.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, list) and len(entry) > 1:
                yield from _texts(entry[1:2])


def judge_log(name: str, log: _Log, mark: int | None, place: str, until: str) -> list[Found]:
    """Return what a topic's records of a user mean.

    Parameters
    ----------
    mark : the time of the user's last request; None where there is none
    until : until when the log keeps a record that was written by now
    """
    found, newest = [], log.newest
    n_log = log.n_records - log.n_mentions
    if name == "privacy":
        return [Found(place, "stays", "the request itself, which the workers obey", until_lapse())] if newest else []
    if name in STATE and newest is not None and newest.value is not None:
        is_former = _is_former(name, newest, mark)
        kind = "left" if is_former else "new life"
        found.append(
            Found(place, kind, f"the user's newest record, at offset {newest.offset}", "now" if is_former else "")
        )
        n_log -= 1
    if n_log > 0:
        former = f", {log.n_former} of them from before the request" if name not in STATE else ""
        what = f"{n_log} records in the log{former}"
        found.append(Found(place, "stays", what, until, n_log))
    if log.n_mentions:
        kind = "left" if name == "users" and log.n_naming else "stays"
        found.append(
            Found(
                place, kind, f"{log.n_mentions} records of others that name the user or an event", until, log.n_mentions
            )
        )
    return found


def _is_former(name: str, record: ConsumedRecord, mark: int | None) -> bool:
    if mark is None:
        return True
    if STATE[name]:
        return _revision(record.value or b"") <= mark
    return record.timestamp <= mark


def _revision(value: bytes) -> int:
    """Return the revision of a record in msgpack, or in JSON where lists are written so."""
    try:
        found = decode_any(value)
    except RecordError:
        return revision_in(value)
    revision = found.get("revision") if isinstance(found, dict) else None
    return revision if isinstance(revision, int) else 0


def until_lapse() -> str:
    """Return when a request goes, in words."""
    return "no topic holds an event of before the request any more"


def _until(longest_ms: int | None) -> str:
    if longest_ms is None:
        return "the broker removes it (no bound is set, or DescribeConfigs is denied)"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() + longest_ms / 1000))
