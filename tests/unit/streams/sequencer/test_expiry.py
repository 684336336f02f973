"""Expiry: which users are removed, which are not, and in what order with batches in flight."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.errors import BrokerError
from streams.health.counters import Metrics
from streams.sequencer import expiry
from streams.sequencer.agent import Sequencer, build_sequencer
from streams.sequencer.expiry import Expiry
from streams.settings.load import load_settings
from tests.support.builders import T0, FakeRecord

SETTINGS = load_settings({})


def window(revision: int = 1, v: int = 1) -> bytes:
    """Return a window's bytes."""
    return encode(WindowState(v, revision, T0, [WindowItem(T0, "e", "i", "view")], Trigger("e", T0, 1)))


class Writer:
    """Takes records of partition 0; delivers them when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes | None]] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.owned = {0}

    def owns(self, partition: int) -> bool:
        return partition in self.owned

    async def send(self, _topic: str, partition: int, records: Any, **_: Any) -> list[asyncio.Future[Any]]:
        if partition not in self.owned:
            raise KeyError(partition)
        sent: list[OutRecord] = list(records)
        self.sent += [(record.key, record.value) for record in sent]
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1:]


class Bench:
    """A sequencer whose writer is ours; make it inside a loop."""

    def __init__(self) -> None:
        app: Any = build_sequencer(SETTINGS)
        self.crashes: list[BaseException] = []
        self.writer = app.writer = Writer()
        app.health.not_ready = lambda: ""

        async def crash(exc: BaseException) -> None:
            self.crashes.append(exc)

        app.crash = crash
        self.app = app
        self.windows = app.tables["windows"]
        self.metrics = Metrics()
        self.sequencer = Sequencer(app, self.windows, self.metrics)

    def put(self, **values: bytes) -> list[FakeRecord]:
        """Store windows; return the records that brought them."""
        stored = {key.encode(): value for key, value in values.items()}
        self.windows.store(0, dict(stored), None)
        return [FakeRecord(key, value) for key, value in stored.items()]


def test_only_a_window_that_still_is_the_users_and_of_our_version_is_removed() -> None:
    """A user who has come back keeps the window; so does a window of a newer headrace."""

    async def run() -> None:
        bench = Bench()
        old = bench.put(idle=window(), active=window(), flight=window(), newer=window(v=2), damaged=b"\xc1")
        bench.put(active=window(2))
        bench.windows.stage(0, {b"flight": window(2)})
        removing = asyncio.ensure_future(bench.sequencer.remove(0, [*old, FakeRecord(b"unknown", window())]))
        await asyncio.sleep(0)
        assert bench.writer.sent == [(b"idle", None)]
        assert bench.windows.read(0, b"idle") is None, "a batch that comes now must not build on it"
        bench.writer.futures[0].set_result(SimpleNamespace(offset=9))
        assert await removing == 1
        assert bench.windows.read(0, b"active") == window(2)
        assert bench.metrics.values["users_expired"] == 1
        assert bench.crashes == []

    asyncio.run(run())


def test_a_user_who_comes_back_while_the_tombstone_is_on_its_way_keeps_the_new_window() -> None:
    """The store takes tombstone and window in the order in which they were written."""

    async def run() -> None:
        bench = Bench()
        old = bench.put(idle=window(7))
        removing = asyncio.ensure_future(bench.sequencer.remove(0, old))
        await asyncio.sleep(0)
        new = window(1)
        bench.windows.stage(0, {b"idle": new})
        assert bench.windows.read(0, b"idle") == new
        bench.writer.futures[0].set_result(SimpleNamespace(offset=9))
        await removing
        assert bench.windows.read(0, b"idle") == new
        bench.windows.store(0, {b"idle": new}, 10)
        assert bench.windows.read(0, b"idle") == new

    asyncio.run(run())


def test_a_removal_waits_for_the_batch_before_it() -> None:
    """Else the store could take an older batch's window after the tombstone."""

    async def run() -> None:
        bench = Bench()
        old = bench.put(idle=window())
        gate = asyncio.Event()

        async def before() -> None:
            await gate.wait()

        place = TP(SETTINGS.kafka.topic("events"), 0)
        bench.sequencer.finishing[place] = asyncio.ensure_future(before())
        removing = asyncio.ensure_future(bench.sequencer.remove(0, old))
        await asyncio.sleep(0)
        bench.writer.futures[0].set_result(SimpleNamespace(offset=9))
        await asyncio.sleep(0.01)
        assert bench.metrics.values["users_expired"] == 0
        assert bench.sequencer.finishing[place] is not None
        gate.set()
        await removing
        assert bench.metrics.values["users_expired"] == 1

    asyncio.run(run())


def test_a_partition_that_is_taken_away_meanwhile_is_left_alone() -> None:
    """The next owner sweeps the partition: this worker neither crashes nor stores anything."""

    async def run() -> None:
        bench = Bench()
        old = bench.put(idle=window())
        removing = asyncio.ensure_future(bench.sequencer.remove(0, old))
        await asyncio.sleep(0)
        await bench.sequencer.forget_partitions({TP(SETTINGS.kafka.topic("events"), 0)})
        bench.writer.futures[0].set_exception(RuntimeError("fenced"))
        await removing
        assert (bench.crashes, bench.metrics.values["users_expired"]) == ([], 0)
        bench.writer.owned.clear()
        assert await bench.sequencer.remove(0, old) == 0

    asyncio.run(run())


def test_a_tombstone_that_is_not_delivered_stops_the_worker() -> None:
    """The store would show no user where the topic has one."""

    async def run() -> None:
        bench = Bench()
        old = bench.put(idle=window())
        removing = asyncio.ensure_future(bench.sequencer.remove(0, old))
        await asyncio.sleep(0)
        bench.writer.futures[0].set_exception(BrokerError("refused"))
        await removing
        assert [type(exc) for exc in bench.crashes] == [BrokerError]

    asyncio.run(run())


def test_the_clock_is_that_of_the_events_read_so_far() -> None:
    """After an outage, waiting events count first; a quiet partition goes by the wall clock."""

    async def run() -> None:
        bench = Bench()
        bench.writer.owned |= {1, 2}
        assert bench.sequencer.clocks() == {}, "nothing is known yet"
        bench.sequencer.read_ms_of = {0: T0, 2: 2**50}
        bench.metrics.lag = {0: 1_000, 1: 0, 2: 5, 3: 0}
        clocks = bench.sequencer.clocks()
        assert clocks[0] == T0
        assert clocks[1] == clocks[2] > T0
        assert 3 not in clocks, "not ours"
        bench.app.health.not_ready = lambda: "recovering"
        assert bench.sequencer.clocks() == {}
        assert await bench.sequencer.remove(0, bench.put(idle=window())) == 0

    asyncio.run(run())


def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses users who did not ask for it."""
    monkeypatch.setattr(expiry, "LOOK_S", 0.0)

    async def run() -> None:
        crashed: Any = None
        idle = Expiry(SETTINGS.kafka, SETTINGS.sequencer.user_ttl_days, Bench().sequencer, crashed)
        await idle.start()
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing runs beside this test"
        await idle.stop()

    asyncio.run(run())
