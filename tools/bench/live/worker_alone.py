"""A worker's catalogue and model without a broker: records of ``items`` come from a queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition

from models.base.types import Behaviours
from models.ranking.catalogue.recall import running_recall
from streams.catalogue.catalogue_reader import CatalogueReader, Fetched
from streams.contract.records import VERSION, Item, encode
from streams.health.counters import Metrics
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Model, Served
from streams.settings.load import KafkaSettings
from tools.bench.live.changing_shop import Record, Shop

BATCH: Final = 64
#: Records of the first load that are applied at once.
LOAD_BATCH: Final = 8_192
TOPIC: Final = TopicPartition("items", 0)


@dataclass
class Phase:
    """What was seen at one rate in one round."""

    n_lists: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0  # of the whole process
    n_changes: int = 0
    ages_s: list[float] = field(default_factory=list)
    n_catalogues: int = 0
    n_wrong: int = 0  # listed items that were hidden before the list was begun


class Bench:
    """One size: a worker's catalogue and model, without a broker."""

    def __init__(self, model: Model, windows: list[Behaviours], shop: Shop) -> None:
        self._windows, self._shop = windows, shop
        self._model = model
        self._thread = ModelThread("model")
        self.metrics = Metrics()
        self._texts = ModelThread("texts")
        self.reader = CatalogueReader(KafkaSettings(), model, self._texts, self.metrics)
        self._queue: asyncio.Queue[Record] = asyncio.Queue()
        self._served: Served | None = None
        self._pending: list[Record] = []  # applied, and not yet in force
        self._gone: frozenset[str] = frozenset()
        self._next_gone: frozenset[str] = frozenset()
        self._taken: list[Record] = []  # read, and not yet applied
        self._following: asyncio.Future[None] | None = None
        self._next = 0
        self.n_catalogues = 0

    async def load(self) -> float:
        """Read the whole catalogue as at a start; return the seconds until the first catalogue.

        They are without those in which the records were made.
        """
        making_s = 0.0

        async def fetches() -> AsyncIterator[Fetched]:
            nonlocal making_s
            ids = tuple(self._shop.ids)
            for start in range(0, len(ids), LOAD_BATCH):
                made_s = time.monotonic()
                part = ids[start : start + LOAD_BATCH]
                records = [Record(i.encode(), encode(Item(VERSION, i, f"Item {i}")), 0.0) for i in part]
                making_s += time.monotonic() - made_s
                yield {TOPIC: records}

        began_s = time.monotonic()
        self._served = Served.of(self._model, await self.reader.load(fetches()), self.reader.seen)
        return time.monotonic() - began_s - making_s

    async def settle(self) -> float:
        """Wait for the index of a large catalogue; return the seconds."""
        began_s = time.monotonic()
        async with aclosing(self.reader.follow(self._poll)) as catalogues:
            while self.reader.is_rebuilding:
                self._served = Served.of(self._model, await anext(catalogues), self.reader.seen)
        return time.monotonic() - began_s

    async def recall(self) -> float:
        """Return the recall of retrieval now."""
        return await asyncio.to_thread(running_recall, self._now().catalogue)

    def _now(self) -> Served:
        if self._served is None:
            raise RuntimeError("load() comes first")
        return self._served

    async def phase(self, rate: float, seconds: float) -> Phase:
        """Make lists for so long, at so many changes a second; then wait until all are in force."""
        found = Phase()
        self._following = self._following or asyncio.ensure_future(self._follow())
        change = asyncio.ensure_future(self._change(rate, found))
        began_s, began_cpu_s, n_before = time.monotonic(), time.process_time(), self.n_catalogues
        while found.seconds < seconds:
            found.n_lists += await self._micro_batch(found)
            found.seconds = time.monotonic() - began_s
        found.cpu_s = time.process_time() - began_cpu_s
        change.cancel()
        await asyncio.gather(change, return_exceptions=True)
        while self._queue.qsize() or self._taken or self._pending:
            await self._micro_batch(found)
        found.n_catalogues = self.n_catalogues - n_before
        return found

    async def _micro_batch(self, found: Phase) -> int:
        """Make the lists of the next windows; return how many."""
        served, gone, now_s = self._now(), self._gone, time.monotonic()
        found.ages_s += [now_s - record.came_s for record in self._pending]
        self._pending.clear()
        windows = self._windows[self._next : self._next + BATCH]
        self._next = (self._next + BATCH) % max(1, len(self._windows) - BATCH)
        lists = await self._thread.run(served.model.pipeline.recommend, served.catalogue, windows)
        ids = served.catalogue.item_ids
        found.n_wrong += sum(ids[row] in gone for row in lists.rows[lists.rows >= 0].tolist())
        if self._following is not None and self._following.done():
            self._following.result()  # raises what ended it
        return len(windows)

    async def _change(self, rate: float, found: Phase) -> None:
        began_s = time.monotonic()
        while rate > 0:
            due = int(rate * (time.monotonic() - began_s))
            for _ in range(due - found.n_changes):
                self._queue.put_nowait(self._shop.change())
            found.n_changes = due
            await asyncio.sleep(min(0.01, 0.5 / rate) if rate > 50 else 0.02)

    async def _poll(self, timeout_ms: int) -> Fetched:
        """Return the records that wait, as a consumer does."""
        try:
            records = [await asyncio.wait_for(self._queue.get(), timeout_ms / 1000)]
        except TimeoutError:
            return {}
        while not self._queue.empty():
            records.append(self._queue.get_nowait())
        self._taken += records
        self._next_gone = frozenset(self._shop.hidden | self._shop.removed)
        return {TOPIC: records}

    async def _follow(self) -> None:
        async with aclosing(self.reader.follow(self._poll)) as catalogues:
            async for catalogue in catalogues:
                self._served = Served.of(self._model, catalogue, self.reader.seen)
                self._gone, self._pending = self._next_gone, [*self._pending, *self._taken]
                self._taken = []
                self.n_catalogues += 1

    async def close(self) -> None:
        """End the reading and the threads."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for thread in (self._thread, self._texts):
            thread.stop()
            await thread.ended()
