"""Dates in the forms in which programs write them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError
from tools.files.cells.written_dates import find_zone, guess_pattern, moment_ms, written_moment

#: 2024-02-29T22:05:07.089Z
MS = 1_709_244_307_089


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29T22:05:07.089Z",
        "2024-02-29 22:05:07.089 UTC",
        "2024-02-29 22:05:07.089 GMT",
        "2024-02-29T22:05:07.0899999Z",
        "2024-02-29 22:05:07,089+00:00",
        "2024-03-01T06:05:07.089+08",
        "2024-03-01T06:05:07.089+0800",
        "2024-03-01 06:05:07.089 +08:00",
        "2024-02-29 22:05:07.089 +0000 UTC",
        "2024-03-01 06:05:07.089123456 +0800 CST m=+0.001",
        "2024-02-29 16:05:07.089-0600",
        "2024-03-01T06:05:07.089+08:00[Asia/Shanghai]",
        "2024-03-01 06:05:07.089 Asia/Shanghai",
        "01/Mar/2024:06:05:07.089 +0800",
        "[29/Feb/2024:22:05:07.089 +0000]",
        "Thu Feb 29 22:05:07.089 +0000 2024",
        "Thu, 29 Feb 2024 22:05:07.089 GMT",
        "Fri, 01 Mar 2024 06:05:07.089 +0800 (CST)",
        "2024/3/1 6:05:07.089+0800",
        "29 Feb 2024 22:05:07.089 +0000",
    ],
)
def test_forms_with_a_zone(text: str) -> None:
    """Each names one moment, cut to whole milliseconds."""
    moment = written_moment(text)
    assert moment is not None and moment_ms(moment, find_zone("Asia/Tokyo")) == MS, moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024/02/29 22:05", "2024-02-29T22:05"),
        ("2024/2/9 6:05:07", "2024-02-09T06:05:07"),
        ("2024-2-9", "2024-02-09"),
        ("20240229", "2024-02-29"),
        ("20240229220507", "2024-02-29T22:05:07"),
        ("202402292205", "2024-02-29T22:05"),
        ("20240229 220507", "2024-02-29T22:05:07"),
        ("2024年2月29日 22:05", "2024-02-29T22:05"),
        ("2024.02.29", "2024-02-29"),
        ("29 Feb 2024", "2024-02-29"),
        ("29-Feb-2024 22:05:07", "2024-02-29T22:05:07"),
        ("Thu Feb 29 22:05:07 2024", "2024-02-29T22:05:07"),
    ],
)
def test_forms_without_a_zone(text: str, expected: str) -> None:
    """They have none, so that the caller decides which one is meant."""
    assert written_moment(text) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "02/29/2024",
        "29/02/2024 10:00",
        "2024-13-01",
        "2023-02-29",
        "2024-02-29 25:00",
        "29/Foo/2024:10:00:00",
        "45350.5",
        "1709244307",
        "2024-02-29 10:00 No/Where",
        "2024-02-29 10:00:00 PST",
        "2024-02-29 10:05:07 PM",
    ],
)
def test_what_may_mean_several_times_or_none_is_no_date(text: str) -> None:
    """A wrong guess would be worse than a refusal."""
    assert written_moment(text) is None


@given(st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001 - hypothesis takes these naive
def test_milliseconds_are_exact(moment: datetime) -> None:
    """No float rounds a time on its way."""
    whole = int(moment.replace(tzinfo=UTC, microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
    assert moment_ms(moment, UTC) == whole
    read = written_moment(moment.isoformat())
    assert read is not None and moment_ms(read, UTC) == whole


def test_summer_time_skips_an_hour_and_repeats_another() -> None:
    """A skipped time is read with the offset before it, a repeated one is the first of both."""
    berlin = find_zone("Europe/Berlin")
    skipped, repeated = datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001 - in the zone below
    assert moment_ms(skipped, berlin) == moment_ms(datetime(2024, 3, 31, 1, 30, tzinfo=UTC), UTC)
    assert moment_ms(repeated, berlin) == moment_ms(datetime(2024, 10, 27, 0, 30, tzinfo=UTC), UTC)


def test_a_day_begins_at_midnight_of_its_zone() -> None:
    """Parquet and databases have dates without a time."""
    assert moment_ms(date(2024, 3, 1), find_zone("+08:00")) == moment_ms(datetime(2024, 2, 29, 16, tzinfo=UTC), UTC)


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc", "/etc/passwd", "+8", "Asia", "+99:00"])
def test_an_unknown_zone_is_bad_input(name: str) -> None:
    """The message names some."""
    with pytest.raises(InputError, match="Asia/Shanghai"):
        find_zone(name)


@pytest.mark.parametrize(
    ("texts", "pattern"),
    [
        (["11/14/2023 10:13:20 PM", "1/2/2023 1:00:00 AM"], "%m/%d/%Y %I:%M:%S %p"),
        (["14/11/2023 10:13", "1/2/2023 9:00"], "%d/%m/%Y %H:%M"),
        (["01.02.2023"], "%d.%m.%Y"),
        (["Nov 14, 2023, 10:13:20 PM"], "%b %d, %Y, %I:%M:%S %p"),
        (["soon"], None),
        ([], None),
    ],
)
def test_a_pattern_is_guessed_from_all_texts(texts: list[str], pattern: str | None) -> None:
    """A day above 12 tells days from months; a guess reads every text."""
    assert guess_pattern(texts) == pattern
