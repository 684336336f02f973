"""Builds the record batches of one partition, and opens and closes the producer that sends them.

All writers of headrace use it: the workers (:mod:`streams.kafka.batch_writer`), producers outside
the workers (:mod:`streams.kafka.publisher`) and the copy of a history. A record costs one append to
a batch. The producer's own accumulator, which makes a future for each record, is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.contract.kafka_records import Headers
from streams.settings.load import KafkaSettings

STOP_TIMEOUT_S: Final = 10.0


async def open_producer(
    settings: KafkaSettings, batch_bytes: int, *, is_idempotent: bool = True, transactional_id: str | None = None
) -> Any:
    """Return a started aiokafka producer that waits for all in-sync replicas.

    :func:`close_producer` stops it.

    Parameters
    ----------
    batch_bytes : size of a batch; a larger record goes out as a batch of its own
    is_idempotent : the broker drops the repeats of a retried batch
    transactional_id : makes the broker refuse older producers of this id

    Raises
    ------
    KafkaError, OSError
        When the broker does not answer or refuses.
    """
    producer = AIOKafkaProducer(
        **settings.client_arguments(),
        compression_type=settings.codec(),
        acks="all",
        enable_idempotence=is_idempotent,
        transactional_id=transactional_id,
        max_batch_size=batch_bytes,
        linger_ms=0,  # batches arrive full: waiting would gain nothing
    )
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


async def close_producer(producer: Any, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Flush and disconnect; give up the batches that are left after ``timeout_s`` seconds."""
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), timeout_s)


class BatchBuilder:
    """Collects the records of one partition into batches for the producer's ``send_batch``."""

    __slots__ = ("_append", "_batch", "_producer")

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._batch: Any = None

    def add(self, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int | None) -> Any | None:
        """Add a record and return None; where the batch is full, add nothing and return it closed.

        The caller then hands the batch over and adds the record again. A caller that is cancelled
        in between has added nothing. The first record of a batch always fits::

            while (full := builder.add(key, value, headers, None)) is not None:
                await hand_over(full)

        Parameters
        ----------
        timestamp_ms : None for the present time
        """
        if self._batch is None:
            self._batch = self._producer.create_batch()
            self._append = self._batch.append
        as_list = list(headers) if headers else []  # aiokafka takes nothing but a list
        if self._append(timestamp=timestamp_ms, key=key, value=value, headers=as_list) is not None:
            return None
        return self.close()

    def close(self) -> Any | None:
        """Return the present batch, closed; None when it has no record."""
        batch, self._batch = self._batch, None
        if batch is None or not batch.record_count():
            return None
        batch.close()
        return batch
