"""What counts as a failed run of the demo."""

from __future__ import annotations

from typing import Any

import pytest

from tools.demo.report import NEXT_COMMANDS, as_rows, explanations, find_problem

GOOD_RUN: dict[str, int] = {
    "events": 10, "read": 10, "accepted": 7, "duplicate": 1, "late": 1, "rejected": 1, "forgotten": 0, "users": 3, "users_with_list": 3
}  # fmt: skip


def test_a_good_run_has_no_problem() -> None:
    """The counts add up, and every user has a list."""
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


SHOWN: dict[str, Any] = GOOD_RUN | {
    "live_events": 2,
    "lists": 5,
    "lists_scored": 4,
    "freshness_ms": {"p50": 38.2, "p99": 80.0},
    "catch_up_ms": {"p50": 5400.0, "p99": None},
    "hr@10": 0.25,
    "ndcg@10": 0.125,
    "recent_popularity": {"hr@10": 0.1, "ndcg@10": 0.05},
}


def test_live_freshness_is_the_first_figure() -> None:
    """Freshness of the backlog, which is the time in a queue, has another name and comes later."""
    rows = list(as_rows(SHOWN))
    assert rows[0] == ("live: event to list", "38 ms (99 of 100 within 80 ms)")
    assert ("while catching up: event to list", "5,400 ms (99 of 100 within -)") in rows[1:]
    assert ("NDCG@10", "0.1250  (recent popularity 0.0500)") in rows


def test_fewer_lists_than_events_are_explained_and_the_end_says_how_to_go_on() -> None:
    lines = list(explanations(SHOWN))
    assert lines[0].startswith("5 lists for 7 events: ") and "supersede" in lines[0]
    assert lines[-3:] == [f"  {command}" for command in NEXT_COMMANDS]
    assert list(explanations(SHOWN | {"lists": 7}))[0] == "with your own data:"
