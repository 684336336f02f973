"""The parts of the replay drill that need no broker: kills, progress and promotion."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.contract.kafka_records import OutRecord
from streams.settings.load import KafkaSettings
from tests.support.waiting import wait_until
from tools.drills.acts.promotion import NEEDS_YES, promote
from tools.drills.events import EventSource, Shares
from tools.drills.kinds.replay import RUN, kill_workers, n_copied, worker_pids
from tools.drills.load import Load
from tools.drills.session import Fault
from tools.replay.rebuild.manifest import Manifest, save_manifest


@contextmanager
def sleeper(prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that looks like a sequencer of a prefix."""
    env = {**os.environ, "HEADRACE_TOPIC_PREFIX": prefix}
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "streams.sequencer"]
    with subprocess.Popen(argv, env=env, start_new_session=True) as process:
        try:
            wait_until(lambda: process.pid in worker_pids(prefix, "streams.sequencer"), 10, lambda: "not seen")
            yield process
        finally:
            process.kill()


def test_only_workers_of_the_prefix_are_killed() -> None:
    mine, other = f"t{os.getpid()}-a.", f"t{os.getpid()}-b."
    with sleeper(mine) as one, sleeper(other) as two:
        assert kill_workers(mine, "streams.recommender") == 0
        assert kill_workers(mine, "streams.sequencer") == 1
        assert one.wait(10) == -9
        assert two.poll() is None


def test_progress_is_read_from_the_manifest(tmp_path: Path) -> None:
    assert n_copied(tmp_path) == 0
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    manifest = Manifest(
        run=RUN, live_prefix="", source="topic", live_partitions=2, partitions=2, bounds={}, artifact="a",
        begins={0: 2, 1: 0}, copied={0: 5, 1: 4},
    )  # fmt: skip
    save_manifest(folder, manifest)
    assert n_copied(tmp_path) == 7


class FakeDrill:
    """Notes the calls; its fault lasts 7 s."""

    def __init__(self, losing: int = 0) -> None:
        self.done: list[str] = []
        self.extra: dict[str, Any] = {}
        self.found: list[str] = []
        self.cluster = SimpleNamespace(stop=self._stop)
        self._losing = losing

    async def _stop(self) -> None:
        self.done.append("stop")

    def start_worker(self, name: str) -> None:
        self.done.append(name)

    @asynccontextmanager
    async def fault(self, name: str) -> AsyncIterator[Fault]:
        fault = Fault(name)
        yield fault
        self.done.append("healthy")
        fault.downtime_s = 7.0

    async def replay(self, *argv: str, may_end_with: int = 0) -> dict[str, Any]:
        self.done.append(" ".join(argv) + (f" [{may_end_with}]" if may_end_with else ""))
        is_carried_out = "--yes" in argv
        return {"windows": 3, "vectors": 2, "beyond": 4, "losing": self._losing} if is_carried_out else {}


def promoted(losing: int = 0) -> FakeDrill:
    """Return a drill that has promoted."""
    drill = FakeDrill(losing)
    asyncio.run(promote(drill, "r", drill.replay))  # type: ignore[arg-type]  # what it needs of a drill
    return drill


def test_a_promotion_is_done_as_a_user_is_told_to() -> None:
    """No worker runs from before the last copy until after the promotion."""
    drill = promoted()
    told = f"--promote r [{NEEDS_YES}]"
    assert drill.done == [
        "stop", "--into r --from-topic", told, "--promote r --yes", "sequencer", "recommender", "healthy",
    ]  # fmt: skip
    assert drill.extra == {"promotion_s": 7.0, "promoted_windows": 3, "promoted_vectors": 2, "promoted_beyond": 4}
    assert drill.found == []


def test_events_that_a_promotion_takes_out_of_windows_are_found() -> None:
    assert promoted(losing=2).found == ["promotion: the live windows of 2 users lose events"]


def test_the_load_is_at_rest_when_all_that_was_made_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the load continues at its rate, and does not catch up on the rest."""

    async def run() -> None:
        load = Load(KafkaSettings(), EventSource(9, ["a"], 1, Shares()), rate_per_s=1_000.0)
        sizes: list[int] = []
        in_flight: set[int] = set()

        async def publish(records: list[OutRecord]) -> None:
            in_flight.add(len(sizes))
            sizes.append(len(records))
            await asyncio.sleep(0.03)
            in_flight.discard(len(sizes) - 1)

        monkeypatch.setattr(load, "publish", publish)
        running = asyncio.create_task(load.run())
        while not in_flight:
            await asyncio.sleep(0.005)
        async with load.at_rest():
            assert not in_flight, "the chunk at hand is acknowledged"
            n_before = len(sizes)
            await asyncio.sleep(0.5)
            assert len(sizes) == n_before
        while len(sizes) < n_before + 2:
            await asyncio.sleep(0.005)
        load.stop()
        await running
        assert max(sizes[n_before:]) < 400, "half a second would be 500 events"

    asyncio.run(run())
