"""The parts of the replay drill that need no broker: what it kills, what it reads of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_until
from tools.drill_replay import N_KILLS, RUN, adapt, kill_workers, n_copied, worker_pids
from tools.drill_run import Plan
from tools.rebuild_run import Manifest, save_manifest


@contextmanager
def sleeper(prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that looks like a sequencer of a prefix."""
    env = {**os.environ, "HEADRACE_TOPIC_PREFIX": prefix}
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "streams.sequencer"]
    with subprocess.Popen(argv, env=env, start_new_session=True) as process:
        try:
            wait_until(lambda: process.pid in worker_pids(prefix, "sequencer"), 10, lambda: "not seen")
            yield process
        finally:
            process.kill()


def test_only_workers_of_the_prefix_are_killed() -> None:
    mine, other = f"t{os.getpid()}-a.", f"t{os.getpid()}-b."
    with sleeper(mine) as one, sleeper(other) as two:
        assert kill_workers(mine, "recommender") == 0
        assert kill_workers(mine, "sequencer") == 1
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


def test_the_kills_are_of_the_rebuild() -> None:
    plan = adapt(Plan("replay", 10, 1.0, 10, 1.0, 1, 2, "memory"))
    assert (plan.kills, plan.n_workers) == (N_KILLS, 1)
