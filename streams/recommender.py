"""The recommender: windows in, lists out. ``faust -A streams.recommender worker`` loads this module.

::

    sequences ──► collect ──► PendingWindows ──► EmbeddingWorker ──► recommendations
    items ──────► CatalogueReader ──────────────────┘     └────────► user-vectors (changelog of the table ``user_vectors``)
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
from faust.types import TP, EventT

from models.artifact import Artifact, ArtifactError, load_artifact
from models.encoder import TextEncoder
from models.recommend import Catalogue, Pipeline, RankedList, recent_counts
from streams.app import StreamApp, build_app, start_app
from streams.batches import OutRecord, delivered
from streams.catalogue import CatalogueReader
from streams.embedding_cache import EmbeddingCache
from streams.embedding_worker import EmbeddingWorker, leave_a_core, resolve_device
from streams.encoders import open_artifact_encoder, prepare_text
from streams.errors import HeadraceError
from streams.metrics import Metrics
from streams.pending import PendingWindow, PendingWindows
from streams.recommending import (
    SeenIndex,
    Versions,
    behaviours,
    new_behaviours,
    newest_windows,
    recommendation,
    user_vector,
)
from streams.records import UserVector, encode
from streams.settings import Settings
from streams.table import BatchTable
from streams.web import serve

log = logging.getLogger(__name__)

#: Live popularity moves slowly: refreshing it this often is enough.
POPULARITY_REFRESH_S: Final = 0.25
Window = PendingWindow[EventT]


@dataclass(frozen=True)
class _Batch:
    """A micro-batch that the model has run: its lists, and its users' vectors encoded by partition."""

    windows: list[Window]
    ranked: list[RankedList]
    versions: Versions
    vectors: dict[int, dict[bytes, bytes]]

    @classmethod
    def of(cls, windows: list[Window], ranked: list[RankedList], versions: Versions) -> _Batch:
        """Return the batch with its vectors encoded."""
        vectors: dict[int, dict[bytes, bytes]] = {}
        for w, r in zip(windows, ranked, strict=True):
            vectors.setdefault(w.partition, {})[w.key] = encode(user_vector(w.key.decode(), w.state, r, versions))
        return cls(windows, ranked, versions, vectors)

    def lists(self, now_ms: int, *, as_json: bool) -> dict[int, list[OutRecord]]:
        """Return the lists' records by partition."""
        records: dict[int, list[OutRecord]] = {}
        for w, r in zip(self.windows, self.ranked, strict=True):
            made = recommendation(w.key.decode(), w.state, r, self.versions, now_ms)
            records.setdefault(w.partition, []).append(OutRecord(w.key, encode(made, as_json=as_json)))
        return records


class Recommender:
    """Collects windows, runs them through the model in micro-batches, delivers lists and vectors, acknowledges.

    A batch of windows is acknowledged when every window in it is delivered or replaced by a newer delivered one.
    """

    def __init__(self, app: StreamApp, vectors: BatchTable, metrics: Metrics) -> None:
        self.app = app
        self.vectors = vectors
        self.metrics = metrics
        self.settings = app.settings.recommender
        self.worker = EmbeddingWorker()
        self.pending: PendingWindows[EventT] = PendingWindows()
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._delivery: asyncio.Task[None] | None = None
        self._popularity_at = 0.0
        self._newest_ms = 0
        self._catalogue: Catalogue
        self._seen = SeenIndex(())
        self._vector_decoder = msgspec.msgpack.Decoder(UserVector)

    async def start(self) -> None:
        """Load the artifact, read the catalogue, then begin to serve. Fails when the artifact is missing or damaged."""
        leave_a_core()
        prepare_text(self.settings)
        device = resolve_device(self.settings.device)
        try:
            self.artifact: Artifact = await self.worker.run(load_artifact, Path(self.settings.artifact), device)
        except ArtifactError as exc:
            raise HeadraceError(str(exc)) from exc
        self._popularity = recent_counts(self.artifact)
        self.pipeline = Pipeline(self.artifact, k=self.settings.list_size, n_candidates=self.settings.n_candidates)
        log.info("artifact %s on %s", self.artifact.version, device)
        self.reader = CatalogueReader(
            self.app.settings.kafka, self.artifact, self.worker, self.metrics, lambda: self._open_encoder(device)
        )
        self.reader.on_swap = self._swap
        await self.reader.start()
        self._tasks = [
            asyncio.ensure_future(self._guard(self.reader.follow())),
            asyncio.ensure_future(self._guard(self._pump())),
        ]

    async def stop(self) -> None:
        """Stop the reader and the thread; windows in flight are read again by the next worker."""
        tasks = [*self._tasks, *([self._delivery] if self._delivery else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(self, "reader"):
            await self.reader.stop()
        self.worker.stop()

    async def collect(self, batches: faust.StreamT[Any]) -> None:
        """Queue the windows of each record batch; waits, and so pauses the partitions, while too many users wait."""
        async for event in batches.noack().events():
            await self._has_room.wait()
            try:
                self._collect(event)
            except Exception as exc:  # the agent boundary: anything here must stop the worker, not skip a batch
                await self.app.crash(exc)
                raise

    def _collect(self, event: EventT) -> None:
        self.app.consumer.accept(event)
        windows, n_malformed = newest_windows(event.value)
        self.metrics.add("windows_read", len(event.value))
        self.metrics.add("windows_malformed", n_malformed)
        partition = event.message.partition
        fresh = [w for w in windows if w[1].revision > self._last_revision(partition, w[0])]
        event.value.clear()  # from here on only its offset is needed, and it may wait long to be acknowledged
        for finished in self.pending.add(partition, fresh, event):
            self.app.consumer.deliver(finished)
        self._update_pressure()
        self._arrived.set()

    async def _guard(self, job: Any) -> None:
        """Run a background job; its failure stops the worker."""
        try:
            await job
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # the worker loop: windows must not be left waiting for ever
            log.exception("recommender stops")
            await self.app.crash(exc)

    async def _pump(self) -> None:
        """Run micro-batches for ever: each is full, or its oldest window has waited for the deadline."""
        deadline_s = self.settings.micro_batch_deadline_ms / 1000
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while len(self.pending):
                wait_s = deadline_s - self.pending.oldest_age_s()
                if (
                    wait_s > 0
                    and self.pending.n_tokens(self.settings.micro_batch_tokens) < self.settings.micro_batch_tokens
                ):
                    await asyncio.sleep(wait_s)
                await self._run_batch(self.pending.take(self.settings.micro_batch_tokens))
                self._update_pressure()

    async def _run_batch(self, windows: list[Window]) -> None:
        catalogue = self._current_catalogue(windows)
        versions = Versions(self.artifact.version, catalogue.generation)
        lists = await self.worker.run(
            self.pipeline.recommend,
            catalogue,
            [behaviours(window.state) for window in windows],
            [self._seen.items(window.state.seen) for window in windows],
        )
        self.metrics.add("model_batches")
        self.metrics.add("model_windows", len(windows))
        batch = _Batch.of(windows, lists, versions)
        for partition, values in batch.vectors.items():
            self.vectors.stage(partition, values)  # from here on an older window of these users is no news
        if self._delivery is not None:
            await self._delivery  # one at a time, in order; the model runs on meanwhile
        self._delivery = asyncio.ensure_future(self._guard(self._deliver(batch)))

    async def _deliver(self, batch: _Batch) -> None:
        """Publish the lists, then the vectors: a stored vector's revision says that its list was delivered."""
        kafka = self.app.settings.kafka
        as_json, now_ms = kafka.output_format == "json", int(time.time() * 1000)
        futures = []
        for partition, records in batch.lists(now_ms, as_json=as_json).items():
            futures += await self.app.writer.send(kafka.topic("recommendations"), partition, records)
        await delivered(futures)
        delivered_ms = time.time() * 1000
        self.metrics.add("lists", len(batch.windows))
        self.metrics.add_freshness(delivered_ms - window.written_ms for window in batch.windows)
        topic = self.vectors.changelog_topic.get_topic_name()
        sent = [
            (
                partition,
                values,
                await self.app.writer.send(topic, partition, (OutRecord(key, value) for key, value in values.items())),
            )
            for partition, values in batch.vectors.items()
        ]
        for partition, values, vector_futures in sent:
            self.vectors.store(partition, values, await delivered(vector_futures))
        for event in self.pending.done(batch.windows):
            self.app.consumer.deliver(event)

    def _current_catalogue(self, windows: list[Window]) -> Catalogue:
        """Count the new behaviours of these windows, and return the catalogue with popularity as of now."""
        for window in windows:
            for behaviour in new_behaviours(window.state, self._last_revision(window.partition, window.key)):
                self._popularity.add(behaviour.item_id, behaviour.ts_ms)
            self._newest_ms = max(self._newest_ms, window.state.newest_ts)
        now = time.monotonic()
        if now - self._popularity_at > POPULARITY_REFRESH_S:
            self._popularity_at = now
            scores = self._popularity.scores(self._catalogue.item_ids, self._newest_ms)
            self._catalogue = self._catalogue.with_popularity(scores)
        return self._catalogue

    def _last_revision(self, partition: int, key: bytes) -> int:
        """Return the newest revision of a user's list that is delivered or on its way, 0 when there is none."""
        value = self.vectors.read(partition, key)
        return self._vector_decoder.decode(value).revision if value else 0

    def _swap(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._seen = SeenIndex(catalogue.item_ids)
        self._popularity_at = 0.0
        log.info("catalogue generation %d: %d items", catalogue.generation, len(catalogue.item_ids))

    def _open_encoder(self, device: str) -> tuple[TextEncoder, EmbeddingCache]:
        """Open the artifact's encoder and its cache; called on the embedding worker's thread, when a text must be embedded."""
        encoder, cache = open_artifact_encoder(self.artifact, device, self.settings.encoder_cache_dir)
        encoder.warm_up()
        return encoder, cache

    def _update_pressure(self) -> None:
        self.metrics.put("pending_windows", len(self.pending))
        self.metrics.put("windows_superseded", self.pending.n_superseded)
        if len(self.pending) < self.settings.max_pending_windows:
            self._has_room.set()
        else:
            self._has_room.clear()


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
    metrics = Metrics()
    vectors = app.Table(
        "user_vectors",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.batch_topic("user-vectors"),
        partitions=settings.kafka.partitions,
        recovery_buffer_size=4,  # record batches, not records
    )
    recommender = Recommender(app, vectors, metrics)
    app.agent(app.batch_topic("sequences"), name="collect", concurrency=1)(recommender.collect)
    app.serving = recommender
    app.on_partitions_revoked.connect(_revoked_handler(recommender))
    serve(app, metrics)
    return app


def _revoked_handler(recommender: Recommender) -> Any:
    async def on_partitions_revoked(_app: faust.App, revoked: set[TP], **_: Any) -> None:
        partitions = {tp.partition for tp in revoked}
        recommender.pending.forget(partitions)
        recommender.vectors.discard_staged(partitions)

    return on_partitions_revoked


def __getattr__(name: str) -> Any:
    """Build the app when the Faust command asks for it, so that importing this module for its functions has no effect."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = start_app(build_recommender)
    return app
