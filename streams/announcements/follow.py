"""Follows a compacted topic of announcements: the newest record of each key, then each change."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.contract.announcements import announcement_id
from streams.contract.log_coordinates import about
from streams.contract.records import RecordDecoder
from streams.errors import BrokerError, RecordError
from streams.kafka.readers import start_reader
from streams.kafka.topic_reader import partition_count, read_to_ends
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

RecordT = TypeVar("RecordT")
#: A long poll: short ones leak memory on idle topics (aiokafka issue 628).
POLL_MS: Final = 1_000


@dataclass(frozen=True)
class Announced(Generic[RecordT]):
    """The newest record of a key.

    Parameters
    ----------
    record : None where the key was removed
    partition, offset : where it lies on the topic
    """

    key: str
    record: RecordT | None
    partition: int
    offset: int

    @property
    def id(self) -> str:
        """What receipts name this announcement."""
        return announcement_id(self.key, self.partition, self.offset)


def newest(
    records: Iterable[Any], decoder: RecordDecoder[RecordT], malformed: Callable[[], None] = lambda: None
) -> dict[str, Announced[RecordT]]:
    """Return the newest of some records of each key.

    A malformed record, or one without a key, is logged and left out: it does not change what its
    key says.

    Parameters
    ----------
    records : as aiokafka gives them, those of a partition in order
    malformed : called for each record that is left out
    """
    found: dict[str, Announced[RecordT]] = {}
    for record in records:
        try:
            key = (record.key or b"").decode()
            if not key:
                raise RecordError("key", "key", "absent")
            value = None if record.value is None else decoder.decode(record.value)
        except (RecordError, UnicodeDecodeError) as error:
            malformed()
            where = (record.topic, record.offset, record.partition)
            extra = about(record.topic, record.partition, record.offset)
            log.error("%s: offset %d of partition %d left out: %s", *where, error, extra=extra)
            continue
        found[key] = Announced(key, value, record.partition, record.offset)
    return found


async def follow(
    settings: KafkaSettings,
    topic: str,
    struct: type[RecordT],
    *,
    partitions: Collection[int] | None = None,
    malformed: Callable[[], None] = lambda: None,
) -> AsyncGenerator[dict[str, Announced[RecordT]], None]:
    """Yield what a topic holds now, by key, then the changes of each poll, without end.

    The first value comes when the topic is read to its end; it is empty where the topic is. Each
    later one has at least one key.

    Parameters
    ----------
    topic : name in the contract
    struct : the type of its records
    partitions : only these; None for all
    malformed : called for each record that is left out

    Raises
    ------
    BrokerError
        When the broker does not answer.
    TopicError
        When there is no such topic.
    """
    name = settings.topic(topic)
    numbers = range(await partition_count(settings, name)) if partitions is None else partitions
    tps = [TopicPartition(name, partition) for partition in numbers]
    decoder = RecordDecoder(struct)
    consumer = None
    try:
        consumer = await start_reader(settings, auto_offset_reset="earliest")
        consumer.assign(tps)
        if tps:
            await consumer.seek_to_beginning(*tps)
        found: dict[str, Announced[RecordT]] = {}
        async for fetched in read_to_ends(consumer, await consumer.end_offsets(tps)):
            found |= newest(_records(fetched), decoder, malformed)
        yield found
        while True:
            changed = newest(_records(await consumer.getmany(timeout_ms=POLL_MS)), decoder, malformed)
            if changed:
                yield changed
    except (KafkaError, OSError) as exc:
        raise BrokerError(f"{name}: broker {settings.broker}: {type(exc).__name__}: {exc}") from exc
    finally:
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError):
                await consumer.stop()


def _records(fetched: dict[TopicPartition, list[Any]]) -> list[Any]:
    return [record for records in fetched.values() for record in records]
