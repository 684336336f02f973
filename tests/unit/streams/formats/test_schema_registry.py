"""Schemas by id.

Each is fetched once, an unknown one is refused, and a silent registry is waited for.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.errors import RecordError
from streams.formats import schema_registry
from streams.formats.avro_records import HEADER, decode_avro
from streams.formats.schema_registry import MAX_IDS_PER_BATCH, RegistryError, SchemaRegistry
from streams.settings.load import KafkaSettings
from tests.support.builders import FakeRecord
from tests.support.registries import FakeRegistry, wire

POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}


def opened(registry: FakeRegistry, patience_s: float = 5.0, **settings: Any) -> SchemaRegistry:
    kafka = KafkaSettings(schema_registry_url=f"{registry.url}/", events_format="confluent-avro", **settings)
    return SchemaRegistry(kafka, patience_s=patience_s)


def refusal(schemas: SchemaRegistry, schema_id: int) -> str:
    with pytest.raises(RecordError) as refused:
        schemas.schema(schema_id)
    assert refused.value.reason == "schema"
    return refused.value.detail


def test_a_schema_is_fetched_once(registry: FakeRegistry) -> None:
    registry.register(3, POINT)
    schemas = opened(registry)
    records = [FakeRecord(b"k", wire(3, POINT, {"x": n})) for n in range(9)]
    asyncio.run(schemas.load(records))
    assert [decode_avro(record.value or b"", schemas.schema)["x"] for record in records] == list(range(9))
    assert registry.paths == ["/schemas/ids/3"]


def test_an_unknown_id_is_refused_and_not_asked_for_again(registry: FakeRegistry) -> None:
    schemas = opened(registry)
    assert "schema id 4 is not in" in refusal(schemas, 4)
    assert "schema id 4" in refusal(schemas, 4)
    assert registry.paths == ["/schemas/ids/4"]


def test_an_unknown_id_is_asked_for_again_after_a_while(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas = opened(registry)
    refusal(schemas, 4)
    registry.register(4, POINT)
    monkeypatch.setattr(schema_registry, "UNKNOWN_FOR_S", 0.0)
    assert decode_avro(wire(4, POINT, {"x": 1}), schemas.schema) == {"x": 1}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"schemaType": "PROTOBUF"}, "schema id 1 is PROTOBUF, not Avro"),
        ({"schema": "{"}, "schema id 1 has no schema of JSON"),
        ({"schema": '{"type": "record"}'}, "schema id 1 no Avro schema"),
        ({"schema": '"Unheard"'}, "schema id 1 no Avro schema: UnknownType"),
        ({"schema": '{"type": "array", "items": "null"}'}, "a list whose elements take no byte"),
        ({"references": [{"subject": "gone", "version": 1}]}, "schema id 1 refers to version 1 of 'gone'"),
    ],
)
def test_a_schema_that_cannot_be_read_with_is_refused(registry: FakeRegistry, more: dict[str, Any], why: str) -> None:
    registry.register(1, POINT)
    registry.answers["/schemas/ids/1"] |= more
    assert why in refusal(opened(registry), 1)


def test_a_schema_may_refer_to_others(registry: FakeRegistry) -> None:
    line = {"type": "record", "name": "Line", "fields": [{"name": "end", "type": "Point"}]}
    registry.register(2, line, references=[{"name": "Point", "subject": "a/point", "version": 6}])
    registry.answers["/subjects/a%2Fpoint/versions/6"] = {"schema": json.dumps(POINT)}
    value = HEADER.pack(0, 2) + b"\x08"
    assert decode_avro(value, opened(registry).schema) == {"end": {"x": 4}}


def test_a_registry_that_comes_back_is_asked_again(registry: FakeRegistry) -> None:
    registry.register(1, POINT)
    registry.failing = 2
    schemas = opened(registry)
    schemas.load_now([FakeRecord(b"k", wire(1, POINT, {"x": 1}))])
    assert len(registry.asked) == 3 and schemas.problem == ""


def test_a_registry_that_stays_silent_is_named_and_ends_the_wait() -> None:
    kafka = KafkaSettings(schema_registry_url="http://127.0.0.1:9", events_format="confluent-avro")
    schemas = SchemaRegistry(kafka, patience_s=0.2)
    began = time.monotonic()
    with pytest.raises(
        RegistryError, match=r"schema registry http://127.0.0.1:9 has not answered for .*: Connection refused"
    ):
        schemas.schema(1)
    assert time.monotonic() - began < 3
    assert "does not answer" in schemas.problem and "records wait" in schemas.problem


def test_the_event_loop_goes_on_while_the_registry_is_waited_for() -> None:
    kafka = KafkaSettings(schema_registry_url="http://127.0.0.1:9", events_format="confluent-avro")
    schemas, turns = SchemaRegistry(kafka, patience_s=0.3), 0

    async def waiting() -> None:
        nonlocal turns
        load = asyncio.ensure_future(schemas.load([FakeRecord(None, HEADER.pack(0, 1))]))
        while not load.done():
            turns += 1
            await asyncio.sleep(0.01)
        with pytest.raises(RegistryError):
            await load

    asyncio.run(waiting())
    assert turns > 5


@pytest.mark.parametrize("status", [401, 403, 400])
def test_a_refusal_of_the_client_is_no_refusal_of_the_record(registry: FakeRegistry, status: int) -> None:
    registry.answers["/schemas/ids/1"] = status
    with pytest.raises(RegistryError, match=f"HTTP status {status} .*schema_registry_login_file"):
        opened(registry).schema(1)


def test_a_login_is_sent(registry: FakeRegistry, tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("ann:secret\n")
    file.chmod(0o600)
    registry.register(1, POINT)
    opened(registry, schema_registry_login_file=str(file)).schema(1)
    assert registry.asked[0][1] == "Basic YW5uOnNlY3JldA=="


def test_garbage_does_not_hold_a_batch_up(registry: FakeRegistry) -> None:
    """Of many ids the commonest are asked for; the others are refused without a question."""
    registry.register(900, POINT)
    garbage = [FakeRecord(None, HEADER.pack(0, number)) for number in range(300)]
    good = [FakeRecord(None, wire(900, POINT, {"x": 1}))] * 2
    schemas = opened(registry)
    schemas.load_now(garbage + good)
    assert len(registry.asked) == MAX_IDS_PER_BATCH
    assert schemas.schema(900) is not None
    assert "not asked for" in refusal(schemas, 299)


def test_an_answer_that_is_no_registrys_is_no_refusal_of_the_record(registry: FakeRegistry) -> None:
    registry.answers["/schemas/ids/1"] = ["a list"]
    with pytest.raises(RegistryError, match="is the address that of a schema registry"):
        opened(registry, patience_s=0.1).schema(1)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (b"", "not the magic byte"),
        (b"\x00\x00\x00", "not the magic byte"),
        (b"\x01\x00\x00\x00\x01\x02", "not the magic byte"),
        (HEADER.pack(0, 1), "not Avro of schema 1"),
        (HEADER.pack(0, 1) + b"\x02\x02", "1 bytes behind the record of schema 1"),
        (HEADER.pack(0, 1) + b"\xff" * 12, "not Avro of schema 1"),
    ],
)
def test_bytes_that_do_not_fit_their_schema_are_malformed(registry: FakeRegistry, part: bytes, why: str) -> None:
    registry.register(1, POINT)
    with pytest.raises(RecordError) as refused:
        decode_avro(part, opened(registry).schema)
    assert refused.value.reason == "malformed" and why in refused.value.detail


def test_settings_of_two_topics_share_nothing(registry: FakeRegistry) -> None:
    registry.register(1, POINT)
    one, other = opened(registry), opened(registry)
    assert one.schema(1) is not None and other.problem == ""
    assert replace(KafkaSettings(), schema_registry_url=registry.url).schema_registry_url == registry.url
