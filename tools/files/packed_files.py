"""How much a file may unpack to, and compressed files as streams that keep to it, in bounded memory."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from streams.errors import InputError

#: Real logs shrink to a third to a fiftieth; what grows more is made to fill a disk or the memory.
MAX_RATIO: Final = 200
FREE_BYTES: Final = 128 << 20
BUFFER_BYTES: Final = 1 << 16
GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"


def check_unpacked(path: Path, n_bytes: int, size: int) -> None:
    """Raise :class:`InputError` where a file of ``size`` bytes unpacks to far too many."""
    if n_bytes > FREE_BYTES + MAX_RATIO * size:
        raise InputError(
            f"{path}: unpacks to more than {FREE_BYTES >> 20} MiB and {MAX_RATIO} times its {size} bytes; if that is what it "
            "should be, unpack it first"
        )


def unpacked(path: Path, file: BinaryIO, magic: bytes) -> BinaryIO | None:
    """Return the content of a gzip or zstd file, None for another one.

    Parameters
    ----------
    magic : the first four bytes of ``file``, which stands at its beginning

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

    # zstandard's own stream does not tell a file that was cut off from one that has ended
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path, stream, file), BUFFER_BYTES))


class _Unpacked(io.RawIOBase):
    """Counts what comes out of a stream."""

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
        """Fill ``buffer``, in part where less is ready; return the number of bytes, 0 at the end."""
        try:
            n = int(self._stream.readinto(buffer))
        except OSError as exc:
            if exc.errno is not None or isinstance(exc, gzip.BadGzipFile):
                raise
            raise InputError(f"{self._path}: damaged zstd ({exc}); fetch the file again") from exc
        self._n_bytes += n
        check_unpacked(self._path, self._n_bytes, self._size)
        return n
