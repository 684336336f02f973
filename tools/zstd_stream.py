"""Reading zstd files: as a stream that tells a file that was cut off from one that has ended."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Final

READ_BYTES: Final = 1 << 16


class ZstdReader(io.RawIOBase):
    """Decompresses one frame after another in bounded memory.

    Raises
    ------
    zstandard.ZstdError
        While reading: the data is damaged, or ends inside a frame.
    """

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._zstandard = zstandard
        self._file = file
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``, in part where less is ready; return the number of bytes, 0 at the end."""
        while not self._ready:
            self._packed = self._packed or self._file.read(READ_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise self._zstandard.ZstdError("the file ends inside a frame")
                return 0
            self._frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        n = min(len(buffer), len(self._ready))
        buffer[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n
