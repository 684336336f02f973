"""Writes records to a partition in order, as batches, and reports when the broker has them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka.errors import (
    KafkaError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
)

from streams.contract.kafka_records import OutRecord, record_bytes
from streams.errors import BrokerError, FencedError
from streams.kafka.batch_builder import STOP_TIMEOUT_S, BatchBuilder, close_producer, open_producer
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_WRITTEN_BYTES

log = logging.getLogger(__name__)

#: A record batch may be as large as the largest record.
MAX_BATCH_BYTES: Final = MAX_WRITTEN_BYTES
START_TIMEOUT_S: Final = 30.0


class BatchWriter:
    """Writes records as batches through one idempotent aiokafka producer.

    For the event loop that started it.

    Parameters
    ----------
    transactional_id : from this writer's first record on, the broker refuses older writers of this
        id
    """

    def __init__(self, settings: KafkaSettings, *, transactional_id: str | None = None) -> None:
        self._settings = settings
        self._transactional_id = transactional_id
        self._producer: Any = None

    async def start(self) -> None:
        """Connect.

        Raises
        ------
        BrokerError
            When the broker does not answer, or does not grant the transactional id.
        """
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
        producer = await open_producer(
            self._settings, batch_bytes=MAX_BATCH_BYTES, transactional_id=self._transactional_id
        )
        # The producer has its id and epoch now. Without the transactional id aiokafka lets it send
        # plain idempotent batches; with the id it would demand a transaction.
        producer._txn_manager.transactional_id = None
        return producer

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Flush and disconnect; give up the batches that are left after ``timeout_s`` seconds."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, timeout_s)

    async def send(
        self, topic: str, partition: int, records: Iterable[OutRecord], *, max_record_bytes: int = MAX_BATCH_BYTES
    ) -> list[asyncio.Future[Any]]:
        """Hand the records of one partition to the producer, in order; return a future per batch.

        A record above :data:`MAX_BATCH_BYTES` goes out as a batch of its own if
        ``max_record_bytes`` allows it.

        Raises
        ------
        BrokerError
            When a record is above ``max_record_bytes``: the topic would always refuse it.
        """
        producer = self._producer  # stop() may come while this waits
        if producer is None:
            raise BrokerError("producer is not started")
        futures: list[asyncio.Future[Any]] = []
        builder = BatchBuilder(producer)
        now_ms = int(time.time() * 1000)
        add = builder.add
        for record in records:
            key, value, headers = record
            size = len(key or b"") + len(value or b"") if not headers else record_bytes(record)
            if size > max_record_bytes:
                raise BrokerError(f"{topic}: a record of {size} bytes is above the limit of {max_record_bytes} bytes")
            while (full := add(key, value, headers, now_ms)) is not None:
                futures.append(await _handed_over(producer, full, topic, partition))
        last = builder.close()
        if last is not None:
            futures.append(await _handed_over(producer, last, topic, partition))
        return futures


async def _handed_over(producer: Any, batch: Any, topic: str, partition: int) -> asyncio.Future[Any]:
    """Return the future of a batch that the producer has taken.

    Waits for as long as the broker is away: a producer then does not know a topic that it has not
    written to before. The worker has checked at its start that the topic exists. If somebody
    deletes the topic later, offsets stand still and the watchdog finds it.
    """
    while True:
        try:
            future: asyncio.Future[Any] = await producer.send_batch(batch, topic, partition=partition)
        except UnknownTopicOrPartitionError:
            log.warning("%s: the broker does not know the topic now; trying again", topic)
        except KafkaError as exc:
            raise BrokerError(f"{topic}: a record batch was not taken: {exc!r}") from exc
        else:
            return future


async def delivered(futures: Sequence[asyncio.Future[Any]]) -> int | None:
    """Wait until the broker has acknowledged all batches.

    Returns the offset of the last batch's first record, or None for no batches. All records before
    that offset are written, so a recovery that starts there may repeat records but misses none.

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
