"""The recommender: windows in, lists out. ``faust -A streams.recommender worker`` loads this module.

::

    sequences ──► collect ──► WindowQueue ──► ModelLoop ──► recommendations
    items ──────► CatalogueReader ──────────────────┘  └─────► user-vectors (changelog of the table ``user_vectors``)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable
from pathlib import Path
from typing import Any

import faust
from faust.types import TP, EventT

from models.artifact.artifact import Artifact, ArtifactError, load_artifact
from models.device import tame_pytorch
from models.ranking.pipeline import Catalogue, Pipeline
from models.text.embedding_cache import EmbeddingCache
from models.text.encoder import TextEncoder
from streams.contract.committed_note import encode as encode_note
from streams.errors import BrokerError, FencedError, HeadraceError
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems, describe_generation
from streams.recommender.artifact_encoder import open_artifact_encoder, prepare_text, usable_device
from streams.recommender.catalogue_reader import CatalogueReader
from streams.recommender.delivery import Delivery
from streams.recommender.fallback_lists import FallbackLists
from streams.recommender.list_records import newest_windows
from streams.recommender.live_popularity import LivePopularity
from streams.recommender.model_loop import ModelLoop
from streams.recommender.model_thread import ModelThread
from streams.recommender.recount import Recount
from streams.recommender.removal import fresh_windows, note_passed_over, remove_vectors
from streams.recommender.window_queue import ListRate, WindowQueue
from streams.runtime.app import StreamApp, build_app
from streams.runtime.pages import serve
from streams.settings.load import Settings
from streams.state.table import BatchTable

log = logging.getLogger(__name__)


class Recommender:
    """Collects windows for the model and acknowledges their batches.

    A batch of windows is acknowledged when every window in it has its full list delivered, or is replaced by a newer one that has.
    A degraded list acknowledges nothing.
    """

    def __init__(self, app: StreamApp, vectors: BatchTable, metrics: Metrics) -> None:
        self.app = app
        self.vectors = vectors
        self.metrics = metrics
        self.settings = app.settings.recommender
        self.worker = ModelThread()
        self.pending: WindowQueue[EventT] = WindowQueue(ListRate(self.settings.lists_per_minute))
        self.pipeline: Pipeline
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._left_generation: int | None = None
        self._unknown = app.health.unknown = UnknownItems()
        self._popularity: LivePopularity
        self._recount: Recount
        self._loop: ModelLoop
        self._fallback: FallbackLists
        self._reader: CatalogueReader

    async def start(self) -> None:
        """Load the artifact, read the catalogue, then begin to serve. Fails when the artifact is missing or damaged."""
        tame_pytorch()
        prepare_text(self.settings)
        device = usable_device(self.settings.device)
        try:
            artifact = await self.worker.run(load_artifact, Path(self.settings.artifact), device, self.settings.roots())
        except ArtifactError as exc:
            raise HeadraceError(str(exc)) from exc
        log.info("artifact %s on %s", artifact.version, device)
        self.pipeline = Pipeline(artifact, k=self.settings.list_size, n_candidates=self.settings.n_candidates)
        self._popularity = LivePopularity(artifact, is_on=self.settings.live_popularity == "on")
        self._recount = Recount(
            self.app.settings, self._popularity, self._guard, lambda: self.app.rebalancing, self._note_popularity
        )
        self._loop = self._model_loop(artifact)
        self._reader = CatalogueReader(
            self.app.settings.kafka, artifact, self.worker, self.metrics, lambda: self._open_encoder(artifact, device)
        )
        n_trained = int((artifact.popularity > 0).sum())
        self._reader.on_swap = lambda catalogue: self._swap(catalogue, n_trained)
        await self._reader.start()
        self._tasks = [
            asyncio.ensure_future(self._guard(self._reader.follow())),
            asyncio.ensure_future(self._guard(self._loop.run())),
            asyncio.ensure_future(self._guard(self._unknown.run())),
        ]

    async def stop(self) -> None:
        """Stop the reader and the threads; windows in flight are read again by the next worker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_recount"):
            await self._recount.stop()
        if hasattr(self, "_reader"):
            await self._reader.stop()
        if hasattr(self, "_fallback"):
            await self._fallback.stop()
        self.worker.stop()
        await self.worker.ended()

    def let_go(self) -> None:
        """Drop all that waits for the model, without committing it: a rebalance or the end then need not wait for the model."""
        self._left_generation = self.app.consumer_generation_id
        for event in self.pending.forget():
            event.ack()
        self._update_pressure()

    async def begin(self, partitions: Collection[int]) -> None:
        """Take batches again: a new assignment has begun. Generations may begin anew, so an old number proves nothing."""
        self._left_generation = None
        if self.settings.live_popularity == "on":
            await self._recount.assigned(partitions)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop what waits and what is staged for partitions that were taken away."""
        gone = set(partitions)
        self.pending.forget(gone)
        self.vectors.discard_staged(gone)
        self._update_pressure()

    async def collect(self, batches: faust.StreamT[Any]) -> None:
        """Queue the windows of each record batch; waits, and so pauses the partitions, while too many users wait."""
        async for event in batches.noack().events():
            await self._has_room.wait()
            if self.app.failure is not None:
                return  # Faust restarts a failed agent while the app stops
            try:
                await self._collect(event)
            except Exception as exc:  # the agent boundary: anything here must stop the worker, not skip a batch
                await self.app.crash(exc)
                raise

    async def _collect(self, event: EventT) -> None:
        partition = event.message.partition
        found = newest_windows(event.value)
        if found.removed and not self._is_left(event):
            await self._remove(event, found.removed)
        if self._is_left(event):
            event.ack()  # it came too late: the partition's next owner reads it
            return
        self.app.consumer.accept(event)
        self.metrics.add("windows_read", len(event.value))
        note_passed_over(event.message.topic, partition, found, self.metrics)
        fresh = fresh_windows(found.newest, partition, self.vectors, self.metrics)
        event.value.clear()  # from here on only its offset is needed, and it may wait long to be acknowledged
        for finished in self.pending.add(partition, fresh, event):
            self._deliver(finished)
        self._update_pressure()
        self._loop.wake()

    def _is_left(self, event: EventT) -> bool:
        return bool(event.message.generation_id == self._left_generation)

    async def _remove(self, event: EventT, keys: Collection[bytes]) -> None:
        """Drop what waits for users with a tombstone, and their vectors, before a window of their new life is queued."""
        partition = event.message.partition
        for finished in self.pending.remove(partition, keys):
            self._deliver(finished)
        self._popularity.remove(partition, keys)
        self._note_popularity()
        await self._loop.settle()
        try:
            n_removed = await remove_vectors(self.app.writer, self.vectors, partition, keys)
        except (BrokerError, FencedError, KeyError):
            if not self._is_left(event):
                raise
        else:
            self.metrics.add("users_removed", n_removed)

    def _swap(self, catalogue: Catalogue, n_trained: int) -> None:
        """Recommend from another catalogue, and say how much it has of what people have had."""
        self._loop.swap(catalogue)
        has_changed = self._unknown.learn(catalogue.row_of)
        log.log(*describe_generation(catalogue, n_trained, self._unknown.share()))
        if has_changed:  # so events were counted: the consumer is there
            self.app.consumer.note_again(self.app.settings.kafka.topic("sequences"), self._note())

    def _deliver(self, event: EventT) -> None:
        self.app.consumer.deliver(event, self._note())

    def _note(self) -> str:
        return encode_note(self._unknown.note(self.app.member_id))

    def _done(self, finished: Iterable[EventT]) -> None:
        for event in finished:
            self._deliver(event)

    async def _guard(self, job: Awaitable[None]) -> None:
        """Run a background job; its failure stops the worker."""
        try:
            await job
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # the worker loop: windows must not be left waiting for ever
            log.error("recommender stops: %s", exc, exc_info=not isinstance(exc, HeadraceError))
            await self.app.crash(exc)

    def _model_loop(self, artifact: Artifact) -> ModelLoop:
        delivery = Delivery(self.app, self.vectors, self.metrics)
        as_json = self.app.settings.kafka.output_format == "json"
        self._fallback = FallbackLists(
            artifact, self.settings, self.pending, self.vectors, delivery, self.metrics, as_json=as_json
        )
        return ModelLoop(
            pipeline=self.pipeline,
            artifact_version=artifact.version,
            worker=self.worker,
            pending=self.pending,
            popularity=self._popularity,
            unknown=self._unknown,
            fallback=self._fallback,
            delivery=delivery,
            vectors=self.vectors,
            settings=self.settings,
            metrics=self.metrics,
            on_done=self._done,
            on_change=self._after_micro_batch,
            guard=self._guard,
        )

    def _open_encoder(self, artifact: Artifact, device: str) -> tuple[TextEncoder, EmbeddingCache]:
        """Open the artifact's encoder and its cache; called on the model's thread, when a text must be embedded."""
        encoder, cache = open_artifact_encoder(artifact, device, self.settings)
        encoder.warm_up()
        return encoder, cache

    def _note_popularity(self) -> None:
        self.metrics.put("popularity_events", self._popularity.n_events)

    def _after_micro_batch(self) -> None:
        self._note_popularity()
        self._update_pressure()

    def _update_pressure(self) -> None:
        self.metrics.put("pending_windows", len(self.pending))
        self.metrics.put("windows_held", self.pending.n_held)
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
    )
    recommender = Recommender(app, vectors, metrics)
    app.agent(app.batch_topic("sequences"), name="collect", concurrency=1)(recommender.collect)
    app.serving = recommender
    app.on_partitions_revoked.connect(_revoked_handler(recommender))
    app.on_partitions_assigned.connect(_assigned_handler(recommender))
    serve(app, metrics)
    return app


def _revoked_handler(recommender: Recommender) -> Any:
    async def on_partitions_revoked(_app: faust.App, revoked: set[TP], **_: Any) -> None:
        recommender.forget(tp.partition for tp in revoked)

    return on_partitions_revoked


def _assigned_handler(recommender: Recommender) -> Any:
    async def on_partitions_assigned(app: StreamApp, assigned: set[TP], **_: Any) -> None:
        topic = app.settings.kafka.topic("sequences")
        await recommender.begin({tp.partition for tp in assigned if tp.topic == topic})

    return on_partitions_assigned
