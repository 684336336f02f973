"""The written contract equals the code: every topic, every field, every limit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from streams.contract import announcements, records, windows
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import MAX_RECORD_BYTES, REASONS
from streams.contract.reject_size import CUT_BYTES, MAX_WHOLE_BYTES
from streams.contract.rejects import Reject
from streams.errors import RecordError
from streams.kafka.topic_specs import TOPICS, TopicSpec
from tests.support.builders import FakeRecord
from tools.project.asyncapi import DOCUMENT as PATH
from tools.project.asyncapi import code_schemas, with_schemas

DOCUMENT = yaml.safe_load(PATH.read_text("utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def test_schemas_are_those_that_the_code_checks() -> None:
    """A field or limit that differs misleads every shop; tools.project.asyncapi writes them."""
    text = PATH.read_text("utf-8")
    assert with_schemas(text) == text


def test_a_changed_schema_is_written_anew_and_its_texts_stay() -> None:
    """Otherwise the test above would pass whatever the file says."""
    text = PATH.read_text("utf-8")
    changed = text.replace("maxLength: 128", "maxLength: 127").replace("required: [v, user_id]", "required: [v]")
    assert changed != text and with_schemas(changed) == text
    assert with_schemas(text.replace("What was done.", "Changed.")) != text


def test_no_record_is_documented_that_does_not_exist() -> None:
    """A description of a record that is gone misleads."""
    assert set(SCHEMAS) - {"RejectHeaders"} == set(code_schemas())


def test_every_struct_of_the_wire_is_covered() -> None:
    """A new struct of ``records`` or ``windows`` belongs in RECORDS and in the contract."""
    structs = {
        value
        for module in (announcements, records, windows)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    } - {msgspec.Struct, windows.BaseWindow, windows.ListWindow}  # parts of WindowState
    assert {struct.__name__ for struct in structs} <= set(SCHEMAS)


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if schema.get("properties")])
def test_every_field_is_described(name: str) -> None:
    """A shop cannot fill a field whose meaning is not written."""
    for field, schema in SCHEMAS[name]["properties"].items():
        assert schema.get("description"), f"{name}.{field}"


def test_size_limit_is_that_of_the_code() -> None:
    """A publisher must know the largest record."""
    assert {schema["x-max-bytes"] for schema in SCHEMAS.values() if "x-max-bytes" in schema} == {MAX_RECORD_BYTES}


def test_topics_are_those_of_the_code() -> None:
    """Code and document know the same topics."""
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == {spec.name for spec in TOPICS}


@pytest.mark.parametrize("spec", TOPICS, ids=lambda spec: spec.name)
def test_topic_is_documented_as_it_is_created(spec: TopicSpec) -> None:
    """Key, cleanup, retention and partitioning decide how a topic may be used."""
    channel = next(channel for channel in DOCUMENT["channels"].values() if channel["address"] == spec.name)
    config = channel["bindings"]["kafka"]["topicConfiguration"]
    written = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in config.items()}
    assert written == spec.configs()
    assert channel["x-key"] == spec.key
    assert channel["x-partitions"] == ("HEADRACE_PARTITIONS" if spec.is_keyed_by_user else 1)


def test_reject_headers_are_those_of_the_code() -> None:
    """To publish a reject again, one needs its headers."""
    record: ConsumedRecord = FakeRecord(b"u", b"x")
    headers = [name for name, _ in Reject(record, RecordError("type", "ts", "no")).as_record().headers]
    schema = SCHEMAS["RejectHeaders"]
    large: ConsumedRecord = FakeRecord(b"u", bytes(MAX_WHOLE_BYTES))
    of_large = [name for name, _ in Reject(large, RecordError("type", "ts", "no")).as_record().headers]
    assert headers == schema["required"]
    assert of_large == list(schema["properties"])
    assert f"more than {MAX_WHOLE_BYTES} bytes" in schema["description"]
    assert f"first {CUT_BYTES} bytes" in schema["description"]
    assert schema["properties"]["reason"]["enum"] == list(REASONS)


def test_references_lead_somewhere() -> None:
    """A dangling reference breaks every tool that reads the contract."""

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for part in node.values() for found in references(part)]
        return [found for part in node for found in references(part)] if isinstance(node, list) else []

    for reference in references(DOCUMENT):
        node = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_example_event_keeps_the_contract() -> None:
    """People copy examples."""
    payload = DOCUMENT["components"]["messages"]["Event"]["examples"][0]["payload"]
    records.RecordDecoder(records.Event).decode(msgspec.json.encode(payload))
