"""Reads the rows of an Avro file block by block, in memory that the file's size bounds."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from streams.errors import InputError
from tools.files.formats.packed_files import FREE_BYTES, MAX_RATIO, XZ_MEMORY_BYTES, check_unpacked

MAGIC: Final = b"Obj\x01"
MAX_BLOCK_BYTES: Final = 64 << 20
SYNC_BYTES: Final = 16
HEADER: Final = {
    "type": "record",
    "name": "Header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": SYNC_BYTES}},
    ],
}
#: What reading a damaged file may raise.
_DAMAGED: Final = (
    EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError, ArithmeticError,
    StopIteration, zlib.error, lzma.LZMAError,
)  # fmt: skip


class AvroRows:
    """Gives the fields of a file of records, and the records as rows.

    Parameters
    ----------
    size : of the file on disk, in bytes, which bounds what its blocks may unpack to

    Raises
    ------
    InputError
        When the file is damaged, holds no records, or unpacks to far too much.
    """

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        import fastavro

        self._name = name
        self._file = file
        self._size = size
        try:
            header: Any = fastavro.schemaless_reader(file, HEADER, None)
            meta = header["meta"]
            schema = json.loads(meta["avro.schema"])
            self._schema = fastavro.parse_schema(schema)
        except (*_DAMAGED, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as exc:
            raise self._damaged(exc) from exc
        self._sync = header["sync"]
        self._codec = meta.get("avro.codec", b"null").decode("ascii", "replace")
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise InputError(f"{name}: holds Avro values that are no records; write one record a row")
        if self._codec not in _UNPACKERS:
            raise InputError(f"{name}: is packed with {self._codec!r}; write it with deflate, snappy or zstandard")
        if _has_endless_list(schema):
            raise InputError(f"{name}: has a list of values that take no bytes; leave it out")
        #: Names of the fields.
        self.names: list[str] = [field["name"] for field in schema["fields"]]

    def rows(self, names: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Yield some fields of each record, in the order of the file."""
        from fastavro import schemaless_reader

        for n_rows, data in self._blocks():
            block = io.BytesIO(data)
            for _ in range(n_rows):
                try:
                    record: Any = schemaless_reader(block, self._schema, None)
                except _DAMAGED as exc:
                    raise self._damaged(exc) from exc
                yield [record[name] for name in names]

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number of records in each block, and its bytes, unpacked."""
        n_unpacked = 0
        while (n_rows := self._long()) is not None:
            n_bytes = self._long()
            if n_bytes is None or not 0 <= n_bytes <= MAX_BLOCK_BYTES:
                raise self._damaged(f"a block of {n_bytes} bytes, limit {MAX_BLOCK_BYTES}")
            packed = self._file.read(n_bytes)
            if len(packed) < n_bytes or self._file.read(SYNC_BYTES) != self._sync:
                raise self._damaged("a block ends early")
            limit = FREE_BYTES + MAX_RATIO * self._size - n_unpacked + 1
            try:
                data = _UNPACKERS[self._codec](packed, limit)
            except (*_DAMAGED, OSError, RuntimeError) as exc:
                raise self._damaged(exc) from exc
            n_unpacked += len(data)
            check_unpacked(self._name, n_unpacked, self._size)
            if not 0 <= n_rows <= len(data):
                raise self._damaged(f"{n_rows} records in {len(data)} bytes")
            yield n_rows, data

    def _long(self) -> int | None:
        """Return the next number of the file, None at its end."""
        value = shift = 0
        while byte := self._file.read(1):
            value |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise self._damaged("a number without end")
        if shift:
            raise self._damaged("it ends early")
        return None

    def _damaged(self, reason: object) -> InputError:
        text = " ".join(str(reason).split())[:300] or type(reason).__name__
        return InputError(f"{self._name}: not an Avro file, or a damaged one ({text})")


def _has_endless_list(schema: Any) -> bool:
    """Whether a list in a schema has elements of no bytes.

    A few bytes could be billions of such elements.
    """
    if isinstance(schema, list):
        return any(map(_has_endless_list, schema))
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "array" and _is_empty(schema.get("items")):
        return True
    inner = [schema.get("items"), schema.get("values"), schema.get("type")]
    inner += [field.get("type") for field in schema.get("fields", []) if isinstance(field, dict)]
    return any(map(_has_endless_list, inner))


def _is_empty(schema: Any) -> bool:
    if isinstance(schema, dict):
        kind = schema.get("type")
        if kind == "record":
            return all(_is_empty(field.get("type")) for field in schema.get("fields", []))
        return kind == "null" or (kind == "fixed" and not schema.get("size"))
    return bool(schema == "null")


def _snappy(data: bytes, limit: int) -> bytes:
    import cramjam

    packed = data[:-4]  # the last four bytes are a checksum
    try:
        if cramjam.snappy.decompress_raw_len(packed) > limit:
            raise ValueError("a block unpacks to too much")
        return bytes(cramjam.snappy.decompress_raw(packed))
    except cramjam.DecompressionError as exc:
        raise ValueError(str(exc)) from exc


def _zstandard(data: bytes, limit: int) -> bytes:
    import zstandard

    try:
        return bytes(zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data).read(limit))
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc


_UNPACKERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "null": lambda data, _limit: data,
    "deflate": lambda data, limit: zlib.decompressobj(-15).decompress(data, limit),
    "bzip2": lambda data, limit: bz2.BZ2Decompressor().decompress(data, limit),
    "xz": lambda data, limit: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES).decompress(data, limit),
    "snappy": _snappy,
    "zstandard": _zstandard,
}
