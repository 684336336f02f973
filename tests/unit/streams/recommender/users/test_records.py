"""Records of users are kept encoded, the newest of each, of own partitions alone."""

from __future__ import annotations

import pytest

from models.ranking.newcomers.social import MAX_FOLLOWED
from streams.contract.records import User
from streams.recommender.users.records import UserRecords, followed_keys


def user(user_id: str, age: float | None = None, follows: list[str] | None = None) -> User:
    """Return a user with an age."""
    return User(1, user_id, None if age is None else {"age": age}, follows)


def test_the_newest_record_counts_and_an_older_one_changes_nothing() -> None:
    """A reader that begins again gives old records again."""
    records = UserRecords()
    records.put(0, b"u", 4, user("u", 20))
    records.put(0, b"u", 9, user("u", 21))
    records.put(0, b"u", 4, user("u", 20))
    found = records.get(0, b"u")
    assert found is not None and (found.offset, found.user.features) == (9, {"age": 21.0})
    assert records.next_offset(0) == 10 and records.next_offset(1) is None
    assert records.get(1, b"u") is None and not records.has(1, b"u")


def test_a_digest_tells_contents_apart_and_nothing_else() -> None:
    """An equal record at another offset has the same digest."""
    records = UserRecords()
    records.put(0, b"u", 1, user("u", 20))
    first = records.get(0, b"u")
    records.put(0, b"u", 2, user("u", 20))
    same = records.get(0, b"u")
    records.put(0, b"u", 3, user("u", 21))
    other = records.get(0, b"u")
    assert first and same and other
    assert first.digest == same.digest != other.digest and len(first.digest) == 8


def test_removals_and_lost_partitions_leave_nothing() -> None:
    """The number of users is that of those who are there."""
    records = UserRecords()
    for n in range(6):
        records.put(n % 2, f"u{n}".encode(), n, user(f"u{n}", n, ["v"]))
    records.put(0, b"u0", 10, None)
    records.remove(1, [b"u1", b"nobody"])
    assert len(records) == 4 and sorted(records.keys(0)) == [b"u2", b"u4"] and set(records.follows()) == {b"v"}
    records.keep({0})
    assert len(records) == 2 and records.next_offset(1) is None


@pytest.mark.parametrize("n", [3, MAX_FOLLOWED + 5])
def test_the_first_followed_users_count_without_oneself(n: int) -> None:
    """As many as the models take."""
    found = followed_keys(user("u", None, ["u", *(f"v{i}" for i in range(n))]))
    assert found == [f"v{i}".encode() for i in range(min(n, MAX_FOLLOWED - 1))]
