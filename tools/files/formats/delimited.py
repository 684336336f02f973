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

from streams.errors import InputError
from tools.files.formats.text import MAX_LINE_BYTES, PIECE_BYTES, TextFile

#: A value that goes on over more lines is one whose quote is never closed.
MAX_VALUE_LINES: Final = 1_000
#: The first rows show the delimiter.
SNIFFED_ROWS: Final = 100
#: In the order in which they are taken where several would do.
DELIMITERS: Final = (",", "\t", ";", "|", "^", "::", "\x01", "~", " ")
NAMED: Final = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "\\x01": "\x01"}
_USUAL: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
#: RecBole's atomic files write a column as ``name:type``.
_ATOMIC: Final = re.compile(r".*:(?:token|token_seq|float|float_seq)")
MAX_DELIMITER_CHARS: Final = 8

Row = tuple[int, list[str] | str]


class OpenQuoteError(ValueError):
    """A quoted value does not end in the text."""


class QuoteError(ValueError):
    """A quote stands where RFC 4180 has none."""


def parse_delimiter(text: str) -> str:
    """Return the delimiter that an option names; raise :class:`InputError` for an unusable one."""
    found = NAMED.get(text.lower(), text)
    if not found or len(found) > MAX_DELIMITER_CHARS or '"' in found or "\n" in found or "\r" in found:
        raise InputError(
            f"--delimiter {text!r}: give 1 to {MAX_DELIMITER_CHARS} characters that are no quote and no line end, or tab or space"
        )
    return found


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
        self.is_sniffed = delimiter == "auto"
        self.delimiter = sniff(text.head, suffix, wanted, least) if delimiter == "auto" else parse_delimiter(delimiter)
        widths = Counter(_n_values(line, self.delimiter) for line in _first_lines(text.head))
        self._usual_width = widths.most_common(1)[0][0] if widths else 0
        self.is_usual = _USUAL.get(suffix) == self.delimiter
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

    def _rows(self) -> Iterator[Row]:
        delimiter, width = self.delimiter, self._width
        kept, lines = self._kept, self._lines
        while True:
            numbered = kept.popleft() if kept else next(lines, None)
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


_ATOMIC_TYPE: Final = re.compile(r":(?:token|token_seq|float|float_seq)\Z")


def is_atomic(names: Sequence[str]) -> bool:
    """Whether a header is that of RecBole's atomic files, as ``user_id:token``."""
    return bool(names) and all(_ATOMIC.fullmatch(name) for name in names)


def split_quoted(text: str, delimiter: str) -> list[str]:
    """Return the values of a row by RFC 4180.

    Raises
    ------
    OpenQuoteError, QuoteError
        When a quoted value does not end, or goes on after its end.
    """
    values: list[str] = []
    at, end, skip = 0, len(text), len(delimiter)
    while True:
        if text.startswith('"', at):
            close = text.find('"', at + 1)
            while close >= 0 and text.startswith('"', close + 1):
                close = text.find('"', close + 2)
            if close < 0:
                raise OpenQuoteError
            values.append(text[at + 1 : close].replace('""', '"'))
            at = close + 1
            if at == end:
                return values
            if not text.startswith(delimiter, at):
                raise QuoteError
        else:
            close = text.find(delimiter, at)
            if close < 0:
                values.append(text[at:])
                return values
            values.append(text[at:close])
            at = close
        at += skip


def split_loosely(text: str, delimiter: str, width: int) -> list[str] | None:
    r"""Return the values of a line that breaks RFC 4180, in the way that gives ``width`` of them.

    Values may have quotes around them and single ones inside, or ``\"`` inside, as MySQL and Spark
    write. None where no way gives so many; a width of 0 takes any.
    """
    values = _split_at_outer_quotes(text, delimiter)
    if values is not None and (not width or len(values) == width):
        return values
    plain = text.split(delimiter)
    return plain if len(plain) == width else None


def _split_at_outer_quotes(text: str, delimiter: str) -> list[str] | None:
    """Return the values where only a quote before a delimiter, or the end, ends a quoted value."""
    values: list[str] = []
    at, end = 0, len(text)
    while True:
        if text.startswith('"', at):
            close = text.find('"', at + 1)
            while close >= 0 and (
                text[close - 1] == "\\" or not (close + 1 == end or text.startswith(delimiter, close + 1))
            ):
                close = text.find('"', close + 1)
            if close < 0:
                return None
            values.append(text[at + 1 : close].replace('\\"', '"').replace('""', '"'))
            at = close + 1
        else:
            close = text.find(delimiter, at)
            close = end if close < 0 else close
            values.append(text[at:close])
            at = close
        if at == end:
            return values
        at += len(delimiter)


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


def sniff(head: bytes, suffix: str, wanted: Sequence[str] = (), least: int = 0) -> str:
    """Return the delimiter of a file by its first rows; that of its suffix where none is better.

    The best delimiter gives the header the most of the wanted names, then the most rows as many
    values as the first one, then is ``::``, which no value has in each row, then is the usual one of
    the suffix, then stands first in :data:`DELIMITERS`.
    """
    lines = _first_lines(head)
    usual = _USUAL.get(suffix, ",")
    best, found = usual, (0, 0.0, 0)
    for delimiter in sorted(DELIMITERS, key=lambda each: (each != "::", each != usual)):
        widths = [_n_values(line, delimiter) for line in lines]
        if not widths or widths[0] < max(2, least):
            continue
        names = {name.strip().strip('"') for name in lines[0].split(delimiter)}
        n_named = len(names & set(wanted))
        n_alike = Counter(widths)[widths[0]]
        # a space is in any title; it separates columns only where each row has as many
        if delimiter == " " and n_alike < len(widths) and least < 2:
            continue
        share = n_alike / len(widths)
        score = (n_named, round(share, 1), 1 if share > 0.5 else 0)
        if score > found:
            best, found = delimiter, score
    return best


def _first_lines(head: bytes) -> list[str]:
    lines = [line for line in head.decode("utf-8", "replace").split("\n")[:SNIFFED_ROWS] if line.strip()]
    if len(head) >= PIECE_BYTES and 1 < len(lines) < SNIFFED_ROWS:
        lines.pop()  # it may be cut off
    return lines


def _n_values(line: str, delimiter: str) -> int:
    if '"' not in line:
        return line.count(delimiter) + 1
    try:
        return len(split_quoted(line.rstrip("\r"), delimiter))
    except (OpenQuoteError, QuoteError):
        return line.count(delimiter) + 1
