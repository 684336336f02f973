"""A stuck worker ends itself, a stopped worker drains and commits, damaged stores are rebuilt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.errors import KafkaError

from streams.errors import HeadraceError
from streams.health.process_guard import EXIT_FORCED
from streams.kafka.group_watch import GroupWatch, PartitionOffsets
from streams.kafka.topics import create_topics
from streams.settings.load import Settings, load_settings
from tests.integration.delivery.test_sequencer import (
    WAIT_S,
    as_record,
    assert_same_windows,
    events_of,
    expected_windows,
    newest_windows,
    publish,
    sequencer,
    wait_read,
)
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker, WorkerError, opener

#: A Kafka broker hears from its controller every two seconds.
STEADY_S: Final = 4.0

pytestmark = pytest.mark.kafka


class StuckWorker(Worker):
    """A sequencer whose agent stands still."""

    def command(self) -> list[str]:
        return [part.replace("streams.sequencer", "tests.support.stuck_worker") for part in super().command()]


def variables(settings: Settings, folder: Path, **more: str) -> dict[str, str]:
    return {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(folder / "data"),
        **more,
    }


def ask(settings: Settings, question: Callable[[GroupWatch], Awaitable[Any]]) -> Any:
    """Ask the broker about the sequencer's group."""

    async def run() -> Any:
        watch = GroupWatch(settings.kafka, settings.kafka.group("sequencer"))
        try:
            return await question(watch)
        finally:
            await watch.stop()

    return asyncio.run(run())


def offsets_of_events(settings: Settings) -> dict[int, PartitionOffsets]:
    """Return the end of each partition of the events, and the committed offset.

    The sequencer's group has committed it.
    """
    topic, partitions = settings.kafka.topic("events"), range(settings.kafka.partitions)
    found: dict[int, PartitionOffsets] = ask(settings, lambda watch: watch.offsets(topic, partitions))
    return found


def uncommitted(settings: Settings) -> int:
    """Return how many events the sequencer's group has not committed."""
    return sum(at.end - at.committed for at in offsets_of_events(settings).values())


@pytest.mark.parametrize(
    ("how", "told"), [("agent", "committed 0 stands still"), ("loop", "event loop has been blocked")]
)
def test_a_worker_that_stands_still_ends_itself(settings: Settings, tmp_path: Path, how: str, told: str) -> None:
    publish(settings, map(as_record, events_of(2_000, 50)))
    more = {"HEADRACE_STALL_TIMEOUT_S": "5", "HEADRACE_STOP_TIMEOUT_S": "2", "STUCK": how}
    worker = StuckWorker("sequencer", variables(settings, tmp_path, **more), free_port(), tmp_path / "worker.log")
    with worker:
        started = time.monotonic()
        wait_until(lambda: not worker.is_running, WAIT_S, worker.log_tail)
        assert time.monotonic() - started > 5, "not before the stall timeout"
        assert worker.returncode not in (0, None)
    assert told in worker.log_path.read_text()


def test_health_answers_503_until_the_state_is_there(settings: Settings, tmp_path: Path) -> None:
    """The page is up before recovery is done."""
    publish(settings, map(as_record, events_of(1_000, 50)))
    seen: list[tuple[int, str]] = []
    env = variables(settings, tmp_path)
    with Worker("sequencer", env, free_port(), tmp_path / "sequencer.log") as worker:

        def is_ready() -> bool:
            with contextlib.suppress(OSError):
                answer = ask_page(worker, "/health")
                if answer not in seen:
                    seen.append(answer)
            return (200, "") in seen

        wait_until(is_ready, WAIT_S, lambda: f"{seen} {worker.log_tail()}")
    assert seen[0] in {(503, "recovering"), (503, "rebalancing")}
    assert seen[-1] == (200, "")


def ask_page(worker: Worker, page: str) -> tuple[int, str]:
    """Return a page's status and its reason; unlike urllib, a 503 is an answer here."""
    try:
        with opener.open(f"http://127.0.0.1:{worker.web_port}{page}", timeout=2) as response:
            return response.status, json.load(response)["why"]
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)["why"]


def test_sigterm_under_load_drains_commits_and_leaves_the_group(settings: Settings, tmp_path: Path) -> None:
    """The worker commits all it delivered, and leaves the group at once.

    So no event is read again.
    """
    publish(settings, map(as_record, events_of(60_000, 300)))
    with sequencer(settings, tmp_path, HEADRACE_BATCH_MAX_RECORDS="200") as worker:
        n_read = wait_read(worker, 2_000)["read"]
        started = time.monotonic()
        assert worker.stop() == 0
        seconds = time.monotonic() - started
    group = ask(settings, GroupWatch.describe)
    assert time.monotonic() - started < settings.kafka.session_timeout_ms / 1000 + seconds
    assert group is None or group.members == ()
    offsets = offsets_of_events(settings)
    n_committed = sum(at.committed for at in offsets.values())
    assert n_read <= n_committed < sum(at.end for at in offsets.values())
    assert seconds < settings.health.stop_timeout_s
    with sequencer(settings, tmp_path) as worker:
        wait_until(lambda: worker.counts()["delivered_offsets"] != {}, WAIT_S, worker.log_tail)
        wait_read(worker, sum(at.end for at in offsets.values()) - n_committed)
        counts = worker.counts()["total"]
    assert counts["read"] == sum(at.end for at in offsets.values()) - n_committed
    assert counts["duplicate"] <= 6_000  # the repeats of the input, and no event read again


def test_a_stop_that_does_not_end_is_ended(settings: Settings, tmp_path: Path) -> None:
    publish(settings, map(as_record, events_of(2_000, 50)))
    more = {"HEADRACE_STOP_TIMEOUT_S": "2", "STUCK": "agent"}
    with StuckWorker(
        "sequencer", variables(settings, tmp_path, **more), free_port(), tmp_path / "worker.log"
    ) as worker:
        worker.wait_ready(WAIT_S)
        wait_until(lambda: bool(worker.live()["standing_s"]), WAIT_S, worker.log_tail)
        assert worker.stop(timeout_s=10.0) == EXIT_FORCED, "by itself: the default of the setting is 12 s"


def test_a_worker_ends_with_the_program_that_started_it(settings: Settings, tmp_path: Path) -> None:
    """Also when that program is killed and can stop nothing itself."""
    program = (
        "import sys, time; from pathlib import Path; from tools.workers.process import Worker; "
        "w = Worker('sequencer', {}, int(sys.argv[1]), Path(sys.argv[2])); w.start(); print(w.pid, flush=True); time.sleep(1000)"
    )
    port, log = free_port(), tmp_path / "worker.log"
    env = {**os.environ, **variables(settings, tmp_path)}
    env.pop("HEADRACE_TEST_BROKER", None)
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(port), str(log)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    worker = Worker("sequencer", {}, port, log)
    wait_until(worker.is_ready, WAIT_S, worker.log_tail)
    starter.kill()
    starter.wait()
    try:
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, worker.log_tail)
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        raise


def files(folder: Path) -> list[Path]:
    """Return the databases of a worker's partitions."""
    return sorted(path for path in folder.rglob("windows-*.db") if path.is_dir())


def test_damaged_foreign_and_lost_stores_come_back_from_the_changelog(settings: Settings, tmp_path: Path) -> None:
    """Each partition's store has one damage.

    The damages: a flipped MANIFEST, a missing CURRENT, another topic's files, an offset beyond the
    changelog's end.
    """
    events = events_of(6_000, 200)
    publish(settings, map(as_record, events[:4_000]))
    rocksdb = {"HEADRACE_SEQUENCE_STORE": "rocksdb"}
    with sequencer(settings, tmp_path, **rocksdb) as worker:
        wait_read(worker, 4_000)
        worker.stop()
    first, second, third, fourth = files(tmp_path)
    manifest = next(first.glob("MANIFEST-*"))
    manifest.write_bytes(bytes(255 - b for b in manifest.read_bytes()))
    (second / "CURRENT").unlink()
    origin = third.with_name(third.name + ".origin.json")
    origin.write_text(origin.read_text().replace(settings.kafka.topic_prefix, "other-"))
    set_offset(fourth, 1_000_000)
    publish(settings, map(as_record, events[4_000:]))
    with sequencer(settings, tmp_path, **rocksdb) as worker:
        wait_read(worker, len(events) - 4_000)
        values = worker.counts()["values"]
        log = worker.log_path.read_text()
    assert values["stores_rebuilt"] == 4
    for why in ("Corruption", "built from topic other-", "it holds offset 1000000"):
        assert why in log
    assert_same_windows(newest_windows(settings), expected_windows(events))


def set_offset(path: Path, offset: int) -> None:
    import rocksdict

    database = rocksdict.Rdict(str(path), options=rocksdict.Options(raw_mode=True))
    database[b"__faust\0offset__"] = str(offset).encode()
    database.close()


def test_a_store_that_another_worker_has_open_is_no_damage(settings: Settings, tmp_path: Path) -> None:
    """Two workers in one data directory: the second one says so and ends; nothing is deleted."""
    import rocksdict

    rocksdb = {"HEADRACE_SEQUENCE_STORE": "rocksdb"}
    publish(settings, map(as_record, events_of(1_000, 50)))
    with sequencer(settings, tmp_path, **rocksdb) as worker:
        wait_read(worker, 1_000)
        worker.stop()
    held = rocksdict.Rdict(str(files(tmp_path)[0]), options=rocksdict.Options(raw_mode=True))
    try:
        with (
            pytest.raises(WorkerError, match="open in another process.*HEADRACE_DATA_DIR"),
            sequencer(settings, tmp_path, **rocksdb),
        ):
            pass
    finally:
        held.close()


def test_status_tells_lag_and_members_and_exits_1_without_workers(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    command = ["status", "--broker", settings.kafka.broker, "--json", "--seconds", "0"]
    publish(settings, map(as_record, events_of(1_000, 50)))
    assert main(command) == 1
    assert "no worker is in the group" in capsys.readouterr().out
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 1_000)
        wait_until(lambda: uncommitted(settings) == 0, WAIT_S, worker.log_tail)
        main([*command, "--workers", f"http://127.0.0.1:{worker.web_port}"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    flow = found["flows"][0]
    assert (flow["app"], flow["state"], len(flow["members"]), flow["lag"]) == ("sequencer", "Stable", 1, 0)
    assert [p["has_worker"] for p in flow["partitions"]] == [True] * settings.kafka.partitions
    assert found["workers"][0]["counts"]["read"] >= 1_000
    assert [why for why in found["why"] if why.startswith("sequencer")] == []


def answers(settings: Settings) -> bool:
    """Whether the broker answers about its topics."""
    try:
        asyncio.run(create_topics(settings.kafka))
    except (HeadraceError, KafkaError):
        return False
    return True


def answers_steadily(settings: Settings) -> bool:
    """Whether the broker keeps answering.

    After a pause the broker answers at first, and then learns that it was fenced.
    """
    until = time.monotonic() + STEADY_S
    while time.monotonic() < until:
        if not answers(settings):
            return False
        time.sleep(0.1)
    return True


@pytest.mark.long
def test_a_silent_broker_is_no_stall(own_broker: BrokerInfo, tmp_path: Path) -> None:
    """The broker is paused for longer than every timeout.

    The worker goes on when the broker does.
    """
    assert own_broker.pid is not None
    settings = load_settings({}, broker=own_broker.bootstrap)
    events = events_of(4_000, 50)
    publish(settings, map(as_record, events[:2_000]))
    with sequencer(settings, tmp_path, HEADRACE_STALL_TIMEOUT_S="5", HEADRACE_RECOVERY_TIMEOUT_S="10") as worker:
        wait_read(worker, 2_000)
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            time.sleep(25)
            assert worker.is_running
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        wait_until(lambda: answers_steadily(settings), WAIT_S, worker.log_tail)
        publish(settings, map(as_record, events[2_000:]))
        # not the count of events read: what was not committed before the pause is read again, and
        # counts twice
        wait_until(lambda: uncommitted(settings) == 0, WAIT_S, worker.log_tail)
        assert worker.stop() == 0
    assert_same_windows(newest_windows(settings), expected_windows(events))
