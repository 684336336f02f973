"""What headrace writes is for its user alone, whatever umask it was started with.

Each writer runs under umask 000.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.text.embedding_cache import EmbeddingCache
from streams.settings.file_trust import create_private
from streams.state.rocksdb_check import ORIGIN_SUFFIX, beside
from tests.support import tiny
from tests.support.permissions import careless_umask, open_to_others
from tests.support.waiting import wait_until
from tools.broker import state as broker_state
from tools.main import main
from tools.replay.checkpoint import Checkpoint
from tools.replay.rebuild.manifest import run_lock
from tools.workers.process import Worker
from tools.workers.processes import end_process
from tools.workers.worker_logs import new_log, rotate

ROOT = Path(__file__).parents[2]


def write_broker(folder: Path) -> None:
    """A broker's data directory: its record, log and lock, and the files that the broker makes."""
    data = broker_state.prepare_data_dir(folder / "new" / "broker")
    argv = [sys.executable, "-c", "open('made-by-the-broker', 'w'); import os; os.mkdir('folder')"]
    state = broker_state.spawn(data, "kafka", "1", 9092, argv, dict(os.environ))
    process = state.process
    assert process is not None
    wait_until(lambda: not process.is_alive(), 30, lambda: "still runs")
    assert (data / "folder").is_dir() and not end_process(process)


def write_logs(folder: Path) -> None:
    """A worker's log, and what is rotated out of it."""
    worker = Worker("sequencer", {}, 1, new_log(folder / "logs", "sequencer-0"))
    worker.command = lambda: [sys.executable, "-c", "print('x' * 100)"]  # type: ignore[method-assign]
    worker.start()
    wait_until(lambda: not worker.is_running, 30, lambda: "still runs")
    assert worker.returncode == 0
    assert rotate(worker.log_path, 10)


def write_stores(folder: Path) -> None:
    """A RocksDB store, what is noted beside it, and a cache of embeddings."""
    from rocksdict import Rdict

    store = Rdict(str(folder / "stores" / "0.db"))
    store[b"user"] = b"window"
    store.close()
    beside(folder / "stores" / "0.db", ORIGIN_SUFFIX).write_bytes(b"{}")
    EmbeddingCache(folder / "cache" / "deep", "v1", 2).put_many({"a": np.array([1, 2], dtype=np.float32)})


def write_runs(folder: Path) -> None:
    """How far a replay came, and a rebuild's lock."""
    Checkpoint("run", 1, 1).save(folder / "runs" / "run.json")
    with run_lock(folder / "runs" / "rebuild"):
        pass


@pytest.mark.parametrize("write", [write_broker, write_logs, write_stores, write_runs], ids=lambda f: f.__name__)
def test_a_writer_leaves_nothing_to_others(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """No folder that others can enter and no file that others can read remains.

    This holds for our writes and for those of a library.
    """
    with careless_umask():
        create_private()
        write(tmp_path)
    assert any(tmp_path.rglob("*"))
    assert open_to_others(tmp_path) == []


@pytest.mark.model
def test_training_and_evaluation_leave_nothing_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands set the mask for the artifact, the report, TensorBoard's files and the cache."""
    log, items = tiny.write_log(tmp_path / "log.csv", 12, 12), tiny.write_items(tmp_path / "items.csv")
    made = tmp_path / "made"
    made.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(made / "cache"))
    more = ["--items", str(items), "--encoder", "fake"]
    with careless_umask():
        assert main(["train", str(log), "--out", str(made / "a"), "--tensorboard", str(made / "b"), *more]) == 0
    with careless_umask():
        assert main(["evaluate", str(made / "a"), str(log), *more, "--report", str(made / "report")]) == 0
    assert {"a", "b", "report"} <= {path.name for path in made.iterdir()}
    assert open_to_others(made) == []


@pytest.mark.parametrize(
    "start",
    [
        "from tools.main import main; main(['acls', 'producer', '--principal', 'p', '--broker', 'b:1'])",
        "from streams.runtime.app import start_app; from streams.errors import SettingsError\n"
        "try:\n    start_app(lambda settings: 1)\nexcept SystemExit:\n    pass",
    ],
    ids=["command", "worker"],
)
def test_every_program_hides_what_it_creates_before_it_does_anything(tmp_path: Path, start: str) -> None:
    """Workers are started by service managers too, not only by ``headrace up``."""
    code = f"{start}\nimport os; print(oct(os.umask(0)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True, umask=0,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0o77"
