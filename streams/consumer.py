"""Faust's consumer with two changes: it commits only what is delivered, and it notices when a batch goes missing.

Faust 0.15.3 derives what to commit from acknowledgements: it fills the gaps between acknowledged messages, and it acknowledges
messages that a stream skipped. Both can commit past an event that was never processed. Here acknowledgements only tell Faust
what is still in flight; :meth:`BatchConsumer.deliver` moves the offset.

Between the seek that ends a recovery and the worker's being ready, a fetched batch can also vanish on its way to the agent (seen
on that release, in about one start in three, when the group has no committed offset to seek back to). So each batch says which
offset was fetched before it (:class:`~streams.batches.FetchedRecords`), and :meth:`BatchConsumer.accept` reads again from the first one missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT

log = logging.getLogger(__name__)


class BatchConsumer(driver.Consumer):
    """Commits the offset after the last delivered batch of each partition; batches are delivered in offset order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._accepted: dict[TP, int] = {}  # offset of the last record that the agent took
        self._delivered: dict[TP, int] = {}  # offset to commit

    async def accept(self, event: EventT) -> bool:
        """Whether an agent may process a batch: True if no batch before it is missing.

        If one is, this batch is put off and the partition is read again from the first missing record.
        """
        tp, batch = event.message.tp, event.value
        first, last = batch[0].offset, self._accepted.get(tp, -1)
        if batch.follows <= last or first <= last + 1:
            self._accepted[tp] = max(last, event.message.offset)
            return True
        start = last + 1 if last >= 0 else self._committed_offset.get(tp)
        if start is None:
            start = (await self.earliest_offsets(tp))[tp]
        log.warning("%s-%d: records %d to %d went missing before the agent: reading them again", *tp, start, first - 1)
        event.ack()
        await self.seek(tp, start)
        return False

    def deliver(self, event: EventT) -> None:
        """Say that a record batch and all before it are done: its offset may be committed.

        A batch read under an assignment that has ended is not: its partition may belong to another worker now, and what
        lies before it may be unread.
        """
        message = event.message
        if message.generation_id == self.app.consumer_generation_id:
            self._delivered[message.tp] = message.offset + 1
        event.ack()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        pending = [tp for tp in self._delivered if topics is None or tp in topics or tp.topic in topics]
        return iter(pending)

    def _new_offset(self, tp: TP) -> int | None:
        return self._delivered.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Remember nothing: batches span gaps."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is delivered, then forget the partitions."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._accepted.pop(tp, None)
            self._delivered.pop(tp, None)


class BatchTransport(driver.Transport):
    """The aiokafka transport with that consumer."""

    Consumer = BatchConsumer
