"""``headrace bench catalogue``: lists a second and the age of changes, while the catalogue changes.

The recommender's reader of ``items`` and its pipeline run in this process, on a made shop, without
a broker: records come from a queue in its place. The model's thread makes lists without a pause, in
micro-batches of 64 windows of 50. A change is a new text, an item hidden or shown, a new item, or a
removed one. Its age is the time from its record until the first micro-batch that begins with a
catalogue in which it is in force; each list is checked for items that were hidden before it began.
The rates take turns, so that the machine's noise falls on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import resource
import statistics
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiokafka import TopicPartition

from models.base.types import Behaviours, Float32
from models.ranking.catalogue.recall import running_recall
from models.text.clean import item_text
from models.text.embedding_cache import EmbeddingCache, embed_texts
from models.text.encoder import FakeEncoder
from streams.catalogue.catalogue_reader import CatalogueReader, Fetched
from streams.contract.records import VERSION, Item, encode
from streams.errors import InputError
from streams.health.counters import Metrics
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Model, Served
from streams.settings.load import KafkaSettings, RecommenderSettings
from tools.bench.live.changing_shop import Record, Shop, item_name, windows_of
from tools.bench.made.shop import made_shop
from tools.bench.subject import Subject
from tools.cli import progress

SIZES: Final = (10_000, 100_000)
RATES: Final = (0.0, 1.0, 100.0, 1_000.0)
N_WINDOWS: Final = 4_096
BATCH: Final = 64
WINDOW: Final = 50
#: Records of the first load that are applied at once.
LOAD_BATCH: Final = 8_192
MAX_ITEMS, MAX_RATE_PER_S = 4_000_000, 10_000.0
TOPIC: Final = TopicPartition("items", 0)


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    rates : changes a second
    seconds : of each rate in each round
    """

    preset: str
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    seconds: float
    rounds: int
    seed: int


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
        self.reader = CatalogueReader(KafkaSettings(), model, self._thread, self.metrics)
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
        """Read the whole catalogue as at a start; return the seconds until the first catalogue."""
        began_s = time.monotonic()
        records = (Record(i.encode(), encode(Item(VERSION, i, f"item {i}")), 0.0) for i in tuple(self._shop.ids))
        while part := list(itertools.islice(records, LOAD_BATCH)):
            await self.reader.apply({TOPIC: part})
        self._served = Served.of(self._model, await self.reader.build(), self.reader.seen)
        return time.monotonic() - began_s

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
        self._next = (self._next + BATCH) % (N_WINDOWS - BATCH)
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
        """End the reading and the thread."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._thread.stop()
        await self._thread.ended()


def options_of(args: argparse.Namespace) -> Options:
    """Return the checked options.

    Raises
    ------
    InputError
        When one is out of its range.
    """
    sizes, rates = tuple(args.items or SIZES), tuple(args.rates or RATES)
    for name, values, least, most in (
        ("--items", sizes, 100, MAX_ITEMS),
        ("--rates", rates, 0, MAX_RATE_PER_S),
        ("--seconds", (args.seconds,), 1, 600),
        ("--rounds", (args.rounds,), 1, 20),
    ):
        for value in values:
            if not least <= value <= most:
                raise InputError(f"{name} {value:g}: must be from {least:g} to {most:g}")
    return Options(args.preset, sizes, tuple(dict.fromkeys((0.0, *rates))), args.seconds, args.rounds, args.seed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--preset", choices=("demo", "best"), default="demo", help="sizes of the model")
    parser.add_argument("--items", type=int, nargs="+", metavar="N", help=f"sizes (default: {SIZES})")
    parser.add_argument("--rates", type=float, nargs="+", metavar="R", help=f"changes a second (default: {RATES})")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="in which the rates take turns (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)


def run(options: Options) -> dict[str, Any]:
    """Measure every size."""
    found = [asyncio.run(_size(options, n_items)) for n_items in options.sizes]
    return {
        "subject": "catalogue",
        "preset": options.preset,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "sizes": found,
    }


async def _size(options: Options, n_items: int) -> dict[str, Any]:
    shop = made_shop(options.preset, n_items, options.seed)  # type: ignore[arg-type]
    artifact = shop.artifact
    encoder = FakeEncoder(artifact.whitening.matrix.shape[0])
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(Path(folder), encoder.version, encoder.dim)
        _warm(cache, encoder, n_items)
        before_mb = _resident_mb()
        opened_s = time.monotonic()
        cache = EmbeddingCache(Path(folder), encoder.version, encoder.dim)
        opened_s = time.monotonic() - opened_s

        def embed(texts: list[str]) -> Float32:
            return embed_texts(texts, encoder, cache)

        windows = windows_of(shop.groups, N_WINDOWS, WINDOW, options.seed)
        bench = Bench(Model.of(artifact, RecommenderSettings(), embed), windows, Shop(n_items, options.seed))
        try:
            load_s = await bench.load()
            index_s = await bench.settle()
            recall = await bench.recall()
            memory_mb = _resident_mb() - before_mb
            await bench.phase(0.0, 2.0)  # caches fill
            phases = await _rounds(bench, options)
            after = await bench.recall()
        finally:
            await bench.close()
    return {
        "items": n_items,
        "cache_open_s": round(opened_s, 2),
        "load_s": round(load_s, 2),
        "index_s": round(index_s, 2),
        "memory_mb": round(memory_mb),
        "recall": round(recall, 4),
        "recall_after": round(after, 4),
        "rebuilds": int(bench.reader.n_rebuilds),
        "rates": [_summary(rate, phases) for rate in options.rates],
    }


async def _rounds(bench: Bench, options: Options) -> list[dict[float, Phase]]:
    rounds = []
    with progress() as bar:
        task = bar.add_task("measuring", total=options.rounds, unit="rounds")
        for _ in range(options.rounds):
            rounds.append({rate: await bench.phase(rate, options.seconds) for rate in options.rates})
            bar.advance(task)
    return rounds


def _warm(cache: EmbeddingCache, encoder: FakeEncoder, n_items: int) -> None:
    for start in range(0, n_items, LOAD_BATCH):
        ids = [item_name(row) for row in range(start, min(start + LOAD_BATCH, n_items))]
        embed_texts([item_text(f"item {item_id}", None, None, None, None) for item_id in ids], encoder, cache)


def _resident_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _summary(rate: float, rounds: list[dict[float, Phase]]) -> dict[str, Any]:
    """Return medians over the rounds, and the ratio to the same round without changes."""
    phases = [of_round[rate] for of_round in rounds]
    pace = [phase.n_lists / phase.seconds for phase in phases]
    ratios = [
        (of_round[rate].n_lists / of_round[rate].seconds) / (of_round[0.0].n_lists / of_round[0.0].seconds)
        for of_round in rounds
    ]
    ages = np.array([age for phase in phases for age in phase.ages_s] or [0.0])
    return {
        "rate": rate,
        "lists_per_s": round(statistics.median(pace), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_ms_per_list": round(statistics.median(1000 * phase.cpu_s / phase.n_lists for phase in phases), 3),
        "changes": sum(phase.n_changes for phase in phases),
        "in_force": sum(len(phase.ages_s) for phase in phases),
        "age_p50_ms": round(1000 * float(np.percentile(ages, 50)), 1),
        "age_p99_ms": round(1000 * float(np.percentile(ages, 99)), 1),
        "catalogues": sum(phase.n_catalogues for phase in phases),
        "wrong_items": sum(phase.n_wrong for phase in phases),
    }


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people."""
    lines: list[str] = []
    for size in result["sizes"]:
        lines.append(
            f"{size['items']:,} items: opened in {size['cache_open_s']} s, loaded in {size['load_s']} s, indexed in {size['index_s']} s, "
            f"{size['memory_mb']} MB beside the model, recall {size['recall']}, after all changes {size['recall_after']}"
        )
        lines += [
            f"  {found['rate']:>7g} changes/s: {found['lists_per_s']:>8} lists/s, ratio {found['ratio']:.3f}, "
            f"in force after {found['age_p50_ms']} ms (p50), {found['age_p99_ms']} ms (p99), "
            f"{found['wrong_items']} listed items that were hidden"
            for found in size["rates"]
        ]
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
