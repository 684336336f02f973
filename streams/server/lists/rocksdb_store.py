"""A store of lists in RocksDB, in a folder of the server's own."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import rocksdict

from streams.errors import RunError
from streams.server.lists.store import FORM, Change, Span, State, StoreLostError, is_of_former_life, list_in, next_list
from streams.state.scrubbing import scrub

log = logging.getLogger(__name__)

#: The first byte of a key says what it is of.
LIST: Final = b"l"
OFFSET: Final = b"o"
NOTE: Final = b"n"
#: Notes: when the store had all of the topic, and when something was put into it.
FOLLOWED: Final = "followed_ms"
FILLED: Final = "filled_ms"
N_NOTES: Final = 3
#: Time between two such notes. Each write counts in the estimate of keys until files are merged.
NOTE_EVERY_MS: Final = 30_000
#: The one life of a database: nobody else empties it.
LIFE: Final = "1"
CACHE_BYTES: Final = 32 << 20


class RocksDbStore:
    """Holds lists in one database. One process opens a folder at a time.

    Parameters
    ----------
    folder : made where it is missing; files that cannot be read are removed
    clock : seconds since 1970

    Raises
    ------
    RunError
        When another process uses the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._noted_ms = 0
        self._database = self._open()
        self._offsets = {
            int.from_bytes(key[1:], "big"): int.from_bytes(value, "big") for key, value in self._items(OFFSET)
        }

    async def state(self) -> State:
        """Return what the store holds now."""
        notes = {key[1:].decode(): value.decode() for key, value in self._items(NOTE)}
        ago_ms = {name: self._now_ms() - int(notes[name]) for name in (FOLLOWED, FILLED) if name in notes}
        life = LIFE if notes or self._offsets else ""
        return State(life, notes.get("form", ""), dict(self._offsets), ago_ms.get(FOLLOWED), ago_ms.get(FILLED))

    async def begin(self, instead_of: str, offsets: Mapping[int, int]) -> None:
        """Remove the files, and begin anew."""
        self._database.close()
        shutil.rmtree(self._folder)
        self._database = self._open()
        self._offsets = {}
        batch = rocksdict.WriteBatch(raw_mode=True)
        batch.put(NOTE + b"form", FORM.encode())
        self._write(batch, [Span(partition, offset, offset) for partition, offset in offsets.items()], FILLED)

    def follow(self, life: str) -> None:
        """Do nothing: no other process empties the folder."""

    async def get(self, key: bytes) -> bytes | None:
        """Return a user's newest list."""
        held = self._database.get(LIST + key)
        return None if held is None else list_in(held)

    async def apply(self, span: Span, changes: Sequence[Change]) -> None:
        """Take records of a partition, and the offset behind them."""
        known = self._known(span)
        if span.end <= known:
            return
        held: dict[bytes, bytes | None] = {}
        for change in changes:
            if change.offset >= known:
                key = LIST + change.key
                before = held[key] if key in held else self._database.get(key)
                held[key] = next_list(span.partition, before, change)
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in held.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._write(batch, [span])

    async def keep(self, spans: Sequence[Span], *, is_complete: bool) -> None:
        """Pass spans without lists, and note now and then that the server follows."""
        passed = [span for span in spans if span.end > self._known(span)]
        is_due = abs(self._now_ms() - self._noted_ms) >= NOTE_EVERY_MS
        if passed or is_due:
            names = ((FILLED, FOLLOWED) if is_complete else (FILLED,)) if is_due else ()
            self._write(rocksdict.WriteBatch(raw_mode=True), passed, *names)

    async def remove(self, key: bytes, mark: int) -> None:
        """Remove a user's list of the life before a mark."""
        held = self._database.get(LIST + key)
        if held is not None and is_of_former_life(held, mark):
            self._database.delete(LIST + key)

    async def scrub(self, keys: Collection[bytes]) -> None:
        """Rewrite the files that hold removed lists."""
        await asyncio.to_thread(scrub, self._database, [LIST + key for key in keys])

    async def count(self) -> int:
        """Return how many keys the database estimates that it has."""
        found = self._database.property_int_value("rocksdb.estimate-num-keys") or 0
        return max(0, int(found) - len(self._offsets) - N_NOTES)

    async def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _known(self, span: Span) -> int:
        """Return the store's offset of a partition; it is not before the span."""
        known = self._offsets.get(span.partition, -1)
        if known < span.first:
            raise StoreLostError(f"{self._folder}: partition {span.partition} ends before offset {span.first}")
        return known

    def _write(self, batch: Any, spans: Sequence[Span], *notes: str) -> None:
        """Write a batch with the offsets behind spans, and with the time as these notes."""
        for span in spans:
            batch.put(OFFSET + span.partition.to_bytes(4, "big"), span.end.to_bytes(8, "big"))
        now_ms = self._now_ms()
        for name in notes:
            self._noted_ms = now_ms
            batch.put(NOTE + name.encode(), str(now_ms).encode())
        self._database.write(batch)
        self._offsets |= {span.partition: span.end for span in spans}

    def _now_ms(self) -> int:
        return int(1000 * self._clock())

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
