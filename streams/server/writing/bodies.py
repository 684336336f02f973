"""From the body of a request to checked records: what is wrong with it, by index and field."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from models.base.event_types import EventTypes
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import VERSION, Event, EventDecoder, Item, RecordDecoder, User, derive_event_id, encode
from streams.errors import RecordError
from streams.server.gate.problems import Problem

#: Most events of one request.
MAX_EVENTS: Final = 1_000


class TakenEvent(msgspec.Struct):
    """An event that the broker has."""

    index: int
    event_id: str


class RefusedEvent(msgspec.Struct):
    """An event that breaks the contract: where it is in the body, and what is wrong with it."""

    index: int
    reason: str
    field: str
    detail: str


class EventsResult(msgspec.Struct):
    """What became of each event of a request."""

    accepted: int
    events: list[TakenEvent]
    rejected: list[RefusedEvent]


#: The index of an event, and the event.
Checked = tuple[int, Event]


class EventReader:
    """Reads the events of a body. For one event loop.

    A caller may leave out ``v``, ``ts`` (the server's time stands for it) and ``event_id`` (it is
    derived from the other fields, so a repeat with the same ``ts`` is a duplicate).
    """

    def __init__(
        self,
        max_future_skew_ms: int,
        types: EventTypes,
        pseudonyms: Pseudonyms | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decoder = EventDecoder(max_future_skew_ms, types)
        self._pseudonyms = pseudonyms
        self._clock = clock

    def read(self, body: bytes) -> tuple[list[Checked], list[RefusedEvent]]:
        """Return the events of a body, and those that break the contract.

        Raises
        ------
        Problem
            When the body is neither an object nor an array, or has too many events.
        """
        found = _decoded(body)
        many: Sequence[Any] = found if isinstance(found, list) else [found]
        if not 1 <= len(many) <= MAX_EVENTS:
            raise Problem(
                400, "bad-value", f"{len(many)} events, must be from 1 to {MAX_EVENTS}", remedy="send them in parts"
            )
        taken: list[Checked] = []
        refused: list[RefusedEvent] = []
        for index, fields in enumerate(many):
            try:
                taken.append((index, self._event(fields)))
            except RecordError as exc:
                refused.append(RefusedEvent(index, exc.reason, exc.field, exc.detail))
        return taken, refused

    def _event(self, fields: Any) -> Event:
        if not isinstance(fields, dict):
            raise RecordError("malformed", "", "not a JSON object; send an object for each event")
        now_ms = int(1000 * self._clock())
        given: dict[str, Any] = {"v": VERSION, "ts": now_ms} | fields
        user_id = given.get("user_id")
        if self._pseudonyms is not None and isinstance(user_id, str):
            user_id = given["user_id"] = self._pseudonyms.of(user_id)
        if "event_id" not in given:
            given["event_id"] = derive_event_id(given) if isinstance(given["ts"], int) else "-"
        try:
            key = user_id.encode() if isinstance(user_id, str) else b""
            value = msgspec.json.encode(given)
        except UnicodeEncodeError:
            raise RecordError("malformed", "user_id", "not UTF-8 text; send the shop's own id") from None
        return self._decoder.decode_event(key, value, now_ms)


class EntryReader:
    """Reads items and users of bodies. For one event loop."""

    def __init__(self, pseudonyms: Pseudonyms | None) -> None:
        self._items = RecordDecoder(Item)
        self._users = RecordDecoder(User)
        self._pseudonyms = pseudonyms

    def item(self, item_id: str, body: bytes, before: bytes | None = None) -> bytes:
        """Return the record of an item; see :meth:`user`."""
        fields = _merged(body, before) | {"item_id": item_id}
        return encode(self._items.decode(msgspec.json.encode({"v": VERSION} | fields)))

    def user(self, user_id: str, body: bytes, before: bytes | None = None) -> bytes:
        """Return the record of a user.

        Parameters
        ----------
        user_id : the shop's own; ``follows`` of the body has such ids too
        before : the record that the body changes, as RFC 7396 (JSON merge patch) has it; None where
            the body is the whole record

        Raises
        ------
        Problem
            When the body is no JSON object.
        RecordError
            When the record breaks the contract.
        """
        patch = _object(body)
        follows = patch.get("follows")
        if self._pseudonyms is not None and isinstance(follows, list):
            of = self._pseudonyms.of
            patch["follows"] = [of(other) if isinstance(other, str) else other for other in follows]
        named = user_id if self._pseudonyms is None else self._pseudonyms.of(user_id)
        fields = (patch if before is None else merge_patch(msgspec.msgpack.decode(before), patch)) | {"user_id": named}
        return encode(self._users.decode(msgspec.json.encode({"v": VERSION} | fields)))


def _merged(body: bytes, before: bytes | None) -> dict[str, Any]:
    patch = _object(body)
    return patch if before is None else merge_patch(msgspec.msgpack.decode(before), patch)


def merge_patch(target: Any, patch: Any) -> Any:
    """Return a value after a JSON merge patch: null removes a field.

    References
    ----------
    RFC 7396, section 2.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def _object(body: bytes) -> dict[str, Any]:
    found = _decoded(body)
    if not isinstance(found, dict):
        raise Problem(400, "bad-body", "the body is no JSON object", field="body", remedy="send a JSON object")
    return found


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Problem(
            400, "bad-body", f"the body is not JSON: {exc}", field="body", remedy="send JSON in UTF-8"
        ) from None
