"""What the RocksDB stores of workers and servers hold of users: records, each with its life.

A store is opened for reading, beside the process that has it open. A worker's store has windows or
vectors by user. A server has two: ``lists``, and ``records`` with users' records and windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from streams.contract.marks import revision_in
from streams.server.lists.records import first_byte, value_in, written_ms_in
from streams.server.lists.rocksdb_store import LIST
from streams.server.lists.store import list_in

#: The folders of a server's two stores, below ``serve_dir``.
LISTS: Final = "lists"
RECORDS: Final = "records"


class Stored(NamedTuple):
    """A record of a user in a store.

    Parameters
    ----------
    what : in words
    life : its revision, or when it was written; a former life's is not behind the mark
    """

    what: str
    life: int


def is_store(folder: Path) -> bool:
    """Whether a folder is a RocksDB database."""
    return (folder / "CURRENT").exists()


def is_servers(folder: Path) -> bool:
    """Whether a database is one of a server."""
    return folder.name in (LISTS, RECORDS)


def stored_of(folder: Path, keys: Iterable[bytes]) -> dict[bytes, list[Stored]]:
    """Return what a database holds of users, by key; users of whom it holds nothing are left out.

    Nothing is returned where the database cannot be read: it is being written, or is damaged.
    """
    import rocksdict

    try:
        options = rocksdict.Options(raw_mode=True)
        database: Any = rocksdict.Rdict(str(folder), options, access_type=rocksdict.AccessType.read_only())
    except Exception:  # rocksdict raises Exception itself
        return {}
    try:
        return {key: found for key in keys if (found := _stored(database, folder, key))}
    finally:
        database.close()


def _stored(database: Any, folder: Path, key: bytes) -> list[Stored]:
    if folder.name == LISTS:
        held = database.get(LIST + key)
        return [] if held is None else [Stored("the user's list", revision_in(list_in(held)))]
    if folder.name == RECORDS:
        window, record = (database.get(first_byte(kind) + key) for kind in ("windows", "users"))
        found = [] if window is None else [Stored("the user's window", revision_in(value_in(window)))]
        return found + ([] if record is None else [Stored("the user's record", written_ms_in(record))])
    value = database.get(key)
    return [] if value is None else [Stored("the user's window or vector", revision_in(value))]
