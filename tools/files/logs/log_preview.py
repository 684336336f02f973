"""``--dry-run``: reads and checks a log, shows the first events as understood, sends nothing."""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from streams.printable import counted
from tools.cli import ResultTable, emit
from tools.files.cells.times import TimeRange
from tools.files.logs.log_reader import LogReader
from tools.files.logs.log_rows import LogRow
from tools.files.refused_rows import RefusedRows

SHOWN_ROWS: Final = 5
_HEADER: Final = ("line", "user_id", "item_id", "type", "time", "session_id", "value", "event_id")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add ``--dry-run``."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="read and check the files, show the first events as understood, and do nothing else",
    )


def shown_time(ts_ms: int) -> str:
    """Return a time for people, such as ``2026-11-29T06:19:00Z``.

    ``-`` stands for the time of a log without times.
    """
    if not ts_ms:
        return "-"
    return datetime.fromtimestamp(ts_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LogPreview:
    """What a command would take from a log: counts, and the first events.

    Parameters
    ----------
    reader : its rows are read to their end
    times : events outside are counted as skipped
    """

    def __init__(self, reader: LogReader, times: TimeRange = TimeRange()) -> None:  # noqa: B008 (frozen)
        self._first: list[LogRow] = []
        self._users: set[str] = set()
        self._items: set[str] = set()
        self._types: Counter[str] = Counter()
        self._span: tuple[int, int] | None = None
        self._times_in_words = "no times"
        self.n_events = self.n_skipped = 0
        for row in reader:
            if row.ts_ms in times:
                self._add(row)
            else:
                self.n_skipped += 1
        self._times_in_words = reader.times_in_words

    def _add(self, row: LogRow) -> None:
        self.n_events += 1
        if self.n_events <= SHOWN_ROWS:
            self._first.append(row)
        self._users.add(row.user_id)
        self._items.add(row.item_id)
        self._types[row.type] += 1
        first, last = self._span or (row.ts_ms, row.ts_ms)
        self._span = (min(first, row.ts_ms), max(last, row.ts_ms))

    def result(self) -> dict[str, Any]:
        """Return the preview for ``--json``."""
        first, last = self._span or (None, None)
        return {
            "dry_run": True,
            "events": self.n_events,
            "skipped": self.n_skipped,
            "users": len(self._users),
            "items": len(self._items),
            "types": dict(self._types.most_common()),
            "first_ts": first,
            "last_ts": last,
            "times": self._times_in_words,
            "rows": [_fields(row) for row in self._first],
        }

    def lines(self, would: str) -> list[str | ResultTable]:
        """Return the preview for people.

        Parameters
        ----------
        would : what the command would do with the events: ``would be sent to the topic events``
        """
        types = ", ".join(f"{kind} {n:,}" for kind, n in self._types.most_common())
        first, last = self._span or (0, 0)
        users, items = counted(len(self._users), "user"), counted(len(self._items), "item")
        said = f"{counted(self.n_events, 'event')} of {users} and {items} {would}"
        lines: list[str | ResultTable] = [said]
        if self.n_events:
            rows = [[str(row.line), *_cells(row)] for row in self._first]
            lines.append(f"types: {types}")
            span = f"{shown_time(first)} to {shown_time(last)}, written as {self._times_in_words}"
            lines.append(f"times: {span if last else self._times_in_words}")
            lines.append(ResultTable("the first events as understood", _HEADER, rows))
        return lines


def emit_preview(
    args: argparse.Namespace, preview: LogPreview, refused: RefusedRows, would: str, more: dict[str, Any] | None = None
) -> int:
    """Print a preview; return the exit code: 1 where a row was refused.

    Parameters
    ----------
    more : further parts of the result for ``--json``
    """
    refused.say_summary()
    emit(args, preview.result() | (more or {}) | refused.result(), preview.lines(would))
    return refused.exit_code


def _fields(row: LogRow) -> dict[str, Any]:
    return {
        "line": row.line,
        "event_id": row.event_id,
        "user_id": row.user_id,
        "item_id": row.item_id,
        "type": row.type,
        "ts": row.ts_ms or None,
        "session_id": row.session_id,
        "value": row.value,
    }


def _cells(row: LogRow) -> list[str]:
    value = "-" if row.value is None else f"{row.value:g}"
    return [
        row.user_id,
        row.item_id,
        row.type,
        shown_time(row.ts_ms),
        row.session_id or "-",
        value,
        row.event_id or "-",
    ]
