"""Checks blocks of a log column by column.

The row reader takes the rows with something unusual.

A value is usual where the row reader gives it back as it is, or changes it by plain arithmetic::

    ids     text of 1 to 128 ASCII letters without spaces, no word for nothing, not 29.0; integers
    types   any that the row reader knows; each different one is asked once a block
    times   digits in a unit, whole numbers, times of Parquet; from 1990 on, not in the future
    value   numbers; each different text is asked once a block
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.base.types import Bool, Int64
from streams.errors import RecordError
from streams.formats.values import MAX_EXACT, number
from streams.settings.record_limits import MAX_ID_LENGTH
from tools.files.cells.times import MAX_MS, MIN_MS
from tools.files.logs.columnar import ColumnBlock
from tools.files.logs.log_rows import FIELDS, LogRow, RowReader

if TYPE_CHECKING:
    import pyarrow

#: A dictionary's word may stand in all rows of a block; longer ones are left to the row reader.
MAX_WORD_BYTES: Final = 1_024
#: More digits times a thousand are beyond int64.
MAX_DIGITS: Final = 15
_FACTORS: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}


class UnusualError(Exception):
    """A block has a column that only the row reader can read."""


@dataclass(frozen=True)
class LogColumns:
    """The usual rows of a block, as columns of ``n`` rows; unusual rows hold anything.

    Parameters
    ----------
    lines : (n,) int64, as in :class:`~tools.files.logs.log_rows.LogRow`
    usual : (n,) bool, the rows that are checked
    user_ids, item_ids : arrays of strings
    event_ids, session_ids : arrays of strings, None without any
    types : names of types, one a row
    ts_ms : (n,) int64
    values : one a row, None without any
    others : the unusual rows that are good, by their place
    """

    lines: Int64
    usual: Bool
    user_ids: pyarrow.Array
    item_ids: pyarrow.Array
    types: list[str]
    ts_ms: Int64
    event_ids: pyarrow.Array | None
    session_ids: pyarrow.Array | None
    values: list[float | None] | None
    others: dict[int, LogRow] = field(default_factory=dict)

    def unusual(self) -> list[int]:
        """Return the places of the unusual rows."""
        found: list[int] = np.flatnonzero(~self.usual).tolist()
        return found

    def rows(self) -> Iterator[LogRow]:
        """Yield the good rows in the order of the file."""
        made = map(
            LogRow,
            self.lines.tolist(),
            repeat(None) if self.event_ids is None else self.event_ids.to_pylist(),
            self.user_ids.to_pylist(),
            self.item_ids.to_pylist(),
            self.types,
            self.ts_ms.tolist(),
            repeat(None) if self.session_ids is None else self.session_ids.to_pylist(),
            repeat(None) if self.values is None else self.values,
        )
        if self.usual.all():
            yield from made
            return
        for place, (row, is_usual) in enumerate(zip(made, self.usual.tolist(), strict=True)):
            if is_usual:
                yield row
            elif place in self.others:
                yield self.others[place]


class ColumnChecker:
    """Checks the blocks of one log by the rules of its row reader, which has learnt the times."""

    def __init__(self, rows: RowReader) -> None:
        self._rows = rows
        self._words = sorted(rows.nothing)
        self._begins = np.array(sorted({ord(word[0]) for word in self._words if word[0].isascii()}), dtype=np.uint8)
        self._are_digits = any(word.strip("+-.").isdigit() for word in self._words)

    def check(self, block: ColumnBlock, before: int) -> LogColumns | None:
        """Return the checked columns of a block, None where the row reader must read all of it.

        Parameters
        ----------
        before : the lines of the files before this one
        """
        if not self._rows.is_timed or self._are_digits:
            return None
        event_id, user_id, item_id, kind, ts, session_id, value = block.columns
        usual = np.ones(block.n_rows, dtype=np.bool_)
        try:
            users, items = self._ids(user_id, usual), self._ids(item_id, usual)
            events, sessions = (
                None if column is None else self._ids(column, usual, may_lack=True) for column in (event_id, session_id)
            )
            types = self._types(kind, usual, block.n_rows)
            ts_ms = self._times(ts, usual)
            values = None if value is None else self._values(value, usual)
        except UnusualError:
            return None
        lines = before + block.first + np.arange(block.n_rows, dtype=np.int64)
        return LogColumns(lines, usual, users, items, types, ts_ms, events, sessions, values)

    def _ids(self, column: pyarrow.Array | None, usual: Bool, *, may_lack: bool = False) -> pyarrow.Array:
        """Return a column of ids as text, and clear the rows of ``usual`` whose id is unusual."""
        import pyarrow
        from pyarrow import types

        if column is None:
            raise UnusualError
        if types.is_integer(column.type):
            _mark_missing(column, usual, may_lack=may_lack)
            return column.cast(pyarrow.string())
        texts = _texts(column)
        if texts.null_count:
            _mark_missing(texts, usual, may_lack=may_lack)
        offsets, data = _buffers(texts)
        lengths = np.diff(offsets)
        least = 0 if may_lack else 1  # an empty id is None where an event may lack it
        usual &= (lengths >= least) & (lengths <= MAX_ID_LENGTH)
        odd = (data - np.uint8(0x21)) > 0x5D  # spaces, control characters and all that is not ASCII
        if odd.any():
            usual[_rows_of(odd, offsets)] = False
        dots = data == ord(".")
        if dots.any():
            rows = np.unique(_rows_of(dots, offsets))
            usual[rows[data[offsets[rows + 1] - 1] == ord("0")]] = False
        self._mark_words(texts, data, offsets, usual)
        if may_lack and (lengths == 0).any():
            texts = pyarrow.compute.if_else(pyarrow.array(lengths > 0), texts, None)
        return texts

    def _mark_words(self, texts: pyarrow.Array, data: Any, offsets: Int64, usual: Bool) -> None:
        """Clear the rows that are words for no value; few rows begin like one."""
        if not self._words or not len(data):
            return
        starts = np.minimum(offsets[:-1], len(data) - 1)
        maybe = np.flatnonzero(np.isin(data[starts], self._begins) & (np.diff(offsets) <= max(map(len, self._words))))
        if len(maybe):
            import pyarrow

            found = texts.take(pyarrow.array(maybe)).to_pylist()
            usual[maybe[[word in self._rows.nothing for word in found]]] = False

    def _types(self, column: pyarrow.Array | None, usual: Bool, n_rows: int) -> list[str]:
        if column is None:
            return [self._rows.default_type] * n_rows
        return self._asked(
            column, usual, lambda raw: self._rows.default_type if raw is None else self._rows.type_of(raw)
        )

    def _values(self, column: pyarrow.Array, usual: Bool) -> list[float | None]:
        return self._asked(column, usual, lambda raw: number("value", self._rows.or_none(raw)))

    def _asked(self, column: pyarrow.Array, usual: Bool, read: Callable[[Any], Any]) -> list[Any]:
        """Return what the row reader makes of each value, which is asked once for each of them."""
        from pyarrow import types

        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if not (types.is_string(kind) or types.is_integer(kind) or types.is_floating(kind)):
            raise UnusualError
        coded = column if types.is_dictionary(column.type) else column.dictionary_encode()
        words: list[Any] = []
        refused: list[int] = []
        for i, raw in enumerate([*coded.dictionary.to_pylist(), None]):
            try:
                words.append(read(raw))
            except RecordError:
                refused.append(i)
                words.append(None)
        codes = coded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)
        if refused:
            usual[np.isin(codes, refused)] = False
        return [words[code] for code in codes.tolist()]

    def _times(self, column: pyarrow.Array | None, usual: Bool) -> Int64:
        """Return times in ms, and clear the rows whose time is unusual."""
        if column is None:
            raise UnusualError
        ts_ms = self._ms(column, usual)
        ahead = ts_ms - self._rows.now_ms
        usual &= (ts_ms >= MIN_MS) & (ts_ms < MAX_MS) & (ahead <= self._rows.skew_ms)
        if usual.any():
            self._rows.ahead_ms = max(self._rows.ahead_ms, int(ahead[usual].max()))
        return ts_ms

    def _ms(self, column: pyarrow.Array, usual: Bool) -> Int64:
        import pyarrow
        from pyarrow import compute, types

        kind = column.type
        if types.is_timestamp(kind):
            if kind.tz is None and not self._rows.times.is_utc:
                raise UnusualError
            _mark_missing(column, usual)
            factor, divisor = _FACTORS[kind.unit]
            units = column.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        else:
            if self._rows.times.unit not in _FACTORS:
                raise UnusualError
            factor, divisor = _FACTORS[self._rows.times.unit]
            if types.is_string(kind) or types.is_dictionary(kind):
                texts = _texts(column)
                digits = compute.and_(
                    compute.ascii_is_decimal(texts), compute.less_equal(compute.binary_length(texts), MAX_DIGITS)
                )
                _mark(usual, digits)
                column = compute.if_else(digits, texts, "0").cast(pyarrow.int64())
            elif types.is_floating(kind):
                numbers = column.cast(pyarrow.float64())
                whole = compute.and_(
                    compute.equal(compute.trunc(numbers), numbers), compute.less(compute.abs(numbers), MAX_EXACT)
                )
                _mark(usual, whole)
                column = compute.if_else(whole, numbers, 0.0).cast(pyarrow.int64())
            elif not types.is_signed_integer(kind):
                raise UnusualError
            _mark_missing(column, usual)
            units = column.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        usual &= np.abs(units) < 2**63 // 1_000
        ts_ms: Int64 = units // divisor if divisor > 1 else units * factor
        return ts_ms


def _mark(usual: Bool, kept: pyarrow.Array) -> None:
    """Clear the rows of ``usual`` at which a column of booleans is not true."""
    usual &= kept.fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - a value, not an option


def _mark_missing(column: pyarrow.Array, usual: Bool, *, may_lack: bool = False) -> None:
    if column.null_count and not may_lack:
        usual &= column.is_valid().to_numpy(zero_copy_only=False)


def _texts(column: pyarrow.Array) -> pyarrow.Array:
    """Return a column of texts as an array of strings.

    Raises
    ------
    UnusualError
        When it is no column of texts, or a dictionary has a long word, which must not be copied.
    """
    import pyarrow
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        words = column.dictionary
        longest = compute.max(compute.binary_length(words)).as_py() if types.is_string(words.type) else None
        if not types.is_string(words.type) or (longest or 0) > MAX_WORD_BYTES:
            raise UnusualError
        return column.cast(pyarrow.string())
    if not types.is_string(column.type):
        raise UnusualError
    return column


def _buffers(texts: pyarrow.Array) -> tuple[Int64, Any]:
    """Return where each text begins and the last one ends, (n + 1,) int64, and the bytes of all."""
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    if data is None:
        return offsets - offsets[0], np.zeros(0, dtype=np.uint8)
    return offsets - offsets[0], np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]


def _rows_of(marked: Bool, offsets: Int64) -> Int64:
    """Return the rows in which bytes are marked."""
    return np.searchsorted(offsets[1:], np.flatnonzero(marked), side="right")


assert len(FIELDS) == 7  # the columns of a block, in this order
