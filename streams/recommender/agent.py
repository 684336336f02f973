"""The recommender: windows in, lists out.

``faust -A streams.recommender worker`` loads this module.

::

    sequences ──► Collector ──► WindowQueue ──► ModelLoop ──► Delivery ──► recommendations
    items ──► CatalogueReader ──► Served ───────────┤            └──────► user-vectors
    rules ──► scenario_rules ────────┘              │
    users ──► UsersReader ──► features, follows ────┘

``user-vectors`` is also the changelog of the table ``user_vectors``.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import faust
from faust.types import TP, EventT

from models.index.index import ItemIndex
from models.ranking.pipeline import Catalogue
from streams.announcements.scenario_rules import RulesChange, scenario_rules
from streams.catalogue.index_engine import open_index_engine, report, worker_name
from streams.contract.announcements import Stage
from streams.forgetting.requests import Forgetting
from streams.formats.decoders import open_registry
from streams.health.counters import Metrics
from streams.health.stage_times import RECOMMENDER_STAGES
from streams.health.unknown_items import UnknownItems
from streams.recommender.catalogue_reader import CatalogueReader
from streams.recommender.collector import Collector
from streams.recommender.delivery import Delivery
from streams.recommender.fallback_lists import FallbackLists
from streams.recommender.list_encoding import ListEncoder
from streams.recommender.list_maker import ListMaker
from streams.recommender.live_counts import LiveCounts
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model_loop import ModelLoop
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.popularity.recount import Recount
from streams.recommender.removal import UserEraser
from streams.recommender.served import Served, load_model
from streams.recommender.users.first_lists import FirstLists
from streams.recommender.users.reader import UsersReader
from streams.recommender.waiting.backpressure import Backpressure
from streams.recommender.waiting.list_rate import ListRate
from streams.recommender.waiting.window_queue import WindowQueue
from streams.runtime.app import StreamApp, build_app
from streams.runtime.background import watched
from streams.runtime.pages import serve
from streams.settings.load import Settings
from streams.state.table import BatchTable

#: Seconds between two looks at the ages of items.
AGES_S: Final = 0.5
#: Where the broker's log keeps what was made of a forgotten user's windows.
LOGS: Final = ("recommendations", "user-vectors")


class RecommenderAgent:
    """What Faust runs: it opens a collector when the worker starts and closes it at the end."""

    def __init__(self, app: StreamApp, vectors: BatchTable, metrics: Metrics) -> None:
        self._app = app
        self._vectors = vectors
        self._metrics = metrics
        self._opened = AsyncExitStack()
        self.collector: Collector | None = None

    async def start(self) -> None:
        """Load the artifact, read the catalogue, then begin to serve.

        Raises
        ------
        HeadraceError
            When the artifact is missing or damaged.
        """
        opening = open_collector(self._app, self._vectors, self._metrics)
        self.collector = await self._opened.enter_async_context(opening)

    async def stop(self) -> None:
        """Stop the reader and the threads. The next worker reads the windows in flight again."""
        await self._opened.aclose()

    async def collect(self, batches: faust.StreamT[Any]) -> None:
        """Queue the windows of each record batch."""
        if self.collector is None:
            raise RuntimeError("start() comes before collect()")
        await self.collector.collect(batches)

    def let_go(self) -> None:
        """Drop all that waits for the model, without committing it."""
        if self.collector is not None:
            self.collector.let_go()

    async def on_partitions_assigned(self, app: StreamApp, assigned: set[TP], **_: Any) -> None:
        """Take batches of a new assignment."""
        if self.collector is not None:
            topic = app.settings.kafka.topic("sequences")
            await self.collector.begin({tp.partition for tp in assigned if tp.topic == topic})

    async def on_partitions_revoked(self, _app: faust.App, revoked: set[TP], **_: Any) -> None:
        """Drop the waiting windows of partitions that were taken away."""
        if self.collector is not None:
            await self.collector.forgetting.stop()
            self.collector.forget(tp.partition for tp in revoked)


@dataclass(frozen=True)
class Parts:
    """What a worker has before it has a model.

    Parameters
    ----------
    thread : the model's thread
    spare_thread : makes fallback lists
    """

    app: StreamApp
    vectors: BatchTable
    metrics: Metrics
    thread: ModelThread
    spare_thread: ModelThread


@asynccontextmanager
async def open_collector(app: StreamApp, vectors: BatchTable, metrics: Metrics) -> AsyncIterator[Collector]:
    """Load the artifact, read the catalogue, and give a collector.

    Its windows get lists until the context ends.

    Raises
    ------
    HeadraceError
        When the artifact is missing or damaged, or the catalogue cannot be read.
    """
    async with AsyncExitStack() as opened:
        threads = [await opened.enter_async_context(ModelThread(name)) for name in ("model", "fallback")]
        parts = Parts(app, vectors, metrics, *threads)
        model = await load_model(app.settings.recommender, parts.thread, app.settings.sequencer.types())
        patience_s = app.settings.health.stall_timeout_s
        registry = app.health.registry = open_registry(app.settings.kafka, "items", patience_s)
        worker = worker_name(app.settings.kafka.topic_prefix, app.conf.web_port)
        engine = app.health.index_engine = open_index_engine(app.settings.recommender, worker, model.artifact.version)
        build_base = ItemIndex.build if engine is None else engine.build
        reader = CatalogueReader(app.settings.kafka, model, parts.thread, metrics, registry, build_base=build_base)
        catalogues = await opened.enter_async_context(aclosing(reader.catalogues()))
        unknown = app.health.unknown = UnknownItems()
        rules = await opened.enter_async_context(aclosing(_rules(app, metrics)))
        served = Served.of(model, await anext(catalogues), reader.seen)
        first = await anext(rules)
        collector = _collector(parts, served.under(first.rules, _now_ms()), unknown)
        opened.push_async_callback(collector.recount.stop)
        opened.push_async_callback(collector.users.stop)
        opened.push_async_callback(collector.forgetting.stop)
        jobs = [_follow(catalogues, collector.maker), collector.maker.run(), unknown.run()]
        jobs += [_obey(app, first, rules, collector.maker), _age(collector.maker)]
        jobs += [] if engine is None else [report(engine, metrics)]
        tasks = [asyncio.ensure_future(watched(app, job)) for job in jobs]
        opened.push_async_callback(_cancel, tasks)
        yield collector


def _collector(parts: Parts, served: Served, unknown: UnknownItems) -> Collector:
    """Return a collector and all that makes its lists; nothing of it runs yet."""
    app, vectors, metrics, settings = parts.app, parts.vectors, parts.metrics, parts.app.settings.recommender
    queue: WindowQueue[EventT] = WindowQueue(ListRate(settings.lists_per_minute))
    popularity = LivePopularity(served.model.artifact, is_on=settings.live_popularity == "on")
    counts = LiveCounts(popularity, unknown, vectors, metrics)
    marks: dict[bytes, int] = {}
    delivery = Delivery(app, queue, vectors, unknown, metrics, marks)
    encoder = ListEncoder(as_json=app.settings.kafka.output_format == "json")
    fallback = FallbackLists(queue, delivery, vectors, parts.spare_thread, metrics, encoder)
    pressure = Backpressure(queue, settings.max_pending_windows, metrics)
    guard = functools.partial(watched, app)
    first = FirstLists(queue, vectors, pressure, marks)
    users = UsersReader(app.settings.kafka, vectors, first, metrics, guard, lambda: app.rebalancing)
    maker = ListMaker(
        loop=ModelLoop(
            queue=queue,
            thread=parts.thread,
            fallback=fallback,
            encoder=encoder,
            settings=settings,
            metrics=metrics,
            facts=users.facts,
        ),
        counts=counts,
        delivery=delivery,
        pressure=pressure,
        served=served,
    )
    recount = Recount(app.settings, popularity, guard, lambda: app.rebalancing, counts.note_popularity)
    eraser = UserEraser(app, queue, vectors, maker)
    forgetting = Forgetting(app.settings, eraser, app.receipts, metrics, LOGS, marks=marks)
    return Collector(
        app=app,
        vectors=vectors,
        metrics=metrics,
        queue=queue,
        maker=maker,
        recount=recount,
        users=users,
        forgetting=forgetting,
    )


async def _follow(catalogues: AsyncIterator[Catalogue], maker: ListMaker) -> None:
    async for catalogue in catalogues:
        maker.swap(maker.served.with_catalogue(catalogue, _now_ms()))


def _rules(app: StreamApp, metrics: Metrics) -> AsyncGenerator[RulesChange, None]:
    settings = app.settings.recommender
    malformed = functools.partial(metrics.add, "rules_malformed")
    return scenario_rules(app.settings.kafka, settings.scenario, settings.list_size, malformed)


async def _obey(
    app: StreamApp, first: RulesChange, changes: AsyncGenerator[RulesChange, None], maker: ListMaker
) -> None:
    """Answer the rules that are in force already, then put each change into force."""
    _answer(app, first)
    async for change in changes:
        if not change.error:
            maker.swap(maker.served.under(change.rules, _now_ms()))
            await maker.settled()
        _answer(app, change)


def _answer(app: StreamApp, change: RulesChange) -> None:
    """Give the receipt of rules that are in force, or that cannot be."""
    if change.announcement:
        version = "no rules" if change.rules is None else f"rules {change.rules.version}"
        stage: Stage = "failed" if change.error else "done"
        app.receipts.give("rules", change.announcement, stage=stage, detail=change.error or version)


async def _age(maker: ListMaker) -> None:
    """Apply the rules again when an item has reached an age that they ask about."""
    while True:
        await asyncio.sleep(AGES_S)
        rules = maker.served.catalogue.rules
        if rules is not None and rules.is_due(_now_ms()):
            maker.swap(maker.served.under(maker.served.rules, _now_ms()))


def _now_ms() -> int:
    return int(time.time() * 1_000)


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def build_recommender(settings: Settings) -> StreamApp:
    """Return the recommender's app; connects to nothing."""
    app = build_app(
        "recommender",
        settings,
        changelog="user-vectors",
        batch_max_records=500,
        batch_max_bytes=1 << 20,
        store="memory://",
        datadir=settings.sequencer.data_dir,
    )
    metrics = Metrics(RECOMMENDER_STAGES)
    vectors = app.Table(
        "user_vectors",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.batch_topic("user-vectors"),
        partitions=settings.kafka.partitions,
    )
    agent = RecommenderAgent(app, vectors, metrics)
    app.agent(app.batch_topic("sequences"), name="collect", concurrency=1)(agent.collect)
    app.serving = agent
    app.on_partitions_revoked.connect(agent.on_partitions_revoked)
    app.on_partitions_assigned.connect(agent.on_partitions_assigned)
    serve(app, metrics)
    return app
