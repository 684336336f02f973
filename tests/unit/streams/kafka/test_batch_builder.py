"""Record batches as aiokafka builds them: when one is full, and what goes into it."""

from __future__ import annotations

from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder as KafkaBatch

from streams.kafka.batch_builder import BatchBuilder

BATCH_BYTES = 400


class Producer:
    """Creates batches as aiokafka's producer does, and connects to nothing."""

    def create_batch(self) -> Any:
        return KafkaBatch(BATCH_BYTES, 0)


def fill(builder: BatchBuilder, sizes: list[int]) -> list[Any]:
    """Add values of these sizes; return the full batches."""
    full = []
    for size in sizes:
        while (batch := builder.add(b"k", b"v" * size, (), None)) is not None:
            full.append(batch)
    return full


def test_a_full_batch_comes_back_closed_and_the_record_is_not_taken() -> None:
    """A publisher that is cancelled during the hand-over has published nothing.

    When it adds the record again, the record lies in the next batch.
    """
    builder = BatchBuilder(Producer())
    full = fill(builder, [100] * 9)
    last = builder.close()
    assert [batch.record_count() for batch in (*full, last)] == [3, 3, 3]
    assert all(batch.append(timestamp=None, key=b"k", value=b"v") is None for batch in (*full, last)), "closed"


def test_a_record_above_the_batch_size_is_a_batch_of_its_own() -> None:
    builder = BatchBuilder(Producer())
    full = fill(builder, [10, 9_000, 10])
    assert [batch.record_count() for batch in (*full, builder.close())] == [1, 1, 1]


def test_nothing_added_makes_no_batch() -> None:
    """The broker is not sent an empty batch, neither at first nor after the last one was taken."""
    builder = BatchBuilder(Producer())
    assert builder.close() is None
    builder.add(b"k", None, [], None)
    assert builder.close() is not None
    assert builder.close() is None


def test_headers_of_a_consumed_record_are_taken_as_they_are() -> None:
    """A consumer gives headers as a tuple, which aiokafka's batch refuses."""
    sizes = []
    for headers in ((), (("name", b"content"),)):
        builder = BatchBuilder(Producer())
        assert builder.add(b"k", b"v", headers, 7) is None
        batch = builder.close()
        sizes.append(batch.size() if batch else 0)
    assert sizes[1] - sizes[0] == 2 + len("name") + len("content"), "the header, and a byte for each of its two lengths"
