"""Topics that other systems fill, against a real broker.

Events become windows, deletes remove items.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.contract.kafka_records import OutRecord
from streams.kafka.publisher import Publisher
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings, Settings
from tests.integration.delivery.test_sequencer import newest_windows, sequencer
from tests.integration.reading import read_all
from tests.support.builders import T0
from tests.support.registries import FakeRegistry, fake_registry, wire
from tests.support.waiting import wait_until
from tools.catalogue.items_topic import read_catalogue

pytestmark = pytest.mark.kafka
CLICK = {
    "type": "record",
    "name": "Click",
    "fields": [
        *({"name": name, "type": "string"} for name in ("event_id", "item_id", "type")),
        {"name": "user_id", "type": "long"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
KEY = {"type": "record", "name": "Key", "fields": [{"name": "user_id", "type": "long"}]}
ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [{"name": "item_id", "type": "string"}, {"name": "title", "type": "string"}],
}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as served:
        for number, schema in enumerate((CLICK, KEY, ITEM), 1):
            served.register(number, schema)
        yield served


def row(number: int) -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": 7, "item_id": f"i{number}", "type": "view", "ts": T0 + number}


def as_json(payload: Any) -> bytes:
    return json.dumps({"schema": {"type": "struct", "fields": []}, "payload": payload}).encode()


def event_of(name: str, number: int) -> OutRecord:
    """Return an event as a system writes it, its key too."""
    if name == "confluent-avro":
        return OutRecord(wire(2, KEY, {"user_id": 7}), wire(1, CLICK, row(number)))
    payload = {"before": None, "after": row(number), "op": "c"} if name == "debezium" else row(number)
    return OutRecord(as_json({"user_id": 7}), as_json(payload))


def items_of(name: str) -> list[OutRecord]:
    """Return two items, of which one is deleted."""
    rows = [{"item_id": each, "title": f"Title {each}"} for each in ("a", "b")]
    if name == "debezium":
        changes = [{"before": None, "after": each, "op": "r"} for each in rows] + [
            {"before": rows[0], "after": None, "op": "d"}
        ]
        return [OutRecord(as_json({"item_id": "ab"[n % 2]}), as_json(change)) for n, change in enumerate(changes)]
    made = [wire(3, ITEM, each) if name == "confluent-avro" else json.dumps(each).encode() for each in rows]
    return [OutRecord(b"a", made[0]), OutRecord(b"b", made[1]), OutRecord(b"a", None)]


def fill(kafka: KafkaSettings, name: str, bad: OutRecord) -> None:
    """Publish three events, a bad one, and the items."""

    async def run() -> None:
        await create_topics(kafka)
        async with Publisher(kafka) as publisher:
            for record in [event_of(name, 1), bad, event_of(name, 2), event_of(name, 3)]:
                await publisher.publish(kafka.topic("events"), record.key or b"", record.value)
            for record in items_of(name):
                await publisher.publish(kafka.topic("items"), record.key or b"", record.value)

    asyncio.run(run())


@pytest.mark.parametrize("name", ["confluent-avro", "debezium", "connect-json"])
def test_events_become_windows_and_a_delete_removes_an_item(
    settings: Settings, registry: FakeRegistry, tmp_path: Path, name: str
) -> None:
    """The window is under the plain user_id.

    An event that breaks the contract is rejected with its own bytes.
    """
    bad = OutRecord(event_of(name, 9).key, wire(99, CLICK, row(9)) if name == "confluent-avro" else b'{"op": "x"}')
    fill(settings.kafka, name, bad)
    variables = {
        "HEADRACE_EVENTS_FORMAT": name,
        "HEADRACE_ITEMS_FORMAT": name,
        "HEADRACE_SCHEMA_REGISTRY_URL": registry.url,
    }
    with sequencer(settings, tmp_path, **variables):
        wait_until(lambda: len(newest_windows(settings).get("7", _Nothing).items) == 3, 30, lambda: "three behaviours")
        rejects = read_all(settings, "events.rejected")
    assert [item.item_id for item in newest_windows(settings)["7"].items] == ["i1", "i2", "i3"]
    assert [(reject.key, reject.value) for reject in rejects] == [(bad.key, bad.value)]
    reason = dict(rejects[0].headers)["reason"]
    assert reason == (b"schema" if name == "confluent-avro" else b"malformed" if name == "debezium" else b"missing")
    kafka = replace(settings.kafka, items_format=name, schema_registry_url=registry.url)  # type: ignore[arg-type]
    assert [(item.item_id, item.title) for item in asyncio.run(read_catalogue(kafka))] == [("b", "Title b")]


class _Nothing:
    """No window yet."""

    items: tuple[()] = ()
