"""Writes records to the topics, and says when the broker has them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaError

from streams.contract.kafka_records import Headers
from streams.errors import BrokerError
from streams.kafka.batch_builder import close_producer, open_producer
from streams.kafka.publisher import NO_IDEMPOTENCE, partition_of
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

BATCH_BYTES: Final = 262_144
#: Longest wait for the broker: a caller gets an error after it, and may send again.
TIMEOUT_S: Final = 15.0


class Place(NamedTuple):
    """Where a record lies on its topic."""

    partition: int
    offset: int


class Writer:
    """Writes records by their key. For one event loop.

    The connection is made with the first write, and made anew after a failure.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producer: Any = None
        self._opening = asyncio.Lock()

    async def write(
        self, topic: str, records: Sequence[tuple[bytes, bytes | None]], headers: Headers = ()
    ) -> list[Place]:
        """Write records; return where they lie once the broker has them all.

        Records of a key keep their order. What was written before an error stays: a caller may send
        all again, because a repeat of a record changes nothing.

        Parameters
        ----------
        topic : name in the contract
        records : key and value, None for a tombstone
        headers : of each record

        Raises
        ------
        BrokerError
            When the broker has not taken them all in time.
        """
        try:
            return await asyncio.wait_for(self._write(self._kafka.topic(topic), records, headers), TIMEOUT_S)
        except TimeoutError:
            raise BrokerError(f"topic {topic}: the broker has not answered for {TIMEOUT_S:g} s") from None
        except (KafkaError, OSError) as exc:
            await self.close()
            raise BrokerError(f"topic {topic}: not written: {type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """Close the connection; what the broker has acknowledged stays."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError):
                await close_producer(producer)

    async def _write(self, topic: str, records: Sequence[tuple[bytes, bytes | None]], headers: Headers) -> list[Place]:
        producer = await self._open()
        n_partitions = len(await producer.partitions_for(topic))
        partitioner = self._kafka.partitioner
        sent = [
            await producer.send(
                topic, value, key=key, partition=partition_of(key, n_partitions, partitioner), headers=[*headers]
            )
            for key, value in records
        ]
        found = await asyncio.gather(*sent)
        return [Place(one.partition, one.offset) for one in found]

    async def _open(self) -> Any:
        async with self._opening:
            if self._producer is None:
                try:
                    self._producer = await open_producer(self._kafka, BATCH_BYTES)
                except NO_IDEMPOTENCE:
                    self._producer = await open_producer(self._kafka, BATCH_BYTES, is_idempotent=False)
        return self._producer
