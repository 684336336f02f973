"""The load of a drill: publishes its events at a rate, also after the broker was away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from streams.contract.kafka_records import OutRecord
from streams.errors import BrokerError, RunError
from streams.kafka.publisher import Publisher
from streams.settings.load import KafkaSettings
from tools.drills.events import EventSource

TICK_S: Final = 0.05
#: Most overdue events that are sent at once after an outage; bounds memory and the time of a flush.
MAX_CHUNK: Final = 5_000
#: A drill ends when its broker is away for longer than this, in seconds.
OUTAGE_LIMIT_S: Final = 300.0
RETRY_PAUSE_S: Final = 0.5


class Load:
    """Publishes the events of a source, in one event loop.

    A chunk that the broker did not acknowledge is published again as a whole, so that its events
    may be repeats.

    Attributes
    ----------
    rate_per_s : events a second; may be set at any time
    make : makes the next event, given the time in milliseconds; may be replaced
    n_sent : events acknowledged by the broker
    """

    def __init__(self, settings: KafkaSettings, source: EventSource, rate_per_s: float) -> None:
        self.source = source
        self.rate_per_s = rate_per_s
        self.make: Callable[[int], OutRecord] = source.next
        self.n_sent = 0
        self._settings = settings
        self._topic = settings.topic("events")
        self._publisher: Publisher | None = None
        self._is_stopping = False
        self._turn = asyncio.Lock()

    async def prefill(self) -> None:
        """Publish one event of each user as fast as the broker takes them."""
        chunk: list[OutRecord] = []
        for record in self.source.first_events(_now_ms()):
            chunk.append(record)
            if len(chunk) == MAX_CHUNK:
                await self.publish(chunk)
                chunk = []
        await self.publish(chunk)

    async def run(self) -> None:
        """Publish at the rate until :meth:`stop`."""
        due, last = 0.0, time.monotonic()
        while not self._is_stopping:
            await asyncio.sleep(TICK_S)
            if self._turn.locked():
                async with self._turn:
                    last = time.monotonic()  # the load does not catch up on a rest
                continue
            now = time.monotonic()
            due, last = due + self.rate_per_s * (now - last), now
            n = min(int(due), MAX_CHUNK)
            due -= n
            now_ms = _now_ms()
            async with self._turn:
                await self.publish([self.make(now_ms) for _ in range(n)])

    @contextlib.asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Pause :meth:`run` while the block runs; all its events are acknowledged before."""
        async with self._turn:
            yield

    def stop(self) -> None:
        """Let :meth:`run` return after the chunk at hand."""
        self._is_stopping = True

    async def publish(self, records: list[OutRecord]) -> None:
        """Publish records to ``events`` and wait until the broker has them.

        Raises
        ------
        RunError
            When the broker is away for longer than five minutes.
        """
        deadline = time.monotonic() + OUTAGE_LIMIT_S
        while records:
            try:
                await self._send(records)
                self.n_sent += len(records)
                return
            except BrokerError as exc:
                await self.close()
                if time.monotonic() > deadline:
                    raise RunError(f"load: {exc}; away for more than {OUTAGE_LIMIT_S:g} s, the drill ends") from exc
                await asyncio.sleep(RETRY_PAUSE_S)

    async def close(self) -> None:
        """Disconnect. Repeat-safe."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            with contextlib.suppress(BrokerError):
                await publisher.__aexit__(None, None, None)

    async def _send(self, records: list[OutRecord]) -> None:
        if self._publisher is None:
            self._publisher = await Publisher(self._settings).__aenter__()
        for record in records:
            await self._publisher.publish(self._topic, record.key or b"", record.value)
        await self._publisher.flush()


def _now_ms() -> int:
    return int(time.time() * 1000)
