"""Producers with two partitioners.

No event is lost, no window is split, and a redrive moves events to the right partition.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.contract.records import Event, encode
from streams.kafka.publisher import partition_of
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import newest_windows, sequencer, wait_read
from tests.integration.reading import read_all
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.main import main

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers"), pytest.mark.long]
N_USERS, N_EACH = 40, 10
LIBRDKAFKA = {"murmur2": "murmur2_random", "crc32": "consistent_random"}


def produce(settings: Settings, events: list[Event], partitioner: str) -> None:
    """Publish events as a librdkafka client with that partitioner does."""
    producer = Producer({"bootstrap.servers": settings.kafka.broker, "partitioner": LIBRDKAFKA[partitioner]})
    for event in events:
        producer.produce(settings.kafka.topic("events"), key=event.user_id.encode(), value=encode(event))
    assert producer.flush(20) == 0


@pytest.mark.parametrize("ours", ["murmur2", "crc32"])
def test_two_partitioners_then_a_redrive(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str
) -> None:
    """Each event is accepted or rejected, also over a restart.

    In the end every user has one whole window, on one partition.
    """
    asyncio.run(create_topics(settings.kafka))
    users = [f"u{number}" for number in range(N_USERS)]
    events = [make_event(f"{user}-{i}", T0 + i, user_id=user) for i in range(N_EACH) for user in users]
    n_partitions, half = settings.kafka.partitions, len(events) // 2
    theirs = "crc32" if ours == "murmur2" else "murmur2"
    astray = {u for u in users if len({partition_of(u.encode(), n_partitions, p) for p in LIBRDKAFKA}) == 2}
    n_strays = len(astray) * N_EACH // 2
    assert n_strays
    with sequencer(settings, tmp_path, HEADRACE_PARTITIONER=ours) as worker:
        produce(settings, events[:half], ours)
        wait_read(worker, half)
    produce(settings, events[half:], theirs)
    with sequencer(settings, tmp_path, HEADRACE_PARTITIONER=ours) as worker:
        counts = wait_read(worker, half)
        assert (counts["accepted"], counts["rejected"]) == (half - n_strays, n_strays)
    rejects = [dict(record.headers) for record in read_all(settings, "events.rejected")]
    assert [headers["reason"] for headers in rejects] == [b"partition"] * n_strays
    assert {user: len(w.items) for user, w in newest_windows(settings).items()} == {
        user: N_EACH // 2 if user in astray else N_EACH for user in users
    }
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_PARTITIONER", ours)
    with (
        sequencer(settings, tmp_path / "a", HEADRACE_PARTITIONER=ours),
        sequencer(settings, tmp_path / "b", HEADRACE_PARTITIONER=ours),
    ):
        redrive = ["rejected", "redrive", "--reason", "partition", "--yes", "--broker", settings.kafka.broker]
        assert main(redrive) == 0

        def sizes() -> dict[str, int]:
            return {user: len(window.items) for user, window in newest_windows(settings).items()}

        wait_until(lambda: sizes() == dict.fromkeys(users, N_EACH), 30, lambda: str(sizes()))
    partitions: dict[bytes | None, set[int]] = defaultdict(set)
    for record in read_all(settings, "sequences"):
        if record.value is not None:
            partitions[record.key].add(record.partition)
    assert partitions == {u.encode(): {partition_of(u.encode(), n_partitions, ours)} for u in users}
    assert len(read_all(settings, "events.rejected")) - n_strays <= 2, "nothing but marks came"


def test_windows_that_another_partitioner_left_are_said_at_the_start(settings: Settings, tmp_path: Path) -> None:
    """One line, which tells how many users are split off; their windows stay as they are."""
    asyncio.run(create_topics(settings.kafka))
    users = [f"u{number}" for number in range(N_USERS)]
    n_partitions = settings.kafka.partitions
    astray = {u for u in users if len({partition_of(u.encode(), n_partitions, p) for p in LIBRDKAFKA}) == 2}
    with sequencer(settings, tmp_path, HEADRACE_PARTITIONER="crc32") as worker:
        produce(settings, [make_event(f"{user}-0", T0, user_id=user) for user in users], "crc32")
        wait_read(worker, N_USERS)
    before = read_all(settings, "sequences")
    with sequencer(settings, tmp_path / "next") as worker:
        told = f"{len(astray)} of {N_USERS} users have a window on another partition than partitioner=murmur2 gives"
        wait_until(lambda: told in worker.log_path.read_text(), 20, worker.log_tail)
        lines = [line for line in worker.log_path.read_text().splitlines() if "on another partition" in line]
    assert len(lines) == 1 and "WARNING" in lines[0]
    windows = {(r.partition, r.key, r.value) for r in before if r.value is not None}
    assert {(r.partition, r.key, r.value) for r in read_all(settings, "sequences") if r.value is not None} == windows
