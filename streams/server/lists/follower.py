"""Follows ``recommendations``: keeps each user's newest list in the store, without end.

::

    the store's offsets ──► can they be trusted? ──no──► empty the store
                                   │ yes                     │
                                   ▼                         ▼
                            go on behind them         from the beginning ──► caught up ──► ready

A store that has not followed for long may have missed the removal of a user: the broker deletes
what says so after a day. It is emptied and filled again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.log_coordinates import about
from streams.contract.newest_lists import rank_of
from streams.contract.records import Recommendation, RecordDecoder, encode
from streams.errors import BrokerError, RecordError
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count
from streams.kafka.topic_specs import TOMBSTONE_RETENTION_MS
from streams.server.lists.list_traces import ListTraces
from streams.server.lists.store import FORM, Change, ListStore, packed_rank
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

TOPIC: Final = "recommendations"
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
#: Records that are taken at once; between two such pieces the server answers requests.
PIECE: Final = 100
RETRY_S: Final = 2.0
#: Seconds between two notes that the store follows.
NOTE_EVERY_S: Final = 30.0
#: A store that has not followed for longer may have missed a removal.
MAX_GAP_MS: Final = TOMBSTONE_RETENTION_MS // 2


@dataclass
class Progress:
    """How far the lists are read.

    Parameters
    ----------
    caught_up : set once the store has all that the topic had when the server started
    lag : records that are not read, as the broker last said
    """

    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    lag: int = 0


class ListFollower:
    """Keeps a store equal to the topic. For one event loop.

    Parameters
    ----------
    told : called with the changes of each piece, when the store has them
    count : adds to the counters ``lists_read`` and ``lists_malformed``
    clock : seconds since 1970
    traces : learns which lists are traced; None where nothing is traced
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        store: ListStore,
        told: Callable[[Sequence[Change]], None] = lambda changes: None,
        count: Callable[[str, int], None] = lambda name, n: None,
        clock: Callable[[], float] = time.time,
        traces: ListTraces | None = None,
    ) -> None:
        self._kafka = kafka
        self._store = store
        self._told = told
        self._count = count
        self._clock = clock
        self._decoder = RecordDecoder(Recommendation)
        self._traces = traces
        self._noted_s = 0.0
        self.progress = Progress()

    async def run(self) -> None:
        """Follow until cancelled; try again while the broker does not answer.

        Raises
        ------
        TopicError
            When the topic does not exist at the start.
        """
        while True:
            try:
                await self._follow()
            except (BrokerError, KafkaError, OSError) as exc:
                log.warning("recommendations: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        topic = self._kafka.topic(TOPIC)
        tps = [TopicPartition(topic, number) for number in range(await partition_count(self._kafka, topic))]
        async with open_reader(self._kafka) as consumer:
            consumer.assign(tps)
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            positions = await self._begin(
                {tp.partition: begins[tp] for tp in tps}, {tp.partition: ends[tp] for tp in tps}
            )
            for tp in tps:
                consumer.seek(tp, positions[tp.partition])
            behind = {tp: ends[tp] for tp in tps if positions[tp.partition] < ends[tp]}
            while True:
                behind = {tp: end for tp, end in behind.items() if await consumer.position(tp) < end}
                if not behind:
                    self.progress.caught_up.set()
                fetched = await consumer.getmany(timeout_ms=POLL_MS if not behind else POLL_MS // 10)
                for tp, records in fetched.items():
                    await self.take(tp.partition, records)
                await self._note(consumer, tps)

    async def _begin(self, begins: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        """Return where to read on; empty the store where its lists cannot be trusted."""
        known, notes = await self._store.offsets(), await self._store.notes()
        why = distrust(known, notes, begins, ends, int(1000 * self._clock()))
        if why:
            if known:
                log.warning("the store of lists is filled anew: %s", why)
            await self._store.clear()
            await self._store.note("form", FORM)
            return dict(begins)
        return dict(known)

    async def take(self, partition: int, records: Sequence[ConsumedRecord]) -> None:
        """Put records of a partition into the store, piece by piece."""
        for start in range(0, len(records), PIECE):
            piece = records[start : start + PIECE]
            changes = [change for record in piece if (change := self._change(record)) is not None]
            await self._store.apply(partition, piece[-1].offset + 1, changes)
            self._count("lists_read", len(piece))
            self._told(changes)
            await asyncio.sleep(0)

    def _change(self, record: ConsumedRecord) -> Change | None:
        key = record.key
        if not key:
            self._count("lists_malformed", 1)
            return None
        if record.value is None:
            return Change(record.offset, key, b"", None)
        try:
            found = self._decoder.decode(record.value)
            if self._traces is not None:
                self._traces.read(found.list_id, record.headers)
            return Change(record.offset, found.user_id.encode(), packed_rank(rank_of(found)), encode(found))
        except (RecordError, ValueError, OverflowError) as exc:
            self._count("lists_malformed", 1)
            place, extra = (record.offset, record.partition), about(record.topic, record.partition, record.offset)
            log.warning("recommendations: offset %d of partition %d left out: %s", *place, exc, extra=extra)
            return None

    async def _note(self, consumer: Any, tps: Sequence[TopicPartition]) -> None:
        """Note the lag, and now and then that the store is as the topic is."""
        lags = [(consumer.highwater(tp) or 0) - await consumer.position(tp) for tp in tps]
        self.progress.lag = sum(max(0, lag) for lag in lags)
        now_s = self._clock()
        if self.progress.caught_up.is_set() and abs(now_s - self._noted_s) >= NOTE_EVERY_S:
            self._noted_s = now_s
            for tp in tps:  # passes what is no record, such as the marker of a transaction
                await self._store.apply(tp.partition, await consumer.position(tp), ())
            await self._store.note("followed_ms", str(int(1000 * now_s)))


def distrust(
    known: Mapping[int, int],
    notes: Mapping[str, str],
    begins: Mapping[int, int],
    ends: Mapping[int, int],
    now_ms: int,
) -> str:
    """Return why the lists of a store cannot be trusted; empty where they can.

    Parameters
    ----------
    known : the store's offsets, by partition
    notes : the store's notes
    begins, ends : of the topic, by partition
    """
    if notes.get("form") != FORM:
        return "it has another form"
    if known.keys() != begins.keys():
        return f"it knows {len(known)} partitions of {len(begins)}"
    followed_ms = int(notes.get("followed_ms", "0"))
    if not 0 <= now_ms - followed_ms <= MAX_GAP_MS:
        return "it has not followed the topic for so long that removals may be missed"
    for partition, offset in known.items():
        if offset < begins[partition]:
            return f"records of partition {partition} were deleted before it read them"
        if offset > ends[partition]:
            return f"partition {partition} ends before what it has read: the topic was made anew"
    return ""
