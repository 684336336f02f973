"""The unit of work: a record batch of one partition.

Faust hands an agent one event at a time, which costs about 240 us each. Two of its documented settings change that: the
scheduling strategy here yields all fetched records of a partition as one message, and the schema passes them through
untouched. :class:`BatchWriter` is the way out: built record batches, one future per batch instead of one per record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
)
from faust.types import TP
from faust.types.transports import SchedulingStrategyT

from streams.errors import BrokerError, FencedError
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_WRITTEN_BYTES

log = logging.getLogger(__name__)

#: A record batch holds as much as its largest record may have.
MAX_BATCH_BYTES: Final = MAX_WRITTEN_BYTES
#: More than a batch and its only record add to what :func:`record_bytes` counts.
BATCH_OVERHEAD_BYTES: Final = 1_024
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
Headers = Sequence[tuple[str, bytes]]


class ConsumedRecord(Protocol):
    """What this package reads of a record as aiokafka delivers it."""

    @property
    def topic(self) -> str: ...  # noqa: D102 - as in Kafka

    @property
    def partition(self) -> int: ...  # noqa: D102 - as in Kafka

    @property
    def offset(self) -> int: ...  # noqa: D102 - as in Kafka

    @property
    def timestamp(self) -> int: ...  # noqa: D102 - as in Kafka

    @property
    def key(self) -> bytes | None: ...  # noqa: D102 - as in Kafka

    @property
    def value(self) -> bytes | None: ...  # noqa: D102 - as in Kafka

    @property
    def headers(self) -> Headers: ...  # noqa: D102 - as in Kafka


class OutRecord(NamedTuple):
    """One record to write: key, value (None for a tombstone) and headers."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def record_bytes(record: OutRecord) -> int:
    """Return the bytes of key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name.encode()) + len(value) for name, value in record.headers) if record.headers else size


class FetchedRecords(list[ConsumedRecord]):
    """Consecutive records of one partition.

    ``follows`` is the offset that was fetched just before the first of them, or -1 where they begin a new reading (a first fetch, or
    one after a seek back). An agent that has not seen that offset has missed something.
    """

    __slots__ = ("follows",)

    def __init__(self, records: Iterable[ConsumedRecord], follows: int = -1) -> None:
        super().__init__(records)
        self.follows = follows


class RecordBatch:
    """Consecutive records of one partition, shaped like one consumed record; its offset is that of the last record."""

    __slots__ = ("offset", "partition", "timestamp", "topic", "value")

    timestamp_type = 0
    headers: Headers = ()
    key = None
    checksum = None
    serialized_key_size = 0
    serialized_value_size = 0

    def __init__(self, tp: TP, records: FetchedRecords) -> None:
        last = records[-1]
        self.topic = tp.topic
        self.partition = tp.partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.value = records


def split_by_size(records: list[ConsumedRecord], max_records: int, max_bytes: int) -> Iterator[list[ConsumedRecord]]:
    """Cut fetched records, in order, into batches within both bounds; a record above ``max_bytes`` stands alone."""
    start, size = 0, 0
    for i, record in enumerate(records):
        record_bytes = len(record.value or b"") + len(record.key or b"")
        if i > start and (i - start >= max_records or size + record_bytes > max_bytes):
            yield records[start:i]
            start, size = i, 0
        size += record_bytes
    if start < len(records):
        yield records[start:]


class BatchScheduler(SchedulingStrategyT):
    """Yields record batches in turn over the partitions, one each, so that none starves; see :func:`batch_scheduler`."""

    max_records: ClassVar[int]
    max_bytes: ClassVar[int]

    def __init__(self) -> None:
        self._fetched: dict[TP, int] = {}  # last offset fetched, whether or not Faust goes on to deliver it

    def iterate(self, records: Mapping[TP, list[ConsumedRecord]]) -> Iterator[tuple[TP, RecordBatch]]:
        """Cut what was fetched into batches."""
        return self._in_turn({tp: deque(self._cut(tp, fetched)) for tp, fetched in records.items() if fetched})

    def forget(self, tp: TP) -> None:
        """Begin a new reading of a partition: its next records follow nothing."""
        self._fetched.pop(tp, None)

    def fetched(self, tp: TP) -> int:
        """Return the last offset fetched in this reading of a partition, or -1."""
        return self._fetched.get(tp, -1)

    def _cut(self, tp: TP, fetched: list[ConsumedRecord]) -> Iterator[FetchedRecords]:
        follows = self._fetched.get(tp, -1)
        if follows >= fetched[0].offset:
            follows = -1
        for records in split_by_size(fetched, self.max_records, self.max_bytes):
            yield FetchedRecords(records, follows)
            follows = self._fetched[tp] = records[-1].offset

    def _in_turn(self, queues: dict[TP, deque[FetchedRecords]]) -> Iterator[tuple[TP, RecordBatch]]:
        while queues:
            for tp in list(queues):
                yield tp, RecordBatch(tp, queues[tp].popleft())
                if not queues[tp]:
                    del queues[tp]


def batch_scheduler(max_records: int, max_bytes: int) -> type[BatchScheduler]:
    """Return the scheduling strategy (Faust's setting ``ConsumerScheduler``, a class) of these bounds."""
    return type("BoundedBatchScheduler", (BatchScheduler,), {"max_records": max_records, "max_bytes": max_bytes})


class BatchSchema(faust.Schema):
    """A topic schema that hands a record batch to the agent as it came."""

    def compile(self, app: faust.App, **_: Any) -> Callable[..., Awaitable[Any]]:
        """Return the decoder of messages: it decodes nothing."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode


class BatchWriter:
    """Writes records as built batches through one idempotent aiokafka producer.

    For use on the event loop that started it.

    Parameters
    ----------
    transactional_id : makes the broker refuse, from this writer's first record on, older writers of this id
    """

    def __init__(self, settings: KafkaSettings, *, transactional_id: str | None = None) -> None:
        self._settings = settings
        self._transactional_id = transactional_id
        self._producer: Any = None

    async def start(self) -> None:
        """Connect; raise :class:`BrokerError` when the broker does not answer or does not grant the transactional id."""
        name = f"producer {self._transactional_id or ''}".strip()
        try:
            self._producer = await asyncio.wait_for(self._connect(), START_TIMEOUT_S)
        except TimeoutError as exc:
            raise BrokerError(
                f"{name}: broker {self._settings.broker} gave no producer id within {START_TIMEOUT_S:g} s; "
                "is its transaction coordinator up?"
            ) from exc
        except TransactionalIdAuthorizationFailed as exc:
            raise BrokerError(
                f"{name}: broker {self._settings.broker} does not grant this transactional id; "
                "allow Write and Describe on it, see docs/security.md"
            ) from exc
        except KafkaError as exc:
            raise BrokerError(f"{name}: broker {self._settings.broker} refused: {exc}") from exc

    async def _connect(self) -> Any:
        producer: Any = AIOKafkaProducer(
            **self._settings.client_arguments(),
            compression_type=self._settings.codec(),
            acks="all",
            enable_idempotence=True,
            transactional_id=self._transactional_id,
            max_batch_size=MAX_BATCH_BYTES,
            linger_ms=0,  # batches come built: waiting would gain nothing
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        # It has id and epoch now. From here on it is a plain idempotent producer: aiokafka would insist on transactions.
        producer._txn_manager.transactional_id = None
        return producer

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Flush and disconnect; what a fenced or unreachable broker has not taken after ``timeout_s`` is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(producer.stop(), timeout_s)

    async def send(
        self, topic: str, partition: int, records: Iterable[OutRecord], *, max_record_bytes: int = MAX_BATCH_BYTES
    ) -> list[asyncio.Future[Any]]:
        """Hand records of one partition to the producer, in order; return one future per built batch.

        A record above :data:`MAX_BATCH_BYTES` goes out as a batch of its own, where ``max_record_bytes`` allows it.

        Raises
        ------
        BrokerError
            When a record is above ``max_record_bytes``: the topic would refuse it for ever.
        """
        producer = self._producer  # stop() may come while this waits
        if producer is None:
            raise BrokerError("producer is not started")
        futures: list[asyncio.Future[Any]] = []
        builder = producer.create_batch()
        now_ms = int(time.time() * 1000)
        for record in records:
            size = record_bytes(record)
            if size > max_record_bytes:
                raise BrokerError(f"{topic}: a record of {size} bytes is above the limit of {max_record_bytes} bytes")
            headers = list(record.headers)
            if builder.append(timestamp=now_ms, key=record.key, value=record.value, headers=headers) is not None:
                continue
            futures.append(await _handed_over(producer, builder, topic, partition))
            builder = producer.create_batch()
            builder.append(
                timestamp=now_ms, key=record.key, value=record.value, headers=headers
            )  # a first one always fits
        if builder.record_count():
            builder.close()
            futures.append(await _handed_over(producer, builder, topic, partition))
        return futures


async def _handed_over(producer: Any, builder: Any, topic: str, partition: int) -> asyncio.Future[Any]:
    """Return the future of a batch that the producer has taken.

    Waits while the broker is away, however long: a topic that this producer has not written to before is then unknown to it. That
    the topic exists was checked at the start; one that is deleted later is found by the watchdog, for nothing moves any more.
    """
    while True:
        try:
            future: asyncio.Future[Any] = await producer.send_batch(builder, topic, partition=partition)
        except UnknownTopicOrPartitionError:
            log.warning("%s: the broker has not said where it is; asked again", topic)
        except KafkaError as exc:
            raise BrokerError(f"{topic}: a record batch was not taken: {exc!r}") from exc
        else:
            return future


async def delivered(futures: Sequence[asyncio.Future[Any]]) -> int | None:
    """Wait until the broker has acknowledged all batches.

    Returns the offset of the last batch's first record, or None for no batches: all before it is certainly written, and
    recovery that starts there reads a little twice, never too little.

    Raises
    ------
    FencedError
        When another worker has taken the partition over.
    BrokerError
        When a batch was not delivered.
    """
    last: int | None = None
    for future in futures:
        try:
            metadata = await future
        except ProducerFenced as exc:
            raise FencedError(
                "the broker refused a record batch: another worker owns the partition now, as this one was silent for longer than "
                "HEADRACE_SESSION_TIMEOUT_MS; nothing is lost, restart the worker"
            ) from exc
        except KafkaError as exc:
            raise BrokerError(f"a record batch was not delivered: {exc}") from exc
        last = metadata.offset
    return last
