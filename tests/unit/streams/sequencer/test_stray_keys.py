"""Windows on a wrong partition: the sequencer finds them, logs them once, and changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from streams.contract.pseudonyms import short_name
from streams.kafka.publisher import partition_of
from streams.sequencer import stray_keys
from streams.sequencer.agent import Sequencer, build_sequencer
from streams.settings.load import load_settings

USERS = [f"u{number}".encode() for number in range(60)]
N_PARTITIONS = 4


def warnings_of(
    store: str, folder: Path, caplog: pytest.LogCaptureFixture, placed: dict[bytes, str], **variables: str
) -> list[str]:
    """Return the log after two recoveries, with windows where that partitioner puts them."""

    async def run() -> None:
        kafka = {
            "HEADRACE_SEQUENCE_STORE": store,
            "HEADRACE_DATA_DIR": str(folder),
            "HEADRACE_PARTITIONS": str(N_PARTITIONS),
        }
        app: Any = build_sequencer(load_settings(kafka | variables))
        table = app.tables["windows"]
        for user, partitioner in placed.items():
            table.store(partition_of(user, N_PARTITIONS, partitioner), {user: b"window"}, 7)
        sequencer = Sequencer(app, table, app.health.metrics)
        for _ in range(2):
            await sequencer.look_for_strays(set(range(N_PARTITIONS)))
        for user, partitioner in placed.items():
            assert table.read(partition_of(user, N_PARTITIONS, partitioner), user) == b"window"

    caplog.set_level(logging.WARNING)
    asyncio.run(run())
    return [record.getMessage() for record in caplog.records if "partitioner" in record.getMessage()]


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_windows_on_another_partition_are_said_once(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line gives their number, the number of all, an example and the remedy."""
    monkeypatch.setattr(stray_keys, "CHUNK_KEYS", 7)
    placed = {user: "crc32" if number < 20 else "murmur2" for number, user in enumerate(USERS)}
    strays = {
        user: (partition_of(user, N_PARTITIONS, "crc32"), partition_of(user, N_PARTITIONS, "murmur2"))
        for user in USERS[:20]
    }
    strays = {user: places for user, places in strays.items() if places[0] != places[1]}
    (line,) = warnings_of(store, tmp_path, caplog, placed)
    assert f"{len(strays)} of 60 users have a window on another partition than partitioner=murmur2 gives" in line
    assert any(
        f"such as {short_name(user)} on {there}, must be on {due}:" in line for user, (there, due) in strays.items()
    )
    assert "HEADRACE_PARTITIONER=crc32" in line and "--from-topic --partitions N" in line and "\n" not in line


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_windows_where_the_partitioner_puts_them_are_no_word_worth(
    partitioner: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever partitioner it is."""
    placed = dict.fromkeys(USERS, partitioner)
    assert warnings_of("memory", tmp_path, caplog, placed, HEADRACE_PARTITIONER=partitioner) == []
