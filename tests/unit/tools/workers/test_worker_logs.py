"""Logs of ``headrace up``: one for each run, bounded in size and number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.workers.worker_logs import KEPT_RUNS, new_log, rotate


def ended_pid() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_old_runs_go_but_never_one_that_still_runs(tmp_path: Path) -> None:
    """Without a limit each run would leave a file for each worker."""
    pid = ended_pid()
    old = [tmp_path / f"sequencer-0.20260101T00000{i}-{pid}.log" for i in range(8)]
    running = tmp_path / f"sequencer-0.20250101T000000-{os.getppid()}.log"
    other = tmp_path / f"sequencer-1.20250101T000000-{pid}.log"
    for path in [*old, running, other, Path(f"{old[0]}.1")]:
        path.write_text("x")
    new = new_log(tmp_path, "sequencer-0")
    new.write_text("x")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted(path.name for path in [*old[-(KEPT_RUNS - 1) :], running, other, new])


def test_a_log_is_moved_when_it_has_grown_and_its_writer_goes_on(tmp_path: Path) -> None:
    """The writer keeps the file open; nothing that it wrote before is lost."""
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as log:
        log.write(b"first\n" * 10)
        assert not rotate(path, 60)
        assert rotate(path, 59)
        log.write(b"second\n")
    assert path.read_bytes() == b"second\n", "no hole where the first part was"
    assert Path(f"{path}.1").read_bytes() == b"first\n" * 10


def test_a_log_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    assert not rotate(tmp_path / "none.log")


def test_runs_of_one_folder_have_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ``up`` that start in the same second must not quote each other's lines."""
    first = new_log(tmp_path, "sequencer-0")
    monkeypatch.setattr(os, "getpid", lambda: 999_999_999)
    assert new_log(tmp_path, "sequencer-0") != first
