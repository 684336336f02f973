"""The loop around the model, without Kafka: late, broken and healed, with a real pipeline and a fake way out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytest

from models.ranking.pipeline import Pipeline, RankedList
from streams.contract.records import Recommendation, RecordDecoder
from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.errors import StalledError
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems
from streams.recommender.delivery import Delivery, PartitionLists, Window
from streams.recommender.fallback_lists import FallbackLists
from streams.recommender.list_records import Versions
from streams.recommender.live_popularity import LivePopularity
from streams.recommender.model_loop import ModelLoop
from streams.recommender.model_thread import ModelThread
from streams.recommender.window_queue import PendingBatch, PendingWindow, WindowQueue
from streams.settings.load import RecommenderSettings
from streams.state.table import BatchTable
from tests import tiny_models

SETTINGS = RecommenderSettings(model_timeout_ms=50, model_restart_s=1, micro_batch_deadline_ms=0)
WAIT_S = 20.0


class FakeTable:
    """No vectors yet."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        return None


class FakeDelivery:
    """Notes what goes out."""

    def __init__(self) -> None:
        self.full: dict[bytes, tuple[int, str]] = {}
        self.degraded: dict[bytes, tuple[int, str]] = {}

    def stage(self, made: Iterable[tuple[Window, RankedList]], versions: Versions) -> list[PartitionLists]:
        return [PartitionLists(0, list(made))]

    async def deliver(self, parts: list[PartitionLists], versions: Versions) -> list[Window]:
        self.full |= {w.key: (w.state.revision, made.degraded) for w, made in parts[0].made}
        return [window for window, _ in parts[0].made]

    async def send_provisional(self, records: dict[int, list[Any]], windows: Iterable[Window]) -> int:
        decode = RecordDecoder(Recommendation).decode
        lists = [decode(record.value) for part in records.values() for record in part]
        self.degraded |= {made.user_id.encode(): (made.revision, made.degraded) for made in lists}
        return len(lists)


class Setting:
    """A loop over the tiny model, whose pipeline a test breaks and heals."""

    def __init__(self) -> None:
        self.artifact = tiny_models.artifact()
        self.pipeline = Pipeline(self.artifact)
        self.recommend = self.pipeline.recommend
        self.pending: WindowQueue[Any] = WindowQueue()
        self.out, self.metrics, self.done = FakeDelivery(), Metrics(), list[Any]()
        vectors, delivery = cast(BatchTable, FakeTable()), cast(Delivery, self.out)
        self.worker = ModelThread()
        self.loop = ModelLoop(
            pipeline=self.pipeline,
            artifact_version="v",
            worker=self.worker,
            pending=self.pending,
            popularity=LivePopularity(self.artifact, is_on=False),
            unknown=UnknownItems(),
            fallback=FallbackLists(
                self.artifact, SETTINGS, self.pending, vectors, delivery, self.metrics, as_json=False
            ),
            delivery=delivery,
            vectors=vectors,
            settings=SETTINGS,
            metrics=self.metrics,
            on_done=self.done.extend,
            on_change=lambda: None,
            guard=lambda job: job,
        )
        self.loop.swap(tiny_models.catalogue())

    def breaks(self, recommend: Callable[..., list[RankedList]]) -> None:
        """Put something else in the model's place."""
        setattr(self.pipeline, "recommend", recommend)  # noqa: B010 - a method cannot be assigned to

    def add(self, batch: str, users: Sequence[str], revision: int) -> None:
        """Queue windows of users."""
        items = [WindowItem(tiny_models.T0, "e", "i01", "view")]
        state = ListWindow(1, revision, tiny_models.T0, items, Trigger("e", tiny_models.T0, 1))
        self.pending.add(0, [(user.encode(), state, 0) for user in users], batch)
        self.loop.wake()


async def until(condition: Callable[[], bool], running: asyncio.Task[None]) -> None:
    """Wait for a condition while the loop runs."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            assert not running.done(), running.exception()
            await asyncio.sleep(0.005)


async def heals(setting: Setting, heal: Callable[[], None]) -> None:
    """Expect degraded lists now, newer ones for newer windows, and full ones of the newest after healing."""
    running = asyncio.ensure_future(setting.loop.run())
    try:
        setting.add("b1", ["a", "b"], 1)
        expected = dict.fromkeys([b"a", b"b"], (1, "mf-only"))
        await until(lambda: setting.out.degraded == expected, running)
        setting.add("b2", ["b", "c"], 2)
        expected |= dict.fromkeys([b"b", b"c"], (2, "mf-only"))
        await until(lambda: setting.out.degraded == expected, running)
        assert (setting.out.full, setting.done) == ({}, [])
        heal()
        await until(lambda: setting.done == ["b1", "b2"], running)
        assert setting.out.full == {b"a": (1, "none"), b"b": (2, "none"), b"c": (2, "none")}
    finally:
        running.cancel()
        setting.worker.stop()


def test_lists_go_on_while_the_model_hangs() -> None:
    """Its thread is stuck, a second one makes the lists; the answer, when it comes, is used."""

    async def run() -> None:
        setting, released = Setting(), threading.Event()

        def hang(*args: Any) -> list[RankedList]:
            released.wait(WAIT_S)
            return setting.recommend(*args)

        setting.breaks(hang)
        setting.loop._has_answered = True  # no longer patience for a warm-up
        await heals(setting, released.set)

    asyncio.run(run())


def test_lists_go_on_while_the_model_raises() -> None:
    """It is asked again until it answers."""

    async def run() -> None:
        setting = Setting()

        def crash(*_: Any) -> list[RankedList]:
            raise RuntimeError("out of memory")

        setting.breaks(crash)
        await heals(setting, lambda: setting.breaks(setting.recommend))
        assert setting.metrics.values["windows_poisoned"] == 0 < setting.metrics.values["model_failures"]

    asyncio.run(run())


@pytest.mark.parametrize("how", ["hangs", "raises"])
def test_what_does_not_heal_ends_the_loop(how: str) -> None:
    """After ``model_restart_s``, with a line that says what to do."""

    async def run() -> None:
        setting, released = Setting(), threading.Event()

        def broken(*_: Any) -> list[RankedList]:
            if how == "hangs":
                released.wait(WAIT_S)
            raise RuntimeError("broken")

        setting.breaks(broken)
        setting.loop._has_answered = True
        setting.add("b1", ["a"], 1)
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(StalledError, match="limit model_restart_s=1; restart the worker"):
                await setting.loop.run()
        released.set()
        setting.worker.stop()
        assert setting.out.degraded == {b"a": (1, "mf-only")} and setting.done == []

    asyncio.run(run())


def test_a_slow_model_gets_small_batches() -> None:
    """As many windows as its time limit allows at the pace of the last batch, so that no job runs into ``model_restart_s``."""

    async def run() -> list[int]:
        setting, sizes = Setting(), []
        for took_s, n_windows in ((10.0, 100), (50.0, 10), (0.01, 1)):
            setting.loop._note_time(took_s, 3.0, n_windows)
            sizes.append(setting.loop._max_windows)
        setting.worker.stop()
        return sizes

    assert asyncio.run(run()) == [30, 1, 300]


def test_windows_that_get_a_list_count_for_popularity() -> None:
    """Those of users who are still there, in partitions that are still this worker's, each once."""

    async def run() -> int:
        setting = Setting()
        setting.loop.popularity = LivePopularity(setting.artifact, is_on=True)
        ts = setting.artifact.manifest.trained_to_ms + 1
        state = ListWindow(1, 1, ts, [WindowItem(ts, "e", "i01", "view")], Trigger("e", ts, 1))
        lost, here = PendingBatch[Any](None, is_forgotten=True), PendingBatch[Any](None)
        windows = [
            PendingWindow(0, b"counted", state, 0, here),
            PendingWindow(0, b"counted", state, 0, here),
            PendingWindow(0, b"removed", state, 0, here, is_removed=True),
            PendingWindow(1, b"of-another-worker", state, 0, lost),
        ]
        ranked = setting.recommend(tiny_models.catalogue(), [[]])[0]
        await setting.loop._hand_over([(window, ranked) for window in windows], Versions("v", 1))
        await setting.loop.settle()
        setting.worker.stop()
        return setting.loop.popularity.n_events

    assert asyncio.run(run()) == 1
