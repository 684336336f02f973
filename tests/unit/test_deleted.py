"""Events that the broker deleted unread: each counted once, across deliveries and restarts, none that was taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.batches import batch_scheduler
from streams.consumer import BatchConsumer, note_of
from streams.deleted import UNHEALTHY_MS, DeletedEvents, Gap
from streams.reject_watch import decode_judged
from streams.settings import Settings
from tests.builders import FakeRecord
from tools.status import Flow, problems_of

PLACE = TP("events", 1)


def consumer(fetched: int = -1) -> Any:
    """Return a consumer that is connected to nothing, and has fetched up to an offset; ``lost`` are the counts it told of."""
    made: Any = BatchConsumer.__new__(BatchConsumer)
    lost: list[int] = []
    health = SimpleNamespace(note_expired=lambda line, n: lost.append(n))
    made.app = SimpleNamespace(consumer_generation_id=1, failure=None, settings=Settings(), health=health)
    made._accepted, made._delivered, made._deleted, made.lost = {}, {}, DeletedEvents(), lost
    made.scheduler = batch_scheduler(100, 1_000)()
    if fetched >= 0:
        list(made.scheduler.iterate({PLACE: [FakeRecord(b"u", b"w", fetched)]}))
    made.assignment = lambda: {PLACE, TP("sequences", 1)}
    return made


def deliver(made: Any, offset: int) -> None:
    message = SimpleNamespace(tp=PLACE, offset=offset, generation_id=1)
    made.deliver(SimpleNamespace(message=message, ack=lambda: None), '{"read":7}')


def committed(made: Any) -> tuple[int, int]:
    """Return the offset to commit and the loss that is committed beside it."""
    offset = made._delivered[PLACE]
    return int(offset), decode_judged(note_of(offset)).expired


def test_a_gap_at_the_start_is_said_counted_and_committed(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing may ever come behind it: a partition whose events are all gone is committed too."""
    made = consumer()
    made.note_gap(PLACE, 14, 190)
    assert made.lost == [176] and committed(made) == (190, 176)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "events-1: offsets 14 to 189" in line and "at most 176 events" in line


def test_what_is_in_flight_before_a_gap_is_delivered_first() -> None:
    """Its offset is committed without the gap: a restart from there would find, and count, the gap again."""
    made = consumer(fetched=29)
    deliver(made, 19)
    made.note_gap(PLACE, 30, 50)
    assert committed(made) == (20, 0)
    deliver(made, 24)
    assert committed(made) == (25, 0)
    deliver(made, 29)
    assert committed(made) == (50, 20)
    assert decode_judged(note_of(made._delivered[PLACE])).read == 7, "what else was to be committed is"


def test_losses_add_up_across_lives_until_they_are_a_day_old() -> None:
    """The next owner goes on with what is committed."""
    first = consumer()
    first.note_gap(PLACE, 0, 10)
    note = note_of(first._delivered[PLACE])
    second = consumer()
    second._deleted.resume(PLACE, note)
    deliver(second, 20)
    assert committed(second) == (21, 10)
    second.note_gap(PLACE, 21, 26)
    assert committed(second) == (26, 15) and second.lost == [5]
    third = DeletedEvents()
    third.resume(PLACE, note)
    third.add(PLACE, Gap(30, 33, decode_judged(note).expired_ms + UNHEALTHY_MS))
    assert decode_judged(third.close(PLACE)[1]).expired == 3


def test_what_is_no_loss_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A partition of another worker; a compacted topic; and a log that ends before the position, of which nobody knows what it held."""
    made = consumer()
    made.note_gap(TP("events", 0), 0, 10)
    made.note_gap(TP("sequences", 1), 0, 10)
    assert not caplog.records
    made.note_gap(PLACE, 50, 0)
    assert made.lost == [] and made._delivered == {}
    assert "events-1: the log ends before offset 50" in caplog.text


def test_status_is_unhealthy_after_a_loss() -> None:
    flow = Flow("sequencer", "events", None, {}, {}, expired=((0, 76), (3, 174)))
    assert "at most 250 events of partitions 0, 3 of events were deleted before they were read" in problems_of(flow)[0]
