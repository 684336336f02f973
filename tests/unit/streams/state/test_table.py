"""The table of windows: values by key and partition, in memory as on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP

from streams.sequencer.agent import build_sequencer
from streams.settings.load import load_settings


def with_table(store: str, folder: Path, use: Callable[[Any], None]) -> None:
    """Give a table of the sequencer's to a function, within an event loop."""

    async def run() -> None:
        variables = {"HEADRACE_SEQUENCE_STORE": store, "HEADRACE_DATA_DIR": str(folder)}
        app: Any = build_sequencer(load_settings(variables))
        use(app.tables["windows"])

    asyncio.run(run())


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_a_key_has_a_value_in_each_partition(store: str, tmp_path: Path) -> None:
    """Two partitioners give one user a window in each of two partitions.

    Neither partition reads, overwrites or removes the other's window.
    """

    def use(table: Any) -> None:
        table.store(0, {b"u1": b"zero"}, 4)
        assert table.read(1, b"u1") is None
        table.store(1, {b"u1": b"one"}, 7)
        table.stage(2, {b"u1": b"two"})
        assert [table.read(partition, b"u1") for partition in range(4)] == [b"zero", b"one", b"two", None]
        table.store(1, {b"u1": None}, 8)
        assert [table.read(partition, b"u1") for partition in range(4)] == [b"zero", None, b"two", None]

    with_table(store, tmp_path, use)


def test_a_partition_that_was_taken_away_takes_its_own_values_alone(tmp_path: Path) -> None:
    """Its recovery begins anew should it come back; the other's goes on where it stood."""

    def use(table: Any) -> None:
        for partition in (0, 1):
            table.store(partition, {b"u1": b"%d" % partition, b"own-%d" % partition: b"w"}, 5 + partition)
        table._drop_memory({0})
        assert [table.read(partition, b"u1") for partition in (0, 1)] == [None, b"1"]
        assert [table.persisted_offset(TP("sequences", partition)) for partition in (0, 1)] == [None, 6]

    with_table("memory", tmp_path, use)
