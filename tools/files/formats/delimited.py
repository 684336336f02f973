r"""Reads rows of CSV, TSV and other delimited text, by RFC 4180 with any delimiter.

A quoted value may hold delimiters and line breaks; two quotes in it are one. A stray quote costs
one row, never the rest of the file::

    27" monitor,9        a quote inside of a value that has none around it is a character
    "27" monitor",9      not by the RFC, but it has as many columns as the header: read as meant
    "27" monitor,9       the same
    "27 monitor,9        no end: this row is refused, and the rows after it are read
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from streams.errors import InputError
from tools.files.formats.delimiters import (
    USUAL,
    OpenQuoteError,
    QuoteError,
    first_lines,
    n_values,
    parse_delimiter,
    sniff,
    split_loosely,
    split_quoted,
)
from tools.files.formats.text import MAX_LINE_BYTES, Lines, TextFile

#: A value that goes on over more lines is one whose quote is never closed.
MAX_VALUE_LINES: Final = 1_000
#: RecBole's atomic files write a column as ``name:type``.
_ATOMIC: Final = re.compile(r".*:(?:token|token_seq|float|float_seq)")
#: Excel reads the delimiter from such a first line, and some programs write it.
_NAMED: Final = re.compile(rb'"?sep=([\x20-\x7e\t])"?\r?\n')

Row = tuple[int, list[str] | str]


class Delimited:
    """The rows of a delimited file.

    Parameters
    ----------
    delimiter : ``auto`` finds it in the first rows
    suffix : of the file's name, without those of containers; decides where several delimiters do
    wanted : names of columns; the delimiter that gives them to the header is the right one
    least : so many columns the file has at least

    Attributes
    ----------
    delimiter : the one that is used; ``""`` for a file without rows
    first : the values of the first row, which may be a header; empty for a file without rows

    Raises
    ------
    InputError
        When the first row cannot be read.
    """

    def __init__(
        self,
        text: TextFile,
        name: str,
        delimiter: str = "auto",
        suffix: str = "",
        wanted: Sequence[str] = (),
        least: int = 0,
    ) -> None:
        self._text = text
        self._lines = text.lines()
        #: Lines that were read ahead and have not been taken.
        self._kept: deque[tuple[int, bytes | None]] = deque()
        self._width = 0
        head, named = text.head, _NAMED.match(text.head)
        if named:
            head = head[named.end() :]
            next(self._lines)
            delimiter = named[1].decode() if delimiter == "auto" else delimiter
        self.is_sniffed = delimiter == "auto"
        self.delimiter = sniff(head, suffix, wanted, least) if delimiter == "auto" else parse_delimiter(delimiter)
        widths = Counter(n_values(line, self.delimiter) for line in first_lines(head))
        self._usual_width = widths.most_common(1)[0][0] if widths else 0
        self.is_usual = USUAL.get(suffix) == self.delimiter
        self.first: list[str] = []
        self._first_number = 0
        row = next(self._rows(), None)
        if row is not None:
            self._first_number, values = row
            if isinstance(values, str):
                raise InputError(f"{name}: line {row[0]}: {values}")
            self.first = [_ATOMIC_TYPE.sub("", value) for value in values] if is_atomic(values) else values

    def rows(self, *, has_header: bool) -> Iterator[Row]:
        """Yield number and values of each row; in place of the values the reason where it is none.

        Parameters
        ----------
        has_header : whether the first row is no row of data. No row may have more values than it,
            or than the most of the first rows where there is no header
        """
        self._width = len(self.first) if has_header else self._usual_width
        if self.first and not has_header:
            yield self._first_number, _fit(self.first, self._width) or self.first
        yield from self._rows()

    def blocks(self, *, has_header: bool) -> Iterator[Lines | Iterator[Row]]:
        """Yield the file in pieces: lines that anyone may cut at delimiters, or rows of others.

        The rows of a piece must be taken before the next piece, and those lines that somebody did
        not cut are given back to :meth:`rows_of`.
        """
        self._width = len(self.first) if has_header else self._usual_width
        if self.first and not has_header:
            yield iter([(self._first_number, _fit(self.first, self._width) or self.first)])
        while True:
            if self._kept:
                yield self._rows(is_ended=True)
            lines = self._text.read_lines()
            if lines is None:
                return
            yield lines if _is_plain(lines, self.delimiter) else self.rows_of(lines)

    def rows_of(self, lines: Lines) -> Iterator[Row]:
        """Yield the rows of some lines, and of the lines after them that end a quoted value."""
        self._kept.extend(lines.numbered())
        return self._rows(is_ended=True)

    def _rows(self, *, is_ended: bool = False) -> Iterator[Row]:
        """Yield rows to the end of the file, or with ``is_ended`` to the end of the kept lines."""
        delimiter, width = self.delimiter, self._width
        kept, lines = self._kept, self._lines
        while True:
            numbered = kept.popleft() if kept else None if is_ended else next(lines, None)
            if numbered is None:
                return
            number, line = numbered
            if line is None:
                yield number, f"longer than {MAX_LINE_BYTES} bytes"
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError:
                yield number, self._text.why_no_text(line)
                continue
            if '"' not in text:
                if not text or text.isspace():
                    continue
                values = text.split(delimiter)
                yield number, _fit(values, width) or values
            else:
                yield number, self._quoted(number, text, width)

    def _quoted(self, number: int, text: str, width: int) -> list[str] | str:
        """Return the values of a row that begins with a line with quotes, or why it is none."""
        try:
            values = split_quoted(text, self.delimiter)
        except OpenQuoteError:
            return self._over_lines(number, text, width)
        except QuoteError:
            return split_loosely(text, self.delimiter, width) or "a quote inside of a quoted value; double it"
        return _fit(values, width) or values

    def _over_lines(self, number: int, first: str, width: int) -> list[str] | str:
        """Return the values of a row whose quoted value goes on over lines.

        Where the value does not end, the lines after the first are given back and read as rows.
        """
        taken: list[tuple[int, bytes | None]] = []
        parts, n_chars = [first], len(first)
        reason = "the file ends inside of a quoted value that begins here; close the quote or double it"
        while (following := self._next_line()) is not None:
            taken.append(following)
            text = _decoded(following[1])
            n_chars += len(text or "")
            if text is None or n_chars > MAX_LINE_BYTES or len(taken) > MAX_VALUE_LINES:
                reason = (
                    f"a quoted value that begins here goes on for more than {len(taken) - 1} lines; close the quote"
                )
                break
            parts.append(text)
            if '"' not in text:
                continue
            try:
                values = split_quoted("\n".join(parts), self.delimiter)
            except OpenQuoteError:
                continue
            except QuoteError:
                reason = (
                    f"a quote opens here and another one stands inside of line {following[0]}; double it or close it"
                )
                break
            if _are_rows(parts, self.delimiter, width):
                reason = (
                    f"a quote opens here and the next one, in line {following[0]}, belongs to another row; close it"
                )
                break
            return _fit(values, width) or values
        self._kept.extendleft(reversed(taken))
        return reason

    def _next_line(self) -> tuple[int, bytes | None] | None:
        return self._kept.popleft() if self._kept else next(self._lines, None)


def _is_plain(lines: Lines, delimiter: str) -> bool:
    """Whether each line is a row, and each quote stands around a whole value without quotes."""
    data = lines.data
    if lines.is_cut or b"\0" in data or (b"\r" in data and data.count(b"\r") != data.count(b"\r\n")):
        return False
    return b'"' not in data or (len(delimiter) == 1 and _are_around_values(data, ord(delimiter)))


def _are_around_values(data: bytes, delimiter: int) -> bool:
    """Whether quotes come in pairs on one line.

    Delimiters or the ends of the line stand around each pair.
    """
    if delimiter > 127:
        return False
    letters = np.frombuffer(b"\n" + data + b"\n", dtype=np.uint8)
    quotes = np.flatnonzero(letters == ord('"'))
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before, after = letters[opening - 1], letters[closing + 1]
    if not (((before == delimiter) | (before == ord("\n"))).all()):
        return False
    if not ((after == delimiter) | (after == ord("\n")) | (after == ord("\r"))).all():
        return False
    ends = np.flatnonzero(letters == ord("\n"))
    return bool((np.searchsorted(ends, opening) == np.searchsorted(ends, closing)).all())


_ATOMIC_TYPE: Final = re.compile(r":(?:token|token_seq|float|float_seq)\Z")


def is_atomic(names: Sequence[str]) -> bool:
    """Whether a header is that of RecBole's atomic files, as ``user_id:token``."""
    return bool(names) and all(_ATOMIC.fullmatch(name) for name in names)


def _fit(values: list[str], width: int) -> str | None:
    """Cut empty values beyond the width; return why a row has more of them.

    A row with fewer values is a row: programs leave out empty values at the end of a line.
    """
    if not width or len(values) <= width:
        return None
    if not any(value.strip() for value in values[width:]):
        del values[width:]
        return None
    return f"has {len(values)} values, not {width}; put quotes around a value that holds the delimiter"


def _are_rows(parts: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether all lines of a quoted value look like rows: so the quote is a stray one."""
    return width > 1 and all(len(part.split(delimiter)) == width for part in parts)


def _decoded(line: bytes | None) -> str | None:
    try:
        return None if line is None else line.decode()
    except UnicodeDecodeError:
        return None
