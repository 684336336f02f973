"""Batches of kilobytes that unpack to hundreds of megabytes.

Workers read every record and stay small.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.contract.kafka_records import OutRecord
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import WAIT_S, as_record, publish, sequencer, wait_read
from tests.integration.lists.recommender_runs import put_items, recommender
from tests.integration.reading import read_all
from tests.integration.topics.test_compressed_batches import produce
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.shared_run import best_engine
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo, running_broker
from tools.workers.process import Worker

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(sys.platform != "linux", reason="a worker's peak of memory is read as Linux tells it"),
    pytest.mark.long,
]
#: The broker takes one batch of this size, however large it is unpacked.
ONE_BATCH = {"message.max.bytes": 1_000_000_000, "batch.size": 1_000_000_000, "linger.ms": 2_000}
HUGE = 150 << 20
PAD = 60_000
N_PADDED = 2_500
#: What docs/operations.md says that fetching takes of a worker: for each of 4 partitions, and for
#: nine batches of the default size.
LIMIT = (4 * 32 << 20) + (9 * 4 << 20)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerInfo]:
    """Give these tests a broker of their own.

    Such batches fill a broker's memory, which would disturb other tests.
    """
    with running_broker(engine=best_engine(), port=0, data_dir=tmp_path_factory.mktemp("broker")) as info:
        yield info


def memory(worker: Worker, name: str) -> int:
    """Return what Linux says of a worker's memory: ``VmRSS``, or ``VmHWM``, its peak."""
    lines = Path(f"/proc/{worker.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def begin_peak(worker: Worker) -> int:
    """Reset the worker's peak of memory; return its present memory."""
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5", "ascii")
    return memory(worker, "VmRSS")


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_events_among_bombs_are_read_in_bounded_memory(settings: Settings, tmp_path: Path, codec: str) -> None:
    """Workers read records that unpack to 150 MB.

    They are one record, valid events that are mostly padding, and a window for the restarted
    worker.
    """
    events = [make_event(f"e{i:05d}", T0 + i, user_id=f"u{i % 7}") for i in range(N_PADDED)]
    padded = [OutRecord(r.key, _padded(r.value or b"")) for r in map(as_record, events)]
    good = [as_record(make_event(f"good{i}", T0 + 10_000 + i)) for i in range(20)]
    publish(settings, good[:5])
    with sequencer(settings, tmp_path) as worker:
        wait_read(worker, 5)
        before = begin_peak(worker)
        produce(settings, "events", [OutRecord(b"u1", bytes(HUGE))], codec, **ONE_BATCH)
        produce(settings, "events", padded, codec, **ONE_BATCH)
        publish(settings, good[5:10])
        counts = wait_read(worker, 5 + 1 + N_PADDED + 5)
        grown = memory(worker, "VmHWM") - before
        assert worker.stop() == 0
    assert counts == {
        "read": N_PADDED + 11,
        "accepted": N_PADDED + 10,
        "duplicate": 0,
        "late": 0,
        "rejected": 1,
        "forgotten": 0,
    }
    (reject,) = read_all(settings, "events.rejected")
    said = {name: value.decode() for name, value in reject.headers}
    assert (said["reason"], said["size"], said["truncated"]) == ("too-large", str(HUGE), "value")
    assert grown < LIMIT, f"{grown >> 20} MiB"
    produce(settings, "sequences", [OutRecord(b"u1", bytes(HUGE))], codec, **ONE_BATCH)
    with sequencer(settings, tmp_path) as worker:
        start_peak = memory(worker, "VmHWM") - before
        publish(settings, good[10:])
        assert wait_read(worker, 10)["accepted"] == 10
    assert start_peak < LIMIT, f"{start_peak >> 20} MiB"


def _padded(value: bytes) -> bytes:
    """Return an event with one more field, which the contract allows.

    The field is a pair more in the msgpack map.
    """
    assert 0x80 <= value[0] < 0x8F
    return bytes([value[0] + 1]) + value[1:] + b"\xa1x\xc5" + PAD.to_bytes(2, "big") + bytes(PAD)


@pytest.mark.parametrize("codec", ["lz4", "snappy"])
def test_items_among_bombs_are_read_in_bounded_memory(settings: Settings, tmp_path: Path, codec: str) -> None:
    """The catalogue's reader, while it runs and when it begins anew."""
    put_items(settings, tiny.write_items(tmp_path / "items.csv"))
    bombs = [[OutRecord(b"big", bytes(HUGE // 8))], [OutRecord(b"bad", b"\xc1" * PAD)] * (N_PADDED // 8)]
    (known, *_) = read_all(settings, "items")
    with recommender(settings, tmp_path) as worker:
        before = begin_peak(worker)
        for bomb in bombs * 4:
            produce(settings, "items", bomb, codec, **ONE_BATCH)
        produce(settings, "items", [OutRecord(known.key, None)], codec)

        def has_read() -> bool:
            return bool(worker.counts()["values"]["catalogue_items"] == tiny.N_ITEMS - 1)

        wait_until(has_read, WAIT_S, lambda: str(worker.counts()["values"]))
        grown = memory(worker, "VmHWM") - before
        assert worker.stop() == 0
    assert grown < LIMIT, f"{grown >> 20} MiB"
    with recommender(settings, tmp_path) as worker:
        wait_until(has_read, WAIT_S, lambda: str(worker.counts()["values"]))
