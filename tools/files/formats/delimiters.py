r"""Finds the delimiter of a text, and cuts a row at it, by RFC 4180 or as it was meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from streams.errors import InputError
from tools.files.formats.text import PIECE_BYTES

#: The first rows show the delimiter.
SNIFFED_ROWS: Final = 100
#: In the order in which they are taken where several would do.
DELIMITERS: Final = (",", "\t", ";", "|", "^", "::", "||", "\x01", "~", " ")
NAMED: Final = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "\\x01": "\x01"}
USUAL: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
MAX_DELIMITER_CHARS: Final = 8


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


def sniff(head: bytes, suffix: str, wanted: Sequence[str] = (), least: int = 0) -> str:
    """Return the delimiter of a file by its first rows; that of its suffix where none is better.

    The best delimiter gives the header the most of the wanted names, then the most rows as many
    values as the first one, then is ``::`` or ``||``, which no value has in each row, then is the
    usual one of the suffix, then stands first in :data:`DELIMITERS`.
    """
    lines = first_lines(head)
    usual = USUAL.get(suffix, ",")
    best, found = usual, (0, 0.0, 0)
    for delimiter in sorted(DELIMITERS, key=lambda each: (len(each) == 1, each != usual)):
        widths = [n_values(line, delimiter) for line in lines]
        if not widths or widths[0] < max(2, least):
            continue
        names = {name.strip().strip('"') for name in lines[0].split(delimiter)}
        n_named = len(names & set(wanted))
        n_alike = Counter(widths)[widths[0]]
        # a space is in any title; it separates columns only where each row has as many
        if delimiter == " " and n_alike < len(widths) and max(n_named, least) < 2:
            continue
        share = n_alike / len(widths)
        score = (n_named, round(share, 1), 1 if share > 0.5 else 0)
        if score > found:
            best, found = delimiter, score
    return best


def first_lines(head: bytes) -> list[str]:
    """Return the first lines of a text that are not blank."""
    lines = [line for line in head.decode("utf-8", "replace").split("\n")[:SNIFFED_ROWS] if line.strip()]
    if len(head) >= PIECE_BYTES and 1 < len(lines) < SNIFFED_ROWS:
        lines.pop()  # it may be cut off
    return lines


def n_values(line: str, delimiter: str) -> int:
    """Return how many values a line has."""
    if '"' not in line:
        return line.count(delimiter) + 1
    try:
        return len(split_quoted(line.rstrip("\r"), delimiter))
    except (OpenQuoteError, QuoteError):
        return line.count(delimiter) + 1
