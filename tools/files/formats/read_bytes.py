"""Counts the bytes of files that this process has read, for a progress that knows its end."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final


class ReadBytes:
    """The bytes read so far: of closed files their size, of open ones how far they are read.

    Another thread may ask while one reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = 0
        self._open: list[BinaryIO] = []

    def total(self) -> int:
        """Return the bytes on disk that were read since this process began."""
        with self._lock:
            return self._closed + sum(map(_position, self._open))

    @contextmanager
    def counted(self, file: BinaryIO, size: int) -> Iterator[None]:
        """Count a file that is read within the ``with`` block, and is closed after it."""
        with self._lock:
            self._open.append(file)
        try:
            yield
        finally:
            with self._lock:
                self._open = [each for each in self._open if each is not file]
                self._closed += size


def _position(file: BinaryIO) -> int:
    # the position of the raw file, because the one of a buffered file belongs to the reading thread
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    try:
        return int(raw.tell())
    except (OSError, ValueError):  # closed meanwhile
        return 0


#: The count of this process.
READ: Final = ReadBytes()
