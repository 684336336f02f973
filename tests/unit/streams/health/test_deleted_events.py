"""Events that the broker deleted unread.

Each counts once, across deliveries and restarts, and no event that was taken counts.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.contract.committed_note import (
    MAX_GAPS,
    UNHEALTHY_MS,
    Acknowledged,
    Gap,
    Judged,
    decode_acknowledged,
    decode_judged,
    encode,
    unseen,
    with_gap,
)
from streams.health.deleted_events import DeletedEvents
from streams.runtime.batch_scheduler import batch_scheduler
from streams.runtime.consumer import BatchConsumer
from streams.runtime.offsets_to_commit import OffsetsToCommit, note_of
from streams.settings.load import Settings
from tests.support.builders import FakeRecord
from tools.workers.flow import Flow, problems_of

PLACE = TP("events", 1)


def consumer(fetched: int = -1) -> Any:
    """Return a consumer without a connection that has fetched up to an offset.

    ``lost`` holds the counts that it told of.
    """
    made: Any = BatchConsumer.__new__(BatchConsumer)
    lost: list[int] = []
    health = SimpleNamespace(note_expired=lambda tp, gap: lost.append(gap.n_lost))
    made.app = SimpleNamespace(consumer_generation_id=1, failure=None, settings=Settings(), health=health)
    made.lost = lost
    made.scheduler = batch_scheduler(100, 1_000)()
    made.offsets = OffsetsToCommit(made.scheduler.fetched)
    if fetched >= 0:
        list(made.scheduler.iterate({PLACE: [FakeRecord(b"u", b"w", fetched)]}))
    made.assignment = lambda: {PLACE, TP("sequences", 1)}
    return made


def deliver(made: Any, offset: int) -> None:
    message = SimpleNamespace(tp=PLACE, offset=offset, generation_id=1)
    made.deliver(SimpleNamespace(message=message, ack=lambda: None), '{"read":7}')


def committed(made: Any) -> tuple[int, int]:
    """Return the offset to commit and the loss that is committed beside it."""
    offset = made.offsets.get(PLACE)
    return int(offset), sum(gap.n_lost for gap in decode_judged(note_of(offset)).gaps)


def test_a_gap_at_the_start_is_said_counted_and_committed(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing may ever come behind it: a partition whose events are all gone is committed too."""
    made = consumer()
    made.note_gap(PLACE, 14, 190)
    assert made.lost == [176] and committed(made) == (190, 176)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "events-1: offsets 14 to 189" in line and "at most 176 events" in line


def test_what_is_in_flight_before_a_gap_is_delivered_first() -> None:
    """The offset before the gap is committed first.

    A restart from that offset finds, and counts, the gap again.
    """
    made = consumer(fetched=29)
    deliver(made, 19)
    made.note_gap(PLACE, 30, 50)
    assert committed(made) == (20, 0)
    deliver(made, 24)
    assert committed(made) == (25, 0)
    deliver(made, 29)
    assert committed(made) == (50, 20)
    assert decode_judged(note_of(made.offsets.get(PLACE))).read == 7, "what else was to be committed is"


def test_losses_add_up_across_lives_until_they_are_a_day_old() -> None:
    """The next owner goes on with what is committed."""
    first = consumer()
    first.note_gap(PLACE, 0, 10)
    note = note_of(first.offsets.get(PLACE))
    second = consumer()
    second.offsets.resume(PLACE, note)
    deliver(second, 20)
    assert committed(second) == (21, 10)
    second.note_gap(PLACE, 21, 26)
    assert committed(second) == (26, 15) and second.lost == [5]
    third = DeletedEvents()
    third.resume(PLACE, note)
    third.add(PLACE, Gap(30, 33, decode_judged(note).gaps[-1].seen_ms + UNHEALTHY_MS))
    assert [gap.n_lost for gap in decode_judged(third.close(PLACE)[1]).gaps] == [3]


def test_what_is_no_loss_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Three things are not losses.

    They are a partition of another worker, a compacted topic, and a log that ends before the
    position, whose content nobody knows.
    """
    made = consumer()
    made.note_gap(TP("events", 0), 0, 10)
    made.note_gap(TP("sequences", 1), 0, 10)
    assert not caplog.records
    made.note_gap(PLACE, 50, 0)
    assert made.lost == [] and made.offsets.partitions() == []
    assert "events-1: the log ends before offset 50" in caplog.text


def test_status_is_unhealthy_after_a_loss() -> None:
    """The line has the offsets of the newest gaps, however many there are."""
    gaps = [(0, Gap(14, 90, 1)), (3, Gap(0, 174, 1))]
    (line,) = problems_of(Flow("sequencer", "events", None, {}, {}, expired=tuple(gaps)))
    assert "at most 250: events-0 offsets 14 to 89, events-3 offsets 0 to 173; publish" in line
    (line,) = problems_of(Flow("sequencer", "events", None, {}, {}, expired=tuple(gaps * 20)))
    assert "and 35 more gaps" in line and len(line) < 500


def test_a_day_or_an_acknowledgement_ends_a_loss_and_a_later_loss_is_new() -> None:
    """An acknowledgement hides no later loss.

    This holds for a worker whose clock is behind, and for a topic that was made anew.
    """
    seen = Acknowledged(90, 5_000)
    old = [Gap(14, 90, 5_000), Gap(0, 10, 4_000)]
    assert unseen(old, Acknowledged(), 6_000) == tuple(old)
    assert unseen(old, Acknowledged(), 5_000 + UNHEALTHY_MS) == ()
    assert unseen(old, seen, 6_000) == ()
    later, behind, anew = Gap(95, 99, 7_000), Gap(95, 99, 4_500), Gap(0, 5, 7_000)
    assert unseen([*old, later, behind, anew], seen, 8_000) == (later, behind, anew)


@pytest.mark.parametrize("note", ["", "x", "[1]", '{"begin":"1","seen_ms":1}', "\ud800"])
def test_metadata_of_somebody_else_acknowledges_nothing(note: str) -> None:
    assert decode_acknowledged(note) == Acknowledged()
    assert decode_acknowledged(encode(Acknowledged(3, 4))) == Acknowledged(3, 4)


def test_what_is_committed_of_gaps_is_bounded() -> None:
    """The oldest become one, which loses no event from the sum; those a day old go."""
    gaps: tuple[Gap, ...] = (Gap(0, 7, 0),)
    for i in range(1, 1_000):
        gaps = with_gap(gaps, Gap(100 * i, 100 * i + 10, UNHEALTHY_MS + i))
    assert len(gaps) == MAX_GAPS and sum(gap.n_lost for gap in gaps) == 9_990
    assert (gaps[0].first, gaps[-1]) == (100, Gap(99_900, 99_910, UNHEALTHY_MS + 999))
    judged = decode_judged(
        encode(Judged(10**6, 10**6, 10**13, tuple(Gap(10**15, 10**16, 10**13, 10**15) for _ in gaps)))
    )
    assert len(judged.gaps) == MAX_GAPS and len(encode(judged)) < 4_096
