"""Reads JSON objects: one a line, in one array, or one after another, over several lines or in one.

An array is read piece by piece, so that a file of any size needs little memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from streams.errors import InputError
from tools.files.formats.text import MAX_LINE_BYTES, PIECE_BYTES, TextFile
from tools.files.formats.unreadable import check_python

JsonRow = tuple[int, "dict[str, Any] | str"]
#: A text, a bracket, or what stands between two of them.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],"]|[^\s{}\[\],"]+', re.DOTALL)
_CONSTANT: Final = re.compile(rb"[:,\[]\s*(?:NaN|-?Infinity)\b")
_OPEN: Final = (b"{", b"[")
_CLOSE: Final = (b"}", b"]")
_SPACE: Final = b" \t\r\n"


def json_rows(text: TextFile, name: str) -> Iterator[JsonRow]:
    """Yield the number of the line in which each object begins, and the object or why it is none.

    Raises
    ------
    InputError
        When an array or an object over several lines does not end, or has no end within
        :data:`~tools.files.formats.text.MAX_LINE_BYTES`; when the file holds Python literals.
    """
    head = text.head.lstrip(_SPACE)
    decoder = msgspec.json.Decoder(dict[str, Any])
    if head[:1] == b"[":
        check_python(head, name, 1)
    if head[:1] == b"[" or _is_over_lines(head):
        for number, value in _values(text, name):
            yield number, _decoded(decoder, value, text)
        return
    is_any = False
    for number, line in text.lines():
        if line is None:
            yield number, f"longer than {MAX_LINE_BYTES} bytes"
        elif line and not line.isspace():
            found = _decoded(decoder, line, text)
            if not is_any and isinstance(found, str):
                check_python(line, name, number)
            is_any = True
            yield number, found


def _decoded(decoder: msgspec.json.Decoder[dict[str, Any]], value: bytes, text: TextFile) -> dict[str, Any] | str:
    try:
        return decoder.decode(value)
    except UnicodeDecodeError:
        return text.why_no_text(value)
    except (msgspec.DecodeError, RecursionError) as exc:
        try:
            value.decode()
        except UnicodeDecodeError:
            return text.why_no_text(value)
        return _with_constants(value) or f"not a JSON object: {exc}"


def _with_constants(value: bytes) -> dict[str, Any] | None:
    """Return an object with NaN or Infinity, which are no JSON but which Python and others write.

    None for what is no object even so. NaN is no value; an infinite one is for the checks of
    numbers.
    """
    if not _CONSTANT.search(value):
        return None
    try:
        found = json.loads(value, parse_constant=lambda name: None if name == "NaN" else float(name))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_over_lines(head: bytes) -> bool:
    """Whether a file begins with an object that ends in a later line than its first.

    Or in that line with another one after it, as Amazon's Firehose puts them together.
    """
    first, line_feed, _ = head.partition(b"\n")
    if not head.startswith(b"{") or not first.strip():
        return False
    depth = 0
    for match in _TOKEN.finditer(head):
        depth += (match[0] in _OPEN) - (match[0] in _CLOSE)
        if depth == 0:
            end = match.end()
            break
    else:
        return first.strip() == b"{"
    if end <= len(first):
        return first[end:].lstrip().startswith((b"{", b","))
    if not line_feed:
        return False
    try:
        msgspec.json.decode(head[:end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return first.strip() == b"{"
    return True


def _values(text: TextFile, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of an array, or the values that stand one after another.

    The outermost brackets of an array are passed over.
    """
    splitter = _Splitter(name)
    read = text.stream.read
    while piece := read(PIECE_BYTES):
        yield from splitter.split(piece)
    yield from splitter.split(b"")


class _Splitter:
    """Cuts JSON into its elements; the state between two pieces is the element that has begun."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""
        #: How deep ``_at`` is, without the outermost array; -1 outside of it.
        self._depth = 0
        self._is_array = False
        #: Where the search goes on, and where the element begins; -1 before it.
        self._at = 0
        self._begin = -1
        self._line = 1

    def split(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the elements that a piece completes; an empty piece is the end of the file."""
        data = self._rest + piece
        for match in _TOKEN.finditer(data, self._at):
            token = match[0]
            if token == b'"' or (match.end() == len(data) and piece and token[0] not in b'"{}[],'):
                break  # a text, or a number, that goes on in the next piece
            self._at = match.end()
            end = self._step(token, match.start(), match.end())
            if end:
                yield self._line + data.count(b"\n", 0, self._begin), data[self._begin : end]
                self._begin = -1
        self._check(data, is_end=not piece)
        cut = self._begin if self._begin >= 0 else self._at
        self._line += data.count(b"\n", 0, cut)
        self._rest = data[cut:]
        self._at -= cut
        self._begin = 0 if self._begin >= 0 else -1

    def _step(self, token: bytes, start: int, end: int) -> int:
        """Take a token; return the end of the element that it completes, else 0."""
        if self._depth == 0 and self._begin < 0 and token == b"[" and not self._is_array:
            self._is_array = True
            return 0
        if self._depth == 0 and token == b"]":
            self._is_array = False
            return start if self._begin >= 0 else 0
        if self._depth == 0 and token == b",":
            return start if self._begin >= 0 else 0
        if self._begin < 0:
            self._begin = start
        self._depth += (token in _OPEN) - (token in _CLOSE)
        return end if self._depth == 0 and token in _CLOSE else 0

    def _check(self, data: bytes, *, is_end: bool) -> None:
        begun = self._begin if self._begin >= 0 else self._at
        number = self._line + data.count(b"\n", 0, begun)
        if is_end and (self._begin >= 0 or self._is_array or data[self._at :].strip(_SPACE)):
            raise InputError(
                f"{self._name}: ends inside of the JSON that begins in line {number}; fetch the file again, or write one object "
                "a line"
            )
        if len(data) - begun > MAX_LINE_BYTES:
            raise InputError(
                f"{self._name}: the JSON that begins in line {number} has no end within {MAX_LINE_BYTES} bytes: a missing bracket "
                "or quote? Write one object a line, as jq -c '.[]' does"
            )
