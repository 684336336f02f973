"""The oracle works out what the two apps make of a log, whatever the batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from models.artifact.artifact import load_artifact
from models.ranking.pipeline import Catalogue, Pipeline
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.catalogue.seen_index import SeenIndex
from streams.contract.records import EventDecoder, Item, Recommendation, encode
from streams.contract.windows import decode_window
from streams.errors import InputError
from streams.health.counters import Counts, Metrics
from streams.kafka.publisher import KeyHomes, partition_of
from streams.recommender.list_encoding import Versions, recommendations
from streams.recommender.list_records import behaviours
from streams.recommender.model.artifact_encoder import ArtifactEncoder
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Model
from streams.sequencer.absorb_batch import absorb_batch
from streams.settings.load import KafkaSettings, RecommenderSettings, load_settings
from streams.settings.record_limits import MAX_RUNS, WindowBounds
from tests.support import tiny
from tests.support.builders import T0, FakeRecord, make_event
from tests.support.oracle import windows_of
from tools.oracle import expected as oracle
from tools.oracle.compare import compare_lists
from tools.oracle.expected import ListOracle, Truth, WindowOracle

pytestmark = pytest.mark.model

SKEW_MS = 1_000
#: Small enough that events leave the window, are forgotten, and come too late.
BOUNDS = WindowBounds(max_events=3, max_age_ms=400, allowed_lateness_ms=300, max_recent=2, max_seen=4)
USERS = {0: ("u0", "u2"), 1: ("u1",)}  # by partition


def truth_of(records: Iterable[FakeRecord], bounds: WindowBounds = BOUNDS) -> Truth:
    """Return the oracle's answer."""
    return windows_of(records, bounds, max_future_skew_ms=SKEW_MS)


@st.composite
def logs(draw: st.DrawFn) -> dict[int, list[FakeRecord]]:
    """Return records by partition: any order, repeats, runs, malformed events and future ones."""
    made: dict[int, list[FakeRecord]] = {}
    for partition, users in USERS.items():
        records = made.setdefault(partition, [])
        for offset in range(draw(st.integers(0, 25))):
            user = draw(st.sampled_from(users))
            number = draw(st.integers(0, 12))
            run = draw(st.sampled_from([None, *(f"r{i}" for i in range(MAX_RUNS + 2))]))
            ts = T0 + draw(st.integers(0, 600)) + draw(st.sampled_from([0, 0, 0, 10 * SKEW_MS]))
            event = make_event(f"e{number}", ts, user_id=user, item_id=f"i{number % 5}", run=run, seq=run and number)
            value = draw(st.sampled_from([encode(event), encode(event), encode(event), b"\xc1"]))
            records.append(FakeRecord(user.encode(), value, offset, partition))
    return made


def sequenced(records: list[FakeRecord], cuts: list[int]) -> tuple[dict[bytes, bytes], Counts, set[tuple[int, int]]]:
    """Return a sequencer's windows, counts and rejects after batches that end at ``cuts``."""
    windows: dict[bytes, bytes] = {}
    counts, rejected = Counts(), set()
    for start, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        result = absorb_batch(records[start:end], windows.get, EventDecoder(SKEW_MS), BOUNDS, T0)
        windows |= result.windows
        counts.add(result.counts)
        rejected |= {(reject.record.partition, reject.record.offset) for reject in result.rejects}
    return windows, counts, rejected


@given(logs(), st.integers(1, 5), st.data())
def test_the_truth_is_what_any_batches_give(
    log: dict[int, list[FakeRecord]], n_per_fold: int, data: st.DataObject
) -> None:
    """Windows are equal in every byte, also in the order of runs and marks; so are the counts."""
    windows: dict[bytes, bytes] = {}
    counts: dict[int, Counts] = {}
    rejected: set[tuple[int, int]] = set()
    for partition, records in log.items():
        cuts = sorted(data.draw(st.sets(st.integers(1, len(records) - 1)))) if len(records) > 1 else []
        own, counted, refused = sequenced(records, cuts)
        windows |= own
        rejected |= refused
        counts |= {partition: counted} if records else {}
    mixed = data.draw(st.permutations([p for p, records in log.items() for _ in records]))
    turns = {partition: iter(records) for partition, records in log.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "EVENTS_PER_FOLD", n_per_fold)
        found = truth_of(next(turns[partition]) for partition in mixed)
    assert found == Truth(windows, counts, rejected)


def test_the_clock_is_the_records_time() -> None:
    """An event may lie ahead of its record by the skew, and no further."""
    records = [
        FakeRecord(b"u1", encode(make_event("e1", T0 + SKEW_MS)), 0, timestamp=T0),
        FakeRecord(b"u1", encode(make_event("e2", T0 + SKEW_MS + 1)), 1, timestamp=T0),
        FakeRecord(b"u1", encode(make_event("e3", T0 + SKEW_MS + 1)), 2, timestamp=T0 + 1),
    ]
    found = truth_of(records)
    assert found.rejected == {(0, 1)}
    assert found.counts == {0: Counts(read=3, accepted=2, rejected=1)}
    state = decode_window(found.windows[b"u1"])
    assert (state.revision, state.trigger.event_id, state.trigger.offset) == (2, "e3", 2)


def test_an_answer_may_be_asked_for_between_records() -> None:
    """What is asked for twice is the same, and later records go on from there."""
    one_by_one = WindowOracle(BOUNDS, max_future_skew_ms=SKEW_MS)
    records = [FakeRecord(b"u1", encode(make_event(f"e{i}", T0 + i)), i) for i in range(4)]
    for record in records:
        one_by_one.add(record)
        assert one_by_one.truth() == truth_of(records[: record.offset + 1])


@pytest.mark.parametrize("offset", [3, 4])
def test_a_record_given_twice_or_out_of_order_is_refused(offset: int) -> None:
    """Otherwise the oracle would count a disturbance as the truth."""
    records = [FakeRecord(b"u1", None, 4), FakeRecord(b"u1", None, offset)]
    with pytest.raises(InputError, match=f"partition 0: offset {offset} after 4"):
        truth_of(records)


def test_a_user_in_two_partitions_is_refused() -> None:
    """There is no one truth then: each partition keeps a window of its own."""
    records = [FakeRecord(b"u1", encode(make_event(f"e{p}")), 0, p) for p in (0, 1)]
    with pytest.raises(InputError, match="partitions 0 and 1"):
        truth_of(records)


@pytest.fixture
def settings(tmp_path: Path) -> RecommenderSettings:
    """Give settings with an embedding cache of the test's own."""
    return RecommenderSettings(device="cpu", encoder_cache_dir=str(tmp_path))


def tiny_items() -> list[Item]:
    """Return the catalogue of the tiny log, and an item that training never saw."""
    known = [Item(1, f"i{i}", f"Item number {i}", category=f"category {i % 5}") for i in range(tiny.N_ITEMS)]
    return [*known, Item(1, "new", "Item number 7", category="category 2")]


def tiny_windows() -> dict[bytes, bytes]:
    """Return windows of 30 users; some have deleted items, one has no item of the catalogue."""
    steps = {f"u{u}": [f"i{(3 * u + 2 * step) % tiny.N_ITEMS}" for step in range(1 + u % 13)] for u in range(30)}
    events = [
        make_event(f"{user}-{step}", tiny.T0 + 60_000 * step, user_id=user, item_id=item)
        for user, items in {**steps, "nobody": ["unknown"]}.items()
        for step, item in enumerate(items)
    ]
    records = (FakeRecord(event.user_id.encode(), encode(event), offset) for offset, event in enumerate(events))
    return truth_of(records, WindowBounds(max_events=8)).windows


def served_lists(windows: dict[bytes, bytes], settings: RecommenderSettings) -> dict[bytes, Recommendation]:
    """Return the lists that a recommender's catalogue and pipeline make of all windows at once."""
    artifact = load_artifact(tiny.artifact())

    async def read_catalogue() -> Catalogue:
        model = Model.of(artifact, settings, ArtifactEncoder(artifact, "cpu", settings).embed)
        records: list[Any] = [FakeRecord(item.item_id.encode(), encode(item), i) for i, item in enumerate(tiny_items())]
        async with ModelThread("model") as thread:
            reader = CatalogueReader(KafkaSettings(), model, thread, Metrics())
            await reader.apply({TopicPartition("items", 0): records})
            return await reader.build()

    catalogue = asyncio.run(read_catalogue())
    states = {key: decode_window(value) for key, value in windows.items()}
    seen = SeenIndex(catalogue.item_ids)
    ranked = Pipeline(artifact, k=settings.list_size, n_candidates=settings.n_candidates).recommend(
        catalogue,
        [behaviours(state) for state in states.values()],
        [seen.items(state.seen) for state in states.values()],
    )
    versions = Versions(artifact.version, catalogue.generation)
    return dict(zip(states, recommendations([*states.items()], ranked, versions, 1_234), strict=True))


@pytest.mark.parametrize("n_per_chunk", [1, 7, 256])
def test_lists_are_those_that_a_recommender_serves(
    n_per_chunk: int, settings: RecommenderSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever shares a chunk; the time of production and the generation are nobody's business."""
    monkeypatch.setattr(oracle, "WINDOWS_PER_CHUNK", n_per_chunk)
    windows = tiny_windows()
    found = ListOracle(tiny.artifact(), tiny_items(), settings).lists(windows)
    assert compare_lists(served_lists(windows, settings), found) == []
    assert {key.decode() for key, made in found.items() if made.degraded == "popular"} == {"nobody"}
    assert {(made.produced_ts, made.index_generation) for made in found.values()} == {(0, 0)}


def test_the_later_of_two_entries_of_an_item_counts(settings: RecommenderSettings) -> None:
    """As on the compacted topic."""
    old = [Item(1, item.item_id, "another title altogether", price=9.0) for item in tiny_items()]
    windows = tiny_windows()
    once = ListOracle(tiny.artifact(), tiny_items(), settings).lists(windows)
    assert ListOracle(tiny.artifact(), [*old, *tiny_items()], settings).lists(windows) == once
    assert compare_lists(ListOracle(tiny.artifact(), old, settings).lists(windows), once) != []


def test_a_catalogue_without_items_gives_empty_lists(settings: RecommenderSettings) -> None:
    """And opens no encoder."""
    found = ListOracle(tiny.artifact(), [], settings).lists(tiny_windows())
    assert {(made.degraded, len(made.items)) for made in found.values()} == {("popular", 0)}
    assert list(Path(settings.encoder_cache_dir).iterdir()) == []


def test_a_damaged_artifact_is_bad_input(tmp_path: Path, settings: RecommenderSettings) -> None:
    """One line that says where."""
    with pytest.raises(InputError, match=r"manifest.*missing"):
        ListOracle(tmp_path, [], settings)


def test_lists_can_be_published(settings: RecommenderSettings) -> None:
    """They are records of the contract."""
    found = ListOracle(tiny.artifact(), tiny_items(), settings).lists(tiny_windows())
    decoder = msgspec.msgpack.Decoder(Recommendation)
    assert all(decoder.decode(encode(made)) == made for made in found.values())


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_events_of_another_partitioner_are_rejected_as_the_sequencer_does(partitioner: str) -> None:
    """Then a user has one truth, in the partition that the setting gives."""
    settings = load_settings({"HEADRACE_PARTITIONER": partitioner, "HEADRACE_PARTITIONS": "3"})
    records = [
        FakeRecord(b"u%d" % user, encode(make_event(f"e{user}-{partition}", user_id=f"u{user}")), user, partition)
        for partition in range(3)
        for user in range(30)
    ]
    oracle = WindowOracle.of(settings)
    for record in records:
        oracle.add(record)
    truth = oracle.truth()
    strays = {(r.partition, r.offset) for r in records if partition_of(r.key or b"", 3, partitioner) != r.partition}
    assert (len(truth.windows), truth.rejected) == (30, strays)
    home = KeyHomes(3, partitioner)
    for partition in range(3):
        batch = [record for record in records if record.partition == partition]
        result = absorb_batch(batch, lambda _key: None, EventDecoder(SKEW_MS), WindowBounds(), T0, home=home)
        assert truth.counts[partition] == result.counts
        assert result.windows.items() <= truth.windows.items()
