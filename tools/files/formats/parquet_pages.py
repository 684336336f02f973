"""Finds out how much the pages of a Parquet file unpack to, from the header of each page.

The sizes in the file's footer are only a claim, so they are not used. This module reads the footer
itself, because some damaged footers make pyarrow end the process.

References
---------- Apache Parquet, parquet.thrift (FileMetaData, PageHeader, Encoding); Apache Thrift,
Thrift compact protocol encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

#: A page's header can be long, because it holds the least and the greatest value of the page.
HEADER_BYTES: Final = 1 << 16
MAX_HEADER_BYTES: Final = 16 << 20
#: Ten columns take about 2 KB of the footer for each row group.
MAX_FOOTER_BYTES: Final = 8 << 20
MAX_NESTING: Final = 16
MAGIC: Final = b"PAR1"
#: Two physical types, and the mark of a column in a list.
BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY = 6, 7
REPEATED: Final = 2
#: In this encoding a value may repeat the beginning of the value before, so that few bytes become
#: many.
DELTA_BYTE_ARRAY: Final = 7
#: The encodings whose values pyarrow can keep as a dictionary: plain, and two names of the
#: dictionary.
AS_DICTIONARY: Final = frozenset({0, 2, 8})
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS: Final = (4, 5, 6)


class DamagedPageError(ValueError):
    """The file has something else where its footer or a page's header should be."""


@dataclass(frozen=True)
class Leaf:
    """A column that holds values, not columns.

    Parameters
    ----------
    path : names of the columns around it and its own, with dots between
    kind : the physical type
    width : bytes of a value of fixed length
    is_repeated : whether it lies in a list
    """

    path: str
    kind: int
    width: int
    is_repeated: bool


@dataclass(frozen=True)
class Chunk:
    """The part of a leaf in one row group: how many values, and where in the file its pages are."""

    n_values: int
    start: int
    n_bytes: int


def read_footer(file: BinaryIO, size: int) -> tuple[list[Leaf], list[list[Chunk]]]:
    """Return the leaves of a file of ``size`` bytes, and their chunks in each row group.

    Raises
    ------
    DamagedPageError
        When there is no footer, or it is larger than :data:`MAX_FOOTER_BYTES`.
    """
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - 8:
        raise DamagedPageError("no footer")
    if length > MAX_FOOTER_BYTES:
        raise DamagedPageError(f"a footer of {length} bytes, limit {MAX_FOOTER_BYTES}; write larger row groups")
    file.seek(size - 8 - length)
    try:
        footer = _Reader(file.read(length)).struct(0)
        leaves = list(_leaves(iter(footer[2]), _int(footer[2][0].get(5, 0))))
        groups = [[_chunk(column[3]) for column in group[1]] for group in footer.get(4, [])]
    except (IndexError, KeyError, TypeError, AttributeError, StopIteration, RuntimeError, UnicodeDecodeError) as exc:
        raise DamagedPageError("a damaged footer") from exc
    if any(len(group) != len(leaves) for group in groups):
        raise DamagedPageError("a row group without all columns")
    return leaves, groups


def _leaves(elements: Iterator[dict[int, Any]], n_columns: int) -> Iterator[Leaf]:
    """Yield the leaves of a schema, which lists each group before its columns, depth first."""
    root = next(elements)
    # of each open group: its path, whether it lies in a list, how many columns it still has
    opened = [("", root.get(3) == REPEATED, n_columns)]
    for element in elements:
        while opened and not opened[-1][2]:
            opened.pop()
        prefix, is_repeated, left = opened[-1]
        opened[-1] = (prefix, is_repeated, left - 1)
        path = prefix + element[4].decode()
        is_repeated = is_repeated or element.get(3) == REPEATED
        if 1 in element:
            yield Leaf(path, _int(element[1]), _int(element.get(2, 0)), is_repeated)
        else:
            opened.append((f"{path}.", is_repeated, _int(element[5])))


def _int(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _chunk(column: dict[int, Any]) -> Chunk:
    # some files write 0 where there is no dictionary
    start = min(column.get(11) or column[9], column[9])
    chunk = Chunk(_int(column[5]), _int(start), _int(column[7]))
    if min(chunk.n_values, chunk.start, chunk.n_bytes) < 0:
        raise IndexError
    return chunk


@dataclass(frozen=True)
class Pages:
    """The pages of one column chunk.

    Parameters
    ----------
    unpacked_bytes : of all pages together
    delta_bytes : of the largest page in which a value may repeat a part of another; 0 without one
    encodings : of the values, by number
    """

    unpacked_bytes: int
    delta_bytes: int
    encodings: frozenset[int]


def read_pages(file: BinaryIO, start: int, n_bytes: int) -> Pages:
    """Return sizes and encodings from the headers of the pages in ``n_bytes`` bytes from ``start``.

    Raises
    ------
    DamagedPageError
        When a page has no header, or reaches beyond these bytes.
    """
    at, end, unpacked, delta = start, start + n_bytes, 0, 0
    encodings = set()
    while at < end:
        header, length = _header(file, at)
        size, packed = header.get(2), header.get(3)
        if not isinstance(size, int) or not isinstance(packed, int) or size < 0 or not 0 <= packed <= end - at - length:
            raise DamagedPageError(f"no page at byte {at}")
        unpacked += size
        for field, encoding in ((5, 2), (8, 4)):  # two versions of a data page
            data = header.get(field)
            if isinstance(data, dict):
                found = data.get(encoding)
                encodings.add(found if isinstance(found, int) else -1)
                delta = max(delta, size) if found == DELTA_BYTE_ARRAY else delta
        at += length + packed
    return Pages(unpacked, delta, frozenset(encodings))


def _header(file: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    """Return the header at a byte of the file, field number to value, and its length in bytes."""
    for limit in (HEADER_BYTES, MAX_HEADER_BYTES):
        file.seek(at)
        reader = _Reader(file.read(limit))
        try:
            return reader.struct(0), reader.at
        except IndexError:
            continue
    raise DamagedPageError(f"no page's header at byte {at}")


class _Reader:
    """Reads Thrift's compact protocol; raises IndexError beyond the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            fields[number] = self._value(byte & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > MAX_NESTING:
            raise DamagedPageError(f"structures nested deeper than {MAX_NESTING}")
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in _INTEGERS:
            return self._integer()
        if kind == _DOUBLE:
            return self._skip(8)
        if kind == _BINARY:
            n = self._varint()
            start = self.at
            self._skip(n)
            return self._data[start : self.at]
        if kind in (_LIST, _SET):
            byte = self._byte()
            n = byte >> 4 if byte >> 4 < 15 else self._varint()
            if n > len(self._data):
                raise IndexError
            # a boolean is a byte of its own in a list, but a kind in a struct
            return [self._byte() if byte & 15 <= _FALSE else self._value(byte & 15, depth + 1) for _ in range(n)]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise DamagedPageError(f"a value of kind {kind}")  # headers and footers have no maps

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _skip(self, n: int) -> None:
        self.at += n
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise DamagedPageError("a number without end")
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
