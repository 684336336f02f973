"""The fields beside a log line say which record it is about."""

from __future__ import annotations

import logging

import pytest

from streams.contract.log_coordinates import ATTRIBUTE, MAX_RECORDS, about, about_all, about_events


def test_a_record_has_topic_partition_and_offset() -> None:
    """Only what is known is there: a field that is absent is no offset 0."""
    assert about("events", 3, 7, "e1") == {
        ATTRIBUTE: {"topic": "events", "partition": 3, "offset": 7, "event_id": "e1"}
    }
    assert about("events", 3) == {ATTRIBUTE: {"topic": "events", "partition": 3}}
    assert about("events", 3, 0)[ATTRIBUTE]["offset"] == 0
    assert "offset" not in about("events", 3, -1)[ATTRIBUTE]


def test_many_records_are_named_up_to_a_bound() -> None:
    """One foreign producer must not fill the disk."""
    fields = about_all("items", 0, [None, *range(5, 105)])[ATTRIBUTE]
    assert fields["offset"] == 5 and fields["offsets"] == list(range(5, 5 + MAX_RECORDS))
    assert about_all("items", 0, [4])[ATTRIBUTE] == {"topic": "items", "partition": 0, "offset": 4}
    assert about_all("items", 0, [None])[ATTRIBUTE] == {"topic": "items", "partition": 0}


def test_many_events_are_named_up_to_a_bound() -> None:
    fields = about_events("events", [(i % 4, i, f"e{i}") for i in range(50)])[ATTRIBUTE]
    assert (fields["offset"], fields["event_id"], len(fields["events"])) == (0, "e0", MAX_RECORDS)
    assert fields["events"][5] == {"topic": "events", "partition": 1, "offset": 5, "event_id": "e5"}
    assert "events" not in about_events("events", [(0, 1, "e")])[ATTRIBUTE]


def test_the_fields_collide_with_nothing_of_a_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """``logging`` refuses an ``extra`` that would overwrite what a record has."""
    logging.getLogger("streams.test").error("bad %s", "one", extra=about("events", 1, 2))
    assert getattr(caplog.records[0], ATTRIBUTE)["offset"] == 2
