"""What handlers call to change the topics: events, items, users, and forgetting."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Literal

import msgspec

from streams.contract.announcements import PrivacyRequest
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import VERSION, encode
from streams.errors import InputError
from streams.formats.decoders import refuse_foreign
from streams.server.gate.problems import Problem
from streams.server.gate.request_traces import part_of_request, request_under_way
from streams.server.lists.answers import check_id
from streams.server.lists.records import KeptRecords, Kind
from streams.server.lists.topic_follower import TopicFollower
from streams.server.writing.bodies import EntryReader, EventReader, EventsResult, TakenEvent
from streams.server.writing.writer import Writer
from streams.settings.load import Settings


class Forgotten(msgspec.Struct):
    """A request to forget a user that the broker has.

    Workers answer it on the topic ``receipts``, under ``request_id`` and ``partition``.
    """

    request_id: str
    requested_ts: int
    partition: int


class Writes:
    """Checks what callers send and writes it; each method returns when the broker has it.

    An item or a user that was written is also known to this server then.
    """

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        records: KeptRecords,
        followers: Mapping[Kind, TopicFollower],
        pseudonyms: Pseudonyms | None,
    ) -> None:
        self._kafka = settings.kafka
        self._writer = writer
        self._records = records
        self._followers = followers
        self._pseudonyms = pseudonyms
        self._events = EventReader(settings.sequencer.max_future_skew_ms, settings.sequencer.types(), pseudonyms)
        self._entries = EntryReader(pseudonyms)

    async def events(self, body: bytes) -> EventsResult:
        """Write the events of a body that keep the contract; say what is wrong with the others.

        Records of a traced request carry its trace on.
        """
        self._check_own("events")
        taken, refused = self._events.read(body)
        if taken:
            request, records = request_under_way(), [(event.user_id.encode(), encode(event)) for _, event in taken]
            with part_of_request("publish"):
                await self._writer.write("events", records, () if request is None else request.headers())
        told = [TakenEvent(index, event.event_id) for index, event in taken]
        return EventsResult(len(taken), told, refused)

    async def put(self, kind: Kind, entry_id: str, body: bytes) -> None:
        """Write the whole record of an item or a user."""
        await self._store(kind, entry_id, self._record(kind, entry_id, body, None))

    async def patch(self, kind: Kind, entry_id: str, body: bytes) -> None:
        """Change fields of a record that there is; null removes a field."""
        check_id(_FIELD[kind], entry_id)
        before = self._records.get(kind, self._key(kind, entry_id))
        if before is None:
            raise unknown(kind, entry_id)
        await self._store(kind, entry_id, self._record(kind, entry_id, body, before))

    async def remove(self, kind: Kind, entry_id: str) -> None:
        """Remove an item, or the features and follows of a user; repeating it changes nothing."""
        await self._store(kind, entry_id, None)

    async def forget(self, user_id: str) -> Forgotten:
        """Ask every worker to erase a user; removes the user's features and follows too."""
        await self.remove("users", user_id)
        key, now_ms = self._key("users", user_id), int(1000 * time.time())
        request = PrivacyRequest(VERSION, key.decode(), "forget", now_ms, uuid.uuid4().hex)
        (place,) = await self._writer.write("privacy", [(key, encode(request))])
        return Forgotten(request.request_id or "", now_ms, place.partition)

    def record(self, kind: Kind, entry_id: str) -> bytes | None:
        """Return the newest record of an item or a user; None where there is none."""
        return self._records.get(kind, self._key(kind, entry_id))

    def page(self, kind: Kind, start: bytes, n: int) -> list[tuple[bytes, bytes]]:
        """Return the newest records of a kind by key, from ``start`` on, ``n`` at most."""
        return self._records.page(kind, start, n)

    def _record(self, kind: Kind, entry_id: str, body: bytes, before: bytes | None) -> bytes:
        read = self._entries.item if kind == "items" else self._entries.user
        return read(entry_id, body, before)

    async def _store(self, kind: Kind, entry_id: str, value: bytes | None) -> None:
        check_id(_FIELD[kind], entry_id)
        if kind == "items":
            self._check_own("items")
        (place,) = await self._writer.write(kind, [(self._key(kind, entry_id), value)])
        await self._followers[kind].reach(*place)

    def _key(self, kind: Kind, entry_id: str) -> bytes:
        is_named = kind == "items" or self._pseudonyms is None
        return (entry_id if is_named or self._pseudonyms is None else self._pseudonyms.of(entry_id)).encode()

    def _check_own(self, kind: Literal["events", "items"]) -> None:
        """Refuse to write a topic that another system writes in a format of its own."""
        try:
            refuse_foreign(self._kafka, kind)
        except InputError as exc:
            raise Problem(409, "foreign-topic", str(exc), remedy="send it to that system") from None


_FIELD: dict[Kind, str] = {"items": "item_id", "users": "user_id"}


def unknown(kind: Kind, entry_id: str) -> Problem:
    """Return the problem of an item or a user without a record."""
    name = _FIELD[kind]
    return Problem(404, "no-record", f"{name} {entry_id!r} has no record", field=name, remedy="PUT the whole record")
