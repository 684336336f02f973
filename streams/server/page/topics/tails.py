"""The newest records of the three topics, joined: how long each edge of the flow takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import TopicPartition

from streams.contract.windows import Trigger
from streams.kafka.group_watch import GroupWatch
from streams.kafka.readers import start_reader
from streams.kafka.topic_reader import partition_count, read_to_ends
from streams.server.page.topics.flow import READ_BY, TOPICS, Delay, Offsets, Source, delay_of
from streams.settings.load import KafkaSettings

#: Newest records of each partition that are joined.
TAIL: Final = 100
#: Longest reading of the tails, and longest wait of one poll.
READ_S: Final = 3.0
POLL_MS: Final = 200

#: Partition and offset on ``events``.
Place = tuple[int, int]
#: User key and revision.
Version = tuple[bytes, int]


class _WindowHead(msgspec.Struct):
    """What the join needs of a window."""

    revision: int
    trigger: Trigger


class _ListHead(msgspec.Struct):
    """What the join needs of a list."""

    revision: int
    offset: int
    provisional: bool = False


class Tails(NamedTuple):
    """When the newest records were written, in ms since 1970, by what names them."""

    events: dict[Place, int]
    windows: dict[Version, tuple[Place, int]]
    lists: dict[Version, tuple[Place, int]]


_windows: Final = msgspec.msgpack.Decoder(_WindowHead)
_lists: Final = msgspec.msgpack.Decoder(_ListHead)


def tails_of(records: Mapping[str, Iterable[Any]]) -> Tails:
    """Return what records of the three topics say; a record that is none of them counts nothing."""
    found = Tails({}, {}, {})
    for record in records["events"]:
        found.events[record.partition, record.offset] = record.timestamp
    for record in records["sequences"]:
        try:
            window = _windows.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        place = (record.partition, window.trigger.offset)
        found.windows[record.key or b"", window.revision] = place, record.timestamp
    for record in records["recommendations"]:
        try:
            made = _lists.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        key = (record.key or b"", made.revision)
        if key not in found.lists:  # a provisional list is there first: it is what the user sees
            found.lists[key] = (record.partition, made.offset), record.timestamp
    return found


def delays_of(tails: Tails) -> dict[str, Delay]:
    """Return the delay of each edge of which the tails have both ends."""
    samples: dict[str, list[float]] = {"event_window": [], "window_list": [], "event_list": []}
    for place, ts in tails.windows.values():
        if place in tails.events:
            samples["event_window"].append(ts - tails.events[place])
    for version, (place, ts) in tails.lists.items():
        if version in tails.windows:
            samples["window_list"].append(ts - tails.windows[version][1])
        if place in tails.events:
            samples["event_list"].append(ts - tails.events[place])
    found = {edge: delay_of(taken) for edge, taken in samples.items()}
    return {edge: delay for edge, delay in found.items() if delay is not None}


class BrokerFlow:
    """Asks the broker for offsets and for the newest records. For one event loop."""

    def __init__(self, kafka: KafkaSettings, reader: Any, partitions: Mapping[str, int]) -> None:
        self._kafka = kafka
        self._reader = reader
        self._watches = {topic: GroupWatch(kafka, kafka.group(app)) for topic, app in READ_BY.items()}
        self._places = {
            topic: [TopicPartition(kafka.topic(topic), number) for number in range(n)]
            for topic, n in partitions.items()
        }
        reader.assign([place for places in self._places.values() for place in places])

    @classmethod
    async def open(cls, kafka: KafkaSettings) -> Source:
        """Connect, and return where a watch gets its numbers."""
        partitions = {topic: await partition_count(kafka, kafka.topic(topic)) for topic in TOPICS}
        made = cls(kafka, await start_reader(kafka), partitions)
        return Source(made.offsets, made.delays, made.close)

    async def close(self) -> None:
        """Disconnect."""
        for watch in self._watches.values():
            await watch.stop()
        await self._reader.stop()

    async def offsets(self) -> Offsets:
        """Return where topics and groups are now."""
        at_s = time.monotonic()
        ends = {topic: sum((await self._reader.end_offsets(places)).values()) for topic, places in self._places.items()}
        committed, lag = {}, {}
        for topic, watch in self._watches.items():
            found = await watch.offsets(self._kafka.topic(topic), range(len(self._places[topic])))
            committed[topic] = sum(one.committed for one in found.values())
            lag[topic] = sum(one.lag for one in found.values())
        return Offsets(at_s, ends, committed, lag)

    async def delays(self) -> dict[str, Delay]:
        """Return the delay of each edge, from the newest records."""
        places = [place for found in self._places.values() for place in found]
        begins, ends = await self._reader.beginning_offsets(places), await self._reader.end_offsets(places)
        for place in places:
            self._reader.seek(place, max(begins[place], ends[place] - TAIL))
        records: dict[str, list[Any]] = {topic: [] for topic in TOPICS}
        topic_of = {self._kafka.topic(topic): topic for topic in TOPICS}
        deadline = time.monotonic() + READ_S
        async for fetched in read_to_ends(self._reader, ends, deadline=deadline, poll_ms=POLL_MS):
            for place, taken in fetched.items():
                records[topic_of[place.topic]] += taken
        return delays_of(tails_of(records))
