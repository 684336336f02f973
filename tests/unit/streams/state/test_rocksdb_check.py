"""RocksDB files that recovery may not build on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.stores.rocksdb import RocksDBOptions

from streams.state.rocksdb_check import (
    Origin,
    StoreError,
    beside,
    beyond_end,
    difference,
    is_damage,
    is_locked,
    note_damage,
    prepare,
)

rocksdict = pytest.importorskip("rocksdict")
ORIGIN = Origin("cluster", "sequences", 4)
OFFSET = b"__faust\0offset__"
N_KEYS = 3_000


class FakeData:
    """What is used of Faust's RocksDB store; the files are RocksDB's own."""

    offset_key = OFFSET

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rocksdb_options = RocksDBOptions(use_rocksdict=True, block_cache_size=1 << 20, write_buffer_size=1 << 16)
        self._dbs: dict[int, Any] = {}

    def partition_path(self, partition: int) -> Path:
        return self.folder / f"windows-{partition}.db"


def table_in(folder: Path) -> Any:
    return SimpleNamespace(data=FakeData(folder), app=SimpleNamespace(conf=SimpleNamespace(datadir=folder)))


def opened(folder: Path, *, origin: Origin = ORIGIN, end: int = 1_000) -> tuple[Any, str]:
    """Return the table with partition 0 opened, and why it was made anew."""
    table = table_in(folder)
    return table, asyncio.run(prepare(table, 0, origin, end))


def close(table: Any) -> None:
    for database in table.data._dbs.values():
        database.close()
    table.data._dbs.clear()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Give a partition's files as a worker leaves them.

    There are several SST files, and a log that is not flushed.
    """
    table, why = opened(tmp_path)
    assert why == ""
    database = table.data._dbs[0]
    for i in range(N_KEYS):
        database[b"key%d" % i] = os.urandom(100)
    database[OFFSET] = b"999"
    database.flush()
    database[b"last"] = b"x"
    close(table)
    return table.data.partition_path(0)  # type: ignore[no-any-return]


def largest(path: Path) -> Path:
    return max(path.glob("*.sst"), key=lambda file: file.stat().st_size)


def flip(file: Path, at: int | None = None) -> None:
    content = bytearray(file.read_bytes())
    start = len(content) // 2 if at is None else at
    for i in range(start, min(start + 16, len(content))):
        content[i] ^= 0xFF
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an SST file is cut": lambda path: os.truncate(largest(path), largest(path).stat().st_size // 2),
    "an SST file is missing": lambda path: largest(path).unlink(),
    "MANIFEST has flipped bytes": lambda path: flip(next(path.glob("MANIFEST-*"))),
    "MANIFEST is missing": lambda path: next(path.glob("MANIFEST-*")).unlink(),
    "CURRENT has flipped bytes": lambda path: flip(path / "CURRENT", 0),
    "CURRENT is empty": lambda path: os.truncate(path / "CURRENT", 0),
    "CURRENT is missing": lambda path: (path / "CURRENT").unlink(),
}


def test_sound_files_are_kept(filled: Path) -> None:
    table, why = opened(filled.parent)
    assert why == ""
    assert table.data._dbs[0][b"last"] == b"x"
    close(table)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_the_opening_and_the_store_begins_anew(
    filled: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGES[damage](filled)
    with caplog.at_level(logging.WARNING):
        table, why = opened(filled.parent)
    assert why
    (line,) = [record.getMessage() for record in caplog.records]
    assert "sequences-0" in line and "rebuilt from the changelog" in line and "\n" not in line
    assert table.data._dbs[0].get(OFFSET) is None  # recovery begins at the changelog's begin
    close(table)
    table, why = opened(filled.parent)
    assert why == ""
    close(table)


def killed_writer(path: Path) -> None:
    """Write one batch to the database in a process that ends by SIGKILL right after."""
    program = (
        "import os, sys, rocksdict; database = rocksdict.Rdict(sys.argv[1], options=rocksdict.Options(raw_mode=True)); "
        "batch = rocksdict.WriteBatch(raw_mode=True); batch.put(b'last', b'y'); batch.put(bytes.fromhex(sys.argv[2]), b'500'); "
        "database.write(batch); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path), OFFSET.hex()]).returncode == -9


@pytest.mark.model
def test_a_batch_survives_kill_9_whole_or_not_at_all(filled: Path) -> None:
    """The write-ahead log holds the windows and their offset together.

    A log that is cut within the batch has neither.
    """
    killed_writer(filled)
    table, why = opened(filled.parent)
    assert (why, table.data._dbs[0][b"last"], table.data._dbs[0][OFFSET]) == ("", b"y", b"500")
    table.data._dbs[0][b"last"] = b"x"
    table.data._dbs[0][OFFSET] = b"999"
    close(table)
    killed_writer(filled)
    log = max(file for file in filled.glob("*.log") if file.stat().st_size)
    os.truncate(log, log.stat().st_size - 3)
    table, why = opened(filled.parent)
    assert (why, table.data._dbs[0][b"last"], table.data._dbs[0][OFFSET]) == ("", b"x", b"999")
    close(table)


def test_a_damaged_block_is_found_when_read_and_noted_for_the_next_start(filled: Path) -> None:
    flip(largest(filled))
    table, why = opened(filled.parent)
    assert why == ""
    with pytest.raises(Exception, match="Corruption") as caught:
        for i in range(N_KEYS):
            table.data._dbs[0].get(b"key%d" % i)
    assert note_damage(table, str(caught.value)) == [0]
    # closing fails as well, once a compaction in the background has met the block
    with contextlib.suppress(Exception):
        close(table)
    table, why = opened(filled.parent)
    assert why.startswith("Corruption")
    assert table.data._dbs[0].get(OFFSET) is None
    assert not beside(filled, ".damaged").exists()
    close(table)


def test_only_an_error_of_the_store_is_noted(filled: Path) -> None:
    table, _ = opened(filled.parent)
    assert note_damage(table, "a record batch was not delivered") == []
    assert note_damage(table, "Corruption: block checksum mismatch in /elsewhere/000001.sst") == [0]
    close(table)


@pytest.mark.parametrize(
    ("origin", "end", "word"),
    [
        (Origin("cluster", "other-sequences", 4), 1_000, "topic"),
        (Origin("cluster", "sequences", 8), 1_000, "partitions"),
        (Origin("other", "sequences", 4), 1_000, "cluster"),
        (ORIGIN, 999, "offset 999"),
    ],
)
def test_files_of_another_changelog_are_not_used(filled: Path, origin: Origin, end: int, word: str) -> None:
    table, why = opened(filled.parent, origin=origin, end=end)
    assert word in why
    assert table.data._dbs[0].get(b"last") is None
    close(table)


def test_files_of_unknown_origin_are_not_used(filled: Path) -> None:
    beside(filled, ".origin.json").write_text("{")
    table, why = opened(filled.parent)
    assert "which changelog" in why
    close(table)


def test_a_store_open_elsewhere_is_neither_damage_nor_deleted(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it is of another origin."""
    monkeypatch.setattr("streams.state.rocksdb_check.LOCK_WAIT_S", 0.0)
    holder, _ = opened(filled.parent)
    for origin in (ORIGIN, Origin("cluster", "other-sequences", 4)):
        with pytest.raises(StoreError, match="open in another process.*HEADRACE_DATA_DIR"):
            opened(filled.parent, origin=origin)
    assert holder.data._dbs[0][b"last"] == b"x"
    close(holder)


def test_pure_rules() -> None:
    assert difference(ORIGIN, ORIGIN) == "" == difference(Origin("", "sequences", 4), ORIGIN)
    assert beyond_end(None, 0) == "" == beyond_end(9, 10)
    assert beyond_end(10, 10)
    assert is_locked("IO error: While lock file: /x/LOCK: Resource temporarily unavailable")
    assert not is_locked("Corruption: block checksum mismatch")
    assert not is_damage("IO error: No space left on device: While appending to file: /x/000008.log")
    assert not is_damage("IO error: While open a file for lock: /x/LOCK: Permission denied")
