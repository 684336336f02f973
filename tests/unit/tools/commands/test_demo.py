"""The demo's arithmetic: where the log is cut, what a list scores, what counts as a failed run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from streams.contract.records import Recommendation, RecommendedItem
from streams.errors import InputError
from tools.cli import UsageError
from tools.commands.demo import find_problem, run, split_by_time
from tools.demo.movielens import DemoLog
from tools.demo.score import score
from tools.files.log_reader import LogRow
from tools.reports.quantile import quantile

T0 = 1_600_000_000_000
GOOD_RUN: dict[str, int] = {
    "events": 10, "read": 10, "accepted": 7, "duplicate": 1, "late": 1, "rejected": 1, "users": 3, "users_with_list": 3
}  # fmt: skip


def row(position: int, user: str, item: str) -> LogRow:
    """Return the log's row at a position; time grows with it."""
    return LogRow(position + 2, None, user, item, "view", T0 + 1_000 * position, None, None)


def rows(*pairs: str) -> list[LogRow]:
    """Return rows of ``user:item`` pairs in order."""
    return [row(i, *pair.split(":")) for i, pair in enumerate(pairs)]


def published(event: str, *items: str) -> Recommendation:
    """Return a list of these items that the event ``event`` caused."""
    listed = [RecommendedItem(item, 0.5, {}, None) for item in items]
    return Recommendation(1, event, "u", 1, event, 0, T0, T0, "a", 1, "none", listed)


def test_a_list_is_scored_against_its_users_next_event() -> None:
    """Test-then-learn: the event of another user in between is not the target."""
    replayed = rows("u:a", "v:x", "u:b")
    scores = score([], replayed, ["e0", "e1", "e2"], [published("e0", "q", "b"), published("e1", "x", "b")])
    assert scores.lists.n == 1, "v has no next event"
    assert scores.lists.as_dict()["hr@10"] == 1.0
    assert scores.lists.as_dict()["ndcg@10"] == pytest.approx(0.6309, abs=1e-4)  # 1 / log2(3): second place


def test_a_list_without_the_next_item_is_a_miss() -> None:
    """What the user had a moment ago, or will see later still, is no hit."""
    scores = score([], rows("u:a", "u:b", "u:c"), ["e0", "e1", "e2"], [published("e0", "a", "c")])
    assert (scores.lists.n, scores.lists.hits, scores.lists.ndcg) == (1, 0.0, 0.0)


def test_an_eleventh_item_is_no_hit() -> None:
    """The rate is at 10, however long the list is."""
    long = published("e0", *[f"q{i}" for i in range(10)], "b")
    assert score([], rows("u:a", "u:b"), ["e0", "e1"], [long]).lists.hits == 0


def test_recent_popularity_is_scored_at_the_same_moments_without_what_the_user_had() -> None:
    """The comparison is fair only if both know the same and leave out the same."""
    history = rows("w:b", "w:b", "w:a")
    replayed = [row(i + 3, *pair.split(":")) for i, pair in enumerate(["u:a", "u:b", "u:c"])]
    scores = score(history, replayed, ["e0", "e1", "e2"], [published("e0", "z")])
    assert scores.recent_popularity.n == scores.lists.n == 1
    assert scores.recent_popularity.as_dict() == {"hr@10": 1.0, "ndcg@10": 1.0}, "a is left out, so b comes first"


def test_a_list_of_an_unknown_event_and_a_repeat_count_nothing() -> None:
    """Lists from elsewhere are passed over, and a list that a restart published again counts once."""
    lists = [published("e0", "b"), published("e0", "z"), published("other", "b")]
    assert (result := score([], rows("u:a", "u:b"), ["e0", "e1"], lists)).lists.n == 1
    assert result.lists.hits == 1


def test_nothing_scored_is_zero_not_an_error() -> None:
    """A log of one event per user has no next events."""
    assert score([], rows("u:a"), ["e0"], [published("e0", "b")]).lists.as_dict() == {"hr@10": 0.0, "ndcg@10": 0.0}


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([7.0], 99, 7.0), ([0.0, 10.0], 50, 5.0), ([float(i) for i in range(101)], 99, 99.0)],
)
def test_quantiles(values: list[float], percent: int, expected: float | None) -> None:
    """Percentiles of few and of many values, also of none."""
    assert quantile(values, percent) == expected


def test_a_good_run_has_no_problem() -> None:
    """Everything accounted for and every user with a list."""
    assert find_problem(GOOD_RUN) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accepted": 6}, "counts do not add up"),
        ({"events": 11}, "counts do not add up"),
        ({"users_with_list": 1}, "2 users"),
    ],
)
def test_a_bad_run_is_named(change: dict[str, int], message: str) -> None:
    """The demo must not end with 0 when an event or a user went missing."""
    report: dict[str, Any] = GOOD_RUN | change
    assert message in (find_problem(report) or "")


def write_log(path: Path, times: list[int]) -> DemoLog:
    """Write a log with these times, of one user."""
    path.write_text("user_id,item_id,ts\n" + "".join(f"u,i{i},{ts}\n" for i, ts in enumerate(times)))
    return DemoLog(path, path, "", "")


def test_the_log_is_cut_at_a_time_so_that_no_event_is_on_both_sides(tmp_path: Path) -> None:
    """``train --until`` and ``replay --from`` name one time: events of equal time stay together, in the replay."""
    log = write_log(tmp_path / "log.csv", [T0 + t for t in (9, 1, 2, 3, 4, 5, 6, 8, 8, 8)])
    split = split_by_time(log)
    assert [r.ts_ms - T0 for r in split.history] == [1, 2, 3, 4, 5, 6]
    assert [r.ts_ms - T0 for r in split.replayed] == [8, 8, 8, 9]
    assert split.at_ms == T0 + 8


def test_a_log_of_one_time_or_no_rows_is_refused(tmp_path: Path) -> None:
    """There is nothing to train on before the replay."""
    with pytest.raises(UsageError, match="one time"):
        split_by_time(write_log(tmp_path / "one.csv", [T0] * 5))
    with pytest.raises(InputError, match="no rows"):
        split_by_time(write_log(tmp_path / "none.csv", []))


def test_a_log_without_its_catalogue_is_refused(tmp_path: Path) -> None:
    """Lists without titles show nothing: --log and --items go together."""
    with pytest.raises(UsageError, match="go together"):
        run(argparse.Namespace(log=tmp_path / "log.csv", items=None))
