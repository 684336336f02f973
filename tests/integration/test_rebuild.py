"""Replay that proves itself, on a real broker: a run equals the live state, also after a kill; a promotion loses and repeats nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.lag import GroupWatch
from streams.latest import LatestLists
from streams.publisher import Publisher
from streams.records import Event, decode_window, encode
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from tests import tiny
from tests.builders import make_event
from tests.waiting import wait_until
from tools import rebuild_promote
from tools.compare import compare_windows
from tools.local_broker import BrokerInfo
from tools.main import main
from tools.oracle import windows_of
from tools.rebuild_compare import Held, compare_held, read_held
from tools.rebuild_copy import newest_values
from tools.rebuild_promote import committed_offsets
from tools.rebuild_run import group_of, load_manifest, run_settings, save_manifest
from tools.rebuild_workers import READS, backlog, wait_until_idle
from tools.topic_reader import read_records
from tools.workers import Worker, free_port

pytestmark = pytest.mark.kafka
WAIT_S = 90.0
MAX_EVENTS, WIDER = 5, 8


@dataclass
class Live:
    """A deployment with the tiny log behind it; its workers run only inside :meth:`running`."""

    settings: Settings
    folder: Path
    window_max_events: int = MAX_EVENTS

    @property
    def env(self) -> dict[str, str]:
        """The environment of workers and commands."""
        return {
            "HEADRACE_BROKER": self.settings.kafka.broker,
            "HEADRACE_TOPIC_PREFIX": self.settings.kafka.topic_prefix,
            "HEADRACE_ARTIFACT": str(tiny.artifact()),
            "HEADRACE_ENCODER_CACHE_DIR": str(self.folder / "texts"),
            "HEADRACE_WINDOW_MAX_EVENTS": str(self.window_max_events),
            "HEADRACE_LIVE_POPULARITY": "off",
            "HEADRACE_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run both live workers, ready."""
        with ExitStack() as stack:
            workers = [
                stack.enter_context(Worker(app, self.env, free_port(), self.folder / f"{app}.log")) for app, _ in READS
            ]
            for worker in workers:
                worker.wait_ready(WAIT_S)
            yield

    def settle(self) -> None:
        """Wait until every event is sequenced and every window has its list."""
        wait_until(lambda: not any(left(self.settings)), WAIT_S, lambda: str(left(self.settings)))

    def command(self, *argv: str) -> list[str]:
        """Return the arguments of ``headrace replay`` here."""
        return ["replay", *argv, "--state-dir", str(self.folder / "runs"), "--json"]

    def replay(self, *argv: str, **variables: str) -> int:
        """Run ``headrace replay``; return its exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (self.env | variables).items():
                patch.setenv(name, value)
            return main(self.command(*argv))

    def publish(self, events: Iterable[Event]) -> None:
        """Publish live events."""

        async def run() -> None:
            async with Publisher(self.settings.kafka) as publisher:
                for event in events:
                    await publisher.publish(self.settings.kafka.topic("events"), event.user_id.encode(), encode(event))

        asyncio.run(run())


def left(settings: Settings) -> list[int]:
    """Return what both groups have not committed."""

    async def run() -> list[int]:
        watches = [GroupWatch(settings.kafka, group_of(settings.kafka, app)) for app, _ in READS]
        try:
            return await backlog(settings.kafka, watches)
        finally:
            for watch in watches:
                await watch.stop()

    return asyncio.run(run())


def held(settings: Settings) -> Held:
    """Return the newest windows and lists."""
    return asyncio.run(read_held(settings.kafka))


def records(settings: Settings, topic: str) -> list[Any]:
    """Return all records of a topic of the contract."""

    async def run() -> list[Any]:
        return [record async for record in read_records(settings.kafka, settings.kafka.topic(topic))]

    return asyncio.run(run())


def last_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the JSON object on the last line of standard output."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(scope="module")
def live(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Give a deployment that has worked off the tiny log."""
    folder = tmp_path_factory.mktemp("rebuild")
    settings = load_settings({}, broker=broker.bootstrap, topic_prefix=f"t{os.getpid()}-{free_port()}-")
    asyncio.run(create_topics(settings.kafka))
    deployment = Live(settings, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        items = tiny.write_items(folder / "items.csv")
        assert main(["items", "put", str(items), "--broker", settings.kafka.broker]) == 0
    with deployment.running():
        assert deployment.replay(str(tiny.write_log(folder / "log.csv")), "--run", "log") == 0
        deployment.settle()
    asyncio.run(wait_until_idle(settings.kafka))
    yield deployment


def start_and_kill(live: Live, run: str) -> None:
    """Begin a run and kill its command, workers and all, once its workers are at work."""
    command = [sys.executable, "-m", "tools.main", *live.command("--into", run, "--from-topic")]
    process = subprocess.Popen(command, env={**os.environ, **live.env}, stdout=subprocess.DEVNULL)
    try:
        folder = live.folder / "runs" / run
        wait_until(
            lambda: (folder / "logs" / "recommender.log").exists() and (folder / "manifest.json").exists(),
            WAIT_S,
            lambda: f"no workers; exit code {process.poll()}",
        )
        assert live.replay("--into", run, "--from-topic") == 1, "two commands on one run"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_run_equals_the_live_state_also_after_a_kill(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed, resumed, and copied twice on top: windows and lists are the live ones, records are the live bytes."""
    start_and_kill(live, "again")
    capsys.readouterr()
    assert live.replay("--into", "again", "--from-topic") == 0
    n_events = tiny.N_USERS * tiny.N_EVENTS_EACH
    assert last_json(capsys)["events"] >= n_events
    into = run_settings(live.settings, "again", live.settings.kafka.partitions)
    if load_manifest(live.folder / "runs" / "again").has_live_offsets:
        for ours, theirs in zip(
            sorted(records(into, "events"), key=lambda r: (r.partition, r.offset)),
            sorted(records(live.settings, "events"), key=lambda r: (r.partition, r.offset)),
            strict=True,
        ):
            assert (ours.partition, ours.offset, ours.key, ours.value, ours.timestamp) == (
                theirs.partition, theirs.offset, theirs.key, theirs.value, theirs.timestamp,
            )  # fmt: skip
    assert live.replay("--compare", "again") == 0
    found = last_json(capsys)
    assert (found["equal"], found["users"]) == (True, tiny.N_USERS)

    folder = live.folder / "runs" / "again"
    manifest = load_manifest(folder)
    manifest.copied = dict(manifest.begins)  # as a kill leaves it that came before the first checkpoint
    save_manifest(folder, manifest)
    assert live.replay("--into", "again", "--from-topic") == 0
    assert last_json(capsys)["repeated"] >= n_events
    assert live.replay("--compare", "again") == 0
    assert last_json(capsys)["equal"]


def test_a_log_goes_into_a_run_and_equals_what_a_plain_replay_gave(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log's rows carry the run and ids that the plain replay gave them."""
    assert live.replay(str(live.folder / "log.csv"), "--run", "log", "--into", "log2") == 0
    into = run_settings(live.settings, "log2", live.settings.kafka.partitions)
    assert compare_held(held(into), held(live.settings), with_offsets=False, with_revisions=True).is_equal
    capsys.readouterr()
    assert live.replay("--compare", "log2") in (0, 1)
    assert any("made from a log" in note for note in last_json(capsys)["notes"])


def test_another_partition_count_is_copied_and_says_what_to_switch(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    """The windows are equal but for offsets; an event that the run lacks keeps it from being promoted."""
    assert live.replay("--into", "three", "--from-topic", "--partitions", "3") == 0
    capsys.readouterr()
    assert live.replay("--compare", "three") == 0
    assert live.replay("--promote", "three") == 0
    switch = last_json(capsys)["switch"]
    assert switch == {
        "HEADRACE_TOPIC_PREFIX": f"{live.settings.kafka.topic_prefix}three.",
        "HEADRACE_PARTITIONS": "3",
    }
    folder = live.folder / "runs" / "three"
    manifest = load_manifest(folder)
    manifest.copied[0] -= 1
    manifest.state = "caught-up"
    save_manifest(folder, manifest)
    assert live.replay("--promote", "three") == 1
    assert "1 live events are not in the run" in capsys.readouterr().err


def test_a_promotion_changes_bounds_and_loses_and_repeats_nothing(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wider windows, events that came meanwhile, a user whom the run lacks: all as the events say, and consumers take each new list."""
    kafka = live.settings.kafka
    until = ("--to-ts", str(int(time.time() * 1000) + 1))
    time.sleep(0.01)
    assert live.replay("--into", "wider", "--from-topic", *until, HEADRACE_WINDOW_MAX_EVENTS=str(WIDER)) == 0
    capsys.readouterr()
    assert live.replay("--compare", "wider") == 1
    assert any(f"max_events is {MAX_EVENTS} here, {WIDER} in the run" in note for note in last_json(capsys)["notes"])

    last_ts = max(decode_window(value).newest_ts for value in held(live.settings).windows.values())
    with live.running():  # live goes on after the copy: a ghost whom the run lacks, and more of u1
        live.publish(make_event(f"g{i}", last_ts + i, user_id="ghost", item_id="i1") for i in range(3))
        live.publish([make_event("new-1", last_ts + 10, user_id="u1", item_id="i2")])
        live.settle()
        capsys.readouterr()
        assert live.replay("--promote", "wider", "--yes") == 1, "live workers run"
        assert "stop them" in capsys.readouterr().err
    asyncio.run(wait_until_idle(kafka))
    live.publish([make_event("new-2", last_ts + 20, user_id="u2", item_id="i3")])  # while nobody sequences
    before = held(live.settings)
    latest = LatestLists()
    for made in before.lists.values():
        latest.accept(made)

    manifest = load_manifest(live.folder / "runs" / "wider")
    save_manifest(live.folder / "runs" / "wider", msgspec.structs.replace(manifest, to_ts=None))
    capsys.readouterr()
    assert live.replay("--promote", "wider", "--yes") == 1, (
        "without an end, the run must have what the live windows have"
    )
    assert "has read 4 events that the run has not" in capsys.readouterr().err
    save_manifest(live.folder / "runs" / "wider", manifest)
    assert live.replay("--promote", "wider") == 2, "needs --yes"
    told = capsys.readouterr().err
    assert "2 users have events in their live window" in told and "reads 5 events" in told
    assert held(live.settings).windows == before.windows
    copied = load_manifest(live.folder / "runs" / "wider").copied
    for step in ("rewind", "windows", "vectors"):
        promote_until(live, "wider", step)
        committed = asyncio.run(committed_offsets(kafka, group_of(kafka, "sequencer"), kafka.topic("events")))
        assert all(committed[p] <= copied[p] for p in copied), "workers that start now read all that the windows lack"
    assert live.replay("--promote", "wider", "--yes") == 0
    assert load_manifest(live.folder / "runs" / "wider").promotions == 1
    capsys.readouterr()
    after = replace(live, window_max_events=WIDER)
    with after.running():
        live.settle()
    asyncio.run(wait_until_idle(kafka))

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

    assert after.replay("--into", "whole", "--from-topic") == 0
    assert after.replay("--compare", "whole") == 0, "all but the revisions is equal again"


def promote_until(live: Live, run: str, last_step: str) -> None:
    """Promote, and end as a crash would right after a step."""

    def on_step(step: str) -> None:
        if step == last_step:
            raise ConnectionAbortedError(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuild_promote, "_step_saver", lambda _manifest, _folder: on_step)
        with pytest.raises(ConnectionAbortedError):
            live.replay("--promote", run, "--yes")
    assert load_manifest(live.folder / "runs" / run).state == "promoting"


def without_revisions(windows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return windows with all revisions 0."""
    found = {key: decode_window(value) for key, value in windows.items()}
    for state in found.values():
        state.revision = 0
    return {key: encode(state) for key, state in found.items()}
