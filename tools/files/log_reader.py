"""Reads a historical log: checks each row, and sorts the rows by time in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

from models.vocabulary import EVENT_TYPES
from streams.errors import InputError
from streams.settings.record_limits import MAX_ID_LENGTH
from tools.files.file_options import parse_columns
from tools.files.item_reader import id_value
from tools.files.log_sort import SortedRuns
from tools.files.log_source import LogSource
from tools.files.raw_rows import RawRow, raw_rows
from tools.files.refused_rows import RefusedRows
from tools.files.times import MAX_MS, MIN_MS, TIME_UNITS, finite_number, fits, to_ms

FIELDS: Final = ("event_id", "user_id", "item_id", "type", "ts", "session_id", "value")
REQUIRED: Final = ("user_id", "item_id", "ts")
#: The limit of a user id in a log. A record holds 128 characters, but a pseudonym may replace a
#: longer id before the event is published.
MAX_USER_CHARS: Final = 512
#: The most characters of ids that a sort holds in memory.
MAX_CHARS_IN_MEMORY: Final = 256 << 20
#: The first rows of a log show its unit of time.
HEAD_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class LogRow:
    """One event of a log. ``line`` counts from 1, with the header; in Parquet it counts rows."""

    line: int
    event_id: str | None
    user_id: str
    item_id: str
    type: str
    ts_ms: int
    session_id: str | None
    value: float | None


class LogReader:
    """Iterates over the good rows of a log in file order; a bad row is counted and passed over.

    Parameters
    ----------
    refused : counts and shows the bad rows

    Attributes
    ----------
    n_read, n_good : the rows so far, and how many of them were good
    time_unit : ``s``, ``ms`` or ``iso``; None before the first row

    Raises
    ------
    InputError
        While iterating: the file cannot be read, its times are in another unit, no row is good, or
        too many rows are bad.
    """

    def __init__(self, source: LogSource, refused: RefusedRows) -> None:
        if source.time_unit not in TIME_UNITS:
            raise InputError(f"time unit {source.time_unit!r}: must be {', '.join(TIME_UNITS)}")
        types = parse_columns(source.types)
        for name, kind in types.items():
            if kind not in EVENT_TYPES:
                raise InputError(f"--types {name}={kind}: {kind!r} is none of {', '.join(EVENT_TYPES)}")
        self._source = source
        self._types = {name: name for name in EVENT_TYPES} | types
        self._refused = refused
        self.n_read = 0
        self.n_good = 0
        self.time_unit: str | None = None

    def __iter__(self) -> Iterator[LogRow]:
        self.n_read = self.n_good = 0
        rows = raw_rows(self._source.paths, self._source.files, FIELDS, REQUIRED)
        head = list(islice(rows, HEAD_ROWS))
        self.time_unit = self._find_unit(head)
        yield from self._checked(head)
        yield from self._checked(rows)
        if self.n_read == 0:
            raise InputError(f"{self._source.name}: no rows")
        if self.n_good == 0:
            raise InputError(
                f"{self._source.name}: none of {self.n_read} rows can be read; first: {self._refused.first}"
            )

    def _checked(self, rows: Iterable[RawRow]) -> Iterator[LogRow]:
        for _file, line, values in rows:
            self.n_read += 1
            try:
                if isinstance(values, str):
                    raise ValueError(values)
                row = self._row(line, values)
            except ValueError as exc:
                self._refuse(line, str(exc))
            except OverflowError:
                self._refuse(line, "ts: too large for a time")
            else:
                self.n_good += 1
                yield row

    def _refuse(self, line: int, reason: str) -> None:
        self._refused.refuse(f"line {line}", reason)
        self._refused.check(self.n_read, self._source.name)

    def _row(self, line: int, values: Any) -> LogRow:
        event_id, user_id, item_id, kind, ts, session_id, value = values
        return LogRow(
            line,
            None if event_id is None or event_id == "" else _text("event_id", event_id),
            _text("user_id", user_id),
            _text("item_id", item_id),
            self._type(kind),
            self._time(ts),
            None if session_id is None or session_id == "" else _text("session_id", session_id),
            None if value is None or value == "" else finite_number("value", value),
        )

    def _type(self, kind: Any) -> str:
        if kind is None or kind == "":
            return "view"
        found = self._types.get(str(kind))
        if found is None:
            raise ValueError(f"type: {kind!r} is none of {', '.join(self._types)}; map it with --types {kind}=view")
        return found

    def _time(self, ts: Any) -> int:
        ts_ms = to_ms(ts, self.time_unit or "ms")
        if not MIN_MS <= ts_ms < MAX_MS:
            raise ValueError(f"ts: {ts!r} in {self.time_unit} is outside 1990 to 2100")
        return ts_ms

    def _find_unit(self, head: list[RawRow]) -> str:
        """Return the unit that the user gave if it fits the first rows, else the best one."""
        name, asked = self._source.name, None if self._source.time_unit == "auto" else self._source.time_unit
        place = FIELDS.index("ts")
        times = [
            values[place] for _, _, values in head if not isinstance(values, str) and values[place] not in (None, "")
        ]
        n_fitting = {unit: sum(fits(ts, unit) for ts in times) for unit in TIME_UNITS if unit != "auto"}
        best = max(n_fitting, key=lambda unit: n_fitting[unit])
        if not times or (asked and 2 * n_fitting[asked] >= len(times)):
            return asked or best
        if 2 * n_fitting[best] < len(times):
            raise InputError(
                f"{name}: ts={times[0]!r} is not a time from 1990 to 2100 in s, ms or ISO 8601; check --columns ts=NAME"
            )
        if asked:
            raise InputError(
                f"{name}: ts={times[0]!r} read as {asked} is not a time from 1990 to 2100, as {best} it is; "
                f"use --time-unit {best}"
            )
        return best


def sorted_rows(
    reader: LogReader, *, max_rows_in_memory: int = 500_000, tmp_dir: Path | None = None
) -> Iterator[LogRow]:
    """Read the log to its end, then yield all rows by ``(ts_ms, line)``.

    A log with more rows than ``max_rows_in_memory`` is sorted in parts. The parts lie in a
    temporary folder under ``tmp_dir``, which is removed at the end, also after an interruption.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-sort-", dir=tmp_dir) as folder:
        runs = SortedRuns(Path(folder), LogRow, key=_time_order)
        part: list[LogRow] = []
        n_chars = 0
        for row in reader:
            part.append(row)
            n_chars += len(row.user_id) + len(row.item_id) + len(row.event_id or "") + len(row.session_id or "")
            if len(part) >= max_rows_in_memory or n_chars >= MAX_CHARS_IN_MEMORY:
                runs.add(sorted(part, key=_time_order))
                part, n_chars = [], 0
        part.sort(key=_time_order)
        yield from heapq.merge(*runs.open(), part, key=_time_order)


def _time_order(row: LogRow) -> tuple[int, int]:
    return row.ts_ms, row.line


def _text(name: str, value: Any) -> str:
    """Return an id as text. A whole number is an id; a number with a fraction is a mistake.

    The limits are those of the contract, so that every item of a training can be published too.
    """
    if isinstance(value, bytes | float | Decimal):
        text = value.decode("utf-8", "surrogateescape").strip() if isinstance(value, bytes) else id_value(value)
        if not text:
            raise ValueError(f"{name}: {value!r} cannot be an id; publish whole numbers below 2^53, or text")
    elif isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name}: {value!r} is missing or not text")
    else:
        text = str(value).strip()
    if not text:
        raise ValueError(f"{name}: empty")
    limit = MAX_USER_CHARS if name == "user_id" else MAX_ID_LENGTH
    if len(text) > limit:
        raise ValueError(f"{name}: {text[:20]!r}... has {len(text)} characters, at most {limit}; use shorter ids")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name}: not UTF-8") from None
    return text
