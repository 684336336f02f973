"""The model that the server ranks with: it follows ``models``, ``items`` and ``rules``.

::

    models ──► a model and a catalogue beside the present ones ──► in force, between two answers
    items  ──► catalogue ─┐
    rules  ───────────────┴─► Served, which never changes; each answer has one
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from models.ranking.catalogue.shared_rows import SharedRows
from streams.announcements.follow import Announced, follow
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.contract.announcements import ModelAnnouncement
from streams.errors import BrokerError, HeadraceError
from streams.formats.decoders import open_registry
from streams.health.counters import Metrics
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model.stored_artifact import catalogue_folder
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.served import Served, load_model
from streams.server.lists.shown_items import ShownItems
from streams.server.ranking.known_users import KnownUsers
from streams.settings.load import Settings

log = logging.getLogger(__name__)

RETRY_S = 2.0


class ServedModel:
    """Keeps what answers are ranked with. For one event loop.

    Attributes
    ----------
    popularity : of the model in force
    ready : set once there is a model
    problem : why the newest announced model is not in force; empty where it is
    """

    def __init__(self, settings: Settings, shown: ShownItems, known: KnownUsers) -> None:
        self._settings = settings
        self._shown = shown
        self._known = known
        self._served: Served | None = None
        self._reading: asyncio.Future[None] | None = None
        self._texts: ModelThread | None = None  # embeds the items of the model in force
        self.popularity: LivePopularity | None = None
        self.thread = ModelThread("model")
        self.ready = asyncio.Event()
        self.problem = ""

    def current(self) -> Served | None:
        """Return the model, the catalogue and the rules in force; None while there is no model."""
        served, now = self._served, _now_ms()
        if served is None:
            return None
        rules = served.catalogue.rules
        if served.rules is not self._shown.rules or (rules is not None and rules.is_due(now)):
            served = self._served = served.under(self._shown.rules, now)
        if self.popularity is not None:
            served = self._served = served.with_popularity(self.popularity.refreshed(served.whole))
        return served

    async def run(self) -> None:
        """Follow the announcements until cancelled; try again while the broker does not answer.

        Raises
        ------
        HeadraceError
            When there is no model at all: nothing is announced, and the settings' artifact cannot
            be loaded.
        """
        name = self._settings.recommender.model_name
        while True:
            try:
                async with aclosing(follow(self._settings.kafka, "models", ModelAnnouncement)) as changes:
                    is_first = True
                    async for changed in changes:
                        if name in changed or is_first:
                            await self._take(changed.get(name))
                        is_first = False
            except BrokerError as exc:
                log.warning("models: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """End the reader and the threads."""
        await self._stop_reading()
        self.thread.stop()
        await self.thread.ended()

    async def _take(self, announced: Announced[ModelAnnouncement] | None) -> None:
        """Put a model in force; one that cannot be loaded changes nothing."""
        record = None if announced is None else announced.record
        order = 0 if announced is None else announced.offset + 1
        try:
            await self._load(record, order)
            self.problem = ""
        except HeadraceError as exc:
            self.problem = str(exc)
            log.error("model: %s", exc)
            if self._served is not None:
                return
            if record is None:
                raise
            await self._load(None, order)

    async def _load(self, record: ModelAnnouncement | None, order: int) -> None:
        """Load a model beside the one in force, which answers meanwhile, and put it in force."""
        settings, texts = self._settings, ModelThread("texts")
        try:
            model = await load_model(settings.recommender, texts, settings.sequencer.types(), record, order)
            registry = open_registry(settings.kafka, "items", settings.health.stall_timeout_s)
            sharing = SharedRows(catalogue_folder(settings.recommender))
            reader = CatalogueReader(settings.kafka, model, texts, Metrics("recommender"), registry, sharing=sharing)
            catalogues = reader.catalogues()
            served = Served.of(model, await anext(catalogues), reader.seen).under(self._shown.rules, _now_ms())
            popularity = await self._known.counted_for(model.artifact)
        except BaseException:
            texts.stop()
            raise
        await self._stop_reading()
        self._known.adopt(popularity)
        self._served, self.popularity, self._texts = served, popularity, texts
        self._reading = asyncio.ensure_future(self._read(catalogues, served))
        log.info("artifact %s ranks on demand, %d items", model.artifact.version, served.catalogue.n_items)
        self.ready.set()

    async def _read(self, catalogues: AsyncGenerator[object, None], served: Served) -> None:
        async with aclosing(catalogues):
            async for catalogue in catalogues:
                if self._served is not None and self._served.model is served.model:
                    self._served = self._served.with_catalogue(catalogue, _now_ms())  # type: ignore[arg-type]

    async def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._texts is not None:
            self._texts.stop()
            await self._texts.ended()
            self._texts = None


def _now_ms() -> int:
    return int(1000 * time.time())
