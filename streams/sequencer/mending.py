"""Mends damaged windows: rebuilds them from ``events`` where these are kept, else begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from aiokafka import TopicPartition

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.log_coordinates import about
from streams.contract.marks import NO_MARKS, Marks, new_life
from streams.contract.records import Event, EventDecoder
from streams.contract.windows import WindowState
from streams.errors import RecordError
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import read_to_ends
from streams.sequencer.window import absorb
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import WindowBounds
from streams.state.damage import PassedOver, describe

log = logging.getLogger(__name__)

FETCH_BYTES: Final = 2 << 20


class Mender:
    """Returns windows that replace damaged ones.

    Parameters
    ----------
    timeout_s : how long a batch may wait. Reading a whole partition must not look like a stall to
        the watchdog
    marks : forgotten users; a window is rebuilt from the events of their present life alone
    """

    def __init__(
        self,
        settings: KafkaSettings,
        decoder: EventDecoder,
        bounds: WindowBounds,
        timeout_s: float,
        marks: Marks = NO_MARKS,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._bounds = bounds
        self._timeout_s = timeout_s
        self._marks = marks

    async def mend(
        self, partition: int, damaged: dict[bytes, str], end: int, now_ms: int
    ) -> dict[bytes, WindowState | None]:
        """Return each user's window, made from the events before offset ``end``.

        It is None for a user without events, and for all users when the time is up.

        Raises
        ------
        BrokerError
            When the broker refuses: the restarted worker reads the batch again.
        """
        found = [PassedOver(None, key, why) for key, why in damaged.items()]
        extra = about(self._settings.topic("sequences"), partition)
        log.error(
            "windows of partition %d are damaged: %s; rebuilt from events", partition, describe(found), extra=extra
        )
        states: dict[bytes, WindowState | None] = dict.fromkeys(damaged)
        try:
            await asyncio.wait_for(self._rebuild(partition, states, end, now_ms), self._timeout_s)
        except TimeoutError:
            log.error(
                "partition %d: its events were not read within %g s: %d damaged windows begin anew",
                partition,
                self._timeout_s,
                len(damaged),
            )
            return dict.fromkeys(damaged)
        n_events = sum(state.revision for state in states.values() if state is not None)
        log.warning("partition %d: %d windows rebuilt from %d events", partition, len(damaged), n_events)
        return states

    async def _rebuild(self, partition: int, states: dict[bytes, WindowState | None], end: int, now_ms: int) -> None:
        tp = TopicPartition(self._settings.topic("events"), partition)
        async with open_reader(self._settings, max_partition_fetch_bytes=FETCH_BYTES) as consumer:
            consumer.assign([tp])
            consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
            async for fetched in read_to_ends(consumer, {tp: end}, stuck_after_s=self._timeout_s):
                self.fold(states, (record for record in fetched.get(tp, ()) if record.offset < end), now_ms)
                await asyncio.sleep(0)  # heartbeats and pages go on

    def fold(self, states: dict[bytes, WindowState | None], records: Iterable[ConsumedRecord], now_ms: int) -> None:
        """Fold the records of these users, in offset order, into their windows."""
        by_user: dict[bytes, list[tuple[Event, int]]] = {}
        keys_are_ids = self._decoder.keys_are_ids
        for record in records:
            if keys_are_ids and record.key not in states:
                continue
            try:
                event = self._decoder.decode_event(record.key, record.value, now_ms)
            except RecordError:
                continue  # it was rejected when it came
            key = event.user_id.encode()
            if key in states and event.ts > self._marks.get(key, -1):
                by_user.setdefault(key, []).append((event, record.offset))
        for key, events in by_user.items():
            state, mark = states[key], self._marks.get(key)
            if state is None and mark is not None:
                state = new_life(mark)
            states[key] = absorb(state, events, self._bounds).state or states[key]
