"""Rewrites files of a RocksDB database, so that the bytes of removed keys leave the disk."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import rocksdict


def scrub(database: Any, keys: Collection[bytes]) -> None:
    """Rewrite the files that hold removed keys. For any thread; it takes the disk's time."""
    if keys:
        database.flush(True)  # the write-ahead log of what is in the files is deleted
        options = rocksdict.CompactOptions()  # else a file of tombstones alone moves as it is
        options.set_bottommost_level_compaction(rocksdict.BottommostLevelCompaction.force())
        database.compact_range(min(keys), max(keys) + b"\0", options)
