"""A whole deployment under umask 000 is closed to other users of the machine.

No other user can read or write what the deployment writes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tests.support.permissions import open_to_others
from tests.support.programs import HEADRACE
from tests.support.shared_run import best_engine
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.long]
LIMIT_S = 240.0


class Deployment:
    """Commands that run in one folder with the umask that hides nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "HEADRACE_ENCODER_CACHE_DIR": str(folder / "made" / "cache"),
            "HEADRACE_SEQUENCE_STORE": "rocksdb",
        }
        self.how: dict[str, Any] = {"cwd": folder / "made", "env": self.env, "text": True, "umask": 0}

    def finish(self, *argv: str) -> str:
        """Run a command to its end; it must exit 0."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [*HEADRACE, *argv], capture_output=True, check=False, timeout=LIMIT_S, **self.how
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"
        return done.stdout

    def up(self, *argv: str) -> subprocess.Popen[str]:
        """Start ``headrace up`` and wait until both workers run."""
        told = self.folder / "up.txt"
        with told.open("w") as out:
            process = subprocess.Popen([*HEADRACE, "up", *argv], stdout=out, stderr=out, **self.how)
        wait_until(
            lambda: "running; Ctrl-C stops" in told.read_text() or process.poll() is not None, LIMIT_S, told.read_text
        )
        assert process.poll() is None, told.read_text()
        return process


@pytest.mark.timeout(400)
def test_nothing_that_a_deployment_writes_is_open_to_others(tmp_path: Path) -> None:
    """Broker, artifact, stores, logs, a replay's state and a report belong to one user alone."""
    log, items = tiny.write_log(tmp_path / "log.csv", 12, 12), tiny.write_items(tmp_path / "items.csv")
    made = tmp_path / "made"
    made.mkdir(mode=0o700)
    run = Deployment(tmp_path)
    more = ["--items", str(items), "--encoder", "fake"]
    run.finish("train", str(log), "--out", "artifact", *more)
    started = json.loads(run.finish("broker", "start", "--engine", best_engine(), "--port", "0", "--json"))
    try:
        run.env["HEADRACE_BROKER"] = started["bootstrap"]
        live = run.up("--artifact", "artifact")
        try:
            run.finish("replay", str(log))
            run.finish("evaluate", "artifact", str(log), *more, "--report", "report")
        finally:
            live.send_signal(signal.SIGINT)
            live.wait(60)
        written = {str(path.relative_to(made)) for path in made.rglob("*")}
        opened = open_to_others(made)
    finally:
        run.finish("broker", "stop")
    assert opened == []
    assert {
        "artifact",
        "report",
        ".headrace/broker/broker.json",
        ".headrace/broker/broker.log",
        ".headrace/logs",
    } <= written
    for kind in (".headrace/sequencer-0/", ".headrace/recommender-0", ".headrace/runs/", ".headrace/logs/", "report/"):
        assert any(path.startswith(kind) for path in written), f"{kind} was not written, so nothing is shown of it"
    assert any(path.endswith((".sst", "CURRENT")) for path in written), "RocksDB has written"
