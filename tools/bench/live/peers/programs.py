"""The programs that ``headrace bench sequencer`` compares, each in a process of its own.

``python -m tools.bench.live.peers.programs NAME EVENTS WARM [FOLDER]`` runs one.

Each program reads all events of its topics, prints its result as one JSON line and ends. The clock
starts when ``WARM`` events are done; so neither start-up nor a Java compiler at work is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final, NamedTuple

from streams.contract.kafka_records import Headers
from streams.contract.records import EventDecoder
from streams.errors import BrokerError
from streams.health.counters import Counts, Metrics
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.sequencer.absorb_batch import BatchResult, absorb_batch
from streams.settings.load import Settings, load_settings
from tools.bench.live.peers.streams_peer import become

IN_FLIGHT: Final = 4
COMMIT_INTERVAL_S: Final = 1.0
OUTCOMES: Final = ("accepted", "duplicate", "late", "rejected")


class Stopwatch:
    """Counts events after ``n_warm``; prints the result and ends the process at the last."""

    def __init__(self, n_events: int, n_warm: int) -> None:
        self._n_events = n_events
        self._n_warm = n_warm
        self._counts = Counts()
        self._n_before = 0
        self._started: tuple[float, float] | None = None

    def done(self, counts: Counts) -> None:
        """Count delivered events."""
        total = self._counts
        total.add(counts)
        if self._started is None and total.read >= self._n_warm:
            self._n_before = total.read
            self._started = (time.perf_counter(), time.process_time())
        if self._started is None or total.read < self._n_events:
            return
        measured = total.read - self._n_before
        wall_s = time.perf_counter() - self._started[0]
        cpu_s = time.process_time() - self._started[1]
        result: dict[str, float] = {"events_per_s": measured / wall_s, "cpu_us_per_event": 1e6 * cpu_s / measured}
        result |= {name: getattr(total, name) for name in OUTCOMES}
        os.write(1, f"\n{json.dumps(result)}\n".encode())  # a Faust worker turns sys.stdout into log lines
        os._exit(0)  # nothing is left to save, and a worker's orderly stop takes seconds


class TimedMetrics(Metrics):
    """The sequencer's own metrics, watched by the stopwatch."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__("sequencer")
        self._stopwatch = stopwatch

    def count_batch(self, partition: int, counts: Counts, offset: int) -> None:
        """Count a delivered batch."""
        super().count_batch(partition, counts, offset)
        self._stopwatch.done(counts)


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
    """The job of the bare loops: the same pure function and checks, a dict for a store."""

    def __init__(self, settings: Settings) -> None:
        self._windows: dict[bytes, bytes] = {}
        self._decoder = EventDecoder(settings.sequencer.max_future_skew_ms, settings.sequencer.types())
        self._bounds = settings.sequencer.bounds()
        self._home = KeyHomes(settings.kafka.partitions, settings.kafka.partitioner)

    def run(self, records: Any) -> BatchResult:
        """Process one batch of one partition."""
        now_ms = int(time.time() * 1000)
        result = absorb_batch(records, self._windows.get, self._decoder, self._bounds, now_ms, home=self._home)
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
            tp, offset, counts, futures = await in_flight.get()
            await delivered(futures)
            stopwatch.done(counts)
            if time.monotonic() - committed_at > COMMIT_INTERVAL_S:
                await consumer.commit({tp: offset})
                committed_at = time.monotonic()

    finisher = asyncio.ensure_future(finish())
    while not finisher.done():
        fetched = await consumer.getmany(timeout_ms=1000, max_records=settings.sequencer.batch_max_records)
        for tp, records in fetched.items():
            result = job.run(records)
            futures = await writer.send(kafka.topic("sequences"), tp.partition, result.out_records())
            rejects = (reject.as_record() for reject in result.rejects)
            futures += await writer.send(kafka.topic("events.rejected"), tp.partition, rejects)
            await in_flight.put((tp, records[-1].offset + 1, result.counts, futures))


class _Record(NamedTuple):
    """A confluent message in the shape that the job reads."""

    key: bytes | None
    value: bytes | None
    offset: int
    topic: str
    partition: int
    timestamp: int
    headers: Headers = ()


class _InFlight:
    """A batch whose windows and rejects are on their way."""

    def __init__(self, partition: int, offset: int, counts: Counts, remaining: int) -> None:
        self.partition, self.offset, self.counts, self.remaining = partition, offset, counts, remaining

    def delivered(self, error: object, _message: object) -> None:
        """Count one delivered record."""
        if error is not None:
            raise BrokerError(f"a record was not delivered: {error}")
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
    topic, rejected = kafka.topic("sequences"), kafka.topic("events.rejected")
    consumer, producer = _confluent_clients(settings)
    in_flight: deque[_InFlight] = deque()
    committed_at = time.monotonic()
    while True:
        by_partition: dict[int, list[_Record]] = {}
        for message in consumer.consume(settings.sequencer.batch_max_records, timeout=0.1):
            at = (message.offset(), message.topic(), message.partition(), message.timestamp()[1])
            record = _Record(message.key(), message.value(), *at)
            by_partition.setdefault(message.partition(), []).append(record)
        for partition, records in by_partition.items():
            result = job.run(records)
            n_out = len(result.windows) + len(result.rejects)
            batch = _InFlight(partition, records[-1].offset + 1, result.counts, n_out)
            in_flight.append(batch)
            for key, value in result.windows.items():
                producer.produce(topic, key=key, value=value, partition=partition, on_delivery=batch.delivered)
            for reject in result.rejects:
                out = reject.as_record()
                producer.produce(
                    rejected, out.value, out.key, partition, headers=list(out.headers), on_delivery=batch.delivered
                )
        while in_flight and (len(in_flight) > IN_FLIGHT or in_flight[0].remaining == 0 or not by_partition):
            if in_flight[0].remaining:
                producer.poll(0.01)
                continue
            batch = in_flight.popleft()
            stopwatch.done(batch.counts)
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
            stopwatch.done(Counts(read=1, accepted=1))

    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


def main() -> None:
    """Run the program named on the command line, on the first core alone."""
    program, n_events, n_warm = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    programs = {
        "sequencer": run_sequencer,
        "aiokafka": run_aiokafka,
        "confluent": run_confluent,
        "obvious": run_obvious,
    }
    settings = load_settings()
    os.makedirs(settings.sequencer.data_dir, exist_ok=True)
    if program == "streams":
        become(settings, Path(sys.argv[4]), n_events, n_warm)
    programs[program](settings, Stopwatch(n_events, n_warm))


if __name__ == "__main__":
    main()
