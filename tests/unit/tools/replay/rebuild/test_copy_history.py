"""What a rebuild decides without a broker: names, manifest, partitions, promotion, comparison."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from streams.contract.item_records import ItemDecoder
from streams.contract.newest_lists import LatestLists
from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import Item, Recommendation, UserVector, encode
from streams.contract.windows import WindowState, decode_window
from streams.errors import BrokerError, InputError, RunError, TopicError
from streams.kafka.publisher import KeyHomes, partition_of
from streams.recommender.list_encoding import list_id
from streams.sequencer.window import absorb
from streams.settings.kafka import CONTRACT_TOPICS
from streams.settings.load import KafkaSettings, Settings, load_settings
from streams.settings.record_limits import WindowBounds
from tests.support.builders import FakeRecord, make_event, write_key
from tests.support.programs import arguments
from tools.commands.data import replay
from tools.files.log_source import LogSource
from tools.replay.identity import LogReplay
from tools.replay.rebuild import copy_topics
from tools.replay.rebuild.compare_runs import Held, compare_held, settings_notes, source_notes, was_promoted
from tools.replay.rebuild.copy_history import check_counts
from tools.replay.rebuild.copy_topics import EventCopier, Kept, changes_of, keep_newest, target_of
from tools.replay.rebuild.manifest import (
    Manifest,
    begin_or_go_on,
    bounds_of,
    folder_of,
    is_history_gone,
    load_manifest,
    run_lock,
    run_settings,
    save_manifest,
)
from tools.replay.rebuild.options import check_usage
from tools.replay.rebuild.promote import check_copied, check_deployment, check_live
from tools.replay.rebuild.promotion_plan import (
    NOT_ON_EVENTS,
    Promotion,
    n_losing,
    promoted_vectors,
    promoted_windows,
    renewed_users,
)
from tools.replay.rebuild.run_workers import run_variables, what_to_see


def make_manifest(**changes: object) -> Manifest:
    """Return a manifest of a run from the live topic."""
    fields: dict[str, object] = {
        "run": "r", "live_prefix": "", "source": "topic", "live_partitions": 2, "partitions": 2,
        "bounds": bounds_of(Settings()), "artifact": "a1", "begins": {0: 0, 1: 0}, "copied": {0: 5, 1: 7}, "counts": {"repeated": 0},
    }  # fmt: skip
    return Manifest(**(fields | changes))  # type: ignore[arg-type]  # the fields of the struct


def window(*ids: str, revision: int | None = None, first_offset: int = 0) -> bytes:
    """Return the encoded window of events of u1."""
    events = [(make_event(name, 1_000 + i), first_offset + i) for i, name in enumerate(ids)]
    state = absorb(None, events, WindowBounds()).state
    assert state is not None
    state.revision = state.revision if revision is None else revision
    return encode(state)


def vector(revision: int, artifact: str = "a1") -> bytes:
    """Return the encoded vectors of u1."""
    return encode(UserVector(1, "u1", revision, artifact, b"\0\0\0\0", b""))


def made_list(revision: int, *, offset: int = 0, artifact: str = "a1") -> Recommendation:
    """Return a list of u1."""
    made = list_id("u1", revision, "e", artifact)
    return Recommendation(1, made, "u1", revision, "e", offset, 1, 2, artifact, 1, "none", [])


def offsets(at: int) -> Callable[[bytes, WindowState], int]:
    """Return an offset for every trigger."""
    return lambda _key, _state: at


@pytest.mark.parametrize("run", ["../x", "", ".x", "a/b", "x" * 56])
def test_a_run_name_cannot_leave_its_folder(tmp_path: Path, run: str) -> None:
    with pytest.raises(InputError, match="letters"):
        folder_of(tmp_path, run)


def test_a_run_has_topics_of_its_own() -> None:
    live = Settings(kafka=replace(Settings().kafka, topic_prefix="shop-"))
    into = run_settings(live, "wider", 8)
    assert (into.kafka.topic("events"), into.kafka.partitions) == ("shop-wider.events", 8)
    assert into.sequencer == live.sequencer


@pytest.mark.parametrize("setting", ["topic_events", "topic_user_vectors", "topic_events_rejected"])
def test_a_run_never_writes_to_topics_named_in_full(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers have the deployment's variables, and would write to the live topics."""
    variable = f"HEADRACE_{setting.upper()}"
    monkeypatch.setenv(variable, "source.x")
    into = run_settings(load_settings(), "wider", 8)
    own = {f"wider.{name}" for name in CONTRACT_TOPICS}
    assert {into.kafka.topic(name) for name in CONTRACT_TOPICS} == own
    worker = load_settings(os.environ | run_variables(into)).kafka
    assert {worker.topic(name) for name in CONTRACT_TOPICS} == own


def test_a_run_is_of_the_topics_that_it_was_begun_with(tmp_path: Path) -> None:
    """Another events topic under the same prefix is another history."""
    begin_or_go_on(tmp_path, make_manifest(live_topics={"topic_events": "a"}))
    with pytest.raises(InputError, match="live_topics is {}, the run began with {'topic_events': 'a'}"):
        begin_or_go_on(tmp_path, make_manifest())
    named = KafkaSettings(topic_prefix=make_manifest().live_prefix, topic_events="a")
    check_deployment(make_manifest(live_topics={"topic_events": "a"}), named)
    with pytest.raises(InputError, match="name them as they were"):
        check_deployment(make_manifest(), named)


def test_the_manifest_survives_and_holds_the_run_to_what_it_was_begun_with(tmp_path: Path) -> None:
    begun = begin_or_go_on(tmp_path, make_manifest())
    begun.copied[0] = 9
    save_manifest(tmp_path, begun)
    assert begin_or_go_on(tmp_path, make_manifest(copied={})).copied == {0: 9, 1: 7}
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    with pytest.raises(InputError, match="artifact is a2, the run began with a1"):
        begin_or_go_on(tmp_path, make_manifest(artifact="a2"))
    with pytest.raises(InputError, match="bounds is"):
        begin_or_go_on(tmp_path, make_manifest(bounds={}))
    with pytest.raises(InputError, match="partitioner is crc32, the run began with murmur2"):
        begin_or_go_on(tmp_path, make_manifest(partitioner="crc32"))


def test_a_manifest_without_a_partitioner_is_of_the_default(tmp_path: Path) -> None:
    """It was written when there was no other."""
    path = tmp_path / "manifest.json"
    save_manifest(tmp_path, make_manifest(partitioner="crc32"))
    assert begin_or_go_on(tmp_path, make_manifest(partitioner="crc32")).partitioner == "crc32"
    without = json.loads(path.read_text())
    del without["partitioner"]
    path.write_text(json.dumps(without))
    assert load_manifest(tmp_path).partitioner == "murmur2"


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="not a manifest"):
        load_manifest(tmp_path)


def test_a_run_is_worked_on_by_one_command(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunError, match="worked on by process"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"counts": {"repeated": 1}}, False),
        ({"begins": {0: 3, 1: 0}}, False),
        ({"partitions": 3}, False),
        ({"source": "log@1"}, False),
    ],
)
def test_offsets_are_the_live_ones_only_where_all_was_copied_once(changes: dict[str, object], expected: bool) -> None:
    assert make_manifest(**changes).has_live_offsets is expected


def test_a_copied_record_keeps_its_partition_or_follows_its_key() -> None:
    record = FakeRecord(b"u1", b"", partition=1)
    assert target_of(record, 2, KeyHomes(2, "murmur2")) == 1
    assert target_of(record, 2, KeyHomes(16, "murmur2")) == partition_of(b"u1", 16)
    assert target_of(record, 2, KeyHomes(16, "crc32")) == partition_of(b"u1", 16, "crc32")
    assert target_of(FakeRecord(None, b"", partition=5), 8, KeyHomes(3, "murmur2")) == 2


class LosingProducer:
    """Takes batches; the broker acknowledges none of them where it ``loses``."""

    def __init__(self, *, loses: bool) -> None:
        self.loses = loses

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(1_000, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.loses:
            future.set_exception(KafkaError("gone"))
        else:
            future.set_result(SimpleNamespace(offset=0))
        return future

    async def stop(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("loses", "expected"), [(True, ({0: 0}, [])), (False, ({0: 5}, [1]))])
def test_a_checkpoint_comes_after_delivery(
    monkeypatch: pytest.MonkeyPatch, loses: bool, expected: tuple[dict[int, int], list[int]]
) -> None:
    """A batch that the broker did not take moves no position: it is copied again."""
    positions, saved = {0: 0}, list[int]()

    async def read(_settings: object, _topic: str, at: dict[int, int], ends: dict[int, int]) -> Any:
        yield [FakeRecord(b"u", b"v", offset) for offset in range(5)]
        at.update(ends)

    async def opened(*_: object) -> LosingProducer:
        return LosingProducer(loses=loses)

    monkeypatch.setattr(copy_topics, "read_ranges", read)
    monkeypatch.setattr(copy_topics, "open_producer", opened)
    copier = EventCopier(Settings().kafka, Settings().kafka, positions, lambda: saved.append(1))
    with pytest.raises(BrokerError) if loses else contextlib.nullcontext():
        asyncio.run(copier.copy({0: 5}))
    assert (positions, saved) == expected


def test_a_promotion_raises_revisions_above_the_live_ones_and_is_repeat_safe() -> None:
    """The four cases. A window that was written is not written again.

    The run's count of accepted events stays where it can.
    """
    run = {b"same": window("a"), b"less": window("a", "b"), b"more": window("a", "b", revision=90), b"new": window("a")}
    live = {
        b"same": window("a", first_offset=4),
        b"less": window("b", revision=9),
        b"more": window("b"),
        b"gone": window("c"),
    }
    written = promoted_windows(run, live, offsets(77))
    revisions = {key: decode_window(value).revision for key, value in written.items()}
    assert revisions == {b"less": 10, b"more": 90, b"new": 1, b"gone": 2}
    assert decode_window(written[b"gone"]).items == []
    assert decode_window(written[b"less"]).trigger.offset == 77
    assert promoted_windows(run, live | written, offsets(NOT_ON_EVENTS)) == {}


def test_a_user_emptied_by_a_promotion_who_returns_is_heard_by_consumers() -> None:
    """The next revision follows the old one.

    After a tombstone, consumers would drop the list of revision 1.
    """
    latest = LatestLists()
    assert latest.accept(made_list(57))
    emptied = decode_window(promoted_windows({}, {b"u1": window("a", revision=57)}, offsets(0))[b"u1"])
    state = absorb(emptied, [(make_event("back", 500), 8)], WindowBounds()).state
    assert state is not None and [item.event_id for item in state.items] == ["back"]
    assert latest.accept(made_list(state.revision))


def test_promoted_vectors_leave_each_written_window_in_need_of_its_list() -> None:
    windows = {b"u1": window("a", revision=10), b"u2": window("a", revision=4), b"u3": encode(absorbed_empty(6))}
    written = promoted_vectors(
        {b"u1": vector(3), b"u2": vector(4)}, {b"u1": vector(9, "old"), b"u2": vector(4), b"u3": vector(5)}, windows
    )
    assert written == {b"u1": vector(9), b"u3": None}


def absorbed_empty(revision: int) -> WindowState:
    """Return a window without events."""
    state = decode_window(window("a"))
    return WindowState(1, revision, 0, [], state.trigger)


def test_an_equal_window_is_renewed_where_the_artifact_is_another() -> None:
    renewed = renewed_users({b"u1": vector(1, "a2"), b"u2": vector(1)}, {b"u1": vector(1), b"u2": vector(1)})
    assert renewed == {b"u1"}
    written = promoted_windows({b"u1": window("a")}, {b"u1": window("a")}, offsets(0), renewed=renewed)
    assert decode_window(written[b"u1"]).revision == 2


def test_a_promotion_counts_users_who_lose_events() -> None:
    """Whoever only gains, or is not written, loses nothing; an emptied user does."""
    live = {b"less": window("a", "b"), b"more": window("a"), b"gone": window("c"), b"kept": window("d")}
    written = {b"less": window("b"), b"more": window("a", "z"), b"new": window("n"), b"gone": encode(absorbed_empty(3))}
    assert n_losing(written, live) == 2


@pytest.mark.parametrize(
    ("changes", "begins", "expected"),
    [
        ({}, {0: 0, 1: 0}, False),
        ({}, {0: 4, 1: 0}, False),  # deleted after it was copied
        ({"begins": {0: 3, 1: 0}}, {0: 3, 1: 0}, True),
        ({"from_ts": 5}, {0: 0, 1: 0}, True),
        ({"source": "log@1", "begins": {}}, {0: 0, 1: 0}, False),
        ({"source": "log@1", "begins": {}}, {0: 0, 1: 2}, True),
    ],
)
def test_history_is_gone_where_the_run_begins_later(
    changes: dict[str, object], begins: dict[int, int], expected: bool
) -> None:
    assert is_history_gone(make_manifest(**changes), begins) is expected


def test_a_promotion_says_what_is_lost() -> None:
    plan = Promotion({b"u1": encode(absorbed_empty(3))}, {}, {}, {0: 0}, {0: 5}, 4, 1, True)
    for said in ("1 of them of users", "1 users have events", "reads 4 events", "lost for good"):
        assert said in plan.as_text()
    assert "lost for good" not in replace(plan, is_history_gone=False).as_text()


def test_a_run_that_lacks_what_the_live_windows_know_is_not_promoted() -> None:
    """A log, and a range with an end, lack it by intention."""
    check_copied(make_manifest(), {0: 5, 1: 6})
    with pytest.raises(RunError, match="has read 2 events that the run has not; leave the live workers stopped"):
        check_copied(make_manifest(), {0: 7, 1: 6})
    check_copied(make_manifest(to_ts=9), {0: 7})
    check_copied(make_manifest(source="log@1", copied={}), {0: 7})


def test_a_promotion_needs_the_partition_count_of_the_live_topics() -> None:
    """With the new count in the settings, a promotion would write onto the old topics in place."""
    kafka = Settings().kafka
    check_live(make_manifest(partitions=16), replace(kafka, partitions=2))
    with pytest.raises(InputError, match="HEADRACE_PARTITIONS is 16; set it to 2"):
        check_live(make_manifest(partitions=16), replace(kafka, partitions=16))


def test_a_promotion_needs_the_partitioner_of_the_run() -> None:
    """The run's users would be on other partitions than the live ones."""
    kafka = replace(Settings().kafka, partitions=2)
    check_live(make_manifest(partitioner="crc32"), replace(kafka, partitioner="crc32"))
    with pytest.raises(
        InputError, match="made with partitioner=crc32, HEADRACE_PARTITIONER is murmur2; set it to crc32"
    ):
        check_live(make_manifest(partitioner="crc32"), kafka)


def test_a_run_of_a_topic_that_has_grown_has_another_partition_count() -> None:
    """Its users have moved: only a new partition for each brings a user's events together again."""
    check_counts({"events": 4, "sequences": 4}, 4, 4)
    check_counts({"events": 6, "sequences": 4}, 4, 6)
    check_counts({"events": 6}, 6, 6)
    with pytest.raises(TopicError, match="events has grown to 6 partitions, .* --partitions 6"):
        check_counts({"events": 6, "sequences": 4}, 4, 4)
    with pytest.raises(TopicError, match="sequences has 4 partitions, HEADRACE_PARTITIONS is 6; set it so"):
        check_counts({"events": 6, "sequences": 4}, 6, 6)
    with pytest.raises(TopicError, match="events has 6 partitions, HEADRACE_PARTITIONS is 4; set it so"):
        check_counts({"events": 6, "sequences": 6}, 4, 4)


def test_without_workers_of_its_own_a_command_says_which_to_start() -> None:
    into = run_settings(Settings(), "p16", 16).kafka
    assert "HEADRACE_TOPIC_PREFIX=p16. and HEADRACE_PARTITIONS=16" in what_to_see(into, [])


def test_a_run_gets_the_entries_that_readers_go_on_with() -> None:
    """Of a bad record, the entry before it is copied; a removal is copied as such."""
    good = encode(Item(1, "a", "title"))
    found: dict[bytes, Kept] = {}
    for value, ts in ((good, 1), (b"\xc1 poison", 2), (encode(Item(1, "b", "title")), 3)):
        keep_newest(found, FakeRecord(b"a", value, topic="items", timestamp=ts), ItemDecoder().decode)
    assert found == {b"a": Kept(good, 1)}
    keep_newest(found, FakeRecord(b"a", None, topic="items", timestamp=4), ItemDecoder().decode)
    keep_newest(found, FakeRecord(b"u", b"anything", topic="users", timestamp=5), None)
    assert found == {b"a": Kept(None, 4), b"u": Kept(b"anything", 5)}


def test_a_run_in_use_takes_only_what_is_newer() -> None:
    """Before that its catalogue is made the live one, removed items included."""
    live = {b"a": Kept(b"1", 10), b"b": Kept(b"2", 10), b"c": Kept(None, 30), b"n": Kept(b"4", 1), b"e": Kept(b"5", 40)}
    run = {b"a": Kept(b"x", 20), b"b": Kept(b"y", 5), b"c": Kept(b"3", 20), b"o": Kept(b"6", 1), b"e": Kept(b"5", 20)}
    assert changes_of(live, run, is_live=True) == {b"b": b"2", b"c": None, b"n": b"4"}
    assert changes_of(live, run, is_live=False) == {b"a": b"1", b"b": b"2", b"c": None, b"n": b"4", b"o": None}


def test_the_run_of_a_log_depends_on_the_key_of_user_ids(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("x")
    write_key(tmp_path / "key")
    log, kafka = LogReplay(LogSource((tmp_path / "log.csv",))), Settings().kafka
    under_key = open_pseudonyms(replace(kafka, user_id_key_file=str(tmp_path / "key")))
    assert log.wire_run(open_pseudonyms(kafka)) != log.wire_run(under_key)


def test_lists_that_retention_may_have_deleted_are_left_out() -> None:
    run = Held({}, {b"u1": made_list(1), b"u2": made_list(1)})
    live = Held({}, {b"u1": made_list(1), b"u3": made_list(1)}, is_trimmed=True)
    found = compare_held(run, live, with_offsets=True, with_revisions=True)
    assert found.is_equal and "of 2 users are on one side only" in found.notes[0]
    assert not compare_held(run, replace(live, is_trimmed=False), with_offsets=True, with_revisions=True).is_equal


def test_a_comparison_leaves_out_what_it_must_and_nothing_else() -> None:
    run = Held({b"u1": window("a", first_offset=3)}, {b"u1": made_list(1, offset=3)})
    live = Held({b"u1": window("a", revision=2), b"gone": encode(absorbed_empty(3))}, {b"u1": made_list(2)})
    assert not compare_held(run, live, with_offsets=False, with_revisions=True).is_equal
    assert not compare_held(run, live, with_offsets=True, with_revisions=False).is_equal
    assert compare_held(run, live, with_offsets=False, with_revisions=False).is_equal
    other = Held({b"u1": window("b", revision=2)}, live.lists)
    found = compare_held(run, other, with_offsets=False, with_revisions=False)
    assert found.as_dict()["windows"] == {"missing": 0, "extra": 0, "wrong": 1}
    assert found.as_dict()["first"][0]["where"] == "sequences"


def test_notes_name_what_may_be_the_reason() -> None:
    settings = Settings(sequencer=replace(Settings().sequencer, window_max_events=20))
    assert any("max_events is 20 here, 50 in the run" in note for note in settings_notes(make_manifest(), settings))
    assert source_notes(make_manifest(state="caught-up"), {0: 5, 1: 7}) == []
    notes = " ".join(source_notes(make_manifest(to_ts=9, counts={}), {0: 6, 1: 7}))
    assert (
        "interrupted" in notes and "outside of its range" in notes and "1 live events" in notes and "offsets" in notes
    )


def test_a_promotion_is_remembered_for_its_live_topics(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    save_manifest(tmp_path / "r", make_manifest(promotions=1))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_bytes(b"{")
    assert was_promoted(tmp_path, "") and not was_promoted(tmp_path, "other-")


@pytest.mark.parametrize(
    "argv",
    [
        ["--into", "r"],
        ["log.csv", "--into", "r", "--from-topic"],
        ["--from-topic"],
        ["log.csv", "--partitions", "3"],
        ["log.csv", "--into", "r", "--to-ts", "1700000000000"],
        ["log.csv", "--compare", "r"],
        ["--into", "r", "--from-topic", "--resume"],
        ["--into", "r", "--from-topic", "--partitions", "0"],
        ["--into", "r", "--from-topic", "--force"],
    ],
)
def test_options_that_do_not_go_together_are_refused(argv: list[str]) -> None:
    with pytest.raises(InputError):
        check_usage(arguments(replay, *argv))
