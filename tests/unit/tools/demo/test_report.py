"""What counts as a failed run of the demo."""

from __future__ import annotations

from typing import Any

import pytest

from tools.demo.report import find_problem

GOOD_RUN: dict[str, int] = {
    "events": 10, "read": 10, "accepted": 7, "duplicate": 1, "late": 1, "rejected": 1, "users": 3, "users_with_list": 3
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
