"""The whole flow on a real broker: events in, lists out; repeats, and a growing catalogue."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models.artifact.artifact import load_artifact
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Event, RecordDecoder, UserVector, encode
from streams.contract.windows import decode_window
from streams.kafka.topics import create_topics
from streams.recommender.list_encoding import list_id
from streams.settings.load import Settings, load_settings
from tests.integration.lists.recommender_runs import (
    WAIT_S,
    lag,
    newest_revisions,
    publish,
    put_items,
    read_lists,
    variables_of,
)
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka


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
    """The newest list and the vector are of the user's newest window."""
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
    """A list names the event that caused it, with offset, revision, artifact and id."""
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
        assert found.list_id == list_id(found.user_id, found.revision, found.event_id, version)
        assert found.degraded == "none"


def test_lists_hold_new_items_and_reasons_from_the_window(flow: Flow) -> None:
    """A list holds no item that the user has had, best first, each with its sources.

    ``because`` names an item that the user has had.
    """
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
    """An item is published while the recommender runs.

    The catalogue's generation grows, and a list holds the item.
    """
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
