"""The model that the server ranks with: it follows ``models``, ``items`` and ``rules``.

::

    models ──► a model and a catalogue beside the present ones ──► in force, between two answers
                            └──► as before, where it cannot be loaded ──────────────┴──► receipt
    items  ──► catalogue ─┐
    rules  ───────────────┴─► Served, which never changes; each answer has one
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from models.ranking.catalogue import Catalogue
from models.ranking.catalogue.shared_rows import SharedRows
from streams.announcements.follow import follow
from streams.announcements.receipts import Receipts
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.contract.announcements import GoldenState, ModelAnnouncement
from streams.errors import BrokerError, HeadraceError
from streams.formats.decoders import open_registry
from streams.health.counters import Metrics
from streams.recommender.model.announced_model import AnnouncedModel, Announcement
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
    """Keeps what answers are ranked with, and answers announcements. For one event loop.

    Attributes
    ----------
    popularity : of the model in force
    ready : set once there is a model
    """

    def __init__(self, settings: Settings, shown: ShownItems, known: KnownUsers, receipts: Receipts) -> None:
        self._settings = settings
        self._shown = shown
        self._known = known
        self._served: Served | None = None
        self._reading: asyncio.Future[None] | None = None
        self._texts: ModelThread | None = None  # embeds the items of the model in force
        self._loading: Metrics | None = None  # of the reader of the model that loads
        self._taken = ""  # the announcement that was taken last
        name = settings.recommender.model_name
        self._announced = AnnouncedModel(
            name, receipts, Metrics("recommender"), self._take, self._progress, lambda: self._golden
        )
        self.popularity: LivePopularity | None = None
        self.thread = ModelThread("model")
        self.ready = asyncio.Event()

    @property
    def problem(self) -> str:
        """Why the newest announced model is not in force; empty where it is."""
        return self._announced.problem

    @property
    def _golden(self) -> GoldenState:
        return "none" if self._served is None else self._served.model.golden

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
                    held = (await anext(changes)).get(name)
                    if self._served is None or self._taken != _id(held):
                        await self._start(held)
                    await self._announced.follow(changes)
            except BrokerError as exc:
                log.warning("models: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """End the reader and the threads."""
        await _ended(self._reading, self._texts)
        self.thread.stop()
        await self.thread.ended()

    async def _start(self, held: Announcement | None) -> None:
        """Load what is announced as the server begins to follow, and answer it.

        Where it cannot be loaded, and no model is in force, the artifact of the settings is.
        """
        why_not = ""
        try:
            await self._load(held)
        except BrokerError:
            raise
        except HeadraceError as exc:
            why_not = str(exc)
            if self._served is None:
                if held is None or held.record is None:
                    raise
                await self._load(None)
        self._taken = _id(held)
        assert self._served is not None
        self._announced.note_start(held, self._served.versions.artifact, why_not)

    async def _take(self, announced: Announcement) -> str:
        """Put an announced model in force, and return its version; see :class:`AnnouncedModel`."""
        version = await self._load(announced)
        self._taken = announced.id
        return version

    async def _load(self, announced: Announcement | None) -> str:
        """Load a model beside the one in force, which answers meanwhile; put it in force.

        Returns its version. Whatever it raises changes nothing.
        """
        settings, texts = self._settings, ModelThread("texts")
        record = None if announced is None else announced.record
        order = 0 if announced is None else announced.offset + 1
        metrics = self._loading = Metrics("recommender")
        catalogues: AsyncGenerator[Catalogue, None] | None = None
        try:
            model = await load_model(settings.recommender, texts, settings.sequencer.types(), record, order)
            registry = open_registry(settings.kafka, "items", settings.health.stall_timeout_s)
            sharing = SharedRows(catalogue_folder(settings.recommender))
            reader = CatalogueReader(settings.kafka, model, texts, metrics, registry, sharing=sharing)
            catalogues = reader.catalogues()
            served = Served.of(model, await anext(catalogues), reader.seen).under(self._shown.rules, _now_ms())
            if not served.catalogue.n_items and self._n_items:
                raise HeadraceError(
                    f"it could show none of the {self._n_items} items: the encoder made no usable vector"
                )
            popularity = await self._known.counted_for(model.artifact)
        except BaseException:
            if catalogues is not None:
                await catalogues.aclose()
            texts.stop()
            raise
        finally:
            self._loading = None
        before = self._reading, self._texts
        self._known.adopt(popularity)
        self._served, self.popularity, self._texts = served, popularity, texts
        self._reading = asyncio.ensure_future(self._read(catalogues, served))
        log.info("artifact %s ranks on demand, %d items", model.artifact.version, served.catalogue.n_items)
        self.ready.set()
        await asyncio.shield(_ended(*before))
        return served.versions.artifact

    @property
    def _n_items(self) -> int:
        """How many items the model in force may list."""
        return 0 if self._served is None else self._served.catalogue.n_items

    def _progress(self) -> str:
        """Return how far the loading of the next model is, for people."""
        n = 0 if self._loading is None else self._loading.values["catalogue_taken_in"]
        return f"{n} of {self._n_items} items taken in" if n else "loading"

    async def _read(self, catalogues: AsyncGenerator[Catalogue, None], served: Served) -> None:
        async with aclosing(catalogues):
            async for catalogue in catalogues:
                if self._served is not None and self._served.model is served.model:
                    self._served = self._served.with_catalogue(catalogue, _now_ms())


async def _ended(reading: asyncio.Future[None] | None, texts: ModelThread | None) -> None:
    """Wait until the reader and the thread of a model have ended."""
    if reading is not None:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    if texts is not None:
        texts.stop()
        await texts.ended()


def _id(held: Announcement | None) -> str:
    return "" if held is None else held.id


def _now_ms() -> int:
    return int(1000 * time.time())
