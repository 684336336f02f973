"""Where the demo's log is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import InputError
from tools.demo.live import n_backlog
from tools.demo.movielens import DemoLog
from tools.demo.steps import split_by_time

T0 = 1_600_000_000_000


def write_log(path: Path, times: list[int]) -> DemoLog:
    """Write a log with these times, of one user."""
    path.write_text("user_id,item_id,ts\n" + "".join(f"u,i{i},{ts}\n" for i, ts in enumerate(times)))
    return DemoLog(path, path, "", "")


def test_the_log_is_cut_at_a_time_so_that_no_event_is_on_both_sides(tmp_path: Path) -> None:
    """``train --until`` and ``replay --from`` name one time.

    So events of equal time stay together.
    """
    log = write_log(tmp_path / "log.csv", [T0 + t for t in (9, 1, 2, 3, 4, 5, 6, 8, 8, 8)])
    split = split_by_time(log)
    assert [r.ts_ms - T0 for r in split.history] == [1, 2, 3, 4, 5, 6]
    assert [r.ts_ms - T0 for r in split.replayed] == [8, 8, 8, 9]
    assert split.at_ms == T0 + 8


def test_the_last_events_come_live_and_the_backlog_ends_at_a_time(tmp_path: Path) -> None:
    """A quarter of the replayed events at most; those of one time stay together."""
    log = write_log(tmp_path / "log.csv", [T0 + t for t in range(40)])
    split = split_by_time(log)
    assert len(split.replayed) == 8 and split.live == split.replayed[6:]
    backlog = [row for row in split.replayed if row.ts_ms < split.live[0].ts_ms]
    assert backlog + split.live == split.replayed


@pytest.mark.parametrize(
    ("times", "n"),
    [
        (list(range(400)), 360),
        (list(range(20)), 15),
        ([1, 1, 2, 2, 2, 2, 2, 2], 2),
        ([1, 2, 3, 4, 5, 5, 6, 6], 6),
        ([7] * 9, 9),
        ([7], 1),
        ([1, 2], 1),
    ],
)
def test_the_backlog_is_cut_between_two_times(times: list[int], n: int) -> None:
    """Where the last events have one time, more of them or fewer come live; of one time, none."""
    assert n_backlog(times) == n


def test_a_log_of_one_time_or_no_rows_is_refused(tmp_path: Path) -> None:
    """There is nothing to train on before the replay."""
    with pytest.raises(InputError, match="one time"):
        split_by_time(write_log(tmp_path / "one.csv", [T0] * 5))
    with pytest.raises(InputError, match="no rows"):
        split_by_time(write_log(tmp_path / "none.csv", []))
