"""Finds how a column writes its times: the unit of a number, or the form of a date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.errors import InputError, RecordError
from tools.files.cells.times import SERIAL, TIME_UNITS, TimeReader
from tools.files.cells.written_dates import guess_pattern

#: So many times show the form.
LOOKED_AT: Final = 300
#: Where most of the first few are no times, the column is none.
_FIRST: Final = 10
#: The least share of the values that must be times.
MIN_SHARE: Final = 0.9
#: A pattern that takes the first number for the month, and the same with the day first.
_MONTH_FIRST: Final = (("%m/%d", "%d/%m"), ("%m-%d", "%d-%m"), ("%m.%d", "%d.%m"))


@dataclass(frozen=True)
class TimeForm:
    """How times are written.

    Parameters
    ----------
    unit : one of ``s``, ``ms``, ``us``, ``ns``, ``iso``; empty where there is a pattern
    pattern : of ``strptime``, or ``excel``; empty where there is a unit
    names_zone : whether each time says its zone, or is counted from 1970 in UTC
    is_ambiguous : whether the first two numbers could be a month and a day in either order
    first_ms, newest_ms : the first time and the latest one, in ms since 1970
    """

    unit: str
    pattern: str
    names_zone: bool
    is_ambiguous: bool
    first_ms: int
    newest_ms: int

    def in_words(self) -> str:
        """Return what the times are."""
        return TimeReader(self.unit or "auto", self.pattern).in_words()


def find_time_form(values: Sequence[Any], *, may_be_serial: bool = False) -> TimeForm | None:
    """Return how nearly all values are written as times; None where they are no times.

    Parameters
    ----------
    may_be_serial : whether numbers may be a spreadsheet's day numbers; ids look the same
    """
    values = values[:LOOKED_AT]
    for unit in TIME_UNITS[1:]:
        if (found := _read(values, unit, "")) is not None:
            return found
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    is_date = len(texts) == len(values) and all(len(text) <= 40 and not text.isdecimal() for text in texts)
    pattern = guess_pattern(texts) if is_date else None
    if pattern:
        return _read(values, "auto", pattern)
    return _read(values, "auto", SERIAL) if may_be_serial else None


def _read(values: Sequence[Any], unit: str, pattern: str) -> TimeForm | None:
    reader = TimeReader(unit, pattern)
    found: list[int] = []
    for i, value in enumerate(values):
        if i == _FIRST and len(found) < _FIRST // 2:
            return None
        try:
            found.append(reader.ms(value))
        except (RecordError, InputError):
            continue
    if not found or len(found) < MIN_SHARE * len(values):
        return None
    return TimeForm(
        "" if pattern else unit,
        pattern,
        not reader.is_zone_missing,
        _is_ambiguous(values, pattern),
        found[0],
        max(found),
    )


def _is_ambiguous(values: Sequence[Any], pattern: str) -> bool:
    for month_first, day_first in _MONTH_FIRST:
        if pattern.startswith(month_first):
            other = pattern.replace(month_first, day_first, 1)
            return _read(values, "auto", other) is not None
    return False
