"""The newest record of each item and user, on disk, for changes of a part; and users' windows.

The folder is emptied at each start, because the followers read the topics from their beginning.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, Literal

import rocksdict

from streams.state.scrubbing import scrub

Kind = Literal["items", "users", "windows"]
#: Before each record: when it was written.
_WRITTEN: Final = struct.Struct(">Q")
_FIRST: Final[dict[Kind, bytes]] = {"items": b"i", "users": b"u", "windows": b"w"}


class KeptRecords:
    """Holds encoded records by kind and key. One process opens a folder at a time."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(8 << 20)
        self._database: Any = rocksdict.Rdict(str(folder), options)

    def get(self, kind: Kind, key: bytes) -> bytes | None:
        """Return the newest record of a key; None where there is none."""
        found: bytes | None = self._database.get(first_byte(kind) + key)
        return None if found is None else value_in(found)

    def written_ms(self, kind: Kind, key: bytes) -> int:
        """Return when the newest record of a key was written, in ms since 1970; 0 for none."""
        found: bytes | None = self._database.get(first_byte(kind) + key)
        return 0 if found is None else written_ms_in(found)

    def page(self, kind: Kind, start: bytes, n: int) -> list[tuple[bytes, bytes]]:
        """Return the first records of a kind whose keys are not before ``start``, by key."""
        first = first_byte(kind)
        found: list[tuple[bytes, bytes]] = []
        for key, value in self._database.items(from_key=first + start):
            if len(found) == n or not key.startswith(first):
                break
            found.append((key[len(first) :], value_in(value)))
        return found

    def put(self, kind: Kind, key: bytes, value: bytes | None, written_ms: int = 0) -> None:
        """Take the newest record of a key; None removes it.

        Parameters
        ----------
        written_ms : when the record was written, in ms since 1970
        """
        if value is None:
            self._database.delete(_FIRST[kind] + key)
        else:
            self._database[_FIRST[kind] + key] = _WRITTEN.pack(max(0, written_ms)) + value

    def scrub(self, keys: Collection[bytes]) -> None:
        """Rewrite the files that hold removed users, so that their bytes leave the disk.

        For any thread.
        """
        scrub(self._database, [first_byte(kind) + key for kind in ("users", "windows") for key in keys])

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def first_byte(kind: Kind) -> bytes:
    """Return what the keys of a kind begin with."""
    return _FIRST[kind]


def value_in(held: bytes) -> bytes:
    """Return the record without its head."""
    return held[_WRITTEN.size :]


def written_ms_in(held: bytes) -> int:
    """Return when a record was written, in ms since 1970."""
    return int(_WRITTEN.unpack_from(held)[0])


def forget_user(records: KeptRecords, key: bytes, mark: int) -> None:
    """Remove a user's record of a former life, which was written at the mark or before."""
    if records.written_ms("users", key) <= mark:
        records.put("users", key, None)
