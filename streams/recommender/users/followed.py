"""The vectors of followed users that other workers own.

A followed user of an own partition is in the table of user vectors. For the others this reader
follows ``user-vectors``, on the partitions in which somebody is followed and on no others; it keeps
the followed users alone. A user who is followed for the first time may lie before the present
position, so the partition is read again from its beginning, at most once a second::

    records of users ─► who is followed? ─► of an own partition: the table
                                         └► else: read the partition again, then follow it
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from streams.contract.records import UserVector, encode
from streams.errors import HeadraceError
from streams.kafka.publisher import KeyHomes
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import Fetched, read_to_ends
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)
#: Seconds between the beginnings of two readings of one partition.
AGAIN_S: Final = 1.0
RETRY_S: Final = 5.0
_decoder = msgspec.msgpack.Decoder(UserVector)


class FollowedVectors:
    """Keeps the vectors of followed users of other partitions. For one event loop.

    A kept user takes 200 bytes and four for each factor.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.topic("user-vectors")
        self._homes = KeyHomes(settings.partitions, settings.partitioner)
        self._own: set[int] = set()
        self._wanted: dict[int, set[bytes]] = {}
        self._kept: dict[bytes, bytes] = {}
        self._unread: set[int] = set()  # partitions with somebody new
        self._called, self._read = asyncio.Event(), asyncio.Event()
        self._read.set()

    def __len__(self) -> int:
        """Return how many users are kept."""
        return len(self._kept)

    def home(self, key: bytes) -> int:
        """Return the partition of a user."""
        return self._homes[key]

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded vector of a user of another worker, None where none is known."""
        return self._kept.get(key)

    def begin(self, own: Collection[int], followed: Iterable[bytes]) -> None:
        """Begin anew with these own partitions and followed users."""
        self._own, self._wanted, self._unread = set(own), {}, set()
        kept, self._kept = self._kept, {}
        self._read.set()
        self.want(followed)
        self._kept = {key: value for key, value in kept.items() if key in self._wanted.get(self._homes[key], ())}

    def want(self, keys: Iterable[bytes]) -> None:
        """Keep these users too, those of own partitions aside."""
        for key in keys:
            partition = self._homes[key]
            wanted = self._wanted.setdefault(partition, set()) if partition not in self._own else None
            if wanted is not None and key not in wanted:
                wanted.add(key)
                self._unread.add(partition)
        if self._unread:
            self._read.clear()
            self._called.set()

    async def wait_read(self, timeout_s: float) -> None:
        """Wait until the vectors of all wanted users were looked for, at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._read.wait(), timeout_s)

    async def run(self) -> None:
        """Read without end; nothing is read before somebody is wanted."""
        while True:
            await self._called.wait()
            try:
                async with open_reader(self._settings, auto_offset_reset="earliest") as consumer:
                    self._unread |= self._wanted.keys()
                    await self._follow(consumer)
            except HeadraceError as exc:  # lists go on with the vectors that are there
                log.warning("followed users: %s; the recommender reads them again", exc)
                await asyncio.sleep(RETRY_S)

    async def _follow(self, consumer: Any) -> None:
        positions: dict[TopicPartition, int] = {}
        while True:
            began_s = time.monotonic()
            new, self._unread = {TopicPartition(self._topic, p) for p in self._unread}, set()
            self._called.clear()
            if new:
                positions = {tp: await consumer.position(tp) for tp in positions if tp not in new}
                consumer.assign([*positions, *new])
                for tp, position in positions.items():
                    consumer.seek(tp, position)
                await consumer.seek_to_beginning(*new)
                async for fetched in read_to_ends(consumer, await consumer.end_offsets(list(new))):
                    self._take(fetched)
                positions |= dict.fromkeys(new, 0)
            if not self._unread:
                self._read.set()
            if not positions:
                await self._called.wait()
                continue
            async for fetched in read_to_ends(consumer, dict.fromkeys(positions, math.inf), stuck_after_s=math.inf):
                self._take(fetched)
                if self._unread and time.monotonic() - began_s >= AGAIN_S:
                    break

    def _take(self, fetched: Fetched) -> None:
        for tp, records in fetched.items():
            wanted = self._wanted.get(tp.partition, ())
            for record in records:
                if record.key in wanted:
                    self._keep(record.key, record.value)

    def _keep(self, key: bytes, value: bytes | None) -> None:
        self._kept.pop(key, None)
        if value is not None:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                vector = _decoder.decode(value)
                vector.vector = b""  # only the factors count
                self._kept[key] = encode(vector)
