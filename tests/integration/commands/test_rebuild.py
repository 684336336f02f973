"""A replay that proves itself, on a real broker.

A run equals the live state, also after a kill. A promotion loses nothing and repeats nothing.

The tests look at one deployment in the order of the file; the last one promotes a run onto it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from streams.contract.kafka_records import OutRecord
from streams.contract.newest_lists import LatestLists
from streams.contract.windows import decode_window
from streams.errors import FencedError
from streams.kafka.batch_writer import delivered
from streams.kafka.fenced_writers import PartitionWriters
from streams.kafka.group_watch import committed_offsets
from streams.kafka.topic_reader import newest_values
from streams.kafka.topics import create_topics
from streams.settings.load import load_settings
from tests.integration.commands.rebuild_runs import (
    MAX_EVENTS,
    WAIT_S,
    Live,
    held,
    last_json,
    promote_until,
    records,
    without_revisions,
)
from tests.support import tiny
from tests.support.builders import make_event
from tests.support.oracle import windows_of
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.main import main
from tools.oracle.compare import compare_windows
from tools.replay.rebuild.compare_runs import compare_held
from tools.replay.rebuild.copy_topics import event_range
from tools.replay.rebuild.manifest import run_settings
from tools.workers.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.long]
WIDER = 8
N_EVENTS = tiny.N_USERS * tiny.N_EVENTS_EACH


@pytest.fixture(scope="module")
def live(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Give a deployment that has worked off the tiny log, and runs."""
    folder = tmp_path_factory.mktemp("rebuild")
    settings = load_settings({}, broker=broker.bootstrap, topic_prefix=f"t{os.getpid()}-{free_port()}-")
    asyncio.run(create_topics(settings.kafka))
    deployment = Live(settings, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        items = tiny.write_items(folder / "items.csv")
        assert main(["items", "put", str(items), "--broker", settings.kafka.broker]) == 0
    try:
        deployment.start()
        assert deployment.replay(str(tiny.write_log(folder / "log.csv")), "--run", "log") == 0
        deployment.settle()
        yield deployment
    finally:
        deployment.kill_commands()
        deployment.stop()


@pytest.fixture(scope="module")
def runs(live: Live) -> int:
    """Make three runs side by side; give the end of the range of ``wider``, in ms."""
    until_ms = int(time.time() * 1000) + 1
    time.sleep(0.01)
    wider = {"HEADRACE_WINDOW_MAX_EVENTS": str(WIDER)}
    commands = [
        live.begin("--into", "again", "--from-topic"),
        live.begin(str(live.folder / "log.csv"), "--run", "log", "--into", "log2"),
        live.begin("--into", "wider", "--from-topic", "--to-ts", str(until_ms), **wider),
    ]
    assert [command.wait(2 * WAIT_S) for command in commands] == [0, 0, 0]
    return until_ms


def test_a_run_has_the_live_bytes_and_makes_the_live_state(
    live: Live, runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run has the live records, each in its place.

    So its windows and lists are the live ones too, with offsets and revisions.
    """
    assert live.manifest("again").has_live_offsets
    into = run_settings(live.settings, "again", live.settings.kafka.partitions)
    copied, origin = (
        sorted(records(s, "events"), key=lambda r: (r.partition, r.offset)) for s in (into, live.settings)
    )
    assert len(copied) >= N_EVENTS
    for ours, theirs in zip(copied, origin, strict=True):
        assert (ours.partition, ours.offset, ours.key, ours.value, ours.timestamp) == (
            theirs.partition, theirs.offset, theirs.key, theirs.value, theirs.timestamp,
        )  # fmt: skip
    capsys.readouterr()
    assert live.replay("--compare", "again") == 0
    found = last_json(capsys)
    assert (found["equal"], found["users"], found["notes"]) == (True, tiny.N_USERS, [])


def test_a_log_goes_into_a_run_and_equals_what_a_plain_replay_gave(
    live: Live, runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log's rows carry the run and ids that the plain replay gave them."""
    into = run_settings(live.settings, "log2", live.settings.kafka.partitions)
    assert compare_held(held(into), held(live.settings), with_offsets=False, with_revisions=True).is_equal
    capsys.readouterr()
    assert live.replay("--compare", "log2") in (0, 1)
    assert any("made from a log" in note for note in last_json(capsys)["notes"])


def kill_in_mid_work(live: Live, run: str, *argv: str) -> None:
    """Begin a run and kill its command with all workers.

    The kill comes when all events are copied and some lists are missing.
    """
    into = run_settings(live.settings, run, 3)
    process = live.begin("--into", run, *argv)
    try:
        manifest = live.folder / "runs" / run / "manifest.json"
        wait_until(manifest.exists, WAIT_S, lambda: f"no run; exit code {process.poll()}")
        assert live.replay("--into", run, *argv) == 1, "two commands on one run"
        wait_until(lambda: bool(live.manifest(run).begins), WAIT_S, lambda: f"no copy; exit code {process.poll()}")

        def n_copied() -> int:
            return sum(asyncio.run(event_range(into.kafka, None, None))[1].values())

        wait_until(lambda: n_copied() >= N_EVENTS, WAIT_S, lambda: f"{n_copied()} events copied")
    finally:
        process.send_signal(signal.SIGKILL)
        code = process.wait()
    assert code == -signal.SIGKILL, "it had ended by itself"


def test_a_killed_run_with_other_partitions_makes_the_live_state_and_says_what_to_switch(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed, resumed and copied twice equals the live state but for offsets.

    An event that the run lacks keeps it from being promoted.
    """
    three = ("--from-topic", "--partitions", "3")
    kill_in_mid_work(live, "three", *three)
    manifest = live.manifest("three")
    # as a kill leaves it that came before the first checkpoint
    manifest.copied = dict(manifest.begins)
    live.save("three", manifest)
    capsys.readouterr()
    assert live.replay("--into", "three", *three) == 0
    assert last_json(capsys)["repeated"] >= N_EVENTS
    assert live.replay("--compare", "three") == 0
    found = last_json(capsys)
    assert (found["equal"], found["users"]) == (True, tiny.N_USERS)
    assert not any("revisions" in note for note in found["notes"]), "revisions are compared too"

    assert live.replay("--promote", "three") == 0
    assert last_json(capsys)["switch"] == {
        "HEADRACE_TOPIC_PREFIX": f"{live.settings.kafka.topic_prefix}three.",
        "HEADRACE_PARTITIONS": "3",
    }
    manifest = live.manifest("three")
    manifest.copied[0] -= 1
    manifest.state = "caught-up"
    live.save("three", manifest)
    assert live.replay("--promote", "three") == 1
    assert "1 live events are not in the run" in capsys.readouterr().err


def test_a_promotion_changes_bounds_and_loses_and_repeats_nothing(
    live: Live, runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wider windows are promoted, with newer events and a user whom the run lacks.

    The windows are as the events say, and consumers take each new list.
    """
    kafka = live.settings.kafka
    assert live.replay("--compare", "wider") == 1
    assert any(f"max_events is {MAX_EVENTS} here, {WIDER} in the run" in note for note in last_json(capsys)["notes"])

    # Live goes on after the copy: a ghost whom the run lacks, and more of u1.
    last_ts = max(decode_window(value).newest_ts for value in held(live.settings).windows.values())
    live.publish(make_event(f"g{i}", last_ts + i, user_id="ghost", item_id="i1") for i in range(3))
    live.publish([make_event("new-1", last_ts + 10, user_id="u1", item_id="i2")])
    live.settle()
    capsys.readouterr()
    assert live.replay("--promote", "wider", "--yes") == 1, "live workers run"
    assert "stop them" in capsys.readouterr().err
    live.stop()
    zombie, writers = asyncio.Runner(), PartitionWriters(kafka, kafka.group("sequencer"), kafka.topic("sequences"))
    zombie.run(writers.own({0}))  # a worker that seems to be dead, and has its partition yet
    # while nobody sequences
    live.publish([make_event("new-2", last_ts + 20, user_id="u2", item_id="i3")])
    before = held(live.settings)
    latest = LatestLists()
    for made in before.lists.values():
        latest.accept(made)

    manifest = live.manifest("wider")
    assert manifest.to_ts == runs
    live.save("wider", msgspec.structs.replace(manifest, to_ts=None))
    capsys.readouterr()
    assert live.replay("--promote", "wider", "--yes") == 1, (
        "without an end, the run must have what the live windows have"
    )
    assert "has read 4 events that the run has not" in capsys.readouterr().err
    live.save("wider", manifest)
    assert live.replay("--promote", "wider") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["promoted"], told["losing"], told["beyond"]) == (False, 2, 5)
    assert held(live.settings).windows == before.windows
    copied = live.manifest("wider").copied
    for step in ("rewind", "windows", "vectors"):
        promote_until(live, "wider", step)
        committed = asyncio.run(committed_offsets(kafka, kafka.group("sequencer"), kafka.topic("events")))
        assert all(committed[p] <= copied[p] for p in copied), "workers that start now read all that the windows lack"
    assert live.replay("--promote", "wider", "--yes") == 0
    assert live.manifest("wider").promotions == 1

    async def write_old() -> None:
        await delivered(await writers.send(kafka.topic("sequences"), 0, [OutRecord(b"u1", b"old")]))

    with zombie:
        with pytest.raises(FencedError):
            zombie.run(write_old())
        zombie.run(writers.stop())

    live.window_max_events = WIDER
    whole = live.begin("--into", "whole", "--from-topic")
    live.start()
    live.settle()
    live.stop()
    bounds = replace(live.settings.sequencer.bounds(), max_events=WIDER)
    truth = windows_of(records(live.settings, "events"), bounds, max_future_skew_ms=300_000)
    now = held(live.settings)
    assert compare_windows(without_revisions(now.windows), without_revisions(truth.windows)) == []
    for key, value in now.windows.items():
        revision, old = decode_window(value).revision, decode_window(before.windows[key]).revision
        assert revision > old, "every window became wider or emptier"
        assert now.lists[key].revision == revision
        assert latest.accept(now.lists[key]), "a consumer takes the list of the promoted window"
    vectors = asyncio.run(newest_values(kafka, "user-vectors"))
    assert vectors.keys() == now.windows.keys()

    assert whole.wait(2 * WAIT_S) == 0
    assert live.replay("--compare", "whole") == 0, "all but the revisions is equal again"
