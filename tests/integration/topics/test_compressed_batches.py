"""Records as other producers compress them.

The tests take each codec, and a record that is large only when it is unpacked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer

from streams.contract.kafka_records import OutRecord
from streams.kafka.topic_specs import TOPICS
from streams.kafka.topics import create_topics, open_admin
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import as_record, publish, sequencer, wait_read
from tests.integration.lists.recommender_runs import WAIT_S, lag, newest_revisions, put_items, recommender
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.main import main

pytestmark = pytest.mark.kafka
LARGE = 3 << 20
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def produce(settings: Settings, topic: str, records: Iterable[OutRecord], codec: str, **config: Any) -> None:
    """Publish records to a topic of the contract with librdkafka, as most producers do."""
    options = {"compression.type": codec, "partitioner": "murmur2_random", "linger.ms": 50} | config
    producer = Producer({"bootstrap.servers": settings.kafka.broker, **options})
    for record in records:
        producer.produce(settings.kafka.topic(topic), key=record.key, value=record.value)
    assert producer.flush(20) == 0


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_record_that_is_large_only_unpacked_is_rejected(settings: Settings, tmp_path: Path, codec: str) -> None:
    """The record fits on no topic as it is, so it is cut, and its true size is said.

    The sequencer accepts the records after it, also after a restart.
    """
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


def compress_topics(settings: Settings, codec: str) -> None:
    """Create the topics, and let the broker keep each of them in a codec of its own choice.

    An administrator may set this.
    """

    async def run() -> None:
        await create_topics(settings.kafka)
        admin: Any = await open_admin(settings.kafka)
        try:
            topics = {settings.kafka.topic(spec.name): spec.configs() | {"compression.type": codec} for spec in TOPICS}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, *topic) for topic in topics.items()])
        finally:
            await admin.close()

    asyncio.run(run())


@pytest.mark.long
@pytest.mark.parametrize("of_topics", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_on_every_topic(
    settings: Settings, tmp_path: Path, of_topics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events and items come in each codec; the broker keeps all topics in another codec.

    Windows, recovery, lists and their readers work.
    """
    compress_topics(settings, of_topics)
    put_items(settings, tiny.write_items(tmp_path / "items.csv"))
    items = [OutRecord(record.key, record.value) for record in read_all(settings, "items")]
    events = [
        as_record(make_event(f"e{i}", T0 + i, user_id=f"u{i % 7}", item_id=f"i{i % tiny.N_ITEMS}")) for i in range(100)
    ]
    for i, codec in enumerate(CODECS):
        produce(settings, "items", items[i :: len(CODECS)], codec)
        produce(settings, "events", events[i :: len(CODECS)], codec)
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 100)["accepted"] == 100
    publish(settings, events)
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 100)["duplicate"] == 100, "the windows came back out of the changelog"
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
        assert worker.counts()["values"]["catalogue_items"] == tiny.N_ITEMS
    assert set(newest_revisions(settings)) == {f"u{i}" for i in range(7)}
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        assert main(["subscribe", "--broker", settings.kafka.broker, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["users"] == 7
