"""The observer of a drill: reads windows and lists as they come, without a consumer group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from aiokafka import TopicPartition

from streams.errors import RunError
from streams.kafka.readers import start_reader
from streams.settings.load import KafkaSettings
from tools.drills.judging.freshness import Arrival
from tools.drills.judging.ledger import Gaps, ListLedger, WindowLog
from tools.workers.apps import APPS

POLL_MS: Final = 500
POLL_S: Final = 0.1


class Observer:
    """An async context manager that reads while the block runs.

    Attributes
    ----------
    ledger : the lists
    windows : the windows
    gaps : the pauses
    arrivals : one for each accepted list; empty unless ``keeps_arrivals`` is set
    on_list, on_window : called with each record of ``recommendations`` and of ``sequences``; None
        for nobody
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lanes = [
            TopicPartition(settings.topic(topic), partition)
            for topic in (app.output for app in APPS)
            for partition in range(settings.partitions)
        ]
        self.ledger = ListLedger()
        self.windows = WindowLog()
        self.gaps = Gaps([(tp.topic, tp.partition) for tp in self._lanes], time.monotonic())
        self.keeps_arrivals = False
        self.arrivals: list[Arrival] = []
        self.on_list: Callable[[Any], None] | None = None
        self.on_window: Callable[[Any], None] | None = None
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Observer:
        self._consumer = await start_reader(self._settings, auto_offset_reset="earliest")
        self._consumer.assign(self._lanes)
        await self._consumer.seek_to_beginning(*self._lanes)
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._consumer.stop()

    async def _follow(self) -> None:
        lists = self._settings.topic("recommendations")
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            now = time.monotonic()
            for tp, records in fetched.items():
                self.gaps.arrive((tp.topic, tp.partition), now)
                if tp.topic == lists:
                    self._add_lists(records, now)
                else:
                    self._add_windows(records)
            await asyncio.sleep(0)

    def _add_lists(self, records: list[Any], now: float) -> None:
        for record in records:
            if self.on_list is not None:
                self.on_list(record)
            made = self.ledger.add(record.value, record.key)
            if made is not None and self.keeps_arrivals:
                self.arrivals.append(Arrival.of(now, made))

    def _add_windows(self, records: list[Any]) -> None:
        for record in records:
            if self.on_window is not None:
                self.on_window(record)
            if record.key is not None:
                self.windows.add(record.key, record.value)

    async def catch_up(self, timeout_s: float) -> None:
        """Return when the observer has read all records that are on the topics now.

        Raises
        ------
        RunError
            When that takes longer than ``timeout_s``, or reading has failed.
        """
        deadline = time.monotonic() + timeout_s
        ends = await self._consumer.end_offsets(self._lanes)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            if self._task is not None and self._task.done():
                await self._task
            if time.monotonic() > deadline:
                raise RunError(f"observer: has not read all lists after {timeout_s:g} s; is the broker overloaded?")
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(POLL_S)  # a position moves before its records are handed over
