"""Cleaned item texts on disk, so that a start need not cut the words of a million titles again.

SQLite keeps them: its file may be shared by processes, survives their deaths, and holds nothing in
memory. A text that does not match its checksum counts as missing. Texts of another version of the
cleaning lie in another file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import weakref
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

KEY_BYTES: Final = 16
#: Texts asked for in one statement: below SQLite's limit of parameters in any version.
TEXTS_PER_QUERY: Final = 256
#: Seconds that a writer waits for another process.
BUSY_S: Final = 10.0
_TABLE: Final = "CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, cleaned TEXT, checksum INTEGER) WITHOUT ROWID"


class CleanedTexts:
    """The cleaned form of texts. Any number of processes may share it; one object is for one thread
    at a time.

    It is only there to save time: where the disk or the file fails, a warning says so once, and
    texts are cleaned again.

    Parameters
    ----------
    folder : where the file lies, made if it is missing
    text_version : texts of another version are in another file
    """

    def __init__(self, folder: Path, text_version: str) -> None:
        name = hashlib.blake2b(text_version.encode(), digest_size=8).hexdigest()
        self.path = folder / f"{name}.texts"
        self._db: sqlite3.Connection | None = None
        try:
            self._db = self._opened()
        except (OSError, sqlite3.OperationalError) as exc:  # such as a lock that another process holds
            self._tolerate(exc)
        except sqlite3.DatabaseError as exc:
            log.warning("%s: damaged (%s), begun again", self.path, exc)
            with suppress(sqlite3.Error, OSError):
                for file in self.path, self.path.with_name(f"{self.path.name}-journal"):
                    file.unlink(missing_ok=True)
                self._db = self._opened()

    def get_many(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the cleaned form of those texts that are here."""
        of_key = {_key(text): text for text in texts}
        keys, found = list(of_key), {}
        for start in range(0, len(keys), TEXTS_PER_QUERY):
            part = keys[start : start + TEXTS_PER_QUERY]
            for key, cleaned, checksum in self._rows(part):
                if isinstance(cleaned, str) and checksum == _checksum(key, cleaned):
                    found[of_key[key]] = cleaned
        return found

    def put_many(self, cleaned: Mapping[str, str]) -> None:
        """Keep the cleaned form of texts."""
        rows = [(key := _key(text), clean, _checksum(key, clean)) for text, clean in cleaned.items()]
        try:
            if self._db is not None and rows:
                with self._db:
                    self._db.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, UnicodeError) as exc:
            self._give_up(exc)

    def _opened(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=BUSY_S, check_same_thread=False)
        self.close = weakref.finalize(self, db.close)
        # A lost write costs the time to clean a text again; a torn one is rolled back.
        db.execute("PRAGMA synchronous = OFF")
        with db:
            db.execute(_TABLE)
        return db

    def _rows(self, keys: list[bytes]) -> list[tuple[bytes, object, object]]:
        if self._db is None:
            return []
        try:
            marks = ",".join("?" * len(keys))
            return self._db.execute(f"SELECT key, cleaned, checksum FROM texts WHERE key IN ({marks})", keys).fetchall()
        except sqlite3.Error as exc:
            self._give_up(exc)
            return []

    def _give_up(self, why: object) -> None:
        self._tolerate(why)
        self._db = None

    def _tolerate(self, why: object) -> None:
        log.warning("%s: cleaned texts cannot be kept here (%s): they are cleaned again at each start", self.path, why)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _checksum(key: bytes, cleaned: str) -> int:
    return zlib.crc32(cleaned.encode("utf-8", "surrogatepass"), zlib.crc32(key))
