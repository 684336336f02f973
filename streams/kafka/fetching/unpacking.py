"""Unpacks compressed bytes piece by piece, so that no batch decides how much memory a worker needs.

Kafka's limits count compressed bytes, and 1 MB of zstd can unpack to 30 GB. Each codec here makes
pieces of at most :data:`PIECE_BYTES`, one at a time. Besides the piece a codec holds:

====== ==========================================================================================
gzip   nothing
lz4    a block of at most 4 MiB
snappy a block of at most 22 times its compressed bytes (librdkafka: one block a batch; Java: many)
zstd   the window that the frame declares: at most 8 MiB up to level 19, never above
       :data:`ZSTD_WINDOW_BYTES`
====== ==========================================================================================
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import cramjam
import zstandard
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

#: Most bytes of a piece. A batch that unpacks to no more is one piece.
PIECE_BYTES: Final = 2 << 20
#: libzstd refuses larger windows by default, and so does Kafka's Java client.
ZSTD_WINDOW_BYTES: Final = 1 << 27
#: Snappy packs at best 64 bytes into 3. A block that declares more than this ratio is damaged.
SNAPPY_RATIO: Final = 22

_XERIAL_HEADER: Final = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_HISTORY_BYTES: Final = 1 << 16
_LZ4_END: Final = bytes(4)
_GZIP_WBITS: Final = 31


def pieces(codec: int, packed: memoryview) -> Iterator[Any]:
    """Unpack the records of a batch.

    Parameters
    ----------
    codec : the compression type as Kafka numbers it: 1 gzip, 2 snappy, 3 lz4, 4 zstd

    Returns
    -------
    Iterator
        Buffers of at most :data:`PIECE_BYTES`, in order; none for no bytes.

    Raises
    ------
    CorruptRecordException
        While it is iterated: the bytes are damaged. A broker takes no such batch.
    UnsupportedCodecError
        When Kafka 4.1 does not have the codec.
    """
    if codec not in _CODECS:
        raise UnsupportedCodecError(
            f"compression type {codec} is unknown, known are {sorted(_CODECS)}; upgrade headrace"
        )
    try:
        yield from _joined(_CODECS[codec](packed))
    except (struct.error, zlib.error, zstandard.ZstdError, cramjam.DecompressionError, OSError, IndexError) as exc:
        raise CorruptRecordException(f"a batch of {len(packed)} compressed bytes does not unpack: {exc}") from exc


def _joined(parts: Iterable[Any]) -> Iterator[Any]:
    """Join small blocks of a codec up to the size of a piece."""
    held: list[Any] = []
    size = 0
    for part in parts:
        if held and size + len(part) > PIECE_BYTES:
            yield _taken(held)
            size = 0
        held.append(part)
        size += len(part)
        del part  # the caller has the piece now: keep no second reference
    if held:
        yield _taken(held)


def _taken(held: list[Any]) -> Any:
    """Return the parts as one piece, and release them."""
    joined = held[0] if len(held) == 1 else b"".join(held)
    held.clear()
    return joined


def _gzip(packed: memoryview) -> Iterator[bytes]:
    unpacker, data = zlib.decompressobj(_GZIP_WBITS), bytes(packed)
    while True:
        part = unpacker.decompress(data, PIECE_BYTES)
        data = unpacker.unconsumed_tail
        is_moving = bool(part or data)
        if part:
            yield part
            del part
        if unpacker.eof:
            data = unpacker.unused_data.lstrip(b"\x00")  # more members may follow, then zeros
            if not data:
                return
            unpacker = zlib.decompressobj(_GZIP_WBITS)
        elif not is_moving:
            raise CorruptRecordException("a gzip batch ends inside its data")


def _zstd(packed: memoryview) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    reader = unpacker.stream_reader(packed, read_across_frames=True)
    while part := reader.read(PIECE_BYTES):
        yield part


def _snappy(packed: memoryview) -> Iterator[Any]:
    """Unpack one raw block (librdkafka), or the blocks of a xerial stream (Java, aiokafka)."""
    for block in _xerial_blocks(packed) if bytes(packed[:16]) == _XERIAL_HEADER else (packed,):
        size = cramjam.snappy.decompress_raw_len(block)
        if size > SNAPPY_RATIO * len(block):
            raise CorruptRecordException(f"a snappy block of {len(block)} bytes declares {size} unpacked bytes")
        yield from _sliced(cramjam.snappy.decompress_raw(block))


def _sliced(unpacked: Any) -> Iterator[Any]:
    """Cut an unpacked block into pieces."""
    if len(unpacked) <= PIECE_BYTES:
        yield unpacked
        return
    whole = memoryview(bytes(unpacked))
    for at in range(0, len(whole), PIECE_BYTES):
        yield whole[at : at + PIECE_BYTES]


def _xerial_blocks(packed: memoryview) -> Iterator[memoryview]:
    at = len(_XERIAL_HEADER)
    while at < len(packed):
        (size,) = struct.unpack_from("!I", packed, at)
        at += 4 + size
        yield packed[at - size : at]


def _lz4(packed: memoryview) -> Iterator[Any]:
    """Unpack as many blocks at a time as fit into a piece.

    The frame declares the largest size of a block.
    """
    at = 0
    while at < len(packed):
        if bytes(packed[at : at + 4]) != _LZ4_MAGIC:
            raise CorruptRecordException("an lz4 batch does not begin with a frame")
        flags, sizes = packed[at + 4], packed[at + 5]
        blocks, at = _lz4_blocks(packed, at)
        n_at_once = max(1, PIECE_BYTES >> (8 + 2 * (sizes >> 4 & 7)))
        if flags & 0x20:  # independent blocks: all that Kafka's own clients write
            for i in range(0, len(blocks), n_at_once):
                yield from _sliced(cramjam.lz4.decompress(_lz4_frame(flags, sizes, blocks[i : i + n_at_once])))
        else:
            yield from _lz4_linked(flags, sizes, blocks, n_at_once)


def _lz4_linked(flags: int, sizes: int, blocks: list[memoryview], n_at_once: int) -> Iterator[bytes]:
    """Unpack blocks that refer to the 64 KiB before them, which go in front as a stored block."""
    history = b""
    for i in range(0, len(blocks), n_at_once):
        stored = [struct.pack("<I", len(history) | 1 << 31) + history] if history else []
        frame = _lz4_frame(flags, sizes, [*stored, *blocks[i : i + n_at_once]])
        unpacked = bytes(cramjam.lz4.decompress(frame))
        yield from _sliced(unpacked[len(history) :])
        history = unpacked[-_LZ4_HISTORY_BYTES:]


def _lz4_blocks(packed: memoryview, at: int) -> tuple[list[memoryview], int]:
    """Return the blocks of the frame at ``at``, and the frame's end.

    Each block has its length in front.
    """
    flags = packed[at + 4]
    # magic, flags, sizes and checksum; content size; dictionary
    at += 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    blocks: list[memoryview] = []
    while size := struct.unpack_from("<I", packed, at)[0] & 0x7FFFFFFF:
        if at + 4 + size > len(packed):
            raise CorruptRecordException("an lz4 frame ends inside a block")
        blocks.append(packed[at : at + 4 + size])
        at += 4 + size + (4 if flags & 0x10 else 0)  # without the checksum: the batch has a CRC
    return blocks, at + 4 + (4 if flags & 4 else 0)


def _lz4_frame(flags: int, sizes: int, blocks: Iterable[Any]) -> bytes:
    """Return a frame of these blocks, without checksums, content size and dictionary."""
    described = bytes([0x40 | flags & 0x20, sizes & 0x70])
    return b"".join((_LZ4_MAGIC, described, bytes([_xxh32(described) >> 8 & 0xFF]), *blocks, _LZ4_END))


def _xxh32(data: bytes) -> int:
    """Return the xxHash of at most 3 bytes, seed 0.

    References
    ----------
    Y. Collet, "xxHash fast digest algorithm", 0.1.1: XXH32, steps 1, 4, 5 (single bytes) and 6
    """
    accumulated = 0x165667B1 + len(data)
    for byte in data:
        accumulated = accumulated + byte * 0x165667B1 & 0xFFFFFFFF
        accumulated = (accumulated << 11 | accumulated >> 21) * 0x9E3779B1 & 0xFFFFFFFF
    accumulated = (accumulated ^ accumulated >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    accumulated = (accumulated ^ accumulated >> 13) * 0xC2B2AE3D & 0xFFFFFFFF
    return accumulated ^ accumulated >> 16


_CODECS: Final[dict[int, Callable[[memoryview], Iterator[Any]]]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
