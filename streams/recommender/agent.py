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
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final

import faust
from faust.types import TP, EventT

from streams.announcements.follow import follow
from streams.announcements.scenario_rules import RulesChange, answer, scenario_rules
from streams.contract.announcements import ModelAnnouncement
from streams.errors import HeadraceError
from streams.forgetting.requests import Forgetting
from streams.formats.decoders import open_registry
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems
from streams.recommender.collector import Collector
from streams.recommender.delivery import Delivery
from streams.recommender.fallback_lists import FallbackLists
from streams.recommender.list_encoding import ListEncoder
from streams.recommender.list_maker import ListMaker
from streams.recommender.live_counts import LiveCounts
from streams.recommender.model.announced_model import AnnouncedModel, Announcement
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model_loop import ModelLoop
from streams.recommender.model_swaps import ModelSwaps, Parts, Supply, now_ms
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.popularity.recount import Recount
from streams.recommender.removal import UserEraser
from streams.recommender.served import Served
from streams.recommender.users.first_lists import FirstLists
from streams.recommender.users.reader import UsersReader
from streams.recommender.waiting.backpressure import Backpressure
from streams.recommender.waiting.list_rate import ListRate
from streams.recommender.waiting.refresh import Refresh
from streams.recommender.waiting.traced_lists import TracedLists
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
        registry = app.health.registry = open_registry(app.settings.kafka, "items", app.settings.health.stall_timeout_s)
        parts = Parts(app, vectors, metrics, threads[0], threads[1], registry)
        changes = await opened.enter_async_context(aclosing(_announcements(parts)))
        held = (await anext(changes)).get(app.settings.recommender.model_name)
        supply, served, why_not = await _first(parts, held)
        unknown = app.health.unknown = UnknownItems()
        rules = await opened.enter_async_context(aclosing(_rules(app, metrics)))
        first = await anext(rules)
        collector = _collector(parts, served.under(first.rules, now_ms()), unknown)
        opened.push_async_callback(collector.recount.stop)
        opened.push_async_callback(collector.users.stop)
        opened.push_async_callback(collector.forgetting.stop)
        swaps = ModelSwaps(parts, collector, supply)
        opened.push_async_callback(swaps.stop)
        swaps.begin()
        name = app.settings.recommender.model_name
        model = AnnouncedModel(name, app.receipts, metrics, swaps.load, swaps.progress, swaps.golden)
        app.health.model = model
        model.note_start(held, served.model.artifact.version, why_not)
        if held is not None and held.record is not None and not why_not:
            collector.refresh.begin(served.model.artifact.version, held.record.refresh_days)
        jobs = [collector.maker.run(), collector.refresh.run(), unknown.run(), model.follow(changes)]
        jobs += [_obey(app, first, rules, collector.maker), _age(collector.maker)]
        tasks = [asyncio.ensure_future(watched(app, job)) for job in jobs]
        opened.push_async_callback(_cancel, tasks)
        yield collector


def _announcements(parts: Parts) -> AsyncGenerator[dict[str, Announcement], None]:
    malformed = functools.partial(parts.metrics.add, "announcements_malformed")
    return follow(parts.app.settings.kafka, "models", ModelAnnouncement, malformed=malformed)


async def _first(parts: Parts, held: Announcement | None) -> tuple[Supply, Served, str]:
    """Return what a worker serves first: the announced artifact, else that of the settings.

    The third value says why the announced one cannot be served.
    """
    why_not = ""
    if held is not None and held.record is not None:
        try:
            return *await Supply.opened(parts, held, parts.metrics), ""
        except HeadraceError as exc:
            why_not = str(exc)
    removed = held if held is not None and held.record is None else None
    return *await Supply.opened(parts, removed, parts.metrics), why_not


def _collector(parts: Parts, served: Served, unknown: UnknownItems) -> Collector:
    """Return a collector and all that makes its lists; nothing of it runs yet."""
    app, vectors, metrics, settings = parts.app, parts.vectors, parts.metrics, parts.app.settings.recommender
    queue: WindowQueue[EventT] = WindowQueue(ListRate(settings.lists_per_minute))
    popularity = LivePopularity(served.model.artifact, is_on=settings.live_popularity == "on")
    counts = LiveCounts(popularity, unknown, vectors, metrics)
    marks: dict[bytes, int] = {}
    traced = None if app.tracing is None else TracedLists(app.tracing, app.settings.kafka.topic("sequences"))
    delivery = Delivery(app, queue, vectors, unknown, metrics, marks, traced)
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
            events_topic=app.settings.kafka.topic("events"),
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
        traced=traced,
        refresh=Refresh(app.settings.kafka, queue, vectors, metrics, lambda: app.rebalancing),
    )


def _rules(app: StreamApp, metrics: Metrics) -> AsyncGenerator[RulesChange, None]:
    settings = app.settings.recommender
    malformed = functools.partial(metrics.add, "rules_malformed")
    return scenario_rules(app.settings.kafka, settings.scenario, settings.list_size, malformed)


async def _obey(
    app: StreamApp, first: RulesChange, changes: AsyncGenerator[RulesChange, None], maker: ListMaker
) -> None:
    """Answer the rules that are in force already, then put each change into force."""
    answer(app.receipts, first)
    async for change in changes:
        if not change.error:
            maker.swap(maker.served.under(change.rules, now_ms()))
            await maker.settled()
        answer(app.receipts, change)


async def _age(maker: ListMaker) -> None:
    """Apply the rules again when an item has reached an age that they ask about."""
    while True:
        await asyncio.sleep(AGES_S)
        rules = maker.served.catalogue.rules
        if rules is not None and rules.is_due(now_ms()):
            maker.swap(maker.served.under(maker.served.rules, now_ms()))


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
    metrics = Metrics("recommender")
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
