"""What the records of a topic of announcements say: the newest of each key."""

from __future__ import annotations

import pytest

from streams.announcements.follow import Announced, newest
from streams.contract.announcements import RulesRecord
from streams.contract.records import RecordDecoder, encode
from tests.support.builders import FakeRecord

RULES = RulesRecord(1, "shop", "", "0" * 64, 5)


def record(key: bytes | None, value: bytes | None, offset: int) -> FakeRecord:
    return FakeRecord(key, value, offset, topic="rules")


def test_the_newest_record_of_a_key_counts_and_a_tombstone_is_none() -> None:
    other = RulesRecord(1, "media", "a = 1", "1" * 64, 6)
    records = [
        record(b"shop", encode(RULES), 3),
        record(b"media", encode(RULES), 4),
        record(b"media", encode(other), 5),
        record(b"shop", None, 6),
    ]
    assert newest(records, RecordDecoder(RulesRecord)) == {
        "shop": Announced("shop", None, 0, 6),
        "media": Announced("media", other, 0, 5),
    }


def test_each_announcement_has_an_id_of_its_own() -> None:
    """An answer to the first announcement must not count for the second one of the same content."""
    assert Announced("live", None, 0, 3).id != Announced("live", None, 0, 4).id


@pytest.mark.parametrize(
    ("key", "value"),
    [(None, encode(RULES)), (b"", encode(RULES)), (b"\xff", encode(RULES)), (b"shop", b"no"), (b"shop", b"\x80")],
)
def test_a_malformed_record_is_counted_and_does_not_hide_the_one_before(
    key: bytes | None, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    left_out: list[int] = []
    records = [record(b"shop", encode(RULES), 3), record(key, value, 4)]
    found = newest(records, RecordDecoder(RulesRecord), lambda: left_out.append(1))
    assert found == {"shop": Announced("shop", RULES, 0, 3)} and left_out == [1]
    assert "rules: offset 4 of partition 0 left out" in caplog.text
