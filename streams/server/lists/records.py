"""The newest record of each item and user, on disk, for changes of a part; and users' windows.

The folder is emptied at each start, because the followers read the topics from their beginning.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final, Literal

import rocksdict

Kind = Literal["items", "users", "windows"]
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
        found: bytes | None = self._database.get(_FIRST[kind] + key)
        return found

    def page(self, kind: Kind, start: bytes, n: int) -> list[tuple[bytes, bytes]]:
        """Return the first records of a kind whose keys are not before ``start``, by key."""
        first = _FIRST[kind]
        found: list[tuple[bytes, bytes]] = []
        for key, value in self._database.items(from_key=first + start):
            if len(found) == n or not key.startswith(first):
                break
            found.append((key[len(first) :], value))
        return found

    def put(self, kind: Kind, key: bytes, value: bytes | None) -> None:
        """Take the newest record of a key; None removes it."""
        if value is None:
            self._database.delete(_FIRST[kind] + key)
        else:
            self._database[_FIRST[kind] + key] = value

    def close(self) -> None:
        """Close the database."""
        self._database.close()
