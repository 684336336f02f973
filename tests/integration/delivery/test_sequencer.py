"""The sequencer against a real broker: counts, rejects, restart in mid-stream, recovery."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.base.vocabulary import EVENT_TYPES
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Event, encode
from streams.contract.windows import WindowState, decode_window
from streams.kafka.publisher import Publisher
from streams.kafka.topics import create_topics
from streams.sequencer.window import absorb
from streams.settings.load import Settings
from streams.settings.record_limits import WindowBounds
from tests.integration.reading import read_all
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.drills.malformed import MALFORMED
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka
WAIT_S = 60.0


@contextmanager
def sequencer(settings: Settings, folder: Path, **variables: str) -> Iterator[Worker]:
    """Run a sequencer that is ready."""
    env = {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(folder / "data"),
        **variables,
    }
    with Worker("sequencer", env, free_port(), folder / "sequencer.log") as worker:
        worker.wait_ready(WAIT_S)
        yield worker


def publish(settings: Settings, records: Iterable[OutRecord]) -> None:
    """Create the topics and publish records to ``events``."""

    async def run() -> None:
        await create_topics(settings.kafka)
        async with Publisher(settings.kafka) as publisher:
            for record in records:
                await publisher.publish(settings.kafka.topic("events"), record.key or b"", record.value)

    asyncio.run(run())


def newest_windows(settings: Settings) -> dict[str, WindowState]:
    """Return each user's newest window on ``sequences``."""
    return {r.key.decode(): decode_window(r.value) for r in read_all(settings, "sequences") if r.key and r.value}


def events_of(n_events: int, n_users: int, seed: int = 1) -> list[Event]:
    """Return seeded events, a tenth of them repeated and some of them slightly out of order."""
    rng = random.Random(seed)
    events = [
        make_event(
            f"e{i:06d}",
            T0 + 1_000 * i,
            user_id=f"u{rng.randrange(n_users)}",
            item_id=f"i{rng.randrange(500)}",
            type=rng.choice(EVENT_TYPES),
        )
        for i in range(n_events)
    ]
    for i in range(0, n_events - 10, 10):
        events.append(events[i])
        events[i], events[i + 3] = events[i + 3], events[i]
    return events


def expected_windows(events: Iterable[Event]) -> dict[str, WindowState]:
    """Return what the pure window function makes of the events in order of arrival."""
    states: dict[str, WindowState | None] = {}
    for offset, event in enumerate(events):
        outcome = absorb(states.get(event.user_id), [(event, offset)], WindowBounds())
        states[event.user_id] = outcome.state or states.get(event.user_id)
    return {user: state for user, state in states.items() if state is not None}


def as_record(event: Event) -> OutRecord:
    """Return an event as a record to publish."""
    return OutRecord(event.user_id.encode(), encode(event))


def wait_read(worker: Worker, n: int) -> dict[str, int]:
    """Wait until the worker has read ``n`` events; return its counts."""

    def has_read() -> bool:
        return bool(worker.counts()["total"]["read"] >= n)

    wait_until(has_read, WAIT_S, lambda: f"{worker.counts()['total']} of {n} events")
    counts: dict[str, int] = worker.counts()["total"]
    return counts


def assert_same_windows(found: dict[str, WindowState], expected: dict[str, WindowState]) -> None:
    """Compare everything but the trigger's offset, which is the broker's."""
    assert found.keys() == expected.keys()
    missing = {
        user: sorted({i.event_id for i in state.items} - {i.event_id for i in found[user].items})
        for user, state in expected.items()
        if found[user].items != state.items
    }
    assert missing == {}
    for user, state in expected.items():
        assert (found[user].items, found[user].revision) == (state.items, state.revision), user


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_kill_in_mid_stream_loses_nothing(settings: Settings, tmp_path: Path, store: str) -> None:
    """After kill -9 the windows equal those of an undisturbed run.

    Delivery is at-least-once on the wire and exactly-once in effect.
    """
    events = events_of(20_000, 300)
    variables = {"HEADRACE_SEQUENCE_STORE": store, "HEADRACE_BATCH_MAX_RECORDS": "500"}
    publish(settings, map(as_record, events[:15_000]))
    with sequencer(settings, tmp_path, **variables) as worker:
        wait_read(worker, 1_000)
        worker.kill()
    publish(settings, map(as_record, events[15_000:]))
    with sequencer(settings, tmp_path, **variables) as worker:
        end = sum(1 for _ in read_all(settings, "events"))

        def has_caught_up() -> bool:
            return bool(sum(offset + 1 for offset in worker.counts()["delivered_offsets"].values()) >= end)

        wait_until(has_caught_up, WAIT_S, lambda: str(worker.counts()))
        counts = worker.counts()["total"]
    assert (
        counts["read"]
        == counts["accepted"] + counts["duplicate"] + counts["late"] + counts["rejected"] + counts["forgotten"]
    )
    assert_same_windows(newest_windows(settings), expected_windows(events))


def test_a_repeated_replay_is_all_duplicates(settings: Settings, tmp_path: Path) -> None:
    """The same run again, however far back in time, changes no window and writes none."""
    day_ms = 86_400_000
    events = [make_event(f"e{i:04d}", T0 + i * day_ms, user_id=f"u{i % 3}", run="history@1", seq=i) for i in range(600)]
    publish(settings, map(as_record, events))
    with sequencer(settings, tmp_path) as worker:
        assert wait_read(worker, 600)["accepted"] == 600
        n_before = len(read_all(settings, "sequences"))
        publish(settings, map(as_record, events))
        counts = wait_read(worker, 1_200)
    assert counts == {"read": 1_200, "accepted": 600, "duplicate": 600, "late": 0, "rejected": 0, "forgotten": 0}
    assert len(read_all(settings, "sequences")) == n_before


def test_malformed_records_do_not_stop_the_worker(settings: Settings, tmp_path: Path) -> None:
    """A thousand malformed records of every kind lie among good ones.

    Each is on events.rejected with its coordinates.
    """
    n_good, n_bad = 20_000, 1_000
    kinds = sorted(MALFORMED)
    assert len(kinds) >= 20
    good = [as_record(make_event(f"e{i:06d}", T0 + i, user_id=f"u{i % 200}")) for i in range(n_good)]
    bad = [MALFORMED[kinds[i % len(kinds)]](i) for i in range(n_bad)]
    records = good + bad
    random.Random(1).shuffle(records)
    publish(settings, records)
    with sequencer(settings, tmp_path) as worker:
        counts = wait_read(worker, n_good + n_bad)
        assert worker.is_running
    assert counts == {
        "read": n_good + n_bad,
        "accepted": n_good,
        "duplicate": 0,
        "late": 0,
        "rejected": n_bad,
        "forgotten": 0,
    }
    rejected = read_all(settings, "events.rejected")
    assert len(rejected) == n_bad
    by_place: dict[tuple[int, int], Any] = {(r.partition, r.offset): r for r in read_all(settings, "events")}
    for record in rejected:
        headers = {name: value.decode() for name, value in record.headers}
        source = by_place[int(headers["partition"]), int(headers["offset"])]
        assert (source.key, source.value) == (record.key, record.value)
        assert headers["reason"]
    assert len({dict(r.headers)["reason"] for r in rejected}) >= 8


def garbage_then_honest(settings: Settings, n_honest: int = 100) -> None:
    """Publish 20,000 bad records of 40 users, and honest ones behind them."""
    bad = [OutRecord(f"u{i % 40}".encode(), b"x") for i in range(20_000)]
    publish(settings, bad + [as_record(make_event(f"h{i:04d}", T0 + i, user_id=f"u{i % 40}")) for i in range(n_honest)])


def test_garbage_is_diverted_loudly_and_stops_nothing(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad records must not stop the sequencer, since they lose nothing; an alarm shows them."""
    garbage_then_honest(settings)
    with sequencer(settings, tmp_path) as worker:
        counts = wait_read(worker, 20_100)
        assert (counts["accepted"], counts["rejected"]) == (100, 20_000)
        alarms = [line for line in worker.log_path.read_text().splitlines() if "[ERROR]" in line]
        assert len(alarms) == 1 and "were rejected; reasons: malformed" in alarms[0]
        assert worker.is_ready() and worker.counts()["values"]["reject_alarms"] == 1

        def says_so() -> bool:
            args = ["status", "--broker", settings.kafka.broker, "--seconds", "1", "--json"]
            code = main(args)
            flows = json.loads(capsys.readouterr().out.splitlines()[-1])["flows"]
            return code == 1 and flows[0]["rejecting"] == [0, 1, 2, 3]

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
            wait_until(says_so, 10.0, lambda: "status knows of no alarm")


def test_a_chosen_ceiling_holds_across_restarts(settings: Settings, tmp_path: Path) -> None:
    """A supervisor restarts without limit, so the ceiling holds over all lives together."""
    garbage_then_honest(settings)
    env = {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(tmp_path / "data"),
        "HEADRACE_REJECT_CEILING_SHARE": "0.5",
        "HEADRACE_BATCH_MAX_RECORDS": "300",
    }
    with Worker("sequencer", env, free_port(), tmp_path / "sequencer.log") as worker:
        diverted = []
        for _ in range(4):
            wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
            assert worker.returncode == 1 and "RejectCeilingError" in worker.log_tail()
            diverted.append(len(read_all(settings, "events.rejected")))
            worker.start()
        wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
    n_partitions, least = settings.kafka.partitions, 1_000
    assert 0 < diverted[-1] <= n_partitions * least, "each partition is judged from a thousand records on"
    places = [
        dict(record.headers)["partition"] + dict(record.headers)["offset"].rjust(9)
        for record in read_all(settings, "events.rejected")
    ]
    assert len(places) == len(set(places)), "nothing was diverted twice"
