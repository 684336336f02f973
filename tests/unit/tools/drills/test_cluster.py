"""A drill's cluster knows which workers ended by themselves, and which of them may."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from streams.settings.load import load_settings
from tests.support.waiting import wait_until
from tools.drills.cluster import Cluster, DrillWorker

EXITS_WITH_3 = [sys.executable, "-c", "raise SystemExit(3)"]
SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Give a cluster that connects to nothing."""
    return Cluster(load_settings({}, file=Path("none.toml")), tmp_path, {})


def start(cluster: Cluster, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> DrillWorker:
    """Start a process in a worker's place."""
    monkeypatch.setattr(DrillWorker, "command", lambda _self: argv)
    return cluster.start_worker("sequencer")


def test_a_worker_that_ended_by_itself_is_told_of(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused worker may end, a killed one did not end by itself, and each has one line."""
    crashed, zombie = (start(cluster, EXITS_WITH_3, monkeypatch) for _ in range(2))
    zombie.was_paused = True
    cluster.kill(start(cluster, SLEEPS, monkeypatch))
    wait_until(lambda: not crashed.is_running and not zombie.is_running, 10, lambda: "still run")
    for _ in range(2):
        asyncio.run(cluster.stop())
    assert [line.split(":")[0] for line in cluster.ended] == ["sequencer-0", "sequencer-1"]
    assert [line.split(";")[0] for line in cluster.unexpected] == [
        "sequencer-0: sequencer stopped with code 3, must be 0"
    ]


def test_a_pause_counts_until_the_next_start(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that follows a zombie may not end by itself."""
    worker = start(cluster, SLEEPS, monkeypatch)
    worker.pause()
    assert worker.was_paused
    worker.resume()
    worker.kill()
    worker.start()
    assert not worker.was_paused
    worker.kill()
