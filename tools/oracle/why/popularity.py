"""Popularity as a recommender had it when it made a list, counted again from ``sequences``.

With ``live_popularity`` on, a recommender counts the windows of its users. No record says which
windows it had counted when it made a list, so this is a recount: every window that was written
before the list, of all partitions. It differs from the recommender's own count by what waited at
that moment, by windows that compaction has removed since, and by the partitions of other workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass

from models.artifact.artifact import Artifact
from models.ranking.catalogue import Catalogue
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Recommendation
from streams.contract.windows import ListWindow, decode_list_window
from streams.errors import RecordError
from streams.recommender.popularity.live_popularity import LivePopularity


@dataclass(frozen=True)
class Recounted:
    """Popularity that was counted again.

    Parameters
    ----------
    catalogue : the same, with that popularity
    n_events : events that were counted
    n_cut : users whose window of then is gone: of a later one, the behaviours of then were counted
    """

    catalogue: Catalogue
    n_events: int
    n_cut: int


async def recounted(
    records: AsyncIterable[ConsumedRecord], artifact: Artifact, catalogue: Catalogue, wanted: Recommendation
) -> Recounted:
    """Return a catalogue with the popularity of the time at which a list was made.

    The list's own window counts as it was before the list, as it did in the recommender.

    Parameters
    ----------
    records : all of ``sequences``, those of a partition in order
    """
    popularity = LivePopularity(artifact, is_on=True)
    counted: set[bytes] = set()
    n_cut = 0
    async for record in records:
        key = record.key
        if key is None or (record.timestamp > wanted.produced_ts and key in counted):
            continue
        if record.value is None:
            popularity.remove(record.partition, (key,))
            continue
        try:
            window = decode_list_window(record.value)
        except RecordError:
            continue
        is_own = key == wanted.user_id.encode()
        if is_own and window.revision >= wanted.revision:
            if key in counted:
                continue
            window, n_cut = _without(window, wanted), n_cut + 1
        elif record.timestamp > wanted.produced_ts:
            window, n_cut = _until(window, wanted.produced_ts), n_cut + 1
        popularity.put(record.partition, key, window)
        counted.add(key)
    return Recounted(popularity.refreshed(catalogue), popularity.n_events, n_cut)


def _until(window: ListWindow, at_ms: int) -> ListWindow:
    """Return a later window with the behaviours of events up to a time."""
    items = [item for item in window.items if item.ts <= at_ms]
    newest_ts = max((item.ts for item in items), default=0)
    return ListWindow(window.v, window.revision, newest_ts, items, window.trigger)


def _without(window: ListWindow, wanted: Recommendation) -> ListWindow:
    """Return the list's own window as it was before the event that brought the list."""
    items = [item for item in window.items if item.event_id != wanted.event_id and item.ts <= wanted.event_ts]
    newest_ts = max((item.ts for item in items), default=0)
    return ListWindow(window.v, window.revision, newest_ts, items, window.trigger)
