"""Reads a historical log: checks each row, and sorts the rows by time in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final

from streams.errors import InputError, RecordError
from tools.files.cells.times import TIME_UNITS
from tools.files.file_options import parse_columns
from tools.files.formats.named_files import STDIN
from tools.files.log_source import LogSource
from tools.files.logs.columnar import ColumnBlock, raw_blocks
from tools.files.logs.log_columns import ColumnChecker, LogColumns
from tools.files.logs.log_rows import FIELDS, TS, USUAL_RULES, EventRules, LogRow, RowReader, UnknownTypeError
from tools.files.logs.log_sort import SortedRuns
from tools.files.mapping import LeftOut
from tools.files.presets import CONTAINERS
from tools.files.raw_rows import RawRow, holds_json
from tools.files.refused_rows import RefusedRows

REQUIRED: Final = ("user_id", "item_id", "ts")
#: The units of time in records of the contract: numbers are milliseconds.
CONTRACT_UNITS: Final = ("ms", "iso")
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
    is_direct : whether rows are published as they come. Then a log without a column of times gets
        the time of day, and no log is refused as a whole for its rows. JSON without a mapping holds
        the contract's own records, whose numbers are milliseconds

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

    def __init__(
        self, source: LogSource, refused: RefusedRows, rules: EventRules = USUAL_RULES, *, is_direct: bool = False
    ) -> None:
        self._source = source
        self._refused = refused
        self._rules = rules
        self._is_direct = is_direct
        self._is_contract = is_direct and is_unmapped(source) and holds_json(source.paths, source.files)
        self._rows = RowReader(source, rules, CONTRACT_UNITS if self._is_contract else TIME_UNITS[1:])
        self.n_read = 0
        self.n_good = 0
        self.time_unit: str | None = None
        self.times_in_words = "no times"
        self._place: tuple[int, str, int] | None = None  # of the last row that was read by itself
        self._part = 0

    def __iter__(self) -> Iterator[LogRow]:
        for block in self.blocks():
            yield from block if isinstance(block, list) else block.rows()

    def blocks(self) -> Iterator[LogColumns | list[LogRow]]:
        """Yield the good rows in blocks: as columns where all values of a block are as usual."""
        self.n_read = self.n_good = 0
        is_timed = not (self._source.no_times or self._is_direct)
        required = REQUIRED if is_timed else REQUIRED[:-1]
        types = parse_columns(self._source.types)
        raws = raw_blocks(self._source.paths, self._source.files, FIELDS, required, types)
        head: list[RawRow] = []
        first: list[ColumnBlock | list[RawRow]] = []
        for block in raws:
            first.append(block)
            rows = block if isinstance(block, list) else block.raw_rows(range(min(block.n_rows, HEAD_ROWS)))
            head += islice(rows, HEAD_ROWS - len(head))
            if len(head) == HEAD_ROWS:
                break
        if not self._source.no_times:
            self._learn(head)
        yield from self._checked(chain(first, raws))
        for line in self._rows.missing.lines():
            self._refused.tell(f"{self._source.name}: {line}")
        if not self._is_direct:
            self._check_any()
        if self._rows.ahead_ms > TOLD_AHEAD_MS:
            self._refused.tell(
                f"{self._source.name}: the newest time is {self._rows.ahead_ms // 1000:,} s ahead: a time zone? times that "
                "name no zone are read as UTC; add --time-zone Asia/Shanghai, or the zone where they were written"
            )

    @property
    def fills_times(self) -> bool:
        """Return whether the log has no times, so that each row gets the time of day."""
        return self._rows.fills_times

    def _check_any(self) -> None:
        """Raise :class:`InputError` where no row was good."""
        if self.n_read == 0:
            raise InputError(f"{self._source.name}: no rows")
        if self.n_good == 0:
            told = self._refused.types_line()
            raise InputError(
                f"{self._source.name}: none of {self.n_read} rows can be read; first: {self._refused.first}"
                + (f"; {told}" if told else "")
            )

    def _learn(self, head: list[RawRow]) -> None:
        """Find the unit of the times in the first rows, and tell it."""
        times = self._rows.times
        found = [raw.values[TS] for raw in head if not isinstance(raw.values, str)]
        self._rows.fills_times = self._is_direct and all(raw is None for raw in found)
        if self._is_contract:
            times.settle(found)
        else:
            times.learn(self._source.name, found)
        self.time_unit = times.unit
        self.times_in_words = times.in_words()
        if self._source.time_unit == "auto" and times.unit in ("us", "ns"):
            self._refused.tell(f"{self._source.name}: times are {times.in_words()}")
        if times.is_zone_missing:
            self._refused.tell(
                f"{self._source.name}: times name no zone and are read as UTC; add --time-zone Asia/Shanghai, or where they "
                "were written"
            )

    def _checked(self, blocks: Iterable[ColumnBlock | list[RawRow]]) -> Iterator[LogColumns | list[LogRow]]:
        checker = ColumnChecker(self._rows)
        file, before, last = None, 0, 0
        for block in blocks:
            name = block[0].file if isinstance(block, list) else block.file
            if name != file:
                file, before = name, last
            columns = None if isinstance(block, list) else checker.check(block, before)
            if isinstance(block, list):
                last = before + block[-1].line
            else:
                last = before + block.first + block.n_rows - 1
            if columns is None:
                yield self._read(block if isinstance(block, list) else block.raw_rows(), before)
            else:
                assert isinstance(block, ColumnBlock)
                self._read_unusual(block, columns, before)
                yield columns

    def _read(self, rows: Iterable[RawRow], before: int) -> list[LogRow]:
        """Return the good rows among some, which are read one by one."""
        return [row for raw in rows if (row := self._row(raw, before)) is not None]

    def _read_unusual(self, block: ColumnBlock, columns: LogColumns, before: int) -> None:
        """Read the rows of a block one by one that its columns leave out."""
        start = self.n_read
        places = columns.unusual()
        for place, raw in zip(places, block.raw_rows(places), strict=True):
            self.n_read = start + place
            row = self._row(raw, before)
            if row is not None:
                columns.others[place] = row
        self.n_read = start + block.n_rows
        self.n_good += block.n_rows - len(places)

    def _row(self, raw: RawRow, before: int) -> LogRow | None:
        """Count a row and return it, None where it is refused or left out."""
        place = (before, raw.file, raw.line)
        self._part = self._part + 1 if place == self._place else 0
        self._place = place
        if isinstance(raw.values, LeftOut):
            self._refused.leave_out(raw.values)
            return None
        self.n_read += 1
        try:
            if isinstance(raw.values, str):
                raise RecordError("malformed", "", raw.values)
            row = self._rows.read(before + raw.line, raw.values, self._part)
        except RecordError as exc:
            self._refuse(raw, exc)
            return None
        self.n_good += 1
        return row

    def _refuse(self, raw: RawRow, error: RecordError) -> None:
        is_only = [str(path) for path in self._source.paths] in ([raw.file], [STDIN])
        place = f"line {raw.line}" if is_only else f"{raw.file} line {raw.line}"
        if isinstance(error, UnknownTypeError):
            self._refused.refuse_type(place, error.kind, self._rules.types)
        else:
            self._refused.refuse(place, error)
        if not self._is_direct:
            self._refused.check(self.n_read, self._source.name)


def is_unmapped(source: LogSource) -> bool:
    """Return whether the reading options say that a log's records have the contract's fields."""
    return not source.files.columns and source.files.format in CONTAINERS


def sorted_rows(
    rows: Iterable[LogRow], *, max_rows_in_memory: int = 500_000, tmp_dir: Path | None = None
) -> Iterator[LogRow]:
    """Read all rows of a log, then yield them by ``(ts_ms, line)``.

    A log with more rows than ``max_rows_in_memory`` is sorted in parts. The parts lie in a
    temporary folder under ``tmp_dir``, which is removed at the end, also after an interruption.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-sort-", dir=tmp_dir) as folder:
        runs = SortedRuns(Path(folder), LogRow, key=_time_order)
        part: list[LogRow] = []
        n_chars = 0
        for row in rows:
            part.append(row)
            n_chars += len(row.user_id) + len(row.item_id) + len(row.event_id or "") + len(row.session_id or "")
            if len(part) >= max_rows_in_memory or n_chars >= MAX_CHARS_IN_MEMORY:
                runs.add(sorted(part, key=_time_order))
                part, n_chars = [], 0
        part.sort(key=_time_order)
        yield from heapq.merge(*runs.open(), part, key=_time_order)


def _time_order(row: LogRow) -> tuple[int, int]:
    return row.ts_ms, row.line
