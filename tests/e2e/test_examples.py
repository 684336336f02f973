"""Each program of ``docs/examples`` does what its first line says."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from models.artifact.artifact import load_artifact
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Event, Recommendation, RecommendedItem, RecordDecoder, encode
from streams.contract.roles import ALL_TOPICS
from streams.kafka.publisher import Publisher, partition_of
from streams.kafka.topic_reader import read_records
from streams.kafka.topics import create_topics
from streams.settings.load import Settings, load_settings
from tests.conftest import delete_topics
from tests.support import tiny
from tests.support.builders import T0
from tools.broker.local_broker import BrokerInfo

# one process for all: the topics without a prefix are there once, and their fixture deletes them
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("examples")]

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "docs" / "examples"


def run(folder: Path, name: str, *arguments: str) -> list[str]:
    """Run an example in a folder; return the lines that it prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def unnamed(broker: BrokerInfo) -> Iterator[Settings]:
    """Give settings for the topics without a prefix, which the examples name.

    No other test on this broker has them.
    """
    settings = load_settings({}, broker=broker.bootstrap)
    asyncio.run(create_topics(settings.kafka))
    yield settings
    for topic in ALL_TOPICS:
        delete_topics(broker.bootstrap, topic)


def made_list(revision: int, item_id: str, *, provisional: bool = False) -> Recommendation:
    """Return a list of one item for the user u1."""
    item = RecommendedItem(item_id, 0.5, {}, None)
    made_id = f"{revision}-{provisional}"
    return Recommendation(1, made_id, "u1", revision, "e", revision, T0, T0, "a", 1, "none", [item], provisional)


@pytest.mark.kafka
def test_published_events_keep_the_contract(unnamed: Settings, tmp_path: Path) -> None:
    """The record's key, its partition and every field are as headrace wants them."""
    assert run(tmp_path, "publish.py", unnamed.kafka.broker, "u1", "i1", "i2") == ["2 events of u1 published"]

    async def read() -> list[ConsumedRecord]:
        return [record async for record in read_records(unnamed.kafka, "events")]

    found = asyncio.run(read())
    assert [RecordDecoder(Event).decode(record.value or b"").item_id for record in found] == ["i1", "i2"]
    assert {(record.partition, record.key) for record in found} == {(partition_of(b"u1", 4), b"u1")}


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_each_list_is_read_once(unnamed: Settings) -> None:
    """Repeats, older lists and a provisional list behind the full one are no news."""
    lists = [
        made_list(1, "a", provisional=True),
        made_list(1, "b"),
        made_list(1, "b"),
        made_list(1, "a", provisional=True),
        made_list(2, "c"),
        made_list(1, "b"),
        made_list(3, "d"),
    ]

    async def publish() -> None:
        async with Publisher(unnamed.kafka) as publisher:
            for each in lists:
                await publisher.publish("recommendations", b"u1", encode(each))

    asyncio.run(publish())
    command = [sys.executable, str(EXAMPLES / "consume.py"), unnamed.kafka.broker]
    printed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as consumer:
        assert consumer.stdout is not None
        try:
            for line in consumer.stdout:
                printed.append(line.strip())
                if "revision 3" in line:
                    break
            consumer.send_signal(signal.SIGINT)
            assert consumer.wait(60) == 0
        finally:  # a test that ends by its time limit must not wait for the program
            consumer.kill()
    assert printed == [f"u1 revision {n}: {item}(0.500)" for n, item in ((1, "a"), (1, "b"), (2, "c"), (3, "d"))]


def test_the_pipeline_makes_lists_without_kafka(tmp_path: Path) -> None:
    """A list for a window, with reasons, and popular items where nothing is known."""
    shutil.copytree(tiny.artifact(), tmp_path / "artifact")
    tiny.write_items(tmp_path / "items.csv")
    lines = run(tmp_path, "embed_pipeline.py", "artifact", "items.csv")
    assert lines[0].startswith("artifact ") and len(lines) == 1 + 2 * (1 + 5)
    assert [line for line in lines if "degraded" in line] == [
        "three views (degraded: none)",
        "nothing known (degraded: popular)",
    ]


def test_an_encoder_of_ones_own_trains_an_artifact(tmp_path: Path) -> None:
    """The artifact names the encoder, and loads."""
    tiny.write_log(tmp_path / "log.csv", 20, 10)
    tiny.write_items(tmp_path / "items.csv")
    run(tmp_path, "custom_encoder.py", "log.csv", "items.csv", "artifact")
    assert load_artifact(tmp_path / "artifact").encoder_version == "characters-256-1"


def test_examples_are_short_and_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == ["consume.py", "custom_encoder.py", "embed_pipeline.py", "publish.py"]
    assert [name for name in names if f"(docs/examples/{name})" not in readme] == []
    assert all(len((EXAMPLES / name).read_text("utf-8").splitlines()) <= 60 for name in names)
