"""Compressed batches give the records that aiokafka gives, in bounded memory.

The unpacked size of a batch does not matter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.record_size import CutBytes, true_size
from streams.contract.records import MAX_RECORD_BYTES, EventDecoder
from streams.contract.reject_size import MAX_WHOLE_BYTES, kept
from streams.errors import RecordError
from streams.kafka import readers
from streams.kafka.fetching import compressed_batches, unpacking
from streams.kafka.fetching.bounded_fetch import POLL_BYTES, BoundedRecords, bound_fetches
from streams.kafka.fetching.byte_source import CUT_BYTES, PART_BYTES
from streams.settings.load import load_settings
from tests.support.builders import T0
from tests.support.packed import BASE, CODECS, GZIP, LZ4, NONE, SNAPPY, Packed, batch, message_set, some_records

ROOT = Path(__file__).parents[4]
TP = TopicPartition("events", 0)
Shape = tuple[Any, ...]


def shape(record: Any) -> Shape:
    """Return what a consumer sees of a record."""
    headers = [(name, value) for name, value in record.headers]
    return record.offset, record.timestamp, record.timestamp_type, record.key, record.value, headers


def read(data: bytes, records_of: Callable[[bytes], Any] = BoundedRecords) -> list[Shape]:
    """Return all records of a fetch, the way aiokafka's fetcher goes over them."""
    records, found = records_of(data), []
    while records.has_next():
        found += [shape(record) for record in records.next_batch()]
    return found


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small batches come in many pieces; what lz4 calls a block is never below 64 KiB."""
    monkeypatch.setattr(unpacking, "PIECE_BYTES", 700)


RECORDS = {"one": some_records(1, 9), "some": some_records(300, 900), "large": some_records(3, 200_000)}


@pytest.mark.parametrize("records", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize("codec", [NONE, *CODECS.values()])
def test_the_same_records_as_aiokafka_gives(codec: int, records: list[Packed]) -> None:
    """One batch after the other, the last one cut off by the fetch."""
    data = batch(codec, records) + batch(codec, records, BASE + 5_000) + b"cut off"
    assert read(data) == read(data, MemoryRecords)
    assert len(read(data)) == 2 * len(records)


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("records", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_the_same_records_in_pieces(codec: int, records: list[Packed]) -> None:
    data = batch(codec, records)
    assert read(data) == read(data, MemoryRecords)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), codec=st.sampled_from(list(CODECS.values())))
@settings(max_examples=60, deadline=None)
def test_any_records_in_pieces(seed: int, n: int, codec: int) -> None:
    data = batch(codec, some_records(n, 400, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacking, "PIECE_BYTES", 150)
        assert read(data) == read(data, MemoryRecords)


@pytest.mark.parametrize("piece_bytes", [700, 4 << 20])
@pytest.mark.parametrize(("magic", "codec"), [(0, GZIP), (0, SNAPPY), (1, GZIP), (1, SNAPPY), (1, LZ4)])
def test_old_message_sets_too(magic: int, codec: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "PIECE_BYTES", piece_bytes)
    data = message_set(magic, codec, some_records(300, 2_000))
    assert read(data) == read(data, MemoryRecords)
    if magic:
        assert [record[:2] for record in read(data)] == [(BASE + i, T0 + i) for i in range(300)]


def test_the_lz4_of_kafka_0_8_is_refused() -> None:
    wrapper = bytearray(message_set(0, GZIP, some_records(1, 9)))
    wrapper[17] = LZ4
    with pytest.raises(UnsupportedCodecError):
        read(bytes(wrapper))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_huge_key_or_value_is_cut_and_the_rest_is_read(codec: int) -> None:
    """Its neighbours, offset, time and first headers come unchanged, and its size is known."""
    small, huge = Packed(b"u", b"v", [("h", None)]), bytes(PART_BYTES + 5)
    large = [Packed(b"k", huge, [("h", b"x")]), Packed(huge, b"v"), Packed(huge, huge + huge), Packed(None, huge)]
    found = read(batch(codec, [small, *large, small]))
    assert [record[:2] for record in found] == [(BASE + i, T0 + i) for i in range(6)]
    assert [(true_size(key), true_size(value)) for _, _, _, key, value, _ in found] == [
        *((1, 1), (1, len(huge)), (len(huge), 1), (len(huge), 2 * len(huge)), (0, len(huge)), (1, 1))
    ]
    assert {len(part) for record in found[1:5] for part in record[3:5] if isinstance(part, CutBytes)} == {CUT_BYTES}
    assert found[1][5] == [("h", b"x")]
    assert found[5] == (BASE + 5, T0 + 5, 0, *small)


def test_of_many_headers_the_first_are_kept() -> None:
    headers = [(f"h{i}", bytes(10_000)) for i in range(500)]
    (found,) = read(batch(GZIP, [Packed(b"u1", b"v" * MAX_RECORD_BYTES, headers)]))
    assert found[3:5] == (b"u1", b"v" * MAX_RECORD_BYTES)
    assert found[5] == headers[: CUT_BYTES // 10_000]


def test_what_is_cut_is_rejected_with_its_true_size() -> None:
    """Whatever reads it: a cut part is above each limit, and its reject says so."""
    assert MAX_WHOLE_BYTES < PART_BYTES
    assert MAX_RECORD_BYTES < CUT_BYTES
    cut = CutBytes(b"{" * CUT_BYTES, 300_000_000)
    with pytest.raises(RecordError, match="300000000 bytes, limit 65536") as raised:
        EventDecoder(0).decode_event(b"u1", cut, T0)
    assert raised.value.reason == "too-large"
    assert dict(kept(b"u1", cut).headers) == {"truncated": b"value", "size": b"300000000", "key-size": b"2"}
    assert dict(kept(CutBytes(cut, 7 << 20), b"").headers)["key-size"] == str(7 << 20).encode()


@pytest.mark.parametrize("piece_bytes", [100, 4 << 20])
@pytest.mark.parametrize("claimed", [0, 9, 11, 2**31 - 1])
def test_a_wrong_count_of_records_is_corrupt(claimed: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "PIECE_BYTES", piece_bytes)
    data = bytearray(batch(GZIP, some_records(10, 100)))
    data[57:61] = claimed.to_bytes(4, "big")
    with pytest.raises(CorruptRecordException):
        read(bytes(data))


def plain(records: bytes) -> Any:
    """Return a batch that is read in pieces, of records as bytes; it says that they are two."""
    import gzip

    header = bytearray(batch(GZIP, some_records(2, 9))[:61])
    whole = bytes(header) + gzip.compress(records)
    return BoundedRecords(whole[:8] + (len(whole) - 12).to_bytes(4, "big") + whole[12:]).next_batch()


@pytest.mark.parametrize(
    "records",
    [
        b"\xff" * 100_000,  # a number that never ends
        b"\xff\xff\xff\xff\x0f" + bytes(5_000),  # a record of less than nothing
        b"\xfe\xff\xff\xff\x0f" + bytes(5_000),  # a record of 2 GiB that is not there
        # a key longer than its record
        b"\x80\x80\x80\x04\0\0\0\xfe\xff\xff\xff\x0f" + bytes(5_000),
        bytes(5_000),
    ],
)
@pytest.mark.usefixtures("tiny_pieces")
def test_damaged_records_are_corrupt(records: bytes) -> None:
    with pytest.raises(CorruptRecordException):
        list(plain(records))


class Assignment:
    """The consumer's position in one partition, as aiokafka's fetcher keeps it."""

    active = True
    paused = False
    position = BASE

    def state_value(self, _tp: Any) -> Assignment:
        return self

    def consumed_to(self, offset: int) -> None:
        self.position = offset


def polls(data: bytes, max_records: int | None, aborted: Sequence[tuple[int, int]] = ()) -> Iterable[list[Any]]:
    """Yield what each poll gives of a fetch."""
    bound_fetches()
    assignment = Assignment()
    records = fetcher.PartitionRecords(TP, fetcher.MemoryRecords(data), aborted, BASE, None, None, True, 1)
    result = fetcher.FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)
    while result.has_more():
        found = result.getall(max_records)
        yield found
        assert not found or assignment.position >= found[-1].offset + 1


@pytest.mark.parametrize("max_records", [None, 5_000])
@pytest.mark.parametrize(
    "record", [Packed(b"u", bytes(100_000)), Packed(None, None), Packed(b"u", b"v", [("h", b"")] * 999)]
)
def test_a_poll_ends_at_its_bound_and_the_next_goes_on(record: Packed, max_records: int | None) -> None:
    n = {100_000: 400, 0: 50_000, 1: 300}[len(record.value or b"")]
    found = list(polls(batch(GZIP, [record] * n), max_records))
    assert [r.offset for poll in found for r in poll] == [BASE + i for i in range(n)]
    assert len(found) > 2
    overhead = 600 + 70 * len(record.headers)
    assert (
        max(sum(overhead + len(r.value or b"") for r in poll) for poll in found) < 1.5 * fetcher.FetchResult.poll_bytes
    )


def test_a_poll_takes_no_more_records_than_it_may() -> None:
    assert [len(poll) for poll in polls(batch(NONE, some_records(25, 9)), 10)] == [10, 10, 5]
    assert [len(poll) for poll in polls(batch(NONE, some_records(20, 9)), 10)] == [10, 10, 0]


def test_a_poll_may_always_fill_a_batch_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever bounds the process's other consumers before or after."""
    monkeypatch.setattr(fetcher.FetchResult, "poll_bytes", POLL_BYTES, raising=False)
    for of_settings in ((), (100_000, 8 << 20), ()):
        bound_fetches(*of_settings)
    data = batch(NONE, [Packed(b"u", bytes(80))] * 100_000)
    assert [len(poll) for poll in polls(data, 100_000)][0] == 100_000


def test_an_aborted_batch_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = batch(GZIP, some_records(3, 9), producer=7) + batch(NONE, some_records(3, 9), BASE + 3)
    monkeypatch.setattr(compressed_batches, "pieces", None)
    assert [r.offset for poll in polls(data, None, [(7, BASE)]) for r in poll] == [BASE + 3, BASE + 4, BASE + 5]


def test_a_reader_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it starts, for aiokafka takes the names up then."""
    calls: list[str] = []
    monkeypatch.setattr(readers, "bound_fetches", lambda: calls.append("bounded"))

    class Refusing:
        def __init__(self, **_: Any) -> None:
            calls.append("opened")

        async def start(self) -> None:
            raise OSError("no broker")

        async def stop(self) -> None:
            calls.append("stopped")

    import asyncio

    monkeypatch.setattr(readers, "AIOKafkaConsumer", Refusing)
    with pytest.raises(OSError, match="no broker"):
        asyncio.run(readers.start_reader(load_settings({}).kafka))
    assert calls == ["bounded", "opened", "stopped"]


PEAK = """
import sys
from streams.kafka.fetching import bounded_fetch
from streams.contract.record_size import true_size

def status(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

data = sys.stdin.buffer.read()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = status("VmRSS")
count = size = 0
records = bounded_fetch.BoundedRecords(data)
while records.has_next():
    for record in records.next_batch():
        count += 1
        size += true_size(record.value)
print(count, size, status("VmHWM") - before)
"""
#: What docs/operations.md says that unpacking takes of a partition.
UNPACKING_BYTES = 20 << 20
BOMBS = {
    "one record": [Packed(b"u1", bytes(64 << 20))],
    "large records": [Packed(b"u1", bytes(1 << 20))] * 64,
    "small records": [Packed(b"u1", bytes(1_000))] * 64_000,
}


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read as Linux tells it")
@pytest.mark.parametrize("python", ["compiled", "pure"])
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("records", BOMBS.values(), ids=BOMBS)
def test_a_bomb_takes_bounded_memory(codec: int, records: list[Packed], python: str) -> None:
    """Of 64 MiB unpacked at most 20 are ever held, by either of aiokafka's parsers."""
    env = os.environ | ({"AIOKAFKA_NO_EXTENSIONS": "1"} if python == "pure" else {})
    data = batch(codec, records)
    done = subprocess.run([sys.executable, "-c", PEAK], input=data, capture_output=True, cwd=ROOT, env=env, check=True)
    count, size, peak = map(int, done.stdout.split())
    assert (count, size) == (len(records), sum(len(record.value or b"") for record in records))
    assert peak < UNPACKING_BYTES, f"{peak >> 20} MiB for {len(data)} bytes"
