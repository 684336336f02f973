"""Short drills against a real broker: they pass on the product as it is, and see what is broken on purpose."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streams.publisher import Publisher
from streams.records import encode
from streams.settings import load_settings
from streams.topics import open_admin
from tests import tiny
from tools import drill_kill
from tools.drill_run import Drill
from tools.local_broker import BrokerInfo
from tools.main import main
from tools.topic_reader import read_records

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
SMALL = ["--users", "100", "--rate", "100", "--workers", "1"]


def run_drill(broker: BrokerInfo, capsys: pytest.CaptureFixture[str], kind: str, *options: str) -> tuple[int, Any]:
    """Run a drill; return its exit code and its report."""
    argv = ["drill", kind, "--broker", broker.bootstrap, "--artifact", str(tiny.artifact()), "--json"]
    code = main([*argv, *SMALL, *options])
    lines = capsys.readouterr().out.strip().splitlines()
    return code, json.loads(lines[-1])


def topics(broker: BrokerInfo) -> set[str]:
    """Return the names of the drills' topics that are on the broker."""

    async def read() -> set[str]:
        admin = await open_admin(load_settings({}, broker=broker.bootstrap).kafka)
        try:
            return {name for name in await admin.list_topics() if name.startswith("drill-")}
        finally:
            await admin.close()

    return asyncio.run(read())


def test_a_killed_worker_loses_nothing(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """One kill of a worker at any moment: all zeros, a downtime, and nothing left behind."""
    before = topics(broker)
    monkeypatch.setattr(drill_kill, "plan_faults", lambda _n, _rng: [("any", "sequencer")])
    code, report = run_drill(broker, capsys, "kill")
    assert code == 0 and report["problems"] == []
    names = (
        "lost",
        "wrong_windows",
        "stale_windows",
        "wrong_lists",
        "duplicate_lists",
        "rejected_missing",
        "rejected_extra",
        "rejected_wrong",
    )
    assert {name: report[name] for name in names} == dict.fromkeys(names, 0)
    assert report["users"] == 100 and report["events"] == report["sent"] > 200
    assert report["restarts"] == 1 and report["ended_by_themselves"] == []
    assert 0.0 < report["downtime_s"]["max"] < 60.0, "the restart is at once; loading takes a while"
    assert topics(broker) <= before


async def overwrite(drill: Drill) -> None:
    """Do what a zombie would: write a user's first window over the last. And forge another user's list."""
    kafka = drill.settings.kafka
    drill.load.stop()
    await drill.catch_up()
    first: dict[bytes, bytes] = {}
    last: dict[bytes, bytes] = {}
    async for record in read_records(kafka, kafka.topic("sequences")):
        if record.key and record.value:
            first.setdefault(record.key, record.value)
            last[record.key] = record.value
    changed = [key for key in first if first[key] != last[key]]
    key, made = next((k, m) for k, m in drill.observer.ledger.newest().items() if k != changed[0])
    made.revision, made.list_id, made.items = made.revision + 1, "forged", made.items[::-1]
    async with Publisher(kafka) as publisher:
        await publisher.publish(kafka.topic("sequences"), changed[0], first[changed[0]])
        await publisher.publish(kafka.topic("recommendations"), key, encode(made))


def test_a_window_written_over_and_a_forged_list_are_found(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """A drill that cannot fail would show nothing."""
    monkeypatch.setattr(drill_kill, "script", overwrite)
    code, report = run_drill(broker, capsys, "kill")
    assert code == 1
    assert (report["wrong_windows"], report["stale_windows"], report["wrong_lists"]) == (1, 1, 1) and report[
        "lost"
    ] >= 1
    assert report["problems"] == [
        f"lost {report['lost']}",
        "wrong_windows 1",
        "stale_windows 1",
        "wrong_lists 1",
        "duplicate_lists 1",
    ]


def test_a_drill_that_needs_its_own_broker_refuses_a_named_one(broker: BrokerInfo) -> None:
    """It would kill somebody's broker."""
    assert main(["drill", "broker-restart", "--broker", broker.bootstrap]) == 2
