"""Follows ``recommendations``: keeps each user's newest list in the store, without end.

::

    the store's state ──► can it be trusted? ──no──► begin a new life ──► from the beginning
                               │ yes                                         │
                               ▼                                             ▼
                        go on behind its offsets ────────────────► caught up ──► ready
                               ▲                                             │
                               └── it is another life, or lacks records ◄────┘

A store that has not followed for long may have missed the removal of a user: the broker deletes
what says so after a day. It is emptied and filled again. A store that does not answer is asked
again; meanwhile nothing is read on, so nothing is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from streams.server.lists.patience import Found, Patience
from streams.server.lists.store import (
    FORM,
    Change,
    ListStore,
    Span,
    State,
    StoreLostError,
    packed_rank,
    revision_in_rank,
)
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

TOPIC: Final = "recommendations"
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000
#: Records that are taken at once; between two such pieces the server answers requests.
PIECE: Final = 100
RETRY_S: Final = 2.0
#: Seconds between two looks whether the store is still the one that is followed.
KEEP_EVERY_S: Final = 1.0
#: A store that has not followed for longer may have missed a removal.
MAX_GAP_MS: Final = TOMBSTONE_RETENTION_MS // 2
#: While a store is filled, somebody must have put something into it within this time.
MAX_FILLING_GAP_MS: Final = 60_000


@dataclass
class Progress:
    """How far the lists are read.

    Parameters
    ----------
    caught_up : set while the store has all that the topic had when this server began to follow it
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
    patience : asks the store again while it does not answer
    traces : learns which lists are traced; None where nothing is traced
    is_former : whether a user's list of a revision belongs to a life that is over: the store never
        gets it, although the topic may have it until a recommender removes it
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        store: ListStore,
        told: Callable[[Sequence[Change]], None] = lambda changes: None,
        count: Callable[[str, int], None] = lambda name, n: None,
        patience: Patience | None = None,
        traces: ListTraces | None = None,
        is_former: Callable[[bytes, int], bool] = lambda key, revision: False,
    ) -> None:
        self._kafka = kafka
        self._store = store
        self._told = told
        self._count = count
        self._patience = patience or Patience()
        self._decoder = RecordDecoder(Recommendation)
        self._traces = traces
        self._is_former = is_former
        self._turn = asyncio.Lock()  # what is removed must not come back with a piece on its way
        self._positions: dict[int, int] = {}
        self._kept_s = -KEEP_EVERY_S
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
            except StoreLostError as exc:
                log.warning("recommendations: read again: %s", exc)
            except (BrokerError, KafkaError, OSError) as exc:
                log.warning("recommendations: not read, trying again: %s", exc)
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        topic = self._kafka.topic(TOPIC)
        tps = [TopicPartition(topic, number) for number in range(await partition_count(self._kafka, topic))]
        async with open_reader(self._kafka) as consumer:
            consumer.assign(tps)
            ends = await self._begin(consumer, tps)
            for tp in tps:
                consumer.seek(tp, self._positions[tp.partition])
            behind = {tp: end for tp, end in ends.items() if self._positions[tp.partition] < end}
            while True:
                behind = {tp: end for tp, end in behind.items() if await consumer.position(tp) < end}
                await self._keep(consumer, tps, is_complete=not behind)
                if not behind:
                    self.progress.caught_up.set()
                fetched = await consumer.getmany(timeout_ms=POLL_MS if not behind else POLL_MS // 10)
                for tp, records in fetched.items():
                    await self.take(tp.partition, records)

    async def _begin(self, consumer: Any, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Note where to read on, and return the ends; empty a store that cannot be trusted."""
        while True:
            state = await self._asked(self._store.state)  # first: others put records into it
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            first = {tp.partition: begins[tp] for tp in tps}
            why = distrust(state, first, {tp.partition: ends[tp] for tp in tps})
            if not why:
                self._store.follow(state.life)
                self._positions = dict(state.offsets)
                return dict(ends)
            self.progress.caught_up.clear()
            if state.life:
                log.warning("the store of lists is filled anew: %s", why)
            await self._asked(partial(self._store.begin, state.life, first))

    async def _asked(self, ask: Callable[[], Awaitable[Found]]) -> Found:
        """Return the store's answer, however long it takes; after a loss nothing is ready."""
        try:
            return await self._patience.until(ask)
        except StoreLostError:
            self.progress.caught_up.clear()
            raise

    async def take(self, partition: int, records: Sequence[ConsumedRecord]) -> None:
        """Put records of a partition into the store, piece by piece."""
        for start in range(0, len(records), PIECE):
            piece = records[start : start + PIECE]
            changes = [change for record in piece if (change := self._change(record)) is not None]
            span = Span(partition, self._positions.get(partition, 0), piece[-1].offset + 1)
            await self._asked(partial(self._apply, span, changes))
            self._positions[partition] = span.end
            self._count("lists_read", len(piece))
            self._told(changes)
            await asyncio.sleep(0)

    async def _apply(self, span: Span, changes: Sequence[Change]) -> None:
        """Put changes into the store; a request to forget may have come since the last try."""
        async with self._turn:
            await self._store.apply(span, [one for one in changes if not self._is_of_former_life(one)])

    def _is_of_former_life(self, change: Change) -> bool:
        return change.value is not None and self._is_former(change.key, revision_in_rank(change.rank))

    async def remove(self, key: bytes, mark: int) -> None:
        """Remove a user's list of the life before a mark, after the piece that is on its way.

        Raises
        ------
        StoreError
            When the store does not answer.
        """
        async with self._turn:
            await self._store.remove(key, mark)

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

    async def _keep(self, consumer: Any, tps: Sequence[TopicPartition], *, is_complete: bool) -> None:
        """Note the lag, and now and then that the store is as the topic is."""
        lags = [(consumer.highwater(tp) or 0) - await consumer.position(tp) for tp in tps]
        self.progress.lag = sum(max(0, lag) for lag in lags)
        now_s = time.monotonic()
        if now_s - self._kept_s < KEEP_EVERY_S and is_complete is self.progress.caught_up.is_set():
            return
        self._kept_s = now_s
        # Passes what is no record, such as the marker of a transaction.
        spans = [Span(tp.partition, self._positions[tp.partition], await consumer.position(tp)) for tp in tps]
        await self._asked(partial(self._store.keep, spans, is_complete=is_complete))
        self._positions = {span.partition: span.end for span in spans}


def distrust(state: State, begins: Mapping[int, int], ends: Mapping[int, int]) -> str:
    """Return why the lists of a store cannot be trusted; empty where they can.

    Parameters
    ----------
    begins, ends : of the topic, by partition
    """
    if state.form != FORM:
        return "it has another form"
    if state.offsets.keys() != begins.keys():
        return f"it knows {len(state.offsets)} partitions of {len(begins)}"
    if not _is_within(state.followed_ago_ms, MAX_GAP_MS) and not _is_within(state.filled_ago_ms, MAX_FILLING_GAP_MS):
        return "it has not followed the topic for so long that removals may be missed"
    for partition, offset in state.offsets.items():
        if offset < begins[partition]:
            return f"records of partition {partition} were deleted before it read them"
        if offset > ends[partition]:
            return f"partition {partition} ends before what it has read: the topic was made anew"
    return ""


def _is_within(ago_ms: int | None, most_ms: int) -> bool:
    return ago_ms is not None and 0 <= ago_ms <= most_ms
