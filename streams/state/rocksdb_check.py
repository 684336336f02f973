"""Finds RocksDB files that recovery may not use: damaged files, and files of another changelog.

A partition's database is opened and compared with its changelog before Faust recovers it. Unusable
files are deleted and come back from the changelog, which holds all their data. RocksDB checks the
structure when it opens files, and the checksum of a block when it reads the block. A damaged block
stops the worker and leaves a note; the next start rebuilds that partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from faust.types import TP

from streams.errors import HeadraceError
from streams.settings.load import Settings
from streams.state.table import BatchTable

log = logging.getLogger(__name__)

#: A killed worker holds its lock for a moment longer; a running worker holds it to its end.
LOCK_WAIT_S: Final = 5.0
LOCK_POLL_S: Final = 0.2
ORIGIN_SUFFIX: Final = ".origin.json"
DAMAGE_SUFFIX: Final = ".damaged"


class StoreError(HeadraceError):
    """A store cannot be opened, and deleting its files would not help."""


class StoreApp(Protocol):
    """The worker's app, as this module uses it."""

    tables: Any
    consumer: Any
    settings: Settings


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which changelog a partition's database was built from.

    Parameters
    ----------
    cluster : the Kafka cluster's id; empty when the broker has none
    topic : the changelog topic's full name
    partitions : its partition count
    """

    cluster: str
    topic: str
    partitions: int


def is_locked(error: str) -> bool:
    """Return whether RocksDB refused because a process has the database open.

    The process is another one, or this one.
    """
    return "While lock file" in error or "lock hold by current process" in error


def is_damage(error: str) -> bool:
    """Return whether RocksDB reports damaged or missing files.

    A full disk or a denied right is not damage.
    """
    return error.startswith("Corruption") or "No such file or directory" in error


def difference(found: Origin | None, expected: Origin) -> str:
    """Return how a database's origin differs from the present changelog, or ``""``."""
    if found is None:
        return "no file says which changelog it was built from"
    for name in ("topic", "partitions", "cluster"):
        has, needs = getattr(found, name), getattr(expected, name)
        if has != needs and not (name == "cluster" and "" in (has, needs)):
            return f"it was built from {name} {has}, the worker reads {needs}"
    return ""


def beyond_end(stored: int | None, end: int) -> str:
    """Return why a stored changelog offset cannot be right, or ``""``.

    ``end`` is the offset of the next record that will be written.
    """
    if stored is not None and stored >= end:
        return (
            f"it holds offset {stored}, the changelog ends at {end}: somebody deleted its records, or created it again"
        )
    return ""


async def prepare(table: BatchTable, partition: int, origin: Origin, end: int) -> str:
    """Open a partition's database for the table; return why its files were deleted first, or
    ``""``.

    Parameters
    ----------
    table : a table whose store is RocksDB
    origin : that of the present changelog
    end : the changelog partition's end offset

    Raises
    ------
    StoreError
        When another process has the database open, the disk is full, or a right is missing.
    """
    path = table.data.partition_path(partition)
    why, database = _left_behind(path, origin), None
    try:
        # open it in any case: a database that another process uses is not deleted
        if path.exists():
            database = await _open(table, path)
            stored = database.get(table.data.offset_key)
            why = why or beyond_end(None if stored is None else int(stored), end)
    except StoreError:
        raise
    except Exception as exc:  # rocksdict raises bare Exceptions
        if not is_damage(str(exc)):
            raise _cannot_open(path, str(exc)) from exc
        why = why or str(exc).splitlines()[0]
    if why:
        if database is not None:
            # a damaged database may refuse to close; it is deleted next
            with contextlib.suppress(Exception):
                database.close()
        log.warning(
            "store of %s-%d (%s) cannot be used: %s; it is deleted and rebuilt from the changelog",
            origin.topic,
            partition,
            path,
            why,
        )
        _delete(path)
        database = None
    if database is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # written first: files without an origin are never trusted
        beside(path, ORIGIN_SUFFIX).write_bytes(msgspec.json.encode(origin))
        database = await _open(table, path)
    table.data._dbs[partition] = database
    return why


async def check_stores(app: StoreApp, cluster: str, assigned: set[TP]) -> int:
    """Open the RocksDB files of newly assigned partitions; return how many had to be rebuilt.

    Called before recovery, which would open the files without a check.

    Parameters
    ----------
    cluster : id of the Kafka cluster
    assigned : partitions of changelogs and of other topics

    Raises
    ------
    StoreError
        When a store cannot be opened, and rebuilding it would not help.
    """
    n_rebuilt = 0
    for table in rocksdb_tables(app.tables.values()):
        topic = table.changelog_topic.get_topic_name()
        new = sorted(tp for tp in assigned if tp.topic == topic and not table.is_open(tp.partition))
        if not new:
            continue
        ends = await app.consumer.highwaters(*new)
        origin = Origin(cluster, topic, app.settings.kafka.partitions)
        for tp in new:
            n_rebuilt += bool(await prepare(table, tp.partition, origin, ends[tp] or 0))
    return n_rebuilt


def note_crash(tables: Iterable[BatchTable], reason: BaseException) -> None:
    """Note the damage that a crash reports, so that the next start rebuilds the partition."""
    for table in rocksdb_tables(tables):
        for partition in note_damage(table, str(reason)):
            log.error("store of partition %d is damaged: the next start rebuilds it", partition)


def rocksdb_tables(tables: Iterable[BatchTable]) -> list[BatchTable]:
    """Return the tables whose store lies on disk."""
    return [table for table in tables if table.is_rocksdb]


def note_damage(table: BatchTable, error: str) -> list[int]:
    """Leave a note beside the open databases that an error names; return their partitions.

    An error that names no file of this table marks all its open databases: rebuilding is safe.
    """
    if not error.startswith("Corruption"):
        return []
    open_partitions = sorted(table.data._dbs)
    paths = {partition: table.data.partition_path(partition) for partition in open_partitions}
    named = [partition for partition, path in paths.items() if f"{path}/" in error]
    for partition in named or open_partitions:
        beside(paths[partition], DAMAGE_SUFFIX).write_text(error.splitlines()[0], "utf-8")
    return named or open_partitions


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file beside a partition's database."""
    return path.with_name(path.name + suffix)


def _left_behind(path: Path, origin: Origin) -> str:
    """Return why files on disk cannot be used, by the notes that lie beside them."""
    damage = beside(path, DAMAGE_SUFFIX)
    if damage.exists():
        return damage.read_text("utf-8", "replace") or "a worker found it damaged"
    if not path.exists():
        return ""
    try:
        found: Origin | None = msgspec.json.decode(beside(path, ORIGIN_SUFFIX).read_bytes(), type=Origin)
    except (OSError, msgspec.MsgspecError):
        found = None
    return difference(found, origin)


async def _open(table: BatchTable, path: Path) -> Any:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return table.data.rocksdb_options.open(path)
        except Exception as exc:  # rocksdict raises bare Exceptions
            if not is_locked(str(exc)):
                raise
            if time.monotonic() > deadline:
                raise StoreError(
                    f"data_dir={table.app.conf.datadir}: the store {path} is open in another process; "
                    "give each worker a directory of its own with HEADRACE_DATA_DIR, or end the other one"
                ) from exc
        await asyncio.sleep(LOCK_POLL_S)


def _cannot_open(path: Path, error: str) -> StoreError:
    return StoreError(
        f"store {path} cannot be opened: {error.splitlines()[0]}; make room or grant the right, then restart"
    )


def _delete(path: Path) -> None:
    """Delete a database; delete the note of its damage last, so that no crash loses the note."""
    if path.exists():
        shutil.rmtree(path)
    beside(path, DAMAGE_SUFFIX).unlink(missing_ok=True)
