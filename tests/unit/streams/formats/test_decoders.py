"""Topics that other systems write.

The tests show which records are events and items, and why others are refused.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import EventDecoder, Item
from streams.errors import InputError, RecordError, SettingsError
from streams.formats.decoders import open_event_decoder, open_item_decoder, open_registry, refuse_foreign
from streams.kafka.publisher import KeyHomes, partition_of
from streams.rejects.redrive import Redriver
from streams.rejects.reject_reader import MARK_KEY, RejectedEvent
from streams.sequencer.absorb_batch import absorb_batch
from streams.sequencer.mending import Mender
from streams.settings.load import KafkaSettings, Settings
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, FakeRecord
from tests.support.registries import FakeRegistry, wire
from tools.oracle.expected import WindowOracle

NOW = T0 + 1_000_000
ROW = {"event_id": 11, "user_id": 7, "item_id": "sku-1", "type": "view", "ts": T0}
TABLE = """
[events]
time_unit = "us"
constants = { type = "purchase" }
columns = { event_id = "id", user_id = "buyer.id", item_id = "sku", ts = "at", value = "price" }
[items.columns]
item_id = "sku"
title = "name"
price = "price"
tags = "labels"
"features.year" = "year"
"""
PURCHASE = {
    "type": "record",
    "name": "Purchase",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "buyer", "type": {"type": "record", "name": "Buyer", "fields": [{"name": "id", "type": "long"}]}},
        {"name": "sku", "type": "bytes"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]},
    ],
}


@pytest.fixture
def table(tmp_path: Path) -> str:
    file = tmp_path / "table.toml"
    file.write_text(TABLE)
    return str(file)


def change(op: str, row: dict[str, Any] | None, *, is_wrapped: bool = True) -> bytes:
    """Return a change of Debezium."""
    sides = {"before": row if op == "d" else None, "after": None if op == "d" else row}
    payload = {**sides, "op": op, "ts_ms": T0, "source": {"table": "t"}}
    return json.dumps({"schema": {"fields": []}, "payload": payload} if is_wrapped else payload).encode()


def struct_key(**fields: Any) -> bytes:
    return json.dumps({"schema": {"type": "struct"}, "payload": fields}).encode()


def refusal(decode: Any, *arguments: Any) -> RecordError:
    with pytest.raises(RecordError) as refused:
        decode(*arguments)
    return refused.value


def test_the_default_format_is_the_contracts_own_decoder() -> None:
    assert type(open_event_decoder(KafkaSettings(), 0)) is EventDecoder


@pytest.mark.parametrize("is_wrapped", [True, False])
@pytest.mark.parametrize("op", ["c", "r"])
def test_an_insert_is_an_event(op: str, is_wrapped: bool) -> None:
    decoder = open_event_decoder(KafkaSettings(events_format="debezium"), 0)
    event = decoder.decode_event(b"7", change(op, ROW, is_wrapped=is_wrapped), NOW)
    assert (event.event_id, event.user_id, event.item_id, event.ts) == ("11", "7", "sku-1", T0)


@pytest.mark.parametrize("op", ["u", "d", "t", "m"])
def test_another_change_is_no_event(op: str) -> None:
    decoder = open_event_decoder(KafkaSettings(events_format="debezium"), 0)
    found = refusal(decoder.decode_event, b"7", change(op, ROW), NOW)
    assert (found.reason, found.field) == ("operation", "op")


@pytest.mark.parametrize("value", [json.dumps(ROW).encode(), json.dumps({"schema": None, "payload": ROW}).encode()])
def test_a_record_of_connect_is_an_event(value: bytes) -> None:
    decoder = open_event_decoder(KafkaSettings(events_format="connect-json"), 0)
    assert decoder.decode_event(b"7", value, NOW).user_id == "7"


@pytest.mark.parametrize(
    "key", [b"7", b'"7"', b'{"user_id": 7}', struct_key(user_id=7), struct_key(id="7"), b'{"payload": 7}']
)
def test_a_key_holds_the_user_id_as_text_or_encoded(key: bytes) -> None:
    decoder = open_event_decoder(KafkaSettings(events_format="debezium"), 0)
    assert decoder.decode_event(key, change("c", ROW), NOW).user_id == "7"


@pytest.mark.parametrize(
    "key", [None, b"", b"8", b"\xff", struct_key(user_id=8), struct_key(a=7, b=7), b"[7]", b"true"]
)
def test_a_key_that_holds_anything_else_is_refused(key: bytes | None) -> None:
    decoder = open_event_decoder(KafkaSettings(events_format="debezium"), 0)
    found = refusal(decoder.decode_event, key, change("c", ROW), NOW)
    assert (found.reason, found.field) == ("key", "key") and "'7'" in found.detail


def test_the_mapping_names_fields_constants_and_the_unit_of_time(table: str) -> None:
    kafka = KafkaSettings(events_format="connect-json", events_mapping=table)
    row = {"id": "x", "buyer": {"id": 4}, "sku": " a ", "at": T0 * 1000 + 999, "price": "12.50"}
    event = open_event_decoder(kafka, 0).decode_event(b"4", json.dumps(row).encode(), NOW)
    assert (event.event_id, event.item_id, event.type, event.ts, event.value) == ("x", "a", "purchase", T0, 12.5)


def test_avro_of_a_registry_is_an_event(registry: FakeRegistry, table: str) -> None:
    registry.register(5, PURCHASE)
    registry.register(6, "long")
    kafka = KafkaSettings(events_format="confluent-avro", events_mapping=table, schema_registry_url=registry.url)
    at, event_id = datetime.fromtimestamp(T0 / 1000, UTC), uuid.UUID(int=9)
    row = {"id": event_id, "buyer": {"id": 4}, "sku": "é".encode(), "at": at, "price": Decimal("9.99")}
    decoder = open_event_decoder(kafka, 0)
    for key in (b"4", wire(6, "long", 4)):
        event = decoder.decode_event(key, wire(5, PURCHASE, row), NOW)
        assert (event.event_id, event.user_id, event.item_id) == (str(event_id), "4", "é")
        assert (event.ts, event.value, event.type) == (T0, 9.99, "purchase")
    assert refusal(decoder.decode_event, b"4", wire(77, PURCHASE, row), NOW).reason == "schema"
    assert refusal(decoder.decode_event, b"4", json.dumps(ROW).encode(), NOW).reason == "malformed"
    assert refusal(decoder.decode_event, wire(6, "long", 5), wire(5, PURCHASE, row), NOW).reason == "key"


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        (None, "empty", ""),
        (b"", "empty", ""),
        (b"\xff", "malformed", ""),
        (b"[1]", "malformed", ""),
        (b"{" + b" " * 70_000, "too-large", ""),
        (b"\x00\x00\x00\x00\x05abc", "malformed", ""),
        (change("c", {**ROW, "user_id": None}), "missing", "user_id"),
        (change("c", {**ROW, "user_id": [1]}), "type", "user_id"),
        (change("c", {**ROW, "user_id": 1.5}), "type", "user_id"),
        (change("c", {**ROW, "user_id": True}), "type", "user_id"),
        (change("c", {**ROW, "item_id": "x" * 129}), "length", "item_id"),
        (change("c", {**ROW, "item_id": 10**200}), "length", "item_id"),
        (change("c", {**ROW, "type": "wink"}), "value", "type"),
        (change("c", {**ROW, "ts": "yesterday"}), "type", "ts"),
        (change("c", {**ROW, "ts": T0 // 1000}), "range", "ts"),
        (change("c", {**ROW, "ts": None}), "missing", "ts"),
        (change("c", {**ROW, "ts": NOW + 1}), "future", "ts"),
        (change("c", {**ROW, "ts": 10**30}), "range", "ts"),
        (change("c", {**ROW, "value": "much"}), "type", "value"),
        (change("c", {**ROW, "value": 10**400}), "range", "value"),
        (change("c", {**ROW, "value": "1e999"}), "range", "value"),
    ],
)
def test_every_check_of_the_contract_holds(value: bytes | None, reason: str, field: str) -> None:
    decoder = open_event_decoder(KafkaSettings(events_format="debezium"), 0)
    found = refusal(decoder.decode_event, b"7", value, NOW)
    assert (found.reason, found.field) == (reason, field), found


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[events]\nonly = { "meta.kind" = ["track"] }\n')
    decoder = open_event_decoder(KafkaSettings(events_format="connect-json", events_mapping=str(file)), 0)
    found = refusal(decoder.decode_event, b"7", json.dumps({**ROW, "meta": {"kind": "page"}}).encode(), NOW)
    assert (found.reason, found.field, found.detail) == ("value", "meta.kind", "'page' is none of track")
    found = refusal(decoder.decode_event, b"7", json.dumps({**ROW, "meta": 4}).encode(), NOW)
    assert (found.reason, found.field) == ("type", "meta.kind")


def record(key: bytes | None, value: bytes | None, **more: Any) -> ConsumedRecord:
    return FakeRecord(key, value, topic="items", **more)


def test_a_row_is_an_item_and_its_delete_removes_it(table: str) -> None:
    decoder = open_item_decoder(KafkaSettings(items_format="debezium", items_mapping=table))
    row = {"sku": 12, "name": "Lamp", "price": 3, "labels": "a| b|", "year": 1999}
    made = Item(1, "12", "Lamp", price=3.0, tags=["a", "b"], features={"year": 1999.0})
    for op in "cru":
        assert decoder.decode(record(struct_key(sku=12), change(op, row))) == ("12", made)
    assert decoder.decode(record(struct_key(sku=12), change("d", {"sku": 12}))) == ("12", None)
    assert decoder.decode(record(struct_key(sku=12), change("d", None))) == ("12", None)
    for key in (struct_key(sku=12), b"12", struct_key(whatever="12")):
        assert decoder.decode(record(key, None)) == ("12", None), "Debezium's tombstone after a delete"


@pytest.mark.parametrize(
    ("key", "op", "reason"), [(b"13", "u", "key"), (b"13", "d", "key"), (None, "d", "key"), (b"12", "t", "operation")]
)
def test_an_item_under_another_key_and_a_truncate_are_refused(
    table: str, key: bytes | None, op: str, reason: str
) -> None:
    decoder = open_item_decoder(KafkaSettings(items_format="debezium", items_mapping=table))
    assert refusal(decoder.decode, record(key, change(op, {"sku": 12, "name": "Lamp"}))).reason == reason
    assert refusal(decoder.decode, record(b"", None)).reason == "key"


def test_sequencer_mender_and_oracle_take_the_same_events() -> None:
    """Windows are kept by user_id, also where keys are encoded.

    Partitions follow the key's bytes.
    """
    kafka = KafkaSettings(events_format="debezium", partitions=4)
    decoder, key = open_event_decoder(kafka, 0), struct_key(id=7)
    home = partition_of(key, 4)
    assert home != partition_of(b"7", 4)
    good = [
        FakeRecord(key, change("c", {**ROW, "event_id": n, "ts": T0 + n}), n, home, timestamp=NOW) for n in range(3)
    ]
    stray = FakeRecord(b"7", change("c", {**ROW, "event_id": 9}), 3, home, timestamp=NOW)
    bad = FakeRecord(key, change("u", ROW), 4, home, timestamp=NOW)
    records = [*good, stray, bad]
    result = absorb_batch(records, lambda _key: None, decoder, WindowBounds(), NOW, home=KeyHomes(4, "murmur2"))
    assert (result.counts.accepted, result.counts.rejected) == (3, 2)
    assert [reject.error.reason for reject in result.rejects] == ["partition", "operation"]
    assert result.rejects[1].as_record().value == bad.value, "the original bytes"
    oracle = WindowOracle.of(Settings(kafka=kafka), 4, decoder)
    for one in records:
        oracle.add(one)
    assert oracle.truth().windows == result.windows and set(result.windows) == {b"7"}
    states: dict[bytes, Any] = {b"7": None}
    Mender(kafka, decoder, WindowBounds(), 1.0).fold(states, good, NOW)
    assert states[b"7"].revision == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '[events.columns]\nitem_id = "lines[].sku"\n',
            r"events_mapping: item_id=lines\[\]\.sku: .* leave \[\] to files",
        ),
        ('[events.columns]\nitem = "sku"\n', "'item' is not a field"),
        ('[events]\ntime_unit = "fortnight"\n', "time_unit 'fortnight' must be one of s, ms, us, ns, iso"),
        ("[items]\n", r"has no \[events\], it has \[items\]"),
        ("[events]\ncolour = 1\n", "unknown field `colour`"),
        ("[events", "not TOML"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=why) as refused:
        open_event_decoder(KafkaSettings(events_format="connect-json", events_mapping=str(file)), 0)
    assert "events_mapping" in str(refused.value) and "\n" not in str(refused.value)


def test_headrace_does_not_write_topics_of_other_formats() -> None:
    refuse_foreign(KafkaSettings(), "events")
    with pytest.raises(InputError, match="events_format=debezium: headrace writes its own format alone"):
        refuse_foreign(KafkaSettings(events_format="debezium"), "events")


def test_a_reader_of_the_catalogue_loads_the_schemas_of_what_it_fetched(registry: FakeRegistry) -> None:
    """The recommender's event loop never waits for the registry while it decodes."""
    schema = {
        "type": "record",
        "name": "I",
        "fields": [{"name": name, "type": "string"} for name in ("item_id", "title")],
    }
    registry.register(1, schema)
    kafka = KafkaSettings(items_format="confluent-avro", schema_registry_url=registry.url)
    schemas = open_registry(kafka, "items")
    assert schemas is not None and open_registry(kafka, "events") is None
    records = [FakeRecord(b"a", wire(1, schema, {"item_id": "a", "title": "A"})), FakeRecord(b"a", None)]
    schemas.load_now(records)
    asked = len(registry.asked)
    decoder = open_item_decoder(kafka, schemas)
    assert [decoder.decode(each)[0] for each in records] == ["a", "a"] and len(registry.asked) == asked


def test_a_redriven_event_keeps_a_key_that_holds_its_user() -> None:
    """Another form of the key would put the event on another partition."""
    decoder = open_event_decoder(KafkaSettings(events_format="debezium"), 0)
    sent: list[tuple[bytes, bytes | None]] = []

    class Sink:
        async def publish(self, _topic: str, key: bytes, value: bytes | None, _headers: Any = None) -> None:
            sent.append((key, value))

        async def flush(self) -> None:
            """Deliver at once."""

    async def rejects() -> AsyncIterator[RejectedEvent]:
        for key in (struct_key(id=7), struct_key(id=8)):
            yield RejectedEvent("range", "ts", "", "events", "0", str(len(key)), "0", key, change("c", ROW), ())

    asyncio.run(Redriver(KafkaSettings(), decoder, None, Sink()).redrive(rejects(), set()))
    assert [key for key, _ in sent if key != MARK_KEY] == [struct_key(id=7), b"7"]
