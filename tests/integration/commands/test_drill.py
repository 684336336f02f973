"""Short drills against a real broker.

They pass on headrace, and find the faults that a test makes on purpose.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from streams.contract.records import encode
from streams.kafka.publisher import Publisher
from streams.kafka.topic_reader import read_records
from tests.integration.commands.drills import GONE_S, SMALL, assert_all_well, assert_nothing_left, run_drill, topics
from tests.support import tiny
from tests.support.programs import HEADRACE
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.drills.kind import Kind
from tools.drills.kinds import kill as drill_kill
from tools.drills.session import Drill
from tools.main import INTERRUPTED, main

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.mark.long
def test_a_killed_worker_loses_nothing(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kill of a worker at any moment: all zeros, a downtime, and nothing left behind."""
    monkeypatch.setattr(drill_kill, "plan_faults", lambda _n, _rng: [("any", "sequencer")])
    outcome = run_drill(broker, capsys, monkeypatch, "kill")
    assert_all_well(outcome)
    report = outcome.report
    assert report["users"] == 100 and report["events"] == report["sent"] > 200
    assert report["restarts"] == 1 and report["ended_by_themselves"] == []
    assert 0.0 < report["downtime_s"]["max"] < 60.0, "the restart is at once; loading takes a while"
    assert_nothing_left(outcome)


async def overwrite(drill: Drill) -> None:
    """Write a user's first window over the newest, and forge another user's list.

    A zombie would write the first window.
    """
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


@pytest.mark.long
def test_a_window_written_over_and_a_forged_list_are_found(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill that cannot fail proves nothing."""
    monkeypatch.setattr(drill_kill, "KIND", Kind(overwrite))
    outcome = run_drill(broker, capsys, monkeypatch, "kill")
    shutil.rmtree(outcome.folder)  # a failed drill keeps its logs
    report = outcome.report
    assert outcome.code == 1
    assert (report["wrong_windows"], report["stale_windows"], report["wrong_lists"]) == (1, 1, 1)
    assert report["lost"] >= 1
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


@pytest.mark.long
def test_a_drill_that_is_told_to_end_cleans_up_even_where_ctrl_c_is_ignored(broker: BrokerInfo, tmp_path: Path) -> None:
    """SIGTERM ends a drill that a script started in the background.

    The shell lets such a process ignore Ctrl-C; a supervisor sends SIGTERM.
    """
    options = ("--broker", broker.bootstrap, "--artifact", str(tiny.artifact()), "--minutes", "10", *SMALL)
    drill = [*HEADRACE, "drill", "soak", *options]
    told = tmp_path / "told"
    with told.open("wb") as stderr:
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *drill], stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        wait_until(lambda: b"prefill" in told.read_bytes() or process.poll() is not None, 90.0, told.read_text)
        process.terminate()
        assert process.wait(60.0) == INTERRUPTED, told.read_text()
    finally:
        process.kill()
        process.wait()
    assert told.read_text().splitlines()[-1] == "headrace drill: interrupted"
    wait_until(lambda: not topics(broker.bootstrap, "drill-soak-"), GONE_S, lambda: "its topics are left")
