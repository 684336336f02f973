"""Historical logs: the rows of an events file, checked one by one, in file order or sorted by time in bounded memory."""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError
from streams.settings.record_limits import MAX_ID_LENGTH
from tools.files.item_reader import id_value, read_items
from tools.files.log_formats import RawRow, raw_rows
from tools.files.log_sort import SortedRuns

__all__ = ["LogReader", "LogRow", "LogSpec", "parse_columns", "read_items", "sorted_rows"]

FIELDS: Final = ("event_id", "user_id", "item_id", "type", "ts", "session_id", "value")
REQUIRED: Final = ("user_id", "item_id", "ts")
EVENT_TYPES: Final = ("click", "view", "purchase")
#: Times before and after these are taken for another unit, or for no time at all.
MIN_MS: Final = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp() * 1000)
MAX_MS: Final = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
#: Of a user_id in a log: a record holds 128 characters, but a pseudonym may take the place of a longer one before it is published.
MAX_USER_CHARS: Final = 512
#: Of the ids of the rows that a sort holds in memory.
MAX_CHARS_IN_MEMORY: Final = 256 << 20
#: Rows looked at to find the unit of time.
HEAD_ROWS: Final = 200
MS_PER_UNIT: Final = {"s": 1000.0, "ms": 1.0}


@dataclass(frozen=True)
class LogSpec:
    """Which file, and how to read it.

    Parameters
    ----------
    columns : contract name to the file's column, or to its position (from 0) where there is no header
    types : the file's event types to the contract's
    time_unit : ``s``, ``ms``, ``iso``, or ``auto`` (also None) to detect it
    max_bad, max_bad_share : reading stops when more rows than both are bad
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    time_unit: str | None = None
    max_bad: int = 1_000
    max_bad_share: float = 0.5


@dataclass(frozen=True, slots=True)
class LogRow:
    """One event of a log. ``line`` counts from 1 and includes the header; in Parquet it is the row."""

    line: int
    event_id: str | None
    user_id: str
    item_id: str
    type: str
    ts_ms: int
    session_id: str | None
    value: float | None


def parse_columns(text: str) -> dict[str, str]:
    """Return ``a=b,c=d`` as a mapping; empty text is an empty mapping.

    Raises
    ------
    InputError
        When a part has no ``=``, or a name is empty or there twice.
    """
    mapping: dict[str, str] = {}
    for part in text.split(",") if text.strip() else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in mapping:
            raise InputError(f"{part.strip()!r} in {text!r}: give NAME=VALUE pairs with commas between, each name once")
        mapping[name] = value
    return mapping


class LogReader:
    """Iterates over the good rows of a log in file order. Each bad row is counted and reported, and stops nothing.

    Parameters
    ----------
    on_bad : called with the line number and the reason of each bad row

    Attributes
    ----------
    n_read, n_bad : rows so far, and how many of them were bad
    time_unit : ``s``, ``ms`` or ``iso`` once the first row was read, None before

    Raises
    ------
    InputError
        While iterating: the file cannot be read, its times are in another unit, no row is good, or too many are bad.
    """

    def __init__(self, spec: LogSpec, on_bad: Callable[[int, str], None]) -> None:
        if spec.time_unit not in (None, "auto", "s", "ms", "iso"):
            raise InputError(f"time unit {spec.time_unit!r}: must be auto, s, ms or iso")
        for name, kind in spec.types.items():
            if kind not in EVENT_TYPES:
                raise InputError(f"--types {name}={kind}: {kind!r} is none of {', '.join(EVENT_TYPES)}")
        self._spec = spec
        self._on_bad = on_bad
        self._types = {name: name for name in EVENT_TYPES} | dict(spec.types)
        self._first_bad = ""
        self.n_read = 0
        self.n_bad = 0
        self.time_unit: str | None = None

    def __iter__(self) -> Iterator[LogRow]:
        self.n_read = self.n_bad = 0
        rows = raw_rows(self._spec.path, self._spec.columns, FIELDS, REQUIRED)
        head = list(islice(rows, HEAD_ROWS))
        self.time_unit = self._find_unit(head)
        yield from self._checked(head)
        yield from self._checked(rows)
        if self.n_read == 0:
            raise InputError(f"{self._spec.path}: no rows")
        if self.n_bad == self.n_read:
            raise InputError(f"{self._spec.path}: none of {self.n_read} rows can be read; first: {self._first_bad}")

    def _checked(self, rows: Any) -> Iterator[LogRow]:
        for line, values in rows:
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
                yield row

    def _refuse(self, line: int, reason: str) -> None:
        self.n_bad += 1
        self._first_bad = self._first_bad or f"line {line}: {reason}"
        self._on_bad(line, reason)
        if self.n_bad > self._spec.max_bad and self.n_bad > self._spec.max_bad_share * self.n_read:
            raise InputError(
                f"{self._spec.path}: {self.n_bad} of {self.n_read} rows are bad, more than {self._spec.max_bad} and "
                f"{self._spec.max_bad_share:.0%}; line {line}: {reason}; check --columns, --types and --time-unit"
            )

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
            None if value is None or value == "" else _number("value", value),
        )

    def _type(self, kind: Any) -> str:
        if kind is None or kind == "":
            return "view"
        found = self._types.get(str(kind))
        if found is None:
            raise ValueError(f"type: {kind!r} is none of {', '.join(self._types)}; map it with --types {kind}=view")
        return found

    def _time(self, ts: Any) -> int:
        ts_ms = _to_ms(ts, self.time_unit or "ms")
        if not MIN_MS <= ts_ms < MAX_MS:
            raise ValueError(f"ts: {ts!r} in {self.time_unit} is outside 1990 to 2100")
        return ts_ms

    def _find_unit(self, head: list[RawRow]) -> str:
        """Return the unit of time: the one asked for if the first rows allow it, else the one that fits most of them."""
        asked = None if self._spec.time_unit in (None, "auto") else self._spec.time_unit
        place = FIELDS.index("ts")
        times = [values[place] for _, values in head if not isinstance(values, str) and values[place] not in (None, "")]
        fits = {unit: sum(_fits(ts, unit) for ts in times) for unit in ("s", "ms", "iso")}
        best = max(fits, key=lambda unit: fits[unit])
        if not times or (asked and 2 * fits[asked] >= len(times)):
            return asked or best
        if 2 * fits[best] < len(times):
            raise InputError(
                f"{self._spec.path}: ts={times[0]!r} is no time from 1990 to 2100 in s, ms or ISO 8601; "
                "check --columns ts=NAME"
            )
        if asked:
            raise InputError(
                f"{self._spec.path}: ts={times[0]!r} read as {asked} is no time from 1990 to 2100, as {best} it is; "
                f"use --time-unit {best}"
            )
        return best


def sorted_rows(
    reader: LogReader, *, max_rows_in_memory: int = 500_000, tmp_dir: Path | None = None
) -> Iterator[LogRow]:
    """Yield all rows by ``(ts_ms, line)``; the log is read to its end before the first is given.

    A log with more rows than ``max_rows_in_memory`` is sorted in parts, which wait in a temporary folder under ``tmp_dir`` and are
    removed at the end, also of an interrupted iteration.
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
    """Return an id as text. Whole numbers are ids too; a number with a fraction is a mistake of the file.

    The limits are those of the contract, so that items that are trained on can be published too.
    """
    if isinstance(value, bytes | float | Decimal):
        text = value.decode("utf-8", "surrogateescape").strip() if isinstance(value, bytes) else id_value(value)
        if not text:
            raise ValueError(f"{name}: {value!r} is no id; publish whole numbers below 2^53, or text")
    elif isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name}: {value!r} is missing or no text")
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


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {value!r} is no finite number")
    return number


def _to_ms(ts: Any, unit: str) -> int:
    if isinstance(ts, datetime):
        return int((ts if ts.tzinfo else ts.replace(tzinfo=UTC)).timestamp() * 1000)
    if unit == "iso":
        try:
            moment = datetime.fromisoformat(str(ts).strip())
        except ValueError:
            raise ValueError(f"ts: {ts!r} is no ISO 8601 time") from None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(ts, int) or (isinstance(ts, str) and ts.isdecimal() and len(ts) < 20):
        return int(int(ts) * MS_PER_UNIT[unit])
    return int(round(_number("ts", ts) * MS_PER_UNIT[unit]))


def _fits(ts: Any, unit: str) -> bool:
    """Tell whether a raw time, read in this unit, lies between 1990 and 2100."""
    if unit == "iso" and (isinstance(ts, int | float) or str(ts).strip().isdecimal()):
        return False  # Python reads 19970401 as a date: digits alone are a number here
    try:
        return MIN_MS <= _to_ms(ts, unit) < MAX_MS
    except (ValueError, OverflowError):
        return False
