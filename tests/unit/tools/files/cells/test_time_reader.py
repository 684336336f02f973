"""The times of a log: one unit for all, exact milliseconds, refusals that say what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError, RecordError
from tools.files.cells.times import MAX_MS, MIN_MS, TimeReader

MS = 1_700_000_000_123


def learnt(raws: list[Any], **options: str) -> TimeReader:
    """Return a reader that has seen the first times of a log."""
    times = TimeReader(**options)
    times.learn("log.csv", raws)
    return times


@pytest.mark.parametrize(
    ("raw", "unit", "ms"),
    [
        (1_700_000_000, "s", MS - 123),
        ("1700000000", "s", MS - 123),
        (1_700_000_000.123, "s", MS),
        ("1700000000.1239", "s", MS),
        ("1.700000000123E9", "s", MS),
        (Decimal("1700000000.123"), "s", MS),
        ("1700000000,123", "s", MS),
        (b"1700000000.123", "s", MS),
        (MS, "ms", MS),
        ("1700000000123.0", "ms", MS),
        (1.700000000123e12, "ms", MS),
        (MS * 1000 + 999, "us", MS),
        (f"{MS}999", "us", MS),
        (MS * 10**6 + 999_999, "ns", MS),
        (f"{MS}999999", "ns", MS),
        ("2023-11-14T22:13:20.123Z", "iso", MS),
        (20231114, "iso", 1_699_920_000_000),
        (20231114.0, "iso", 1_699_920_000_000),
        (datetime(2023, 11, 14, 22, 13, 20, 123_999, UTC), "s", MS),
        (" 1700000000 ", "s", MS - 123),
    ],
)
def test_the_unit_is_found_and_the_time_is_exact(raw: Any, unit: str, ms: int) -> None:
    """Whatever type holds it, a time is cut to whole milliseconds."""
    times = learnt([raw])
    assert (times.unit, times.ms(raw)) == (unit, ms)


@given(st.integers(MIN_MS, MAX_MS - 1), st.sampled_from(["s", "ms", "us", "ns"]), st.booleans())
def test_every_time_of_a_century_is_exact_in_every_unit(ms: int, unit: str, is_text: bool) -> None:
    """No float is on the way, so the last digit is right."""
    whole = ms if unit != "s" else ms // 1000
    raw: Any = whole * {"s": 1, "ms": 1, "us": 1000, "ns": 10**6}[unit]
    times = learnt([raw])
    assert times.unit == unit
    assert times.ms(str(raw) if is_text else raw) == (whole * 1000 if unit == "s" else whole)


def test_one_unit_holds_for_the_whole_log() -> None:
    """A row in another unit is not read by itself: the message says that the log mixes units."""
    times = learnt([1_700_000_000] * 3)
    with pytest.raises(RecordError, match="mixes units") as caught:
        times.ms(MS)
    assert (caught.value.reason, caught.value.field) == ("range", "ts")
    with pytest.raises(RecordError, match="mixes units") as caught:
        times.ms("2023-11-14")
    assert caught.value.reason == "type"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("soon", "type"),
        (True, "type"),
        ([1], "type"),
        (5, "range"),
        (10**400, "range"),
        ("9" * 70, "type"),
        ("1e999999999", "type"),
        (float("inf"), "type"),
        (-5.5, "range"),
        (float("nan"), "missing"),
    ],
)
def test_what_is_no_time_is_refused(raw: Any, reason: str) -> None:
    """With the contract's reasons, and at once, however large the number is."""
    with pytest.raises(RecordError) as caught:
        learnt([1_700_000_000]).ms(raw)
    assert (caught.value.reason, caught.value.field) == (reason, "ts")


@pytest.mark.parametrize(
    ("raw", "remedy"),
    [
        ("11/14/2023 10:13:20 PM", "--time-format '%m/%d/%Y %I:%M:%S %p'"),
        ("14.11.2023 10:13", "--time-format '%d.%m.%Y %H:%M'"),
        ("45244.926", "--time-format excel"),
        ("red", "--no-times"),
        (7, "--columns ts=NAME"),
    ],
)
def test_a_log_whose_times_cannot_be_read_is_told_the_remedy(raw: Any, remedy: str) -> None:
    """In one line that shows the first time."""
    with pytest.raises(InputError) as caught:
        learnt([raw] * 3)
    assert remedy in str(caught.value) and "\n" not in str(caught.value)


def test_a_pattern_reads_what_it_says() -> None:
    """Also with a zone of its own; one that does not fit names the one that does."""
    us = "%m/%d/%Y %I:%M:%S %p"
    assert learnt(["11/14/2023 10:13:20 PM"], pattern=us).ms("11/14/2023 10:13:20 PM") == MS - 123
    assert learnt(["x"] * 0, pattern=f"{us} %z").ms("11/14/2023 10:13:20 PM +0000") == MS - 123
    assert learnt([20231114], pattern="%Y%m%d").ms(20231114) == 1_699_920_000_000
    with pytest.raises(InputError, match="looks like --time-format '%d/%m/%Y'"):
        learnt(["14/11/2023"], pattern="%Y")
    with pytest.raises(RecordError, match="'soon' is no time in dates as"):
        learnt(["11/14/2023 10:13:20 PM"], pattern=us).ms("soon")


def test_a_spreadsheets_day_numbers_are_read_on_demand() -> None:
    """45244.92592592593 is 2023-11-14 22:13:20, in the zone that the user names."""
    assert learnt([45244.92592592593], pattern="excel").ms("45244.92592592593") == MS - 123
    assert learnt([45244.92592592593], pattern="excel", zone="+08:00").ms(45244.92592592593) == MS - 123 - 28_800_000


def test_a_zone_holds_for_times_without_one() -> None:
    """A time with a zone keeps it; whether one lacked is known, so that it can be told."""
    times = learnt(["2023-11-15 06:13:20.123"], zone="Asia/Shanghai")
    assert times.ms("2023-11-15 06:13:20.123") == times.ms("2023-11-14T22:13:20.123Z") == MS
    assert not times.is_zone_missing
    assert learnt(["2023-11-15 06:13:20"]).is_zone_missing and not learnt(["2023-11-15T06:13:20Z"]).is_zone_missing


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unit": "h"}, "must be one of"),
        ({"unit": "s", "pattern": "%Y"}, "excludes --time-unit"),
        ({"pattern": "YYYY"}, "has no %"),
        ({"zone": "Nowhere"}, "no such time zone"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], said: str) -> None:
    """Before any row is read."""
    with pytest.raises(InputError, match=said):
        TimeReader(**options)
