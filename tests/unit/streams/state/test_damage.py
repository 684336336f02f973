"""State topics that someone else touched, in the pure halves of both workers.

The touches are damage, newer versions, foreign keys and tombstones.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.contract.pseudonyms import short_name
from streams.contract.records import EventDecoder, UserVector, encode, is_user_key
from streams.contract.windows import (
    MAX_REVISION,
    ListWindow,
    Trigger,
    WindowItem,
    WindowState,
    decode_list_window,
    decode_window,
)
from streams.errors import RecordError
from streams.health.counters import Counts, Metrics
from streams.kafka.fenced_writers import FENCE_KEY
from streams.recommender.list_records import DAMAGED, newest_windows, revision_of, stored_vectors
from streams.recommender.removal import fresh_windows
from streams.recommender.waiting.window_queue import WindowQueue
from streams.sequencer.absorb_batch import absorb_batch
from streams.sequencer.mending import Mender
from streams.settings.load import load_settings
from streams.settings.record_limits import MAX_ID_LENGTH, WindowBounds
from streams.state.damage import MAX_SHOWN, PassedOver, describe
from streams.state.recovery import _take_foreign
from tests.support.builders import T0, FakeRecord, make_event, make_record

DECODER, BOUNDS, NOW = EventDecoder(60_000), WindowBounds(), T0 + 1_000_000


def window(revision: int = 3, v: int = 1) -> WindowState:
    """Return a small window."""
    return WindowState(v, revision, T0, [WindowItem(T0, "e0", "i0", "view")], Trigger("e0", T0, 7))


def maps(**changed: Any) -> bytes:
    """Return a window's bytes with other fields."""
    return msgspec.msgpack.encode(msgspec.to_builtins(window()) | changed)


DAMAGE = {
    "empty": b"",
    "garbage": b"\xc1\xff\x00",
    "cut": encode(window())[:-3],
    "text": b"hello",
    "list": b"\x93\x01\x02\x03",
    "nested": b"\x81\xa1x" + b"\x91" * 50_000,
    "not UTF-8": encode(window()).replace(b"\xa2i0", b"\xa2\xff\xfe"),
    "another record": encode(make_event("e1")),
    "negative revision": maps(revision=-5),
    "a revision that cannot grow": maps(revision=2**64 - 1),
    "beyond all time": maps(newest_ts=2**62),
    "no version": maps(v=0),
}
NEWER = {"same shape": maps(v=2), "another shape": msgspec.msgpack.encode({"v": 3, "behaviours": "compressed"})}


@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_a_record_error_for_both_readers(value: bytes) -> None:
    """Nothing else escapes: an error of another kind would end the worker at each start."""
    for decode in (decode_window, decode_list_window):
        with pytest.raises(RecordError) as caught:
            decode(value)
        assert caught.value.reason == "malformed"


@pytest.mark.parametrize("value", NEWER.values(), ids=NEWER)
def test_a_newer_window_is_refused_as_such(value: bytes) -> None:
    """It is not damage: whoever wrote it can read it."""
    for decode in (decode_window, decode_list_window):
        with pytest.raises(RecordError, match="version [23], this worker reads 1; upgrade") as caught:
            decode(value)
        assert caught.value.reason == "version"


@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_window_is_named_and_begun_anew_after_a_tombstone(value: bytes) -> None:
    """Readers forget the old revision first.

    Otherwise no list would come until the new window has passed it.
    """
    records = [make_record(make_event("e1", user_id="a"), 4), make_record(make_event("e2", user_id="b"), 5)]
    windows = {b"a": value}
    first = absorb_batch(records, windows.get, DECODER, BOUNDS, NOW)
    assert list(first.damaged) == [b"a"]
    second = absorb_batch(records, windows.get, DECODER, BOUNDS, NOW, {b"a": None})
    assert second.damaged == {}
    assert second.counts == Counts(read=2, accepted=2)
    written = list(second.out_records())
    assert [(r.key, r.value is None) for r in written] == [(b"a", True), (b"a", False), (b"b", False)]
    assert decode_window(second.windows[b"a"]).revision == 1


def test_a_rebuilt_window_is_written_even_when_no_event_changes_it() -> None:
    """A repeat finds the damage: the window that was read back must not be lost again."""
    records = [make_record(make_event("e0", user_id="a"), 4)]
    result = absorb_batch(records, {b"a": b"\xc1"}.get, DECODER, BOUNDS, NOW, {b"a": window()})
    assert result.counts == Counts(read=1, duplicate=1)
    assert decode_window(result.windows[b"a"]) == window()


@pytest.mark.parametrize("value", NEWER.values(), ids=NEWER)
def test_events_of_a_newer_window_are_rejected_and_the_window_is_left(value: bytes) -> None:
    """An old worker must not write over a window that it cannot read.

    The whole events wait for the upgrade.
    """
    records = [make_record(make_event(f"e{i}", T0 + i, user_id=user), i) for i, user in enumerate("aba")]
    result = absorb_batch(records, {b"a": value}.get, DECODER, BOUNDS, NOW)
    assert result.counts == Counts(read=3, accepted=1, rejected=2)
    assert set(result.windows) == {b"b"}
    assert [(reject.record, reject.error.reason) for reject in result.rejects] == [
        (records[0], "version"),
        (records[2], "version"),
    ]


def test_a_damaged_window_is_rebuilt_from_the_users_events_alone() -> None:
    """As it was made: other users, rejected records and repeats do not count."""
    records = [make_record(make_event(f"e{i}", T0 + i, user_id="ab"[i % 2]), i) for i in range(40)]
    expected = absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW).windows[b"a"]
    mender = Mender(load_settings({}).kafka, DECODER, BOUNDS, 1.0)
    states: dict[bytes, WindowState | None] = {b"a": None, b"unknown": None}
    log = [*records[:20], FakeRecord(b"a", b"\xff", 20), records[3], *records[20:]]
    mender.fold(states, log[:10], NOW)
    mender.fold(states, log[10:], NOW)
    assert states[b"unknown"] is None
    assert states[b"a"] == decode_window(expected)


def test_the_last_window_that_can_be_read_counts() -> None:
    """A damaged record behind a good one in the batch costs nobody a list.

    The note on a skipped record has offset, key and reason.
    """
    records = [
        FakeRecord(b"a", encode(window(4)), 10),
        FakeRecord(b"a", b"\xc1", 11),
        FakeRecord(b"\xff\xfe", encode(window(9)), 12),
        FakeRecord(b"x" * (MAX_ID_LENGTH + 1), encode(window(9)), 13),
        FakeRecord(b"b", NEWER["another shape"], 14),
    ]
    found = newest_windows(records)
    assert [(key, state.revision) for key, state, _ in found.newest] == [(b"a", 4)]
    assert {(passed.offset, passed.key) for passed in found.malformed} == {
        (11, b"a"),
        (12, b"\xff\xfe"),
        (13, b"x" * 129),
    }
    assert [(passed.offset, passed.key) for passed in found.newer] == [(14, b"b")]


def test_a_tombstone_removes_the_user_and_a_window_after_it_begins_a_new_life() -> None:
    """What was before the tombstone no longer counts, what comes after it does."""
    records = [
        FakeRecord(b"gone", encode(window(40)), 0),
        FakeRecord(b"back", encode(window(40)), 1),
        FakeRecord(b"gone", None, 2),
        FakeRecord(b"back", None, 3),
        FakeRecord(b"back", encode(window(1)), 4),
        FakeRecord(FENCE_KEY, None, 5),
        FakeRecord(b"\xff", None, 6),
    ]
    found = newest_windows(records)
    assert [(key, state.revision) for key, state, _ in found.newest] == [(b"back", 1)]
    assert found.removed == {b"gone", b"back"}, "a fence record is nobody's"
    assert found.malformed == []


class Vectors:
    """A table of vectors."""

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self.changelog_topic = self

    def get_topic_name(self) -> str:
        return "user-vectors"

    def read(self, _partition: int, key: bytes) -> bytes | None:
        return self.values.get(key)


def test_lower_revisions_and_damaged_vectors_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Lower revisions and damaged vectors are counted.

    A repeat is no news, a lower revision is a window that somebody wrote, and a damaged vector
    costs no list.
    """
    vectors: Any = Vectors(
        {key: encode(UserVector(1, "u", 5, "artifact", b"", b"")) for key in (b"lower", b"equal", b"higher")}
        | {b"broken": b"\xc1"}
    )
    revisions = {b"lower": 4, b"equal": 5, b"higher": 6, b"broken": 1, b"new": 1}
    newest = [(key, decode_list_window(encode(window(revision))), 0) for key, revision in revisions.items()]
    metrics = Metrics()
    fresh = fresh_windows(newest, 2, vectors, metrics)
    assert [key for key, _, _ in fresh] == [b"higher", b"broken", b"new"]
    assert (metrics.values["windows_older"], metrics.values["vectors_damaged"]) == (1, 1)
    assert f"key {short_name(b'lower')}: revision 4, the user has a list of 5" in caplog.text
    assert "user-vectors-2" in caplog.text
    assert f"key {short_name(b'broken')}: " in caplog.text
    assert "b'lower'" not in caplog.text and "b'broken'" not in caplog.text


@pytest.mark.parametrize("value", [b"", b"\xc1", b"hello", encode(make_event("e"))])
def test_a_damaged_vector_is_none_at_all(value: bytes) -> None:
    """The model makes it anew; until then the user counts as one without vector."""
    assert revision_of(value) == DAMAGED
    assert stored_vectors(value, "artifact", 1, 1) is None


def test_keys_that_recovery_passes_over() -> None:
    """Only keys that are no user's, and only with a value: a fence record is a tombstone."""
    records = [
        FakeRecord(b"u1", b"w", 1),
        FakeRecord(b"\xff", b"w", 2),
        FakeRecord(FENCE_KEY, None, 3),
        FakeRecord(b"", b"w", 4),
    ]
    values = {record.key: record.value for record in records if record.key is not None}
    assert [passed.offset for passed in _take_foreign(values, records)] == [2, 4]
    assert set(values) == {b"u1", FENCE_KEY}


def test_a_user_key_is_counted_in_characters() -> None:
    """As the contract counts ``user_id``."""
    assert is_user_key("ü".encode() * MAX_ID_LENGTH)
    assert not is_user_key("ü".encode() * (MAX_ID_LENGTH + 1))


def test_a_log_line_is_short_however_many_records_and_however_long_a_key() -> None:
    """A foreign producer must not fill the disk."""
    line = describe([PassedOver(i, b"\xff" * 10_000, "why " * 100) for i in range(1_000)])
    assert line.startswith("1000 passed over: offset 0, key b'\\xff")
    assert line.count("offset") == MAX_SHOWN
    assert len(line) < 2_000


def entry(user: str, revision: int) -> tuple[bytes, ListWindow, int]:
    """Return what a batch brings for one user."""
    return user.encode(), decode_list_window(encode(window(revision))), 0


def test_a_removed_user_holds_up_no_batch() -> None:
    """Neither waiting nor in the model's hand, nor given back by it."""
    pending: WindowQueue[str] = WindowQueue()
    pending.add(0, [entry("waits", 1)], "b1")
    assert pending.remove(0, [b"waits", b"unknown"]) == ["b1"]
    pending.add(0, [entry("taken", 1)], "b2")
    (taken,) = pending.take(1_000)
    assert pending.remove(0, [b"taken"]) == ["b2"]
    assert taken.is_removed
    pending.give_back([taken])
    assert len(pending) == 0
    pending.add(0, [entry("taken", 1)], "b3")
    assert pending.done([taken]) == [], "the old life's list must not finish the new life's batch"
    assert pending.done(pending.take(1_000)) == ["b3"]


def test_a_revision_that_can_still_grow_is_a_window() -> None:
    """The limit is far above what a user can have."""
    assert decode_window(encode(window(MAX_REVISION))).revision == MAX_REVISION
