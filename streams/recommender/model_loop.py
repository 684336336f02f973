"""Micro-batches through the model, for ever, and lists that stand in while it does not answer.

========================  ====================================================================================================
the model                 users
========================  ====================================================================================================
answers in time           get full lists
is late or hangs          get degraded lists; the windows wait on; full lists follow as its answers come
hangs for too long        the process ends, non-zero, for its supervisor to restart it: a thread cannot be killed
raises whatever it gets   get degraded lists; it is asked again every second; after too long the process ends as above
fails on some windows     those users get popular items, which is final; the others get full lists
========================  ====================================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from faust.types import EventT

from models.ranking.fallback import is_finite
from models.ranking.pipeline import Catalogue, Pipeline, RankedList
from models.types import Behaviour
from streams.errors import StalledError
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems
from streams.recommender.delivery import Delivery, PartitionLists, Window
from streams.recommender.fallback_lists import FallbackLists, describe
from streams.recommender.list_records import SeenIndex, Versions, behaviours, new_behaviours, revision_of
from streams.recommender.live_popularity import LivePopularity
from streams.recommender.model_thread import ModelThread
from streams.recommender.poison_isolation import Scored, score
from streams.recommender.window_queue import MAX_WINDOWS, WindowQueue
from streams.settings.load import RecommenderSettings
from streams.state.table import BatchTable

log = logging.getLogger(__name__)

#: The first forward pass loads kernels and wakes threads; it may take this many times as long.
WARM_UP: Final = 10
#: How often a model that fails is asked again, and how often its answer is looked for.
RETRY_S: Final = 1.0
POLL_S: Final = 0.02


@dataclass(kw_only=True, eq=False)
class ModelLoop:
    """Takes windows from the queue, hands full lists to delivery, and sees to it that nobody waits long for a list.

    For one event loop; :meth:`swap` comes before :meth:`run`.

    Parameters
    ----------
    worker : the thread that runs the pipeline
    vectors : whose revisions say what was delivered
    on_done : takes record batches whose windows all have their full lists, in offset order
    on_change : called after each micro-batch
    guard : wraps deliveries, which run beside the loop; sees to it that their failure is not lost
    """

    pipeline: Pipeline
    artifact_version: str
    worker: ModelThread
    pending: WindowQueue[EventT]
    popularity: LivePopularity
    unknown: UnknownItems
    fallback: FallbackLists
    delivery: Delivery
    vectors: BatchTable
    settings: RecommenderSettings
    metrics: Metrics
    on_done: Callable[[Iterable[EventT]], None]
    on_change: Callable[[], None]
    guard: Callable[[Awaitable[None]], Awaitable[None]]

    def __post_init__(self) -> None:
        self._arrived = asyncio.Event()
        self._delivering: asyncio.Future[None] | None = None
        self._catalogue: Catalogue
        self._seen = SeenIndex(())
        self._timeout_s = self.settings.model_timeout_ms / 1000
        self._has_answered = self._is_late = False
        self._max_windows = MAX_WINDOWS
        self._failing_since_s: float | None = None

    def wake(self) -> None:
        """Say that windows have arrived."""
        self._arrived.set()

    def swap(self, catalogue: Catalogue) -> None:
        """Recommend from another catalogue from the next micro-batch on."""
        self._catalogue, self._seen = catalogue, SeenIndex(catalogue.item_ids)
        self.popularity.invalidate()

    async def run(self) -> None:
        """Run micro-batches until cancelled.

        Raises
        ------
        StalledError
            When the model has not answered for ``model_restart_s``.
        BrokerError
            When lists were not delivered.
        """
        try:
            while True:
                await self._wait_for_batch()
                await self._run_batch(self.pending.take(self.settings.micro_batch_tokens, self._max_windows))
                self.on_change()
        finally:
            if self._delivering is not None:
                self._delivering.cancel()
                await asyncio.gather(self._delivering, return_exceptions=True)

    async def _wait_for_batch(self) -> None:
        """Wait until a micro-batch is full, or its oldest window has waited for the deadline."""
        while True:
            self._arrived.clear()
            next_due_s = self.pending.release()
            if self.pending.n_ready():
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), next_due_s)
        wait_s = self.settings.micro_batch_deadline_ms / 1000 - self.pending.oldest_age_s()
        limit = self.settings.micro_batch_tokens
        if wait_s > 0 and self.pending.n_tokens(limit) < limit:
            await asyncio.sleep(wait_s)

    async def _run_batch(self, windows: list[Window]) -> None:
        self._catalogue = catalogue = self.popularity.refreshed(self._catalogue)
        seen = self._seen
        scored = await self._score(windows, catalogue, seen)
        made = [*scored.made, *((w, self.fallback.final_list(w, catalogue, seen)) for w in scored.poisoned)]
        if scored.poisoned:
            self.metrics.add("windows_poisoned", len(scored.poisoned))
            log.error("model: nothing usable for %s: popular items instead", describe(scored.poisoned))
        if made:
            await self._hand_over(made, Versions(self.artifact_version, catalogue.generation))
        if scored.failed:
            await self._sit_out(scored.failed)
        elif self._failing_since_s is not None:
            log.warning("model: answers again after %.1f s", time.monotonic() - self._failing_since_s)
            self._failing_since_s = None

    async def _score(self, windows: list[Window], catalogue: Catalogue, seen: SeenIndex) -> Scored[Window, RankedList]:
        """Return what the model makes of windows; while it is late, users get lists without it."""

        async def run(part: list[Window]) -> list[RankedList | None]:
            states = [window.state for window in part]
            self.metrics.add("model_batches")
            self.metrics.add("model_windows", len(part))
            return await self.worker.run(
                self._recommend, catalogue, [behaviours(s) for s in states], [seen.items(s.seen) for s in states]
            )

        async def is_alive() -> bool:
            try:
                (answer,) = await self.worker.run(self._recommend, catalogue, [[]], [set()])
            except Exception:  # what it raises was logged for the windows
                return False
            return answer is not None

        began_s = time.monotonic()
        job = asyncio.ensure_future(score(windows, run, is_alive))
        try:
            limit_s = self._timeout_s * (1 if self._has_answered else WARM_UP)
            await asyncio.wait({job}, timeout=0 if self._is_late else limit_s)
            if not job.done() and not self._is_late:
                log.warning("model: no answer within %.1f s; lists go on without it", limit_s)
                self._is_late = True
            while not job.done():
                self._check_alive()
                if not await self.fallback.serve(windows, self._catalogue, self._seen):
                    await asyncio.wait({job}, timeout=POLL_S)
            self._note_time(time.monotonic() - began_s, limit_s, len(windows))
            return job.result()
        finally:
            job.cancel()

    def _recommend(
        self, catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]], seen: Sequence[AbstractSet[str]]
    ) -> list[RankedList | None]:
        """Return the model's lists, None for those with a number that is not finite; on the model's thread."""
        ranked = self.pipeline.recommend(catalogue, windows, seen)
        return [made if is_finite(made) else None for made in ranked]

    def _note_time(self, took_s: float, limit_s: float, n_windows: int) -> None:
        if took_s > limit_s:
            self.metrics.add("model_late")
        elif self._is_late:
            log.warning("model: answers in time again")
        # As many as the time limit allows at this pace: a slow model gets few, so that full lists come and no job runs too long.
        self._max_windows = max(1, min(MAX_WINDOWS, int(limit_s * n_windows / max(took_s, 1e-9))))
        self._is_late = took_s > limit_s
        self._has_answered = True

    def _check_alive(self) -> None:
        if self.worker.busy_s > self.settings.model_restart_s:
            raise StalledError(
                f"model: a job has been running for {self.worker.busy_s:.0f} s, limit model_restart_s="
                f"{self.settings.model_restart_s}; restart the worker, and set HEADRACE_MODEL_RESTART_S if the model is that slow"
            )

    async def _hand_over(self, made: list[tuple[Window, RankedList]], versions: Versions) -> None:
        """Count the windows and their news, stage the lists, and deliver them while the model runs on; one delivery at a time, in order."""
        for window, _ in made:
            if window.is_removed:
                continue
            last_revision = revision_of(self.vectors.read(window.partition, window.key))
            news = new_behaviours(window.state, last_revision)
            if not window.owner.is_forgotten:
                self.popularity.put(window.partition, window.key, window.state)
            self.metrics.add("events_unknown_item", self.unknown.count(news, self._catalogue.row_of))
        parts = self.delivery.stage(made, versions)
        previous = self._delivering
        self._delivering = asyncio.ensure_future(self.guard(self._deliver(parts, versions, previous)))
        if previous is not None:
            await previous

    async def settle(self) -> None:
        """Wait until all that is staged is delivered; what the model has in hand does not count."""
        if self._delivering is not None:
            await asyncio.wait({self._delivering})

    async def _deliver(
        self, parts: list[PartitionLists], versions: Versions, previous: asyncio.Future[None] | None
    ) -> None:
        if previous is not None:
            await asyncio.wait({previous})
        self.on_done(self.pending.done(await self.delivery.deliver(parts, versions)))

    async def _sit_out(self, windows: list[Window]) -> None:
        """Give the windows back and serve without the model for a second, after which it is tried again."""
        self.pending.give_back(windows)
        self.metrics.add("model_failures")
        now_s = time.monotonic()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
            log.error(
                "model: fails whatever it is given; lists go on without it, it is tried again every %g s", RETRY_S
            )
        if now_s - self._failing_since_s > self.settings.model_restart_s:
            raise StalledError(
                f"model: has failed for {now_s - self._failing_since_s:.0f} s, limit model_restart_s="
                f"{self.settings.model_restart_s}; restart the worker, and see the warnings before this line for why it fails"
            )
        while (left_s := now_s + RETRY_S - time.monotonic()) > 0:
            if not await self.fallback.serve((), self._catalogue, self._seen):
                await asyncio.sleep(min(POLL_S, left_s))
