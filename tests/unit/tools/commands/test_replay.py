"""Replays: ids and run names that follow from the log, time ranges, checkpoints. A list stands in for the broker."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams.contract.records import Event, RecordDecoder
from streams.errors import BrokerError, InputError
from streams.settings.load import Settings, load_settings
from tools.commands import replay as replay_command
from tools.commands.replay import parse_speed
from tools.files.log_reader import LogRow
from tools.files.refused_rows import MAX_BAD
from tools.files.times import TimeRange, parse_range, parse_time
from tools.replay.checkpoint import Checkpoint, load_checkpoint
from tools.replay.identity import check_run, content_digest, default_run, event_id, wire_run
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
    """Keeps records; delivered are those before the last flush. Fails or is interrupted on demand."""

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


class TestIds:
    def test_derived_id_follows_from_the_row_alone(self) -> None:
        """Under any run name the same row is the same event."""
        assert event_id(row(7)) == event_id(row(7))
        assert event_id(row(7)).startswith("000000000007-") and len(event_id(row(7))) == 21

    @pytest.mark.parametrize("other", [row(8), row(7, user="u2"), row(7, ts=T0), row(7, kind="click")])
    def test_another_row_has_another_id(self, other: LogRow) -> None:
        """An edited row is another event."""
        assert event_id(other) != event_id(row(7))

    def test_ids_sort_in_file_order(self) -> None:
        """Rows of one time keep their order in the window, which sorts by id."""
        ids = [event_id(row(line, ts=T0)) for line in (1, 2, 9, 10, 99, 100, 12_345_678_901)]
        assert ids == sorted(ids)

    def test_own_id_of_the_log_is_kept(self) -> None:
        """The shop's ids join the replay with live events."""
        assert event_id(row(7, own_id="mine")) == "mine"

    def test_fields_do_not_run_into_each_other(self) -> None:
        """User ``a`` with item ``bc`` is not user ``ab`` with item ``c``."""
        first, second = replace(row(1), user_id="a", item_id="bc"), replace(row(1), user_id="ab", item_id="c")
        assert event_id(first) != event_id(second)


class TestRun:
    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        log = tmp_path / "u.data"
        log.write_text("x" * 10)
        return log

    def test_default_name_is_of_name_and_content(self, log: Path) -> None:
        """A grown log is another run, and so is one that was corrected in place."""
        names = [default_run(log)]
        assert re.fullmatch(r"u\.data-[0-9a-f]{8}", names[0])
        for content in ("x" * 11, "x" * 9 + "y", "y" + "x" * 9):
            log.write_text(content)
            names.append(default_run(log))
        assert len(set(names)) == len(names)
        log.write_text("x" * 10)
        assert default_run(log) == names[0]
        odd = log.with_name("日志 (1).csv")
        odd.write_text("")
        assert check_run(default_run(odd)).startswith("1-.csv-")

    def test_wire_name_keeps_the_name_and_fits(self, log: Path) -> None:
        """The contract allows 64 characters."""
        name = wire_run("r" * 55, log, None)
        assert name.startswith("r" * 55 + "@") and len(name) == 64

    def test_wire_name_changes_with_all_that_changes_the_sequence(self, log: Path) -> None:
        """Else ``seq`` would mean two things under one name, and events would be lost as repeats."""
        mappings: list[tuple[object, ...]] = [
            (None, None, "auto", None, None),
            ("user_id=u", None, "auto", None, None),
            (None, "pv=view", "auto", None, None),
            (None, None, "s", None, None),
            (None, None, "auto", 5, None),
            (None, None, "auto", None, 5),
        ]
        names = [wire_run("r", log, *mapping) for mapping in mappings]
        assert names[0] == wire_run("r", log, *mappings[0]), "repeatable"
        for content in ("x" * 11, "x" * 9 + "y"):  # the second is as long as the first log
            log.write_text(content)
            names.append(wire_run("r", log, *mappings[0]))
        assert len(set(names)) == len(names)
        moved = log.rename(log.with_name("v.data"))
        assert wire_run("r", moved, *mappings[0]) == names[-1], "the same log under another name"

    def test_a_file_larger_than_memory_would_hold_is_read_in_pieces(self, tmp_path: Path) -> None:
        """Sparse, so that the disk does not mind."""
        log = tmp_path / "big"
        with log.open("wb") as file:
            file.truncate(256 << 20)
        tracemalloc.start()
        content_digest(log)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 << 20

    @pytest.mark.parametrize("name", ["", "../x", ".hidden", "-x", "a/b", "a b", "r" * 56, "a\nb", "日"])
    def test_name_that_cannot_name_a_file_is_refused(self, name: str) -> None:
        """A run names its checkpoint file."""
        with pytest.raises(InputError, match="--run"):
            check_run(name)


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "ms"),
        [
            ("1998-03-01", 888_710_400_000),
            ("1998-03-01T00:00:00Z", 888_710_400_000),
            ("1998-03-01T01:00:00+01:00", 888_710_400_000),
            ("888710400000", 888_710_400_000),
            (None, None),
        ],
    )
    def test_forms(self, text: str | None, ms: int | None) -> None:
        """ISO 8601 without a zone is UTC."""
        assert parse_time("--from", text) == ms

    @pytest.mark.parametrize("text", ["yesterday", "", "12", "1998-13-01"])
    def test_no_time_is_refused(self, text: str) -> None:
        """A misread bound would publish the wrong part of a log."""
        with pytest.raises(InputError, match="--from"):
            parse_time("--from", text)

    def test_range_is_half_open(self) -> None:
        """Two replays that meet at a time share no event."""
        times = TimeRange(10, 20)
        assert [ts in times for ts in (9, 10, 19, 20)] == [False, True, True, False]
        assert 5 in TimeRange(None, 6) and 7 in TimeRange(7, None)

    def test_empty_range_is_refused(self) -> None:
        """It could only be a mistake."""
        with pytest.raises(InputError, match="not before"):
            parse_range("2000-01-02", "2000-01-01")

    @pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", ""])
    def test_bad_speed_is_refused(self, text: str) -> None:
        """A speed of zero would never end."""
        with pytest.raises(InputError, match="--speed"):
            parse_speed(text)

    def test_pace_follows_event_time(self) -> None:
        """At speed 2, ten seconds of events take five; what is overdue is not waited for."""
        pace = Pace(2.0)
        assert pace.delay_s(T0) == 0.0
        assert 4.5 < pace.delay_s(T0 + 10_000) <= 5.0
        assert pace.delay_s(T0 - 99_000) == 0.0
        assert Pace(None).delay_s(T0) == Pace(parse_speed("max")).delay_s(T0 + 10**9) == 0.0


class TestLoop:
    def test_events_carry_run_and_position(self, tmp_path: Path) -> None:
        """The sequencer's memory for repeats rests on these two."""
        replay, sink = replaying([row(1), row(2, user="u2")], tmp_path / "c.json")
        assert [(event.run, event.seq) for event in sink.events] == [("r@00000000", 0), ("r@00000000", 1)]
        assert [(topic, key) for topic, key, _ in sink.taken] == [("events", b"u1"), ("events", b"u2")]
        tally = replay.tally
        assert (tally.read, tally.sent, tally.first_ts, tally.last_ts) == (2, 2, T0 + 1_000, T0 + 2_000)

    def test_rows_outside_the_range_are_skipped(self, tmp_path: Path) -> None:
        """Every row is sent, skipped or bad."""
        rows = [row(line) for line in range(10)]
        replay, sink = replaying(rows, tmp_path / "c.json", times=TimeRange(T0 + 3_000, T0 + 6_000))
        assert [event.ts for event in sink.events] == [T0 + 3_000, T0 + 4_000, T0 + 5_000]
        assert [event.seq for event in sink.events] == [0, 1, 2]
        assert (replay.tally.read, replay.tally.sent, replay.tally.skipped) == (10, 3, 7)

    def test_resume_goes_on_with_the_same_positions(self, tmp_path: Path) -> None:
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

    def test_checkpoint_is_written_on_the_way(self, tmp_path: Path) -> None:
        """A crash costs a bounded part of the replay."""
        rows = [row(line) for line in range(2 * CHECKPOINT_ROWS + 10)]
        _, sink = replaying(rows, tmp_path / "c.json")
        assert sink.flushes >= 3

    def test_undelivered_rows_are_not_in_the_checkpoint(self, tmp_path: Path) -> None:
        """A checkpoint that runs ahead of delivery loses events."""
        path = tmp_path / "c.json"
        rows = [row(line) for line in range(CHECKPOINT_ROWS + 500)]
        with pytest.raises(BrokerError):
            replaying(rows, path, sink=FakeSink(fail_at=CHECKPOINT_ROWS))
        done = load_checkpoint(path, "r@00000000", "murmur2")
        assert done is not None and done.seq == CHECKPOINT_ROWS - 1

    def test_bad_rows_are_counted_and_the_rest_goes_on(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A row beyond the contract is shown with its line, keeps its position, and costs no other."""
        tomorrow = int(time.time() * 1000) + 10 * 86_400_000
        rows = [row(1), row(2, user="u" * 200), row(3, kind="buy"), row(4, ts=tomorrow), row(5)]
        replay, sink = replaying(rows, tmp_path / "c.json")
        assert [(event.ts, event.seq) for event in sink.events] == [(T0 + 1_000, 0), (T0 + 5_000, 4)]
        assert (replay.tally.read, replay.tally.sent, replay.tally.refused.n) == (5, 2, 3)
        shown = capsys.readouterr().err
        assert "line 2: length" in shown and "line 3: value" in shown and "line 4: future" in shown

    def test_log_that_is_mostly_bad_is_refused(self, tmp_path: Path) -> None:
        """A wrong time unit or mapping ends in one line, not in a million."""
        rows = [row(line, kind="buy") for line in range(MAX_BAD + 10)]
        with pytest.raises(InputError, match="1001 of 1001 rows are bad") as caught:
            replaying(rows, tmp_path / "c.json")
        assert "\n" not in str(caught.value)

    def test_rows_are_read_as_they_are_published(self, tmp_path: Path) -> None:
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

    def test_slow_replay_can_be_cancelled_while_it_waits(self, tmp_path: Path) -> None:
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


class TestCheckpoint:
    def test_missing_file_is_no_checkpoint(self, tmp_path: Path) -> None:
        """``--resume`` of a run that never began begins it."""
        assert load_checkpoint(tmp_path / "none.json", "r", "murmur2") is None

    def test_another_log_or_mapping_is_refused(self, tmp_path: Path) -> None:
        """Its positions mean other rows."""
        path = tmp_path / "c.json"
        Checkpoint("r@11111111", 5, 6).save(path)
        with pytest.raises(InputError, match="belongs to r@11111111") as caught:
            load_checkpoint(path, "r@22222222", "murmur2")
        assert "\n" not in str(caught.value)

    def test_another_partitioner_is_refused(self, tmp_path: Path) -> None:
        """The rest of a user's events would go to another partition. A file without one is from when there was only the default."""
        path = tmp_path / "c.json"
        replaying([row(1)], path, settings=load_settings({"HEADRACE_PARTITIONER": "crc32"}))
        done = load_checkpoint(path, "r@00000000", "crc32")
        assert done == Checkpoint("r@00000000", 0, 1, "crc32")
        with pytest.raises(InputError, match="sent with partitioner=crc32, HEADRACE_PARTITIONER is murmur2") as caught:
            load_checkpoint(path, "r@00000000", "murmur2")
        assert "\n" not in str(caught.value)
        path.write_text('{"run": "r", "seq": 5, "sent": 6}')
        assert load_checkpoint(path, "r", "murmur2") == Checkpoint("r", 5, 6)
        with pytest.raises(InputError, match="partitioner=murmur2"):
            load_checkpoint(path, "r", "crc32")

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"run": "r"}', '{"run": "r", "seq": "5", "sent": 1}'])
    def test_damaged_file_is_one_line(self, tmp_path: Path, text: str) -> None:
        """A disk that was full once must not need a person to guess."""
        path = tmp_path / "c.json"
        path.write_text(text)
        with pytest.raises(InputError, match="start over without --resume"):
            load_checkpoint(path, "r", "murmur2")

    def test_save_replaces_in_one_step(self, tmp_path: Path) -> None:
        """Half a checkpoint must never be seen, and nothing is left beside it."""
        path = tmp_path / "deep" / "c.json"
        Checkpoint("r", 1, 1).save(path)
        Checkpoint("r", 2, 2).save(path)
        assert load_checkpoint(path, "r", "murmur2") == Checkpoint("r", 2, 2)
        assert [file.name for file in path.parent.iterdir()] == ["c.json"]


class TestCommand:
    @staticmethod
    def arguments(*argv: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        parser.add_argument("--broker")
        parser.add_argument("--json", action="store_true")
        replay_command.add_arguments(parser)
        return parser.parse_args(list(argv))

    def test_missing_log_is_bad_input(self, tmp_path: Path) -> None:
        """Before any broker is asked."""
        with pytest.raises(InputError, match="no such file"):
            replay_command.run(self.arguments(str(tmp_path / "none.csv"), "--broker", "127.0.0.1:1"))

    def test_foreign_checkpoint_is_refused_before_anything_is_read(self, tmp_path: Path) -> None:
        """The refusal costs nothing."""
        log = tmp_path / "log.csv"
        log.write_text("user_id,item_id,ts\nu,i,1\n")
        Checkpoint("mine@00000000", 5, 6).save(tmp_path / "mine.json")
        with pytest.raises(InputError, match="--resume"):
            replay_command.run(
                self.arguments(str(log), "--run", "mine", "--resume", "--state-dir", str(tmp_path), "--broker", "a:1")
            )
