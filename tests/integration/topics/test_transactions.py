"""Records of an aborted transaction are invisible to apps, readers and commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from streams.contract.kafka_records import OutRecord
from streams.contract.records import Item, Recommendation, RecommendedItem, encode
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import as_record, newest_windows, publish, sequencer, wait_read
from tests.integration.lists.recommender_runs import WAIT_S, lag, newest_revisions, recommender
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.commands.running.status import as_dict
from tools.main import main
from tools.workers.flow import Flow, look, problems_of

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers", "catalogue"), pytest.mark.long]


def transact(settings: Settings, records: Sequence[tuple[str, OutRecord]], *, is_kept: bool) -> None:
    """Write records to topics of the contract in one transaction.

    The broker has them before the transaction ends.
    """
    options = {"bootstrap.servers": settings.kafka.broker, "partitioner": "murmur2_random"}
    producer = Producer(options | {"transactional.id": f"{settings.kafka.topic_prefix}shop"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for topic, record in records:
        producer.produce(settings.kafka.topic(topic), key=record.key, value=record.value)
    assert producer.flush(20) == 0
    producer.commit_transaction(20) if is_kept else producer.abort_transaction(20)


def written_by(user: str) -> list[tuple[str, OutRecord]]:
    """Return five events of a user, an item and a list of that name."""
    events = [as_record(make_event(f"{user}-{i}", T0 + i, user_id=user, item_id=f"i{i}")) for i in range(5)]
    item = OutRecord(f"item-{user}".encode(), encode(Item(1, f"item-{user}", f"title {user}")))
    found = Recommendation(
        1, f"list-{user}", f"reader-{user}", 1, "e", 0, T0, T0, "a", 1, "none", [RecommendedItem("i1", 0.5, {}, None)]
    )
    of_list = OutRecord(found.user_id.encode(), encode(found))
    return [*(("events", event) for event in events), ("items", item), ("recommendations", of_list)]


def said_by(settings: Settings, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Return what a command prints."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        assert main([*command, "--broker", settings.kafka.broker]) == 0
    return capsys.readouterr().out


def test_what_was_aborted_never_happened(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No reader sees an aborted record, before and after a restart.

    The readers are sequencer, recommender, catalogue, `subscribe` and `items list`.
    """
    transact(settings, written_by("aborted"), is_kept=False)
    transact(settings, written_by("committed"), is_kept=True)
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 5)["accepted"] == 5
    publish(settings, [as_record(make_event("later", T0 + 9, user_id="committed"))])
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 1) == {
            "read": 1,
            "accepted": 1,
            "duplicate": 0,
            "late": 0,
            "rejected": 0,
            "forgotten": 0,
        }
    windows = newest_windows(settings)
    assert {user: len(window.items) for user, window in windows.items()} == {"committed": 6}
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
        assert worker.counts()["values"]["catalogue_items"] == tiny.N_ITEMS + 1
    assert set(newest_revisions(settings)) == {"committed", "reader-committed"}
    lists = said_by(settings, capsys, "subscribe", "--format", "json")
    assert "reader-committed" in lists and "aborted" not in lists
    items = said_by(settings, capsys, "items", "list")
    assert "item-committed" in items and "aborted" not in items


def test_a_transaction_left_open_is_what_status_says(settings: Settings) -> None:
    """An open transaction stops all flows without lag, so status must name it."""
    topic = settings.kafka.topic("events")

    async def run() -> tuple[Flow, Flow]:
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.broker, transactional_id=f"{topic}-shop", transaction_timeout_ms=60_000
        )
        await producer.start()
        try:
            await producer.begin_transaction()
            for i in range(3):
                await producer.send_and_wait(topic, encode(make_event(f"e{i}", T0 + i)), key=b"u1", partition=2)
            is_open = (await look(settings, 1.0))[0]
            await producer.commit_transaction()
        finally:
            await producer.stop()
        return is_open, (await look(settings, 1.0))[0]

    is_open, done = asyncio.run(run())
    assert as_dict(is_open)["open_transactions"] == [{"partition": 2, "last_stable": 0, "high_watermark": 3}]
    assert [f"on {topic}-2" in problem for problem in problems_of(is_open)].count(True) == 1
    assert as_dict(done)["open_transactions"] == []


def test_windows_of_an_aborted_transaction_are_not_recovered(settings: Settings, tmp_path: Path) -> None:
    """Recovery reads the changelog as the other readers do.

    A window that was never committed does not turn its event into a repeat.
    """
    events = [as_record(make_event(f"e{i}", T0 + i)) for i in range(3)]
    with sequencer(settings, tmp_path / "other") as worker:
        publish(settings, events)
        wait_read(worker, 3)
    window = newest_windows(settings)["u1"]
    transact(settings, [("sequences", OutRecord(b"u1", encode(window)[:-3]))], is_kept=False)
    publish(settings, events)
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 3)["duplicate"] == 3
    assert newest_windows(settings)["u1"] == window
