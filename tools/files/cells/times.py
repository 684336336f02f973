"""Reads the times of options and logs: whole milliseconds since 1970, computed with integers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

from streams.contract.records import MIN_EVENT_TS_MS
from streams.errors import InputError, RecordError
from streams.formats.values import is_missing, shown
from tools.files.cells.written_dates import find_zone, guess_pattern, moment_ms, written_moment

#: A time before this is read as another unit, or refused, as in the contract.
MIN_MS: Final = MIN_EVENT_TS_MS
#: A time from this on shows that the unit is another one.
MAX_MS: Final = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
#: The units of a log's times; ``auto`` takes the unit that fits most of the first rows.
TIME_UNITS: Final = ("auto", "s", "ms", "us", "ns", "iso")
#: A power of ten for each unit of a number: so many places the decimal point moves to give ms.
_SHIFTS: Final = {"s": 3, "ms": 0, "us": -3, "ns": -6}
#: In ``--time-format``, this stands for the days since 1900 in which spreadsheets count.
SERIAL: Final = "excel"
_SERIAL_EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - in the zone of the log
_DAY_MS: Final = 86_400_000
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?(?:[eE][+-]?[0-9]+)?")
_DATE_DIGITS: Final = (8, 12, 14)
#: More digits than any time has; a text of many thousands would take long to convert.
_MAX_DIGITS: Final = 60
_MAX_BITS: Final = 200
_SAMPLES: Final = 20
_UNITS_IN_WORDS: Final = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "iso": "dates as text",
}


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
    text : a date, in UTC where it has no zone, or ms since 1970
    """
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{5,15}", text):
        return int(text)
    moment = written_moment(text.strip())
    if moment is None:
        raise InputError(
            f"{option} {text!r}: not a time; give ISO 8601, as 1998-03-01T12:00, or milliseconds since 1970"
        )
    return moment_ms(moment, UTC)


def parse_range(start: str | None, end: str | None) -> TimeRange:
    """Return the range of ``--from`` and ``--to``."""
    times = TimeRange(parse_time("--from", start), parse_time("--to", end))
    if times.start is not None and times.end is not None and times.start >= times.end:
        raise InputError(f"--from {start} is not before --to {end}: no event can lie between")
    return times


class TimeReader:
    """Reads the times of one log, all in one unit.

    Parameters
    ----------
    unit : one of :data:`TIME_UNITS`
    pattern : of ``strptime``, or :data:`SERIAL`; ``""`` for none
    zone : the name of the zone of dates that have none; ``""`` is UTC
    units : those that ``auto`` may find; the first one holds until a time has shown another

    Attributes
    ----------
    unit : the unit of the log, ``auto`` before :meth:`learn`
    is_zone_missing : whether a date of the log had no zone and the user named none
    is_utc : whether dates without a zone are read as UTC

    Raises
    ------
    InputError
        When an option is unknown, or two exclude each other.
    """

    def __init__(
        self, unit: str = "auto", pattern: str = "", zone: str = "", *, units: Sequence[str] = TIME_UNITS[1:]
    ) -> None:
        if unit not in TIME_UNITS:
            raise InputError(f"--time-unit {unit!r}: must be one of {', '.join(TIME_UNITS)}")
        if pattern and unit != "auto":
            raise InputError(f"--time-format {pattern!r}: excludes --time-unit {unit}; leave one of them out")
        if pattern and pattern != SERIAL and "%" not in pattern:
            raise InputError(
                f"--time-format {pattern!r}: has no % and so reads no time; give a pattern as '%m/%d/%Y %H:%M', or {SERIAL}"
            )
        self.unit = "iso" if pattern else unit
        self.is_zone_missing = False
        self._pattern = pattern
        self._zone: tzinfo = find_zone(zone) if zone else UTC
        self._is_zone_given = bool(zone)
        self.is_utc = self._zone is UTC
        self._asked = unit
        self._units = units
        self._is_open = unit == "auto" and not pattern
        self._convert: Callable[[Any], int | None] = self._converter(units[0] if self._is_open else self.unit)

    def learn(self, path: object, raws: Sequence[Any]) -> None:
        """Find the unit of a log: the one that the user gave if it fits, else the best one.

        Parameters
        ----------
        path : what messages call the log
        raws : the times of the first rows; missing ones do not count

        Raises
        ------
        InputError
            When no unit fits half of the times, or another one than the user gave does.
        """
        times = [raw for raw in raws if not is_missing(raw)]
        if self._pattern:
            self._check_pattern(path, times)
            return
        fitting = Counter({unit: sum(self._fits(raw, unit) for raw in times) for unit in TIME_UNITS[1:]})
        best = max(TIME_UNITS[1:], key=lambda unit: fitting[unit])
        asked = None if self._asked == "auto" else self._asked
        if times and not (asked and 2 * fitting[asked] >= len(times)):
            if 2 * fitting[best] < len(times):
                raise InputError(f"{path}: ts={shown(times[0])} {_why_no_time(times)}")
            if asked:
                raise InputError(
                    f"{path}: ts={shown(times[0])} read as {asked} is not a time from 1990 to 2100, as {best} it is; "
                    f"use --time-unit {best}"
                )
        self._take(asked or best)

    def settle(self, raws: Sequence[Any]) -> None:
        """Take the unit that fits the first time of a stream, if any does.

        A unit that was taken stays.

        Parameters
        ----------
        raws : the times of the first rows; missing ones do not count
        """
        if not self._is_open:
            return
        for raw in raws:
            found = next((unit for unit in self._units if self._fits(raw, unit)), None)
            if found:
                self._take(found)
                return

    def _take(self, unit: str) -> None:
        self.unit, self._is_open = unit, False
        self._convert = self._converter(unit)

    def ms(self, raw: Any) -> int:
        """Return a time in ms since 1970.

        Raises
        ------
        RecordError
            When the value is missing, is no time in the log's unit, or is not from 1990 to 2099.
        """
        ts_ms = self._convert(raw)
        if ts_ms is None:
            raise self._no_time(raw)
        if ts_ms < MIN_MS or ts_ms >= MAX_MS:
            raise RecordError("range", "ts", self._out_of_range(raw, ts_ms))
        return ts_ms

    def in_words(self) -> str:
        """Return what the log's times are."""
        if self._pattern:
            return "days since 1900" if self._pattern == SERIAL else f"dates as {self._pattern}"
        return _UNITS_IN_WORDS[self._units[0] if self.unit == "auto" else self.unit]

    def _check_pattern(self, path: object, times: Sequence[Any]) -> None:
        n_read = sum(self._convert(raw) is not None for raw in times)
        if times and 2 * n_read < len(times):
            guess = _guess(times)
            raise InputError(
                f"{path}: ts={shown(times[0])} is no time in --time-format {self._pattern!r}"
                + (f"; it looks like --time-format {guess!r}" if guess else "; see --columns ts=NAME")
            )

    def _fits(self, raw: Any, unit: str) -> bool:
        ts_ms = self._converter(unit)(raw)
        return ts_ms is not None and MIN_MS <= ts_ms < MAX_MS

    def _converter(self, unit: str) -> Callable[[Any], int | None]:
        if self._pattern:
            return self._serial_ms if self._pattern == SERIAL else self._pattern_ms
        if unit in _SHIFTS:
            shift = _SHIFTS[unit]
            return lambda raw: self._number_ms(raw, shift)
        return self._date_ms

    def _number_ms(self, raw: Any, shift: int) -> int | None:
        if type(raw) is str and raw.isascii() and raw.isdigit() and len(raw) < _MAX_DIGITS:
            raw = int(raw)
        if type(raw) is int:
            return int(raw * 10**shift) if shift >= 0 else raw // 10**-shift
        if isinstance(raw, date):
            return self._moment_ms(raw)
        return _shifted(raw, shift)

    def _date_ms(self, raw: Any) -> int | None:
        if isinstance(raw, date):
            return self._moment_ms(raw)
        text = raw if isinstance(raw, str) else _whole_text(raw)
        text = text.strip()
        if text.isdigit() and len(text) not in _DATE_DIGITS:
            return None  # a number, in whatever unit
        moment = written_moment(text)
        return None if moment is None else self._moment_ms(moment)

    def _pattern_ms(self, raw: Any) -> int | None:
        if isinstance(raw, date):
            return self._moment_ms(raw)
        text = raw if isinstance(raw, str) else _whole_text(raw)
        try:
            return self._moment_ms(datetime.strptime(text.strip(), self._pattern))  # noqa: DTZ007 - the zone is the log's
        except ValueError:
            return None

    def _serial_ms(self, raw: Any) -> int | None:
        """Return the moment of a spreadsheet's day number, rounded: 1 ms is near its precision."""
        days = _decimal(raw)
        if days is None or not 0 < days < 100_000:
            return None
        ms = int((days * _DAY_MS).quantize(Decimal(1), ROUND_HALF_EVEN))
        return self._moment_ms(_SERIAL_EPOCH + timedelta(milliseconds=ms))

    def _moment_ms(self, moment: date) -> int | None:
        if not self._is_zone_given and (not isinstance(moment, datetime) or moment.tzinfo is None):
            self.is_zone_missing = True
        try:
            return moment_ms(moment, self._zone)
        except OverflowError:  # the first or the last day of all, in another zone
            return None

    def _no_time(self, raw: Any) -> RecordError:
        if is_missing(raw):
            return RecordError("missing", "ts", f"{shown(raw)} is no time; each event needs one, or see --no-times")
        other = next((unit for unit in TIME_UNITS[1:] if self._fits(raw, unit)), None)
        why = f"is no time in {self.in_words()}"
        if other and not self._pattern:
            why += f", as {_UNITS_IN_WORDS[other]} it is one: the log mixes units; give all times one form"
        else:
            why += "; correct it, or see --time-unit and --time-format"
        return RecordError("type", "ts", f"{shown(raw)} {why}")

    def _out_of_range(self, raw: Any, ts_ms: int) -> str:
        side = "before 1990" if ts_ms < MIN_MS else "after 2099"
        other = next((unit for unit in TIME_UNITS[1:] if self._fits(raw, unit)), None)
        if other is None or self._pattern:
            return f"{shown(raw)} is {side} in {self.in_words()}; correct it"
        if other not in self._units:
            what = _UNITS_IN_WORDS[other].split()[0]
            return f"{shown(raw)} is {side}: {what}? publish milliseconds, or add --time-unit {other}"
        return (
            f"{shown(raw)} is {side} in {self.in_words()}, as {_UNITS_IN_WORDS[other]} it is a time: the log mixes units; "
            "give all times one unit"
        )


def _why_no_time(times: Sequence[Any]) -> str:
    """Return why the first times of a log are none, and what to do about it."""
    guess = _guess(times)
    if guess:
        either = ", months before days" if guess.startswith(("%m/%d", "%m-%d")) else ""
        return f"has parts whose order is not certain; if it is as it looks{either}, add --time-format {guess!r}"
    days = _decimal(times[0])
    if days is not None and 32_874 <= days < 73_051:
        return f"is no time from 1990 to 2100; a spreadsheet's day number? add --time-format {SERIAL}"
    return (
        "is not a time from 1990 to 2100 in s, ms, us, ns or ISO 8601; give its --time-format, check --columns ts=NAME, "
        "or add --no-times for a log without times"
    )


def _guess(times: Sequence[Any]) -> str | None:
    return guess_pattern([raw.strip() for raw in times[:_SAMPLES] if isinstance(raw, str)])


def _whole_text(raw: Any) -> str:
    """Return bytes as text, and a whole number as its digits."""
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    if isinstance(raw, float | Decimal) and _shifted(raw, 0) == raw:
        return str(int(raw))
    return str(raw)


def _decimal(raw: Any) -> Decimal | None:
    """Return a number exactly as it is written, or as Python writes a float; None for no number."""
    if isinstance(raw, bool) or not isinstance(raw, str | bytes | int | float | Decimal):
        return None
    if isinstance(raw, int) and raw.bit_length() > _MAX_BITS:
        return None
    text = (raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)).strip()
    if len(text) > _MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None


def _shifted(raw: Any, shift: int) -> int | None:
    """Return a number times ten to the power of ``shift``, cut to a whole number.

    None stands for no number.
    """
    value = _decimal(raw)
    if value is None or not value.is_finite():
        return None
    sign, digits, exponent = value.as_tuple()
    places = int(exponent) + shift
    if places > _MAX_DIGITS:
        return None
    number = int("".join(map(str, digits)))
    ms: int = number * 10**places if places >= 0 else number // 10 ** min(-places, 2 * _MAX_DIGITS)
    return -ms if sign else ms
