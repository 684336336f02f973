"""Reads text files of any encoding as a stream of UTF-8 lines, in bounded memory.

An encoding that the user did not name is found at the first byte that is not ASCII, wherever it
comes::

    mark of UTF-8, UTF-16 or UTF-32        that one
    zeros at every other byte              UTF-16 without a mark
    most lines with such bytes are UTF-8   UTF-8; each broken line is refused
    the lines are Chinese as GB18030       GB18030, and a line for people says so
    else                                   an error that names the line, the byte and the option

No other encoding is assumed: any bytes are text in cp1252, so a wrong guess shows nowhere.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Final, cast

from streams.errors import InputError
from tools.files.formats.chinese import is_chinese
from tools.files.formats.encodings import UTF_8, check_encoding, likely_encoding
from tools.files.formats.notes import say_once

PIECE_BYTES: Final = 1 << 16
#: So many bytes from the first one on that is not ASCII decide about the encoding.
WINDOW_BYTES: Final = 1 << 20
MAX_JUDGED_LINES: Final = 5_000
#: In the first bytes of UTF-16 without a mark, at least so many are zero, because names of columns
#: and digits are ASCII.
SAMPLE_BYTES: Final = 1 << 12
MIN_ZEROS: Final = 0.02
#: A longer line is a bad row: without a limit, one missing line end would fill the memory.
MAX_LINE_BYTES: Final = 1 << 20
#: So many bytes of lines are taken at once where they are read as columns.
BLOCK_BYTES: Final = 1 << 19
#: Stands in the stream for what the file's encoding cannot read; it is in no UTF-8.
BAD_BYTE: Final = b"\xff"
_MARKS: Final = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SURROGATES: Final = re.compile("[\ud800-\udfff]+")


@dataclass(frozen=True)
class Lines:
    """Some whole lines of a file.

    Parameters
    ----------
    first : the number of the first one
    data : the lines with their line feeds
    n_lines : how many they are
    is_cut : whether a line that is too long stood after them
    """

    first: int
    data: bytes
    n_lines: int
    is_cut: bool

    def numbered(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield the lines as :meth:`TextFile.lines` does."""
        for number, line in enumerate(self.data.split(b"\n")[: self.n_lines], self.first):
            yield number, line.rstrip(b"\r\n")
        if self.is_cut:
            yield self.first + self.n_lines, None


class TextFile:
    """A text file as UTF-8 lines that end in a line feed.

    Parameters
    ----------
    content : the open file, unpacked
    name : what messages call it
    encoding : a name that Python knows, or ``auto``

    Attributes
    ----------
    head : the first :data:`PIECE_BYTES` bytes or so, as UTF-8
    encoding : the one that was found or given; it may change while a file is read that begins with
        ASCII

    Raises
    ------
    InputError
        When the encoding is unknown or cannot be found; where the file begins with ASCII, only
        while the lines are read.
    """

    def __init__(self, content: BinaryIO, name: str, encoding: str = "auto") -> None:
        self._name = name
        self.encoding = UTF_8 if encoding == "auto" else check_encoding(encoding)
        self._is_given = encoding != "auto"
        self._number = 0
        pieces = _with_line_feeds(self._utf8(content))
        first: list[bytes] = []
        n_bytes = 0
        for piece in pieces:
            first.append(piece)
            n_bytes += len(piece)
            if n_bytes >= PIECE_BYTES:
                break
        self.head = b"".join(first)
        raw = _Pieces(chain([self.head] if self.head else [], pieces))
        self.stream = cast(BinaryIO, io.BufferedReader(raw, PIECE_BYTES))

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield numbered lines without their line feed; None for one that is too long."""
        read = self.stream.readline
        while line := read(MAX_LINE_BYTES + 1):
            self._number += 1
            if len(line) > MAX_LINE_BYTES:
                self._skip_line(line)
                yield self._number, None
            else:
                yield self._number, line.rstrip(b"\r\n")

    def read_lines(self) -> Lines | None:
        """Return the next lines as one piece, None at the end; :meth:`lines` goes on after them."""
        data = self.stream.read(BLOCK_BYTES)
        if not data:
            return None
        first, is_cut = self._number + 1, False
        if not data.endswith(b"\n"):
            data += self.stream.readline(MAX_LINE_BYTES + 1)
            begin = data.rfind(b"\n", 0, len(data) - 1) + 1
            is_cut = len(data) - begin > MAX_LINE_BYTES
            if is_cut:
                self._skip_line(data)
                data = data[:begin]
        n_lines = data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
        self._number += n_lines + is_cut
        return Lines(first, data, n_lines, is_cut)

    def _skip_line(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self.stream.readline(MAX_LINE_BYTES)

    def why_no_text(self, line: bytes) -> str:
        """Return why a line of the stream cannot be decoded."""
        try:
            line.decode()
        except UnicodeDecodeError as exc:
            if self.encoding == UTF_8:
                return f"byte {exc.start + 1} of the line, 0x{line[exc.start]:02x}, is not UTF-8; see --encoding"
        return f"a byte is not {self.encoding}; correct the line, or see --encoding"

    def _utf8(self, content: BinaryIO) -> Iterator[bytes]:
        first = content.read(PIECE_BYTES)
        mark, marked = next(((m, e) for m, e in _MARKS if first.startswith(m)), (b"", ""))
        if marked and self._is_given and not _are_alike(marked, self.encoding):
            raise InputError(f"{self._name}: begins with the mark of {marked}; leave out --encoding {self.encoding}")
        self.encoding = marked or self.encoding
        pieces = chain([first[len(mark) :]], iter(lambda: content.read(PIECE_BYTES), b""))
        if not marked and not self._is_given:
            self.encoding = _by_zeros(first, self._name) or UTF_8
            if self.encoding == UTF_8:
                return self._detected(pieces)
            say_once(f"{self._name}: is {self.encoding}; --encoding names another encoding")
        return pieces if self.encoding == UTF_8 else self._recoded(pieces)

    def _detected(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the bytes of a file without a mark; find the encoding at a byte beyond ASCII."""
        n_bytes, n_lines = 0, 0
        for piece in pieces:
            if piece.isascii():
                yield piece
                n_bytes += len(piece)
                n_lines += piece.count(b"\n") or piece.count(b"\r")
                continue
            more = [piece]
            while sum(map(len, more)) < WINDOW_BYTES and (following := next(pieces, b"")):
                more.append(following)
            window = b"".join(more)
            self.encoding = self._judge(window, n_bytes, n_lines)
            rest = chain([window], pieces)
            yield from rest if self.encoding == UTF_8 else self._recoded(rest)

    def _judge(self, window: bytes, n_bytes: int, n_lines: int) -> str:
        """Return the encoding of the bytes from the first one on that is not ASCII.

        Parameters
        ----------
        n_bytes, n_lines : how many are before the window
        """
        lines = window.splitlines(keepends=True)
        if len(window) >= WINDOW_BYTES and len(lines) > 1:
            lines.pop()  # it may be cut off
        n_good, broken = 0, []
        at = n_bytes
        for i, line in enumerate(lines):
            if not line.isascii():
                start = _bad_byte(line)
                if start is None:
                    n_good += 1
                else:
                    broken.append((i, at + start, line))
                if n_good + len(broken) >= MAX_JUDGED_LINES:
                    break
            at += len(line)
        if n_good >= len(broken):
            return UTF_8
        number, place = n_lines + broken[0][0] + 1, broken[0][1]
        if is_chinese([line for _, _, line in broken]):
            say_once(f"{self._name}: is GB18030, seen first in line {number}; --encoding names another encoding")
            return "gb18030"
        if len(broken) == 1 and n_lines + len(lines) > 1:
            return UTF_8  # one broken line costs its row
        byte = window[place - n_bytes]
        raise InputError(
            f"{self._name}: line {number}, byte {place + 1} of the file, 0x{byte:02x}: neither UTF-8 nor GB18030"
            f"{_hint(broken)}; name its encoding with --encoding"
        )

    def _recoded(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the bytes as UTF-8, :data:`BAD_BYTE` for what the encoding cannot read."""
        errors = "surrogatepass" if self.encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        decoder = codecs.getincrementaldecoder(self.encoding)(errors)
        is_first = True
        for piece in chain(pieces, [b""]):
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as exc:
                if piece:
                    raise InputError(f"{self._name}: cannot be read as {self.encoding} ({exc.reason})") from exc
                text = "\udcff"  # the last character is cut off
            if is_first and text:
                text, is_first = text.removeprefix("\ufeff"), False
            if _SURROGATES.search(text):
                text = _SURROGATES.sub("\udcff", text)
            if text:
                yield text.encode("utf-8", "surrogateescape")


def _are_alike(marked: str, given: str) -> bool:
    return marked.removesuffix("-le").removesuffix("-be") in (given, given.removesuffix("-le").removesuffix("-be"))


def _by_zeros(head: bytes, name: str) -> str | None:
    """Return the UTF-16 that zeros at every other byte show; None for bytes without zeros.

    Raises
    ------
    InputError
        When zeros stand elsewhere: such a file holds no text.
    """
    sample = head[: min(len(head), SAMPLE_BYTES) // 2 * 2]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if even + odd < max(2, MIN_ZEROS * len(sample)):
        return None
    if odd > 4 * even:
        return "utf-16-le"
    if even > 4 * odd:
        return "utf-16-be"
    raise InputError(f"{name}: is neither text nor a format that headrace reads; export it as CSV or Parquet")


def _bad_byte(line: bytes) -> int | None:
    try:
        line.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return None


def _hint(broken: list[tuple[int, int, bytes]]) -> str:
    """Return what the lines may be in words; a guess helps a person, but reads no file."""
    return f"; it may be {likely_encoding(b''.join(line for _, _, line in broken)[:PIECE_BYTES])}"


def _with_line_feeds(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes, with line feeds where old Macs end lines in a carriage return alone."""
    first = next(pieces, b"")
    if not _has_lone_returns(first):
        yield first
        yield from pieces
        return
    kept = b""
    for piece in chain([first], pieces):
        piece = kept + piece
        kept = b"\r" if piece.endswith(b"\r") else b""
        yield piece[: len(piece) - len(kept)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if kept:
        yield b"\n"


def _has_lone_returns(head: bytes) -> bool:
    """Whether the first line end outside of quotes is a carriage return alone."""
    if b"\r" not in head:
        return False
    for match in re.finditer(rb'"[^"]*"?|\r\n?|\n', head):
        if match[0][:1] != b'"':
            return match[0] == b"\r" and match.end() < len(head)
    return False


class _Pieces(io.RawIOBase):
    """Reads pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put the next bytes into ``buffer``; return their number, 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n
