"""Records as other producers compress them: each codec, and a record that is large only when it is unpacked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.batches import OutRecord
from streams.settings import Settings
from tests.builders import T0, make_event
from tests.integration.test_sequencer import as_record, publish, read_all, sequencer, wait_read

pytestmark = pytest.mark.kafka
LARGE = 3 << 20


def produce(settings: Settings, topic: str, records: Iterable[OutRecord], codec: str, **config: Any) -> None:
    """Publish records to a topic of the contract with librdkafka, as most producers do."""
    options = {"compression.type": codec, "partitioner": "murmur2_random", "linger.ms": 50} | config
    producer = Producer({"bootstrap.servers": settings.kafka.broker, **options})
    for record in records:
        producer.produce(settings.kafka.topic(topic), key=record.key, value=record.value)
    assert producer.flush(20) == 0


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_record_that_is_large_only_unpacked_is_rejected(settings: Settings, tmp_path: Path, codec: str) -> None:
    """It fits on no topic as it is: it is cut, its true size is said, and what comes after it is accepted, also after a restart."""
    good = [as_record(make_event(f"e{i}", T0 + i)) for i in range(10)]
    bombs = [OutRecord(b"u1", b"\xc1" * LARGE), OutRecord(b"k" * LARGE, b"\xc1")]
    publish(settings, [])
    produce(settings, "events", [*good[:5], *bombs, *good[5:]], codec, **{"message.max.bytes": 4 * LARGE})
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 12)["rejected"] == 2
    publish(settings, [as_record(make_event("later"))])
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 1)["accepted"] == 1
    rejected = [
        {name: value.decode() for name, value in record.headers} for record in read_all(settings, "events.rejected")
    ]
    assert sorted((r["truncated"], r["size"], r["key-size"]) for r in rejected) == [
        ("key", "1", str(LARGE)),
        ("value", str(LARGE), "2"),
    ]
