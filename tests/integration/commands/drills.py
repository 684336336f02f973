"""Runs a small drill as a person would, and checks its report and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.topics import open_admin
from streams.settings.load import load_settings
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.broker.state import port_taken
from tools.drills import conduct
from tools.drills import run as drill_run
from tools.drills.kind import Kind
from tools.drills.kinds.replay import worker_pids
from tools.drills.session import Drill
from tools.main import main
from tools.workers.apps import APPS, ENDINGS

SMALL = ("--users", "100", "--rate", "100", "--workers", "1")
#: What every drill must report as zero, whatever it breaks.
ZEROS = (
    "lost",
    "wrong_windows",
    "stale_windows",
    "wrong_lists",
    "duplicate_lists",
    "rejected_missing",
    "rejected_extra",
    "rejected_wrong",
    "n_unread",
)

GONE_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """The result of a drill: its exit code, its report, and the drill itself, which has ended."""

    code: int
    report: dict[str, Any]
    drill: Drill

    @property
    def folder(self) -> Path:
        """Return the folder of its logs and its workers' data."""
        return self.drill.folder


def run_drill(
    broker: BrokerInfo | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    *options: str,
) -> Outcome:
    """Run a drill with few users on a broker, or on a broker of its own for None."""
    seen: list[Drill] = []

    async def noted(which: Kind, drill: Drill) -> dict[str, Any]:
        seen.append(drill)
        return await drill_run.run_drill(which, drill)

    monkeypatch.setattr(conduct, "run_drill", noted)
    monkeypatch.setattr(drill_run, "AFTER_LAST_FAULT_S", 0.5)
    named = ["--broker", broker.bootstrap] if broker is not None else []
    code = main(["drill", kind, *named, "--artifact", str(tiny.artifact()), "--json", *SMALL, *options])
    said = capsys.readouterr()
    lines = said.out.strip().splitlines()
    assert seen and lines, f"no report, exit code {code}: {said.err}"
    return Outcome(code, json.loads(lines[-1]), seen[-1])


def assert_all_well(outcome: Outcome) -> None:
    """Check the exit code, the zeros, the numbers of events, and a list for every user."""
    report = outcome.report
    assert report["problems"] == [] and outcome.code == 0, f"exit code {outcome.code}: {report['problems']}"
    assert not any(report[name] for name in ZEROS), {name: report[name] for name in ZEROS}
    assert report["lists"] >= report["users"] >= outcome.drill.plan.n_users, "a list for every user"
    assert report["events"] >= report["sent"] > report["users"], "repeats after an outage are not counted as sent"
    assert sum(report[name] for name in ENDINGS) == report["events"], "every event ends in one of five ways"


def assert_nothing_left(outcome: Outcome) -> None:
    """Check that a drill left no worker, no folder, no topic, and no broker of its own."""
    prefix = outcome.drill.settings.kafka.topic_prefix
    left = [pid for app in APPS for pid in worker_pids(prefix, app.module)]
    assert not left, f"workers still run: {left}"
    assert not outcome.folder.exists(), f"left: {outcome.folder}"
    if outcome.drill.plan.needs.own_broker:
        assert not port_taken(int(outcome.drill.broker.bootstrap.rpartition(":")[2])), "its broker still runs"
        return
    # the broker lists a deleted topic for a moment longer
    broker = outcome.drill.settings.kafka.broker
    wait_until(lambda: not topics(broker, prefix), GONE_S, lambda: f"left on the broker: {topics(broker, prefix)}")


def topics(broker: str, prefix: str) -> set[str]:
    """Return the names of the topics of a prefix, runs of a rebuild included."""

    async def read() -> set[str]:
        admin = await open_admin(load_settings({}, broker=broker).kafka)
        try:
            return {name for name in await admin.list_topics() if name.startswith(prefix)}
        finally:
            await admin.close()

    return asyncio.run(read())
