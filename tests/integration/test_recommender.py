"""The whole flow on a real broker: events in, lists out; restart in mid-stream, repeats, a growing catalogue."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifact import TENSORS, load_artifact
from streams.batches import ConsumedRecord, OutRecord
from streams.publisher import Publisher, partition_of
from streams.recommending import list_id
from streams.records import Event, Recommendation, RecordDecoder, UserVector, WindowState, decode_window, encode
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from streams.window import WindowBounds, absorb
from tests import tiny
from tests.builders import T0, make_event
from tests.waiting import wait_until
from tools.local_broker import BrokerInfo
from tools.main import main
from tools.offsets import group_lag
from tools.topic_reader import read_records
from tools.workers import Worker, free_port

pytestmark = pytest.mark.kafka
WAIT_S = 60.0


def variables_of(settings: Settings, folder: Path) -> dict[str, str]:
    """Return a worker's environment."""
    return {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_ARTIFACT": str(tiny.artifact()),
        "HEADRACE_DATA_DIR": str(folder / "data"),
        "HEADRACE_ENCODER_CACHE_DIR": str(folder / "texts"),
    }


@contextmanager
def recommender(settings: Settings, folder: Path, **variables: str) -> Iterator[Worker]:
    """Run a recommender that is ready."""
    env = variables_of(settings, folder) | variables
    with Worker("recommender", env, free_port(), folder / "recommender.log") as worker:
        worker.wait_ready(WAIT_S)
        yield worker


def publish(settings: Settings, topic: str, records: Iterable[OutRecord]) -> None:
    """Create the topics and publish records."""

    async def run() -> None:
        await create_topics(settings.kafka)
        async with Publisher(settings.kafka) as publisher:
            for record in records:
                await publisher.publish(settings.kafka.topic(topic), record.key or b"", record.value)

    asyncio.run(run())


def read_all(settings: Settings, topic: str) -> list[ConsumedRecord]:
    """Return all records of a topic of the contract."""

    async def run() -> list[ConsumedRecord]:
        return [record async for record in read_records(settings.kafka, settings.kafka.topic(topic))]

    return asyncio.run(run())


def read_lists(settings: Settings) -> list[tuple[int, Recommendation]]:
    """Return all lists as the contract decodes them, each with its partition."""
    decoder = RecordDecoder(Recommendation)
    return [(record.partition, decoder.decode(record.value)) for record in read_all(settings, "recommendations")]


def newest_revisions(settings: Settings) -> dict[str, int]:
    """Return the revision of each user's newest list."""
    found: dict[str, int] = {}
    for _, published in read_lists(settings):
        found[published.user_id] = max(published.revision, found.get(published.user_id, 0))
    return found


def lag(settings: Settings) -> int:
    """Return how many windows the recommender has not committed."""
    group = f"{settings.kafka.topic_prefix}headrace-recommender"
    return asyncio.run(group_lag(settings.kafka, group, "sequences"))


def put_items(settings: Settings, path: Path) -> None:
    """Publish a catalogue, as a person does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        assert main(["items", "put", str(path), "--broker", settings.kafka.broker]) == 0


@dataclass(frozen=True)
class Flow:
    """Both workers with a replayed log behind them."""

    settings: Settings
    log: Path
    sequencer: Worker
    recommender: Worker

    def replay(self) -> None:
        """Publish the log; always the same run."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HEADRACE_TOPIC_PREFIX", self.settings.kafka.topic_prefix)
            folder = str(self.log.parent / "runs")
            argv = [
                "replay",
                str(self.log),
                "--run",
                "r",
                "--state-dir",
                folder,
                "--broker",
                self.settings.kafka.broker,
            ]
            assert main(argv) == 0

    def settle(self) -> None:
        """Wait until every event is sequenced and every window has its list."""
        end = sum(1 for _ in read_all(self.settings, "events"))

        def is_done() -> bool:
            return bool(self.sequencer.counts()["total"]["read"] >= end) and lag(self.settings) == 0

        wait_until(is_done, WAIT_S, lambda: f"{self.sequencer.counts()} {self.recommender.counts()['values']}")


@pytest.fixture(scope="module")
def flow(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """Give both workers, which have worked off the tiny log once."""
    folder = tmp_path_factory.mktemp("flow")
    settings = load_settings({}, broker=broker.bootstrap, topic_prefix=f"{folder.name}-{free_port()}-")
    asyncio.run(create_topics(settings.kafka))
    put_items(settings, tiny.write_items(folder / "items.csv"))
    env = variables_of(settings, folder) | {"HEADRACE_BATCH_MAX_RECORDS": "20"}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker("sequencer", env, free_port(), folder / "sequencer.log")),
            stack.enter_context(Worker("recommender", env, free_port(), folder / "recommender.log")),
        ]
        for worker in workers:
            worker.wait_ready(WAIT_S)
        running = Flow(settings, tiny.write_log(folder / "log.csv"), *workers)
        running.replay()
        running.settle()
        yield running


def test_every_user_with_an_accepted_event_has_a_list_and_a_vector(flow: Flow) -> None:
    """The product in one sentence; the newest list and the vector are of the user's newest window."""
    windows = {r.key: decode_window(r.value) for r in read_all(flow.settings, "sequences") if r.key and r.value}
    assert len(windows) >= tiny.N_USERS
    expected = {key.decode(): state.revision for key, state in windows.items()}
    assert newest_revisions(flow.settings) == expected
    decoder, artifact = RecordDecoder(UserVector), load_artifact(tiny.artifact())
    vectors = {r.key: decoder.decode(r.value) for r in read_all(flow.settings, "user-vectors") if r.value}
    assert {v.user_id: v.revision for v in vectors.values()} == expected
    for key, vector in vectors.items():
        assert (vector.user_id.encode(), vector.artifact) == (key, artifact.version)
        values = np.frombuffer(vector.vector, "<f4")
        assert np.isfinite(values).all() and np.abs(values).sum() > 0
        assert np.isfinite(np.frombuffer(vector.factors, "<f4")).all()


def test_lists_say_truly_where_they_come_from(flow: Flow) -> None:
    """Event, offset, revision, artifact and id of each list are those of the event that caused it."""
    decoder, version = RecordDecoder(Event), load_artifact(tiny.artifact()).version
    events = {(r.partition, r.offset): decoder.decode(r.value) for r in read_all(flow.settings, "events")}
    lists = read_lists(flow.settings)
    assert len(lists) >= tiny.N_USERS
    for partition, found in lists:
        cause = events[partition, found.offset]
        assert (cause.event_id, cause.user_id, cause.ts) == (found.event_id, found.user_id, found.event_ts)
        before = {
            e.event_id
            for (p, o), e in events.items()
            if (p, o) <= (partition, found.offset) and p == partition and e.user_id == found.user_id
        }
        assert found.revision == len(before), "one revision per accepted event"
        assert (found.artifact, found.index_generation >= 1) == (version, True)
        assert found.list_id == list_id(found.user_id, found.revision, version)
        assert found.degraded == "none"


def test_lists_hold_new_items_and_reasons_from_the_window(flow: Flow) -> None:
    """No item that the user has had; ``because`` is one that the user has had; best first; each with its sources."""
    decoder = RecordDecoder(Event)
    had: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
    for record in read_all(flow.settings, "events"):
        event = decoder.decode(record.value)
        had[record.partition, event.user_id].append((record.offset, event.item_id))
    n_reasons = 0
    for partition, found in read_lists(flow.settings):
        seen = {item for offset, item in had[partition, found.user_id] if offset <= found.offset}
        listed = [item.item_id for item in found.items]
        assert listed and len(set(listed)) == len(listed) and not seen & set(listed)
        assert {item.because for item in found.items} <= seen | {None}
        n_reasons += sum(item.because is not None for item in found.items)
        scores = [item.score for item in found.items]
        assert scores == sorted(scores, reverse=True) and 0 <= min(scores) and max(scores) <= 1
        assert all(item.sources and min(s.rank for s in item.sources.values()) >= 1 for item in found.items)
    assert n_reasons > 0


def test_a_repeated_replay_gives_no_new_lists(flow: Flow) -> None:
    """All duplicates: no window changes, so nobody gets a list for nothing."""
    before = flow.sequencer.counts()["total"]
    n_lists, n_windows = len(read_all(flow.settings, "recommendations")), len(read_all(flow.settings, "sequences"))
    flow.replay()
    flow.settle()
    after = flow.sequencer.counts()["total"]
    n_events = tiny.N_USERS * tiny.N_EVENTS_EACH
    assert after["duplicate"] - before["duplicate"] == n_events and after["accepted"] == before["accepted"]
    assert len(read_all(flow.settings, "sequences")) == n_windows
    assert len(read_all(flow.settings, "recommendations")) == n_lists


def test_a_new_item_becomes_recommendable_without_a_restart(flow: Flow, tmp_path: Path) -> None:
    """Published while the recommender runs: the catalogue's generation grows and a list holds the item."""
    before = flow.recommender.counts()["values"]
    path = tmp_path / "new.jsonl"
    path.write_text('{"item_id": "new-kettle", "title": "Kettle"}\n')
    put_items(flow.settings, path)

    def has_grown() -> bool:
        return bool(flow.recommender.counts()["values"]["index_generation"] > before["index_generation"])

    wait_until(has_grown, WAIT_S, lambda: str(flow.recommender.counts()["values"]))
    assert flow.recommender.counts()["values"]["catalogue_items"] == before["catalogue_items"] + 1
    n_had = tiny.N_ITEMS - 5
    events = [make_event(f"k{i:03d}", T0 + i, user_id="nearly-all", item_id=f"i{i}") for i in range(n_had)]
    publish(flow.settings, "events", (OutRecord(b"nearly-all", encode(event)) for event in events))
    flow.settle()
    newest = [found for _, found in read_lists(flow.settings) if found.user_id == "nearly-all"][-1]
    assert newest.revision == n_had
    assert newest.index_generation > before["index_generation"]
    expected = {"new-kettle", *(f"i{i}" for i in range(n_had, tiny.N_ITEMS))}
    assert {item.item_id for item in newest.items} == expected


@pytest.fixture
def settings(broker: BrokerInfo, prefix: str, tmp_path: Path) -> Settings:
    """Give settings for topics of this test alone, which exist and hold the catalogue."""
    made = load_settings({}, broker=broker.bootstrap, topic_prefix=prefix)
    asyncio.run(create_topics(made.kafka))
    put_items(made, tiny.write_items(tmp_path / "items.csv"))
    return made


def windows_of(n_users: int, n_each: int, states: dict[str, WindowState | None]) -> Iterator[OutRecord]:
    """Yield ``n_each`` more windows of each user in turn, as the sequencer would write them; ``states`` is kept current."""
    for step in range(n_each):
        for user in (f"u{i}" for i in range(n_users)):
            state = states.get(user)
            n = state.revision if state else 0
            event = make_event(f"{user}-{n:04d}", T0 + 1_000 * n, user_id=user, item_id=f"i{(n + step) % tiny.N_ITEMS}")
            states[user] = absorb(state, [(event, n)], WindowBounds()).state
            yield OutRecord(user.encode(), encode(states[user]))  # type: ignore[arg-type]  # a new event always changes it


def uncovered(settings: Settings, committed: dict[int, int]) -> list[tuple[str, int]]:
    """Return windows before the committed offsets that no list of their user covers."""
    newest = newest_revisions(settings)
    windows = [r for r in read_all(settings, "sequences") if r.offset < committed.get(r.partition, 0)]
    pairs = [((r.key or b"").decode(), decode_window(r.value or b"").revision) for r in windows]
    return [(user, revision) for user, revision in pairs if newest.get(user, 0) < revision]


def committed_offsets(settings: Settings) -> dict[int, int]:
    """Return what the recommender's group has committed on ``sequences``, by partition."""
    from streams.topics import open_admin

    async def run() -> dict[int, int]:
        admin: Any = await open_admin(settings.kafka)
        try:
            group = f"{settings.kafka.topic_prefix}headrace-recommender"
            found = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        topic = settings.kafka.topic("sequences")
        return {tp.partition: meta.offset for tp, meta in found.items() if tp.topic == topic and meta.offset >= 0}

    return asyncio.run(run())


def test_kill_in_mid_stream_loses_no_users_newest_list(settings: Settings, tmp_path: Path) -> None:
    """After kill -9, committed offsets cover only delivered windows, and the next worker delivers the rest."""
    small = {"HEADRACE_MICRO_BATCH_TOKENS": "1000", "HEADRACE_MAX_PENDING_WINDOWS": "100"}
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(300, 3, states))
    with recommender(settings, tmp_path, **small) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"first part: {worker.counts()['values']}")
        n_before = worker.counts()["values"]["lists"]
        rest = threading.Thread(target=publish, args=(settings, "sequences", windows_of(300, 30, states)))
        rest.start()
        wait_until(
            lambda: worker.counts()["values"]["lists"] > n_before, WAIT_S, lambda: str(worker.counts()["values"])
        )
        worker.kill()
    rest.join(WAIT_S)
    assert not rest.is_alive()
    expected = {user: state.revision for user, state in states.items() if state}
    assert newest_revisions(settings) != expected, "the kill came too late to show anything"
    committed = committed_offsets(settings)
    assert sum(committed.values()) >= 900
    assert uncovered(settings, committed) == []
    with recommender(settings, tmp_path, **small) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"after restart: {worker.counts()['values']}")
    assert newest_revisions(settings) == expected
    assert uncovered(settings, committed_offsets(settings)) == []


def test_windows_that_wait_for_the_model_are_not_committed(settings: Settings, tmp_path: Path) -> None:
    """A commit while windows wait must not cover them: killed then, the next worker still gives them their lists."""
    states: dict[str, WindowState | None] = {}
    first = list(windows_of(40, 2, states))
    publish(settings, "sequences", first)
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"first part: {worker.counts()['values']}")
    in_partition_0 = [r for r in first if partition_of(r.key or b"", settings.kafka.partitions) == 0]
    others = [r for r in windows_of(40, 1, states) if partition_of(r.key or b"", settings.kafka.partitions) != 0]
    expected = newest_revisions(settings) | {(r.key or b"").decode(): 3 for r in others}
    before = committed_offsets(settings)
    with recommender(settings, tmp_path, HEADRACE_MICRO_BATCH_DEADLINE_MS="10000") as worker:
        publish(settings, "sequences", others)
        wait_until(lambda: worker.counts()["values"].get("windows_read", 0) >= len(others), WAIT_S, lambda: "not read")
        publish(settings, "sequences", in_partition_0)  # repeats need no model: that they are committed shows a commit

        def has_committed() -> bool:
            return committed_offsets(settings)[0] == before[0] + len(in_partition_0)

        wait_until(has_committed, WAIT_S, lambda: str(committed_offsets(settings)))
        assert worker.counts()["values"]["pending_windows"] == len(others)
        assert uncovered(settings, committed_offsets(settings)) == []
        worker.kill()
    assert newest_revisions(settings) != expected
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"after restart: {worker.counts()['values']}")
    assert newest_revisions(settings) == expected


def test_lists_are_json_by_a_setting(settings: Settings, tmp_path: Path) -> None:
    """HEADRACE_OUTPUT_FORMAT=json is for people; the list is the same record."""
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(5, 3, states))
    with recommender(settings, tmp_path, HEADRACE_OUTPUT_FORMAT="json"):
        wait_until(lambda: len(newest_revisions(settings)) == 5, WAIT_S, lambda: str(newest_revisions(settings)))
    records = read_all(settings, "recommendations")
    assert records and all((record.value or b"").startswith(b'{"v":1,"list_id":') for record in records)
    assert newest_revisions(settings) == {f"u{i}": 3 for i in range(5)}


@pytest.mark.parametrize("damage", ["missing", "checksum"])
def test_an_unusable_artifact_is_one_line_in_the_log(settings: Settings, tmp_path: Path, damage: str) -> None:
    """The worker ends non-zero and says what to do, not where in the code it happened."""
    artifact = tmp_path / "artifact"
    if damage == "checksum":
        shutil.copytree(tiny.artifact(), artifact)
        tensors = bytearray((artifact / TENSORS).read_bytes())
        tensors[-1] ^= 0xFF
        (artifact / TENSORS).write_bytes(tensors)
    env = variables_of(settings, tmp_path) | {"HEADRACE_ARTIFACT": str(artifact)}
    with Worker("recommender", env, free_port(), tmp_path / "recommender.log") as worker:
        wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
        assert worker.returncode == 1
    lines = (tmp_path / "recommender.log").read_text().splitlines()
    errors = [line for line in lines if "[ERROR]" in line or "[CRITICAL]" in line]
    assert len(errors) == 1 and damage in errors[0] and "headrace train" in errors[0]
    assert not any("Traceback" in line for line in lines)
