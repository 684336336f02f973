"""A store of lists in RocksDB, in a folder of the server's own."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import rocksdict

from streams.errors import RunError
from streams.server.lists.store import Change, list_in, next_list
from streams.state.scrubbing import scrub

log = logging.getLogger(__name__)

#: The first byte of a key says what it is of.
LIST: Final = b"l"
OFFSET: Final = b"o"
NOTE: Final = b"n"
CACHE_BYTES: Final = 32 << 20


class RocksDbStore:
    """Holds lists in one database. One process opens a folder at a time.

    Parameters
    ----------
    folder : made where it is missing; files that cannot be read are removed

    Raises
    ------
    RunError
        When another process uses the folder, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = self._open()
        self._offsets = {
            int.from_bytes(key[1:], "big"): int.from_bytes(value, "big") for key, value in self._items(OFFSET)
        }

    async def get(self, key: bytes) -> bytes | None:
        """Return a user's newest list."""
        held = self._database.get(LIST + key)
        return None if held is None else list_in(held)

    async def apply(self, partition: int, next_offset: int, changes: Sequence[Change]) -> None:
        """Take records of a partition, and the offset behind them."""
        known = self._offsets.get(partition, -1)
        if next_offset <= known:
            return
        held: dict[bytes, bytes | None] = {}
        for change in changes:
            if change.offset >= known:
                key = LIST + change.key
                before = held[key] if key in held else self._database.get(key)
                held[key] = next_list(partition, before, change)
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in held.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(OFFSET + partition.to_bytes(4, "big"), next_offset.to_bytes(8, "big"))
        self._database.write(batch)
        self._offsets[partition] = next_offset

    async def remove(self, key: bytes) -> None:
        """Remove a user's list."""
        self._database.delete(LIST + key)

    async def scrub(self, keys: Collection[bytes]) -> None:
        """Rewrite the files that hold removed lists."""
        await asyncio.to_thread(scrub, self._database, [LIST + key for key in keys])

    async def offsets(self) -> dict[int, int]:
        """Return the offset behind the last record of each partition."""
        return dict(self._offsets)

    async def notes(self) -> dict[str, str]:
        """Return the notes."""
        return {key[1:].decode(): value.decode() for key, value in self._items(NOTE)}

    async def note(self, name: str, value: str) -> None:
        """Keep a note."""
        self._database[NOTE + name.encode()] = value.encode()

    async def count(self) -> int:
        """Return how many keys the database estimates that it has."""
        found = self._database.property_int_value("rocksdb.estimate-num-keys") or 0
        return max(0, int(found) - len(self._offsets))

    async def clear(self) -> None:
        """Remove the files, and begin anew."""
        self._database.close()
        shutil.rmtree(self._folder)
        self._database = self._open()
        self._offsets = {}

    async def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _items(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        for key, value in self._database.items(from_key=kind):
            if key[:1] != kind:
                break
            found.append((key, value))
        return found

    def _open(self) -> Any:
        """Open the database; one that cannot be read is removed, since the topic has the lists."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise RunError(f"{self._folder}: {exc.strerror}; set HEADRACE_SERVE_DIR to a folder of this user") from None
        try:
            return self._open_once()
        except Exception as exc:  # rocksdict raises bare Exceptions
            if "lock" in str(exc).lower():
                raise RunError(
                    f"{self._folder}: another server uses this folder; set HEADRACE_SERVE_DIR to a folder of its own"
                ) from None
            log.warning("%s cannot be read (%s): its lists come back from the topic", self._folder, exc)
            shutil.rmtree(self._folder)
            self._folder.mkdir(parents=True)
            return self._open_once()

    def _open_once(self) -> Any:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(16 << 20)
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(rocksdict.Cache(CACHE_BYTES))
        table.set_bloom_filter(10, block_based=False)
        options.set_block_based_table_factory(table)
        return rocksdict.Rdict(str(self._folder), options)
