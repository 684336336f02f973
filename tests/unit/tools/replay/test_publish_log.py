"""A replay publishes checked events in order, here to a list, and keeps its checkpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.contract.records import Event, RecordDecoder
from streams.errors import BrokerError, InputError
from streams.settings.load import Settings
from tools.files.cells.times import TimeRange
from tools.files.logs.log_rows import LogRow
from tools.files.refused_rows import MAX_BAD
from tools.replay.checkpoint import Checkpoint, load_checkpoint
from tools.replay.publish_log import CHECKPOINT_ROWS, Pace, Replay

T0 = 1_600_000_000_000
DECODER = RecordDecoder(Event)


def row(line: int, *, user: str = "u1", ts: int | None = None, kind: str = "view", own_id: str | None = None) -> LogRow:
    """Return a row of a log, one second after that of the line before."""
    at = T0 + line * 1_000 if ts is None else ts
    return LogRow(
        line=line, event_id=own_id, user_id=user, item_id="i1", type=kind, ts_ms=at, session_id=None, value=None
    )


class FakeSink:
    """Keeps records, which a flush delivers. Fails or is interrupted on demand."""

    def __init__(self, *, fail_at: int | None = None, interrupt_at: int | None = None) -> None:
        self.taken: list[tuple[str, bytes, Event]] = []
        self.delivered = 0
        self.flushes = 0
        self._fail_at = fail_at
        self._interrupt_at = interrupt_at

    async def publish(self, topic: str, key: bytes, value: bytes | None) -> None:
        if len(self.taken) == self._interrupt_at:
            raise asyncio.CancelledError
        self.taken.append((topic, key, DECODER.decode(value)))

    async def flush(self) -> None:
        if self._fail_at is not None and len(self.taken) > self._fail_at:
            raise BrokerError("gone")
        self.flushes += 1
        self.delivered = len(self.taken)

    @property
    def events(self) -> list[Event]:
        return [event for _, _, event in self.taken]


def replaying(
    rows: list[LogRow],
    path: Path,
    *,
    sink: FakeSink | None = None,
    times: TimeRange | None = None,
    done: Checkpoint | None = None,
    speed: float | None = None,
    settings: Settings | None = None,
) -> tuple[Replay, FakeSink]:
    """Replay rows into a sink and return both."""
    sink = sink or FakeSink()
    replay = Replay(settings or Settings(), "r@00000000", path, times or TimeRange(), done)
    asyncio.run(replay.publish(rows, sink, Pace(speed)))
    return replay, sink


def test_pace_follows_event_time() -> None:
    """At speed 2, ten seconds of events take five; what is overdue is not waited for."""
    pace = Pace(2.0)
    assert pace.delay_s(T0) == 0.0
    assert 4.5 < pace.delay_s(T0 + 10_000) <= 5.0
    assert pace.delay_s(T0 - 99_000) == 0.0
    fast = Pace(None)
    assert fast.delay_s(T0) == fast.delay_s(T0 + 10**9) == 0.0


def test_events_carry_run_and_position(tmp_path: Path) -> None:
    """The sequencer's memory for repeats rests on these two."""
    replay, sink = replaying([row(1), row(2, user="u2")], tmp_path / "c.json")
    assert [(event.run, event.seq) for event in sink.events] == [("r@00000000", 0), ("r@00000000", 1)]
    assert [(topic, key) for topic, key, _ in sink.taken] == [("events", b"u1"), ("events", b"u2")]
    tally = replay.tally
    assert (tally.read, tally.sent, tally.first_ts, tally.last_ts) == (2, 2, T0 + 1_000, T0 + 2_000)


def test_rows_outside_the_range_are_skipped(tmp_path: Path) -> None:
    """Every row is sent, skipped or bad."""
    rows = [row(line) for line in range(10)]
    replay, sink = replaying(rows, tmp_path / "c.json", times=TimeRange(T0 + 3_000, T0 + 6_000))
    assert [event.ts for event in sink.events] == [T0 + 3_000, T0 + 4_000, T0 + 5_000]
    assert [event.seq for event in sink.events] == [0, 1, 2]
    assert (replay.tally.read, replay.tally.sent, replay.tally.skipped) == (10, 3, 7)


def test_resume_goes_on_with_the_same_positions(tmp_path: Path) -> None:
    """A resumed replay gives the events that an unbroken one would have given."""
    path = tmp_path / "c.json"
    rows = [row(line) for line in range(100)]
    _, whole = replaying(rows, tmp_path / "whole.json")
    first = FakeSink(interrupt_at=40)
    with pytest.raises(asyncio.CancelledError):
        replaying(rows, path, sink=first)
    done = load_checkpoint(path, "r@00000000", "murmur2")
    assert done == Checkpoint("r@00000000", 39, 40)
    assert first.delivered == 40, "what was taken before Ctrl-C is delivered"
    replay, second = replaying(rows, path, done=done)
    assert first.events + second.events == whole.events
    assert (replay.tally.sent, replay.tally.skipped) == (60, 40)
    assert load_checkpoint(path, "r@00000000", "murmur2") == Checkpoint("r@00000000", 99, 100)


def test_checkpoint_is_written_on_the_way(tmp_path: Path) -> None:
    """A crash costs a bounded part of the replay."""
    rows = [row(line) for line in range(2 * CHECKPOINT_ROWS + 10)]
    _, sink = replaying(rows, tmp_path / "c.json")
    assert sink.flushes >= 3


def test_undelivered_rows_are_not_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that runs ahead of delivery loses events."""
    # only the number of rows makes one
    monkeypatch.setattr("tools.replay.publish_log.CHECKPOINT_S", 3_600.0)
    path = tmp_path / "c.json"
    rows = [row(line) for line in range(CHECKPOINT_ROWS + 500)]
    with pytest.raises(BrokerError):
        replaying(rows, path, sink=FakeSink(fail_at=CHECKPOINT_ROWS))
    done = load_checkpoint(path, "r@00000000", "murmur2")
    assert done is not None and done.seq == CHECKPOINT_ROWS - 1


def test_bad_rows_are_counted_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row beyond the contract is shown with its line, keeps its position, and costs no other."""
    tomorrow = int(time.time() * 1000) + 10 * 86_400_000
    rows = [row(1), row(2, user="u" * 200), row(3, kind="buy"), row(4, ts=tomorrow), row(5)]
    replay, sink = replaying(rows, tmp_path / "c.json")
    assert [(event.ts, event.seq) for event in sink.events] == [(T0 + 1_000, 0), (T0 + 5_000, 4)]
    assert (replay.tally.read, replay.tally.sent, replay.tally.refused.n) == (5, 2, 3)
    shown = capsys.readouterr().err
    assert "line 2: length" in shown and "line 3: value" in shown and "line 4: future" in shown


def test_log_that_is_mostly_bad_is_refused(tmp_path: Path) -> None:
    """A wrong time unit or mapping ends in one line, not in a million."""
    rows = [row(line, kind="buy") for line in range(MAX_BAD + 10)]
    with pytest.raises(InputError, match="1001 of 1001 rows are bad") as caught:
        replaying(rows, tmp_path / "c.json")
    assert "\n" not in str(caught.value)


def test_rows_are_read_as_they_are_published(tmp_path: Path) -> None:
    """A log larger than memory must not be gathered first."""
    ahead = 0
    sink = FakeSink()

    def rows() -> Iterator[LogRow]:
        nonlocal ahead
        for line in range(5_000):
            ahead = max(ahead, line - len(sink.taken))
            yield row(line)

    asyncio.run(Replay(Settings(), "r", tmp_path / "c.json", TimeRange(), None).publish(rows(), sink, Pace(None)))
    assert ahead == 0


def test_slow_replay_can_be_cancelled_while_it_waits(tmp_path: Path) -> None:
    """Ctrl-C does not wait for the next event's time."""

    async def run() -> FakeSink:
        sink = FakeSink()
        replay = Replay(Settings(), "r", tmp_path / "c.json", TimeRange(), None)
        task = asyncio.create_task(replay.publish([row(1), row(10**6)], sink, Pace(1.0)))
        while not sink.taken:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        return sink

    assert asyncio.run(run()).delivered == 1
