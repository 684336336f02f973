"""Too many rejects raise an alarm once a minute.

Where a ceiling is set, it holds across restarts.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.contract.committed_note import REJECTS_UNHEALTHY_S, Judged, decode_judged
from streams.contract.rejects import Reject
from streams.errors import RecordError, RejectCeilingError
from streams.health.counters import Counts
from streams.health.reject_watch import (
    ALARM_EVERY_S,
    CEILING_MIN_RECORDS,
    RejectAlarm,
    RejectCeiling,
)
from streams.runtime.consumer import BatchConsumer
from streams.runtime.offsets_to_commit import NotedOffset, OffsetsToCommit, note_of
from streams.sequencer.absorb_batch import BatchResult
from streams.sequencer.agent import Sequencer, build_sequencer
from streams.settings.load import SequencerSettings, Settings
from tests.support.builders import FakeRecord
from tools.workers.flow import Flow, problems_of


def rejects(n: int, reason: str = "malformed", headers: tuple[tuple[str, bytes], ...] = ()) -> list[Reject]:
    """Return rejects of one reason."""
    record = FakeRecord(b"u", b"x", headers=headers)
    return [Reject(record, RecordError(reason, "ts", "bad")) for _ in range(n)]


def lives(share: float, window: int, batch: int, n_bad: int) -> tuple[int, int]:
    """Return how many bad records a worker diverts in a hundred lives, and the lives it took.

    The worker settles before it stops.
    """
    diverted, note = 0, ""
    for life in range(100):
        ceiling = RejectCeiling(share, window, decode_judged(note))
        try:
            while diverted < n_bad:
                ceiling.check(Counts(read=batch, rejected=batch), [])
                diverted, note = diverted + batch, ceiling.note()
        except RejectCeilingError:
            continue
        return diverted, life + 1
    return diverted, 100


@pytest.mark.parametrize("batch", [1, 100, 700, 5_000])
def test_all_lives_together_divert_no_more_than_one(batch: int) -> None:
    """A supervisor restarts without limit: no life may begin with a fresh allowance."""
    diverted, n_lives = lives(0.5, 10_000, batch, 20_000)
    assert n_lives == 100 and diverted < CEILING_MIN_RECORDS


def test_honest_records_before_are_remembered_too() -> None:
    """Else a restart would stop at a handful of bad ones."""
    ceiling = RejectCeiling(0.5, 10_000)
    ceiling.check(Counts(read=10_000), [])
    after = RejectCeiling(0.5, 10_000, decode_judged(ceiling.note()))
    after.check(Counts(read=1_000, rejected=1_000), [])


def test_without_a_ceiling_nothing_stops() -> None:
    """Rejects lose nothing: the default goes on."""
    assert Settings().sequencer.reject_ceiling_share == 0
    assert lives(0.0, 10_000, 1_000, 50_000) == (50_000, 1)


@pytest.mark.parametrize("note", ["", "nonsense", "[]", "\udc80"])
def test_metadata_of_others_is_no_judgement(note: str) -> None:
    """Other tools may commit for the group."""
    assert decode_judged(note) == Judged()


def test_the_alarm_comes_at_once_and_then_once_a_minute() -> None:
    """With share, reasons and who; bad records behind the first line are in the second."""
    alarm = RejectAlarm()
    by_tracker = rejects(300, headers=(("client_id", b"tracker-7\n"),))
    assert alarm.take(Counts(read=1_000), [], 0.0) is None
    line = alarm.take(Counts(read=400, rejected=300), by_tracker, 1.0)
    assert line is not None
    assert "300 of the last 1400 records (21%)" in line and "malformed (ts) 300" in line and "tracker-7\\n 300" in line
    assert alarm.is_on(1.0) and not alarm.is_on(1.0 + REJECTS_UNHEALTHY_S)
    told = [alarm.take(Counts(read=10, rejected=10), rejects(10, "key"), 1.0 + s) for s in range(1, 180)]
    lines = [line for line in told if line]
    assert len(lines) == 2 and "600 of the last 600" in lines[0] and "key (ts) 600" in lines[0]
    assert "unknown: no header client_id" in lines[0]


def test_a_few_rejects_are_no_alarm() -> None:
    """Nor are many among very many."""
    alarm = RejectAlarm()
    assert alarm.take(Counts(read=19, rejected=19), rejects(19), 0.0) is None
    assert alarm.take(Counts(read=1_000), [], 2 * ALARM_EVERY_S) is None
    assert alarm.take(Counts(read=1_000, rejected=99), rejects(99), 2 * ALARM_EVERY_S) is None


def test_status_is_unhealthy_while_much_is_rejected() -> None:
    """It asks the broker, where the sequencer has left its judgement beside the offsets."""
    flow = Flow("sequencer", "events", None, {}, {}, frozenset(), (1, 3))
    assert "partitions 1, 3 of events was rejected" in problems_of(flow)[0]
    assert Judged(alarm_ms=1_000_000).alarms_at(1_000_000 + 299_000)
    assert not Judged(alarm_ms=1_000_000).alarms_at(1_000_000 + 301_000)


def test_the_note_is_committed_with_its_own_offset() -> None:
    """A newer note beside an older offset would count records twice."""
    consumer: Any = BatchConsumer.__new__(BatchConsumer)
    consumer.app = SimpleNamespace(consumer_generation_id=1, failure=None)
    consumer.offsets = OffsetsToCommit(lambda tp: -1)
    place = TP("events", 0)
    message = SimpleNamespace(tp=place, offset=9, generation_id=1)
    consumer.deliver(SimpleNamespace(message=message, ack=lambda: None), "judged")
    offset = consumer.offsets.get(place)
    assert (offset, note_of(offset), note_of(10)) == (10, "judged", "")
    assert isinstance(offset, NotedOffset)


def test_what_is_in_flight_is_committed_before_the_ceiling_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each restart would divert the batch anew.

    Nothing of the batch above the ceiling is written.
    """
    settings = Settings(sequencer=SequencerSettings(reject_ceiling_share=0.5))
    app = build_sequencer(settings)
    order: list[str] = []

    async def commit() -> bool:
        order.append("commit")
        return True

    async def notes(topic: str) -> dict[int, str]:
        return {0: '{"read":900,"rejected":900}'}

    monkeypatch.setattr(app, "_consumer", SimpleNamespace(commit=commit))
    monkeypatch.setattr(app.health.watch, "notes", notes)

    async def run() -> None:
        sequencer = Sequencer(app, SimpleNamespace(), SimpleNamespace(add=lambda name: None))  # type: ignore[arg-type]
        place = TP("events", 0)

        async def deliver() -> None:
            await asyncio.sleep(0.01)
            order.append("delivered")

        sequencer.finishing[TP("events", 1)] = asyncio.ensure_future(deliver())
        result = BatchResult(rejects=rejects(200), counts=Counts(read=200, rejected=200))
        with pytest.raises(RejectCeilingError, match="1100 of the last 1100"):
            await sequencer.judge(place, result)

    asyncio.run(run())
    assert order == ["delivered", "commit", "commit"]


def test_ceiling_stops_when_most_records_are_rejected() -> None:
    """A bad deployment upstream must not divert a whole topic."""
    ceiling = RejectCeiling(0.5, 10_000)
    ceiling.check(Counts(read=1_000, rejected=500), [])
    with pytest.raises(RejectCeilingError, match="501 of the last 1001"):
        ceiling.check(Counts(read=1, rejected=1), [])


def test_ceiling_is_not_judged_on_a_handful() -> None:
    """The first records of a quiet topic may all be bad: that proves nothing."""
    RejectCeiling(0.5, 10_000).check(Counts(read=CEILING_MIN_RECORDS - 1, rejected=CEILING_MIN_RECORDS - 1), [])


def test_ceiling_forgets_old_records() -> None:
    """A million good records long ago must not buy credit for bad ones now."""
    ceiling = RejectCeiling(0.5, 2_000)
    ceiling.check(Counts(read=1_000_000), [])
    ceiling.check(Counts(read=1_000, rejected=1_000), [])
    with pytest.raises(RejectCeilingError):
        ceiling.check(Counts(read=1_000, rejected=1_000), [])
