"""Asks the broker about a consumer group: committed and end offsets, members.

It has a connection of its own, apart from the worker's: the worker's consumer may be what hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    CommitFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
)
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import OffsetAndMetadata

from streams.errors import BrokerError
from streams.kafka.raw_requests import send
from streams.kafka.readers import open_reader, start_reader
from streams.kafka.topic_reader import read_to_ends
from streams.settings.load import KafkaSettings

#: A broker that needs longer than this for one answer counts as silent.
ANSWER_TIMEOUT_S: Final = 10.0
#: On a cluster without any group the first question makes the broker create ``__consumer_offsets``,
#: which takes seconds.
COORDINATOR_WAIT_S: Final = 8.0
COORDINATOR_POLL_S: Final = 0.2
#: A partition: topic and number.
Place = tuple[str, int]


@dataclass(frozen=True)
class PartitionOffsets:
    """The offsets of a partition and a consumer group, as the broker has them.

    Parameters
    ----------
    committed : offset of the next record to read; the partition's first offset when nothing is
        committed
    end : offset of the next record that will be written
    is_held : whether the worker holds unfinished records of any partition, so that it reads no more
    """

    committed: int
    end: int
    is_held: bool = False

    @property
    def lag(self) -> int:
        """Return how many offsets are not committed, markers and compacted records included."""
        return max(0, self.end - self.committed)


@dataclass(frozen=True)
class Member:
    """One consumer of a group, and its partitions."""

    member_id: str
    client_id: str
    host: str
    partitions: frozenset[Place]


@dataclass(frozen=True)
class Group:
    """A consumer group: its state in Kafka's words (Stable, Empty, Dead ...) and its members."""

    state: str
    members: tuple[Member, ...]


class GroupWatch:
    """Asks the broker about one consumer group. For one event loop.

    Connects at the first question, and again after a failure.
    """

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._kafka = kafka
        self.group = group
        self._admin: AIOKafkaAdminClient | None = None
        self._reader: AIOKafkaConsumer | None = None

    async def stop(self) -> None:
        """Disconnect. Repeat-safe."""
        reader, admin, self._reader, self._admin = self._reader, self._admin, None, None
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            if reader is not None:
                await asyncio.wait_for(reader.stop(), ANSWER_TIMEOUT_S)
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            if admin is not None:
                await asyncio.wait_for(admin.close(), ANSWER_TIMEOUT_S)

    async def cluster_id(self) -> str:
        """Return the cluster's id; empty when the broker has none."""
        async with self._connected() as (admin, _):
            return str((await admin.describe_cluster()).get("cluster_id") or "")

    async def offsets(self, topic: str, partitions: Iterable[int]) -> dict[Place, PartitionOffsets]:
        """Return the committed offset and the end offset of partitions.

        Raises
        ------
        BrokerError
            When the broker does not answer.
        """
        async with self._connected() as (admin, reader):
            coordinator = await self._coordinator(admin)
            committed = await admin.list_consumer_group_offsets(self.group, group_coordinator_id=coordinator)
            wanted = [TopicPartition(topic, partition) for partition in partitions]
            if not wanted:
                return {}
            begins, ends = await reader.beginning_offsets(wanted), await reader.end_offsets(wanted)
        return {
            (tp.topic, tp.partition): PartitionOffsets(
                max(begins[tp], committed[tp].offset if tp in committed else -1), ends[tp]
            )
            for tp in wanted
        }

    async def high_watermarks(self, topic: str, partitions: Iterable[int]) -> dict[Place, int]:
        """Return the end of each partition, records of open transactions included.

        :meth:`offsets` ends before the first open transaction.
        """
        async with self._connected():
            reader = await start_reader(self._kafka, isolation_level="read_uncommitted")
            try:
                ends = await reader.end_offsets([TopicPartition(topic, partition) for partition in partitions])
            finally:
                await reader.stop()
        return {(tp.topic, tp.partition): end for tp, end in ends.items()}

    async def partition_count(self, topic: str) -> int | None:
        """Return how many partitions a topic has now; None when the broker does not tell.

        Raises as :meth:`offsets` does.
        """
        async with self._connected() as (admin, _):
            # describe_topics would make the broker create a topic that somebody has deleted
            answer = await send(admin, MetadataRequest([topic], allow_auto_topic_creation=False))
        return len(answer.to_object()["topics"][0]["partitions"]) or None

    async def notes(self, topic: str, group: str = "") -> dict[int, str]:
        """Return the note that was committed beside the offset of each partition.

        ``group`` names a group other than the watched one. Raises as :meth:`offsets` does.
        """
        async with self._connected() as (admin, _):
            committed = await admin.list_consumer_group_offsets(group or self.group)
        return {tp.partition: at.metadata or "" for tp, at in committed.items() if tp.topic == topic}

    async def describe(self) -> Group | None:
        """Return the group's state and members; None when the broker cannot tell.

        Small development brokers cannot.
        """
        try:
            async with self._connected() as (admin, _):
                coordinator = await self._coordinator(admin)
                responses = await admin.describe_consumer_groups([self.group], group_coordinator_id=coordinator)
        except BrokerError as exc:
            if isinstance(exc.__cause__, KafkaError) and not exc.__cause__.retriable:
                return None
            raise
        for response in responses:
            for error, _name, state, _kind, _protocol, members, *_ in response.groups:
                if error == 0:
                    return Group(state, tuple(_member(*member[:5]) for member in members))
        return None

    async def evict(self, client_id: str) -> int:
        """Remove the members of a client id from the group; return how many there were.

        Only for a process that is known to be dead. The other members take over at once; they need
        not wait until its session times out.
        """
        found = await self.describe()
        members = [m for m in found.members if m.client_id == client_id] if found else []
        async with self._connected() as (admin, _):
            for member in members:
                coordinator = await self._coordinator(admin)
                await send(admin, LeaveGroupRequest(self.group, member.member_id), coordinator)
        return len(members)

    async def has_records(self, place: Place, offset: int) -> bool:
        """Return whether a record lies at or behind an offset; markers are not records."""
        tp = TopicPartition(*place)
        async with self._connected() as (_, reader):
            end = (await reader.end_offsets([tp]))[tp]
            reader.assign([tp])
            try:
                reader.seek(tp, offset)
                async for fetched in read_to_ends(reader, {tp: end}, max_records=1):
                    if any(fetched.values()):
                        return True
                return False
            finally:
                reader.unsubscribe()

    async def _coordinator(self, admin: AIOKafkaAdminClient) -> int:
        """Return the broker that coordinates the group; a new cluster may need seconds for it."""
        deadline = time.monotonic() + COORDINATOR_WAIT_S
        while True:
            try:
                return int(await admin.find_coordinator(self.group))
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(COORDINATOR_POLL_S)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if self._admin is None or self._reader is None:
                    await self._connect()
                assert self._admin is not None and self._reader is not None
                yield self._admin, self._reader
        except (KafkaError, OSError, TimeoutError) as exc:
            await self.stop()
            raise BrokerError(
                f"broker {self._kafka.broker} does not answer about group {self.group}: "
                f"{str(exc) or type(exc).__name__}; see: headrace doctor"
            ) from exc

    async def _connect(self) -> None:
        arguments = self._kafka.client_arguments()
        self._admin = AIOKafkaAdminClient(request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000), **arguments)
        await self._admin.start()
        self._reader = await start_reader(self._kafka, auto_offset_reset="earliest")


def _member(member_id: str, client_id: str, host: str, _metadata: bytes, assignment: bytes) -> Member:
    """Return a member of a DescribeGroups response."""
    partitions: list[Place] = []
    if assignment:
        decoded: Any = ConsumerProtocolMemberAssignment.decode(assignment)
        partitions = [(topic, partition) for topic, numbers in decoded.assignment for partition in numbers]
    return Member(member_id, client_id, host, frozenset(partitions))


async def group_lag(settings: KafkaSettings, group: str, topic: str) -> int:
    """Return how many offsets a group has not committed, over all partitions of a topic.

    ``topic`` is the topic's name in the contract.
    """
    watch = GroupWatch(settings, group)
    try:
        offsets = await watch.offsets(settings.topic(topic), range(settings.partitions))
        return sum(at.lag for at in offsets.values())
    finally:
        await watch.stop()


async def committed_offsets(kafka: KafkaSettings, group: str, topic: str) -> dict[int, int]:
    """Return the committed offsets of a topic by partition, where there is one."""
    async with open_reader(kafka, group) as consumer:
        tps = [TopicPartition(topic, partition) for partition in range(kafka.partitions)]
        consumer.assign(tps)
        found = {tp.partition: await consumer.committed(tp) for tp in tps}
    return {partition: offset for partition, offset in found.items() if offset is not None}


async def set_offsets(kafka: KafkaSettings, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit offsets for a group without members.

    Raises
    ------
    BrokerError
        When a worker has joined the group: the broker then refuses.
    """
    if not offsets:
        return
    async with open_reader(kafka, group) as consumer:
        wanted = {TopicPartition(topic, p): OffsetAndMetadata(n, "") for p, n in offsets.items()}
        consumer.assign(list(wanted))
        try:
            await consumer.commit(wanted)
        except CommitFailedError as exc:
            raise BrokerError(
                f"group {group}: a worker has joined it; stop the worker and promote again: {exc}"
            ) from exc
