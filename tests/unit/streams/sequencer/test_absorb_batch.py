"""The pure half of the sequencer: batches in, windows, rejects and counts out."""

from __future__ import annotations

import pytest

from streams.contract.kafka_records import record_bytes
from streams.contract.kept_headers import LEFT_OUT, original_headers
from streams.contract.records import EventDecoder
from streams.contract.rejects import Reject
from streams.contract.windows import decode_window
from streams.errors import RecordError
from streams.health.counters import Counts
from streams.kafka.publisher import KeyHomes, partition_of
from streams.sequencer.absorb_batch import absorb_batch
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, FakeRecord, make_event, make_record

DECODER = EventDecoder(60_000)
BOUNDS = WindowBounds()
NOW = T0 + 1_000_000


def test_each_touched_user_is_read_and_written_once() -> None:
    """A batch costs one read and one write per user, however many events the user has in it."""
    reads: list[bytes] = []
    records = [make_record(make_event(f"e{i}", T0 + i, user_id=f"u{i % 3}"), i) for i in range(30)]

    def read(key: bytes) -> None:
        reads.append(key)

    result = absorb_batch(records, read, DECODER, BOUNDS, NOW)
    assert sorted(reads) == [b"u0", b"u1", b"u2"] == sorted(result.windows)
    assert decode_window(result.windows[b"u1"]).revision == 10


def test_the_same_batch_again_changes_nothing() -> None:
    """Repeat-safe: after a crash the batch is read again, and every event of it is a duplicate."""
    records = [make_record(make_event(f"e{i}", T0 + i), i) for i in range(5)]
    first = absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW)
    again = absorb_batch(records, first.windows.get, DECODER, BOUNDS, NOW)
    assert again.windows == {}
    assert again.counts == Counts(read=5, duplicate=5)


def test_a_bad_record_is_rejected_and_the_rest_accepted() -> None:
    """One poisoned record must not cost its neighbours."""
    good = make_record(make_event("e1"), 0)
    bad = FakeRecord(b"u1", b"\xff\x00 not a record", 1, 3)
    result = absorb_batch([good, bad, make_record(make_event("e2"), 2)], lambda _key: None, DECODER, BOUNDS, NOW)
    assert result.counts == Counts(read=3, accepted=2, rejected=1)
    out = result.rejects[0].as_record()
    headers = {name: value.decode() for name, value in out.headers}
    assert (out.key, out.value) == (bad.key, bad.value), "the original bytes must survive"
    assert headers["reason"] == "malformed"
    assert (headers["topic"], headers["partition"], headers["offset"]) == ("events", "3", "1")


def test_a_reject_keeps_the_headers_of_its_record() -> None:
    """A producer's headers come along: none can pose as the reason, and redriving restores all."""
    own = [
        ("traceparent", b"00-ab\xff"),
        ("reason", b"forged"),
        ("traceparent", b"twice"),
        ("nothing", None),
        ("", b"x"),
    ]
    out = Reject(FakeRecord(b"u1", b"x", headers=own), RecordError("type", "ts", "no")).as_record()
    assert dict(out.headers)["reason"] == b"type"
    assert [name for name, _ in out.headers][:2] == ["reason", "field"], "ours come first"
    assert original_headers(out.headers) == [(name, value or b"") for name, value in own]


@pytest.mark.parametrize(
    "own", [[("h", b"x" * 900_000)], [("x" * 90_000, b"")], [(f"h{i}", b"v" * 50) for i in range(9_000)]]
)
def test_headers_cannot_make_a_reject_too_large(own: list[tuple[str, bytes]]) -> None:
    """What is left out is counted, and what fits beside it is kept."""
    out = Reject(FakeRecord(b"u1", b"x", headers=[*own, ("id", b"7")]), RecordError("type", "ts", "no")).as_record()
    assert record_bytes(out) < 20_000
    kept = original_headers(out.headers)
    assert len(kept) + int(dict(out.headers)[LEFT_OUT]) == len(own) + 1
    assert len(own) > 1 or kept == [("id", b"7")]


def test_the_window_names_the_event_that_triggered_it() -> None:
    """A list must be traceable to its event: id, time and offset of the last accepted one."""
    records = [
        make_record(make_event("e1", T0), 7),
        make_record(make_event("e2", T0 + 5), 9),
        make_record(make_event("e1", T0), 11),
    ]
    window = decode_window(absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW).windows[b"u1"])
    assert tuple(window.trigger) == ("e2", T0 + 5, 9)


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_events_on_another_partition_than_their_users_are_rejected(partitioner: str) -> None:
    """Each reject names its remedy; other users' windows are the same as without the strays."""
    home = KeyHomes(4, partitioner)
    records = [
        make_record(make_event(f"e{i}", T0 + i, user_id=f"u{i % 20}"), i)._replace(partition=2) for i in range(60)
    ]
    strays = [record for record in records if partition_of(record.key or b"", 4, partitioner) != 2]
    own = [record for record in records if record not in strays]
    reads: list[bytes] = []

    def read(key: bytes) -> None:
        reads.append(key)

    result = absorb_batch(records, read, DECODER, BOUNDS, NOW, home=home)
    assert 0 < len(own) < len(records)
    assert result.counts == Counts(read=60, accepted=len(own), rejected=len(strays))
    assert [reject.record for reject in result.rejects] == strays
    assert {(reject.error.reason, reject.error.field) for reject in result.rejects} == {("partition", "key")}
    assert result.windows == absorb_batch(own, lambda _key: None, DECODER, BOUNDS, NOW).windows
    assert set(reads) == {record.key for record in own}
    detail, key = result.rejects[0].error.detail, strays[0].key or b""
    other = "crc32" if partitioner == "murmur2" else "murmur2"
    for part in (
        "on partition 2",
        f"must be on {home[key]}",
        f"partitioner={partitioner}",
        f"PARTITIONER={other}",
        "redrive",
    ):
        assert part in detail
    assert len(detail) <= 500
