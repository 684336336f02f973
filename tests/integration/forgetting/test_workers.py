"""Both workers on a real broker forget users: state, topics, receipts, restarts, and a new life."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.contract.announcements import PrivacyRequest, Receipt
from streams.contract.kafka_records import OutRecord
from streams.contract.records import RecordDecoder, User, encode
from streams.contract.windows import decode_window
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings, Settings, load_settings
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, put_items, variables_of
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import make_event
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka
N_USERS = 6


@pytest.fixture
def settings(broker: BrokerInfo, prefix: str) -> Settings:
    """Return settings of topics that exist."""
    made = load_settings({}, broker=broker.bootstrap, topic_prefix=prefix)
    asyncio.run(create_topics(made.kafka))
    return made


@contextmanager
def workers(settings: Settings, folder: Path) -> Iterator[list[Worker]]:
    """Run one worker of each app; both are ready."""
    env = variables_of(settings, folder) | {"HEADRACE_SEQUENCE_STORE": "rocksdb", "HEADRACE_LIVE_POPULARITY": "on"}
    with ExitStack() as stack:
        running = [
            stack.enter_context(Worker(app, env, free_port(), folder / f"{app}.log"))
            for app in ("sequencer", "recommender")
        ]
        for worker in running:
            worker.wait_ready(WAIT_S)
        yield running


def events_of(users: list[str], ts: int, name: str) -> list[OutRecord]:
    """Return one event of each user at a time."""
    events = [make_event(f"{name}-{user}", ts, user_id=user, item_id="i3") for user in users]
    return [OutRecord(event.user_id.encode(), encode(event)) for event in events]


def settle(settings: Settings, sequencer: Worker, n_before: int = 0) -> dict[str, int]:
    """Wait until all events are judged and all windows have their lists; return the counts."""
    n = sum(1 for _ in read_all(settings, "events")) - n_before

    def is_done() -> bool:
        return bool(sequencer.counts()["total"]["read"] >= n) and lag(settings) == 0

    wait_until(is_done, WAIT_S, lambda: f"{sequencer.counts()}")
    counts: dict[str, int] = sequencer.counts()["total"]
    return counts


def forget(settings: Settings, user: str, mark: int, request_id: str) -> None:
    """Publish a request and wait for both receipts."""
    request = PrivacyRequest(1, user, "forget", mark, request_id)
    publish(settings, "privacy", [OutRecord(user.encode(), encode(request))])

    def answers() -> set[tuple[str, str]]:
        decode = RecordDecoder(Receipt).decode
        found = [decode(record.value) for record in read_all(settings, "receipts")]
        return {(one.app, one.stage) for one in found if one.id == request_id}

    wait_until(lambda: answers() == {("sequencer", "done"), ("recommender", "done")}, WAIT_S, lambda: str(answers()))


def newest(settings: Settings, topic: str) -> dict[str, bytes | None]:
    """Return the newest record of each user, None for a tombstone."""
    return {
        record.key.decode(): record.value
        for record in read_all(settings, topic)
        if record.key and b"." not in record.key
    }


def test_a_user_is_forgotten_stays_so_after_a_restart_and_may_come_back(settings: Settings, tmp_path: Path) -> None:
    """Nothing of the former life comes back from the log; the new life has higher revisions."""
    put_items(settings, tiny.write_items(tmp_path / "items.csv"))
    users, now = [f"user-{i}" for i in range(N_USERS)], int(time.time() * 1000)
    before = [record for step in range(3) for record in events_of(users, now - 60_000 + step, f"old{step}")]
    gone, bad = "user-1", OutRecord(b"user-1", b"\xff no event")
    with workers(settings, tmp_path) as (sequencer, recommender):
        publish(settings, "events", before)
        settle(settings, sequencer)
        store = {path for path in (tmp_path / "data").rglob("*") if path.is_file()}
        assert any(b"old1-user-1" in path.read_bytes() for path in store), "the store holds the events"
        forget(settings, gone, now, "first")
        for topic in ("sequences", "user-vectors", "recommendations"):
            found = newest(settings, topic)
            assert found.pop(gone) is None, topic
            assert len(found) == N_USERS - 1 and all(found.values()), topic
        left = {path for path in (tmp_path / "data").rglob("*") if path.is_file()}
        assert not [path for path in left if b"old1-user-1" in path.read_bytes()], "nor does a file"
        assert sequencer.counts()["values"]["users_forgotten"] == 1
        lists = len(read_all(settings, "recommendations"))
        publish(settings, "events", [*events_of([gone], now - 5, "late"), *events_of([gone], now, "same")])
        counts = settle(settings, sequencer)
        assert counts["forgotten"] == 2 and counts["accepted"] == len(before)
        sequencer.kill()
        recommender.kill()
    with workers(settings, tmp_path) as (sequencer, recommender):
        publish(settings, "events", [*events_of([gone], now - 1, "later"), *events_of(["user-2"], now + 1, "on")])
        wait_until(lambda: sequencer.counts()["total"]["forgotten"] >= 1, WAIT_S, lambda: str(sequencer.counts()))
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: "lag")
        assert newest(settings, "sequences")[gone] is None, "the marks come back before the first event"
        assert all(
            record.value is None
            for record in read_all(settings, "recommendations")[lists:]
            if record.key == gone.encode()
        )
        publish(settings, "events", events_of([gone], now + 10, "new"))
        wait_until(lambda: newest(settings, "recommendations")[gone] is not None, WAIT_S, lambda: "no list")
        state = decode_window(newest(settings, "sequences")[gone] or b"")
        assert [item.event_id for item in state.items] == ["new-user-1"] and state.revision == now + 2
        assert not [record for record in read_all(settings, "events.rejected") if record.value == bad.value]


def headrace(*argv: str) -> tuple[int, dict[str, Any]]:
    """Run a command with ``--json``; return its exit code and its object."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*argv, "--json"])
    lines = out.getvalue().splitlines()
    return code, json.loads(lines[-1]) if lines else {}


def test_the_command_erases_with_receipts_and_the_proof_agrees(
    settings: Settings, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """Before it, the proof finds the user in topics and stores; after it, in logs, with dates."""
    put_items(settings, tiny.write_items(tmp_path / "items.csv"))
    users, now = [f"user-{i}" for i in range(N_USERS)], int(time.time() * 1000)
    data = ["--also", str(tmp_path / "data"), "--state-dir", str(tmp_path / "state")]
    profile = [encode(User(1, "user-0", {"age": 3.0}, ["user-4"])), encode(User(1, "user-4", {"age": 4.0}))]
    with workers(settings, tmp_path) as (sequencer, _):
        publish(settings, "users", [OutRecord(b"user-0", profile[0]), OutRecord(b"user-4", profile[1])])
        publish(settings, "events", events_of(users, now - 60_000, "old"))
        settle(settings, sequencer)
        code, proof = headrace("forget", "--prove", "user-4", *data)
        names = {one["place"].rsplit("-", 1)[-1] for one in proof["users"]["user-4"] if one["kind"] == "left"}
        assert code == 1 and {"sequences", "vectors", "recommendations", "users"} <= names, proof
        (tmp_path / "ids").write_text("user-4\nuser-5\n")
        code, done = headrace(
            "forget", "--file", str(tmp_path / "ids"), "--yes", "--state-dir", str(tmp_path / "state")
        )
        assert code == 0 and done["complete"] and done["users"] == 2 and done["unfollowed"] == 1
        told = [receipt["detail"] for one in done["requests"] for receipt in one["receipts"]]
        assert len(told) == 4 and all("UTC" in detail for detail in told), told
        assert sum("a window of 1 events erased" in detail for detail in told) == 2, told
        kept = Path(done["file"]).read_bytes()
        assert b"user-4" not in kept and json.loads(kept)["requests"] == done["requests"]
        code, proof = headrace("forget", "--prove", "user-4", "user-5", *data)
        left = [one for found in proof["users"].values() for one in found if one["kind"] == "left"]
        assert not left, json.dumps(left)
        assert (code, proof["unasked"]) == (0, [])
        assert {one["kind"] for found in proof["users"].values() for one in found} == {"stays"}
        assert any(one["place"].endswith("events") and "UTC" in one["until"] for one in proof["users"]["user-5"])
        code, proof = headrace("forget", "--prove", "user-0", *data)
        assert code == 1 and proof["unasked"] == ["user-0"]
        assert headrace("forget", "user-4", "--yes", "--state-dir", str(tmp_path / "state"))[0] == 0, "again"
    code, _ = headrace("forget", "user-1", "--yes", "--timeout", "1", "--state-dir", str(tmp_path / "state"))
    assert code == 1, "nobody is there to answer"
