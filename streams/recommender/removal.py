"""Records that are not plain new windows: removed users, damaged records, older revisions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from streams.contract.kafka_records import OutRecord
from streams.contract.windows import ListWindow
from streams.health.counters import Metrics
from streams.kafka.batch_writer import delivered
from streams.kafka.fenced_writers import PartitionWriters
from streams.recommender.list_records import DAMAGED, BatchWindows, revision_of
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
        log.warning("windows of partition %d: %s; harmless where windows are read again", partition, describe(older))
    if damaged:
        metrics.add("vectors_damaged", len(damaged))
        log.error("%s-%d: %s", topic, partition, describe(damaged))
    return fresh


def note_passed_over(topic: str, partition: int, found: BatchWindows, metrics: Metrics) -> None:
    """Count and log the records of a batch in which this worker finds no window."""
    metrics.add("windows_malformed", len(found.malformed))
    if found.malformed:
        log.error("%s-%d: %s; something else writes to this topic", topic, partition, describe(found.malformed))
    if found.newer:
        metrics.add("windows_newer", len(found.newer))
        log.error("%s-%d: %s", topic, partition, describe(found.newer))
