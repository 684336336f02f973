"""Keeps sorted runs of rows on disk, for logs that are larger than memory."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

RowT = TypeVar("RowT")
CHUNK_ROWS: Final = 1_000
#: The most files that are open at once; so many runs are merged into one.
MAX_RUNS: Final = 64


class SortedRuns(Generic[RowT]):
    """Runs of sorted rows in a folder. A run is a file of length-prefixed msgpack chunks.

    Parameters
    ----------
    row_type : the type of a row, as msgspec takes it
    key : gives what the rows are sorted by
    """

    def __init__(self, folder: Path, row_type: type[RowT], *, key: Callable[[RowT], Any]) -> None:
        self._folder = folder
        self._decoder = msgspec.msgpack.Decoder(list[row_type])  # type: ignore[valid-type]
        self._key = key
        self._paths: list[Path] = []
        self._n_written = 0

    def add(self, rows: Iterable[RowT]) -> None:
        """Write one sorted run."""
        path = self._folder / f"run-{self._n_written}"
        self._n_written += 1
        encoder = msgspec.msgpack.Encoder()
        remaining = iter(rows)
        with path.open("wb") as file:
            while chunk := list(islice(remaining, CHUNK_ROWS)):
                data = encoder.encode(chunk)
                file.write(len(data).to_bytes(4, "little") + data)
        self._paths.append(path)
        if len(self._paths) >= MAX_RUNS:
            merged, self._paths = self._paths, []
            self.add(heapq.merge(*map(self._read, merged), key=self._key))
            for old in merged:
                old.unlink()

    def open(self) -> list[Iterator[RowT]]:
        """Return an iterator over each run."""
        return [self._read(path) for path in self._paths]

    def _read(self, path: Path) -> Iterator[RowT]:
        with path.open("rb") as file:
            while prefix := file.read(4):
                yield from self._decoder.decode(file.read(int.from_bytes(prefix, "little")))
