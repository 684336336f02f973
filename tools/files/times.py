"""Reads the times of options and logs: ISO 8601, seconds or milliseconds since 1970."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from streams.errors import InputError

#: A time outside these two is read as another unit, or refused.
MIN_MS: Final = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp() * 1000)
MAX_MS: Final = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
#: The units of a log's times; ``auto`` takes the unit that fits most of the first rows.
TIME_UNITS: Final = ("auto", "s", "ms", "iso")
_MS_PER_UNIT: Final = {"s": 1000.0, "ms": 1.0}


@dataclass(frozen=True)
class TimeRange:
    """Event times in ms: from ``start`` on and before ``end``; None leaves a side open."""

    start: int | None = None
    end: int | None = None

    def __contains__(self, ts_ms: int) -> bool:
        return (self.start is None or ts_ms >= self.start) and (self.end is None or ts_ms < self.end)


def parse_time(option: str, text: str | None) -> int | None:
    """Return the time of an option in ms since 1970; None where the option was not given.

    Parameters
    ----------
    option : its name, for the message
    text : ISO 8601, in UTC where it has no zone, or ms since 1970
    """
    if text is None:
        return None
    if re.fullmatch(r"\d{5,15}", text):
        return int(text)
    try:
        return _utc_ms(datetime.fromisoformat(text))
    except ValueError:
        raise InputError(
            f"{option} {text!r}: not a time; give ISO 8601, as 1998-03-01T12:00, or milliseconds since 1970"
        ) from None


def parse_range(start: str | None, end: str | None) -> TimeRange:
    """Return the range of ``--from`` and ``--to``."""
    times = TimeRange(parse_time("--from", start), parse_time("--to", end))
    if times.start is not None and times.end is not None and times.start >= times.end:
        raise InputError(f"--from {start} is not before --to {end}: no event can lie between")
    return times


def to_ms(raw: Any, unit: str) -> int:
    """Return a time of a log in ms since 1970.

    Parameters
    ----------
    raw : text, a number, or a datetime, which needs no unit
    unit : ``s``, ``ms`` or ``iso``

    Raises
    ------
    ValueError
        When ``raw`` is not a time in this unit.
    OverflowError
        When ``raw`` is too large for a time.
    """
    if isinstance(raw, datetime):
        return _utc_ms(raw)
    if unit == "iso":
        try:
            return _utc_ms(datetime.fromisoformat(str(raw).strip()))
        except ValueError:
            raise ValueError(f"ts: {raw!r} is not an ISO 8601 time") from None
    if isinstance(raw, int) or (isinstance(raw, str) and raw.isdecimal() and len(raw) < 20):
        return int(int(raw) * _MS_PER_UNIT[unit])
    return int(round(finite_number("ts", raw) * _MS_PER_UNIT[unit]))


def fits(raw: Any, unit: str) -> bool:
    """Return whether a time of a log, read in this unit, lies between 1990 and 2100."""
    if unit == "iso" and (isinstance(raw, int | float) or str(raw).strip().isdecimal()):
        return False  # Python would read 19970401 as a date; here, digits alone are a number
    try:
        return MIN_MS <= to_ms(raw, unit) < MAX_MS
    except (ValueError, OverflowError):
        return False


def finite_number(name: str, raw: Any) -> float:
    """Return a field's value as a number; raise ValueError where it is not a finite number."""
    try:
        number = float(raw)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {raw!r} is not a finite number")
    return number


def _utc_ms(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
