"""``headrace demo`` from nothing to lists, on a small log, as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tests.support.programs import HEADRACE
from tests.support.shared_run import best_engine
from tests.support.waiting import wait_until
from tools.broker.local_broker import broker_status
from tools.demo.report import NEXT_COMMANDS

pytestmark = [pytest.mark.kafka, pytest.mark.long]
LIMIT_S = 240.0
KEYS = {
    "events", "read", "accepted", "duplicate", "late", "rejected", "forgotten", "users", "users_with_list", "lists", "hr@10", "ndcg@10",
    "recent_popularity", "freshness_ms", "catch_up_ms", "live_events", "engine", "seconds",
}  # fmt: skip


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a folder of its own, in a process group of its own, as a terminal does."""
    log, items = tiny.write_log(folder / "log.csv"), tiny.write_items(folder / "items.csv")
    argv = ["demo", "--log", str(log), "--items", str(items), "--engine", best_engine(), "--encoder", "fake", "--json"]
    program = [*HEADRACE, *argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(LIMIT_S)


def test_demo_gives_every_user_a_list_and_accounts_for_every_event(tmp_path: Path) -> None:
    """The demo exits with 0, prints one JSON object and ends what it started.

    The object has the agreed keys, and its counts add up.
    """
    with demo(tmp_path) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert report.keys() >= KEYS
    n_events = tiny.N_USERS * tiny.N_EVENTS_EACH
    assert report["events"] == report["read"] == n_events - int(0.8 * n_events)
    assert sum(report[name] for name in ("accepted", "duplicate", "late", "rejected", "forgotten")) == report["read"]
    assert 0 < report["users"] == report["users_with_list"] <= report["lists"]
    assert 0 < report["lists_scored"] <= report["lists"]
    assert 0 <= report["ndcg@10"] <= report["hr@10"] <= 1
    for name in ("freshness_ms", "catch_up_ms"):
        assert 0 < report[name]["p50"] <= report[name]["p99"]
    assert 0 < report["live_events"] <= report["events"] // 2
    figures = [line for line in err.splitlines() if line.startswith("│")]
    assert figures[0].startswith("│ live: event to list"), "what a visitor came for is said first"
    assert err.rstrip().splitlines()[-4:] == ["with your own data:", *(f"  {command}" for command in NEXT_COMMANDS)]
    assert "last saw: Item number" in err and "because of Item number" in err, "lists with titles and reasons"
    assert "Traceback" not in err
    assert broker_status(tmp_path / ".headrace" / "broker") is None


def test_an_interrupted_demo_is_one_line_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C while both workers run: exit 130, and neither a worker nor the broker stays behind."""
    folder = tmp_path / ".headrace"
    with demo(tmp_path) as process:

        def has_workers() -> bool:
            assert process.poll() is None, process.communicate()[1]
            return any(path.stat().st_size for path in folder.glob("demo/*/recommender.log"))

        wait_until(has_workers, LIMIT_S, lambda: str(list(folder.glob("demo/*"))))
        assert broker_status(folder / "broker") is not None
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "headrace demo: interrupted" and "Traceback" not in err
    assert broker_status(folder / "broker") is None
    assert workers_of(tmp_path) == []


def workers_of(folder: Path) -> list[str]:
    """Return the process ids of Faust workers that a demo in this folder has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = b"faust" in (process / "cmdline").read_bytes()
            if is_worker and (process / "cwd").resolve() == folder.resolve():
                found.append(process.name)
        except OSError:  # the process has ended, or belongs to another user
            continue
    return found
