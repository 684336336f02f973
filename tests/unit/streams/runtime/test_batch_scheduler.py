"""Record batches: how fetched records are cut and in which order batches come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from streams.contract.kafka_records import ConsumedRecord, OutRecord
from streams.errors import BrokerError
from streams.kafka.batch_writer import MAX_BATCH_BYTES, BatchWriter
from streams.runtime.batch_scheduler import batch_scheduler, split_by_size
from streams.settings.load import KafkaSettings
from tests.support.builders import FakeRecord


def records(n: int, size: int = 10) -> list[ConsumedRecord]:
    """Return n records of ``size`` bytes with offsets 0..n-1."""
    return [FakeRecord(None, b"x" * size, i) for i in range(n)]


def offsets(batches: list[list[FakeRecord]]) -> list[list[int]]:
    """Return the offsets in each batch."""
    return [[record.offset for record in batch] for batch in batches]


def test_batches_hold_at_most_max_records() -> None:
    """The bound on records holds and no record is lost or moved."""
    assert offsets(list(split_by_size(records(5), 2, 1_000))) == [[0, 1], [2, 3], [4]]  # type: ignore[arg-type]


def test_batches_hold_at_most_max_bytes() -> None:
    """The bound on bytes holds; a record above it stands alone instead of being dropped."""
    mixed = [FakeRecord(None, b"x" * size, i) for i, size in enumerate([40, 40, 40, 500, 10, 10])]
    assert offsets(list(split_by_size(mixed, 100, 100))) == [[0, 1], [2], [3], [4, 5]]  # type: ignore[arg-type]


def test_no_records_no_batches() -> None:
    """An empty fetch makes no empty batch."""
    assert list(split_by_size([], 10, 10)) == []


def test_partitions_take_turns() -> None:
    """A long partition must not starve a short one.

    Each batch carries the offset of its last record.
    """
    scheduler = batch_scheduler(2, 1_000)()
    long, short = TP("events", 0), TP("events", 1)
    order = [(tp.partition, batch.offset) for tp, batch in scheduler.iterate({long: records(6), short: records(2)})]
    assert order == [(0, 1), (1, 1), (0, 3), (0, 5)]


class CountingProducer:
    """Builds real batches and notes the size of each one it is given."""

    def __init__(self, n_away: int = 0) -> None:
        self.sent: list[int] = []
        self.n_away = n_away

    def create_batch(self) -> BatchBuilder:
        """Return a builder as aiokafka's producer makes it."""
        return BatchBuilder(MAX_BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Take a batch once the broker is back.

        Until then a topic without an earlier write is unknown.
        """
        if self.n_away:
            self.n_away -= 1
            raise UnknownTopicOrPartitionError
        self.sent.append(batch.record_count())
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


def send(records: list[OutRecord], n_away: int = 0, **limits: int) -> list[int]:
    """Return how many records each batch held that the writer sent."""
    writer, producer = BatchWriter(KafkaSettings()), CountingProducer(n_away)
    writer._producer = producer
    asyncio.run(writer.send("topic", 0, records, **limits))
    return producer.sent


def test_batches_say_what_was_fetched_before_them() -> None:
    """So that a reader sees a hole; reading again, and a new reading, follow nothing."""
    tp = TP("events", 0)
    scheduler = batch_scheduler(2, 1_000)()

    def follows(fetched: list[ConsumedRecord]) -> list[int]:
        return [batch.value.follows for _, batch in scheduler.iterate({tp: fetched})]

    assert follows(records(4)) == [-1, 1]
    assert follows([FakeRecord(b"k", b"v", 7)]) == [3]
    assert follows(records(2)) == [-1], "read again from the beginning"
    scheduler.forget(tp)
    assert follows([FakeRecord(b"k", b"v", 500)]) == [-1], "another worker has read on meanwhile"


def test_a_record_above_the_limit_is_refused_before_it_is_sent() -> None:
    """Aiokafka takes any first record of a batch.

    Unchecked, the record would go out and come back as a delivery failure.
    """
    exact = OutRecord(b"key", b"x" * (MAX_BATCH_BYTES - 3))
    assert send([exact]) == [1]
    for too_large in (
        OutRecord(b"key", b"x" * (MAX_BATCH_BYTES - 2)),
        OutRecord(b"key", b"x" * (MAX_BATCH_BYTES - 10), [("reason", b"12")]),
    ):
        with pytest.raises(BrokerError, match=f"a record of {MAX_BATCH_BYTES + 1} bytes is above"):
            send([OutRecord(b"k", b"small"), too_large])


def test_a_larger_limit_lets_a_large_record_go_as_a_batch_of_its_own() -> None:
    """Rejects carry headers, and original bytes of up to the broker's limit.

    So their topic takes larger records.
    """
    large = OutRecord(b"key", b"x" * (MAX_BATCH_BYTES + 200_000), [("reason", b"too-large")])
    assert send([OutRecord(b"k", b"a"), large, OutRecord(b"k", b"b")], max_record_bytes=2_000_000) == [1, 1, 1]


def test_many_records_are_cut_into_batches_within_the_limit() -> None:
    """Nothing is lost at the border of two batches."""
    assert send([OutRecord(b"k", b"x" * 300_000) for _ in range(5)]) == [2, 2, 1]


def test_a_first_batch_for_a_topic_waits_for_a_broker_that_is_away() -> None:
    """A sequencer whose first reject came in an outage once ended itself.

    It took twelve seconds for it: the longest pause of all.
    """
    assert send([OutRecord(b"k", b"v"), OutRecord(b"k", b"w")], n_away=3) == [2]
