"""The consumer that loses nothing.

The tests show what it commits, what stops the worker, and which queues keep their items.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from streams.errors import StalledError
from streams.runtime.batch_scheduler import FetchedRecords
from streams.runtime.consumer import BatchConsumer, KeepingFlowControl
from streams.runtime.offsets_to_commit import OffsetsToCommit, note_of
from streams.settings.load import Settings
from tests.support.builders import FakeRecord

PLACE = TP("sequences", 0)
GENERATION = 7


def consumer() -> Any:
    """Return a consumer that is connected to nothing."""
    made: Any = BatchConsumer.__new__(BatchConsumer)
    made.app = SimpleNamespace(consumer_generation_id=GENERATION, failure=None)
    made._acked, made._acked_index = {PLACE: [1, 2]}, {PLACE: {1, 2}}
    forgotten: list[TP] = []
    made.scheduler = SimpleNamespace(forgotten=forgotten, forget=forgotten.append)
    made.offsets = OffsetsToCommit(lambda tp: -1)
    return made


def batch(first: int, last: int, follows: int = -1, generation: int = GENERATION) -> Any:
    """Return the event of a record batch; its ``acks`` counts acknowledgements."""
    records = FetchedRecords([FakeRecord(b"u", b"w", offset) for offset in range(first, last + 1)], follows)
    acks: list[int] = []
    message = SimpleNamespace(tp=PLACE, offset=last, generation_id=generation)
    return SimpleNamespace(message=message, value=records, acks=acks, ack=lambda: acks.append(last))


def test_a_delivered_batch_moves_the_commit_past_its_last_record() -> None:
    """Kafka's committed offset is that of the next record to read."""
    made, event = consumer(), batch(10, 19)
    assert list(made._filter_tps_with_pending_acks()) == []
    made.deliver(event)
    assert made._new_offset(PLACE) == 20
    assert made._acked == made._acked_index == {}, "Faust's lists of acknowledgements do not grow for ever"
    assert list(made._filter_tps_with_pending_acks()) == [PLACE]
    assert list(made._filter_tps_with_pending_acks({"other"})) == []
    assert event.acks == [19]


def test_another_note_is_committed_beside_the_same_offset() -> None:
    """Faust commits nothing where the offset stands still.

    Other topics keep their notes, and undelivered records their offset.
    """
    made = consumer()
    made._committed_offset = defaultdict(lambda: None)
    made.note_again("sequences", "too early")
    assert made._new_offset(PLACE) is None
    made.deliver(batch(10, 19), "first")
    made._committed_offset[PLACE] = 20
    assert made._filter_committable_offsets([PLACE]) == {}
    made.note_again("other", "second")
    assert made._filter_committable_offsets([PLACE]) == {}
    made.note_again("sequences", "second")
    found = made._filter_committable_offsets([PLACE])
    assert found == {PLACE: 20} and note_of(found[PLACE]) == "second"


def test_an_accepted_batch_alone_moves_nothing() -> None:
    """What the agent has taken but not delivered must be read again after a crash."""
    made = consumer()
    made.accept(batch(0, 9))
    assert made._new_offset(PLACE) is None


def test_a_batch_of_an_ended_assignment_is_not_committed() -> None:
    """The partition may belong to another worker.

    A commit would skip records that the other worker has not read.
    """
    made, stale = consumer(), batch(10, 19, generation=GENERATION - 1)
    made.deliver(stale)
    assert made._new_offset(PLACE) is None
    assert stale.acks == [19], "Faust still waits for it"


def test_nothing_is_committed_after_the_first_failure() -> None:
    """The failed batch lies before what others deliver now.

    The thread that would commit answers nobody.
    """
    made, event = consumer(), batch(10, 19)
    made.app.failure = RuntimeError("first")
    made.deliver(event)
    assert made._new_offset(PLACE) is None
    assert event.acks == [19], "the stop does not wait for it"
    assert asyncio.run(made._commit({PLACE: 20})) is False


def test_a_hole_before_the_agent_stops_the_worker() -> None:
    """A batch that was fetched but never came would be lost by the next commit."""
    made = consumer()
    made.accept(batch(0, 9))
    with pytest.raises(StalledError, match="records 10 to 19 went missing"):
        made.accept(batch(20, 29, follows=19))


def test_offsets_that_the_broker_has_not_are_no_hole() -> None:
    """Compaction and transaction markers leave gaps: what counts is what was fetched before."""
    made = consumer()
    made.accept(batch(0, 9))
    made.accept(batch(15, 19, follows=9))
    made.accept(batch(20, 29, follows=19))


def test_reading_again_is_no_hole() -> None:
    """After a seek back a batch begins a new reading, and older offsets come again."""
    made = consumer()
    made.accept(batch(0, 9))
    made.accept(batch(10, 19, follows=9))
    made.accept(batch(5, 14))
    made.accept(batch(15, 24, follows=14))
    made.accept(batch(30, 39))


def test_a_partition_that_comes_back_may_begin_anywhere() -> None:
    """While another worker had the partition, its offsets moved on.

    The first offset read after that follows no earlier one.
    """
    made = consumer()
    made.accept(batch(0, 9))
    made._forget({PLACE})
    made.accept(batch(500, 509))
    assert made.scheduler.forgotten == [PLACE]


def test_a_first_batch_that_went_missing_stops_the_worker() -> None:
    """The first batch of an assignment is guarded like every other.

    The second batch shows that the first one was fetched.
    """
    made = consumer()
    with pytest.raises(StalledError, match="records 0 to 499 went missing"):
        made.accept(batch(500, 509, follows=499))


@pytest.mark.parametrize(("committed", "expected"), [(None, [PLACE]), (0, [PLACE]), (500, [])])
def test_a_partition_without_commit_is_read_from_its_beginning(committed: int | None, expected: list[TP]) -> None:
    """Aiokafka does not seek back where nothing was committed.

    Records dropped in a rebalance would be skipped.
    """
    made = consumer()
    sought: list[TP] = []
    changelog = TP("user-vectors", 0)

    async def seek_to_committed() -> dict[TP, int | None]:
        return {PLACE: committed, changelog: None}

    async def seek_to_beginning(*partitions: TP) -> None:
        sought.extend(partitions)

    made._thread = SimpleNamespace(seek_to_committed=seek_to_committed, seek_to_beginning=seek_to_beginning)
    made.assignment = set
    made.app.settings = Settings()
    made.app.tables = SimpleNamespace(changelog_topics={changelog.topic})
    assert asyncio.run(made.seek_to_committed()) == {PLACE: committed, changelog: None}
    assert sought == expected, "a changelog is not read through this consumer"


@pytest.mark.parametrize(("control", "kept"), [(KeepingFlowControl, ["batch"]), (FlowControlEvent, [])])
def test_a_second_resume_keeps_queued_batches(control: type[FlowControlEvent], kept: list[str]) -> None:
    """Faust resumes twice at the end of a recovery.

    Its own flow control then throws fetched batches away.
    """

    async def run() -> list[str]:
        flow = control(initially_suspended=True)
        queue: FlowControlQueue = FlowControlQueue(flow_control=flow, clear_on_resume=True)
        flow.resume()
        await queue.put("batch")
        flow.resume()
        return [queue.get_nowait() for _ in range(queue.qsize())]

    assert asyncio.run(run()) == kept


def test_a_resume_after_a_suspension_clears_the_queue() -> None:
    """What was queued before a rebalance may belong to another worker now."""

    async def run() -> int:
        flow = KeepingFlowControl(initially_suspended=False)
        queue: FlowControlQueue = FlowControlQueue(flow_control=flow, clear_on_resume=True)
        await queue.put("stale")
        flow.suspend()
        flow.resume()
        n_items: int = queue.qsize()
        return n_items

    assert asyncio.run(run()) == 0


def test_fausts_own_check_of_partitions_is_off() -> None:
    """Faust logs an ERROR for each changelog partition of a healthy worker.

    The watchdog asks the broker instead.
    """
    made, asked = consumer(), []
    made._thread = SimpleNamespace(verify_event_path=lambda *args: asked.append(args))
    made.verify_event_path(1e9, PLACE)
    assert asked == []
