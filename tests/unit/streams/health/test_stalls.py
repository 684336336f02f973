"""When a worker is stuck, with a clock of our own."""

from __future__ import annotations

from streams.health.stalls import HELD_FACTOR, ProgressJudge, StallJudge
from streams.kafka.group_watch import PartitionOffsets, Place

A: Place = ("events", 0)
B: Place = ("events", 1)


def waits(committed: int, end: int = 1_000, *, is_held: bool = False) -> PartitionOffsets:
    return PartitionOffsets(committed, end, is_held)


def test_standing_still_while_records_wait_is_a_stall_after_the_timeout() -> None:
    judge = StallJudge(60)
    assert judge.observe(0, {A: waits(10)}) == []
    assert judge.observe(60, {A: waits(10)}) == []
    (stall,) = judge.observe(61, {A: waits(10)})
    assert (stall.place, stall.offsets.committed, stall.offsets.end, stall.seconds) == (A, 10, 1_000, 61)


def test_a_partition_that_moves_or_is_read_to_its_end_is_not_stalled() -> None:
    judge = StallJudge(60)
    for now_s in range(0, 600, 50):
        assert judge.observe(now_s, {A: waits(now_s), B: waits(1_000)}) == []
    assert judge.standing_s(600) == {A: 50}


def test_time_counts_from_the_first_waiting_record() -> None:
    judge = StallJudge(60)
    judge.observe(0, {A: waits(1_000)})
    judge.observe(500, {A: waits(1_000)})
    assert judge.observe(550, {A: waits(1_000, 1_001)}) == []
    assert len(judge.observe(561, {A: waits(1_000, 1_001)})) == 1


def test_one_partition_that_is_never_fetched_is_a_stall_though_others_move() -> None:
    judge = StallJudge(60)
    judge.observe(0, {A: waits(10), B: waits(0)})
    (stall,) = judge.observe(61, {A: waits(10), B: waits(61)})
    assert stall.place == A


def test_held_records_may_wait_longer_while_the_worker_commits_others() -> None:
    """Back-pressure: partitions take turns."""
    judge = StallJudge(60)
    for now_s in range(0, 60 * HELD_FACTOR + 1, 30):
        assert judge.observe(now_s, {A: waits(10, is_held=True), B: waits(now_s)}) == []
    assert len(judge.observe(60 * HELD_FACTOR + 1, {A: waits(10, is_held=True), B: waits(900)})) == 1


def test_held_records_are_a_stall_when_nothing_is_committed_any_more() -> None:
    judge = StallJudge(60)
    judge.observe(0, {A: waits(10, is_held=True), B: waits(0, is_held=True)})
    judge.observe(1, {A: waits(10, is_held=True), B: waits(1, is_held=True)})
    assert judge.observe(61, {A: waits(10, is_held=True), B: waits(1, is_held=True)}) == []
    assert {s.place for s in judge.observe(63, {A: waits(10, is_held=True), B: waits(1, is_held=True)})} == {A, B}


def test_a_revoked_partition_and_a_silent_broker_start_the_time_anew() -> None:
    judge = StallJudge(60)
    judge.observe(0, {A: waits(10), B: waits(10)})
    judge.observe(50, {B: waits(10)})
    assert [s.place for s in judge.observe(70, {A: waits(10), B: waits(10)})] == [B]
    judge.restart()
    assert judge.observe(1_000, {A: waits(10), B: waits(10)}) == []


def test_progress_is_any_change() -> None:
    judge = ProgressJudge()
    assert judge.observe(0, ("recovering", 100)) == 0
    assert judge.observe(40, ("recovering", 100)) == 40
    assert judge.observe(50, ("recovering", 99)) == 0
    assert judge.observe(60, None) == 0
    assert judge.observe(90, ("recovering", 99)) == 0
