"""The recommender's own reader of the compacted ``items`` topic.

Every recommender reads the whole topic, because Faust's global tables hold only part of the keys on
some workers. It embeds only texts that changed and that the cache on disk lacks. Each change gives
a new, immutable catalogue; whoever makes lists keeps to the catalogue that it began with.

::

    records ─► text changed? ─► embed (a thread) ─► store ─► catalogue
                                                      │
                                    rebuild, recall (another thread)

Neither thread is the one that makes lists.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import numpy as np
from aiokafka import TopicPartition

from models.artifact.artifact import Artifact
from models.base.types import Float32
from models.features.columns import item_row
from models.index.index import EXACT_UP_TO, ItemIndex
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.catalogue.rebuild import BuildBase, Built
from models.ranking.catalogue.recall import RECALL_TARGET, running_recall
from models.ranking.catalogue.shared_rows import SharedRows
from models.ranking.catalogue.store import CatalogueStore, Entry
from models.text.cleaned_texts import CleanedTexts
from streams.catalogue.changes import Schedule, rest_key, text_key
from streams.catalogue.collector import collector_paused
from streams.catalogue.item_facts import facts_of
from streams.catalogue.item_vectors import item_vectors, n_imputed
from streams.catalogue.seen_index import SeenIndex
from streams.contract.item_records import is_shown
from streams.contract.log_coordinates import about
from streams.contract.records import Item
from streams.errors import RecordError
from streams.formats.decoders import open_item_decoder
from streams.formats.schema_registry import SchemaRegistry
from streams.health.counters import Metrics
from streams.kafka.readers import start_reader
from streams.kafka.topic_reader import partition_count, read_to_ends
from streams.recommender.model.model_thread import ModelThread
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)
Fetched: TypeAlias = dict[TopicPartition, list[Any]]

#: Items embedded in one job: less than a job of the model may take.
ITEMS_PER_JOB: Final = 256
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
#: Seconds between two catalogues at least: changes that come faster share one.
PERIOD_S: Final = 0.1
#: A job of the text thread that takes longer hangs.
LIMIT_S: Final = 45.0
#: The first job takes longer: an encoder warms up.
FIRST_JOB: Final = 10
#: Seconds between two measurements of recall.
RECALL_S: Final = 60.0
#: Stands for the text of each item where the artifact takes no text.
NO_VECTOR: Final = np.zeros(1, dtype=np.float32)


class ReadModel(Protocol):
    """What the reader uses of a model, as in ``streams.recommender.served.Model``."""

    @property
    def artifact(self) -> Artifact: ...  # noqa: D102

    @property
    def embed(self) -> Callable[[list[str]], Float32] | None: ...  # noqa: D102

    @property
    def cleaned(self) -> CleanedTexts | None: ...  # noqa: D102


class CatalogueReader:
    """Follows ``items``. For one event loop.

    A thread of the reader's own rebuilds indexes.

    Parameters
    ----------
    thread : embeds texts; lists should be made on another one, so that neither waits for the other
    clock : seconds since 1970
    build_base : builds the index over a large catalogue
    limit_s : a job of ``thread`` that takes longer hangs; the first one may take
        :data:`FIRST_JOB` times as long
    sharing : shares the rows of rebuilds with other workers; None for private memory

    Attributes
    ----------
    seen : finds the items of all catalogues by their hashes
    n_rebuilds : rebuilds that were taken over
    n_taken_in : items whose text was embedded, or found in the cache, so far
    """

    def __init__(
        self,
        settings: KafkaSettings,
        model: ReadModel,
        thread: ModelThread,
        metrics: Metrics,
        registry: SchemaRegistry | None = None,
        clock: Callable[[], float] = time.time,
        build_base: BuildBase = ItemIndex.build,
        limit_s: float = LIMIT_S,
        sharing: SharedRows | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._thread, self._limit_s = thread, limit_s
        self._metrics = metrics
        self._registry = registry
        self._clock = clock
        self._decoder = open_item_decoder(settings, registry)
        self._store = CatalogueStore(model.artifact, build_base, sharing)
        self._schedule = Schedule()
        self._background = ModelThread("index")
        self._rebuild: asyncio.Future[Built] | None = None
        self._recall: asyncio.Future[float] | None = None
        self._recall_due_s = 0.0
        self.n_rebuilds = 0
        self.n_taken_in = 0
        self.seen = SeenIndex(model.artifact.manifest.item_ids if model.embed is None else ())

    @property
    def is_rebuilding(self) -> bool:
        """Whether a rebuild runs beside the model, or waits to be taken over."""
        return self._rebuild is not None

    def report_to(self, metrics: Metrics) -> None:
        """Count in these metrics from now on: the reader's catalogue is the one in force."""
        for name in ("catalogue_items", "catalogue_hidden", "catalogue_tail", "index_generation"):
            metrics.put(name, self._metrics.values[name])
        self._metrics = metrics

    async def catalogues(self) -> AsyncGenerator[Catalogue, None]:
        """Yield the catalogue of what ``items`` holds now, then a new one after each change."""
        topic = self._settings.topic("items")
        consumer = await start_reader(self._settings, auto_offset_reset="earliest")
        try:
            partitions = [TopicPartition(topic, p) for p in range(await partition_count(self._settings, topic))]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            yield await self.load(read_to_ends(consumer, await consumer.end_offsets(partitions)))

            async def poll(timeout_ms: int) -> Fetched:
                fetched: Fetched = await consumer.getmany(timeout_ms=timeout_ms)
                return fetched

            async for catalogue in self.follow(poll):
                yield catalogue
        finally:
            self._background.stop()
            await consumer.stop()

    async def load(self, fetches: AsyncIterable[Fetched]) -> Catalogue:
        """Take in all records of a start, and return the first catalogue."""
        with collector_paused():
            async for fetched in fetches:
                await self.apply(fetched)
        return await self.build()

    async def follow(self, poll: Callable[[int], Awaitable[Fetched]]) -> AsyncGenerator[Catalogue, None]:
        """Yield a catalogue after each change, without end.

        Parameters
        ----------
        poll : returns records, after at most so many milliseconds
        """
        while True:
            newest = await self._decoded(await poll(self._wait_ms()))
            if is_withdrawn := self._withdraw(newest):
                yield await self.build()  # the texts of the others may take long to embed
            is_changed = await self._take_in(newest)
            if is_changed := self.show_due() | self._follow_rebuild() | is_changed:
                yield await self.build()
            if is_withdrawn or is_changed:
                await asyncio.sleep(PERIOD_S)

    async def apply(self, fetched: Fetched) -> bool:
        """Take in fetched records; return whether anything changed."""
        return await self._take_in(await self._decoded(fetched))

    async def _decoded(self, fetched: Fetched) -> dict[str, Item | None]:
        """Return each item's newest record among those fetched, None for a tombstone."""
        records = [record for found in fetched.values() for record in found]
        if self._registry is not None:
            await self._registry.load(records)
        newest: dict[str, Item | None] = {}
        for record in records:
            try:
                item_id, item = self._decoder.decode(record)
            except RecordError as error:
                self._metrics.add("items_left_out")
                place, extra = (record.offset, record.partition), about(record.topic, record.partition, record.offset)
                log.warning("items: offset %d of partition %d left out: %s", *place, error, extra=extra)
                continue
            newest[item_id] = item
        return newest

    def _withdraw(self, newest: Mapping[str, Item | None]) -> bool:
        """Remove and hide what lists must not show from now on; return whether anything changed."""
        now_ms = int(self._clock() * 1_000)
        removed = [item_id for item_id, item in newest.items() if item is None]
        hidden = {item_id: False for item_id, item in newest.items() if item and not is_shown(item, now_ms)}
        return self._store.apply([], removed, time.monotonic()) | self._store.show(hidden)

    async def _take_in(self, newest: Mapping[str, Item | None]) -> bool:
        now_ms = int(self._clock() * 1_000)
        removed = {item_id for item_id, item in newest.items() if item is None}
        items = [item for item in newest.values() if item is not None]
        keys = {item.item_id: text_key(item) for item in items}
        vectors, left_out = await self._embed(items, keys)
        entries = self._entries([item for item in items if item.item_id not in left_out], vectors, keys, now_ms)
        is_changed = self._store.apply(entries, removed | left_out, time.monotonic())
        for item_id, item in newest.items():
            if item is None or item_id in left_out:
                self._schedule.remove(item_id)
            else:
                self._schedule.put(item, now_ms)
        self.seen.add(entry.item_id for entry in entries)
        return is_changed

    def show_due(self) -> bool:
        """Show and hide the items whose time has come; return whether anything changed."""
        return self._store.show(self._schedule.take_due(int(self._clock() * 1_000)))

    async def build(self) -> Catalogue:
        """Return the catalogue of all that was read so far.

        While ``items`` is empty, an artifact that takes no text serves the items that it was
        trained on.
        """
        if self._store.n_listed:
            if not self._store.is_settled and self._store.n_listed <= EXACT_UP_TO:
                self._store.rebuild_now()
            catalogue = self._store.snapshot()
            self._begin_background(catalogue)
        else:
            self._store.generation += 1
            catalogue = build_catalogue(self._model.artifact, {}, self._store.generation)
            if catalogue.n_items:
                log.info("items holds no entry: the %d items of the artifact are the catalogue", catalogue.n_items)
        self._metrics.put("catalogue_items", catalogue.n_items)
        self._metrics.put("catalogue_hidden", self._store.n_listed - catalogue.n_items if self._store.n_listed else 0)
        self._metrics.put("catalogue_tail", self._store.n_tail)
        self._metrics.put("index_generation", catalogue.generation)
        return catalogue

    def _entries(
        self, items: Sequence[Item], vectors: Mapping[str, Float32], keys: Mapping[str, bytes], now_ms: int
    ) -> list[Entry]:
        has_features = self._model.artifact.item_features.width > 0
        return [
            Entry(
                item.item_id,
                item_row(msgspec.structs.asdict(item)) if has_features else {},
                vectors.get(item.item_id),
                keys[item.item_id],
                rest_key(item, has_features=has_features),
                is_shown(item, now_ms),
                facts_of(item),
            )
            for item in items
        ]

    async def _embed(self, items: Sequence[Item], keys: Mapping[str, bytes]) -> tuple[dict[str, Float32], set[str]]:
        """Return the vectors of the items whose text changed.

        The second value has the ids of the items without a vector.

        Parameters
        ----------
        keys : :func:`~streams.catalogue.changes.text_key` by item id

        Raises
        ------
        StalledError
            When the encoder hangs.
        """
        changed = [item for item in items if not self._store.has_text(item.item_id, keys[item.item_id])]
        if n := n_imputed(items):
            log.warning("items: %d with a price or feature that is not finite: taken as missing", n)
        embed = self._model.embed
        if embed is None:
            return {item.item_id: NO_VECTOR for item in changed}, set()
        vectors: dict[str, Float32] = {}
        left_out: set[str] = set()
        for start in range(0, len(changed), ITEMS_PER_JOB):
            part = changed[start : start + ITEMS_PER_JOB]
            limit_s = self._limit_s * (1 if self.n_taken_in else FIRST_JOB)
            found, why_not = await self._thread.run_within(limit_s, item_vectors, part, embed, self._model.cleaned)
            vectors |= found
            left_out |= why_not.keys()
            self.n_taken_in += len(found) + len(why_not)
            self._metrics.put("catalogue_taken_in", self.n_taken_in)
            for item_id, why in why_not.items():
                log.warning("items: %r left out: %s", item_id, why)
        self._metrics.add("items_left_out", len(left_out))
        return vectors, left_out

    def _wait_ms(self) -> int:
        """Return how long to wait for records: until an item is due, at most."""
        due_ms = self._schedule.next_ms()
        return POLL_MS if due_ms is None else max(0, min(POLL_MS, due_ms - int(self._clock() * 1_000)))

    def _begin_background(self, catalogue: Catalogue) -> None:
        """Begin a rebuild or a measurement of recall where one is due and none runs."""
        has_base = catalogue.index.kind != "exact"
        if self._rebuild is None and self._store.wants_rebuild():
            plan = self._store.plan(time.monotonic())
            self._rebuild = asyncio.ensure_future(self._background.run(plan.build))
        elif self._recall is None and has_base and time.monotonic() >= self._recall_due_s:
            self._recall_due_s = time.monotonic() + RECALL_S
            self._recall = asyncio.ensure_future(self._background.run(running_recall, catalogue))

    def _follow_rebuild(self) -> bool:
        """Take over what the background has done; return whether the catalogue has new rows."""
        if self._recall is not None and self._recall.done():
            recall, self._recall = self._recall.result(), None
            self._metrics.put("index_recall_percent", round(100 * recall))
            if recall < RECALL_TARGET and self._rebuild is None:
                log.warning("index: recall %.3f, must be at least %g: built again", recall, RECALL_TARGET)
                self._rebuild = asyncio.ensure_future(self._background.run(self._store.plan(time.monotonic()).build))
        if self._rebuild is None or not self._rebuild.done():
            return False
        rebuild, self._rebuild = self._rebuild, None
        if (error := rebuild.exception()) is not None:
            self._store.finish(None)
            log.error("index: not built again: %r; the catalogue goes on with the one before", error)
            return False
        self._store.finish(rebuild.result())
        self._metrics.add("index_rebuilds")
        self.n_rebuilds += 1
        return True
