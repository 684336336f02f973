"""Fallback lists while the model is late, hangs or fails.

A thread of their own makes them; they are published beside the full lists, as provisional ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from faust.types import EventT

from models.ranking.fallback import UserVectors
from streams.contract.kafka_records import OutRecord
from streams.contract.pseudonyms import short_name
from streams.health.counters import Metrics
from streams.recommender.delivery import Delivery, Window
from streams.recommender.list_encoding import ListEncoder, MadeList, UserWindow
from streams.recommender.list_records import behaviours, stored_vectors
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Served
from streams.recommender.waiting.window_queue import WindowQueue
from streams.state.table import BatchTable

#: Lists of one job: so few that taking them from the queue costs the event loop a few milliseconds.
LISTS_PER_JOB: Final = 64


class FallbackLists:
    """Gives users a list now; their windows wait on for the full one. For one event loop.

    Parameters
    ----------
    vectors : the users' vectors as the model made them last
    thread : not the model's, which may be stuck

    Attributes
    ----------
    is_idle : set while no fallback list is being made or sent
    """

    def __init__(
        self,
        queue: WindowQueue[EventT],
        delivery: Delivery,
        vectors: BatchTable,
        thread: ModelThread,
        metrics: Metrics,
        encoder: ListEncoder,
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._vectors = vectors
        self._thread = thread
        self._metrics = metrics
        self._encoder = encoder
        self.is_idle = asyncio.Event()
        self.is_idle.set()

    async def serve(self, in_flight: Sequence[Window], served: Served) -> int:
        """Give fallback lists to up to :data:`LISTS_PER_JOB` users without a list; return how many.

        Users whose windows are in the model's hands come first, unless a newer window of theirs
        waits.
        """
        self._queue.release()
        chosen = [w for w in in_flight if not w.has_list and not self._queue.is_waiting(w)][:LISTS_PER_JOB]
        for window in chosen:
            window.has_list = True
        chosen += self._queue.without_list(LISTS_PER_JOB - len(chosen))
        chosen = [window for window in chosen if not window.owner.is_forgotten]
        if not chosen:
            return 0
        self.is_idle.clear()
        try:
            return await self._send(chosen, served)
        finally:
            self.is_idle.set()

    async def _send(self, chosen: Sequence[Window], served: Served) -> int:
        """Make and send fallback lists; return how many."""
        stored = [self._stored(window, served) for window in chosen]
        made = await self._thread.run(self._records, chosen, stored, served)
        n_sent = await self._delivery.send_provisional(zip(chosen, made, strict=True))
        self._metrics.add("lists_degraded", n_sent)
        return n_sent

    def final_list(self, window: Window, served: Served) -> MadeList:
        """Return the final list of a poisoned window: popular items, and the old vectors."""
        users: list[UserWindow] = [(window.key, window.state)]
        seen = served.left_out(window.state)
        stored = self._stored(window, served)
        lists = served.model.fallback.popular(
            served.catalogue, behaviours(window.state), seen, stored, served.seeds(users), served.repeats
        )
        return self._encoder.full(users, lists, served.versions)[0]

    def _stored(self, window: Window, served: Served) -> UserVectors | None:
        artifact = served.model.artifact
        value = self._vectors.read(window.partition, window.key)
        dim, n_factors = artifact.sequence.config.dim + 1, artifact.factors.factors.shape[1]
        return stored_vectors(value, artifact.version, dim, n_factors)

    def _records(
        self, windows: Sequence[Window], stored: Sequence[UserVectors | None], served: Served
    ) -> list[OutRecord]:
        """Return the records of the lists. Runs on the thread."""
        users: list[UserWindow] = [(window.key, window.state) for window in windows]
        lists = served.model.fallback.lists(
            served.catalogue,
            [behaviours(window.state) for window in windows],
            [served.left_out(window.state) for window in windows],
            stored,
            served.seeds(users),
            served.repeats,
        )
        return self._encoder.provisional(users, lists, served.versions)


def describe(windows: Iterable[Window]) -> str:
    """Return which windows these are, for a log line: users by a short hash, and no content."""
    return ", ".join(f"{short_name(w.key)} at revision {w.state.revision}" for w in windows)
