"""Reads a historical log: checks each row, and sorts the rows by time in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from streams.errors import InputError, RecordError
from tools.files.log_rows import FIELDS, TS, USUAL_RULES, EventRules, LogRow, RowReader, UnknownTypeError
from tools.files.log_sort import SortedRuns
from tools.files.log_source import LogSource
from tools.files.mapping import LeftOut
from tools.files.raw_rows import RawRow, raw_rows
from tools.files.refused_rows import RefusedRows

REQUIRED: Final = ("user_id", "item_id", "ts")
#: The most characters of ids that a sort holds in memory.
MAX_CHARS_IN_MEMORY: Final = 256 << 20
#: The first rows of a log show its unit of time.
HEAD_ROWS: Final = 200
#: A newest time that is further ahead than this is told, where its rows are accepted too.
TOLD_AHEAD_MS: Final = 60_000


class LogReader:
    """Iterates over the good rows of a log in file order; a bad row is counted and passed over.

    Parameters
    ----------
    refused : counts and shows the bad rows, and tells how the log is read
    rules : what the deployment's settings say about events

    Attributes
    ----------
    n_read, n_good : the rows so far, and how many of them were good
    time_unit : ``s``, ``ms``, ``us``, ``ns`` or ``iso``; None before the first row
    times_in_words : what the log's times are, for people

    Raises
    ------
    InputError
        While iterating: the file cannot be read, its times are in another unit, no row is good, or
        too many rows are bad.
    """

    def __init__(self, source: LogSource, refused: RefusedRows, rules: EventRules = USUAL_RULES) -> None:
        self._source = source
        self._refused = refused
        self._rules = rules
        self._rows = RowReader(source, rules)
        self.n_read = 0
        self.n_good = 0
        self.time_unit: str | None = None
        self.times_in_words = "no times"

    def __iter__(self) -> Iterator[LogRow]:
        self.n_read = self.n_good = 0
        required = [name for name in REQUIRED if name != "ts" or not self._source.no_times]
        raws = raw_rows(self._source.paths, self._source.files, FIELDS, required)
        head = list(islice(raws, HEAD_ROWS))
        if not self._source.no_times:
            self._learn(head)
        yield from self._checked(head, raws)
        if self.n_read == 0:
            raise InputError(f"{self._source.name}: no rows")
        if self.n_good == 0:
            told = self._refused.types_line()
            raise InputError(
                f"{self._source.name}: none of {self.n_read} rows can be read; first: {self._refused.first}"
                + (f"; {told}" if told else "")
            )
        if self._rows.ahead_ms > TOLD_AHEAD_MS:
            self._refused.tell(
                f"{self._source.name}: the newest time is {self._rows.ahead_ms // 1000:,} s ahead: a time zone? times that "
                "name no zone are read as UTC; add --time-zone Asia/Shanghai, or the zone where they were written"
            )

    def _learn(self, head: list[RawRow]) -> None:
        """Find the unit of the times in the first rows, and tell it."""
        times = self._rows.times
        times.learn(self._source.name, [raw.values[TS] for raw in head if not isinstance(raw.values, str)])
        self.time_unit = times.unit
        self.times_in_words = times.in_words()
        if self._source.time_unit == "auto" and times.unit in ("us", "ns"):
            self._refused.tell(f"{self._source.name}: times are {times.in_words()}")
        if times.is_zone_missing:
            self._refused.tell(
                f"{self._source.name}: times name no zone and are read as UTC; add --time-zone Asia/Shanghai, or where they "
                "were written"
            )

    def _checked(self, *parts: Iterable[RawRow]) -> Iterator[LogRow]:
        read = self._rows.read
        file, before, last = None, 0, 0
        for rows in parts:
            for raw in rows:
                if raw.file is not file and raw.file != file:
                    file, before = raw.file, last
                last = before + raw.line
                if isinstance(raw.values, LeftOut):
                    self._refused.leave_out(raw.values)
                    continue
                self.n_read += 1
                try:
                    if isinstance(raw.values, str):
                        raise RecordError("malformed", "", raw.values)
                    row = read(last, raw.values)
                except RecordError as exc:
                    self._refuse(raw, exc)
                else:
                    self.n_good += 1
                    yield row

    def _refuse(self, raw: RawRow, error: RecordError) -> None:
        place = f"line {raw.line}" if len(self._source.paths) == 1 else f"{raw.file} line {raw.line}"
        if isinstance(error, UnknownTypeError):
            self._refused.refuse_type(place, error.kind, self._rules.types)
        else:
            self._refused.refuse(place, error)
        self._refused.check(self.n_read, self._source.name)


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
