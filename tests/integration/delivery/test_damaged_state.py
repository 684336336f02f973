"""Foreign records on the state topics: both workers go on and count each of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode, is_user_key
from streams.contract.windows import WindowState, decode_window
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import expected_windows, sequencer, wait_read
from tests.integration.lists.recommender_runs import lag, publish, read_lists, recommender, windows_of
from tests.integration.reading import read_all
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.long]
WAIT_S = 60.0


def test_a_damaged_window_is_rebuilt_from_events(settings: Settings, tmp_path: Path) -> None:
    """The worker starts, names the damage, and rebuilds the user's window from the events."""
    events = [make_event(f"e{i}", T0 + i, user_id=f"u{i % 4}") for i in range(40)]
    records = [OutRecord(event.user_id.encode(), encode(event)) for event in events]
    publish(settings, "events", records[:36])
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 36)
    damage = [OutRecord(b"u1", b"\xc1 damaged"), OutRecord(b"\xff\xfe", b"foreign"), OutRecord(b"u2", b"")]
    publish(settings, "sequences", damage)
    publish(settings, "events", records[36:])
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 4)
        values = worker.counts()["values"]
    assert (values["windows_damaged"], values["keys_foreign"]) == (2, 1)
    found = newest_windows_of_users(settings)
    assert {user: (s.revision, s.items) for user, s in found.items()} == {
        user: (s.revision, s.items) for user, s in expected_windows(events).items()
    }
    assert "windows of partition" in (tmp_path / "sequencer.log").read_text()


def newest_windows_of_users(settings: Settings) -> dict[str, WindowState]:
    """Return each user's newest window on ``sequences``."""
    newest = {r.key: r.value for r in read_all(settings, "sequences") if r.key and r.value and is_user_key(r.key)}
    return {key.decode(): decode_window(value) for key, value in newest.items()}


@pytest.mark.usefixtures("catalogue")
def test_a_removed_user_begins_anew_and_foreign_records_are_passed_over(settings: Settings, tmp_path: Path) -> None:
    """After a tombstone, a window of revision 1 gets its list at once.

    The user's vector is gone from its topic.
    """
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(3, 5, states))
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"first: {worker.counts()['values']}")
    publish(settings, "user-vectors", [OutRecord(b"u2", b"\xc1"), OutRecord(b"\xff", b"foreign")])
    publish(settings, "sequences", [OutRecord(b"u0", None), OutRecord(b"u1", None), OutRecord(b"\xfe\xff", b"x")])
    again: dict[str, WindowState | None] = {"u1": None, "u2": states["u2"]}
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"second: {worker.counts()['values']}")
        publish(settings, "sequences", windows_of(1, 1, {"u0": None}))
        publish(settings, "sequences", [r for r in windows_of(3, 1, again) if r.key == b"u2"])
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"third: {worker.counts()['values']}")
        values = worker.counts()["values"]
    assert (values["users_removed"], values["windows_malformed"]) == (2, 1)
    assert (values["keys_foreign"], values["vectors_damaged"]) == (1, 1)
    lists = [made for _, made in read_lists(settings)]
    assert [made.revision for made in lists if made.user_id == "u0"][-1] == 1
    assert [made.revision for made in lists if made.user_id == "u2"][-1] == 6
    vectors = {r.key: r.value for r in read_all(settings, "user-vectors")}
    assert vectors[b"u1"] is None
    assert vectors[b"u0"] is not None


def publish_old(settings: Settings, records: list[OutRecord], written_ms: int) -> None:
    """Publish records on ``sequences`` as if they had been written then."""

    async def run() -> None:
        await create_topics(settings.kafka)
        producer = AIOKafkaProducer(**settings.kafka.client_arguments())
        await producer.start()
        try:
            for record in records:
                await producer.send_and_wait(
                    settings.kafka.topic("sequences"), record.value, record.key, timestamp_ms=written_ms
                )
        finally:
            await producer.stop()

    asyncio.run(run())


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_users_who_never_come_back_are_removed(settings: Settings, tmp_path: Path, store: str) -> None:
    """A user's age counts from the write of the window, so history published now is not old.

    A user who comes back begins anew.
    """
    now_ms = int(time.time() * 1000)
    states: dict[str, WindowState | None] = {}
    windows = list(windows_of(6, 1, states))
    publish_old(settings, windows[:4], now_ms - 40 * 86_400_000)
    publish_old(settings, windows[4:], now_ms - 10 * 86_400_000)
    back = make_event("new", T0 + 10_000, user_id="u0")
    history = make_event("old", 1_000_000_000_000, user_id="history")
    publish(settings, "events", [OutRecord(e.user_id.encode(), encode(e)) for e in (back, history)])
    variables = {"HEADRACE_USER_TTL_DAYS": "30", "HEADRACE_SEQUENCE_STORE": store}
    with sequencer(settings, tmp_path, **variables) as worker:
        wait_until(lambda: worker.counts()["values"].get("users_expired", 0) == 3, WAIT_S, lambda: str(worker.counts()))
        publish(settings, "events", [OutRecord(b"u1", encode(make_event("again", T0 + 20_000, user_id="u1")))])
        wait_read(worker, 3)
    newest = {r.key: r.value for r in read_all(settings, "sequences") if r.key and is_user_key(r.key)}
    revisions = {key.decode(): decode_window(value).revision if value else 0 for key, value in newest.items()}
    assert revisions == {"u0": 2, "u1": 1, "u2": 0, "u3": 0, "u4": 1, "u5": 1, "history": 1}
    with sequencer(settings, tmp_path, **variables) as worker:
        publish(settings, "events", [OutRecord(b"u2", encode(make_event("more", T0 + 30_000, user_id="u2")))])
        wait_read(worker, 1)
