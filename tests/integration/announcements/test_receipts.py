"""Announcements and receipts on a broker, with members of a real consumer group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer

from streams.announcements.follow import follow
from streams.announcements.receipts import AGAIN_S, Receipts
from streams.announcements.sending.announce import announce, announced
from streams.announcements.sending.answers import Answers, wait_for_receipts
from streams.contract.announcements import ModelAnnouncement, Receipt
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings, Settings

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers")]

FIRST = ModelAnnouncement(1, "first", "/artifacts/first", "0" * 64, 5, {})
SECOND = ModelAnnouncement(1, "second", "/artifacts/second", "1" * 64, 6, {"hr": 0.5}, previous=FIRST.uri)


@asynccontextmanager
async def member(kafka: KafkaSettings) -> AsyncIterator[tuple[AIOKafkaConsumer, Receipts]]:
    """Give a member of the recommenders' group that writes receipts."""
    consumer = AIOKafkaConsumer(
        kafka.topic("sequences"),
        group_id=kafka.group("recommender"),
        session_timeout_ms=6_000,
        heartbeat_interval_ms=500,
        **kafka.client_arguments(),
    )
    await consumer.start()
    receipts = Receipts(kafka, "recommender", lambda: str(consumer._coordinator.member_id))  # noqa: SLF001
    writing = asyncio.ensure_future(receipts.run())
    polling = asyncio.ensure_future(_poll(consumer))
    try:
        yield consumer, receipts
    finally:
        for task in (writing, polling):
            task.cancel()
        await asyncio.gather(writing, polling, return_exceptions=True)
        await consumer.stop()


async def _poll(consumer: AIOKafkaConsumer) -> None:
    while True:
        await consumer.getmany(timeout_ms=200)


async def wait(kafka: KafkaSettings, announcement: str, timeout_s: float = 20, partition: int | None = None) -> Answers:
    return await wait_for_receipts(
        kafka, "model", announcement, apps=["recommender"], timeout_s=timeout_s, partition=partition
    )


def test_a_follower_reads_what_is_there_and_then_each_change(settings: Settings) -> None:
    async def run() -> None:
        await create_topics(settings.kafka)
        async with aclosing(follow(settings.kafka, "models", ModelAnnouncement)) as changes:
            assert await anext(changes) == {}
            first = await announce(settings.kafka, "models", "live", FIRST)
            found = await anext(changes)
            assert (found["live"].id, found["live"].record) == (first, FIRST)
            await announce(settings.kafka, "models", "live", None)
            assert (await anext(changes))["live"].record is None
        await announce(settings.kafka, "models", "live", SECOND)
        assert (await announced(settings.kafka, "models", ModelAnnouncement))["live"].record == SECOND

    asyncio.run(asyncio.wait_for(run(), 60))


def test_all_live_workers_must_answer_and_a_rebalance_changes_who(settings: Settings) -> None:
    """A second worker joins while the command waits, and it leaves without an answer."""

    async def run() -> None:
        kafka = settings.kafka
        await create_topics(kafka)
        announcement = await announce(kafka, "models", "live", FIRST)
        assert (await wait(kafka, announcement, 5)).n_live == 0
        async with member(kafka) as (_, receipts):
            late = await wait(kafka, announcement, 2)
            assert len(late.missing) == 1 and late.given == ()
            waiting = asyncio.ensure_future(wait(kafka, announcement))
            async with member(kafka):
                await receipts.give("model", announcement, stage="done")
                await asyncio.sleep(1)
                assert not waiting.done(), "the second worker has not answered"
            answers = await waiting
            assert answers.missing == () and [r.stage for r in answers.given] == ["done"] and answers.n_live == 1
            later = await announce(kafka, "models", "live", FIRST)
            assert len((await wait(kafka, later, 1)).missing) == 1, "an answer to the announcement before"

    asyncio.run(asyncio.wait_for(run(), 90))


def test_a_worker_under_another_name_gives_its_newest_receipt_again(settings: Settings) -> None:
    """The broker tells a command the new name only; a receipt is also given again after a day."""

    async def run() -> None:
        await create_topics(settings.kafka)
        name, now_s = "", time.time()
        receipts = Receipts(settings.kafka, "recommender", lambda: name, lambda: now_s)
        writing = asyncio.ensure_future(receipts.run())
        given = receipts.give("model", "live@0.0", stage="begun", detail="x" * 3_000)
        await asyncio.sleep(1)
        assert not given.done(), "a worker without a name has nothing to write"
        name = "one"
        await given
        await receipts.give("model", "live@0.0", stage="done")
        await receipts.give("forget", "r1", stage="done", partition=2)
        name = "two"
        found: dict[str, Receipt] = {}
        async with aclosing(follow(settings.kafka, "receipts", Receipt)) as changes:
            while "model/live@0.0/recommender/two" not in found:
                changed = await anext(changes)
                found |= {key: each.record for key, each in changed.items() if each.record is not None}
            now_s += AGAIN_S
            assert list(await anext(changes)) == ["model/live@0.0/recommender/two"], "the topic forgets old receipts"
        assert {key: (r.worker, r.stage) for key, r in found.items()} == {
            "model/live@0.0/recommender/one": ("one", "done"),
            "model/live@0.0/recommender/two": ("two", "done"),
            "forget/r1/recommender/2": ("one", "done"),
        }
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 60))
