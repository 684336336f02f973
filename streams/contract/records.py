"""The records on the wire: their fields, their limits, and how bytes become records.

``docs/contract/asyncapi.yaml`` is the contract for readers; a test keeps the two equal. Records are
msgpack maps; the input topics take JSON objects too. The first byte tells them apart: a msgpack map
begins with 0x80-0x8f, 0xde or 0xdf, a JSON object with ``{`` or white space.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NamedTuple, TypeVar, cast

import msgpack
import msgspec
from msgspec import Meta

from models.base.event_types import DEFAULT_TYPES, EventTypes
from models.base.vocabulary import Degraded, EventType
from streams.contract.record_errors import record_error
from streams.contract.record_size import true_size
from streams.contract.whole_numbers import whole_fields, with_integers
from streams.errors import RecordError
from streams.settings.record_limits import MAX_ID_LENGTH

VERSION: Final = 1
MAX_RECORD_BYTES: Final = 65_536
MIN_EVENT_TS_MS: Final = 631_152_000_000  # 1990-01-01T00:00:00Z: an earlier time is in seconds
MAX_TS_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


Version = Annotated[int, Meta(ge=VERSION, le=VERSION)]
Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
TimestampMs = Annotated[int, Meta(ge=0, le=MAX_TS_MS)]
EventTimeMs = Annotated[int, Meta(ge=MIN_EVENT_TS_MS, le=MAX_TS_MS)]
Amount = Annotated[float, Meta(ge=-1e12, le=1e12)]
ShortText = Annotated[str, Meta(max_length=2_000)]
LongText = Annotated[str, Meta(max_length=20_000)]

#: Why a record was rejected; the value of the header ``reason`` on ``events.rejected``.
REASONS: Final[dict[str, str]] = {
    "empty": "the record has no value",
    "too-large": f"the value is above {MAX_RECORD_BYTES} bytes",
    "malformed": "the value is neither a msgpack map nor a JSON object, or is broken, or not UTF-8",
    "missing": "a required field is absent",
    "type": "a field has the wrong type",
    "length": "a string or list is too short or too long",
    "range": "a number is outside its range or not finite",
    "value": "a field holds none of its allowed values",
    "future": "the time lies further in the future than the allowed skew",
    "key": "the record key is absent or is not the user_id",
    "partition": "the record is not on the partition that the setting partitioner gives for its key",
    "schema": "the schema registry does not know the schema of the record, or it is not Avro",
    "operation": "a change of a table that is no event: an update, a delete, a truncate",
    "version": "the user's window was written by a newer headrace; nothing is wrong with the event: redrive it after the upgrade",
}


class Event(msgspec.Struct, gc=False, omit_defaults=True):
    """One shop event, as published on ``events``.

    A replay sets ``run``, its name, and ``seq``, the event's position in it, which grows per user.
    They make a repeated replay harmless at any distance in time, as a sequence number does for a
    producer of Kafka.

    ``type`` is a name of the deployment's table of event types. This struct allows the names of the
    default table, and :func:`event_struct` returns the struct of another table.
    """

    v: Version
    event_id: Identifier
    user_id: Identifier
    item_id: Identifier
    type: EventType
    ts: EventTimeMs
    session_id: Identifier | None = None
    value: Amount | None = None
    run: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seq: Annotated[int, Meta(ge=0, le=2**62)] | None = None


@cache
def event_struct(types: EventTypes) -> type[Event]:
    """Return the struct of events whose type is one of a table's names.

    A decoder compares a ``Literal`` with the bytes of a record: that costs nothing beside decoding
    text, and checking the text afterwards would.
    """
    if types.names == DEFAULT_TYPES.names:
        return Event
    names: Any = Literal[types.names]
    made: Any = msgspec.defstruct("Event", [("type", names)], bases=(Event,), gc=False, omit_defaults=True)
    return cast(type[Event], made)


class Item(msgspec.Struct, omit_defaults=True):
    """One catalogue entry, as published on ``items``; a record without value removes it.

    Lists show an item unless ``available`` is False, from ``published_ts`` on and before
    ``expires_ts``. At other times it is hidden: it stays in the catalogue, and in users' windows.
    """

    v: Version
    item_id: Identifier
    title: ShortText
    text: LongText | None = None
    category: ShortText | None = None
    tags: Annotated[list[ShortText], Meta(max_length=100)] | None = None
    price: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    features: Annotated[dict[ShortText, float | str | None], Meta(max_length=100)] | None = None
    relations: Annotated[dict[ShortText, list[Identifier]], Meta(max_length=20)] | None = None
    vectors: Annotated[dict[ShortText, list[float]], Meta(max_length=4)] | None = None
    categories: Annotated[list[ShortText], Meta(max_length=100)] | None = None
    available: bool | None = None
    published_ts: TimestampMs | None = None
    expires_ts: TimestampMs | None = None


class User(msgspec.Struct, omit_defaults=True):
    """Features and follows of a user, as published on ``users``; no value removes them."""

    v: Version
    user_id: Identifier
    features: Annotated[dict[ShortText, float | str | None], Meta(max_length=100)] | None = None
    follows: Annotated[list[Identifier], Meta(max_length=5_000)] | None = None


class UserVector(msgspec.Struct, omit_defaults=True):
    """A user's vectors, as published on ``user-vectors``; both are little-endian float32.

    ``record`` is there for a user without events, whose vectors are empty: a hash of the record of
    ``users`` from which the last first list was made.
    """

    v: int
    user_id: str
    revision: int
    artifact: str
    vector: bytes
    factors: bytes
    record: bytes = b""


class SourceRank(NamedTuple):
    """An item's place in one source of candidates: rank from 1, and that source's own score."""

    rank: int
    score: float


class RecommendedItem(msgspec.Struct):
    """One item of a list: its probability, its rank in each source, and the reason for it.

    ``because`` is the item of the user's window that explains it, or None.
    """

    item_id: str
    score: float
    sources: dict[str, SourceRank]
    because: str | None


class Recommendation(msgspec.Struct):
    """One list, as published on ``recommendations``.

    ``provisional`` says that the full list of the same or a later revision follows.
    ``users_offset`` is the offset on ``users`` of the record that the list knows. A list of a user
    without events is triggered by it: ``event_id`` is empty then, and ``offset`` -1.
    ``rules`` is the version of the rules that the list obeys; lists without rules do not have it.
    ``missing`` says how many places these rules left empty.
    Of two lists of one revision, that of the higher ``model_order`` is of the model that was
    announced later; without the field it is 0.
    """

    v: int
    list_id: str
    user_id: str
    revision: int
    event_id: str
    offset: int
    event_ts: int
    produced_ts: int
    artifact: str
    index_generation: int
    degraded: Degraded
    items: list[RecommendedItem]
    provisional: bool = False
    users_offset: int | msgspec.UnsetType = msgspec.UNSET
    rules: str | msgspec.UnsetType = msgspec.UNSET
    missing: int | msgspec.UnsetType = msgspec.UNSET
    model_order: int | msgspec.UnsetType = msgspec.UNSET


RecordT = TypeVar("RecordT")

_JSON_STARTS: Final = frozenset(b"{ \t\r\n")
_MAP_STARTS: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])


class RecordDecoder(Generic[RecordT]):
    """Decodes and checks records of one struct type, from msgpack or JSON.

    For one thread at a time: it reuses its decoders.
    """

    def __init__(self, struct: type[RecordT]) -> None:
        self._msgpack = msgspec.msgpack.Decoder(struct)
        self._json = msgspec.json.Decoder(struct)
        self._whole = whole_fields(struct)

    def decode(self, value: bytes | None) -> RecordT:
        """Return the record in ``value``.

        Raises
        ------
        RecordError
            With reason and field, when ``value`` is absent, too large, malformed or breaks a limit.
        """
        if not value:
            raise RecordError("empty", "", "no value; publish a msgpack map or a JSON object")
        if len(value) > MAX_RECORD_BYTES:
            raise RecordError(
                "too-large", "", f"{true_size(value)} bytes, limit {MAX_RECORD_BYTES}; publish smaller records"
            )
        first = value[0]
        try:
            if first in _MAP_STARTS:
                return self._checked(self._msgpack, msgspec.msgpack, value)
            if first in _JSON_STARTS:
                return self._checked(self._json, msgspec.json, value)
        except msgspec.ValidationError as exc:
            raise self._error(exc) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise RecordError("malformed", "", str(exc)) from exc
        raise RecordError("malformed", "", f"first byte 0x{first:02x} begins neither a msgpack map nor a JSON object")

    def _error(self, exc: msgspec.ValidationError) -> RecordError:
        return record_error(exc)

    def _checked(self, decoder: Any, codec: Any, value: bytes) -> RecordT:
        """Decode; after a failure try again with whole floats, such as ``1.8e12``, as integers."""
        try:
            record: RecordT = decoder.decode(value)
        except msgspec.ValidationError:
            integral = with_integers(codec, value, self._whole)
            if integral is None:
                raise
            record = decoder.decode(integral)
        return record


class EventDecoder(RecordDecoder[Event]):
    """Decodes events and checks what a schema cannot: the key, the clock skew, finite numbers.

    Parameters
    ----------
    max_future_skew_ms : how far an event's time may lie ahead
    types : the deployment's table of event types

    Attributes
    ----------
    keys_are_ids : whether the key of an event that it takes is the ``user_id`` in UTF-8
    max_future_skew_ms, types : as given
    """

    keys_are_ids: ClassVar[bool] = True

    def __init__(self, max_future_skew_ms: int, types: EventTypes = DEFAULT_TYPES) -> None:
        super().__init__(event_struct(types))
        self.max_future_skew_ms = max_future_skew_ms
        self.types = types

    def _error(self, exc: msgspec.ValidationError) -> RecordError:
        error = record_error(exc)
        if error.reason != "value" or error.field != "type":
            return error
        names = ", ".join(self.types.names)
        return RecordError("value", "type", f"{error.detail}; must be one of {names}; event_types names them")

    def decode_event(self, key: bytes | None, value: bytes | None, now_ms: int) -> Event:
        """Return the event of a record that was read at ``now_ms``.

        Raises
        ------
        RecordError
            When the record breaks the contract.
        """
        event = self.decode(value)
        if event.ts > now_ms + self.max_future_skew_ms:
            raise RecordError(
                "future",
                "ts",
                f"{event.ts} is {event.ts - now_ms} ms ahead, limit {self.max_future_skew_ms} ms; check the producer's clock",
            )
        if event.value is not None and not math.isfinite(event.value):
            raise RecordError("range", "value", f"{event.value} is not finite")
        if key != event.user_id.encode():
            shown = "absent" if not key else repr(key[:40])
            raise RecordError("key", "key", f"{shown}, must be the user_id; publish with the user_id as record key")
        return event


def derive_event_id(fields: dict[str, Any], salt: str = "") -> str:
    """Return an id that is derived from the event's content and sorts by its time."""
    names = ("user_id", "item_id", "type", "ts", "session_id", "value")
    content = msgspec.json.encode([fields.get(name) for name in names])
    return f"{fields['ts']:013d}-{hashlib.blake2b(content + salt.encode(), digest_size=8).hexdigest()}"


_encoder = msgspec.msgpack.Encoder()


def encode(record: msgspec.Struct, *, as_json: bool = False) -> bytes:
    """Return the bytes of a record: msgpack, or JSON for people to read."""
    return msgspec.json.encode(record) if as_json else _encoder.encode(record)


def is_user_key(key: bytes) -> bool:
    """Return whether a record key can be a ``user_id``: UTF-8, not empty, within the limit."""
    try:
        return 1 <= len(key.decode()) <= MAX_ID_LENGTH
    except UnicodeDecodeError:
        return False


def decode_any(value: bytes) -> Any:
    """Return plain Python objects for display, from msgpack or JSON of any shape.

    It reads msgpack with the library that consumers in other projects use, so it shows what they
    would see.

    Raises
    ------
    RecordError
        When ``value`` is neither.
    """
    try:
        if value[:1] and value[0] in _JSON_STARTS:
            return json.loads(value)
        return msgpack.unpackb(value, strict_map_key=False)
    except (ValueError, TypeError, RecursionError) as exc:
        raise RecordError("malformed", "", str(exc)) from exc
