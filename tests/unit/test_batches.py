"""Record batches: how fetched records are cut and in which order batches come."""

from __future__ import annotations

from faust.types import TP

from streams.batches import batch_scheduler, split_by_size
from tests.builders import FakeRecord


def records(n: int, size: int = 10) -> list[FakeRecord]:
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
    """A long partition must not starve a short one, and each batch carries the offset of its last record."""
    scheduler = batch_scheduler(2, 1_000)()
    long, short = TP("events", 0), TP("events", 1)
    order = [(tp.partition, batch.offset) for tp, batch in scheduler.iterate({long: records(6), short: records(2)})]
    assert order == [(0, 1), (1, 1), (0, 3), (0, 5)]
