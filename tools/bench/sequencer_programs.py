"""The programs that ``headrace bench sequencer`` compares, each in a process of its own.

``python -m tools.bench.sequencer_programs NAME N`` runs one.

Each program reads all events of its topics, prints its result as one JSON line and ends. The clock
starts when the first batch is done, and the events of that batch do not count. So start-up is not
measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from typing import Any, Final, NamedTuple

from streams.contract.kafka_records import OutRecord
from streams.contract.records import EventDecoder
from streams.errors import BrokerError
from streams.health.counters import Counts, Metrics
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.sequencer.absorb_batch import BatchResult, absorb_batch
from streams.settings.load import Settings, load_settings

IN_FLIGHT: Final = 4
COMMIT_INTERVAL_S: Final = 1.0


class Stopwatch:
    """Counts events after the first batch; prints the result and ends the process at the last."""

    def __init__(self, n_events: int) -> None:
        self._n_events = n_events
        self._n_done = 0
        self._n_before = 0
        self._started: tuple[float, float] | None = None

    def done(self, n: int) -> None:
        """Count ``n`` delivered events."""
        self._n_done += n
        if self._started is None:
            self._n_before = n
            self._started = (time.perf_counter(), time.process_time())
        if self._n_done < self._n_events:
            return
        measured = self._n_done - self._n_before
        wall_s = time.perf_counter() - self._started[0]
        cpu_s = time.process_time() - self._started[1]
        line = json.dumps({"events_per_s": measured / wall_s, "cpu_us_per_event": 1e6 * cpu_s / measured})
        os.write(1, f"\n{line}\n".encode())  # a Faust worker turns sys.stdout into log lines
        os._exit(0)  # nothing is left to save, and a worker's orderly stop takes seconds


class TimedMetrics(Metrics):
    """The sequencer's own metrics, watched by the stopwatch."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__()
        self._stopwatch = stopwatch

    def count_batch(self, partition: int, counts: Counts, offset: int) -> None:
        """Count a delivered batch."""
        super().count_batch(partition, counts, offset)
        self._stopwatch.done(counts.read)


def run_sequencer(settings: Settings, stopwatch: Stopwatch) -> None:
    """Our sequencer, as ``faust -A streams.sequencer worker`` runs it."""
    import faust
    import uvloop

    from streams.sequencer.agent import build_sequencer

    uvloop.install()
    app = build_sequencer(settings, TimedMetrics(stopwatch))
    app.conf.web_enabled = False
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


class Job:
    """The job of the bare loops: the same pure function, a dict for a store."""

    def __init__(self, settings: Settings) -> None:
        self._windows: dict[bytes, bytes] = {}
        self._decoder = EventDecoder(settings.sequencer.max_future_skew_ms, settings.sequencer.types())
        self._bounds = settings.sequencer.bounds()

    def run(self, records: Any) -> BatchResult:
        """Process one batch of one partition."""
        result = absorb_batch(records, self._windows.get, self._decoder, self._bounds, int(time.time() * 1000))
        self._windows.update(result.windows)
        return result


def run_aiokafka(settings: Settings, stopwatch: Stopwatch) -> None:
    """A bare aiokafka loop with built batches."""
    import uvloop

    uvloop.run(_aiokafka_loop(settings, stopwatch))


async def _aiokafka_loop(settings: Settings, stopwatch: Stopwatch) -> None:
    from aiokafka import AIOKafkaConsumer

    kafka, job, writer = settings.kafka, Job(settings), BatchWriter(settings.kafka)
    await writer.start()
    consumer = AIOKafkaConsumer(
        kafka.topic("events"),
        group_id=f"{kafka.topic_prefix}aiokafka",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=settings.sequencer.batch_max_bytes,
        **kafka.client_arguments(),
    )
    await consumer.start()
    in_flight: asyncio.Queue[Any] = asyncio.Queue(IN_FLIGHT)

    async def finish() -> None:
        committed_at = time.monotonic()
        while True:
            tp, offset, n_events, futures = await in_flight.get()
            await delivered(futures)
            stopwatch.done(n_events)
            if time.monotonic() - committed_at > COMMIT_INTERVAL_S:
                await consumer.commit({tp: offset})
                committed_at = time.monotonic()

    finisher = asyncio.ensure_future(finish())
    while not finisher.done():
        fetched = await consumer.getmany(timeout_ms=1000, max_records=settings.sequencer.batch_max_records)
        for tp, records in fetched.items():
            windows = job.run(records).windows
            out = (OutRecord(key, value) for key, value in windows.items())
            futures = await writer.send(kafka.topic("sequences"), tp.partition, out)
            await in_flight.put((tp, records[-1].offset + 1, len(records), futures))


class _Record(NamedTuple):
    """A confluent message in the shape that the job reads."""

    key: bytes | None
    value: bytes | None
    offset: int


class _InFlight:
    """A batch whose windows are on their way."""

    def __init__(self, partition: int, offset: int, n_events: int, remaining: int) -> None:
        self.partition, self.offset, self.n_events, self.remaining = partition, offset, n_events, remaining

    def delivered(self, error: object, _message: object) -> None:
        """Count one delivered window."""
        if error is not None:
            raise BrokerError(f"a window was not delivered: {error}")
        self.remaining -= 1


def _confluent_clients(settings: Settings) -> tuple[Any, Any]:
    """Return a consumer of ``events`` and a producer."""
    from confluent_kafka import Consumer, Producer

    kafka = settings.kafka
    producer = Producer(
        {
            "bootstrap.servers": kafka.broker,
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": 900_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.broker,
            "group.id": f"{kafka.topic_prefix}confluent",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "max.partition.fetch.bytes": settings.sequencer.batch_max_bytes,
        }
    )
    consumer.subscribe([kafka.topic("events")])
    return consumer, producer


def run_confluent(settings: Settings, stopwatch: Stopwatch) -> None:
    """A bare confluent-kafka loop."""
    from confluent_kafka import TopicPartition

    kafka, job = settings.kafka, Job(settings)
    topic = kafka.topic("sequences")
    consumer, producer = _confluent_clients(settings)
    in_flight: deque[_InFlight] = deque()
    committed_at = time.monotonic()
    while True:
        by_partition: dict[int, list[_Record]] = {}
        for message in consumer.consume(settings.sequencer.batch_max_records, timeout=0.1):
            record = _Record(message.key(), message.value(), message.offset())
            by_partition.setdefault(message.partition(), []).append(record)
        for partition, records in by_partition.items():
            windows = job.run(records).windows
            batch = _InFlight(partition, records[-1].offset + 1, len(records), len(windows))
            in_flight.append(batch)
            for key, value in windows.items():
                producer.produce(topic, key=key, value=value, partition=partition, on_delivery=batch.delivered)
        while in_flight and (len(in_flight) > IN_FLIGHT or in_flight[0].remaining == 0 or not by_partition):
            if in_flight[0].remaining:
                producer.poll(0.01)
                continue
            batch = in_flight.popleft()
            stopwatch.done(batch.n_events)
            if time.monotonic() - committed_at > COMMIT_INTERVAL_S:
                consumer.commit(offsets=[TopicPartition(kafka.topic("events"), batch.partition, batch.offset)])
                committed_at = time.monotonic()
        producer.poll(0)


def run_obvious(settings: Settings, stopwatch: Stopwatch) -> None:
    """The agent that one writes first: a Record, a table write and a send per event."""
    import faust

    class ShopEvent(faust.Record, serializer="json"):  # type: ignore[call-arg]  # faust is untyped here
        event_id: str
        user_id: str
        item_id: str
        type: str
        ts: int

    kafka = settings.kafka
    app = faust.App(
        f"{kafka.topic_prefix}obvious",
        broker=f"aiokafka://{kafka.broker}",
        store="memory://",
        datadir=settings.sequencer.data_dir,
        topic_partitions=kafka.partitions,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
    )
    events = app.topic(kafka.topic("events"), value_type=ShopEvent)
    touched = app.topic(kafka.topic("users"), value_serializer="json")
    table = app.Table("windows", default=list, partitions=kafka.partitions)

    @app.agent(events)
    async def keep_window(stream: Any) -> None:
        async for event in stream:
            window = [*table[event.user_id], [event.item_id, event.type, event.ts]][-50:]
            table[event.user_id] = window
            await touched.send(key=event.user_id, value={"user_id": event.user_id, "n": len(window)})
            stopwatch.done(1)

    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


def main() -> None:
    """Run the program named on the command line, on the first core alone."""
    program, n_events = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    programs = {
        "sequencer": run_sequencer,
        "aiokafka": run_aiokafka,
        "confluent": run_confluent,
        "obvious": run_obvious,
    }
    settings = load_settings()
    os.makedirs(settings.sequencer.data_dir, exist_ok=True)
    programs[program](settings, Stopwatch(n_events))


if __name__ == "__main__":
    main()
