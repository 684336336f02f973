"""Reads dates as programs write them, from ISO 8601 to web servers' logs, as whole milliseconds.

Only forms whose parts cannot be mistaken are read. A date such as ``11/12/2023`` could be a month
earlier or later; :func:`guess_pattern` finds the pattern that a user can name for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from streams.errors import InputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_MONTHS: Final = dict(zip("jan feb mar apr may jun jul aug sep oct nov dec".split(), range(1, 13), strict=True))

_TIME: Final = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
_ZONE_NAME: Final = r"[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?|[A-Z][A-Za-z]+/[A-Za-z_/+-]+"
# After an offset, Go and Java add the zone's name, and Go adds the reading of a monotonic clock.
_ZONE: Final = (
    rf"(?:\s*(?P<zone>{_ZONE_NAME})(?:\s+\(?(?:[A-Z]{{2,5}}|[+-]\d{{2,4}})\)?)?)?(?:\[[^\]]+\])?(?:\s+m=[+-][\d.]+)?"
)
_DAY_MONTH: Final = r"(?P<day>\d{1,2})[/ -](?P<name>[A-Za-z]{3})[/ -](?P<year>\d{4})"
#: 2026/11/29 6:19:05, 2026-11-29 06:19:05 +0000 UTC, 2026年11月29日 06:19
_YEAR_FIRST: Final = re.compile(
    rf"(?P<year>\d{{4}})[-/.年](?P<month>\d{{1,2}})[-/.月](?P<day>\d{{1,2}})日?(?:[T\s]\s*{_TIME}{_ZONE})?"
)
#: 20261129, 202611290619, 20261129061905, 20261129 061905
_DIGITS: Final = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:[T ]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?)?"
)
#: 29/Nov/2026:06:19:00 +0800 of web servers; Sun, 29 Nov 2026 06:19:00 GMT of mails and HTTP
_NAMED_MONTH: Final = re.compile(rf"\[?(?:[A-Za-z]{{3,9}},?\s+)?{_DAY_MONTH}(?:[:\s]\s*{_TIME}{_ZONE})?\]?")
#: Tue Apr 03 18:00:09 +0000 2012
_YEAR_LAST: Final = re.compile(
    rf"[A-Za-z]{{3}},?\s+(?P<name>[A-Za-z]{{3}})\s+(?P<day>\d{{1,2}})\s+{_TIME}(?:\s+(?P<zone>{_ZONE_NAME}))?\s+(?P<year>\d{{4}})"
)
_FORMS: Final = (_YEAR_FIRST, _DIGITS, _NAMED_MONTH, _YEAR_LAST)

_DATE_PATTERNS: Final = (
    "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y",
    "%Y-%m-%d", "%Y/%m/%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y",
)  # fmt: skip
_TIME_PATTERNS: Final = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M:%S", ", %I:%M:%S %p",
    " @ %H:%M:%S.%f",
)  # fmt: skip


def find_zone(name: str) -> tzinfo:
    """Return the time zone of a name such as ``Asia/Shanghai``, ``UTC`` or ``+08:00``.

    Raises
    ------
    InputError
        When there is no such zone.
    """
    try:
        return _offset(name) if re.fullmatch(r"[+-]\d{2}(:?\d{2})?", name) else ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        # a name that is a path, is unknown, or is a folder of names
        raise InputError(
            f"--time-zone {name!r}: no such time zone; name one as Asia/Shanghai, Europe/Berlin, UTC or +08:00"
        ) from None


def moment_ms(moment: date, zone: tzinfo) -> int:
    """Return a date, or a date and time, in ms since 1970, cut to whole ones.

    Parameters
    ----------
    zone : of a moment that has none. A time that the start of summer time skips is read with the
        offset before it; of two equal times at its end, the first one is meant
    """
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=zone)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // _MS


def written_moment(text: str) -> datetime | None:
    """Return the moment that a text writes, None for no date.

    The moment has no zone where the text names none.
    """
    if len(text) > 9 and text[4] == "-":
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    for form in _FORMS:
        found = form.fullmatch(text)
        if found is not None:
            try:
                return _moment(found.groupdict())
            except (ValueError, KeyError, OSError):  # no 13th month, no such month or zone
                return None
    return None


def guess_pattern(texts: Sequence[str]) -> str | None:
    """Return the first pattern of ``strptime`` that reads all texts, or None.

    Months come before days.
    """
    for day in _DATE_PATTERNS:
        for time in _TIME_PATTERNS:
            if texts and all(_reads(text, day + time) for text in texts):
                return day + time
    return None


def _reads(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it reads
    except ValueError:
        return False
    return True


def _moment(parts: dict[str, str | None]) -> datetime:
    """Return the moment of named parts.

    Raise ValueError, KeyError or OSError for impossible parts.
    """
    name = parts.get("name")
    month = _MONTHS[name.lower()] if name else int(parts["month"] or 0)
    hour, minute, second = (int(parts.get(part) or 0) for part in ("hour", "minute", "second"))
    micros = int((parts.get("fraction") or "0")[:6].ljust(6, "0"))
    zone = parts.get("zone")
    return datetime(
        int(parts["year"] or 0), month, int(parts["day"] or 0), hour, minute, second, micros,
        None if zone is None else _zone(zone),
    )  # fmt: skip


def _zone(name: str) -> tzinfo:
    if name.upper() in ("Z", "UTC", "GMT"):
        return UTC
    return _offset(name) if name[0] in "+-" else ZoneInfo(name)


def _offset(text: str) -> tzinfo:
    """Return the zone of an offset: ``+08``, ``+0800``, ``+08:00``, ``+08:00:00``."""
    digits = text[1:].replace(":", "").ljust(6, "0")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return timezone(-away if text[0] == "-" else away)
