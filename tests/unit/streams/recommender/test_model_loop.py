"""The model loop without Kafka: the model is late, fails and heals; delivery is a fake."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from models.ranking.lists import RankedBatch
from models.text.encoder import FakeEncoder
from streams.contract.records import Recommendation, RecordDecoder
from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.errors import StalledError
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems
from streams.recommender.delivery import Delivery, Made, Window
from streams.recommender.fallback_lists import FallbackLists
from streams.recommender.list_encoding import ListEncoder
from streams.recommender.list_maker import ListMaker
from streams.recommender.live_counts import LiveCounts
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model_loop import ModelLoop
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.served import Model, Served
from streams.recommender.waiting.backpressure import Backpressure
from streams.recommender.waiting.pending import PendingBatch, PendingWindow
from streams.recommender.waiting.window_queue import WindowQueue
from streams.settings.load import RecommenderSettings
from streams.state.table import BatchTable
from tests.support import tiny_models

SETTINGS = RecommenderSettings(model_timeout_ms=50, model_restart_s=1)
WAIT_S = 20.0
decode = RecordDecoder(Recommendation).decode


class FakeTable:
    """No vectors yet."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        return None


class FakeDelivery:
    """Notes what goes out."""

    def __init__(self, queue: WindowQueue[Any]) -> None:
        self.queue = queue
        self.full: dict[bytes, tuple[int, str]] = {}
        self.degraded: dict[bytes, tuple[int, str]] = {}
        self.done: list[Any] = []

    async def hand_over(self, made: Made) -> None:
        lists = [decode(one.record) for _, one in made]
        self.full |= {one.user_id.encode(): (one.revision, one.degraded) for one in lists}
        self.done += self.queue.done([window for window, _ in made])

    async def stop(self) -> None: ...

    async def send_provisional(self, made: Iterable[tuple[Window, Any]]) -> int:
        lists = [decode(record.value) for _, record in made]
        self.degraded |= {made.user_id.encode(): (made.revision, made.degraded) for made in lists}
        return len(lists)


class Setting:
    """A loop over the tiny model, whose pipeline a test breaks and heals."""

    def __init__(self) -> None:
        self.artifact = tiny_models.artifact()
        self.model = Model.of(self.artifact, SETTINGS, FakeEncoder(16).encode)
        self.recommend = self.model.pipeline.recommend
        self.pending: WindowQueue[Any] = WindowQueue()
        self.out, self.metrics = FakeDelivery(self.pending), Metrics()
        vectors, delivery = cast(BatchTable, FakeTable()), cast(Delivery, self.out)
        self.worker, self.spare = ModelThread("model"), ModelThread("fallback")
        self.loop = ModelLoop(
            queue=self.pending,
            thread=self.worker,
            fallback=FallbackLists(self.pending, delivery, vectors, self.spare, self.metrics, ListEncoder()),
            encoder=ListEncoder(),
            settings=SETTINGS,
            metrics=self.metrics,
        )
        self.maker = ListMaker(
            loop=self.loop,
            counts=LiveCounts(LivePopularity(self.artifact, is_on=False), UnknownItems(), vectors, self.metrics),
            delivery=delivery,
            pressure=Backpressure(self.pending, 100, self.metrics),
            served=Served.of(self.model, tiny_models.catalogue()),
        )

    async def end(self) -> None:
        """End both threads: the next test looks for threads that are left."""
        for thread in (self.worker, self.spare):
            thread.stop()
            await thread.ended()

    def breaks(self, recommend: Callable[..., RankedBatch]) -> None:
        """Put something else in the model's place."""
        setattr(self.model.pipeline, "recommend", recommend)  # noqa: B010 - a method cannot be assigned to

    def add(self, batch: str, users: Sequence[str], revision: int) -> None:
        """Queue windows of users."""
        items = [WindowItem(tiny_models.T0, "e", "i01", "view")]
        state = ListWindow(1, revision, tiny_models.T0, items, Trigger("e", tiny_models.T0, 1))
        self.pending.add(0, [(user.encode(), state, 0) for user in users], batch)


async def until(condition: Callable[[], bool], running: asyncio.Task[None]) -> None:
    """Wait for a condition while the loop runs."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            assert not running.done(), running.exception()
            await asyncio.sleep(0.005)


async def heals(setting: Setting, heal: Callable[[], None]) -> None:
    """Expect provisional lists, newer ones for newer windows, and full ones after healing."""
    running = asyncio.ensure_future(setting.maker.run())
    try:
        setting.add("b1", ["a", "b"], 1)
        expected = dict.fromkeys([b"a", b"b"], (1, "mf-only"))
        await until(lambda: setting.out.degraded == expected, running)
        setting.add("b2", ["b", "c"], 2)
        expected |= dict.fromkeys([b"b", b"c"], (2, "mf-only"))
        await until(lambda: setting.out.degraded == expected, running)
        assert (setting.out.full, setting.out.done) == ({}, [])
        heal()
        await until(lambda: setting.out.done == ["b1", "b2"], running)
        assert setting.out.full == {b"a": (1, "none"), b"b": (2, "none"), b"c": (2, "none")}
    finally:
        running.cancel()
        await setting.end()


def test_lists_go_on_while_the_model_hangs() -> None:
    """A second thread makes the lists; the late answer is used when it comes."""

    async def run() -> None:
        setting, released = Setting(), threading.Event()

        def hang(*args: Any, **how: Any) -> RankedBatch:
            released.wait(WAIT_S)
            return setting.recommend(*args, **how)

        setting.breaks(hang)
        setting.loop.has_answered = True  # no longer patience for a warm-up
        await heals(setting, released.set)

    asyncio.run(run())


def test_lists_go_on_while_the_model_raises() -> None:
    """It is asked again until it answers."""

    async def run() -> None:
        setting = Setting()

        def crash(*_: Any, **_how: Any) -> RankedBatch:
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

        def broken(*_: Any, **_how: Any) -> RankedBatch:
            if how == "hangs":
                released.wait(WAIT_S)
            raise RuntimeError("broken")

        setting.breaks(broken)
        setting.loop.has_answered = True
        setting.add("b1", ["a"], 1)
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(StalledError, match="limit model_restart_s=1; restart the worker"):
                await setting.maker.run()
        released.set()
        await setting.end()
        assert setting.out.degraded == {b"a": (1, "mf-only")} and setting.out.done == []

    asyncio.run(run())


def test_no_window_waits_for_others_and_batches_grow_while_the_model_works() -> None:
    """The first window is a batch alone; all that come meanwhile are the next one."""

    async def run() -> list[int]:
        setting, began, released = Setting(), threading.Event(), threading.Event()
        sizes: list[int] = []

        def slow(catalogue: Any, windows: Any, *args: Any, **how: Any) -> RankedBatch:
            sizes.append(len(windows))
            began.set()
            released.wait(WAIT_S)
            return setting.recommend(catalogue, windows, *args, **how)

        setting.breaks(slow)
        running = asyncio.ensure_future(setting.maker.run())
        setting.add("b1", ["a"], 1)
        await until(began.is_set, running)
        for i in range(7):
            setting.add(f"c{i}", [f"u{i}"], 1)
        released.set()
        await until(lambda: len(setting.out.done) == 8, running)
        running.cancel()
        await setting.end()
        return sizes

    assert asyncio.run(run()) == [1, 7]


def test_every_list_is_in_every_stage_of_the_model() -> None:
    """So the stages' means add up to the freshness of a list."""

    async def run() -> dict[str, float]:
        setting = Setting()
        running = asyncio.ensure_future(setting.maker.run())
        setting.add("b1", ["a", "b", "c"], 1)
        await until(lambda: setting.out.done == ["b1"], running)
        running.cancel()
        await setting.end()
        (family,) = setting.metrics.stages.collect()
        return {s.labels["stage"]: s.value for s in family.samples if s.name.endswith("_count")}

    counts = asyncio.run(run())
    assert {stage: counts[stage] for stage in ("queue", "embed", "retrieve", "score")} == dict.fromkeys(
        ("queue", "embed", "retrieve", "score"), 3
    )


def test_a_slow_model_gets_small_batches() -> None:
    """A batch fits the time limit at the pace of the last one: no job runs until the restart."""

    async def run() -> list[int]:
        setting, sizes = Setting(), []
        for took_s, n_windows in ((10.0, 100), (50.0, 10), (0.01, 1)):
            setting.loop.note_time(took_s, 3.0, n_windows)
            sizes.append(setting.loop.max_windows)
        await setting.end()
        return sizes

    assert asyncio.run(run()) == [30, 1, 300]


def test_windows_that_get_a_list_count_for_popularity() -> None:
    """Each counts once, unless its user was removed or its partition lost."""
    artifact, metrics = tiny_models.artifact(), Metrics()
    counts = LiveCounts(LivePopularity(artifact, is_on=True), UnknownItems(), cast(BatchTable, FakeTable()), metrics)
    ts = artifact.manifest.trained_to_ms + 1
    state = ListWindow(1, 1, ts, [WindowItem(ts, "e", "i01", "view")], Trigger("e", ts, 1))
    lost, here = PendingBatch[Any](None, is_forgotten=True), PendingBatch[Any](None)
    windows = [
        PendingWindow(0, b"counted", state, 0, here),
        PendingWindow(0, b"counted", state, 0, here),
        PendingWindow(0, b"removed", state, 0, here, is_removed=True),
        PendingWindow(1, b"of-another-worker", state, 0, lost),
    ]
    counts.count(windows, tiny_models.catalogue())
    assert metrics.values["popularity_events"] == 1


def test_a_catalogue_that_comes_while_the_model_runs_is_served_next() -> None:
    """Lists under way keep to the catalogue that they began with."""

    async def run() -> list[int]:
        setting, began, released = Setting(), threading.Event(), threading.Event()
        generations: list[int] = []

        def slow(catalogue: Any, *args: Any, **how: Any) -> RankedBatch:
            generations.append(catalogue.generation)
            began.set()
            released.wait(WAIT_S)
            return setting.recommend(catalogue, *args, **how)

        setting.breaks(slow)
        running = asyncio.ensure_future(setting.maker.run())
        setting.add("b1", ["a"], 1)
        await until(began.is_set, running)
        first = setting.maker.served
        setting.maker.swap(Served.of(setting.model, replace(tiny_models.catalogue(), generation=7)))
        setting.add("b2", ["b"], 1)
        released.set()
        await until(lambda: setting.out.done == ["b1", "b2"], running)
        assert first.versions.index_generation != setting.maker.served.versions.index_generation == 7
        running.cancel()
        await setting.end()
        return generations

    assert asyncio.run(run()) == [tiny_models.catalogue().generation, 7]
