"""Follows a compacted topic from its beginning, and hands its records on, without end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.errors import BrokerError
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

POLL_MS: Final = 1_000
RETRY_S: Final = 2.0
#: Longest wait until a record that was just written is followed, and the time between two looks.
REACH_S: Final = 2.0
LOOK_S: Final = 0.005


class TopicFollower:
    """Follows a topic. For one event loop; after a lost connection it goes on where it was.

    Parameters
    ----------
    topic : name in the contract
    take : takes records of one partition, in order

    Attributes
    ----------
    caught_up : set once all is read that the topic had at the start
    """

    def __init__(self, kafka: KafkaSettings, topic: str, take: Callable[[Sequence[Any]], Awaitable[None]]) -> None:
        self._kafka = kafka
        self._topic = topic
        self._take = take
        self._positions: dict[int, int] = {}
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled; try again while the broker does not answer.

        Raises
        ------
        TopicError
            When the topic does not exist.
        """
        while True:
            try:
                await self._follow()
            except (BrokerError, KafkaError, OSError) as exc:
                log.warning("%s: not read, trying again: %s", self._topic, exc)
                await asyncio.sleep(RETRY_S)

    async def reach(self, partition: int, offset: int) -> None:
        """Wait until a record is taken, for at most :data:`REACH_S`."""
        deadline = asyncio.get_running_loop().time() + REACH_S
        while self._positions.get(partition, 0) <= offset and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_S)

    async def _follow(self) -> None:
        topic = self._kafka.topic(self._topic)
        tps = [TopicPartition(topic, number) for number in range(await partition_count(self._kafka, topic))]
        async with open_reader(self._kafka, auto_offset_reset="earliest") as consumer:
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            for tp in tps:
                if tp.partition in self._positions:
                    consumer.seek(tp, self._positions[tp.partition])
            ends: Mapping[TopicPartition, int] = await consumer.end_offsets(tps)
            while True:
                behind = [tp for tp in tps if await consumer.position(tp) < ends[tp]]
                if not behind:
                    self.caught_up.set()
                fetched = await consumer.getmany(timeout_ms=POLL_MS if not behind else POLL_MS // 10)
                for tp, records in fetched.items():
                    await self._take(records)
                    self._positions[tp.partition] = records[-1].offset + 1
