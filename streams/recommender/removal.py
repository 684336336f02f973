"""What is not a plain new window: removed and forgotten users, damaged records, older revisions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from faust.types import EventT

from streams.contract.kafka_records import OutRecord
from streams.contract.log_coordinates import about, about_all
from streams.contract.marks import Marks, is_former
from streams.contract.windows import ListWindow
from streams.errors import BrokerError, FencedError
from streams.forgetting.requests import Request
from streams.health.counters import Metrics
from streams.kafka.batch_writer import delivered
from streams.kafka.fenced_writers import PartitionWriters
from streams.recommender.list_maker import ListMaker
from streams.recommender.list_records import DAMAGED, BatchWindows, revision_of
from streams.recommender.waiting.window_queue import WindowQueue
from streams.runtime.app import StreamApp
from streams.state.damage import PassedOver, describe
from streams.state.table import BatchTable

log = logging.getLogger(__name__)
Entry = tuple[bytes, ListWindow, int]


async def remove_vectors(writer: PartitionWriters, vectors: BatchTable, partition: int, keys: Iterable[bytes]) -> int:
    """Remove users' vectors from the topic and the table; return how many there were. Repeat-safe.

    No vector of these users may be staged: one that is delivered later would outlive the tombstone.

    Raises
    ------
    BrokerError, FencedError, KeyError
        When the broker refuses the tombstones, or another worker owns the partition now.
    """
    stored = [key for key in keys if vectors.read(partition, key) is not None]
    if stored:
        topic = vectors.changelog_topic.get_topic_name()
        offset = await delivered(await writer.send(topic, partition, [OutRecord(key, None) for key in stored]))
        vectors.store(partition, dict.fromkeys(stored), offset)
    return len(stored)


async def remove_lists(writer: PartitionWriters, topic: str, partition: int, keys: Iterable[bytes]) -> None:
    """Tell consumers that users have no list any more; raise as :func:`remove_vectors` does.

    Parameters
    ----------
    topic : full name of ``recommendations``
    """
    await delivered(await writer.send(topic, partition, [OutRecord(key, None) for key in keys]))


class UserEraser:
    """Erases what a recommender has of users' former lives. For one event loop."""

    def __init__(self, app: StreamApp, queue: WindowQueue[EventT], vectors: BatchTable, maker: ListMaker) -> None:
        self._app = app
        self._queue = queue
        self._vectors = vectors
        self._maker = maker

    def can_erase(self, partition: int) -> bool:
        """Return whether the state of a partition is recovered, and this worker owns it."""
        return self._app.has_state(partition)

    async def erase(self, partition: int, requests: Sequence[Request]) -> dict[bytes, str]:
        """Drop what waits and what is in the model's hands; write tombstones over list and vectors.

        A list in flight is not written after the tombstone: it is dropped, or the tombstone waits
        for it.
        """
        marks = {request.key: request.mark for request in requests}
        delivery, read = self._maker.delivery, self._vectors.read
        delivery.acknowledge(self._queue.remove(partition, marks, marks))
        self._maker.counts.remove(partition, self._without_new_life(partition, marks))
        self._maker.pressure.update()
        await delivery.settle()
        # Nothing is awaited between this look and the writer: a newer list comes after it.
        over, now_ms = self._without_new_life(partition, marks), int(time.time() * 1000)
        found = {key for key in over if read(partition, key) is not None}
        young = {request.key for request in requests if request.is_young(now_ms)}
        topic = self._app.settings.kafka.topic("recommendations")
        try:
            await remove_lists(self._app.writer, topic, partition, [key for key in over if key in found | young])
            former = [key for key in found if is_former(read(partition, key), marks[key])]
            await remove_vectors(self._app.writer, self._vectors, partition, former)
        except (BrokerError, FencedError, KeyError) as exc:
            if self._app.has_state(partition):
                raise
            log.info("partition %d was taken away: its next owner erases (%r)", partition, exc)
            return {}
        vectors = self._vectors.changelog_topic.get_topic_name()
        told = f"the list erased from {topic}-{partition}, the vectors from {vectors}-{partition} and the store"
        return dict.fromkeys(found, told)

    def _without_new_life(self, partition: int, marks: Marks) -> list[bytes]:
        """Return the users who have no list of a life after their request."""
        vectors = {key: self._vectors.read(partition, key) for key in marks}
        return [key for key, vector in vectors.items() if vector is None or is_former(vector, marks[key])]


def fresh_windows(newest: Sequence[Entry], partition: int, vectors: BatchTable, metrics: Metrics) -> list[Entry]:
    """Return the windows of a higher revision than the users' vectors.

    A window of an equal revision is a repeat: its list is out. Windows of a lower revision, and
    damaged vectors, are counted and logged.
    """
    fresh, older, damaged = [], [], []
    for entry in newest:
        key, state, _ = entry
        revision = revision_of(vectors.read(partition, key))
        if state.revision > revision:
            fresh.append(entry)
        elif state.revision < revision:
            older.append(PassedOver(None, key, f"revision {state.revision}, the user has a list of {revision}"))
        if revision == DAMAGED:
            damaged.append(PassedOver(None, key, "not a user vector; it is written anew with the user's next list"))
    topic = vectors.changelog_topic.get_topic_name()
    if older:
        metrics.add("windows_older", len(older))
        extra = about(topic, partition)
        log.warning(
            "windows of partition %d: %s; harmless where windows are read again",
            partition,
            describe(older),
            extra=extra,
        )
    if damaged:
        metrics.add("vectors_damaged", len(damaged))
        log.error("%s-%d: %s", topic, partition, describe(damaged), extra=about(topic, partition))
    return fresh


def note_passed_over(topic: str, partition: int, found: BatchWindows, metrics: Metrics) -> None:
    """Count and log the records of a batch in which this worker finds no window."""
    metrics.add("windows_malformed", len(found.malformed))
    if found.malformed:
        extra = about_all(topic, partition, [each.offset for each in found.malformed])
        told = describe(found.malformed)
        log.error("%s-%d: %s; something else writes to this topic", topic, partition, told, extra=extra)
    if found.newer:
        metrics.add("windows_newer", len(found.newer))
        extra = about_all(topic, partition, [each.offset for each in found.newer])
        log.error("%s-%d: %s", topic, partition, describe(found.newer), extra=extra)
