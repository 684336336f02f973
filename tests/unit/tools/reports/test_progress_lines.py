"""Progress without a terminal: which lines come, when, and what they say."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from rich.progress import Progress, Task

from tests.support.waiting import wait_until
from tools.reports.progress_lines import ProgressLines, clock, duration, line_of, seconds_left, size


def task(now: list[float], total: float | None, **fields: Any) -> tuple[Progress, Task]:
    """Return a task that began at 0 by a clock that the test turns."""
    bar = Progress(disable=True, get_time=lambda: now[0])
    bar.add_task("fitting", total=total, **fields)
    return bar, bar.tasks[0]


def test_lines_come_by_the_clock_although_nothing_moves() -> None:
    """A stage that is silent for long is still told, and no line comes after the end."""
    lines: list[str] = []
    with ProgressLines(write=lines.append, every_s=0.01) as bar:
        bar.add_task("one", total=3, completed=3)
        bar.add_task("two", total=4, unit="epochs")
        wait_until(lambda: len([x for x in lines if "two" in x]) > 2, 5, lambda: str(lines))
    n_lines = len(lines)
    assert "progress-lines" not in {thread.name for thread in threading.enumerate()}
    assert lines[-1].startswith("two: 0 of 4 epochs (0%); running for ")
    assert len(lines) == n_lines


def test_a_stage_that_ended_early_is_not_told_again() -> None:
    """After a fit that stopped before its last epoch, the bar tells of the next stage.

    It does so when that stage is done, too.
    """
    lines: list[str] = []
    with ProgressLines(write=lines.append, every_s=0.01) as bar:
        bar.add_task("fit", total=16, completed=9, ended=True)
        bar.add_task("fusion", total=3, completed=3)
        wait_until(lambda: len(lines) > 2, 5, lambda: str(lines))
    assert {line.split(":")[0] for line in lines} == {"fusion"}


def test_a_quick_command_writes_no_line() -> None:
    lines: list[str] = []
    with ProgressLines(write=lines.append) as bar:
        bar.add_task("one", total=3)
    assert lines == []


def test_a_line_has_stage_count_metric_and_expected_end() -> None:
    """3 of 12 in 30 s leave 90 s; what follows takes half as long as this task."""
    now = [0.0]
    bar, fitting = task(now, 12, unit="epochs", after=0.5)
    bar.update(fitting.id, completed=3, note="NDCG@10 0.1234")
    now[0] = 30.0
    line = line_of(fitting)
    assert line.startswith("fitting: 3 of 12 epochs (25%); NDCG@10 0.1234; about 1 min 30 s left, ends about ")
    assert re.search(r"; all done by about (\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d)$", line)


def test_the_end_is_that_of_this_run_and_within_its_limit() -> None:
    """What an earlier run did is no speed of this one; a bounded stage ends at its bound."""
    now = [0.0]
    bar, fitting = task(now, 10, base=6)
    assert seconds_left(fitting) is None
    bar.update(fitting.id, completed=7)
    now[0] = 20.0
    assert seconds_left(fitting) == pytest.approx(60.0)
    bar.update(fitting.id, limit_s=50.0)
    assert seconds_left(fitting) == pytest.approx(30.0)


def test_a_stage_without_a_total_and_one_that_is_done_say_so() -> None:
    now = [0.0]
    bar, reading = task(now, None, unit="bytes")
    bar.update(reading.id, completed=3 * 2**20)
    now[0] = 12.0
    assert line_of(reading) == "fitting: 3.0 MiB; running for 12 s"
    bar.update(reading.id, total=3 * 2**20, completed=3 * 2**20)
    assert line_of(reading) == "fitting: 3.0 MiB of 3.0 MiB; done, goes on for 12 s"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_a_length_of_time_has_two_units_at_most(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("n_bytes", "told"), [(1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 31, "2.0 GiB")]
)
def test_a_size_has_its_unit(n_bytes: int, told: str) -> None:
    assert size(n_bytes) == told


def test_a_time_of_another_day_has_its_day() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", clock(86_400))
