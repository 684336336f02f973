"""What the worker learns from windows that get lists: popular items and unknown items."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from typing import Final

from models.ranking.catalogue import Catalogue
from streams.health.counters import Metrics
from streams.health.unknown_items import UnknownItems, describe_generation
from streams.recommender.delivery import Window
from streams.recommender.list_records import new_items, revision_of
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.served import Served
from streams.recommender.users.first_lists import is_first
from streams.state.table import BatchTable

log = logging.getLogger(__name__)

#: Seconds between two lines about new catalogues, of which there may be ten a second.
DESCRIBE_S: Final = 1.0


class LiveCounts:
    """Counts windows for :class:`LivePopularity` and :class:`UnknownItems`. For one event loop.

    Parameters
    ----------
    vectors : their revisions say which events of a window were counted before
    """

    def __init__(
        self, popularity: LivePopularity, unknown: UnknownItems, vectors: BatchTable, metrics: Metrics
    ) -> None:
        self._popularity = popularity
        self._unknown = unknown
        self._vectors = vectors
        self._metrics = metrics
        self._describe_s = 0.0

    def adopt(self, popularity: LivePopularity) -> None:
        """Count for another model from now on."""
        self._popularity = popularity

    def count(self, windows: Iterable[Window], catalogue: Catalogue) -> None:
        """Count windows, after their lists are made and before these are staged.

        Popularity counts the whole window; the check against the catalogue counts its new events.
        """
        n_unknown = 0
        for window in windows:
            if window.is_removed or is_first(window.state):
                continue
            last_revision = revision_of(self._vectors.read(window.partition, window.key))
            if not window.owner.is_forgotten:
                self._popularity.put(window.partition, window.key, window.state)
            news = new_items(window.state, last_revision)
            n_unknown += self._unknown.count(news, catalogue.row_of)
        self._metrics.add("events_unknown_item", n_unknown)
        self.note_popularity()

    def remove(self, partition: int, keys: Collection[bytes]) -> None:
        """Take removed users' windows out of the counts."""
        self._popularity.remove(partition, keys)
        self.note_popularity()

    def refreshed(self, served: Served) -> Served:
        """Return the same with popularity as of now."""
        return served.with_popularity(self._popularity.refreshed(served.whole))

    def learn(self, served: Served) -> bool:
        """Check the last events against a new catalogue, and log the result.

        Returns whether the share of events with unknown items has changed.
        """
        has_changed = self._unknown.learn(served.whole.row_of)
        n_trained = int((served.model.artifact.popularity > 0).sum())
        level, line = describe_generation(served.whole, n_trained, self._unknown.share())
        if level > logging.INFO or time.monotonic() >= self._describe_s:
            log.log(level, line)
            self._describe_s = time.monotonic() + DESCRIBE_S
        return has_changed

    def note_popularity(self) -> None:
        """Put the number of counted events into the metrics."""
        self._metrics.put("popularity_events", self._popularity.n_events)
