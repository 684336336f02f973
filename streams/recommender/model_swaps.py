"""Takes another artifact into service while lists are made with the present one.

::

    Supply:  artifact ─► model ─► CatalogueReader ─► Served ─► ListMaker
             (each embeds on a thread of its own, beside the lists' thread)

A model has a reader of ``items`` of its own, so vectors of two encoders never meet. The list maker
takes the new model between two micro-batches; only then does the old reader end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.files.served_folder import mark_served
from models.index.index import ItemIndex
from models.ranking.catalogue.shared_rows import SharedRows
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.catalogue.index_engine import open_index_engine, report, worker_name
from streams.contract.announcements import GoldenState, ModelAnnouncement
from streams.errors import HeadraceError
from streams.formats.schema_registry import SchemaRegistry
from streams.health.counters import Metrics
from streams.recommender.collector import Collector
from streams.recommender.list_maker import ListMaker
from streams.recommender.model.announced_model import Announcement
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model.stored_artifact import catalogue_folder, place_of
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.served import Model, Served, load_model
from streams.runtime.app import StreamApp
from streams.runtime.background import watched
from streams.state.table import BatchTable


@dataclass(frozen=True)
class Parts:
    """What a worker has before it has a model.

    Parameters
    ----------
    thread : makes full lists
    spare_thread : makes fallback lists
    registry : the schema registry of ``items``, None where the setting names none
    """

    app: StreamApp
    vectors: BatchTable
    metrics: Metrics
    thread: ModelThread
    spare_thread: ModelThread
    registry: SchemaRegistry | None


def now_ms() -> int:
    """Return the time in ms since 1970."""
    return int(time.time() * 1_000)


class Supply:
    """A model, and the reader that builds the catalogue for it. For one event loop.

    Parameters
    ----------
    thread : embeds the texts of items, and ends with the supply
    """

    def __init__(self, parts: Parts, model: Model, folder: Path, thread: ModelThread, metrics: Metrics) -> None:
        app = parts.app
        self._app = app
        self._thread = thread
        self.model = model
        worker = worker_name(app.settings.kafka.topic_prefix, app.conf.web_port)
        self.engine = open_index_engine(app.settings.recommender, worker, model.artifact.version)
        build_base = ItemIndex.build if self.engine is None else self.engine.build
        self.reader = CatalogueReader(
            app.settings.kafka,
            model,
            thread,
            metrics,
            parts.registry,
            build_base=build_base,
            limit_s=app.settings.recommender.model_restart_s,
            sharing=SharedRows(catalogue_folder(app.settings.recommender)),
        )
        self._catalogues = self.reader.catalogues()
        self._tasks: Sequence[asyncio.Future[None]] = ()
        self._unmark = mark_served(folder)

    @classmethod
    async def opened(cls, parts: Parts, announced: Announcement | None, metrics: Metrics) -> tuple[Supply, Served]:
        """Return a model with its first catalogue.

        Parameters
        ----------
        announced : None, or a removed announcement, takes the artifact of the settings

        Raises
        ------
        HeadraceError
            When the artifact cannot be served, or the catalogue cannot be read.
        """
        settings = parts.app.settings
        record: ModelAnnouncement | None = None if announced is None else announced.record
        order = 0 if announced is None else announced.offset + 1
        thread = ModelThread("texts")
        try:
            model = await load_model(settings.recommender, thread, settings.sequencer.types(), record, order)
            folder, _ = await thread.run(place_of, settings.recommender, record)
            supply = cls(parts, model, folder, thread, metrics)
        except BaseException:
            thread.stop()
            await thread.ended()
            raise
        try:
            return supply, await supply.first()
        except BaseException:
            await supply.close()
            raise

    async def first(self) -> Served:
        """Return the model with the catalogue of what ``items`` holds now."""
        return Served.of(self.model, await anext(self._catalogues), self.reader.seen)

    def begin(self, maker: ListMaker, metrics: Metrics) -> None:
        """Give the list maker each later catalogue, until :meth:`close`."""
        self._app.health.index_engine = self.engine
        jobs = [self._follow(maker)] + ([] if self.engine is None else [report(self.engine, metrics)])
        self._tasks = [asyncio.ensure_future(watched(self._app, job)) for job in jobs]

    async def _follow(self, maker: ListMaker) -> None:
        async for catalogue in self._catalogues:
            if maker.served.model is self.model:
                maker.swap(maker.served.with_catalogue(catalogue, now_ms()))

    async def close(self) -> None:
        """End the reader and its thread."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._catalogues.aclose()
        self._thread.stop()
        await self._thread.ended()
        self._unmark()


class ModelSwaps:
    """Replaces the model that is in force. For one event loop.

    Parameters
    ----------
    supply : the model in force
    """

    def __init__(self, parts: Parts, collector: Collector, supply: Supply) -> None:
        self._parts = parts
        self._collector = collector
        self._supply = supply
        self._next: Metrics | None = None  # of the reader of the model that loads

    def begin(self) -> None:
        """Begin to follow the catalogue of the first model."""
        self._supply.begin(self._collector.maker, self._parts.metrics)

    async def stop(self) -> None:
        """End the reader of the model in force."""
        await self._supply.close()

    def progress(self) -> str:
        """Return how far the loading of the next model is, for people."""
        if self._next is None:
            return "loading"
        n = self._next.values["catalogue_taken_in"]
        self._parts.metrics.put("catalogue_taken_in", n)
        return f"{n} of {len(self._collector.maker.served.catalogue.item_ids)} items taken in"

    def golden(self) -> GoldenState:
        """Return whether the model in force gives its golden lists here."""
        return self._supply.model.golden

    async def load(self, announced: Announcement) -> str:
        """Load an announced artifact beside the present one, and put it in force.

        Returns its version.

        Raises
        ------
        HeadraceError
            When it cannot be served; the present one is then still in force.
        """
        parts, collector = self._parts, self._collector
        metrics = self._next = Metrics("recommender")
        try:
            supply, served = await Supply.opened(parts, announced, metrics)
            n_items, n_before = served.catalogue.n_items, collector.maker.served.catalogue.n_items
            if n_before and not n_items:
                await supply.close()
                raise HeadraceError(f"it could show none of the {n_before} items: the encoder made no usable vector")
        finally:
            self._next = None
            parts.metrics.put("catalogue_taken_in", 0)
        before, self._supply = self._supply, supply
        popularity = LivePopularity(served.model.artifact, is_on=parts.app.settings.recommender.live_popularity == "on")
        collector.maker.counts.adopt(popularity)
        served = served.under(collector.maker.served.rules, now_ms())
        collector.maker.swap(served)  # in one step: no list mixes two models
        supply.reader.report_to(parts.metrics)
        supply.begin(collector.maker, parts.metrics)
        parts.metrics.add("model_swaps")
        days = None if announced.record is None else announced.record.refresh_days
        collector.refresh.begin(served.model.artifact.version, days)
        await asyncio.shield(self._settle(before, popularity))
        await collector.maker.settled()
        return served.model.artifact.version

    async def _settle(self, before: Supply, popularity: LivePopularity) -> None:
        """Let the model before go, and count popularity for the new one."""
        await before.close()
        if self._parts.app.settings.recommender.live_popularity == "on":
            await self._collector.recount.adopt(popularity)
