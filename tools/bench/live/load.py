"""The load of ``headrace bench freshness``: a process that publishes events and reads the lists.

``python -m tools.bench.live.load`` reads one :class:`Task` as JSON from standard input and
prints one :class:`Outcome`. It is a process of its own, so that it can be measured and does not
share an interpreter with the bench. It publishes all due events of a tick in one batch for each
partition, and decodes only the fields of a list that it needs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from typing import Any, Final

import msgspec
import numpy as np
import uvloop
from aiokafka import TopicPartition

from streams.contract.kafka_records import OutRecord
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.readers import open_reader
from streams.settings.load import KafkaSettings, load_settings
from tools.drills.events import EventSource, Shares

TICK_S: Final = 0.01
#: Pause between two fetches: without it the broker answers hundreds of fetches a second.
FETCH_PAUSE_S: Final = 0.004
POLL_MS: Final = 100
#: How long the load waits for the lists of the last events.
ANSWER_LIMIT_S: Final = 10.0
#: Events between two waits for the broker's acknowledgement.
MAX_UNACKNOWLEDGED: Final = 1_000
PERCENTS: Final = (50, 90, 99)


class Task(msgspec.Struct):
    """What to publish.

    Parameters
    ----------
    rate_per_s : events a second
    warm_up_s : events of the first seconds are published, and do not count
    seed : of the events; each task of a run needs another, because ids must not repeat
    """

    item_ids: list[str]
    n_users: int
    rate_per_s: float
    warm_up_s: float
    seconds: float
    seed: int


class Quantiles(msgspec.Struct):
    """Milliseconds; None without a sample."""

    n: int
    p50: float | None
    p90: float | None
    p99: float | None

    @classmethod
    def of(cls, samples: list[float]) -> Quantiles:
        """Return the quantiles of samples."""
        found = np.percentile(samples, PERCENTS).round(1).tolist() if samples else [None] * len(PERCENTS)
        return cls(len(samples), *found)


class Outcome(msgspec.Struct):
    """What came back.

    Parameters
    ----------
    events : from an event's publication until the first full list of its user that knows the event
        came; an event without such a list counts with the time that it has waited
    lists : from the publication of a list's newest event until the list came
    unanswered : events without a list when the load ended
    n_provisional, n_degraded : lists beside the full ones
    cpu_s : processor time of this process, from the first event to the last list
    sent_per_s : events that were published a second
    """

    events: Quantiles
    lists: Quantiles
    sent: int
    sent_per_s: float
    lists_per_s: float
    unanswered: int
    n_provisional: int
    n_degraded: int
    cpu_s: float
    seconds: float


class Arrived(msgspec.Struct):
    """The fields of a list that the load reads."""

    user_id: str
    event_id: str
    degraded: str
    provisional: bool = False


class Waiting:
    """Which events have no list yet, and how long the others have waited.

    Attributes
    ----------
    event_ms, list_ms : waits of the events, and ages of the lists, that count
    """

    def __init__(self) -> None:
        self._of_user: dict[str, deque[tuple[str, float, bool]]] = {}
        self.n_waiting = self.n_provisional = self.n_degraded = 0
        self.event_ms: list[float] = []
        self.list_ms: list[float] = []

    def sent(self, user_id: str, event_id: str, at_s: float, *, counts: bool) -> None:
        """Note an event. The ids of a user's events rise."""
        self._of_user.setdefault(user_id, deque()).append((event_id, at_s, counts))
        self.n_waiting += 1

    def arrived(self, made: Arrived, now_s: float) -> None:
        """Note a list: it answers all events of its user up to its own."""
        if made.provisional:
            self.n_provisional += 1
            return
        self.n_degraded += made.degraded != "none"
        waiting = self._of_user.get(made.user_id, deque())
        while waiting and waiting[0][0] <= made.event_id:
            event_id, at_s, counts = waiting.popleft()
            self.n_waiting -= 1
            if counts:
                self.event_ms.append(1000 * (now_s - at_s))
                if event_id == made.event_id:
                    self.list_ms.append(self.event_ms[-1])

    def give_up(self, now_s: float) -> int:
        """Return the number of events without a list; note how long each of them has waited."""
        left = [at_s for waiting in self._of_user.values() for _, at_s, counts in waiting if counts]
        self.event_ms += [1000 * (now_s - at_s) for at_s in left]
        return len(left)


class Load:
    """Publishes the events of a task and reads the lists. For one event loop."""

    def __init__(self, kafka: KafkaSettings, task: Task) -> None:
        self._kafka = kafka
        self._task = task
        self._waiting = Waiting()
        self._source = EventSource(
            task.n_users, task.item_ids, task.seed, Shares(0.0, 0.0, 0.0), prefix=f"s{task.seed:04d}-"
        )
        self._homes = KeyHomes(kafka.partitions, kafka.partitioner)
        self._decoder = msgspec.msgpack.Decoder(Arrived)
        self._began_s = 0.0

    async def run(self) -> Outcome:
        """Publish for the time of the task, then wait for the last lists."""
        topic = self._kafka.topic("recommendations")
        async with open_reader(self._kafka, auto_offset_reset="latest") as reader:
            lanes = [TopicPartition(topic, partition) for partition in range(self._kafka.partitions)]
            reader.assign(lanes)
            await reader.seek_to_end(*lanes)
            reading = asyncio.create_task(self._read(reader))
            writer = BatchWriter(self._kafka)
            await writer.start()
            try:
                return await self._measured(writer)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                await writer.stop()

    async def _measured(self, writer: BatchWriter) -> Outcome:
        cpu_s, self._began_s = time.process_time(), time.monotonic()
        n_sent = await self._publish(writer)
        published_s = time.monotonic() - self._began_s
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while self._waiting.n_waiting and time.monotonic() < deadline:
            await asyncio.sleep(TICK_S)
        unanswered = self._waiting.give_up(time.monotonic())
        return Outcome(
            events=Quantiles.of(self._waiting.event_ms),
            lists=Quantiles.of(self._waiting.list_ms),
            sent=n_sent,
            sent_per_s=round(n_sent / published_s, 1),
            lists_per_s=round(len(self._waiting.list_ms) / self._task.seconds, 1),
            unanswered=unanswered,
            n_provisional=self._waiting.n_provisional,
            n_degraded=self._waiting.n_degraded,
            cpu_s=round(time.process_time() - cpu_s, 3),
            seconds=round(time.monotonic() - self._began_s, 2),
        )

    async def _publish(self, writer: BatchWriter) -> int:
        task, n_sent = self._task, 0
        futures: list[asyncio.Future[Any]] = []
        while (elapsed_s := time.monotonic() - self._began_s) < task.warm_up_s + task.seconds:
            n_due = int(elapsed_s * task.rate_per_s) - n_sent
            futures += await self._send(writer, n_due, counts=elapsed_s >= task.warm_up_s)
            n_sent += n_due
            if len(futures) > MAX_UNACKNOWLEDGED:
                await delivered(futures)
                futures.clear()
            await asyncio.sleep(TICK_S)
        await delivered(futures)
        return n_sent

    async def _send(self, writer: BatchWriter, n: int, *, counts: bool) -> list[asyncio.Future[Any]]:
        now_ms = int(time.time() * 1000)
        by_partition: dict[int, list[OutRecord]] = {}
        for _ in range(n):
            record = self._source.next(now_ms)
            key = record.key or b""
            by_partition.setdefault(self._homes[key], []).append(record)
            self._waiting.sent(key.decode(), self._source.last_id, time.monotonic(), counts=counts)
        topic, futures = self._kafka.topic("events"), []
        for partition, records in by_partition.items():
            futures += await writer.send(topic, partition, records)
        return futures

    async def _read(self, reader: Any) -> None:
        while True:
            fetched = await reader.getmany(timeout_ms=POLL_MS)
            now_s = time.monotonic()
            for records in fetched.values():
                for record in records:
                    if record.value is not None:
                        self._waiting.arrived(self._decoder.decode(record.value), now_s)
            await asyncio.sleep(FETCH_PAUSE_S)


def main() -> None:
    """Run one task."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    outcome = uvloop.run(Load(load_settings(os.environ).kafka, task).run())
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")


if __name__ == "__main__":
    main()
