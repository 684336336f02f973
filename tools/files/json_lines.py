"""Reads lines of bytes from a file or from standard input, with bounded memory."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Final

from streams.contract.records import MAX_RECORD_BYTES
from streams.errors import InputError

CHUNK_BYTES: Final = 1 << 18
#: A longer line is cut to one byte more than a record may have, so that the decoder refuses it as
#: too large.
CUT_BYTES: Final = MAX_RECORD_BYTES + 1


class LineSplitter:
    """Cuts chunks of bytes into numbered lines; a blank line has a number but is not given."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0

    def split(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that a chunk completes; an empty chunk completes the last line."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        if not chunk and rest:
            lines, rest = [rest], b""
        self._rest = rest[:CUT_BYTES]
        for line in lines:
            self._number += 1
            if self._number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # Windows tools write one
            if line.strip():
                yield self._number, line[:CUT_BYTES]


async def read_chunks(path: Path | None) -> AsyncIterator[bytes]:
    """Yield what a file, or standard input for None, gives, as soon as it gives it.

    A thread reads, because standard input may be silent for long while records wait to be sent.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    try:
        source = sys.stdin.fileno() if path is None else os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise InputError(
            f"{path or 'standard input'}: {exc.strerror}; name a file of JSON lines, or - for standard input"
        ) from exc
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(maxsize=2)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            chunk: bytes | OSError = b"-"
            while chunk and isinstance(chunk, bytes):
                chunk = _read_chunk(source)
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
        except (RuntimeError, CancelledError):
            pass  # the event loop has ended: nobody waits for more lines
        finally:
            if path is not None:
                os.close(source)

    threading.Thread(target=read, name="read-lines", daemon=True).start()
    while True:
        chunk = await chunks.get()
        if isinstance(chunk, OSError):
            raise InputError(f"{path or 'standard input'}: {chunk.strerror}; name a file of JSON lines")
        if not chunk:
            return
        yield chunk


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the numbered lines of chunks of bytes, each as soon as it is complete."""
    splitter = LineSplitter()
    async for chunk in chunks:
        for numbered in splitter.split(chunk):
            yield numbered
    for numbered in splitter.split(b""):
        yield numbered


def _read_chunk(source: int) -> bytes | OSError:
    try:
        return os.read(source, CHUNK_BYTES)
    except OSError as exc:
        return exc
