"""Unpacks gzip and zstd files as streams, and stops at a file that unpacks to far too much."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from streams.errors import InputError

#: A real log shrinks to between a third and a fiftieth. A file that grows far more was made to fill
#: the disk or the memory.
MAX_RATIO: Final = 200
FREE_BYTES: Final = 128 << 20
BUFFER_BYTES: Final = 1 << 16
GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"


def check_unpacked(path: Path, n_bytes: int, size: int) -> None:
    """Raise :class:`InputError` where a file of ``size`` bytes unpacks to far too many."""
    if n_bytes > FREE_BYTES + MAX_RATIO * size:
        raise InputError(
            f"{path}: unpacks to more than {FREE_BYTES >> 20} MiB and {MAX_RATIO} times its {size} bytes; if that is "
            "right, unpack it first"
        )


def unpacked(path: Path, file: BinaryIO, magic: bytes) -> BinaryIO | None:
    """Return the unpacked content of a gzip or zstd file, None for any other file.

    Parameters
    ----------
    file : the open file, at its beginning
    magic : its first four bytes

    Raises
    ------
    InputError
        While reading: the data is damaged, ends inside a frame, or unpacks to far too much.
    """
    if magic[:2] == GZIP:
        return cast(BinaryIO, io.BufferedReader(_Unpacked(path, gzip.GzipFile(fileobj=file), file), BUFFER_BYTES))
    if magic != ZSTD:
        return None
    import pyarrow

    # pyarrow, because zstandard's stream does not tell a truncated file from one that has ended.
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path, stream, file), BUFFER_BYTES))


class _Unpacked(io.RawIOBase):
    """Counts the bytes that come out of a stream."""

    def __init__(self, path: Path, stream: Any, file: BinaryIO) -> None:
        self._path = path
        self._stream = stream
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self._n_bytes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put what is ready into ``buffer``; return the number of bytes, 0 at the end."""
        try:
            n = int(self._stream.readinto(buffer))
        except OSError as exc:
            if exc.errno is not None or isinstance(exc, gzip.BadGzipFile):
                raise
            raise InputError(f"{self._path}: damaged zstd ({exc}); fetch the file again") from exc
        self._n_bytes += n
        check_unpacked(self._path, self._n_bytes, self._size)
        return n
