"""Opens the decoders of ``events`` and ``items`` for the formats that the settings name.

Everyone who reads these topics opens its decoder here, so that all read the same. With the default
format it is the contract's own decoder, and no code of this room runs for a record.
"""

from __future__ import annotations

from typing import Final

from models.base.event_types import DEFAULT_TYPES, EventTypes
from streams.contract.item_records import ItemDecoder
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Event, EventDecoder, Item, RecordDecoder
from streams.errors import InputError, RecordError
from streams.formats.schema_registry import SchemaRegistry
from streams.formats.topic_format import TopicFormat, is_delete, open_format, refused_operation
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_ID_LENGTH

HEADRACE: Final = "headrace"
AVRO: Final = "confluent-avro"
#: How long a command repeats an unanswered question to the registry, in seconds.
PATIENCE_S: Final = 10.0


class MappedEventDecoder(EventDecoder):
    """Decodes events of another format; every check of the contract holds for them too.

    A key may be encoded as the topic's format encodes keys: what it holds must be the ``user_id``.
    """

    keys_are_ids = False

    def __init__(self, max_future_skew_ms: int, types: EventTypes, form: TopicFormat) -> None:
        super().__init__(max_future_skew_ms, types)
        self._form = form
        self._plain = EventDecoder(max_future_skew_ms, types)

    def decode(self, value: bytes | None) -> Event:
        """Return the event in ``value``; raise as :meth:`RecordDecoder.decode` does.

        A change of a table is an event where it is a create, or a row of a snapshot.
        """
        return self._plain.decode(self._encoded(value))

    def decode_event(self, key: bytes | None, value: bytes | None, now_ms: int) -> Event:
        """Return the event of a record that was read at ``now_ms``.

        It raises as the base class does.
        """
        encoded = self._encoded(value)
        user_id = self._plain.decode(encoded).user_id
        if not self._form.has_key(key, user_id):
            shown = "absent" if not key else repr(key[:40])
            raise RecordError("key", "key", f"{shown}, must hold the user_id {user_id!r}, as text or encoded")
        return self._plain.decode_event(user_id.encode(), encoded, now_ms)

    def _encoded(self, value: bytes | None) -> bytes:
        change = self._form.change(value)
        if change.op not in ("c", "r") or change.row is None:
            raise refused_operation(change, "an event is a create or a row of a snapshot")
        return self._form.encoded(change.row)


class MappedItemDecoder(ItemDecoder):
    """Decodes records of ``items`` in another format; a delete of the row removes the item."""

    def __init__(self, form: TopicFormat) -> None:
        super().__init__()
        self._form = form
        self._items = RecordDecoder(Item)

    def decode(self, record: ConsumedRecord) -> tuple[str, Item | None]:
        """Return the ``item_id`` and the entry, None for a removal; raise as the base class does.

        A removal is a record without value, or the delete of a row. The key, decoded, must be the
        ``item_id``.
        """
        if record.value is None:
            return self._removed(record), None
        change = self._form.change(record.value)
        if is_delete(change):
            return self._removed(record, None if change.row is None else self._form.id_of(change.row)), None
        if change.row is None:
            raise refused_operation(change, "publish a delete for each row that is to go")
        item = self._items.decode(self._form.encoded(change.row))
        if not self._form.has_key(record.key, item.item_id):
            raise _wrong_key(record.key, item.item_id)
        return item.item_id, item

    def _removed(self, record: ConsumedRecord, row_id: object = None) -> str:
        item_id = self._form.id_of_key(record.key)
        if item_id is None or not 1 <= len(item_id) <= MAX_ID_LENGTH:
            raise _wrong_key(record.key, f"of 1 to {MAX_ID_LENGTH} characters")
        if isinstance(row_id, str) and row_id and not self._form.has_key(record.key, row_id):
            raise _wrong_key(record.key, row_id)
        return item_id


def _wrong_key(key: bytes | None, wanted: str) -> RecordError:
    shown = "no record key" if key is None else f"record key {key[:64]!r}"
    return RecordError("key", "item_id", f"{shown}, item_id {wanted!r}; the key, decoded, must be the item_id")


def open_registry(kafka: KafkaSettings, kind: str, patience_s: float = PATIENCE_S) -> SchemaRegistry | None:
    """Return the schema registry of a topic; None where its format needs none."""
    return SchemaRegistry(kafka, patience_s=patience_s) if getattr(kafka, f"{kind}_format") == AVRO else None


def open_event_decoder(
    kafka: KafkaSettings,
    max_future_skew_ms: int,
    types: EventTypes = DEFAULT_TYPES,
    *,
    registry: SchemaRegistry | None = None,
) -> EventDecoder:
    """Return the decoder of ``events``.

    Parameters
    ----------
    types : the deployment's table of event types
    registry : the caller's, who loads schemas before it decodes; None opens one that fetches a
        schema when a record needs it
    """
    if kafka.events_format == HEADRACE:
        return EventDecoder(max_future_skew_ms, types)
    registry = registry or open_registry(kafka, "events")
    return MappedEventDecoder(max_future_skew_ms, types, open_format(kafka, "events", Event, "user_id", registry))


def open_item_decoder(kafka: KafkaSettings, registry: SchemaRegistry | None = None) -> ItemDecoder:
    """Return the decoder of ``items``; ``registry`` as for :func:`open_event_decoder`."""
    if kafka.items_format == HEADRACE:
        return ItemDecoder()
    registry = registry or open_registry(kafka, "items")
    return MappedItemDecoder(open_format(kafka, "items", Item, "item_id", registry))


def refuse_foreign(kafka: KafkaSettings, kind: str) -> None:
    """Raise :class:`InputError` where a topic has another format: headrace writes its own alone."""
    name: str = getattr(kafka, f"{kind}_format")
    if name != HEADRACE:
        raise InputError(
            f"{kind}_format={name}: headrace writes its own format alone, so readers of {kafka.topic(kind)} would reject it; "
            f"publish with the system that fills the topic, or unset {kind}_format"
        )
