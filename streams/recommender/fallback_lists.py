"""Degraded lists while the model is late, hangs or fails: made on a thread of their own, published beside the full ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from faust.types import EventT

from models.artifact.artifact import Artifact
from models.ranking.fallback import UserVectors, WithoutModel
from models.ranking.pipeline import Catalogue, RankedList
from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.health.counters import Metrics
from streams.recommender.delivery import Delivery, Window
from streams.recommender.list_records import SeenIndex, Versions, behaviours, recommendation, short_name, stored_vectors
from streams.recommender.model_thread import ModelThread
from streams.recommender.window_queue import WindowQueue
from streams.settings.load import RecommenderSettings
from streams.state.table import BatchTable

#: Lists made at once: so few that taking them from the queue stays below a few milliseconds of the event loop.
LISTS_PER_JOB: Final = 64


class FallbackLists:
    """Gives users a list now and leaves their windows waiting for the full one. For one event loop."""

    def __init__(
        self,
        artifact: Artifact,
        settings: RecommenderSettings,
        pending: WindowQueue[EventT],
        vectors: BatchTable,
        delivery: Delivery,
        metrics: Metrics,
        *,
        as_json: bool,
    ) -> None:
        manifest, config = artifact.manifest, artifact.sequence.config
        self._artifact = artifact
        self._makes = WithoutModel(
            settings.list_size, settings.n_candidates, config.max_length, manifest.alpha, manifest.regularisation
        )
        self._pending = pending
        self._vectors = vectors
        self._delivery = delivery
        self._metrics = metrics
        self._as_json = as_json
        self._thread = ModelThread("fallback")
        self._dim = config.dim + 1
        self._n_factors = artifact.factors.factors.shape[1]

    async def serve(self, in_flight: Sequence[Window], catalogue: Catalogue, seen: SeenIndex) -> int:
        """Give up to :data:`LISTS_PER_JOB` users without a list a degraded one; return how many got one.

        Those whose windows the model has in hand come first, unless a newer window of theirs waits.
        """
        self._pending.release()
        chosen = [w for w in in_flight if not w.has_list and not self._pending.is_waiting(w)][:LISTS_PER_JOB]
        for window in chosen:
            window.has_list = True
        chosen += self._pending.without_list(LISTS_PER_JOB - len(chosen))
        chosen = [window for window in chosen if not window.owner.is_forgotten]
        if not chosen:
            return 0
        stored = [self._stored(window) for window in chosen]
        versions = Versions(self._artifact.version, catalogue.generation)
        values = await self._thread.run(self._encoded, chosen, stored, catalogue, seen, versions)
        records: dict[int, list[OutRecord]] = {}
        for window, value in zip(chosen, values, strict=True):
            if not window.owner.is_forgotten:
                records.setdefault(window.partition, []).append(OutRecord(window.key, value))
        n_sent = await self._delivery.send_provisional(records, chosen)
        self._metrics.add("lists_degraded", n_sent)
        return n_sent

    def final_list(self, window: Window, catalogue: Catalogue, seen: SeenIndex) -> RankedList:
        """Return the final list of a window that the model can make nothing of: popular items, and the vectors as they were."""
        ranked = self._makes.popular(catalogue, behaviours(window.state), seen.items(window.state.seen))
        stored = self._stored(window)
        if stored is None:
            return ranked
        return RankedList(stored.vector, stored.factors, ranked.items, ranked.degraded)

    async def stop(self) -> None:
        """End the thread."""
        self._thread.stop()
        await self._thread.ended()

    def _stored(self, window: Window) -> UserVectors | None:
        value = self._vectors.read(window.partition, window.key)
        return stored_vectors(value, self._artifact.version, self._dim, self._n_factors)

    def _encoded(
        self,
        windows: Sequence[Window],
        stored: Sequence[UserVectors | None],
        catalogue: Catalogue,
        seen: SeenIndex,
        versions: Versions,
    ) -> list[bytes]:
        """Return the lists as they go out; on the thread."""
        ranked = self._makes.lists(
            catalogue,
            [behaviours(window.state) for window in windows],
            [seen.items(window.state.seen) for window in windows],
            stored,
        )
        now_ms = int(time.time() * 1000)
        return [
            encode(
                recommendation(window.key.decode(), window.state, made, versions, now_ms, provisional=True),
                as_json=self._as_json,
            )
            for window, made in zip(windows, ranked, strict=True)
        ]


def describe(windows: Iterable[Window]) -> str:
    """Return which windows these are, for a log line: users by a short hash, never by name, and no content."""
    return ", ".join(f"{short_name(w.key)} at revision {w.state.revision}" for w in windows)
