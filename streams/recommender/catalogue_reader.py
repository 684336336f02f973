"""The recommender's own reader of the compacted ``items`` topic.

Every recommender reads the whole topic, because Faust's global tables hold only part of the keys on
some workers. The reader embeds only texts that the cache on disk lacks. Each change gives a new,
immutable catalogue; whoever makes lists keeps to the catalogue that it began with.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from aiokafka import TopicPartition

from models.base.types import Float32
from models.features.columns import Row, item_row
from models.ranking.pipeline import Catalogue, build_catalogue
from models.text.clean import item_text, own_title
from streams.contract.records import Item
from streams.errors import RecordError
from streams.formats.decoders import open_item_decoder
from streams.formats.schema_registry import SchemaRegistry
from streams.health.counters import Metrics
from streams.kafka.readers import start_reader
from streams.kafka.topic_reader import partition_count, read_to_ends
from streams.recommender.model_thread import ModelThread
from streams.recommender.served import Model
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

#: Items embedded in one job. Lists are made between two jobs while a large catalogue is embedded.
ITEMS_PER_JOB: Final = 256
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
#: Stands for the text of each item where the artifact takes no text.
NO_VECTOR: Final = np.zeros(1, dtype=np.float32)
#: Longer vectors are not embeddings, and their products would overflow float32.
MAX_LENGTH: Final = 1e6


class CatalogueReader:
    """Follows ``items``. For one event loop.

    The model's thread embeds texts and builds catalogues.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        model: Model,
        thread: ModelThread,
        metrics: Metrics,
        registry: SchemaRegistry | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._thread = thread
        self._metrics = metrics
        self._registry = registry
        self._decoder = open_item_decoder(settings, registry)
        self._vectors: dict[str, Float32] = {}
        self._features: dict[str, Row] = {}
        self._generation = 0

    async def catalogues(self) -> AsyncGenerator[Catalogue, None]:
        """Yield the catalogue of what ``items`` holds now, then a new one after each change."""
        topic = self._settings.topic("items")
        consumer = await start_reader(self._settings, auto_offset_reset="earliest")
        try:
            partitions = [TopicPartition(topic, p) for p in range(await partition_count(self._settings, topic))]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            async for fetched in read_to_ends(consumer, await consumer.end_offsets(partitions)):
                await self.apply(fetched)
            yield await self.build()
            while True:
                if await self.apply(await consumer.getmany(timeout_ms=POLL_MS)):
                    yield await self.build()
        finally:
            await consumer.stop()

    async def apply(self, fetched: dict[TopicPartition, list[Any]]) -> bool:
        """Take in fetched records; return whether anything changed."""
        items: dict[str, Item] = {}
        is_changed = False
        records = [record for found in fetched.values() for record in found]
        if self._registry is not None:
            await self._registry.load(records)
        for record in records:
            try:
                item_id, item = self._decoder.decode(record)
            except RecordError as error:
                self._metrics.add("items_left_out")
                log.warning("items: offset %d of partition %d left out: %s", record.offset, record.partition, error)
                continue
            if item is None:
                items.pop(item_id, None)
                self._features.pop(item_id, None)
                is_changed |= self._vectors.pop(item_id, None) is not None
                continue
            items[item_id] = item
            self._features[item_id] = item_row(msgspec.structs.asdict(item))
        await self._embed(list(items.values()))
        return is_changed or bool(items)

    async def _embed(self, items: list[Item]) -> None:
        for start in range(0, len(items), ITEMS_PER_JOB):
            vectors, left_out = await self._thread.run(self._embed_job, items[start : start + ITEMS_PER_JOB])
            self._vectors.update(vectors)
            for item_id, why in left_out.items():
                self._vectors.pop(item_id, None)
                log.warning("items: %r left out: %s", item_id, why)
            self._metrics.add("items_left_out", len(left_out))
        if n := n_imputed(items):
            log.warning("items: %d with a price or feature that is not finite: taken as missing", n)

    def _embed_job(self, items: list[Item]) -> tuple[dict[str, Float32], dict[str, str]]:
        if self._model.embed is None:
            return {item.item_id: NO_VECTOR for item in items}, {}
        return item_vectors(items, self._model.embed)

    async def build(self) -> Catalogue:
        """Return a new catalogue, made of all entries that were read so far.

        While ``items`` is empty, an artifact that takes no text serves the items that it was trained on.
        """
        self._generation += 1
        artifact = self._model.artifact
        features = dict(self._features) if artifact.item_features.width else None
        catalogue = await self._thread.run(build_catalogue, artifact, dict(self._vectors), self._generation, features)
        if catalogue.item_ids and not self._vectors:
            log.info("items holds no entry: the %d items of the artifact are the catalogue", len(catalogue.item_ids))
        self._metrics.put("catalogue_items", len(catalogue.item_ids))
        self._metrics.put("index_generation", self._generation)
        return catalogue


def item_vectors(
    items: Sequence[Item], embed: Callable[[list[str]], Float32]
) -> tuple[dict[str, Float32], dict[str, str]]:
    """Return the text vectors, (dim,) float32, by item id, and why other items have none.

    One bad item does not cost the others their place in the catalogue.

    Parameters
    ----------
    embed : returns one vector per text, (n, dim) float32; it may raise, and its vectors may hold
        numbers that are not finite

    Raises
    ------
    Exception
        What ``embed`` raised, when it raises for each of several texts: the encoder is at fault
        then, not an item.
    """
    texts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for item in items:
        try:
            title = own_title(item.item_id, item.title)
            texts[item.item_id] = item_text(title, item.text, item.category, item.tags, item.categories)
        except Exception as exc:  # a segmenter may raise anything for a text that nobody has tried
            left_out[item.item_id] = f"text: {exc!r}"
    vectors = _embedded(texts, embed, left_out)
    for item_id, vector in list(vectors.items()):
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not length <= MAX_LENGTH:  # also refuses NaN
            left_out[item_id] = f"vector of length {length:g}, must be finite and at most {MAX_LENGTH:g}"
            del vectors[item_id]
    return vectors, left_out


def _embedded(
    texts: dict[str, str], embed: Callable[[list[str]], Float32], left_out: dict[str, str]
) -> dict[str, Float32]:
    if not texts:
        return {}
    try:
        return dict(zip(texts, embed(list(texts.values())), strict=True))
    except Exception as exc:  # one text is at fault, or the encoder: try each text alone
        failed = {item_id: exc for item_id in texts} if len(texts) == 1 else {}
    vectors: dict[str, Float32] = {}
    for item_id, text in texts.items() if len(texts) > 1 else ():
        try:
            vectors[item_id] = embed([text])[0]
        except Exception as exc:  # as above
            failed[item_id] = exc
    if len(failed) == len(texts) > 1:
        raise next(iter(failed.values()))
    left_out |= {item_id: f"encoder: {exc!r}" for item_id, exc in failed.items()}
    return vectors


def n_imputed(items: Iterable[Item]) -> int:
    """Return how many items have a feature that is not finite; such a feature counts as missing."""
    numbers = ([item.price, *(item.features or {}).values()] for item in items)
    return sum(any(isinstance(value, float) and not math.isfinite(value) for value in values) for values in numbers)
