"""Times of options: their forms, and ranges that are half open."""

from __future__ import annotations

import pytest

from streams.errors import InputError
from tools.files.cells.times import TimeRange, parse_range, parse_time


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
def test_forms(text: str | None, ms: int | None) -> None:
    """ISO 8601 without a zone is UTC."""
    assert parse_time("--from", text) == ms


@pytest.mark.parametrize("text", ["yesterday", "", "12", "1998-13-01"])
def test_no_time_is_refused(text: str) -> None:
    """A misread bound would publish the wrong part of a log."""
    with pytest.raises(InputError, match="--from"):
        parse_time("--from", text)


def test_range_is_half_open() -> None:
    """Two replays that meet at a time share no event."""
    times = TimeRange(10, 20)
    assert [ts in times for ts in (9, 10, 19, 20)] == [False, True, True, False]
    assert 5 in TimeRange(None, 6) and 7 in TimeRange(7, None)


def test_empty_range_is_refused() -> None:
    """It could only be a mistake."""
    with pytest.raises(InputError, match="not before"):
        parse_range("2000-01-02", "2000-01-01")
