"""Recovery of a table from its changelog: where it begins, where it ends, what stops it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from faust.types import TP

from streams.errors import StalledError
from streams.state import recovery
from streams.state.recovery import BatchRecovery, _read, _seek
from tests.support.builders import FakeRecord

PLACE = TopicPartition("sequences", 0)


class FakeTable:
    """Keeps what is stored, and the offset that recovery begins from."""

    def __init__(self, offset: int | None = None) -> None:
        self.offset = offset
        self.values: dict[bytes, bytes | None] = {}

    def persisted_offset(self, _tp: TP) -> int | None:
        return self.offset

    def store(self, _partition: int, values: dict[bytes, bytes | None], offset: int) -> None:
        self.values.update(values)
        self.offset = offset


class FakeConsumer:
    """One partition's log; gives a few records a fetch, and none at all once it is ``silent``."""

    def __init__(self, records: list[FakeRecord], beginning: int, end: int, *, silent: bool = False) -> None:
        self.records = records
        self.beginning, self.end, self.silent = beginning, end, silent
        self.at = -1

    async def beginning_offsets(self, tps: Any) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.beginning)

    async def end_offsets(self, tps: Any) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.end)

    def seek(self, _tp: TopicPartition, offset: int) -> None:
        self.at = offset

    async def position(self, _tp: TopicPartition) -> int:
        return self.at

    async def getmany(
        self, *_tps: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[FakeRecord]]:
        found = [] if self.silent else [record for record in self.records if record.offset >= self.at][:2]
        self.at = found[-1].offset + 1 if found else self.at
        return {PLACE: found} if found else {}


def log(*offsets: int) -> list[FakeRecord]:
    """Return a compacted log: one key per offset."""
    return [FakeRecord(b"u%d" % offset, b"w%d" % offset, offset, topic=PLACE.topic) for offset in offsets]


def recover(consumer: FakeConsumer, table: FakeTable, timeout_s: float = 60.0) -> int:
    """Run a recovery; return the records read."""

    async def run() -> int:
        return await _read(consumer, table, await _seek(consumer, table, [PLACE]), timeout_s)

    return asyncio.run(run())


def test_all_of_the_changelog_is_read_into_an_empty_store() -> None:
    """Gaps of compaction do not stop it, nor does what was written after the end was asked for."""
    table = FakeTable()
    n_records = recover(FakeConsumer(log(3, 4, 9, 10, 15, 20, 40), beginning=3, end=16), table)
    assert n_records == 6, "what came along with the last fetch is kept"
    assert set(table.values) == {b"u3", b"u4", b"u9", b"u10", b"u15", b"u20"}
    assert table.offset == 20


def test_recovery_goes_on_from_the_stored_offset() -> None:
    """The stored offset is that of the last batch's first record.

    Recovery reads that record again, and nothing before it.
    """
    table = FakeTable(offset=9)
    assert recover(FakeConsumer(log(3, 4, 9, 10), beginning=3, end=11), table) == 2
    assert set(table.values) == {b"u9", b"u10"}


def test_an_offset_that_retention_has_removed_begins_at_the_beginning() -> None:
    """The topic may begin later than the store stands."""
    table = FakeTable(offset=1)
    assert recover(FakeConsumer(log(30, 31), beginning=30, end=32), table) == 2


def test_a_tombstone_deletes_and_a_store_at_the_end_reads_nothing() -> None:
    """A record without value takes its key away."""
    table = FakeTable()
    recover(FakeConsumer([FakeRecord(b"u", b"w", 0), FakeRecord(b"u", None, 1)], beginning=0, end=2), table)
    assert table.values == {b"u": None}
    assert recover(FakeConsumer(log(0, 1), beginning=0, end=2), FakeTable(offset=2)) == 0


def test_a_recovery_that_reads_nothing_stops_the_worker() -> None:
    """It must end, for a worker that waits for ever holds partitions that another could serve."""
    with pytest.raises(StalledError, match="sequences-0: at 3 of 11"):
        recover(FakeConsumer(log(3), beginning=3, end=11, silent=True), FakeTable(), timeout_s=-1.0)


def test_a_revoke_gives_the_recovery_at_hand_up() -> None:
    """The old recovery would go on storing into partitions that were just dropped.

    A later recovery would then begin behind records that are gone.
    """

    async def run() -> tuple[bool, int]:
        table, consumer = FakeTable(), FakeConsumer(log(*range(1_000)), beginning=0, end=1_000)
        service: Any = BatchRecovery.__new__(BatchRecovery)
        service.on_partitions_revoked({TP(*PLACE)})  # nothing to give up yet
        service._recovering = asyncio.ensure_future(_read(consumer, table, await _seek(consumer, table, [PLACE]), 60.0))
        await asyncio.sleep(0)
        service.on_partitions_revoked({TP(*PLACE)})
        n_stored = len(table.values)
        await asyncio.wait([service._recovering])
        return service._recovering.cancelled(), len(table.values) - n_stored

    assert asyncio.run(run()) == (True, 0)


class CutConsumer(FakeConsumer):
    """Whose broker deletes records while they are read, each time up to the next of ``cuts``."""

    def __init__(self, records: list[FakeRecord], end: int, cuts: list[int]) -> None:
        super().__init__(records, beginning=0, end=end)
        self.cuts = cuts

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[FakeRecord]]:
        if self.cuts and self.at > 0:
            self.beginning = self.cuts.pop(0)
        if self.at < self.beginning:
            raise OffsetOutOfRangeError({PLACE: self.at})
        return await super().getmany(*tps, timeout_ms=timeout_ms)


def test_a_changelog_cut_under_the_reader_is_begun_anew_once(caplog: pytest.LogCaptureFixture) -> None:
    """Recovery says so, and never jumps to the end.

    A topic that is cut again and again stops the worker.
    """
    table = FakeTable()
    recover(CutConsumer(log(*range(20)), 20, [6]), table)
    assert set(table.values) == {b"u%d" % n for n in (0, 1, *range(6, 20))}
    assert "sequences-0: offset 2 is deleted; reading again from 6" in caplog.text
    with pytest.raises(StalledError, match="sequences-0: offset 6 is deleted, the second one in this recovery"):
        recover(CutConsumer(log(*range(20)), 20, [6, 9]), FakeTable())


class NamedTable:
    """A table of which only the name matters."""

    def __init__(self, name: str) -> None:
        self.name = name


class Client:
    """A cycle, as aiokafka's consumers are, whose buffers stay until somebody collects it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_recovery_has_read_with_is_gone_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each take-over would leave megabytes behind.

    In a sequencer, minutes pass before Python collects by itself.
    """
    clients: list[weakref.ref[Client]] = []

    async def restore(*_: Any) -> int:
        clients.append(weakref.ref(Client()))
        return 1

    async def done(*_: Any) -> None:
        """Do nothing."""

    async def wait(job: Any) -> Any:
        return await job

    monkeypatch.setattr(recovery, "restore", restore)
    service: Any = BatchRecovery.__new__(BatchRecovery)
    health = SimpleNamespace(recovery_timeout_s=1.0)
    service.app = SimpleNamespace(
        settings=SimpleNamespace(kafka=None, health=health), writer=SimpleNamespace(own=done), after_recovery=None
    )
    service.actives_for_table = {NamedTable("windows"): {TP("sequences", 0)}}
    service._set_recovery_started = lambda: None
    service._wait, service.on_recovery_completed = wait, done
    gc.disable()
    try:
        asyncio.run(service._recover(1))
    finally:
        gc.enable()
    assert [client() for client in clients] == [None]
