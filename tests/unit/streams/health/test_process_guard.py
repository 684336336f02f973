"""The thread that ends a process which no longer can."""

from __future__ import annotations

import os
from typing import Any

import pytest

from streams.health.process_guard import CRASH_TIMEOUT_S, PARENT_VARIABLE, TICK_S, ProcessGuard, parent_pid


class Process:
    """Records what the guard does to it; ``run`` lets the guard's clock tick on."""

    def __init__(self, **options: Any) -> None:
        self.stopping = False
        self.ended: list[str] = []
        self.asked = self.crashed = 0
        self.guard = ProcessGuard(
            block_timeout_s=60,
            stop_timeout_s=10,
            is_stopping=lambda: self.stopping,
            end=self.ended.append,
            end_crashed=self._end_crashed,
            ask_to_stop=self._ask,
            **options,
        )
        self.now_s = 0.0
        self.guard.beat(0.0)
        self.guard.check(0.0, getppid=lambda: 7)

    def _ask(self) -> None:
        self.asked += 1

    def _end_crashed(self) -> None:
        self.crashed += 1

    def run(self, seconds: float, *, beats: bool, ppid: int = 7) -> None:
        for _ in range(int(seconds / TICK_S)):
            self.now_s += TICK_S
            if beats:
                self.guard.beat(self.now_s)
            self.guard.check(self.now_s, getppid=lambda: ppid)


def test_a_blocked_loop_ends_the_process() -> None:
    process = Process()
    process.run(600, beats=True)
    process.run(60, beats=False)
    assert process.ended == []
    process.run(1, beats=False)
    assert "blocked for 60 s" in process.ended[0] and "stall_timeout_s=60" in process.ended[0]


def test_stopping_has_a_limit() -> None:
    process = Process()
    process.stopping = True
    process.run(10, beats=True)
    assert process.ended == []
    process.run(1, beats=True)
    assert "stop_timeout_s=10" in process.ended[0] and "HEADRACE_STOP_TIMEOUT_S" in process.ended[0]


def test_a_pause_of_the_whole_process_is_not_the_loops_fault() -> None:
    process = Process()
    process.now_s = 3_600
    process.run(50, beats=False)
    assert process.ended == []


def test_a_process_whose_parent_is_gone_stops_once() -> None:
    process = Process(parent=7)
    process.run(5, beats=True, ppid=7)
    assert process.asked == 0
    process.run(5, beats=True, ppid=1)
    assert process.asked == 1


def test_only_a_named_parent_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parent_pid() is None
    monkeypatch.setenv(PARENT_VARIABLE, str(os.getpid()))
    assert parent_pid() == os.getpid()
    for hostile in ("-1", "²", "1e3", " 7", "all"):
        monkeypatch.setenv(PARENT_VARIABLE, hostile)
        assert parent_pid() is None


def test_a_crashed_worker_ends_within_a_second_and_a_tick_whatever_its_stop_waits_for() -> None:
    """Its last commit would wait for ever on the consumer's thread, which has crashed too."""
    process = Process()
    process.run(5, beats=True)
    process.guard.crashed(process.now_s)
    process.stopping = True
    process.run(1, beats=True)
    assert process.crashed == 0, "time to leave the group"
    process.run(TICK_S, beats=False)
    assert (process.crashed, process.ended) == (1, [])
    assert CRASH_TIMEOUT_S + TICK_S < 2


def test_a_later_crash_does_not_put_the_end_off() -> None:
    process = Process()
    process.guard.crashed(0.0)
    process.run(1, beats=True)
    process.guard.crashed(process.now_s)
    process.run(TICK_S, beats=True)
    assert process.crashed == 1
