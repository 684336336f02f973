"""The recommender's own reader of the compacted ``items`` topic.

Every recommender reads all of it (Faust's global tables hold only part of the keys on some workers), embeds only texts that
the cache on disk does not have, and swaps in a new immutable catalogue; readers keep the one they started with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.artifact.artifact import Artifact
from models.features.columns import Row, item_row
from models.ranking.pipeline import Catalogue, build_catalogue
from models.text.embedding_cache import EmbeddingCache, embed_texts
from models.text.encoder import TextEncoder
from streams.contract.item_records import ItemDecoder
from streams.contract.records import Item
from streams.errors import RecordError
from streams.health.counters import Metrics
from streams.kafka.readers import start_reader
from streams.kafka.topic_reader import read_to_ends
from streams.recommender.item_vectors import item_vectors, n_imputed
from streams.recommender.model_thread import EmbeddingWorker
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

#: Items embedded in one job, so that lists go on between jobs while a large catalogue is embedded.
ITEMS_PER_JOB: Final = 256
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000


class CatalogueReader:
    """Follows ``items`` and keeps :attr:`catalogue` current. For one event loop; models run on the embedding worker."""

    def __init__(
        self,
        settings: KafkaSettings,
        artifact: Artifact,
        worker: EmbeddingWorker,
        metrics: Metrics,
        open_encoder: Callable[[], tuple[TextEncoder, EmbeddingCache]],
    ) -> None:
        self._settings = settings
        self._artifact = artifact
        self._worker = worker
        self._metrics = metrics
        self._open_encoder = open_encoder
        self._encoder: tuple[TextEncoder, EmbeddingCache] | None = None
        self._decoder = ItemDecoder()
        self._vectors: dict[str, Any] = {}
        self._features: dict[str, Row] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._generation = 0
        self.catalogue: Catalogue | None = None
        self.on_swap: Callable[[Catalogue], None] = lambda _catalogue: None

    async def start(self) -> None:
        """Read ``items`` to its present end and build the first catalogue."""
        topic = self._settings.topic("items")
        consumer = await start_reader(self._settings, auto_offset_reset="earliest")
        self._consumer = consumer
        await consumer._client._wait_on_metadata(topic)
        partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        async for fetched in read_to_ends(consumer, ends):
            await self._apply(fetched)
        await self._swap()

    async def follow(self) -> None:
        """Apply changes as they come, until cancelled; each poll that changes something makes one new catalogue."""
        if self._consumer is None:
            raise RuntimeError("start() comes before follow()")
        while True:
            if await self._apply(await self._consumer.getmany(timeout_ms=POLL_MS)):
                await self._swap()

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _apply(self, fetched: dict[TopicPartition, list[Any]]) -> bool:
        """Take in fetched records; return whether anything changed."""
        items: dict[str, Item] = {}
        is_changed = False
        for record in (record for records in fetched.values() for record in records):
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
            vectors, left_out = await self._worker.run(self._embed_job, items[start : start + ITEMS_PER_JOB])
            self._vectors.update(vectors)
            for item_id, why in left_out.items():
                self._vectors.pop(item_id, None)
                log.warning("items: %r left out: %s", item_id, why)
            self._metrics.add("items_left_out", len(left_out))
        if n := n_imputed(items):
            log.warning("items: %d with a price or feature that is not finite: taken as missing", n)

    def _embed_job(self, items: list[Item]) -> tuple[dict[str, Any], dict[str, str]]:
        if self._encoder is None:
            self._encoder = self._open_encoder()
        encoder, cache = self._encoder
        return item_vectors(items, lambda texts: embed_texts(texts, encoder, cache))

    async def _swap(self) -> None:
        self._generation += 1
        features = dict(self._features) if self._artifact.item_features.width else None
        self.catalogue = await self._worker.run(
            build_catalogue, self._artifact, dict(self._vectors), self._generation, features
        )
        self._metrics.put("catalogue_items", len(self._vectors))
        self._metrics.put("index_generation", self._generation)
        self.on_swap(self.catalogue)
