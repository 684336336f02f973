"""What a proof makes of the records of topics, and of free text."""

from __future__ import annotations

from random import Random

import pytest

from streams.contract.marks import new_life
from streams.contract.records import User, encode
from streams.errors import InputError
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, FakeRecord, make_event
from tools.announcing.forgetting.ask import without_follows
from tools.announcing.forgetting.files_proof import Sought
from tools.announcing.forgetting.people import Person, people_of
from tools.announcing.forgetting.search import BLOCK_BYTES, Names
from tools.announcing.forgetting.topics_proof import Traces, _Log, judge_log, owners_of

MARK = T0 + 1_000
WANTED = {b"user-1": b"user-1", b"shop-1": b"user-1"}


def window(ts: int, *, is_new: bool) -> bytes:
    """Return the window of one event."""
    made = absorb(new_life(MARK) if is_new else None, [(make_event("e", ts), 0)], WindowBounds()).state
    assert made is not None
    return encode(made)


def kinds(name: str, newest: bytes | None, mark: int | None = MARK) -> list[str]:
    """Return what two records of the user on a topic count as, of which this is the newest."""
    log = _Log(FakeRecord(b"user-1", newest), n_records=2)
    return [found.kind for found in judge_log(name, log, mark, "topic", "then")]


def test_state_of_a_former_life_is_left_and_the_log_stays_for_a_while() -> None:
    """A tombstone leaves only the log; a window of a later life is of a user who came back."""
    assert kinds("sequences", window(T0, is_new=False)) == ["left", "stays"]
    assert kinds("sequences", window(MARK + 1, is_new=True)) == ["new life", "stays"]
    assert kinds("sequences", None) == ["stays"]
    assert kinds("sequences", window(MARK + 1, is_new=True), mark=None) == ["left", "stays"], "nobody asked"
    assert kinds("events", b"an event") == ["stays"]


def test_a_record_is_of_a_user_by_key_by_field_and_by_event() -> None:
    """An item that has the same name as a user says nothing of the user."""
    record = FakeRecord(b"u2", encode(User(1, "u2", None, ["shop-1"])))
    assert owners_of("users", record, WANTED, {}) == {b"user-1"}
    assert owners_of("events", FakeRecord(b"user-1", b"\xff"), WANTED, {}) == {b"user-1"}
    assert owners_of("events.rejected", FakeRecord(None, b"\xff user-1"), WANTED, {}) == {b"user-1"}
    of_event = FakeRecord(b"u2", window(T0, is_new=False))
    assert owners_of("sequences", of_event, WANTED, {"e": b"user-1"}) == {b"user-1"}
    assert owners_of("sequences", of_event, WANTED, {}) == set()
    assert owners_of("items", FakeRecord(b"i1", b'{"user_id": "user-1"}'), WANTED, {}) == set()


def test_free_text_names_a_user_only_where_the_name_stands_alone() -> None:
    """A short id, or one of digits, is a common word: only its quoted form counts."""
    long, short = Person("user-1", "user-1"), Person("42", "42")
    traces = Traces([long, short], event_ids={b"42": {"event-7"}})
    sought = Sought(traces)

    def named(text: str) -> dict[str, int]:
        return {person.given: n for person, n in sought.count(memoryview(text.encode())).items()}

    assert named("for user-1, at") == {"user-1": 1} and named("user-12 a-user-1") == {}
    assert named("key b'42'") == {"42": 1} and named("42 records") == {}
    assert named(f"of {long.short} at") == {"user-1": 1}, "the name that workers log"
    assert named(f"of {long.short}0 at") == {}, "another short name"
    assert named("user-1 event-7 user-1") == {"user-1": 2, "42": 1}


def test_names_are_found_wherever_blocks_of_a_file_end() -> None:
    """A search of many names finds what a search of each one finds."""
    rng = Random(5)  # noqa: S311 - reproducible bytes, nothing secret
    names = frozenset(bytes(rng.choices(b"ab", k=rng.randrange(1, 14))) for _ in range(30))
    content = bytearray(rng.choices(b"abc", k=4_000))
    content += bytes(BLOCK_BYTES - len(content) - 5) + bytes(rng.choices(b"ab", k=40))
    found = sorted(Names(names).find(memoryview(content)))
    places = [at for at, byte in enumerate(content) if byte]
    expected = sorted((at, name) for name in names for at in places if content.startswith(name, at))
    assert found == expected and any(at < BLOCK_BYTES < at + len(name) for at, name in found)


def test_other_users_stop_to_follow_the_forgotten_one() -> None:
    """Their records are theirs: all else in them stays."""
    users = {b"a": encode(User(1, "a", {"x": 1.0}, ["b", "c"])), b"c": encode(User(1, "c", None, ["a"])), b"d": b"\xff"}
    assert without_follows(users, {"b"}) == {b"a": encode(User(1, "a", {"x": 1.0}, ["c"]))}


def test_nobody_and_impossible_ids_are_bad_usage() -> None:
    """Nothing is sent then."""
    for users in ([], ["x" * 300], [""], ["\ud800"]):
        with pytest.raises(InputError):
            people_of(users, None, None)
    assert [one.user_id for one in people_of(["a", "b", "a"], None, None)] == ["a", "b"]
