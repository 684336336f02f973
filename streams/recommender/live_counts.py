"""What the worker learns from the windows that get lists: what is popular now, and which items the catalogue lacks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from models.ranking.catalogue import Catalogue
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems, describe_generation
from streams.recommender.delivery import Window
from streams.recommender.list_records import new_behaviours, revision_of
from streams.recommender.live_popularity import LivePopularity
from streams.recommender.served import Served
from streams.state.table import BatchTable

log = logging.getLogger(__name__)


class LiveCounts:
    """Counts windows for :class:`LivePopularity` and :class:`UnknownItems`. For one event loop.

    Parameters
    ----------
    vectors : whose revisions say which events of a window are counted already
    """

    def __init__(
        self, popularity: LivePopularity, unknown: UnknownItems, vectors: BatchTable, metrics: Metrics
    ) -> None:
        self._popularity = popularity
        self._unknown = unknown
        self._vectors = vectors
        self._metrics = metrics

    def count(self, windows: Iterable[Window], catalogue: Catalogue) -> None:
        """Count windows whose lists are made and not yet staged: each whole for popularity, its new events against the catalogue."""
        for window in windows:
            if window.is_removed:
                continue
            last_revision = revision_of(self._vectors.read(window.partition, window.key))
            if not window.owner.is_forgotten:
                self._popularity.put(window.partition, window.key, window.state)
            news = new_behaviours(window.state, last_revision)
            self._metrics.add("events_unknown_item", self._unknown.count(news, catalogue.row_of))
        self.note_popularity()

    def remove(self, partition: int, keys: Collection[bytes]) -> None:
        """Count the windows of removed users no longer."""
        self._popularity.remove(partition, keys)
        self.note_popularity()

    def refreshed(self, served: Served) -> Served:
        """Return what is served, with popularity as of now."""
        return served.with_popularity(self._popularity.refreshed(served.catalogue))

    def learn(self, served: Served) -> bool:
        """Judge the last events by another catalogue and log what it has of them; return whether their judgement has changed."""
        has_changed = self._unknown.learn(served.catalogue.row_of)
        n_trained = int((served.model.artifact.popularity > 0).sum())
        log.log(*describe_generation(served.catalogue, n_trained, self._unknown.share()))
        return has_changed

    def note_popularity(self) -> None:
        """Put the number of counted events into the metrics."""
        self._metrics.put("popularity_events", self._popularity.n_events)
